/* SPDX-License-Identifier: BSD-2-Clause */
/* See queue_rig.h. */
#include "tests/lib/queue_rig.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/id.h"
#include "common/base/log.h"
#include "common/base/xalloc.h"
#include "contrib/relay/deliver.h"
#include "contrib/relay/record.h"

/* --- the next hop --------------------------------------------------------------------
 */

struct link {
	struct qrig_sink *sink;
	int fd;
};

static void
say(FILE *f, const char *text)
{
	fprintf(f, "%s\r\n", text);
	fflush(f);
}

static char *
read_data(FILE *f)
{
	char *data = NULL, line[2000];
	size_t size = 0;
	FILE *out = open_memstream(&data, &size);

	while (fgets(line, sizeof(line), f) != NULL) {
		fputs(line, out);
		if (strcmp(line, ".\r\n") == 0)
			break;
	}
	fclose(out);
	return data;
}

/* Returns false when the connection is over. */
static bool
take_mail(struct qrig_sink *s, FILE *f, FILE *out, struct qrig_mail *m)
{
	say(out, "354 go");
	m->data = read_data(f);
	if (s->stall) {
		s->stalled++;
		/* until the client is gone */
		while (fgetc(f) != EOF)
			;
		free(m->data);
		return false;
	}
	pthread_mutex_lock(&s->lock);
	ck_assert_uint_lt(s->n, QRIG_MAILS_MAX);
	s->mails[s->n++] = *m;
	pthread_mutex_unlock(&s->lock);
	*m = (struct qrig_mail){ .data = NULL };
	say(out, "250 2.0.0 taken");
	return true;
}

static void
take_rcpt(FILE *f, struct qrig_mail *m, const char *line)
{
	char address[100] = "";

	sscanf(line, "RCPT TO:<%99[^>]", address);
	if (strncmp(address, "bad", 3) == 0) {
		say(f, "550 5.1.1 no such user");
		return;
	}
	if (strncmp(address, "busy", 4) == 0) {
		say(f, "450 4.2.1 mailbox busy");
		return;
	}
	size_t n = strlen(m->rcpts);
	snprintf(m->rcpts + n, sizeof(m->rcpts) - n, "%s ", address);
	say(f, "250 ok");
}

static void *
serve_link(void *arg)
{
	struct link *l = arg;
	FILE *f = fdopen(l->fd, "r"), *out = fdopen(dup(l->fd), "w");
	struct qrig_mail m = { .data = NULL };
	char line[2000];

	say(out, "220 sink");
	while (fgets(line, sizeof(line), f) != NULL) {
		if (strncmp(line, "EHLO", 4) == 0) {
			say(out, "250-sink\r\n250-PIPELINING\r\n250 8BITMIME");
		} else if (strncmp(line, "MAIL", 4) == 0) {
			m.sender[0] = '\0';
			sscanf(line, "MAIL FROM:<%99[^>]", m.sender);
			say(out, "250 ok");
		} else if (strncmp(line, "RCPT", 4) == 0) {
			take_rcpt(out, &m, line);
		} else if (strncmp(line, "DATA", 4) == 0) {
			if (m.rcpts[0] == '\0')
				say(out, "503 no recipients");
			else if (!take_mail(l->sink, f, out, &m))
				break;
		} else {
			say(out, "221 bye");
			break;
		}
	}
	fclose(f);
	fclose(out);
	free(l);
	return NULL;
}

static void *
sink_main(void *arg)
{
	struct qrig_sink *s = arg;

	for (;;) {
		int fd = accept(s->listener, NULL, NULL);
		pthread_t thread;

		if (fd < 0)
			return NULL;
		struct link *l = xcalloc(1, sizeof(*l));
		*l = (struct link){ s, fd };
		if (pthread_create(&thread, NULL, serve_link, l) == 0)
			pthread_detach(thread);
	}
}

static void
sink_bind(struct qrig_sink *s)
{
	struct sockaddr_in sa = { .sin_family = AF_INET };
	socklen_t len = sizeof(sa);

	pthread_mutex_init(&s->lock, NULL);
	sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	s->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(s->listener, (struct sockaddr *)&sa, len), 0);
	ck_assert_int_eq(getsockname(s->listener, (struct sockaddr *)&sa, &len), 0);
	s->port = ntohs(sa.sin_port);
}

void
qrig_listen(struct qrig *r)
{
	struct qrig_sink *s = r->sink;

	s->listening = true;
	ck_assert_int_eq(listen(s->listener, 100), 0);
	ck_assert_int_eq(pthread_create(&s->thread, NULL, sink_main, s), 0);
}

/* --- the processes -------------------------------------------------------------------
 */

static void
child_prepare(void)
{
	struct err err;

	signal(SIGTERM, SIG_DFL);
	if (getenv("TEST_LOG") == NULL)
		log_open("test", "/dev/null", LOG_LEVEL_ERR, &err);
}

void
qrig_queue(struct qrig *r, const struct qio *disk)
{
	r->queue = fork();
	ck_assert_int_ge(r->queue, 0);
	if (r->queue == 0) {
		child_prepare();
		_exit(queue_process_on(
		    &r->conf, r->listen_fd, disk != NULL ? disk : &qio_real));
	}
}

void
qrig_delivery(struct qrig *r)
{
	const char *const servers[] = { r->dns };
	struct resolver_conf dns = { .servers = servers, .n_servers = 1 };

	r->delivery = fork();
	ck_assert_int_ge(r->delivery, 0);
	if (r->delivery == 0) {
		child_prepare();
		_exit(deliver_process(&r->conf, r->address, &dns));
	}
}

int
qrig_kill(pid_t *pid, int sig)
{
	int status = 0;

	ck_assert_int_gt(*pid, 0);
	kill(*pid, sig);
	ck_assert_int_eq(waitpid(*pid, &status, 0), *pid);
	*pid = 0;
	return status;
}

void
qrig_init(struct qrig *r)
{
	static char host[] = "relay.example", none[] = "";
	struct err err;

	*r =
	    (struct qrig){ .sink = xcalloc(1, sizeof(*r->sink)), .dns = "127.0.0.1:9" };
	snprintf(r->spool, sizeof(r->spool), "/tmp/queue.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(r->spool));
	sink_bind(r->sink);
	snprintf(r->smarthost, sizeof(r->smarthost), "[127.0.0.1]:%u", r->sink->port);
	r->conf = (struct relay_conf){ .host = host,
		.spool = r->spool,
		.mailertable = none,
		.smarthost = r->smarthost,
		.retry_min = 1,
		.retry_max = 2,
		.lifetime = 3600,
		.deliveries = 20,
		.deliveries_per_host = 20 };
	r->listen_fd = queue_socket(r->address, &err);
	ck_assert_int_ge(r->listen_fd, 0);
	r->base = event_base_new();
	r->client = queue_client_new(r->base, r->address);
}

void
qrig_start(struct qrig *r)
{
	qrig_init(r);
	qrig_queue(r, NULL);
	qrig_delivery(r);
}

void
qrig_end(struct qrig *r)
{
	char command[100];

	queue_client_free(r->client);
	event_base_free(r->base);
	if (r->queue > 0)
		ck_assert_int_eq(qrig_kill(&r->queue, SIGTERM), 0);
	if (r->delivery > 0)
		ck_assert_int_eq(qrig_kill(&r->delivery, SIGTERM), 0);
	if (!r->sink->listening)
		free(r->sink);
	snprintf(command, sizeof(command), "rm -rf %s", r->spool);
	ck_assert_int_eq(system(command), 0);
}

void
qrig_on_answer(void *arg, bool durable, const char *text)
{
	struct qrig *r = arg;

	(void)text;
	r->answers++;
	r->durable += durable;
	event_base_loopbreak(r->base);
}

void
qrig_submit(struct qrig *r, const char *sender, const char *rcpts, const char *hold)
{
	qrig_submit_text(r, sender, rcpts, hold, str_of(QRIG_BODY));
}

void
qrig_submit_text(struct qrig *r, const char *sender, const char *rcpts,
    const char *hold, struct str text)
{
	struct envelope e;
	struct err err;
	struct str list = str_of(rcpts), rcpt;
	int fd = memfd_create("record", MFD_CLOEXEC);

	envelope_init(&e);
	id_make(e.id);
	envelope_set(&e.sender, str_of(sender));
	envelope_set(&e.hold, str_of(hold));
	e.received = clock_wall();
	while (str_word(&list, &rcpt)) {
		char *address = str_dup(rcpt);

		envelope_add_rcpt(&e, address);
		free(address);
	}
	ck_assert_int_eq(record_write(fd, &e, text, -1, 0, 0, &err), 0);
	queue_client_submit(r->client, e.id, fd, qrig_on_answer, r);
	envelope_clear(&e);
}

bool
qrig_answers(struct qrig *r, int n, int64_t ms)
{
	int64_t deadline = clock_mono_ms() + ms;

	while (r->answers < n && clock_mono_ms() < deadline) {
		event_base_loopexit(r->base, &(struct timeval){ .tv_usec = 20000 });
		event_base_dispatch(r->base);
	}
	return r->answers >= n;
}

size_t
qrig_mails(struct qrig *r)
{
	pthread_mutex_lock(&r->sink->lock);
	size_t n = r->sink->n;
	pthread_mutex_unlock(&r->sink->lock);
	return n;
}

int
qrig_files(const struct qrig *r, const char *dir)
{
	char path[100];
	int n = 0;

	snprintf(path, sizeof(path), "%s/%s", r->spool, dir);
	DIR *d = opendir(path);
	if (d == NULL)
		return -1;
	for (struct dirent *e = readdir(d); e != NULL; e = readdir(d))
		n += e->d_name[0] != '.';
	closedir(d);
	return n;
}

bool
qrig_spool_empty(const struct qrig *r)
{
	return qrig_files(r, "incoming") + qrig_files(r, "active") +
	    qrig_files(r, "deferred") ==
	    0;
}

const struct qrig_mail *
qrig_mail_from(struct qrig *r, const char *sender)
{
	for (size_t i = 0; i < qrig_mails(r); i++)
		if (strcmp(r->sink->mails[i].sender, sender) == 0)
			return &r->sink->mails[i];
	return NULL;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* The real queue and delivery processes on a real directory, with a next hop played by
 * the test: what is handed in arrives byte for byte, through refusals, outages, kill -9
 * of either process, and orderly ends. */
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/id.h"
#include "common/base/log.h"
#include "common/base/xalloc.h"
#include "contrib/relay/deliver.h"
#include "contrib/relay/queue_client.h"
#include "contrib/relay/queue_process.h"
#include "contrib/relay/record.h"

#define WAIT_MS 10000
#define MAILS_MAX 300

/* The processes that are forked beside a sink's threads use none of their locks. */
const char *__tsan_default_options(void);
const char *
__tsan_default_options(void)
{
	return "die_after_fork=0";
}

/* --- the next hop --------------------------------------------------------------------
 */

struct mail {
	char sender[100], rcpts[300];
	char *data; /* with the final dot */
};

struct sink {
	pthread_mutex_t lock;
	int listener;
	uint16_t port;
	pthread_t thread;
	struct mail mails[MAILS_MAX];
	size_t n;
	bool listening; /* its thread uses it until the process ends */
	bool stall; /* never answer the final dot */
	int stalled; /* connections that wait so */
};

struct link {
	struct sink *sink;
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
take_mail(struct sink *s, FILE *f, FILE *out, struct mail *m)
{
	say(out, "354 go");
	m->data = read_data(f);
	pthread_mutex_lock(&s->lock);
	bool stall = s->stall;
	s->stalled += stall;
	pthread_mutex_unlock(&s->lock);
	if (stall) {
		/* until the client is gone */
		while (fgetc(f) != EOF)
			;
		free(m->data);
		return false;
	}
	pthread_mutex_lock(&s->lock);
	ck_assert_uint_lt(s->n, MAILS_MAX);
	s->mails[s->n++] = *m;
	pthread_mutex_unlock(&s->lock);
	*m = (struct mail){ .data = NULL };
	say(out, "250 2.0.0 taken");
	return true;
}

static void
take_rcpt(FILE *f, struct mail *m, const char *line)
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
	struct mail m = { .data = NULL };
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
	struct sink *s = arg;

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
sink_bind(struct sink *s)
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

static void
sink_listen(struct sink *s)
{
	s->listening = true;
	ck_assert_int_eq(listen(s->listener, 100), 0);
	ck_assert_int_eq(pthread_create(&s->thread, NULL, sink_main, s), 0);
}

/* --- the processes -------------------------------------------------------------------
 */

struct rig {
	struct relay_conf conf;
	char spool[64], smarthost[40], address[QUEUE_ADDRESS_MAX];
	int listen_fd;
	pid_t queue, delivery;
	struct sink *sink;
	struct event_base *base;
	struct queue_client *client;
	int answers, durable;
};

static void
child_prepare(void)
{
	struct err err;

	signal(SIGTERM, SIG_DFL);
	if (getenv("TEST_LOG") == NULL)
		log_open("test", "/dev/null", LOG_LEVEL_ERR, &err);
}

static void
start_queue(struct rig *r)
{
	r->queue = fork();
	ck_assert_int_ge(r->queue, 0);
	if (r->queue == 0) {
		child_prepare();
		_exit(queue_process(&r->conf, r->listen_fd));
	}
}

static void
start_delivery(struct rig *r)
{
	static const char *const nobody[] = { "127.0.0.1:9" };
	struct resolver_conf dns = { .servers = nobody, .n_servers = 1 };

	r->delivery = fork();
	ck_assert_int_ge(r->delivery, 0);
	if (r->delivery == 0) {
		child_prepare();
		_exit(deliver_process(&r->conf, r->address, &dns));
	}
}

static int
end_process(pid_t *pid, int sig)
{
	int status = 0;

	ck_assert_int_gt(*pid, 0);
	kill(*pid, sig);
	ck_assert_int_eq(waitpid(*pid, &status, 0), *pid);
	*pid = 0;
	return status;
}

static void
rig_start(struct rig *r)
{
	struct err err;

	*r = (struct rig){ .sink = xcalloc(1, sizeof(*r->sink)) };
	snprintf(r->spool, sizeof(r->spool), "/tmp/queue.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(r->spool));
	sink_bind(r->sink);
	snprintf(r->smarthost, sizeof(r->smarthost), "[127.0.0.1]:%u", r->sink->port);
	static char host[] = "relay.example", none[] = "";
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
	start_queue(r);
	start_delivery(r);
	r->base = event_base_new();
	r->client = queue_client_new(r->base, r->address);
}

static void
rig_end(struct rig *r)
{
	char command[100];

	queue_client_free(r->client);
	event_base_free(r->base);
	if (r->queue > 0)
		ck_assert_int_eq(end_process(&r->queue, SIGTERM), 0);
	if (r->delivery > 0)
		ck_assert_int_eq(end_process(&r->delivery, SIGTERM), 0);
	if (!r->sink->listening)
		free(r->sink);
	snprintf(command, sizeof(command), "rm -rf %s", r->spool);
	ck_assert_int_eq(system(command), 0);
}

static void
on_answer(void *arg, bool durable, const char *text)
{
	struct rig *r = arg;

	(void)text;
	r->answers++;
	r->durable += durable;
	event_base_loopbreak(r->base);
}

#define BODY "Subject: test\r\n\r\nline\r\n.dot\r\n"

static void
submit(struct rig *r, const char *sender, const char *rcpts, const char *hold)
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
	ck_assert_int_eq(record_write(fd, &e, STR(BODY), -1, 0, 0, &err), 0);
	queue_client_submit(r->client, e.id, fd, on_answer, r);
	envelope_clear(&e);
}

static void
wait_answers(struct rig *r, int n)
{
	int64_t deadline = clock_mono_ms() + WAIT_MS;

	while (r->answers < n && clock_mono_ms() < deadline) {
		event_base_loopexit(r->base, &(struct timeval){ .tv_usec = 100000 });
		event_base_dispatch(r->base);
	}
	ck_assert_int_eq(r->answers, n);
}

static size_t
mails(struct rig *r)
{
	pthread_mutex_lock(&r->sink->lock);
	size_t n = r->sink->n;
	pthread_mutex_unlock(&r->sink->lock);
	return n;
}

/* Polls: the other side is another process. */
#define wait_until(condition)                                                          \
	do {                                                                           \
		int64_t deadline_ = clock_mono_ms() + WAIT_MS;                         \
		while (!(condition)) {                                                 \
			ck_assert_msg(                                                 \
			    clock_mono_ms() < deadline_, "never: %s", #condition);     \
			poll(NULL, 0, 10);                                             \
		}                                                                      \
	} while (0)

static int
files_in(const struct rig *r, const char *dir)
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

static bool
spool_empty(const struct rig *r)
{
	return files_in(r, "incoming") + files_in(r, "active") +
	    files_in(r, "deferred") ==
	    0;
}

static const struct mail *
mail_from(struct rig *r, const char *sender)
{
	for (size_t i = 0; i < mails(r); i++)
		if (strcmp(r->sink->mails[i].sender, sender) == 0)
			return &r->sink->mails[i];
	return NULL;
}

/* --- the cases -----------------------------------------------------------------------
 */

START_TEST(delivered)
{
	struct rig r;

	rig_start(&r);
	sink_listen(r.sink);
	submit(&r, "a@x.example", "u@y.example v@z.example", "");
	wait_answers(&r, 1);
	ck_assert_int_eq(r.durable, 1);
	wait_until(mails(&r) == 1);
	ck_assert_str_eq(r.sink->mails[0].sender, "a@x.example");
	/* one next hop: one transaction */
	ck_assert_str_eq(r.sink->mails[0].rcpts, "u@y.example v@z.example ");
	ck_assert_str_eq(
	    r.sink->mails[0].data, "Subject: test\r\n\r\nline\r\n..dot\r\n.\r\n");
	wait_until(spool_empty(&r));
	rig_end(&r);
}
END_TEST

START_TEST(refused_recipient_is_bounced)
{
	struct rig r;

	rig_start(&r);
	sink_listen(r.sink);
	submit(&r, "a@x.example", "good@y.example bad@y.example", "");
	wait_answers(&r, 1);
	wait_until(mails(&r) == 2);
	wait_until(spool_empty(&r));
	ck_assert_str_eq(mail_from(&r, "a@x.example")->rcpts, "good@y.example ");
	const struct mail *bounce = mail_from(&r, "");
	ck_assert_ptr_nonnull(bounce);
	ck_assert_str_eq(bounce->rcpts, "a@x.example ");
	ck_assert_ptr_nonnull(
	    strstr(bounce->data, "Final-Recipient: rfc822; bad@y.example\r\n"));
	ck_assert_ptr_nonnull(strstr(bounce->data, "Status: 5.1.1\r\n"));
	ck_assert_ptr_nonnull(strstr(bounce->data, "550 5.1.1 no such user"));
	ck_assert_ptr_nonnull(strstr(bounce->data, "Subject: test\r\n"));
	ck_assert_ptr_null(strstr(bounce->data, "dot"));
	ck_assert_ptr_null(strstr(bounce->data, "good@y.example"));
	ck_assert_int_eq(files_in(&r, "quarantine"), 0);
	rig_end(&r);
}
END_TEST

static const struct quarantine_row {
	const char *name, *sender, *rcpts, *hold;
	int failed; /* enum relay_failed */
} quarantine_rows[] = {
	{ "null sender", "", "bad@y.example", "", RELAY_FAILED_BOUNCE },
	{ "no bounces configured", "a@x.example", "bad@y.example", "",
	    RELAY_FAILED_QUARANTINE },
	{ "held", "a@x.example", "u@y.example", "virus", RELAY_FAILED_BOUNCE },
};

START_TEST(quarantine)
{
	const struct quarantine_row *row = &quarantine_rows[_i];
	struct rig r;

	rig_start(&r);
	end_process(&r.queue, SIGKILL);
	r.conf.failed = row->failed;
	start_queue(&r);
	sink_listen(r.sink);
	submit(&r, row->sender, row->rcpts, row->hold);
	wait_answers(&r, 1);
	ck_assert_int_eq(r.durable, 1);
	wait_until(files_in(&r, "quarantine") == 1);
	wait_until(spool_empty(&r));
	ck_assert_uint_eq(mails(&r), 0);
	rig_end(&r);
}
END_TEST

START_TEST(outage_is_survived)
{
	struct rig r;

	rig_start(&r);
	submit(&r, "a@x.example", "u@y.example", "");
	wait_answers(&r, 1);
	wait_until(files_in(&r, "deferred") == 1);
	sink_listen(r.sink);
	wait_until(mails(&r) == 1);
	wait_until(spool_empty(&r));
	rig_end(&r);
}
END_TEST

START_TEST(busy_mailbox_is_tried_again)
{
	struct rig r;

	rig_start(&r);
	sink_listen(r.sink);
	submit(&r, "a@x.example", "u@y.example busy@y.example", "");
	wait_answers(&r, 1);
	wait_until(mails(&r) == 1);
	wait_until(files_in(&r, "deferred") == 1);
	ck_assert_str_eq(r.sink->mails[0].rcpts, "u@y.example ");
	/* it is tried again, but only for the one that is open */
	poll(NULL, 0, 1500);
	ck_assert_uint_eq(mails(&r), 1);
	ck_assert_int_eq(files_in(&r, "deferred") + files_in(&r, "active"), 1);
	rig_end(&r);
}
END_TEST

START_TEST(lifetime_ends_in_a_bounce)
{
	struct rig r;

	rig_start(&r);
	end_process(&r.queue, SIGKILL);
	r.conf.lifetime = 1;
	start_queue(&r);
	sink_listen(r.sink);
	submit(&r, "a@x.example", "busy@y.example", "");
	wait_answers(&r, 1);
	wait_until(mails(&r) == 1);
	ck_assert_str_eq(r.sink->mails[0].rcpts, "a@x.example ");
	ck_assert_ptr_nonnull(strstr(r.sink->mails[0].data, "Status: 5.4.7"));
	ck_assert_ptr_nonnull(strstr(r.sink->mails[0].data, "mailbox busy"));
	wait_until(spool_empty(&r));
	rig_end(&r);
}
END_TEST

/* The queue process dies again and again: every message it answered for arrives, from
 * the spool or from memory; a client that was not answered for sends once more. */
START_TEST(queue_killed)
{
	struct rig r;
	char sender[40];
	int tries = 0;

	rig_start(&r);
	for (int i = 0; i < 10; i++) {
		snprintf(sender, sizeof(sender), "s%d@x.example", i);
		while (r.durable == i) {
			ck_assert_int_lt(tries, 50);
			submit(&r, sender, "u@y.example", "");
			wait_answers(&r, ++tries);
		}
		end_process(&r.queue, SIGKILL);
		start_queue(&r);
	}
	sink_listen(r.sink);
	wait_until(mails(&r) >= 10);
	wait_until(spool_empty(&r));
	for (int i = 0; i < 10; i++) {
		snprintf(sender, sizeof(sender), "s%d@x.example", i);
		ck_assert_msg(mail_from(&r, sender) != NULL, "%s is lost", sender);
	}
	rig_end(&r);
}
END_TEST

/* Death of either process while the next hop has the final dot and says nothing. */
START_TEST(killed_behind_the_dot)
{
	struct rig r;

	rig_start(&r);
	r.sink->stall = true;
	sink_listen(r.sink);
	submit(&r, "a@x.example", "u@y.example", "");
	wait_answers(&r, 1);
	wait_until(r.sink->stalled == 1);
	end_process(_i == 0 ? &r.delivery : &r.queue, SIGKILL);
	r.sink->stall = false;
	if (_i == 0)
		start_delivery(&r);
	else
		start_queue(&r);
	wait_until(mails(&r) == 1);
	wait_until(spool_empty(&r));
	rig_end(&r);
}
END_TEST

START_TEST(many_at_once)
{
	struct rig r;

	rig_start(&r);
	sink_listen(r.sink);
	for (int i = 0; i < 200; i++) {
		char sender[40];

		snprintf(sender, sizeof(sender), "s%d@x.example", i);
		submit(&r, sender, "u@y.example", "");
	}
	wait_answers(&r, 200);
	ck_assert_int_eq(r.durable, 200);
	wait_until(mails(&r) == 200);
	for (int i = 0; i < 200; i++) {
		char sender[40];

		snprintf(sender, sizeof(sender), "s%d@x.example", i);
		ck_assert_msg(mail_from(&r, sender) != NULL, "%s is lost", sender);
	}
	wait_until(spool_empty(&r));
	rig_end(&r);
}
END_TEST

/* A record that is none, an id that is no name: refused, and the process lives on. */
START_TEST(hostile_submissions)
{
	static const char *const ids[] = { "ID", "../x", "", "a/b", "ID" };
	struct rig r;

	rig_start(&r);
	sink_listen(r.sink);
	for (int i = 0; i < 5; i++) {
		int fd = memfd_create("record", MFD_CLOEXEC);

		ck_assert_int_ge(
		    dprintf(fd, "%.*s", i * 20,
			"PSTRNQ\r\nxxxxxxxxxxxxxxxxxxxxxxxxxxx"
			"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"),
		    0);
		queue_client_submit(r.client, ids[i], fd, on_answer, &r);
	}
	wait_answers(&r, 5);
	ck_assert_int_eq(r.durable, 0);
	submit(&r, "a@x.example", "u@y.example", "");
	wait_answers(&r, 6);
	ck_assert_int_eq(r.durable, 1);
	wait_until(mails(&r) == 1);
	rig_end(&r);
}
END_TEST

/* A disk with room for nothing more: answered, not lost; afterwards all is well. */
START_TEST(full_disk)
{
	struct rig r;
	const char *why;

	rig_start(&r);
	end_process(&r.queue, SIGKILL);
	r.conf.min_free = UINT64_MAX;
	start_queue(&r);
	wait_until((event_base_loop(r.base, EVLOOP_NONBLOCK), true) &&
	    !queue_client_accepting(r.client, &why));
	ck_assert_str_eq(why, "the mail queue's disk is full");
	rig_end(&r);
}
END_TEST

#define COUNT(a) ((int)(sizeof(a) / sizeof((a)[0])))

int
main(void)
{
	Suite *s = suite_create("queue_process");
	TCase *t = tcase_create("processes");

	signal(SIGPIPE, SIG_IGN);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, delivered);
	tcase_add_test(t, refused_recipient_is_bounced);
	tcase_add_loop_test(t, quarantine, 0, COUNT(quarantine_rows));
	tcase_add_test(t, outage_is_survived);
	tcase_add_test(t, busy_mailbox_is_tried_again);
	tcase_add_test(t, lifetime_ends_in_a_bounce);
	tcase_add_test(t, queue_killed);
	tcase_add_loop_test(t, killed_behind_the_dot, 0, 2);
	tcase_add_test(t, many_at_once);
	tcase_add_test(t, hostile_submissions);
	tcase_add_test(t, full_disk);
	suite_add_tcase(s, t);
	SRunner *sr = srunner_create(s);
	/* Each case in a process of its own, also under TSan: threads must not outlive it. */
	srunner_set_fork_status(sr, CK_FORK);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* A queue and a thread that speaks just enough SMTP (RFC 5321) to hand a notice to the
 * site's own server. */
#include "milters/mime/notify.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "common/base/buf.h"
#include "common/base/clock.h"
#include "common/base/id.h"
#include "common/base/log.h"
#include "common/base/xalloc.h"
#include "common/mail/smtp_reply.h"

#define STEP_MS 30000 /* for one step of the dialogue */
#define NOTICE_MAX 16384

struct notice {
	struct notice *next;
	char *message;
};

struct notifier {
	pthread_mutex_t lock;
	pthread_cond_t more;
	pthread_t thread;
	char *to, *host;
	struct ip ip;
	uint16_t port;
	struct notice *first, **last;
	size_t n;
	bool ending;
};

static int
wait_for(int fd, short what)
{
	struct pollfd p = { .fd = fd, .events = what };
	int rc;

	while ((rc = poll(&p, 1, STEP_MS)) < 0 && errno == EINTR)
		;
	return rc > 0 ? 0 : -1;
}

static int
connect_to(const struct notifier *n, struct err *err)
{
	struct sockaddr_storage sa;
	socklen_t len = ip_to_sockaddr(&n->ip, n->port, &sa);
	int fault = 0;
	socklen_t fault_len = sizeof(fault);
	int fd = socket(n->ip.family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return err_errno(err, "socket");
	if (connect(fd, (struct sockaddr *)&sa, len) != 0 &&
	    (errno != EINPROGRESS || wait_for(fd, POLLOUT) != 0 ||
		getsockopt(fd, SOL_SOCKET, SO_ERROR, &fault, &fault_len) != 0 || fault != 0)) {
		if (fault != 0)
			errno = fault;
		err_errno(err, "cannot connect");
		close(fd);
		return -1;
	}
	return fd;
}

static int
write_all(int fd, struct str s)
{
	while (s.len > 0) {
		ssize_t sent = send(fd, s.p, s.len, MSG_NOSIGNAL);

		if (sent < 0 && errno != EAGAIN && errno != EINTR)
			return -1;
		if (sent <= 0 && wait_for(fd, POLLOUT) != 0)
			return -1;
		if (sent > 0)
			s = str_sub(s, (size_t)sent, s.len);
	}
	return 0;
}

/* Send a step and read its reply; 0 when the code is of the wanted class. */
static int
step(int fd, const char *command, int want, struct err *err)
{
	struct smtp_reply reply;
	char chunk[2048];
	int rc = -1;

	smtp_reply_init(&reply);
	if (write_all(fd, str_of(command)) != 0) {
		err_set(err, "the server does not read");
		goto out;
	}
	for (;;) {
		enum parse done = PARSE_MORE;
		size_t used;
		ssize_t got = wait_for(fd, POLLIN) == 0 ? recv(fd, chunk, sizeof(chunk), 0) : 0;

		if (got > 0)
			done = smtp_reply_feed(
			    &reply, (struct str){ chunk, (size_t)got }, &used, err);
		else
			err_set(err, "the server does not answer");
		if (done == PARSE_DONE || done == PARSE_ERROR || got <= 0) {
			rc = done == PARSE_DONE && reply.code / 100 == want ? 0 : -1;
			if (done == PARSE_DONE && rc != 0)
				err_set(err, "the server answers %d %s", reply.code,
				    buf_cstr(&reply.text));
			break;
		}
	}
out:
	smtp_reply_clear(&reply);
	return rc;
}

static int
deliver(const struct notifier *n, const char *message, struct err *err)
{
	char helo[300], rcpt[600];
	int fd = connect_to(n, err);

	if (fd < 0)
		return -1;
	snprintf(helo, sizeof(helo), "EHLO %s\r\n", n->host);
	snprintf(rcpt, sizeof(rcpt), "RCPT TO:<%s>\r\n", n->to);
	/* The null sender: nothing may ever come back from a notice. */
	int rc = step(fd, "", 2, err) == 0 && step(fd, helo, 2, err) == 0 &&
	        step(fd, "MAIL FROM:<>\r\n", 2, err) == 0 && step(fd, rcpt, 2, err) == 0 &&
	        step(fd, "DATA\r\n", 3, err) == 0 && step(fd, message, 2, err) == 0
	    ? 0
	    : -1;
	write_all(fd, STR("QUIT\r\n"));
	close(fd);
	return rc;
}

static void *
run(void *arg)
{
	struct notifier *n = arg;
	struct err err;

	pthread_mutex_lock(&n->lock);
	for (;;) {
		while (n->first == NULL && !n->ending)
			pthread_cond_wait(&n->more, &n->lock);
		struct notice *one = n->first;
		if (n->ending || one == NULL)
			break;
		n->first = one->next;
		if (n->first == NULL)
			n->last = &n->first;
		n->n--;
		pthread_mutex_unlock(&n->lock);
		if (deliver(n, one->message, &err) != 0)
			log_msg(LOG_LEVEL_ERR, "notice", "to %s: %s", n->to, err.text);
		free(one->message);
		free(one);
		pthread_mutex_lock(&n->lock);
	}
	pthread_mutex_unlock(&n->lock);
	return NULL;
}

static bool
parse_via(struct str via, struct notifier *n)
{
	ptrdiff_t colon = str_rindex(via, ':');
	uint64_t port = 25;

	if (ip_parse(via, &n->ip)) {
		n->port = 25;
		return true;
	}
	if (colon < 0 || !str_to_uint(str_sub(via, (size_t)colon + 1, via.len), 1, 65535, &port) ||
	    !ip_parse(str_sub(via, 0, (size_t)colon), &n->ip))
		return false;
	n->port = (uint16_t)port;
	return true;
}

struct notifier *
notifier_new(const char *to, const char *via, const char *host, struct err *err)
{
	struct notifier *n = xcalloc(1, sizeof(*n));

	n->to = xstrdup(to);
	n->host = xstrdup(host);
	n->last = &n->first;
	pthread_mutex_init(&n->lock, NULL);
	pthread_cond_init(&n->more, NULL);
	if (parse_via(str_of(via), n) && pthread_create(&n->thread, NULL, run, n) == 0)
		return n;
	err_set(err, "notices cannot be sent via %s", via);
	pthread_cond_destroy(&n->more);
	pthread_mutex_destroy(&n->lock);
	free(n->to);
	free(n->host);
	free(n);
	return NULL;
}

void
notifier_free(struct notifier *n)
{
	if (n == NULL)
		return;
	pthread_mutex_lock(&n->lock);
	n->ending = true;
	pthread_cond_signal(&n->more);
	pthread_mutex_unlock(&n->lock);
	pthread_join(n->thread, NULL);
	if (n->n > 0)
		log_msg(LOG_LEVEL_WARN, "notice", "%zu notices are dropped", n->n);
	while (n->first != NULL) {
		struct notice *one = n->first;

		n->first = one->next;
		free(one->message);
		free(one);
	}
	pthread_cond_destroy(&n->more);
	pthread_mutex_destroy(&n->lock);
	free(n->to);
	free(n->host);
	free(n);
}

/* Foreign text in a mail of ours: printable ASCII and line ends, no more. */
static void
add_clean(struct buf *out, struct str s, bool lines)
{
	for (size_t i = 0; i < s.len; i++) {
		char c = s.p[i];

		if (c == '\n' && lines) {
			buf_add_cstr(out, "\r\n");
			/* dot-stuffing, RFC 5321 4.5.2 */
			if (i + 1 < s.len && s.p[i + 1] == '.')
				buf_add_char(out, '.');
		} else {
			buf_add_char(out, c < ' ' || c > '~' ? '?' : c);
		}
	}
}

static char *
compose(const struct notifier *n, struct str subject, struct str text)
{
	char id[ID_SIZE], date[64];
	time_t now = (time_t)clock_wall();
	struct tm tm;
	struct buf m;

	id_make(id);
	gmtime_r(&now, &tm);
	strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S +0000", &tm);
	buf_init(&m, NOTICE_MAX);
	buf_addf(&m,
	    "From: Postern <postmaster@%s>\r\nTo: <%s>\r\nDate: %s\r\n"
	    "Message-ID: <%s@%s>\r\nAuto-Submitted: auto-generated\r\nSubject: ",
	    n->host, n->to, date, id, n->host);
	add_clean(&m, str_sub(subject, 0, 200), false);
	buf_add_cstr(&m,
	    "\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n");
	add_clean(&m, str_sub(text, 0, NOTICE_MAX / 4), true);
	buf_add_cstr(&m, "\r\n.\r\n");
	return buf_take(&m);
}

void
notifier_send(struct notifier *n, struct str subject, struct str text)
{
	struct notice *one;

	if (n == NULL)
		return;
	one = xcalloc(1, sizeof(*one));
	one->message = compose(n, subject, text);
	pthread_mutex_lock(&n->lock);
	bool room = n->n < NOTICES_MAX;
	if (room) {
		*n->last = one;
		n->last = &one->next;
		n->n++;
		pthread_cond_signal(&n->more);
	}
	pthread_mutex_unlock(&n->lock);
	if (room)
		return;
	log_msg(LOG_LEVEL_ERR, "notice", "%d notices wait already; one is dropped",
	    NOTICES_MAX);
	free(one->message);
	free(one);
}

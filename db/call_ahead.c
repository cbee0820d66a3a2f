/* SPDX-License-Identifier: BSD-2-Clause */
/* The thread and its connections.  A question waits in a queue, goes to a connection
 * that is ready, and comes back when that one breaks: to another connection, to the
 * next server, or to an end.  A server that cannot be reached is left alone for a
 * while. */
#include "db/call_ahead.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/ip.h"
#include "common/base/log.h"
#include "common/base/metrics.h"
#include "common/base/xalloc.h"

#define SMTP_PORT 25
#define IDLE_MS 20000 /* a connection without questions */
#define USES_MAX 100 /* questions of a connection; servers grow weary */
#define BACKOFF_MIN_MS 1000
#define BACKOFF_MAX_MS 30000
#define TRIES_MAX 4 /* connections that break under one question */

METRIC_COUNTER(asked_total, "postern_call_ahead_questions_total", NULL,
    "Recipients asked about at internal servers");
METRIC_COUNTER(down_total, "postern_call_ahead_down_total", NULL,
    "Questions that no internal server answered");
METRIC_HISTOGRAM(
    asked_time, "postern_call_ahead_seconds", NULL, "Time until the answer");

struct question {
	struct question *next;
	char *rcpt;
	struct future *future;
	int64_t began_us, deadline_ms;
	unsigned tries;
	unsigned not_at; /* bits of servers that failed under it */
};

struct link {
	int fd; /* -1: closed */
	bool connecting;
	unsigned uses;
	int64_t deadline_ms; /* of the reply that is due, or of idleness */
	struct dialog dialog;
	struct question *q; /* NULL: none */
};

struct server {
	struct ip ip;
	uint16_t port;
	char name[IP_TEXT_MAX + 10];
	int64_t again_ms; /* not to be tried before */
	int64_t backoff_ms;
	bool told; /* the log knows that it is away */
	struct link *links;
};

struct call_ahead {
	pthread_mutex_t lock; /* of the queue, n_open and stop */
	bool stop;
	struct question *first, **last;
	size_t n_open; /* questions anywhere */
	struct question *
	    *flying; /* by link: who asks the same may join; under the lock */
	int wake;
	pthread_t thread;
	/* the thread's own */
	struct server *servers;
	size_t n_servers, n_links; /* links of each server */
	char *host;
	int64_t command_ms;
	struct pollfd *polls;
};

/* --- questions --- */

static void
question_settle(
    struct call_ahead *c, struct question *q, const struct call_ahead_answer *answer)
{
	struct call_ahead_answer *value = xmalloc(sizeof(*value));

	*value = *answer;
	if (value->state == CALL_AHEAD_DOWN)
		metric_add(&down_total, 1);
	metric_observe_us(&asked_time, clock_mono_us() - q->began_us);
	pthread_mutex_lock(&c->lock);
	c->n_open--;
	pthread_mutex_unlock(&c->lock);
	future_set(q->future, value);
	future_unref(q->future);
	free(q->rcpt);
	free(q);
}

static void
question_down(struct call_ahead *c, struct question *q, const char *why)
{
	struct call_ahead_answer down = { .state = CALL_AHEAD_DOWN };

	(void)snprintf(down.text, sizeof(down.text), "%s", why);
	question_settle(c, q, &down);
}

/* Blanks or control octets within quotes, or longer than any address: no server of ours
 * has such a recipient. */
static void
question_unfit(struct call_ahead *c, struct question *q)
{
	static const struct call_ahead_answer unfit = { CALL_AHEAD_NO, 553, "5.1.3",
		"not an address to ask about" };

	question_settle(c, q, &unfit);
}

static void
enqueue_first(struct call_ahead *c, struct question *q)
{
	pthread_mutex_lock(&c->lock);
	q->next = c->first;
	if (c->first == NULL)
		c->last = &q->next;
	c->first = q;
	pthread_mutex_unlock(&c->lock);
}

/* Take *at out of the queue; the lock is held. */
static struct question *
unqueue(struct call_ahead *c, struct question **at)
{
	struct question *q = *at;

	*at = q->next;
	if (*at == NULL)
		c->last = at;
	q->next = NULL;
	return q;
}

/* --- links --- */

static void
fly(struct call_ahead *c, struct server *s, struct link *l, struct question *q)
{
	size_t i = (size_t)(s - c->servers) * c->n_links + (size_t)(l - s->links);

	pthread_mutex_lock(&c->lock);
	l->q = q;
	c->flying[i] = q;
	pthread_mutex_unlock(&c->lock);
}

static void
link_close(struct link *l)
{
	close(l->fd);
	dialog_clear(&l->dialog);
	*l = (struct link){ .fd = -1, .q = l->q };
}

/* The server is away, or what comes from it is of no use. */
static void
server_failed(struct server *s, const char *why)
{
	s->backoff_ms = s->backoff_ms == 0 ? BACKOFF_MIN_MS : 2 * s->backoff_ms;
	if (s->backoff_ms > BACKOFF_MAX_MS)
		s->backoff_ms = BACKOFF_MAX_MS;
	s->again_ms = clock_mono_ms() + s->backoff_ms;
	if (!s->told)
		log_msg(LOG_LEVEL_WARN, "call-ahead.down", "%s: %s", s->name, why);
	s->told = true;
}

static void
server_good(struct server *s)
{
	if (s->told)
		log_msg(LOG_LEVEL_INFO, "call-ahead.up", "%s answers again", s->name);
	s->told = false;
	s->backoff_ms = 0;
	s->again_ms = 0;
}

/* It broke.  A link that served before may have been closed for its age: that says
 * nothing of the server, and the question is asked anew. */
static void
link_failed(struct call_ahead *c, struct server *s, struct link *l, const char *why)
{
	struct question *q = l->q;
	bool served = l->uses > 0;

	if (q != NULL)
		fly(c, s, l, NULL);
	link_close(l);
	if (!served)
		server_failed(s, why);
	if (q == NULL)
		return;
	if (!served)
		q->not_at |= 1u << (s - c->servers);
	if (++q->tries >= TRIES_MAX)
		question_down(c, q, why);
	else
		enqueue_first(c, q);
}

static void
link_open(struct call_ahead *c, struct server *s, struct link *l)
{
	struct sockaddr_storage sa;
	socklen_t len = ip_to_sockaddr(&s->ip, s->port, &sa);
	int one = 1;

	l->fd = socket(sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (l->fd < 0) {
		server_failed(s, "no socket");
		return;
	}
	(void)setsockopt(l->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	dialog_init(&l->dialog, c->host);
	l->connecting = true;
	l->uses = 0;
	l->deadline_ms = clock_mono_ms() + c->command_ms;
	if (connect(l->fd, (struct sockaddr *)&sa, len) < 0 && errno != EINPROGRESS)
		link_failed(c, s, l, "cannot connect");
}

static void
link_send(struct call_ahead *c, struct server *s, struct link *l)
{
	struct buf *out = &l->dialog.out;

	while (out->len > 0) {
		ssize_t n = send(l->fd, out->p, out->len, MSG_NOSIGNAL);

		if (n > 0) {
			buf_consume(out, (size_t)n);
			continue;
		}
		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			return;
		link_failed(c, s, l, "connection lost");
		return;
	}
}

/* Its idle time is over, or it served enough: no answer to QUIT is waited for. */
static void
link_quit(struct link *l)
{
	(void)send(l->fd, "QUIT\r\n", 6, MSG_NOSIGNAL | MSG_DONTWAIT);
	link_close(l);
}

/* What follows from what was read. */
static void
link_settle(struct call_ahead *c, struct server *s, struct link *l)
{
	struct dialog *d = &l->dialog;
	struct question *q = l->q;

	if (d->answered && q != NULL) {
		d->answered = false;
		l->uses++;
		fly(c, s, l, NULL);
		server_good(s);
		question_settle(c, q, &d->answer);
	}
	if (d->state == DIALOG_BROKEN) {
		link_failed(c, s, l, d->why);
		return;
	}
	if (d->state == DIALOG_READY && l->uses >= USES_MAX) {
		link_quit(l);
		return;
	}
	l->deadline_ms =
	    clock_mono_ms() + (d->state == DIALOG_READY ? IDLE_MS : c->command_ms);
	link_send(c, s, l);
}

static void
link_read(struct call_ahead *c, struct server *s, struct link *l)
{
	char data[4096];
	ssize_t n = recv(l->fd, data, sizeof(data), 0);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		link_failed(c, s, l, n == 0 ? "the server closed" : "connection lost");
		return;
	}
	dialog_feed(&l->dialog, (struct str){ data, (size_t)n });
	link_settle(c, s, l);
}

static void
link_event(struct call_ahead *c, struct server *s, struct link *l, short events)
{
	int error = 0;
	socklen_t len = sizeof(error);

	if (l->connecting && (events & (POLLOUT | POLLERR | POLLHUP)) != 0) {
		if (getsockopt(l->fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0 ||
		    error != 0) {
			link_failed(c, s, l, "cannot connect");
			return;
		}
		l->connecting = false;
	}
	if ((events & (POLLIN | POLLHUP | POLLERR)) != 0)
		link_read(c, s, l);
	else if ((events & POLLOUT) != 0)
		link_send(c, s, l);
}

/* --- who asks whom --- */

/* A place for a question: a ready link, or none yet (then one may be on its way).
 * *hope: somebody may serve it later. */
static struct link *
find_link(
    struct call_ahead *c, const struct question *q, struct server **server, bool *hope)
{
	int64_t now = clock_mono_ms();

	*hope = false;
	for (size_t i = 0; i < c->n_servers; i++) {
		struct server *s = &c->servers[i];
		struct link *closed = NULL;

		if ((q->not_at & 1u << i) != 0)
			continue;
		for (size_t k = 0; k < c->n_links; k++) {
			struct link *l = &s->links[k];

			*server = s;
			if (l->fd < 0)
				closed = l;
			else if (l->dialog.state == DIALOG_READY && l->q == NULL)
				return l;
			else
				*hope = true;
		}
		if (s->again_ms > now) {
			if (*hope)
				return NULL;
			continue;
		}
		if (closed != NULL)
			return closed;
		if (*hope)
			return NULL; /* all are at work: wait for this server */
	}
	return NULL;
}

/* Give a question to a link; false: it must wait. */
static bool
place(struct call_ahead *c, struct question *q)
{
	struct server *s = NULL;
	bool hope;
	struct link *l = find_link(c, q, &s, &hope);

	if (l == NULL && hope)
		return false;
	if (l == NULL) {
		question_down(c, q, "no server can be reached");
		return true;
	}
	if (l->fd < 0) {
		fly(c, s, l, q); /* it breaks with the link, should that not open */
		link_open(c, s, l);
		return true;
	}
	fly(c, s, l, q);
	l->deadline_ms = clock_mono_ms() + c->command_ms;
	if (!dialog_ask(&l->dialog, str_of(q->rcpt))) {
		fly(c, s, l, NULL);
		question_unfit(c, q);
		return true;
	}
	link_send(c, s, l);
	return true;
}

/* A link that became ready with its question waiting. */
static void
ask_ready(struct call_ahead *c, struct server *s, struct link *l)
{
	struct question *q = l->q;

	if (l->fd < 0 || q == NULL || l->dialog.state != DIALOG_READY)
		return;
	if (dialog_ask(&l->dialog, str_of(q->rcpt))) {
		link_send(c, s, l);
		return;
	}
	fly(c, s, l, NULL);
	question_unfit(c, q);
}

static struct question *
next_question(struct call_ahead *c)
{
	pthread_mutex_lock(&c->lock);
	struct question *q = c->first == NULL ? NULL : unqueue(c, &c->first);
	pthread_mutex_unlock(&c->lock);
	return q;
}

static void
place_all(struct call_ahead *c)
{
	struct question *q;

	while ((q = next_question(c)) != NULL)
		if (!place(c, q)) {
			enqueue_first(c, q);
			return;
		}
}

/* --- time --- */

static void
drop_late(struct call_ahead *c, int64_t now)
{
	struct question *late = NULL;

	pthread_mutex_lock(&c->lock);
	for (struct question **at = &c->first; *at != NULL;) {
		if ((*at)->deadline_ms > now) {
			at = &(*at)->next;
			continue;
		}
		struct question *q = unqueue(c, at);

		q->next = late;
		late = q;
	}
	pthread_mutex_unlock(&c->lock);
	while (late != NULL) {
		struct question *q = late;

		late = q->next;
		question_down(c, q, "no answer in time");
	}
}

static void
tick_link(struct call_ahead *c, struct server *s, struct link *l, int64_t now)
{
	struct question *q = l->q;

	if (l->fd < 0)
		return;
	if (q != NULL && q->deadline_ms <= now) {
		/* What the link says later would be taken for the next one's answer. */
		fly(c, s, l, NULL);
		question_down(c, q, "no answer in time");
		server_failed(s, "no answer in time");
		link_close(l);
	} else if (l->deadline_ms <= now && l->dialog.state == DIALOG_READY) {
		link_quit(l);
	} else if (l->deadline_ms <= now) {
		l->uses = 0;
		link_failed(c, s, l, "no answer in time");
	}
}

static int64_t
least(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

/* When something is due, ms from now. */
static int
next_tick(struct call_ahead *c, int64_t now)
{
	int64_t at = now + 10000;

	for (size_t i = 0; i < c->n_servers; i++)
		for (size_t k = 0; k < c->n_links; k++) {
			const struct link *l = &c->servers[i].links[k];

			if (l->fd >= 0)
				at = least(at, l->deadline_ms);
			if (l->q != NULL)
				at = least(at, l->q->deadline_ms);
		}
	pthread_mutex_lock(&c->lock);
	for (const struct question *q = c->first; q != NULL; q = q->next)
		at = least(at, q->deadline_ms);
	pthread_mutex_unlock(&c->lock);
	return at <= now ? 0 : (int)(at - now);
}

/* --- the loop --- */

static size_t
fill_polls(struct call_ahead *c)
{
	size_t n = 0;

	c->polls[n++] = (struct pollfd){ c->wake, POLLIN, 0 };
	for (size_t i = 0; i < c->n_servers; i++)
		for (size_t k = 0; k < c->n_links; k++) {
			const struct link *l = &c->servers[i].links[k];
			bool out = l->connecting || l->dialog.out.len > 0;

			c->polls[n++] = (struct pollfd){ l->fd,
				(short)(POLLIN | (out ? POLLOUT : 0)), 0 };
		}
	return n;
}

static void
serve(struct call_ahead *c, int64_t now)
{
	size_t at = 1;

	for (size_t i = 0; i < c->n_servers; i++)
		for (size_t k = 0; k < c->n_links; k++, at++) {
			struct server *s = &c->servers[i];
			struct link *l = &s->links[k];

			if (l->fd >= 0 && c->polls[at].revents != 0)
				link_event(c, s, l, c->polls[at].revents);
			tick_link(c, s, l, now);
			ask_ready(c, s, l);
		}
}

static bool
stopping(struct call_ahead *c)
{
	pthread_mutex_lock(&c->lock);
	bool stop = c->stop;
	pthread_mutex_unlock(&c->lock);
	return stop;
}

static void
end_all(struct call_ahead *c)
{
	struct question *q;

	for (size_t i = 0; i < c->n_servers; i++)
		for (size_t k = 0; k < c->n_links; k++) {
			struct link *l = &c->servers[i].links[k];

			q = l->q;
			if (q != NULL) {
				fly(c, &c->servers[i], l, NULL);
				question_down(c, q, "stopping");
			}
			if (l->fd >= 0)
				link_quit(l);
		}
	while ((q = next_question(c)) != NULL)
		question_down(c, q, "stopping");
}

static void *
loop(void *arg)
{
	struct call_ahead *c = arg;
	uint64_t count;

	while (!stopping(c)) {
		size_t n = fill_polls(c);
		int64_t now = clock_mono_ms();

		(void)poll(c->polls, (nfds_t)n, next_tick(c, now));
		(void)!read(c->wake, &count, sizeof(count));
		now = clock_mono_ms();
		drop_late(c, now);
		serve(c, now);
		place_all(c);
	}
	end_all(c);
	return NULL;
}

/* --- what others call --- */

static void
wake(struct call_ahead *c)
{
	const uint64_t one = 1;

	(void)!write(c->wake, &one, sizeof(one));
}

/* Somebody asks the same already; the lock is held. */
static struct future *
join(struct call_ahead *c, struct str rcpt)
{
	size_t n = c->n_servers * c->n_links;

	for (const struct question *q = c->first; q != NULL; q = q->next)
		if (str_is(rcpt, q->rcpt))
			return future_ref(q->future);
	for (size_t i = 0; i < n; i++)
		if (c->flying[i] != NULL && str_is(rcpt, c->flying[i]->rcpt))
			return future_ref(c->flying[i]->future);
	return NULL;
}

struct future *
call_ahead_ask(struct call_ahead *c, struct str rcpt, int64_t deadline_ms)
{
	struct question *q;
	struct future *f;

	metric_add(&asked_total, 1);
	pthread_mutex_lock(&c->lock);
	f = join(c, rcpt);
	if (f != NULL) {
		pthread_mutex_unlock(&c->lock);
		return f;
	}
	q = xcalloc(1, sizeof(*q));
	q->rcpt = str_dup(rcpt);
	q->future = future_new(free);
	q->began_us = clock_mono_us();
	q->deadline_ms = deadline_ms;
	f = future_ref(q->future);
	c->n_open++;
	if (c->n_open <= CALL_AHEAD_QUEUE_MAX) {
		*c->last = q;
		c->last = &q->next;
		pthread_mutex_unlock(&c->lock);
		wake(c);
		return f;
	}
	pthread_mutex_unlock(&c->lock);
	question_down(c, q, "too many questions at once");
	return f;
}

/* "10.0.0.5", "10.0.0.5:25", "[::1]:25" */
static int
server_read(struct server *s, const char *text, struct err *err)
{
	struct str t = str_of(text);
	ptrdiff_t colon = str_rindex(t, ':');
	uint64_t port = SMTP_PORT;

	(void)snprintf(s->name, sizeof(s->name), "%s", text);
	s->port = SMTP_PORT;
	if (ip_parse(t, &s->ip))
		return 0;
	if (colon < 0 || !ip_parse(str_sub(t, 0, (size_t)colon), &s->ip) ||
	    !str_to_uint(str_sub(t, (size_t)colon + 1, t.len), 1, 65535, &port))
		return err_set(err, "call-ahead: %s is no address and port", text);
	s->port = (uint16_t)port;
	return 0;
}

static void
call_ahead_destroy(struct call_ahead *c)
{
	for (size_t i = 0; i < c->n_servers; i++)
		free(c->servers[i].links);
	if (c->wake >= 0)
		close(c->wake);
	pthread_mutex_destroy(&c->lock);
	free(c->servers);
	free(c->flying);
	free(c->polls);
	free(c->host);
	free(c);
}

struct call_ahead *
call_ahead_new(const struct call_ahead_conf *conf, struct err *err)
{
	struct call_ahead *c = xcalloc(1, sizeof(*c));
	size_t links;
	int rc = 0;

	pthread_mutex_init(&c->lock, NULL);
	c->last = &c->first;
	c->host = xstrdup(conf->host[0] != '\0' ? conf->host : "localhost");
	c->command_ms = conf->command_ms;
	c->n_links = (size_t)conf->connections;
	c->servers = xcalloc(conf->n_servers, sizeof(*c->servers));
	for (; rc == 0 && c->n_servers < conf->n_servers; c->n_servers++) {
		struct server *s = &c->servers[c->n_servers];

		rc = server_read(s, conf->servers[c->n_servers], err);
		s->links = xcalloc(c->n_links, sizeof(*s->links));
		for (size_t k = 0; k < c->n_links; k++)
			s->links[k].fd = -1;
	}
	links = c->n_servers * c->n_links;
	c->flying = xcalloc(links, sizeof(struct question *));
	c->polls = xcalloc(links + 1, sizeof(*c->polls));
	c->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (rc == 0 && c->wake < 0)
		rc = err_errno(err, "eventfd");
	if (rc == 0 && (errno = pthread_create(&c->thread, NULL, loop, c)) != 0)
		rc = err_errno(err, "thread for call-ahead");
	if (rc == 0)
		return c;
	call_ahead_destroy(c);
	return NULL;
}

void
call_ahead_free(struct call_ahead *c)
{
	if (c == NULL)
		return;
	pthread_mutex_lock(&c->lock);
	c->stop = true;
	pthread_mutex_unlock(&c->lock);
	wake(c);
	pthread_join(c->thread, NULL);
	call_ahead_destroy(c);
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* The queue process: its sockets, what it accepts, the health of its disk, its end. */
#include "contrib/relay/queue_process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/metrics.h"
#include "common/base/xalloc.h"
#include "contrib/relay/queue_recover.h"
#include "contrib/relay/queue_work.h"

enum {
	THREADS = 4, /* that wait for the disk */
	ACTIVE_MAX = 1000,
	IO_FAILURES_MAX =
	    2, /* in a row; then nothing is accepted until a probe succeeds */
	HEALTH_MS = 1000,
	STOP_MS = 30000, /* for what is under way at TERM */
	STOP_POLL_MS = 50,
	INODES_MIN = 100,
	FDS_BESIDE = 400, /* descriptors for all but active messages */
	ACTIVE_MIN = 10,
};

METRIC_COUNTER(accepted, "postern_relay_messages_total", "fate=\"queued\"",
    "Messages handed to the queue by their fate.");
METRIC_COUNTER(refused, "postern_relay_messages_total", "fate=\"refused\"",
    "Messages handed to the queue by their fate.");

/* A listener's record on its way to the disk. */
struct submission {
	struct queue_commit commit; /* first: the pool gives it back */
	uint64_t peer; /* serial */
	uint32_t seq;
};

static void
set_timer(struct event *ev, int64_t ms)
{
	struct timeval tv = { .tv_sec = (time_t)(ms / 1000),
		.tv_usec = (suseconds_t)(ms % 1000) * 1000 };

	event_add(ev, &tv);
}

void
queue_server_run(struct queue_server *s)
{
	queue_work_run(s);
	int64_t due = queue_work_due(s);

	if (due >= 0)
		set_timer(s->wake, due);
}

/* --- accepting or not ----------------------------------------------------------------
 */

static void
send_state(const struct queue_server *s, const struct queue_peer *peer)
{
	struct queue_packet p = { .verb = QUEUE_STATE,
		.flag = s->accepting ? 1 : 0,
		.a = str_of(s->why_not) };

	if (peer->role == QUEUE_ROLE_LISTENER)
		queue_link_send(peer->link, &p, -1);
}

static void
set_accepting(struct queue_server *s, bool accepting, const char *why)
{
	struct queue_peer *peer;

	if (s->accepting == accepting && strcmp(s->why_not, why) == 0)
		return;
	s->accepting = accepting;
	snprintf(s->why_not, sizeof(s->why_not), "%s", why);
	log_msg(accepting ? LOG_LEVEL_WARN : LOG_LEVEL_ERR, "accepting", "%s%s",
	    accepting ? "yes" : "no: ", why);
	TAILQ_FOREACH(peer, &s->peers, next)
	send_state(s, peer);
}

/* From all that is known now. */
static void
judge_health(struct queue_server *s)
{
	uint64_t octets, inodes;
	struct err err;

	if (s->stop_by_ms != 0)
		set_accepting(s, false, "shutting down");
	else if (s->io_failures >= IO_FAILURES_MAX)
		set_accepting(s, false, "the mail queue's disk fails");
	else if (queue_disk_space(&s->disk, &octets, &inodes, &err) != 0)
		set_accepting(s, false, "the mail queue's disk fails");
	else if (octets < s->conf->min_free || inodes < INODES_MIN)
		set_accepting(s, false, "the mail queue's disk is full");
	else
		set_accepting(s, true, "");
}

void
queue_server_disk_result(struct queue_server *s, bool failed)
{
	s->io_failures = failed ? s->io_failures + 1 : 0;
	if (failed)
		judge_health(s);
}

struct probe {
	struct queue_task task;
	struct queue_server *server;
	int rc;
	struct err err;
};

static void
probe_run(struct queue_task *t)
{
	struct probe *p = (struct probe *)(void *)t;

	p->rc = queue_disk_probe(&p->server->disk, &p->err);
}

static void
probe_done(struct queue_task *t)
{
	struct probe *p = (struct probe *)(void *)t;
	struct queue_server *s = p->server;

	s->probing = false;
	s->committing--;
	if (p->rc == 0)
		s->io_failures = 0;
	else
		log_err("probe", &p->err);
	judge_health(s);
	free(p);
}

static void
start_probe(struct queue_server *s)
{
	struct probe *p = xcalloc(1, sizeof(*p));

	p->task = (struct queue_task){ .run = probe_run, .done = probe_done };
	p->server = s;
	s->probing = true;
	s->committing++;
	queue_pool_run(s->pool, &p->task);
}

static void
on_health(evutil_socket_t fd, short what, void *arg)
{
	struct queue_server *s = arg;

	(void)fd;
	(void)what;
	event_add(s->listen, NULL);
	if (s->io_failures >= IO_FAILURES_MAX && !s->probing)
		start_probe(s);
	else
		judge_health(s);
}

static void
on_wake(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	queue_server_run(arg);
}

/* --- submissions ---------------------------------------------------------------------
 */

static struct queue_peer *
find_peer(struct queue_server *s, uint64_t serial)
{
	struct queue_peer *peer;

	TAILQ_FOREACH(peer, &s->peers, next)
	if (peer->serial == serial)
		return peer;
	return NULL;
}

static void
answer(struct queue_peer *peer, uint32_t seq, bool durable, const char *text)
{
	struct queue_packet p = { .verb = QUEUE_RESULT,
		.seq = seq,
		.flag = durable ? 1 : 0,
		.a = str_of(text) };

	metric_add(durable ? &accepted : &refused, 1);
	if (peer != NULL)
		queue_link_send(peer->link, &p, -1);
}

static void
log_submission(const struct queue_commit *c)
{
	struct logline l;

	logline_init(&l, c->durable ? LOG_LEVEL_INFO : LOG_LEVEL_ERR,
	    !c->durable                    ? "not-queued"
		: c->dir == QUEUE_INCOMING ? "queued"
					   : "held");
	logline_cstr(&l, "id", c->id);
	if (c->durable) {
		logline_cstr(&l, "from", c->record.envelope.sender);
		logline_int(&l, "recipients", (int64_t)c->record.envelope.n_rcpts);
		logline_int(&l, "size", (int64_t)c->record.message_len);
		if (c->dir != QUEUE_INCOMING)
			logline_cstr(&l, "why", c->record.envelope.hold);
	} else {
		logline_cstr(&l, "why", c->err.text);
	}
	logline_send(&l);
}

static void
on_committed(void *arg, struct queue_commit *c)
{
	struct queue_server *s = arg;
	struct submission *sub = (struct submission *)(void *)c;

	s->committing--;
	/* A record that was none says nothing of the disk. */
	if (c->durable || c->io_failed)
		queue_server_disk_result(s, c->io_failed);
	log_submission(c);
	answer(find_peer(s, sub->peer), sub->seq, c->durable,
	    c->durable         ? ""
		: c->io_failed ? "message could not be stored"
			       : c->err.text);
	if (c->durable && c->dir == QUEUE_INCOMING)
		queue_work_add(s, c->id);
	if (c->durable)
		record_clear(&c->record);
	close(c->source);
	free(sub);
	queue_server_run(s);
}

static void
on_submit(struct queue_peer *peer, const struct queue_packet *p, int fd)
{
	struct queue_server *s = peer->server;
	const char *why = NULL;

	if (fd < 0)
		why = "no record came along";
	else if (!queue_id_ok(p->a))
		why = "not a message id";
	else if (s->io_failures >= IO_FAILURES_MAX || s->stop_by_ms != 0)
		why = s->why_not;
	struct submission *sub = xcalloc(1, sizeof(*sub));
	if (why == NULL) {
		memcpy(sub->commit.id, p->a.p, p->a.len);
		if (queue_find(s->queue, sub->commit.id) != NULL)
			why = "a message of that id is known";
	}
	if (why != NULL) {
		free(sub);
		if (fd >= 0)
			close(fd);
		answer(peer, p->seq, false, why);
		return;
	}
	sub->commit.source = fd;
	sub->peer = peer->serial;
	sub->seq = p->seq;
	s->committing++;
	queue_pool_commit(s->pool, &sub->commit);
}

/* --- peers ---------------------------------------------------------------------------
 */

struct queue_peer *
queue_server_delivery(struct queue_server *s)
{
	struct queue_peer *peer, *best = NULL;

	TAILQ_FOREACH(peer, &s->peers, next)
	if (peer->role == QUEUE_ROLE_DELIVERY && peer->room > 0 &&
	    (best == NULL || peer->room > best->room))
		best = peer;
	return best;
}

static void
peer_drop(struct queue_peer *peer)
{
	struct queue_server *s = peer->server;

	queue_work_lost(s, peer);
	TAILQ_REMOVE(&s->peers, peer, next);
	queue_link_free(peer->link);
	free(peer);
}

static void
on_closed(void *arg)
{
	struct queue_peer *peer = arg;
	struct queue_server *s = peer->server;

	peer_drop(peer);
	queue_server_run(s);
}

static int
on_hello(struct queue_peer *peer, const struct queue_packet *p)
{
	if (peer->role != 0 ||
	    (p->flag != QUEUE_ROLE_LISTENER && p->flag != QUEUE_ROLE_DELIVERY))
		return -1;
	peer->role = p->flag;
	peer->room = peer->role == QUEUE_ROLE_DELIVERY ? p->number : 0;
	send_state(peer->server, peer);
	return 0;
}

static void
on_packet(void *arg, const struct queue_packet *p, int fd)
{
	struct queue_peer *peer = arg;
	struct queue_server *s = peer->server;
	int rc = -1;

	if (peer->role == QUEUE_ROLE_LISTENER && p->verb == QUEUE_SUBMIT) {
		on_submit(peer, p, fd);
		return;
	}
	if (fd >= 0)
		close(fd);
	if (p->verb == QUEUE_HELLO)
		rc = on_hello(peer, p);
	else if (peer->role == QUEUE_ROLE_DELIVERY && p->verb == QUEUE_OUTCOME)
		rc = queue_work_outcome(s, peer, p);
	else if (peer->role == QUEUE_ROLE_DELIVERY && p->verb == QUEUE_DONE)
		rc = queue_work_done(s, peer, p);
	if (rc != 0) {
		log_msg(LOG_LEVEL_ERR, "peer",
		    "a process of ours says what makes no sense");
		peer_drop(peer);
	}
	if (p->verb != QUEUE_OUTCOME)
		queue_server_run(s);
}

/* Only processes of our own user, or root's, may hand in mail here. */
static bool
is_ours(int fd)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) == 0 &&
	    (cred.uid == geteuid() || cred.uid == 0);
}

static void
on_accept(evutil_socket_t listener, short what, void *arg)
{
	struct queue_server *s = arg;
	int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	(void)what;
	if (fd < 0) {
		/* Without descriptors it would be told of the same client for ever. */
		if (errno == EMFILE || errno == ENFILE)
			event_del(s->listen);
		return;
	}
	if (!is_ours(fd)) {
		log_msg(
		    LOG_LEVEL_ERR, "peer", "a process of another user was turned away");
		close(fd);
		return;
	}
	struct queue_peer *peer = xcalloc(1, sizeof(*peer));
	peer->server = s;
	peer->serial = ++s->serial;
	TAILQ_INIT(&peer->works);
	peer->link = queue_link_new(s->base, fd, on_packet, on_closed, peer);
	TAILQ_INSERT_TAIL(&s->peers, peer, next);
}

/* --- start and end -------------------------------------------------------------------
 */

static bool
on_found(void *arg, const struct queue_found *f)
{
	struct queue_server *s = arg;
	bool fresh = f->dir == QUEUE_INCOMING;
	int64_t now = clock_mono_ms();

	/* What was active may have been sent: it goes first, as if its time had come.
	 */
	if (f->dir == QUEUE_DEFERRED)
		now = queue_due_ms(&s->limits, f->next_try, clock_wall(), now);
	return queue_add(s->queue, f->id, f->dir, fresh, now) != NULL;
}

static int
recover(struct queue_server *s, struct err *err)
{
	struct queue_recovery sum;
	struct logline l;
	int64_t begin = clock_mono_ms();

	if (queue_disk_recover(&s->disk, on_found, s, &sum, err) != 0)
		return -1;
	logline_init(&l, LOG_LEVEL_INFO, "recovery");
	logline_int(&l, "messages", (int64_t)sum.found);
	logline_int(&l, "recipients", (int64_t)sum.open_rcpts);
	logline_int(&l, "dup_risk", (int64_t)sum.dup_risk);
	logline_int(&l, "discarded", (int64_t)sum.discarded);
	logline_int(&l, "finished", (int64_t)sum.finished);
	logline_int(&l, "corrupt", (int64_t)sum.corrupt);
	logline_int(&l, "unreadable", (int64_t)sum.unreadable);
	logline_int(&l, "ms", clock_mono_ms() - begin);
	logline_send(&l);
	return 0;
}

/* One queue process per spool: a second one would deliver everything twice.  Held until
 * the process ends. */
static int
lock_spool(const char *spool, struct err *err)
{
	char *path = xasprintf("%s/lock", spool);
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	free(path);
	if (fd < 0)
		return err_errno(err, "cannot make %s/lock", spool);
	if (flock(fd, LOCK_EX | LOCK_NB) == 0)
		return 0;
	/* The last one may still be dying. */
	log_msg(LOG_LEVEL_WARN, "lock",
	    "%s is in use by another queue process; waiting", spool);
	if (flock(fd, LOCK_EX) == 0)
		return 0;
	close(fd);
	return err_errno(err, "cannot lock %s/lock", spool);
}

static bool
nothing_under_way(struct queue_server *s)
{
	return s->committing == 0 && queue_count(s->queue).running == 0;
}

/* TERM: wait for commits and deliveries under way; what is not done then is found by
 * the next start. */
static void
on_stop(evutil_socket_t fd, short what, void *arg)
{
	struct queue_server *s = arg;
	int64_t now = clock_mono_ms();

	(void)fd;
	(void)what;
	if (s->stop_by_ms == 0) {
		s->stop_by_ms = now + STOP_MS;
		judge_health(s);
	}
	if (nothing_under_way(s) || now >= s->stop_by_ms) {
		event_base_loopexit(s->base, NULL);
		return;
	}
	event_base_once(s->base, -1, EV_TIMEOUT, on_stop, s,
	    &(struct timeval){ .tv_usec = STOP_POLL_MS * 1000 });
}

static int
open_all(struct queue_server *s, const struct qio *disk, struct err *err)
{
	struct errs errs = { 0 };

	if (queue_disk_open(
		&s->disk, disk, s->conf->spool, s->conf->dir_sync != 0, err))
		return -1;
	if (lock_spool(s->conf->spool, err) != 0)
		return -1;
	if (s->conf->mailertable != NULL && s->conf->mailertable[0] != '\0') {
		s->mailertable = map_open(s->conf->mailertable, route_check, &errs);
		for (size_t i = 0; i < errs.n; i++)
			log_err("mailertable", &errs.list[i]);
		errs_clear(&errs);
		if (s->mailertable == NULL)
			return err_set(
			    err, "cannot use the mailertable %s", s->conf->mailertable);
		/* Without a watcher it is still read anew at every reload. */
		if (map_watch((struct map *const[]){ s->mailertable }, 1, err) != 0)
			log_err("mailertable", err);
	}
	return recover(s, err);
}

/* An active message holds a descriptor: as many of them as the limit, raised as far as
 * we may, has room for. */
static size_t
active_max(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return ACTIVE_MIN;
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
		getrlimit(RLIMIT_NOFILE, &limit);
	if (limit.rlim_cur < FDS_BESIDE + ACTIVE_MIN)
		return ACTIVE_MIN;
	return limit.rlim_cur < FDS_BESIDE + ACTIVE_MAX ? limit.rlim_cur - FDS_BESIDE
							: ACTIVE_MAX;
}

static struct event *
new_event(struct queue_server *s, int fd, short what, event_callback_fn cb)
{
	struct event *ev = event_new(s->base, fd, what, cb, s);

	if (ev == NULL)
		abort(); /* out of memory, as xmalloc() would */
	return ev;
}

static void
serve(struct queue_server *s, int listen_fd)
{
	struct queue_peer *peer;

	s->pool = queue_pool_new(s->base, &s->disk, THREADS, on_committed, s);
	s->listen = new_event(s, listen_fd, EV_READ | EV_PERSIST, on_accept);
	s->health = new_event(s, -1, EV_PERSIST, on_health);
	s->wake = new_event(s, -1, 0, on_wake);
	s->term = new_event(s, SIGTERM, EV_SIGNAL | EV_PERSIST, on_stop);
	event_add(s->listen, NULL);
	event_add(s->term, NULL);
	set_timer(s->health, HEALTH_MS);
	judge_health(s);
	queue_server_run(s);
	event_base_dispatch(s->base);
	queue_pool_free(s->pool);
	event_free(s->listen);
	event_free(s->health);
	event_free(s->wake);
	event_free(s->term);
	/* Messages first: they stand in their peers' lists. */
	queue_work_clear(s);
	while ((peer = TAILQ_FIRST(&s->peers)) != NULL) {
		TAILQ_REMOVE(&s->peers, peer, next);
		queue_link_free(peer->link);
		free(peer);
	}
}

int
queue_process_on(const struct relay_conf *conf, int listen_fd, const struct qio *disk)
{
	struct queue_server s = { .conf = conf, .accepting = true };
	struct err err;

	/* A write beyond RLIMIT_FSIZE must fail like a full disk, not kill. */
	signal(SIGXFSZ, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	s.limits = (struct queue_limits){ .retry_min = conf->retry_min,
		.retry_max = conf->retry_max,
		.lifetime = conf->lifetime,
		.active_max = active_max(),
		.per_host = (size_t)conf->deliveries_per_host };
	TAILQ_INIT(&s.peers);
	TAILQ_INIT(&s.active);
	s.queue = queue_new(&s.limits);
	s.base = event_base_new();
	if (s.base == NULL || open_all(&s, disk, &err) != 0) {
		if (s.base == NULL)
			err_set(&err, "cannot make an event loop");
		log_err("queue", &err);
		return 71; /* EX_OSERR */
	}
	serve(&s, listen_fd);
	map_close(s.mailertable);
	queue_disk_close(&s.disk);
	queue_free(s.queue);
	event_base_free(s.base);
	return 0;
}

int
queue_process(const struct relay_conf *conf, int listen_fd)
{
	return queue_process_on(conf, listen_fd, &qio_real);
}

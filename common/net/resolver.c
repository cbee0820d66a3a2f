/* SPDX-License-Identifier: BSD-2-Clause */
/* Questions from any thread, one thread that asks.  resolver_ask() answers from the
 * cache or joins a question that is open, else it queues one and wakes the thread by an
 * eventfd. The thread hands questions to c-ares (which does tries, servers, and TCP
 * after truncation), settles the futures, and lets go of a waiter at its deadline
 * whatever c-ares still tries.  What an answer means is dns_answer.c's, how long it is
 * kept is dns_cache.c's business. */
#include "common/net/resolver.h"

#include <ares.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/queue.h>
#include <sys/random.h>
#include <unistd.h>
#include <xxhash.h>

#include "common/base/clock.h"
#include "common/base/metrics.h"
#include "common/base/xalloc.h"
#include "common/net/dns_cache.h"
#include "common/net/dns_packet.h"
#include "common/net/resolver_servers.h"

#define SLOTS 8u /* c-ares channels at once */
#define SLOT_WAKE UINT32_MAX /* epoll tag of the eventfd */
#define QUESTION_BUCKETS 4096u /* a power of two */
#define IDS 65536u
#define IN_FLIGHT_MAX                                                                  \
	16384u /* a quarter of the ids, so that a free one is soon found */
/* No more than this many questions go out before answers come back, or the server's
 * socket overflows; those open for longer than YOUNG_MS wait for somebody slow and do
 * not count. */
#define YOUNG_MAX 200u
#define YOUNG_MS 100
#define TICK_MS 20 /* how exact c-ares' own timeouts are */
#define CHANNEL_QUESTIONS 64u /* then a fresh port, unless the server is local */

METRIC_COUNTER(cached_total, "postern_dns_questions_total", "answer=\"cache\"",
    "Questions to the resolver by who answered");
METRIC_COUNTER(joined_total, "postern_dns_questions_total", "answer=\"joined\"",
    "Questions to the resolver by who answered");
METRIC_COUNTER(sent_total, "postern_dns_questions_total", "answer=\"server\"",
    "Questions to the resolver by who answered");
METRIC_COUNTER(timeouts_total, "postern_dns_deadlines_total", NULL,
    "Questions whose asker got no answer in time");
METRIC_HISTOGRAM(server_time, "postern_dns_server_seconds", NULL,
    "Time until the servers answered or were given up");

struct waiter {
	TAILQ_ENTRY(waiter) of_question;
	TAILQ_ENTRY(waiter) by_deadline;
	struct question *question;
	struct future *future;
	int64_t deadline_ms;
};
TAILQ_HEAD(waiters, waiter);

struct question {
	LIST_ENTRY(question) bucket;
	TAILQ_ENTRY(question) line; /* in queue, then in young */
	struct waiters waiters;
	struct resolver *resolver;
	struct channel *channel; /* NULL while queued */
	int64_t sent_ms, sent_us;
	bool young;
	bool fresh; /* of one asker alone: in no bucket, not kept */
	uint16_t id;
	enum dns_type type;
	size_t len;
	char name[DNS_NAME_MAX];
};
LIST_HEAD(bucket, question);
TAILQ_HEAD(questions, question);

struct channel {
	ares_channel ares;
	struct resolver *resolver;
	uint32_t slot;
	unsigned started, open;
	bool live;
};

struct resolver {
	pthread_t thread;
	int epoll_fd, wake_fd;
	int64_t timeout_ms, deadline_ms;
	int tries;
	struct resolver_servers servers;
	bool rotate; /* fresh channels, for fresh ports */

	pthread_mutex_t lock; /* guards what follows */
	struct dns_cache *cache;
	struct bucket *open; /* all questions, by name and type */
	size_t n_open;
	struct questions queue; /* not yet sent */
	struct waiters deadlines; /* in order: all waiters are given the same time */
	struct resolver_counts counts;
	bool stopping;

	/* Of the thread alone. */
	struct channel channels[SLOTS];
	uint32_t current;
	struct questions young;
	unsigned n_young, n_in_flight;
	int64_t next_tick_ms;
	uint64_t ids[IDS / 64]; /* in use */
};

static void
free_answer(void *value)
{
	dns_answer_unref(value);
}

/* ---- the tables; the caller holds the lock ---- */

static struct bucket *
bucket_of(struct resolver *r, struct str name, enum dns_type type)
{
	uint64_t h = XXH3_64bits_withSeed(name.p, name.len, (uint64_t)type);

	return &r->open[h & (QUESTION_BUCKETS - 1)];
}

static struct question *
question_find(struct resolver *r, struct str name, enum dns_type type)
{
	struct question *q;

	LIST_FOREACH(q, bucket_of(r, name, type), bucket)
	if (q->type == type && str_eq((struct str){ q->name, q->len }, name))
		return q;
	return NULL;
}

static struct question *
question_add(struct resolver *r, struct str name, enum dns_type type, bool fresh)
{
	struct question *q = xcalloc(1, sizeof(*q));

	q->resolver = r;
	q->type = type;
	q->fresh = fresh;
	q->len = name.len;
	memcpy(q->name, name.p, name.len);
	TAILQ_INIT(&q->waiters);
	if (!fresh)
		LIST_INSERT_HEAD(bucket_of(r, name, type), q, bucket);
	TAILQ_INSERT_TAIL(&r->queue, q, line);
	r->n_open++;
	return q;
}

static struct future *
waiter_add(struct resolver *r, struct question *q, int64_t now_ms)
{
	struct waiter *w = xcalloc(1, sizeof(*w));

	w->question = q;
	w->deadline_ms = now_ms + r->deadline_ms;
	w->future = future_new(free_answer);
	TAILQ_INSERT_TAIL(&q->waiters, w, of_question);
	TAILQ_INSERT_TAIL(&r->deadlines, w, by_deadline);
	return future_ref(w->future);
}

/* Take everybody off a question, to be settled outside the lock. */
static void
waiters_take(struct resolver *r, struct question *q, struct waiters *out)
{
	struct waiter *w;

	TAILQ_FOREACH(w, &q->waiters, of_question)
	TAILQ_REMOVE(&r->deadlines, w, by_deadline);
	TAILQ_CONCAT(out, &q->waiters, of_question);
}

static void
question_forget(struct resolver *r, struct question *q)
{
	if (!q->fresh)
		LIST_REMOVE(q, bucket);
	r->n_open--;
}

/* ---- without the lock: a callback of a future may ask again ---- */

static void
waiters_settle(struct waiters *list, struct dns_answer *a)
{
	struct waiter *w;

	while ((w = TAILQ_FIRST(list)) != NULL) {
		TAILQ_REMOVE(list, w, of_question);
		future_set(w->future, dns_answer_ref(a));
		future_unref(w->future);
		free(w);
	}
}

static void
settle_timeout(struct waiters *list)
{
	struct dns_answer *a = dns_answer_new(DNS_TIMEOUT);

	waiters_settle(list, a);
	dns_answer_unref(a);
}

/* ---- asking, from any thread ---- */

static struct future *
settled(struct dns_answer *a_taken)
{
	struct future *f = future_new(free_answer);

	future_set(f, a_taken);
	return f;
}

enum ask { ASK, ASK_FRESH, ASK_CACHE };

static struct future *
cached_locked(struct resolver *r, struct str name, enum dns_type type, int64_t now)
{
	struct dns_answer *known = dns_cache_get(r->cache, name, type, now);

	if (known == NULL)
		return NULL;
	r->counts.cached++;
	metric_add(&cached_total, 1);
	return settled(dns_answer_ref(known));
}

static struct future *
joined_locked(struct resolver *r, struct str name, enum dns_type type, int64_t now)
{
	struct question *q = question_find(r, name, type);
	if (q == NULL)
		return NULL;
	r->counts.joined++;
	metric_add(&joined_total, 1);
	return waiter_add(r, q, now);
}

static struct future *
ask_locked(
    struct resolver *r, struct str name, enum dns_type type, enum ask kind, bool *wake)
{
	int64_t now = clock_mono_ms();

	r->counts.asked++;
	struct future *f = kind == ASK_FRESH ? NULL : cached_locked(r, name, type, now);
	if (f == NULL && kind == ASK)
		f = joined_locked(r, name, type, now);
	if (f != NULL || kind == ASK_CACHE)
		return f;
	if (r->stopping)
		return settled(dns_answer_new(DNS_TIMEOUT));
	if (r->n_open >= RESOLVER_OPEN_MAX)
		return settled(dns_answer_new(DNS_FAIL));
	*wake = TAILQ_EMPTY(&r->queue);
	return waiter_add(r, question_add(r, name, type, kind == ASK_FRESH), now);
}

static void
wake(struct resolver *r)
{
	const uint64_t one = 1;

	/* Cannot fail but by overflow, and then the thread is awake. */
	while (write(r->wake_fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

static struct future *
ask(struct resolver *r, struct str name, enum dns_type type, enum ask kind)
{
	char lower[DNS_NAME_MAX];
	bool must_wake = false;

	if (name.len > 0 && name.p[name.len - 1] == '.')
		name.len--;
	if (!dns_name_ok(name))
		return settled(dns_answer_new(DNS_BADNAME));
	for (size_t i = 0; i < name.len; i++)
		lower[i] = ascii_lower(name.p[i]);
	pthread_mutex_lock(&r->lock);
	struct future *f =
	    ask_locked(r, (struct str){ lower, name.len }, type, kind, &must_wake);
	pthread_mutex_unlock(&r->lock);
	if (must_wake)
		wake(r);
	return f;
}

struct future *
resolver_ask(struct resolver *r, struct str name, enum dns_type type)
{
	return ask(r, name, type, ASK);
}

struct future *
resolver_ask_fresh(struct resolver *r, struct str name, enum dns_type type)
{
	return ask(r, name, type, ASK_FRESH);
}

struct future *
resolver_known(struct resolver *r, struct str name, enum dns_type type)
{
	return ask(r, name, type, ASK_CACHE);
}

void
resolver_counts(struct resolver *r, struct resolver_counts *out)
{
	pthread_mutex_lock(&r->lock);
	*out = r->counts;
	pthread_mutex_unlock(&r->lock);
}

/* ---- the thread ---- */

/* An id that no open question has, hard to guess. */
static uint16_t
id_take(struct resolver *r)
{
	uint16_t id;

	do
		if (getrandom(&id, sizeof(id), 0) != sizeof(id))
			id = (uint16_t)(clock_mono_us() * 40503);
	while ((r->ids[id / 64] >> (id % 64) & 1) != 0);
	r->ids[id / 64] |= UINT64_C(1) << (id % 64);
	return id;
}

static void
young_end(struct resolver *r, struct question *q)
{
	if (!q->young)
		return;
	TAILQ_REMOVE(&r->young, q, line);
	q->young = false;
	r->n_young--;
}

/* What c-ares' end of a question means. */
static struct dns_answer *
judge(const struct question *q, int status, const unsigned char *msg, int len)
{
	struct str name = { q->name, q->len };

	if (msg != NULL && len > 0) {
		struct dns_answer *a =
		    dns_answer_parse((struct str){ (const char *)msg, (size_t)len },
			name, q->type, NULL);
		a->authentic = a->authentic && q->resolver->servers.local;
		return a;
	}
	switch (status) {
	case ARES_ETIMEOUT:
	case ARES_EDESTRUCTION:
	case ARES_ECANCELLED:
		return dns_answer_new(DNS_TIMEOUT);
	}
	/* c-ares tells SERVFAIL from all servers as "connection refused". */
	return dns_answer_new(DNS_FAIL);
}

/* c-ares is done with a question: answered, given up, or the channel ends. */
static void
question_done(void *arg, int status, int timeouts, unsigned char *msg, int len)
{
	struct question *q = arg;
	struct resolver *r = q->resolver;
	struct dns_answer *a = judge(q, status, msg, len);
	struct waiters waiters = TAILQ_HEAD_INITIALIZER(waiters);
	int64_t now = clock_mono_ms();

	a->asked_us = q->sent_us;
	a->answered_us = clock_mono_us();
	a->asked_last_us = timeouts > 0 ? a->answered_us : q->sent_us;
	metric_observe_us(&server_time, (now - q->sent_ms) * 1000);
	r->ids[q->id / 64] &= ~(UINT64_C(1) << (q->id % 64));
	q->channel->open--;
	r->n_in_flight--;
	young_end(r, q);
	pthread_mutex_lock(&r->lock);
	if (!q->fresh)
		dns_cache_put(
		    r->cache, (struct str){ q->name, q->len }, q->type, a, now);
	waiters_take(r, q, &waiters);
	question_forget(r, q);
	pthread_mutex_unlock(&r->lock);
	waiters_settle(&waiters, a);
	dns_answer_unref(a);
	free(q);
}

static void
watch_socket(void *arg, ares_socket_t fd, int readable, int writable)
{
	struct channel *c = arg;
	int epoll_fd = c->resolver->epoll_fd;
	struct epoll_event ev = { .events = (readable ? (uint32_t)EPOLLIN : 0u) |
		    (writable ? (uint32_t)EPOLLOUT : 0u),
		.data.u64 = (uint64_t)c->slot << 32 | (uint32_t)fd };

	if (!readable && !writable)
		(void)epoll_ctl(epoll_fd, EPOLL_CTL_DEL, fd, NULL);
	else if (epoll_ctl(epoll_fd, EPOLL_CTL_MOD, fd, &ev) != 0)
		(void)epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &ev);
}

static int
channel_open(struct resolver *r, uint32_t slot, struct err *err)
{
	static char lookups[] = "b"; /* DNS alone: no hosts file */
	struct channel *c = &r->channels[slot];
	struct ares_options o = { .flags = ARES_FLAG_EDNS | ARES_FLAG_NOSEARCH |
		    ARES_FLAG_NOALIASES,
		.timeout = (int)r->timeout_ms,
		.tries = r->tries,
		.ednspsz = DNS_UDP_SIZE,
		.socket_receive_buffer_size = 1 << 20,
		.lookups = lookups,
		.sock_state_cb = watch_socket,
		.sock_state_cb_data = c };

	*c = (struct channel){ .resolver = r, .slot = slot };
	int rc = ares_init_options(&c->ares, &o,
	    ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_EDNSPSZ |
		ARES_OPT_SOCK_RCVBUF | ARES_OPT_LOOKUPS | ARES_OPT_SOCK_STATE_CB);
	if (rc != ARES_SUCCESS)
		return err_set(err, "c-ares: %s", ares_strerror(rc));
	c->live = true;
	if (r->servers.n > 0)
		rc = ares_set_servers_ports(c->ares, r->servers.nodes);
	if (rc == ARES_SUCCESS)
		return 0;
	ares_destroy(c->ares);
	c->live = false;
	return err_set(err, "c-ares takes no servers: %s", ares_strerror(rc));
}

static void
channel_close(struct channel *c)
{
	if (!c->live)
		return;
	ares_destroy(c->ares); /* settles what is open */
	c->live = false;
}

/* c-ares keeps a socket while it is busy, so a port would stay the same for hours under
 * load; somebody on the path could then guess id and port at leisure.  A fresh channel
 * has fresh ports.  No free slot: the current one goes on. */
static struct channel *
channel_for_question(struct resolver *r)
{
	struct channel *c = &r->channels[r->current];

	if (!r->rotate || c->started < CHANNEL_QUESTIONS)
		return c;
	for (uint32_t i = 0; i < SLOTS; i++) {
		if (r->channels[i].live || channel_open(r, i, NULL) != 0)
			continue;
		r->current = i;
		return &r->channels[i];
	}
	return c;
}

/* Channels that are done; never while events of this round may still name them. */
static void
channels_reap(struct resolver *r)
{
	for (uint32_t i = 0; i < SLOTS; i++)
		if (i != r->current && r->channels[i].live && r->channels[i].open == 0)
			channel_close(&r->channels[i]);
}

static void
question_send(struct resolver *r, struct question *q, int64_t now)
{
	struct buf msg;

	q->channel = channel_for_question(r);
	q->channel->started++;
	q->channel->open++;
	q->id = id_take(r);
	q->sent_ms = now;
	q->sent_us = clock_mono_us();
	q->young = true;
	TAILQ_INSERT_TAIL(&r->young, q, line);
	r->n_young++;
	r->n_in_flight++;
	buf_init(&msg, 512);
	int rc = dns_write_query(&msg, q->id, (struct str){ q->name, q->len },
	    (unsigned)q->type, r->servers.local);
	if (rc == 0) /* may call question_done at once: q is gone then */
		ares_send(q->channel->ares, (const unsigned char *)msg.p, (int)msg.len,
		    question_done, q);
	else
		question_done(q, ARES_EBADNAME, 0, NULL, 0);
	buf_clear(&msg);
}

static void
send_queued(struct resolver *r, int64_t now)
{
	struct question *q;

	while ((q = TAILQ_FIRST(&r->young)) != NULL && now - q->sent_ms >= YOUNG_MS)
		young_end(r, q);
	while (r->n_young < YOUNG_MAX && r->n_in_flight < IN_FLIGHT_MAX) {
		pthread_mutex_lock(&r->lock);
		q = TAILQ_FIRST(&r->queue);
		if (q != NULL) {
			TAILQ_REMOVE(&r->queue, q, line);
			r->counts.sent++;
			metric_add(&sent_total, 1);
		}
		pthread_mutex_unlock(&r->lock);
		if (q == NULL)
			return;
		question_send(r, q, now);
	}
}

/* Let go of those whose time is over.  A question that nobody waits for any more goes
 * on when it was sent (its answer is worth keeping), else it is dropped. */
static void
expire(struct resolver *r, int64_t now)
{
	struct waiters late = TAILQ_HEAD_INITIALIZER(late);
	struct waiter *w;

	pthread_mutex_lock(&r->lock);
	while ((w = TAILQ_FIRST(&r->deadlines)) != NULL && w->deadline_ms <= now) {
		struct question *q = w->question;

		TAILQ_REMOVE(&r->deadlines, w, by_deadline);
		TAILQ_REMOVE(&q->waiters, w, of_question);
		TAILQ_INSERT_TAIL(&late, w, of_question);
		r->counts.timeouts++;
		metric_add(&timeouts_total, 1);
		if (TAILQ_EMPTY(&q->waiters) && q->channel == NULL) {
			TAILQ_REMOVE(&r->queue, q, line);
			question_forget(r, q);
			free(q);
		}
	}
	pthread_mutex_unlock(&r->lock);
	if (!TAILQ_EMPTY(&late))
		settle_timeout(&late);
}

static int
sleep_ms(struct resolver *r, int64_t now)
{
	int64_t until = r->n_in_flight > 0 ? r->next_tick_ms : INT64_MAX;

	pthread_mutex_lock(&r->lock);
	const struct waiter *w = TAILQ_FIRST(&r->deadlines);
	if (w != NULL && w->deadline_ms < until)
		until = w->deadline_ms;
	pthread_mutex_unlock(&r->lock);
	if (until == INT64_MAX)
		return -1;
	return until <= now ? 0 : (int)(until - now);
}

static void
on_event(struct resolver *r, const struct epoll_event *ev)
{
	uint32_t slot = (uint32_t)(ev->data.u64 >> 32);
	int fd = (int)(uint32_t)ev->data.u64;
	uint64_t n;

	if (slot == SLOT_WAKE) {
		(void)!read(r->wake_fd, &n, sizeof(n));
		return;
	}
	if (!r->channels[slot].live)
		return;
	bool in = (ev->events & (EPOLLIN | EPOLLERR | EPOLLHUP)) != 0;
	bool out = (ev->events & EPOLLOUT) != 0;
	ares_process_fd(r->channels[slot].ares, in ? fd : ARES_SOCKET_BAD,
	    out ? fd : ARES_SOCKET_BAD);
}

static void
tick(struct resolver *r, int64_t now)
{
	if (now < r->next_tick_ms)
		return;
	r->next_tick_ms = now + TICK_MS;
	for (uint32_t i = 0; i < SLOTS; i++)
		if (r->channels[i].live && r->channels[i].open > 0)
			ares_process_fd(
			    r->channels[i].ares, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
}

static bool
stopping(struct resolver *r)
{
	pthread_mutex_lock(&r->lock);
	bool yes = r->stopping;
	pthread_mutex_unlock(&r->lock);
	return yes;
}

static void
settle_all(struct resolver *r)
{
	struct waiters all = TAILQ_HEAD_INITIALIZER(all);
	struct question *q;

	for (uint32_t i = 0; i < SLOTS; i++)
		channel_close(&r->channels[i]);
	pthread_mutex_lock(&r->lock);
	while ((q = TAILQ_FIRST(&r->queue)) != NULL) {
		TAILQ_REMOVE(&r->queue, q, line);
		waiters_take(r, q, &all);
		question_forget(r, q);
		free(q);
	}
	pthread_mutex_unlock(&r->lock);
	settle_timeout(&all);
}

static void *
run(void *arg)
{
	struct resolver *r = arg;
	struct epoll_event events[64];

	while (!stopping(r)) {
		int64_t now = clock_mono_ms();

		send_queued(r, now);
		expire(r, now);
		int n = epoll_wait(r->epoll_fd, events, 64, sleep_ms(r, now));
		for (int i = 0; i < n; i++)
			on_event(r, &events[i]);
		tick(r, clock_mono_ms());
		channels_reap(r);
	}
	settle_all(r);
	return NULL;
}

/* ---- start and end ---- */

static void
library_init(void)
{
	(void)ares_library_init(
	    ARES_LIB_INIT_ALL); /* nothing can fail on this system */
}

static int
start_thread(struct resolver *r, struct err *err)
{
	struct epoll_event ev = { .events = EPOLLIN,
		.data.u64 = (uint64_t)SLOT_WAKE << 32 };
	sigset_t all, old;

	r->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	r->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (r->epoll_fd < 0 || r->wake_fd < 0 ||
	    epoll_ctl(r->epoll_fd, EPOLL_CTL_ADD, r->wake_fd, &ev) != 0)
		return err_errno(err, "resolver: epoll");
	if (channel_open(r, 0, err) != 0)
		return -1;
	resolver_servers_learn(&r->servers, r->channels[0].ares);
	r->rotate = r->rotate || !r->servers.local;
	/* The thread takes no signals; c-ares writes to TCP without MSG_NOSIGNAL, and a
	 * blocked SIGPIPE leaves it EPIPE. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	int rc = pthread_create(&r->thread, NULL, run, r);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (rc == 0)
		return 0;
	errno = rc;
	channel_close(&r->channels[0]);
	return err_errno(err, "resolver: thread");
}

static void
destroy(struct resolver *r)
{
	if (r->epoll_fd >= 0)
		close(r->epoll_fd);
	if (r->wake_fd >= 0)
		close(r->wake_fd);
	dns_cache_free(r->cache);
	pthread_mutex_destroy(&r->lock);
	free(r->open);
	free(r);
}

struct resolver *
resolver_new(const struct resolver_conf *conf, struct err *err)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT; /* c-ares wants it so */
	struct resolver *r = xcalloc(1, sizeof(*r));

	pthread_once(&once, library_init);
	r->epoll_fd = r->wake_fd = -1;
	r->timeout_ms = conf->timeout_ms > 0 ? conf->timeout_ms : 2000;
	if (r->timeout_ms > 60000)
		r->timeout_ms = 60000; /* c-ares doubles it with every try, in an int */
	r->deadline_ms = conf->deadline_ms > 0 ? conf->deadline_ms : 5000;
	r->rotate = conf->fresh_ports;
	r->tries = conf->tries > 0 && conf->tries <= 10 ? (int)conf->tries : 2;
	r->cache = dns_cache_new(conf->cache_entries > 0 ? conf->cache_entries : 50000);
	r->open = xcalloc(QUESTION_BUCKETS, sizeof(*r->open));
	pthread_mutex_init(&r->lock, NULL);
	TAILQ_INIT(&r->queue);
	TAILQ_INIT(&r->deadlines);
	TAILQ_INIT(&r->young);
	if (resolver_servers_read(&r->servers, conf->servers, conf->n_servers, err) ==
		0 &&
	    start_thread(r, err) == 0)
		return r;
	destroy(r);
	return NULL;
}

void
resolver_free(struct resolver *r)
{
	if (r == NULL)
		return;
	pthread_mutex_lock(&r->lock);
	r->stopping = true;
	pthread_mutex_unlock(&r->lock);
	wake(r);
	pthread_join(r->thread, NULL);
	destroy(r);
}

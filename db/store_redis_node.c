/* SPDX-License-Identifier: BSD-2-Clause */
/* One Redis server as the engine sees it.  A few threads own one connection each; what
 * is asked about one key goes through one thread, in order.  A thread takes up to
 * STORE_BATCH_MAX questions that wait and sends them in one round trip.  Every question is
 * answered by its own deadline.
 *
 * Breaker: the first failure of a connection, or a server that says it is not the one,
 * opens it; all that wait and all that come are then answered STORE_DOWN at once, which
 * costs a mail nothing.  After a second the first thread alone tries to connect, with
 * no mail waiting for it, and again after each further second; its success closes the
 * breaker.  A link that breaks under a batch may be one that the server, or something
 * on the way, cut: once, the batch is asked again by a fresh one.
 *
 * The first thread measures by how much the server's clock differs from this host's,
 * each time that it connects and every minute.
 *
 * What goes to and fro is store_redis_batch.c's; where servers are and which has what is
 * not decided here. */
#include "db/store_redis_node.h"

#include <pthread.h>
#include <signal.h>
#include <poll.h>
#include <stdlib.h>
#include <time.h>

#include <xxhash.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/metrics.h"
#include "common/base/xalloc.h"
#include "db/store_redis_node_private.h"

#define QUEUE_MAX 8192 /* questions that may wait for one thread */
#define OPEN_MS 1000 /* the breaker stays open at least that long */
#define JITTER_MS 250 /* and up to that much longer: hosts do not come all at once */
#define CONNECT_MS 1000 /* for the first thread to connect while no mail waits */
#define CLOCK_MS 60000 /* between two looks at the server's clock */
#define CLOCK_AGREES_US 1000000 /* less is no difference: hosts that keep their time */
#define MOVING_MS 2 /* until what is being moved between servers is asked again */

METRIC_COUNTER(opened, "postern_store_redis_breaker_opened_total", NULL,
    "Times that Redis was given up for a while");
METRIC_COUNTER(refused, "postern_store_redis_refused_total", NULL,
    "Questions refused at once: breaker open or queue full");
struct metric store_node_timeouts = { .name = "postern_store_redis_timeouts_total",
	.help = "Questions whose deadline came before the answer" };
METRIC_HISTOGRAM(answer_time, "postern_store_redis_answer_seconds", NULL,
    "Time from the question to the answer of Redis");

/* --- answers --- */

void
store_node_answer(
    const struct store_node_conf *conf, struct store_request *r, enum store_state state)
{
	metric_observe_us(&answer_time, (clock_mono_ms() - r->asked_ms) * 1000);
	if (conf->waiting != NULL)
		atomic_fetch_sub(conf->waiting, 1);
	store_request_done(r, state);
}

void
store_node_refuse(const struct store_node_conf *conf, struct store_request *r)
{
	metric_add(&refused, 1);
	store_node_answer(conf, r, STORE_DOWN);
}

void
store_node_settle(struct store_node *n, struct store_request **slot, enum store_state state)
{
	struct store_request *r = *slot;

	*slot = NULL;
	store_node_answer(&n->conf, r, state);
}

static void
settle_list(struct store_node *n, struct store_request *list, struct metric *why)
{
	while (list != NULL) {
		struct store_request *r = list;

		list = r->next;
		metric_add(why, 1);
		store_node_settle(n, &r, STORE_DOWN);
	}
}

int64_t
store_node_deadline(const struct store_node_conf *conf, const struct store_request *r)
{
	return r->asked_ms + conf->deadline_ms;
}

/* --- the breaker --- */

static int64_t
probe_time(void)
{
	return clock_mono_ms() + OPEN_MS + clock_mono_us() % JITTER_MS;
}

/* Give the server up for a while.  err: why. */
static void
trip(struct store_node *n, const struct err *err)
{
	pthread_mutex_lock(&n->lock);
	bool was_up = n->up;
	n->up = false;
	if (was_up)
		n->probe_at = probe_time();
	for (size_t i = 0; i < n->n_workers && was_up; i++)
		pthread_cond_signal(&n->worker[i].wake);
	pthread_mutex_unlock(&n->lock);
	if (!was_up)
		return;
	metric_add(&opened, 1);
	log_msg(LOG_LEVEL_ERR, "store_down", "%s: %s", n->conf.name, err->text);
	if (n->conf.ops != NULL && n->conf.ops->failed != NULL)
		n->conf.ops->failed(n->conf.arg);
}

struct store_address
store_node_address(struct store_node *n)
{
	pthread_mutex_lock(&n->lock);
	struct store_address a = n->address;
	pthread_mutex_unlock(&n->lock);
	return a;
}

/* The first thread's: connect, to where the server is said to be now. */
static int
connect_anew(struct store_worker *w, int64_t wait_ms, struct err *err)
{
	struct store_node *n = w->node;
	struct store_address a = store_node_address(n);
	int rc;

	if (n->conf.ops == NULL || n->conf.ops->locate == NULL)
		return store_link_open(
		    &w->link, &n->conf.link, &a, clock_mono_ms() + wait_ms, err);
	for (size_t turn = 0;
	     (rc = n->conf.ops->locate(n->conf.arg, turn, &a, err)) != 0; turn++) {
		if (rc < 0 ||
		    store_link_open(&w->link, &n->conf.link, &a,
			clock_mono_ms() + wait_ms, err) != 0)
			continue;
		pthread_mutex_lock(&n->lock);
		bool moved = !store_address_same(&a, &n->address);
		n->address = a;
		pthread_mutex_unlock(&n->lock);
		char text[STORE_ADDRESS_TEXT];
		if (moved)
			log_msg(LOG_LEVEL_WARN, "store_master", "%s is at %s",
			    n->conf.name, store_address_format(&a, text));
		return 0;
	}
	return -1;
}

/* The first thread's: connect where there is no link or it has ended, and compare the
 * clocks.  Clocks that agree are left alone: what is measured depends on the way there
 * and back. */
static int
look_at_clock(struct store_worker *w, int64_t wait_ms, struct err *err)
{
	struct store_node *n = w->node;
	int64_t ahead;

	if (w->link.c != NULL && store_link_stale(&w->link))
		store_link_close(&w->link);
	if (w->link.c == NULL && connect_anew(w, wait_ms, err) != 0)
		return -1;
	int rc = store_link_clock(
	    &w->link, n->conf.wall_us, clock_mono_ms() + wait_ms, &ahead, err);
	if (rc < 0)
		return -1;
	n->clock_at = clock_mono_ms() + CLOCK_MS;
	if (rc == 0)
		return 0;
	int64_t half = ahead < 0 ? -500000 : 500000, was = n->clock_offset;
	int64_t is = llabs(ahead) < CLOCK_AGREES_US ? 0 : (ahead + half) / 1000000;
	if (llabs(is - was) > 1)
		log_msg(LOG_LEVEL_WARN, "store_clock",
		    "%s: its clock is %lld s ahead of ours", n->conf.name,
		    (long long)is);
	n->clock_offset = is;
	return 0;
}

/* The first thread's try to connect; called and left with the lock held. */
static void
probe(struct store_worker *w)
{
	struct store_node *n = w->node;
	int64_t wait_ms = n->conf.deadline_ms;
	struct err err;

	/* Whoever opens the store waits for the first one. */
	if (!n->first_try && wait_ms < CONNECT_MS)
		wait_ms = CONNECT_MS;
	pthread_mutex_unlock(&n->lock);
	bool good = look_at_clock(w, wait_ms, &err) == 0;
	pthread_mutex_lock(&n->lock);
	bool first = n->first_try;
	n->first_try = false;
	n->up = good;
	n->probe_at = probe_time();
	pthread_cond_broadcast(&n->tried);
	for (size_t i = 1; i < n->n_workers && good; i++)
		pthread_cond_signal(&n->worker[i].wake);
	if (good && !first)
		log_msg(LOG_LEVEL_WARN, "store_up", "%s works again", n->conf.name);
	if (!good && first)
		log_msg(LOG_LEVEL_ERR, "store_down", "%s: %s", n->conf.name, err.text);
}

/* --- one batch --- */

/* To the front of the queue again, in their order: what is being moved. */
static void
queue_back(struct store_worker *w, struct store_batch *b)
{
	struct store_node *n = w->node;
	bool any = false;

	for (size_t i = 0; i < b->n; i++)
		any = any || b->r[i] != NULL;
	if (!any)
		return;
	(void)poll(NULL, 0, MOVING_MS);
	pthread_mutex_lock(&n->lock);
	for (size_t i = b->n; i-- > 0;) {
		if (b->r[i] == NULL)
			continue;
		if (w->first == NULL)
			w->last = &b->r[i]->next;
		b->r[i]->next = w->first;
		w->first = b->r[i];
		w->n++;
	}
	pthread_mutex_unlock(&n->lock);
}

static void
run_batch(struct store_worker *w, struct store_batch *b)
{
	struct err err;
	int rc = store_batch_try(w, b, &err);

	if (rc > 0)
		rc = store_batch_try(w, b, &err);
	if (rc == 0) {
		queue_back(w, b);
		return;
	}
	trip(w->node, &err);
	for (size_t i = 0; i < b->n; i++)
		if (b->r[i] != NULL)
			store_node_settle(w->node, &b->r[i], STORE_DOWN);
}

/* --- threads --- */

static struct store_request *
queue_all(struct store_worker *w)
{
	struct store_request *list = w->first;

	w->first = NULL;
	w->last = &w->first;
	w->n = 0;
	return list;
}

/* Up to STORE_BATCH_MAX off the queue; those whose deadline has come go to *late. */
static void
queue_take(struct store_worker *w, struct store_batch *b, struct store_request **late)
{
	int64_t now = clock_mono_ms();

	b->n = 0;
	b->until = now;
	while (w->first != NULL && b->n < STORE_BATCH_MAX) {
		struct store_request *r = w->first;
		int64_t due = store_node_deadline(&w->node->conf, r);

		w->first = r->next;
		w->n--;
		r->next = NULL;
		if (due <= now) {
			r->next = *late;
			*late = r;
		} else {
			b->until = due > b->until ? due : b->until;
			b->r[b->n++] = r;
		}
	}
	if (w->first == NULL)
		w->last = &w->first;
}

static struct timespec
moment(int64_t at_ms)
{
	return (struct timespec){ .tv_sec = (time_t)(at_ms / 1000),
		.tv_nsec = (long)(at_ms % 1000) * 1000000 };
}

/* The breaker is open: called and left with the lock held.  false: time to end. */
static bool
while_down(struct store_worker *w)
{
	struct store_node *n = w->node;
	struct store_request *list = queue_all(w);
	struct timespec until = moment(n->probe_at);

	if (list != NULL || w->link.c != NULL) {
		pthread_mutex_unlock(&n->lock);
		store_link_close(&w->link);
		settle_list(n, list, &refused);
		pthread_mutex_lock(&n->lock);
		return true;
	}
	if (n->stop)
		return false;
	w->early = false;
	if (w != &n->worker[0])
		pthread_cond_wait(&w->wake, &n->lock);
	else if (clock_mono_ms() >= n->probe_at)
		probe(w);
	else
		pthread_cond_timedwait(&w->wake, &n->lock, &until);
	return true;
}

/* Connect before anybody asks; who asks meanwhile has its deadline no sooner.  What
 * fails is tried again with the first question.  Called and left with the lock held. */
static void
connect_early(struct store_worker *w)
{
	struct store_node *n = w->node;
	struct store_address a = n->address;
	struct err err;

	w->early = true;
	pthread_mutex_unlock(&n->lock);
	(void)store_link_open(&w->link, &n->conf.link, &a,
	    clock_mono_ms() + n->conf.deadline_ms, &err);
	pthread_mutex_lock(&n->lock);
}

/* Nothing is to do: called and left with the lock held. */
static void
idle(struct store_worker *w)
{
	struct store_node *n = w->node;
	struct timespec until = moment(n->clock_at);

	if (w == &n->worker[0])
		pthread_cond_timedwait(&w->wake, &n->lock, &until);
	else if (w->link.c == NULL && !w->early)
		connect_early(w);
	else
		pthread_cond_wait(&w->wake, &n->lock);
}

static void
upkeep(struct store_worker *w)
{
	struct store_node *n = w->node;
	struct err err;

	if (w == &n->worker[0] && clock_mono_ms() >= n->clock_at &&
	    look_at_clock(w, n->conf.deadline_ms, &err) != 0)
		trip(n, &err);
}

static void *
worker_run(void *arg)
{
	struct store_worker *w = arg;
	struct store_node *n = w->node;
	struct store_batch b;
	sigset_t pipe;

	/* hiredis writes with write(2): a lost connection is an error, not a signal. */
	sigemptyset(&pipe);
	sigaddset(&pipe, SIGPIPE);
	pthread_sigmask(SIG_BLOCK, &pipe, NULL);
	pthread_mutex_lock(&n->lock);
	for (;;) {
		struct store_request *late = NULL;

		if (!n->up) {
			if (!while_down(w))
				break;
			continue;
		}
		if (w->first == NULL) {
			if (n->stop)
				break;
			idle(w);
		}
		queue_take(w, &b, &late);
		pthread_mutex_unlock(&n->lock);
		settle_list(n, late, &store_node_timeouts);
		if (b.n > 0)
			run_batch(w, &b);
		upkeep(w);
		pthread_mutex_lock(&n->lock);
	}
	pthread_mutex_unlock(&n->lock);
	store_link_close(&w->link);
	return NULL;
}

/* What concerns one key goes through one thread, so it happens in the order of asking.
 */
static struct store_worker *
worker_of(struct store_node *n, const struct store_request *r)
{
	struct str by = r->op == STORE_GREYLIST ? r->client : r->key;

	return &n->worker[XXH3_64bits(by.p == NULL ? "" : by.p, by.len) % n->n_workers];
}

bool
store_node_submit(struct store_node *n, struct store_request *r)
{
	struct store_worker *w = worker_of(n, r);

	r->next = NULL;
	pthread_mutex_lock(&n->lock);
	bool refuse = !n->up || w->n >= QUEUE_MAX, first = false;
	if (!refuse) {
		*w->last = r;
		w->last = &r->next;
		first = w->n++ == 0;
	}
	pthread_mutex_unlock(&n->lock);
	/* Whom it wakes finds the lock free. */
	if (first)
		pthread_cond_signal(&w->wake);
	return !refuse;
}

const struct store_node_conf *
store_node_conf(const struct store_node *n)
{
	return &n->conf;
}

bool
store_node_up(struct store_node *n)
{
	pthread_mutex_lock(&n->lock);
	bool up = n->up;
	pthread_mutex_unlock(&n->lock);
	return up;
}

/* --- opening and closing --- */

static void
threads_stop(struct store_node *n, size_t started)
{
	pthread_mutex_lock(&n->lock);
	n->stop = true;
	for (size_t i = 0; i < n->n_workers; i++)
		pthread_cond_signal(&n->worker[i].wake);
	pthread_mutex_unlock(&n->lock);
	for (size_t i = 0; i < started; i++)
		pthread_join(n->worker[i].thread, NULL);
}

static void
node_free(struct store_node *n)
{
	for (size_t i = 0; i < n->n_workers; i++)
		pthread_cond_destroy(&n->worker[i].wake);
	pthread_cond_destroy(&n->tried);
	pthread_mutex_destroy(&n->lock);
	free(n->conf.name);
	free(n);
}

void
store_node_close(struct store_node *n)
{
	if (n == NULL)
		return;
	threads_stop(n, n->n_workers);
	node_free(n);
}

static struct store_node *
node_new(const struct store_node_conf *conf, const struct store_address *address)
{
	struct store_node *n = xcalloc(1, sizeof(*n));
	pthread_condattr_t attr;

	n->conf = *conf;
	n->conf.name = xstrdup(conf->name);
	n->address = *address;
	pthread_mutex_init(&n->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&n->tried, NULL);
	n->n_workers = conf->connections;
	for (size_t i = 0; i < n->n_workers; i++) {
		struct store_worker *w = &n->worker[i];

		w->node = n;
		w->last = &w->first;
		pthread_cond_init(&w->wake, &attr);
	}
	pthread_condattr_destroy(&attr);
	n->first_try = true;
	n->probe_at = clock_mono_ms();
	return n;
}

struct store_node *
store_node_open(const struct store_node_conf *conf, const struct store_address *address,
    struct err *err)
{
	struct store_node *n = node_new(conf, address);
	size_t i = 0;

	while (i < n->n_workers &&
	    pthread_create(&n->worker[i].thread, NULL, worker_run, &n->worker[i]) == 0)
		i++;
	if (i == n->n_workers)
		return n;
	threads_stop(n, i);
	node_free(n);
	err_set(err, "cannot start a thread of the store");
	return NULL;
}

void
store_node_wait(struct store_node *n)
{
	pthread_mutex_lock(&n->lock);
	while (n->first_try)
		pthread_cond_wait(&n->tried, &n->lock);
	pthread_mutex_unlock(&n->lock);
}

int64_t
store_node_clock_offset(const struct store_node *n)
{
	return n->clock_offset;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* The Redis engine.  A few threads own one connection each; what is asked about one key
 * goes through one thread, in order.  A thread takes up to BATCH_MAX questions that
 * wait and sends them in one round trip.  Every question is answered by its own
 * deadline.
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
 * Commands are store_redis_script.c's, replies store_redis_reply.c's, the connection
 * store_redis_link.c's. */
#include "db/store_redis.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <xxhash.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/metrics.h"
#include "common/base/xalloc.h"
#include "db/store_private.h"
#include "db/store_redis_link.h"
#include "db/store_redis_reply.h"

#define BATCH_MAX 64 /* questions of one round trip */
#define QUEUE_MAX 8192 /* questions that may wait for one thread */
#define OPEN_MS 1000 /* the breaker stays open at least that long */
#define JITTER_MS 250 /* and up to that much longer: hosts do not come all at once */
#define CLOCK_MS 60000 /* between two looks at the server's clock */
#define CLOCK_AGREES_US 1000000 /* less is no difference: hosts that keep their time */
#define PASSWORD_MAX 512
#define DEADLINE_MAX_MS 60000

METRIC_COUNTER(trips, "postern_store_redis_round_trips_total", NULL,
    "Batches of commands sent to Redis");
METRIC_COUNTER(
    asked, "postern_store_redis_requests_total", NULL, "Questions sent to Redis");
METRIC_COUNTER(opened, "postern_store_redis_breaker_opened_total", NULL,
    "Times that Redis was given up for a while");
METRIC_COUNTER(refused, "postern_store_redis_refused_total", NULL,
    "Questions refused at once: breaker open or queue full");
METRIC_COUNTER(timeouts, "postern_store_redis_timeouts_total", NULL,
    "Questions whose deadline came before the answer");
METRIC_COUNTER(bad_values, "postern_store_redis_bad_values_total", NULL,
    "Values under our keys that could not be read and counted as absent");
METRIC_HISTOGRAM(answer_time, "postern_store_redis_answer_seconds", NULL,
    "Time from the question to the answer of Redis");

#define ERRORS "postern_store_redis_errors_total"
#define ERRORS_HELP "Error replies of Redis, by class"
static struct metric errors[STORE_REPLIES] = {
	[STORE_REPLY_FULL] = { .name = ERRORS,
	    .labels = "class=\"full\"",
	    .help = ERRORS_HELP },
	[STORE_REPLY_REFUSED] = { .name = ERRORS,
	    .labels = "class=\"refused\"",
	    .help = ERRORS_HELP },
	[STORE_REPLY_AWAY] = { .name = ERRORS,
	    .labels = "class=\"away\"",
	    .help = ERRORS_HELP },
	[STORE_REPLY_NOSCRIPT] = { .name = ERRORS,
	    .labels = "class=\"noscript\"",
	    .help = ERRORS_HELP },
	[STORE_REPLY_BAD] = { .name = ERRORS,
	    .labels = "class=\"bad\"",
	    .help = ERRORS_HELP },
};

struct engine;

struct worker {
	struct engine *engine;
	pthread_t thread;
	struct store_link link; /* the thread's own */

	pthread_cond_t wake; /* of engine->lock, and so is what follows */
	struct store_request *first, **last;
	size_t n;
};

struct engine {
	struct store_link_conf conf;
	int64_t deadline_ms;
	char *name; /* of the server, for the log */
	int64_t (*wall_us)(void);
	_Atomic int64_t clock_offset; /* seconds that the server is ahead */

	pthread_mutex_t lock; /* of what follows and of the queues */
	pthread_cond_t tried; /* the first connection was tried */
	bool stop, up, first_try;
	int64_t probe_at; /* monotonic ms */
	int64_t clock_at; /* monotonic ms; the first thread's own */

	size_t n_workers;
	struct worker worker[STORE_CONNECTIONS_MAX];
};

/* What a thread has in hand: slots in the order of asking; NULL: answered. */
struct batch {
	struct store_request *r[BATCH_MAX];
	int64_t voided[BATCH_MAX];
	size_t n;
	bool broken; /* the link broke, the server was not late */
};

/* --- answers --- */

static void
settle(struct store_request **slot, enum store_state state)
{
	struct store_request *r = *slot;

	*slot = NULL;
	metric_observe_us(&answer_time, (clock_mono_ms() - r->asked_ms) * 1000);
	store_request_done(r, state);
}

static void
settle_list(struct store_request *list, struct metric *why)
{
	while (list != NULL) {
		struct store_request *r = list;

		list = r->next;
		metric_add(why, 1);
		settle(&r, STORE_DOWN);
	}
}

static enum store_state
state_of(enum store_reply reply)
{
	return reply == STORE_REPLY_OK  ? STORE_OK
	    : reply == STORE_REPLY_FULL ? STORE_FULL
					: STORE_DOWN;
}

/* --- the breaker --- */

static int64_t
probe_time(void)
{
	return clock_mono_ms() + OPEN_MS + clock_mono_us() % JITTER_MS;
}

/* Give the server up for a while.  err: why. */
static void
trip(struct engine *e, const struct err *err)
{
	pthread_mutex_lock(&e->lock);
	bool was_up = e->up;
	e->up = false;
	if (was_up)
		e->probe_at = probe_time();
	for (size_t i = 0; i < e->n_workers && was_up; i++)
		pthread_cond_signal(&e->worker[i].wake);
	pthread_mutex_unlock(&e->lock);
	if (was_up) {
		metric_add(&opened, 1);
		log_msg(LOG_LEVEL_ERR, "store_down", "%s: %s", e->name, err->text);
	}
}

/* The first thread's: connect where there is no link or it has ended, and compare the
 * clocks.  Clocks that agree are left alone: what is measured depends on the way there
 * and back. */
static int
look_at_clock(struct worker *w, struct err *err)
{
	struct engine *e = w->engine;
	int64_t until = clock_mono_ms() + e->deadline_ms, ahead;

	if (w->link.c != NULL && store_link_stale(&w->link))
		store_link_close(&w->link);
	if (w->link.c == NULL && store_link_open(&w->link, &e->conf, until, err) != 0)
		return -1;
	int rc = store_link_clock(&w->link, e->wall_us, until, &ahead, err);
	if (rc < 0) {
		store_link_close(&w->link);
		return -1;
	}
	e->clock_at = clock_mono_ms() + CLOCK_MS;
	if (rc == 0)
		return 0;
	int64_t half = ahead < 0 ? -500000 : 500000, was = e->clock_offset;
	int64_t is = llabs(ahead) < CLOCK_AGREES_US ? 0 : (ahead + half) / 1000000;
	if (llabs(is - was) > 1)
		log_msg(LOG_LEVEL_WARN, "store_clock",
		    "%s: its clock is %lld s ahead of ours", e->name, (long long)is);
	e->clock_offset = is;
	return 0;
}

/* The first thread's try to connect; called and left with the lock held. */
static void
probe(struct worker *w)
{
	struct engine *e = w->engine;
	struct err err;

	pthread_mutex_unlock(&e->lock);
	bool good = look_at_clock(w, &err) == 0;
	pthread_mutex_lock(&e->lock);
	bool first = e->first_try;
	e->first_try = false;
	e->up = good;
	e->probe_at = probe_time();
	pthread_cond_broadcast(&e->tried);
	if (good && !first)
		log_msg(LOG_LEVEL_WARN, "store_up", "%s works again", e->name);
	if (!good && first)
		log_msg(LOG_LEVEL_ERR, "store_down", "%s: %s", e->name, err.text);
}

/* --- one batch --- */

static int64_t
deadline_of(const struct engine *e, const struct store_request *r)
{
	return r->asked_ms + e->deadline_ms;
}

static size_t
next_waiting(const struct batch *b, size_t from)
{
	while (from < b->n && b->r[from] == NULL)
		from++;
	return from;
}

/* The next reply.  While it is awaited questions reach their deadlines in the order of
 * asking, and are answered without it.  The last one stays for the caller, who gives
 * the server up first: who asks after that answer must not wait again. */
static int
await(struct worker *w, struct batch *b, redisReply **reply, struct err *err)
{
	for (size_t due = next_waiting(b, 0); due < b->n;) {
		int rc = store_link_next(
		    &w->link, deadline_of(w->engine, b->r[due]), reply, err);
		b->broken = rc < 0;
		if (rc != 0)
			return rc;
		metric_add(&timeouts, 1);
		size_t next = next_waiting(b, due + 1);
		if (next < b->n)
			settle(&b->r[due], STORE_DOWN);
		due = next;
	}
	return err_set(
	    err, "no answer within %lld ms", (long long)w->engine->deadline_ms);
}

enum step {
	STEP_VOIDING, /* when the events were that void a triple */
	STEP_ASK, /* what was asked */
};

static enum store_reply
read_answer(const struct engine *e, struct batch *b, size_t i, enum step step,
    const redisReply *reply, uint64_t *bad)
{
	struct store_request *r = b->r[i];
	enum store_reply class;
	struct event_answer event;

	if (step == STEP_VOIDING) {
		class = store_reply_event(reply, &event, bad);
		if (class == STORE_REPLY_OK)
			b->voided[i] = event.last;
		return class;
	}
	return store_reply_answer(reply, e->conf.database, r, bad);
}

static int
send_one(struct worker *w, const struct store_request *r, enum step step,
    int64_t voided, bool whole)
{
	struct store_command c;
	const char *prefix = w->engine->conf.prefix;

	store_command_init(&c);
	if (step == STEP_ASK && store_request_plain(&c, prefix, r))
		return store_link_send(&w->link, &c);
	enum store_script script =
	    step == STEP_VOIDING ? STORE_SCRIPT_EVENT : store_request_script(r);
	store_command_script(&c, script, whole ? "" : w->link.digest[script]);
	if (step == STEP_VOIDING)
		store_request_voiding(&c, prefix, r);
	else
		store_request_args(&c, prefix, r, voided);
	return store_link_send(&w->link, &c);
}

static bool
wanted(const struct store_request *r, enum step step)
{
	return r != NULL &&
	    (step == STEP_ASK || (r->op == STORE_GREYLIST && r->void_by[0].len > 0));
}

/* What one reply does to its question.  -1: the server is not the one. */
static int
take(struct worker *w, struct batch *b, size_t i, enum step step,
    const redisReply *reply, bool *again, struct err *err)
{
	uint64_t bad = 0;
	enum store_reply class = store_reply_class(reply);

	if (b->r[i] != NULL) /* else its deadline came first */
		class = read_answer(w->engine, b, i, step, reply, &bad);
	metric_add(&bad_values, bad);
	if (class != STORE_REPLY_OK)
		metric_add(&errors[class], 1);
	if (class == STORE_REPLY_NOSCRIPT && again != NULL) {
		*again = true;
		return 0;
	}
	if (class == STORE_REPLY_AWAY)
		return err_set(err, "%.*s", (int)(reply->len < 200 ? reply->len : 200),
		    reply->str);
	if (b->r[i] != NULL && (step == STEP_ASK || class != STORE_REPLY_OK))
		settle(&b->r[i], state_of(class));
	return 0;
}

/* Send to those of the list, take the replies.  again: for whom the server has
 * forgotten the script; NULL: the whole text is sent. */
static int
round_trip(struct worker *w, struct batch *b, enum step step, const size_t *list,
    size_t n, bool *again, struct err *err)
{
	int rc = 0;

	for (size_t i = 0; i < n; i++) {
		if (send_one(
			w, b->r[list[i]], step, b->voided[list[i]], again == NULL) != 0)
			return err_set(err, "%s", w->link.c->errstr);
		metric_add(&asked, 1);
	}
	if (n > 0)
		metric_add(&trips, 1);
	for (size_t i = 0; i < n && rc == 0; i++) {
		redisReply *reply;

		if (await(w, b, &reply, err) != 1)
			return -1;
		rc = take(w, b, list[i], step, reply,
		    again == NULL ? NULL : &again[list[i]], err);
		freeReplyObject(reply);
	}
	return rc;
}

static int
run_step(struct worker *w, struct batch *b, enum step step, struct err *err)
{
	bool again[BATCH_MAX] = { false };
	size_t list[BATCH_MAX] = { 0 }, n = 0, n_again = 0;

	for (size_t i = 0; i < b->n; i++)
		if (wanted(b->r[i], step))
			list[n++] = i;
	if (round_trip(w, b, step, list, n, again, err) != 0)
		return -1;
	for (size_t i = 0; i < n; i++)
		if (again[list[i]] && b->r[list[i]] != NULL)
			list[n_again++] = list[i];
	return round_trip(w, b, step, list, n_again, NULL, err);
}

static int
connected(struct worker *w, const struct batch *b, struct err *err)
{
	if (w->link.c != NULL)
		return 0;
	size_t last = b->n - 1;
	while (last > 0 && b->r[last] == NULL)
		last--;
	if (b->r[last] == NULL)
		return err_set(err, "nobody waits any more");
	int64_t until = deadline_of(w->engine, b->r[last]);
	return store_link_open(&w->link, &w->engine->conf, until, err);
}

/* Ask all that is unanswered.  A link that ended while nothing was asked (the server
 * was restarted) is made anew.  1: the link had been used before and broke: a fresh one
 * may do better. */
static int
try_batch(struct worker *w, struct batch *b, struct err *err)
{
	if (w->link.c != NULL && store_link_stale(&w->link))
		store_link_close(&w->link);
	bool used = w->link.c != NULL;
	b->broken = false;
	if (connected(w, b, err) == 0 && run_step(w, b, STEP_VOIDING, err) == 0 &&
	    run_step(w, b, STEP_ASK, err) == 0)
		return 0;
	store_link_close(&w->link);
	return used && b->broken ? 1 : -1;
}

static void
run_batch(struct worker *w, struct batch *b)
{
	struct err err;
	int rc = try_batch(w, b, &err);

	if (rc > 0)
		rc = try_batch(w, b, &err);
	if (rc != 0)
		trip(w->engine, &err);
	for (size_t i = 0; i < b->n; i++)
		if (b->r[i] != NULL)
			settle(&b->r[i], STORE_DOWN);
}

/* --- threads --- */

static struct store_request *
queue_all(struct worker *w)
{
	struct store_request *list = w->first;

	w->first = NULL;
	w->last = &w->first;
	w->n = 0;
	return list;
}

/* Up to BATCH_MAX off the queue; those whose deadline has come go to *late. */
static void
queue_take(struct worker *w, struct batch *b, struct store_request **late)
{
	int64_t now = clock_mono_ms();

	b->n = 0;
	while (w->first != NULL && b->n < BATCH_MAX) {
		struct store_request *r = w->first;

		w->first = r->next;
		w->n--;
		r->next = NULL;
		if (deadline_of(w->engine, r) <= now) {
			r->next = *late;
			*late = r;
		} else {
			b->voided[b->n] = 0;
			b->r[b->n++] = r;
		}
	}
	if (w->first == NULL)
		w->last = &w->first;
}

/* The breaker is open: called and left with the lock held.  false: time to end. */
static bool
while_down(struct worker *w)
{
	struct engine *e = w->engine;
	struct store_request *list = queue_all(w);
	int64_t at = e->probe_at;
	struct timespec until = { .tv_sec = (time_t)(at / 1000),
		.tv_nsec = (long)(at % 1000) * 1000000 };

	if (list != NULL || w->link.c != NULL) {
		pthread_mutex_unlock(&e->lock);
		store_link_close(&w->link);
		settle_list(list, &refused);
		pthread_mutex_lock(&e->lock);
		return true;
	}
	if (e->stop)
		return false;
	if (w != &e->worker[0])
		pthread_cond_wait(&w->wake, &e->lock);
	else if (clock_mono_ms() >= at)
		probe(w);
	else
		pthread_cond_timedwait(&w->wake, &e->lock, &until);
	return true;
}

/* Nothing is to do: called and left with the lock held. */
static void
idle(struct worker *w)
{
	struct engine *e = w->engine;
	struct timespec until = { .tv_sec = (time_t)(e->clock_at / 1000),
		.tv_nsec = (long)(e->clock_at % 1000) * 1000000 };

	if (w != &e->worker[0])
		pthread_cond_wait(&w->wake, &e->lock);
	else
		pthread_cond_timedwait(&w->wake, &e->lock, &until);
}

static void
upkeep(struct worker *w)
{
	struct engine *e = w->engine;
	struct err err;

	if (w == &e->worker[0] && clock_mono_ms() >= e->clock_at &&
	    look_at_clock(w, &err) != 0)
		trip(e, &err);
}

static void *
worker_run(void *arg)
{
	struct worker *w = arg;
	struct engine *e = w->engine;
	struct batch b;
	sigset_t pipe;

	/* hiredis writes with write(2): a lost connection is an error, not a signal. */
	sigemptyset(&pipe);
	sigaddset(&pipe, SIGPIPE);
	pthread_sigmask(SIG_BLOCK, &pipe, NULL);
	pthread_mutex_lock(&e->lock);
	for (;;) {
		struct store_request *late = NULL;

		if (!e->up) {
			if (!while_down(w))
				break;
			continue;
		}
		if (w->first == NULL) {
			if (e->stop)
				break;
			idle(w);
		}
		queue_take(w, &b, &late);
		pthread_mutex_unlock(&e->lock);
		settle_list(late, &timeouts);
		if (b.n > 0)
			run_batch(w, &b);
		upkeep(w);
		pthread_mutex_lock(&e->lock);
	}
	pthread_mutex_unlock(&e->lock);
	store_link_close(&w->link);
	return NULL;
}

/* What concerns one key goes through one thread, so it happens in the order of asking.
 */
static struct worker *
worker_of(struct engine *e, const struct store_request *r)
{
	struct str by = r->op == STORE_GREYLIST ? r->client : r->key;

	return &e->worker[XXH3_64bits(by.p == NULL ? "" : by.p, by.len) % e->n_workers];
}

static void
engine_submit(void *engine, struct store_request *r)
{
	struct engine *e = engine;
	struct worker *w = worker_of(e, r);

	pthread_mutex_lock(&e->lock);
	bool refuse = !e->up || w->n >= QUEUE_MAX;
	if (!refuse) {
		*w->last = r;
		w->last = &r->next;
		if (w->n++ == 0)
			pthread_cond_signal(&w->wake);
	}
	pthread_mutex_unlock(&e->lock);
	if (refuse) {
		metric_add(&refused, 1);
		store_request_done(r, STORE_DOWN);
	}
}

/* --- opening and closing --- */

static void
threads_stop(struct engine *e, size_t n)
{
	pthread_mutex_lock(&e->lock);
	e->stop = true;
	for (size_t i = 0; i < e->n_workers; i++)
		pthread_cond_signal(&e->worker[i].wake);
	pthread_mutex_unlock(&e->lock);
	for (size_t i = 0; i < n; i++)
		pthread_join(e->worker[i].thread, NULL);
}

static void
engine_free(struct engine *e)
{
	for (size_t i = 0; i < e->n_workers; i++)
		pthread_cond_destroy(&e->worker[i].wake);
	pthread_cond_destroy(&e->tried);
	pthread_mutex_destroy(&e->lock);
	if (e->conf.password != NULL)
		explicit_bzero(e->conf.password, strlen(e->conf.password));
	free(e->conf.password);
	free(e->conf.user);
	free(e->conf.prefix);
	free(e->name);
	free(e);
}

static void
engine_close(void *engine)
{
	struct engine *e = engine;

	threads_stop(e, e->n_workers);
	engine_free(e);
}

/* The first line of the file; an empty one is a mistake. */
static char *
password_read(const char *file, struct err *err)
{
	char text[PASSWORD_MAX + 2];
	int fd = open(file, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text));
	char *password = NULL;

	if (n < 0)
		err_errno(err, "cannot read %s", file);
	if (fd >= 0)
		(void)close(fd);
	if (n < 0)
		return NULL;
	struct str all = { text, (size_t)n }, line = { 0 };
	(void)str_cut(&all, '\n', &line);
	line = str_trim(line);
	if (line.len == 0 || line.len > PASSWORD_MAX || str_has(line, '\0'))
		err_set(err,
		    "%s: expected a password of 1 to %d octets in its first line", file,
		    PASSWORD_MAX);
	else
		password = str_dup(line);
	explicit_bzero(text, sizeof(text));
	return password;
}

static int
conf_read(struct engine *e, const struct store_conf *conf, struct err *err)
{
	struct str address = str_of(conf->address), prefix = str_of(conf->prefix);
	bool secret = conf->password_file != NULL && conf->password_file[0] != '\0';

	e->name = xasprintf("redis %.*s", (int)address.len, address.p);
	e->conf.user = xstrdup(conf->user == NULL ? "" : conf->user);
	e->conf.prefix = str_dup(prefix);
	e->conf.database = conf->database;
	e->deadline_ms = conf->deadline_ms;
	e->wall_us = conf->wall_us == NULL ? clock_wall_us : conf->wall_us;
	e->n_workers = (size_t)conf->connections;
	if (!store_address_parse(address, &e->conf.address))
		return err_set(err,
		    "\"%.*s\" is no address of a Redis server: expected unix:/path, "
		    "192.0.2.1:6379 or [2001:db8::1]:6379",
		    (int)(address.len < 100 ? address.len : 100), address.p);
	if (!store_prefix_good(prefix))
		return err_set(err, "bad prefix of keys, expected letters and digits");
	if (conf->database < 0 || conf->database > STORE_DATABASE_MAX)
		return err_set(err, "database %lld, expected 0 to %d",
		    (long long)conf->database, STORE_DATABASE_MAX);
	if (conf->deadline_ms < 1 || conf->deadline_ms > DEADLINE_MAX_MS)
		return err_set(err, "deadline %lld ms, expected 1 to %d",
		    (long long)conf->deadline_ms, DEADLINE_MAX_MS);
	e->conf.password =
	    secret ? password_read(conf->password_file, err) : xstrdup("");
	return e->conf.password == NULL ? -1 : 0;
}

static struct engine *
engine_new(size_t n_workers)
{
	struct engine *e = xcalloc(1, sizeof(*e));
	pthread_condattr_t attr;

	pthread_mutex_init(&e->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&e->tried, NULL);
	e->n_workers = n_workers;
	for (size_t i = 0; i < n_workers; i++) {
		struct worker *w = &e->worker[i];

		w->engine = e;
		w->last = &w->first;
		pthread_cond_init(&w->wake, &attr);
	}
	pthread_condattr_destroy(&attr);
	e->first_try = true;
	e->probe_at = clock_mono_ms();
	return e;
}

static void *
engine_open(const struct store_conf *conf, struct err *err)
{
	if (conf->connections < 1 || conf->connections > STORE_CONNECTIONS_MAX) {
		err_set(err, "%lld connections, expected 1 to %d",
		    (long long)conf->connections, STORE_CONNECTIONS_MAX);
		return NULL;
	}
	struct engine *e = engine_new((size_t)conf->connections);
	size_t n = 0;
	if (conf_read(e, conf, err) != 0) {
		engine_free(e);
		return NULL;
	}
	while (n < e->n_workers &&
	    pthread_create(&e->worker[n].thread, NULL, worker_run, &e->worker[n]) == 0)
		n++;
	if (n < e->n_workers) {
		threads_stop(e, n);
		engine_free(e);
		err_set(err, "cannot start a thread of the store");
		return NULL;
	}
	/* Who asks at once after this meets a connection, if there is a server. */
	pthread_mutex_lock(&e->lock);
	while (e->first_try)
		pthread_cond_wait(&e->tried, &e->lock);
	pthread_mutex_unlock(&e->lock);
	return e;
}

static int64_t
clock_offset(void *engine)
{
	struct engine *e = engine;

	return e->clock_offset;
}

const struct store_engine store_redis = {
	.name = "redis",
	.open = engine_open,
	.close = engine_close,
	.submit = engine_submit,
	.clock_offset = clock_offset,
};

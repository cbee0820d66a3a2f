/* SPDX-License-Identifier: BSD-2-Clause */
/* The embedded engine: one LMDB environment for all daemons of a host.  Requests queue
 * up for one writer thread, which applies all that wait in one transaction and answers
 * after its commit: that is fair between the threads of a process, and lets many share
 * the cost of one commit.  A second thread keeps: in one process of the host it syncs,
 * has expired records swept, and makes snapshots.  How records lie is store_table.c's,
 * what may be trusted after a crash store_home.c's. */
#include "db/store_embedded.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/metrics.h"
#include "common/base/xalloc.h"
#include "db/store_apply.h"
#include "db/store_home.h"
#include "db/store_private.h"
#include "db/store_table.h"
#include "db/store_table_map.h"

#define BATCH_MAX 256 /* requests of one transaction; fewer in a small store */
#define BATCH_MIN 16
#define BATCH_ROOM (256 << 10) /* octets of a store that allow one request more */
#define QUEUE_MAX 16384 /* requests that may wait; more are refused at once */
#define STALL_MS                                                                       \
	1000 /* a transaction that takes longer: refuse what comes meanwhile           \
	      */
#define REOPEN_MS 5000
#define SWEEP_ROWS 200
#define SWEEP_MS 1000 /* between sweeps; SWEEP_AGAIN_MS while more is due */
#define SWEEP_AGAIN_MS 50
#define SHRINK_ROOM (8u << 20) /* above what a store that was larger has in use */
#define READERS_MS 60000
#define MAPS_MS 10000 /* between snapshots because of shared maps */

METRIC_COUNTER(batches, "postern_store_transactions_total", NULL,
    "Transactions of the embedded store that were committed");
METRIC_COUNTER(refused, "postern_store_refused_total", NULL,
    "Requests refused at once because the store stood still or its queue was full");
METRIC_COUNTER(failed, "postern_store_failed_total", NULL,
    "Requests that the embedded store could not carry out");
METRIC_HISTOGRAM(answer_time, "postern_store_answer_seconds", NULL,
    "Time from the question to the answer of the embedded store");

struct embedded {
	struct store_home home;
	uint64_t size_max;
	size_t batch_max;
	int64_t sync_ms, snapshot_ms;

	/* Shared: inside a transaction or copy.  Alone: the map is being changed. */
	pthread_rwlock_t env_lock;
	MDB_env *env; /* NULL: broken; opened anew at reopen_ms */
	struct table table;
	int64_t reopen_ms;
	bool down; /* told in the log; the writer's */

	pthread_mutex_t lock; /* of what follows */
	pthread_cond_t wake; /* the writer */
	pthread_cond_t tick; /* the keeper */
	struct store_request *first, **last;
	size_t n;
	int64_t busy_since; /* monotonic ms; 0: the writer waits */
	bool stop, sweep, sweep_more;
	int64_t now; /* of the request last carried out, for sweeping: 0: none yet */

	pthread_t writer, keeper;
};

/* A store that was allowed to be larger needs free pages even for making itself
 * smaller. Its file keeps its size. */
static int
env_room(const struct embedded *e, MDB_env *env)
{
	struct table_txn tx;
	MDB_envinfo info;
	MDB_stat st;
	int rc = table_begin(&e->table, env, false, &tx);

	if (rc != 0)
		return rc;
	bool over = tx.bytes > (int64_t)e->table.limit;
	table_abort(&tx);
	if (!over)
		return 0;
	rc = mdb_env_info(env, &info);
	if (rc == 0)
		rc = mdb_env_stat(env, &st);
	size_t need = rc == 0 ? (info.me_last_pgno + 1) * st.ms_psize + SHRINK_ROOM : 0;
	return need <= e->size_max ? rc : mdb_env_set_mapsize(env, need);
}

static int
env_open(struct embedded *e, struct err *err)
{
	MDB_env *env = NULL;
	int rc = mdb_env_create(&env);
	unsigned flags = MDB_NOTLS | (e->sync_ms > 0 ? MDB_NOSYNC : 0);

	if (rc == 0)
		rc = mdb_env_set_maxdbs(env, TABLE_DATABASES);
	if (rc == 0)
		rc = mdb_env_set_mapsize(env, e->size_max);
	if (rc == 0)
		rc = mdb_env_open(env, e->home.path, flags, 0660);
	if (rc != 0)
		err_set(err, "cannot open %s: %s", e->home.path, mdb_strerror(rc));
	if (rc == 0 && table_open(&e->table, env, e->size_max, err) != 0)
		rc = -1;
	else if (rc == 0 && (rc = env_room(e, env)) != 0)
		err_set(
		    err, "cannot make room in %s: %s", e->home.path, mdb_strerror(rc));
	if (rc != 0) {
		mdb_env_close(env);
		return -1;
	}
	int dead;
	(void)mdb_reader_check(env, &dead);
	e->env = env;
	return 0;
}

/* All daemons share the files, whatever umask made them.  Where another user owns them
 * it fails, and that user has done it. */
static void
env_modes(struct embedded *e)
{
	int data = fchmodat(e->home.dir, "data.mdb", 0660, 0);
	int lock = fchmodat(e->home.dir, "lock.mdb", 0660, 0);

	(void)data;
	(void)lock;
}

/* --- the writer --- */

static int
apply(struct embedded *e, struct table_txn *tx, struct store_request *r)
{
	struct store_stats *stats = &r->answer.stats;

	if (r->op != STORE_STATS)
		return store_apply(tx, r);
	*stats = (struct store_stats){ .entries = table_entries(tx),
		.bytes = (uint64_t)(tx->bytes < 0 ? 0 : tx->bytes),
		.size_max = e->size_max };
	snprintf(stats->note, sizeof(stats->note), "%s", e->home.note);
	return 0;
}

static bool
only_reads(const struct store_request *list)
{
	for (; list != NULL; list = list->next)
		if (!store_request_reads(list))
			return false;
	return true;
}

/* Another process made the map larger: follow it. */
static int
follow_resize(struct embedded *e)
{
	pthread_rwlock_unlock(&e->env_lock);
	pthread_rwlock_wrlock(&e->env_lock);
	int rc = mdb_env_set_mapsize(e->env, 0);
	pthread_rwlock_unlock(&e->env_lock);
	pthread_rwlock_rdlock(&e->env_lock);
	return rc;
}

static int
begin(struct embedded *e, bool write, struct table_txn *tx)
{
	int rc = table_begin(&e->table, e->env, write, tx);

	if (rc == MDB_MAP_RESIZED && (rc = follow_resize(e)) == 0)
		rc = table_begin(&e->table, e->env, write, tx);
	return rc;
}

/* Make room, as far as one transaction may: down to nineteen twentieths of what shared
 * maps leave of the limit. */
static int
make_room(struct embedded *e, struct table_txn *tx)
{
	uint64_t maps = table_map_bytes(tx) / 8 * 3, entries = table_entries(tx);
	uint64_t limit = maps < e->table.limit ? e->table.limit - maps : 0;
	uint64_t goal = limit / 20 * 19;
	size_t evicted;

	if (tx->bytes <= (int64_t)limit || entries == 0)
		return 0;
	uint64_t each = (uint64_t)tx->bytes / entries;
	uint64_t n = ((uint64_t)tx->bytes - goal) / (each == 0 ? 1 : each) + 1;
	size_t most = 2 * e->batch_max; /* a batch adds no more than that */
	return table_evict(tx, n < most ? (size_t)n : most, &evicted);
}

/* All of the list in one transaction.  It may be done again after a failure: answers
 * are written over. */
static int
run(struct embedded *e, struct store_request *list)
{
	struct table_txn tx;
	bool write = !only_reads(list);
	int rc = begin(e, write, &tx);

	if (rc != 0)
		return rc;
	for (struct store_request *r = list; r != NULL && rc == 0; r = r->next)
		rc = apply(e, &tx, r);
	if (rc == 0 && write)
		rc = make_room(e, &tx);
	if (rc != 0) {
		table_abort(&tx);
		return rc;
	}
	bool durable = tx.maps_changed && e->sync_ms > 0;
	rc = table_commit(&tx);
	if (rc == 0)
		metric_add(&batches, 1);
	/* What an administrator entered cannot be made again. */
	return rc == 0 && durable ? mdb_env_sync(e->env, 1) : rc;
}

static int
run_evict(struct embedded *e)
{
	struct table_txn tx;
	size_t evicted = 0;
	int rc = begin(e, true, &tx);

	if (rc != 0)
		return rc;
	rc = table_evict(&tx, e->batch_max, &evicted);
	if (rc == 0)
		return table_commit(&tx);
	table_abort(&tx);
	return rc;
}

static void
tell(struct embedded *e, int rc)
{
	bool down = rc != 0;

	if (down && !e->down)
		log_msg(LOG_LEVEL_ERR, "store_down", "%s: %s", e->home.path,
		    e->env == NULL ? "not open" : mdb_strerror(rc));
	if (!down && e->down)
		log_msg(LOG_LEVEL_WARN, "store_up", "%s works again", e->home.path);
	e->down = down;
}

static void
answer(struct store_request *list, int rc)
{
	enum store_state state = rc == 0                         ? STORE_OK
	    : rc == MDB_MAP_FULL || rc == ENOSPC || rc == EDQUOT ? STORE_FULL
								 : STORE_DOWN;

	while (list != NULL) {
		struct store_request *r = list;

		list = r->next;
		metric_observe_us(&answer_time, (clock_mono_ms() - r->asked_ms) * 1000);
		if (state != STORE_OK)
			metric_add(&failed, 1);
		store_request_done(r, state);
	}
}

/* No room for all at once: one by one, making room where there is none. */
static void
run_singly(struct embedded *e, struct store_request *list)
{
	while (list != NULL) {
		struct store_request *r = list;
		int rc = MDB_MAP_FULL;

		list = r->next;
		r->next = NULL;
		for (int i = 0; i < 3 && rc == MDB_MAP_FULL; i++) {
			rc = run_evict(e);
			if (rc == 0)
				rc = run(e, r);
		}
		tell(e, rc);
		answer(r, rc);
	}
}

static bool
fatal(int rc)
{
	return rc == MDB_PANIC || rc == MDB_CORRUPTED || rc == MDB_PAGE_NOTFOUND ||
	    rc == MDB_INVALID || rc == MDB_BAD_TXN;
}

/* A failed write leaves LMDB's handle unusable: it is opened anew, and when the file is
 * to blame the next first opener will look closely. */
static void
reopen(struct embedded *e)
{
	struct err err;

	if (clock_mono_ms() < e->reopen_ms)
		return;
	e->reopen_ms = clock_mono_ms() + REOPEN_MS;
	pthread_rwlock_unlock(&e->env_lock);
	pthread_rwlock_wrlock(&e->env_lock);
	if (e->env != NULL)
		mdb_env_close(e->env);
	e->env = NULL;
	home_closing(&e->home);
	if (env_open(e, &err) != 0)
		log_err("store_reopen", &err);
	home_opened(&e->home);
	pthread_rwlock_unlock(&e->env_lock);
	pthread_rwlock_rdlock(&e->env_lock);
}

/* Whoever hears an answer and asks again must not be told of the stall that is over. */
static void
moved_on(struct embedded *e)
{
	pthread_mutex_lock(&e->lock);
	e->busy_since = clock_mono_ms();
	pthread_mutex_unlock(&e->lock);
}

static void
run_batch(struct embedded *e, struct store_request *list)
{
	pthread_rwlock_rdlock(&e->env_lock);
	if (e->env == NULL)
		reopen(e);
	int rc = e->env == NULL ? MDB_PANIC : run(e, list);
	moved_on(e);
	if (rc == MDB_MAP_FULL) {
		run_singly(e, list);
	} else {
		tell(e, rc);
		answer(list, rc);
	}
	if (fatal(rc) && e->env != NULL) {
		if (rc != MDB_PANIC)
			home_suspect(&e->home);
		reopen(e);
	}
	pthread_rwlock_unlock(&e->env_lock);
}

static bool
run_sweep(struct embedded *e, int64_t now)
{
	struct table_txn tx;
	size_t n = 0;
	bool left = false;

	pthread_rwlock_rdlock(&e->env_lock);
	int rc = e->env == NULL ? MDB_PANIC : begin(e, true, &tx);
	if (rc == 0) {
		rc = table_sweep(&tx, now, SWEEP_ROWS, &n, &left);
		if (rc == 0)
			rc = table_commit(&tx);
		else
			table_abort(&tx);
	}
	pthread_rwlock_unlock(&e->env_lock);
	return rc == 0 && left;
}

/* At most batch_max requests off the queue. */
static struct store_request *
queue_take(struct embedded *e)
{
	struct store_request *list = e->first, **end = &e->first;

	for (size_t i = 0; i < e->batch_max && *end != NULL; i++) {
		if ((*end)->now != 0) /* questions about maps have no time */
			e->now = (*end)->now;
		end = &(*end)->next;
		e->n--;
	}
	e->first = *end;
	*end = NULL;
	if (e->first == NULL)
		e->last = &e->first;
	return list;
}

static void *
writer_run(void *arg)
{
	struct embedded *e = arg;

	pthread_mutex_lock(&e->lock);
	for (;;) {
		while (e->first == NULL && !e->sweep && !e->stop)
			pthread_cond_wait(&e->wake, &e->lock);
		if (e->first == NULL && e->stop)
			break;
		struct store_request *list = e->first == NULL ? NULL : queue_take(e);
		/* Sweeping goes by the callers' clock: it is the one that records know.
		 */
		bool sweep = e->sweep && e->now != 0;
		int64_t now = e->now;
		e->sweep = false;
		e->busy_since = clock_mono_ms();
		pthread_mutex_unlock(&e->lock);
		if (list != NULL)
			run_batch(e, list);
		bool more = sweep && run_sweep(e, now);
		pthread_mutex_lock(&e->lock);
		e->busy_since = 0;
		if (sweep)
			e->sweep_more = more;
	}
	pthread_mutex_unlock(&e->lock);
	return NULL;
}

static void
embedded_submit(void *engine, struct store_request *r)
{
	struct embedded *e = engine;

	pthread_mutex_lock(&e->lock);
	/* A disk that stands still costs nobody's time but that of those who came
	 * first. */
	bool refuse = e->n >= QUEUE_MAX ||
	    (e->busy_since != 0 && r->asked_ms - e->busy_since > STALL_MS);
	if (!refuse) {
		*e->last = r;
		e->last = &r->next;
		if (e->n++ == 0)
			pthread_cond_signal(&e->wake);
	}
	pthread_mutex_unlock(&e->lock);
	if (refuse) {
		metric_add(&refused, 1);
		store_request_done(r, STORE_DOWN);
	}
}

/* --- the keeper --- */

struct keep {
	int64_t sweep_at, snapshot_at, readers_at; /* monotonic ms */
	size_t synced, snapshot; /* transactions that are on disk, in the snapshot */
	int64_t maps_at; /* not before then for shared maps alone */
};

/* Shared maps changed since the last snapshot, by whatever process. */
static bool
maps_changed(struct embedded *e, const struct keep *k)
{
	struct table_txn tx;

	if (table_begin(&e->table, e->env, false, &tx) != 0)
		return false;
	uint64_t changed = table_maps_changed(&tx), now = mdb_txn_id(tx.txn);
	table_abort(&tx);
	/* A file that was copied counts its transactions anew. */
	return changed > k->snapshot && changed <= now;
}

static void
keep_env(struct embedded *e, struct keep *k, int64_t now)
{
	MDB_envinfo info;
	struct err err;
	int dead;

	if (now >= k->readers_at) {
		k->readers_at = now + READERS_MS;
		(void)mdb_reader_check(e->env, &dead);
	}
	if (!home_keeper(&e->home) || mdb_env_info(e->env, &info) != 0)
		return;
	if (e->sync_ms > 0 && info.me_last_txnid != k->synced &&
	    mdb_env_sync(e->env, 1) == 0)
		k->synced = info.me_last_txnid;
	if (e->snapshot_ms > 0 &&
	    (now >= k->snapshot_at || (now >= k->maps_at && maps_changed(e, k)))) {
		k->snapshot_at = now + e->snapshot_ms;
		k->maps_at = now + MAPS_MS;
		if (info.me_last_txnid == k->snapshot)
			return;
		if (home_snapshot(&e->home, e->env, &err) == 0)
			k->snapshot = info.me_last_txnid;
		else
			log_err("store_snapshot", &err);
	}
}

static void
keep_sweep(struct embedded *e, struct keep *k, int64_t now)
{
	pthread_mutex_lock(&e->lock);
	if (e->home.keeper && (now >= k->sweep_at || e->sweep_more)) {
		k->sweep_at = now + SWEEP_MS;
		e->sweep = true;
		e->sweep_more = false;
		pthread_cond_signal(&e->wake);
	}
	pthread_mutex_unlock(&e->lock);
}

/* Until the next round; false: stop. */
static bool
keep_wait(struct embedded *e, int64_t ms)
{
	int64_t until_ms = clock_mono_ms() + ms;
	struct timespec until = { .tv_sec = (time_t)(until_ms / 1000),
		.tv_nsec = (long)(until_ms % 1000) * 1000000 };

	pthread_mutex_lock(&e->lock);
	while (!e->stop && clock_mono_ms() < until_ms)
		if (pthread_cond_timedwait(&e->tick, &e->lock, &until) != 0)
			break;
	bool on = !e->stop;
	pthread_mutex_unlock(&e->lock);
	return on;
}

static void *
keeper_run(void *arg)
{
	struct embedded *e = arg;
	int64_t now = clock_mono_ms(), sync_at = now;
	struct keep k = { .sweep_at = now + SWEEP_MS,
		.snapshot_at = now + e->snapshot_ms,
		.readers_at = now + READERS_MS };
	int64_t every = e->sync_ms > 0 && e->sync_ms < SWEEP_MS ? e->sync_ms : SWEEP_MS;

	while (keep_wait(e, SWEEP_AGAIN_MS < every ? SWEEP_AGAIN_MS : every)) {
		now = clock_mono_ms();
		if (now >= sync_at) {
			sync_at = now + every;
			pthread_rwlock_rdlock(&e->env_lock);
			if (e->env != NULL)
				keep_env(e, &k, now);
			pthread_rwlock_unlock(&e->env_lock);
		}
		keep_sweep(e, &k, now);
	}
	return NULL;
}

/* --- opening and closing --- */

static void
embedded_free(struct embedded *e)
{
	pthread_cond_destroy(&e->tick);
	pthread_cond_destroy(&e->wake);
	pthread_mutex_destroy(&e->lock);
	pthread_rwlock_destroy(&e->env_lock);
	free(e);
}

static struct embedded *
embedded_new(const struct store_conf *conf)
{
	struct embedded *e = xcalloc(1, sizeof(*e));
	pthread_condattr_t attr;

	e->size_max = conf->size_max;
	/* Each request changes a few pages, which are written to free ones first. */
	uint64_t batch = conf->size_max / BATCH_ROOM;
	e->batch_max = batch < BATCH_MIN ? BATCH_MIN
	    : batch > BATCH_MAX          ? BATCH_MAX
					 : batch;
	e->sync_ms = conf->sync_ms;
	e->snapshot_ms = conf->snapshot_s * 1000;
	e->last = &e->first;
	pthread_rwlock_init(&e->env_lock, NULL);
	pthread_mutex_init(&e->lock, NULL);
	pthread_cond_init(&e->wake, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&e->tick, &attr);
	pthread_condattr_destroy(&attr);
	return e;
}

static void
env_end(struct embedded *e)
{
	home_closing(&e->home);
	bool synced = e->env != NULL && mdb_env_sync(e->env, 1) == 0;
	if (e->env != NULL)
		mdb_env_close(e->env);
	home_close(&e->home, synced);
}

static void
threads_stop(struct embedded *e)
{
	pthread_mutex_lock(&e->lock);
	e->stop = true;
	pthread_cond_signal(&e->wake);
	pthread_cond_signal(&e->tick);
	pthread_mutex_unlock(&e->lock);
	pthread_join(e->writer, NULL);
}

/* Directory and environment.  What LMDB refuses although it was trusted is looked at
 * closely in a second try. */
static int
embedded_env(struct embedded *e, const char *path, const char *boot_id, struct err *err)
{
	for (int try = 0; try < 2; try++) {
		if (home_open(&e->home, path, boot_id, err) != 0)
			return -1;
		if (env_open(e, err) == 0) {
			env_modes(e);
			home_opened(&e->home);
			return 0;
		}
		home_suspect(&e->home);
		home_close(&e->home, false);
	}
	return -1;
}

static int
embedded_threads(struct embedded *e, struct err *err)
{
	if (pthread_create(&e->writer, NULL, writer_run, e) != 0)
		return err_set(err, "cannot start the store's writer thread");
	if (pthread_create(&e->keeper, NULL, keeper_run, e) == 0)
		return 0;
	threads_stop(e);
	return err_set(err, "cannot start the store's keeper thread");
}

void *
store_embedded_open(const struct store_conf *conf, const char *boot_id, struct err *err)
{
	if (conf->size_max < STORE_SIZE_MIN || conf->sync_ms < 0 ||
	    conf->snapshot_s < 0) {
		err_set(err, "store size %llu, expected at least %u octets",
		    (unsigned long long)conf->size_max, STORE_SIZE_MIN);
		return NULL;
	}
	struct embedded *e = embedded_new(conf);
	if (embedded_env(e, conf->path, boot_id, err) == 0) {
		if (embedded_threads(e, err) == 0)
			return e;
		env_end(e);
	}
	embedded_free(e);
	return NULL;
}

static void *
embedded_open(const struct store_conf *conf, struct err *err)
{
	return store_embedded_open(conf, NULL, err);
}

static void
embedded_close(void *engine)
{
	struct embedded *e = engine;

	threads_stop(e);
	pthread_join(e->keeper, NULL);
	env_end(e);
	embedded_free(e);
}

const struct store_engine store_embedded = {
	.name = "embedded",
	.open = embedded_open,
	.close = embedded_close,
	.submit = embedded_submit,
};

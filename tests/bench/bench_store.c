/* SPDX-License-Identifier: BSD-2-Clause */
/* The store, embedded and in a Redis server of this host: tries of triples per second
 * and the time to an answer, with 1, 16 and 64 threads that each wait for every answer,
 * half of the tries on known triples.  The bare rate of the same LMDB writing records
 * of that size, one transaction each, is the measure of the machine.
 *
 * POSTERN_BENCH_TRIPLES=10000000: instead, what a try costs in a store of that many
 * triples against one of ten thousand, in the same run; it takes minutes, and 800 octets
 * of disk for each. */
#include <ftw.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <lmdb.h>

#include "common/base/clock.h"
#include "common/base/xalloc.h"
#include "db/store.h"
#include "tests/lib/redis_rig.h"

#define RUN_MS 3000
#define TRIPLES 20000
#define SAMPLES_MAX 2000000
#define NOW INT64_C(1800000000)

static const struct greylist_times times = { 300, 172800, 3024000, 0, 3024000, 0 };

struct client {
	struct store *store;
	unsigned seed;
	int64_t until_ms;
	int32_t *us; /* time of each answer */
	size_t n, max;
};

static void *
client_run(void *arg)
{
	struct client *c = arg;

	while (c->n < c->max && clock_mono_ms() < c->until_ms) {
		char key[120];
		unsigned r = (unsigned)rand_r(&c->seed);
		int len = snprintf(key, sizeof(key),
		    "n192.0.2.0/24 sender%u@somewhere.example "
		    "recipient%u@local.example",
		    r % 2 == 0 ? r / 2 % TRIPLES : r,
		    c->seed % 2 == 0 ? 1 : c->seed % 50);
		int64_t begin = clock_mono_us();
		struct future *f = store_greylist_check(c->store, NULL,
		    STR("n192.0.2.0/24"), (struct str){ key, (size_t)len }, &times,
		    NOW + (int64_t)c->n / 100);

		if (!future_wait(f, clock_mono_ms() + 10000) ||
		    ((struct greylist_answer *)future_value(f))->state != STORE_OK)
			exit(1);
		future_unref(f);
		c->us[c->n++] = (int32_t)(clock_mono_us() - begin);
	}
	return NULL;
}

static int
by_value(const void *a, const void *b)
{
	const int32_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static double
run(struct store *store, int n, int32_t *samples, size_t *n_samples)
{
	struct client *client = xcalloc((size_t)n, sizeof(*client));
	pthread_t *thread = xcalloc((size_t)n, sizeof(*thread));
	size_t each = SAMPLES_MAX / (size_t)n, at = 0;
	int64_t begin = clock_mono_us();

	for (int i = 0; i < n; i++) {
		client[i] = (struct client){ .store = store,
			.seed = (unsigned)i * 7919 + 1,
			.until_ms = clock_mono_ms() + RUN_MS,
			.us = samples + (size_t)i * each,
			.max = each };
		pthread_create(&thread[i], NULL, client_run, &client[i]);
	}
	for (int i = 0; i < n; i++)
		pthread_join(thread[i], NULL);
	double seconds = (double)(clock_mono_us() - begin) / 1e6;
	for (int i = 0; i < n; i++) {
		memmove(samples + at, client[i].us, client[i].n * sizeof(*samples));
		at += client[i].n;
	}
	*n_samples = at;
	free(thread);
	free(client);
	return (double)at / seconds;
}

/* Writes of 100 octets under random keys, a transaction each, without sync. */
static double
bare_lmdb(const char *dir)
{
	MDB_env *env;
	MDB_dbi dbi;
	MDB_txn *txn;
	unsigned seed = 1;
	size_t n = 0;
	char value[100] = { 0 };

	mdb_env_create(&env);
	mdb_env_set_mapsize(env, 1u << 30);
	if (mdb_env_open(env, dir, MDB_NOSYNC | MDB_NOTLS | MDB_NOSUBDIR, 0600) != 0)
		exit(1);
	int64_t begin = clock_mono_us();
	while (clock_mono_us() - begin < RUN_MS * 1000) {
		char key[17] = { 0 };
		int r = rand_r(&seed) % TRIPLES;
		MDB_val k = { sizeof(key), key }, v = { sizeof(value), value };

		memcpy(key, &r, sizeof(r));
		mdb_txn_begin(env, NULL, 0, &txn);
		mdb_dbi_open(txn, NULL, 0, &dbi);
		mdb_put(txn, dbi, &k, &v, 0);
		if (mdb_txn_commit(txn) != 0)
			exit(1);
		n++;
	}
	double rate = (double)n * 1e6 / (double)(clock_mono_us() - begin);
	mdb_env_close(env);
	return rate;
}

static int
remove_one(const char *name, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	return remove(name);
}

struct subject {
	const char *name;
	struct store *store; /* NULL: not here */
};

/* Both engines in turn, with as many threads. */
static void
compare(const struct subject *subjects, int n_threads, double bare, int32_t *samples)
{
	for (int i = 0; i < 2; i++) {
		size_t n;

		if (subjects[i].store == NULL)
			continue;
		double rate = run(subjects[i].store, n_threads, samples, &n);
		qsort(samples, n, sizeof(*samples), by_value);
		printf("store: %-8s %2d threads: %.0f/s (%.2f of bare), answer p50 %d "
		       "us, p99 %d us, p99.9 %d us, max %d us\n",
		    subjects[i].name, n_threads, rate, rate / bare, samples[n / 2],
		    samples[n * 99 / 100], samples[n * 999 / 1000], samples[n - 1]);
	}
}

static void
print_size(const struct subject *subject)
{
	struct store_stats st;
	struct err err;

	if (subject->store != NULL && store_stats(subject->store, &st, &err) == 0)
		printf("store: %-8s %llu records, %llu octets each\n", subject->name,
		    (unsigned long long)st.entries,
		    (unsigned long long)(st.entries == 0 ? 0 : st.bytes / st.entries));
}

static struct store *
open_redis(struct rig_server *server)
{
	const char *missing = rig_server_missing();
	struct err err;

	if (missing != NULL || rig_server_up(server, "") != 0) {
		printf("store: no redis-server: %s\n",
		    missing == NULL ? "it does not run" : missing);
		return NULL;
	}
	struct store_conf conf = rig_server_conf(server);
	conf.deadline_ms = 10000;
	return store_open(&conf, &err);
}

/* --- a store that is large --- */

#define SMALL 10000
#define FILL_BATCH 1000
#define TURNS 5

/* As real ones are: a client, and under it who wrote to whom. */
static struct str
triple_key(unsigned i, struct str *client, char out[120])
{
	unsigned net = i / 8;
	int client_len = snprintf(out + 2, 40, "n%u.%u.%u.0/24", 1 + net / 65536 % 220,
	    net / 256 % 256, net % 256);
	char *at = out + 2 + client_len;
	int sender = snprintf(at + 2, 40, "sender%u@host%u.example", i, i % 977);
	int rcpt = snprintf(at + 2 + sender + 2, 40, "user%u@local.example", i % 5003);

	out[0] = at[0] = at[2 + sender] = 0;
	out[1] = (char)client_len;
	at[1] = (char)sender;
	at[2 + sender + 1] = (char)rcpt;
	*client = (struct str){ out + 2, (size_t)client_len };
	return (struct str){ out, (size_t)(2 + client_len + 2 + sender + 2 + rcpt) };
}

static struct future *
try_triple(struct store *store, unsigned i, int64_t now)
{
	char text[120];
	struct str client, key = triple_key(i, &client, text);

	return store_greylist_check(store, NULL, client, key, &times, now);
}

/* A machine that does much else may make the store refuse for a moment: asked again. */
static void
fill(struct store *store, unsigned n)
{
	struct future *f[FILL_BATCH];

	for (unsigned i = 0; i < n; i += FILL_BATCH) {
		for (unsigned j = 0; j < FILL_BATCH; j++)
			f[j] = try_triple(store, i + j, NOW);
		for (unsigned j = 0; j < FILL_BATCH;) {
			if (!future_wait(f[j], clock_mono_ms() + 60000))
				exit(1);
			const struct greylist_answer *a = future_value(f[j]);
			bool again = a->state == STORE_DOWN;
			if (a->state == STORE_FULL)
				exit(1);
			future_unref(f[j]);
			if (again)
				f[j] = try_triple(store, i + j, NOW);
			else
				j++;
		}
	}
}

struct prober {
	struct store *store;
	unsigned triples, seed;
	int64_t until_ms;
	size_t n;
};

static void *
probe(void *arg)
{
	struct prober *p = arg;

	while (clock_mono_ms() < p->until_ms) {
		unsigned i = (unsigned)rand_r(&p->seed) % p->triples;
		struct future *f = try_triple(p->store, i, NOW + 400);

		if (!future_wait(f, clock_mono_ms() + 60000))
			exit(1);
		const struct greylist_answer *a = future_value(f);
		if (a->state == STORE_OK && a->seen.state == GREYLIST_NEW)
			exit(1);
		p->n += a->state == STORE_OK;
		future_unref(f);
	}
	return NULL;
}

/* Tries per second on triples that are there. */
static double
probed(struct store *store, unsigned triples)
{
	struct prober p[16];
	pthread_t thread[16];
	size_t n = 0;
	int64_t begin = clock_mono_us();

	for (unsigned i = 0; i < 16; i++) {
		p[i] = (struct prober){ store, triples, i * 7919 + (unsigned)begin,
			clock_mono_ms() + RUN_MS, 0 };
		pthread_create(&thread[i], NULL, probe, &p[i]);
	}
	for (int i = 0; i < 16; i++) {
		pthread_join(thread[i], NULL);
		n += p[i].n;
	}
	return (double)n * 1e6 / (double)(clock_mono_us() - begin);
}

static int
by_double(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

/* Small and large in turns, so that what else the machine does falls on both. */
static int
large(const char *dir, unsigned triples)
{
	char *paths[2] = { xasprintf("%s/small", dir), xasprintf("%s/large", dir) };
	const unsigned n[2] = { SMALL, triples };
	double rate[2][TURNS];
	struct store *store[2];
	struct err err;

	for (int i = 0; i < 2; i++) {
		const struct store_conf conf = { .engine = "embedded",
			.path = paths[i],
			.size_max = (1u << 30) + (uint64_t)n[i] * 800,
			.sync_ms = 1000 };
		int64_t begin = clock_mono_ms();

		store[i] = store_open(&conf, &err);
		if (store[i] == NULL) {
			fprintf(stderr, "%s\n", err.text);
			return 1;
		}
		fill(store[i], n[i]);
		printf("store: embedded %u triples made in %lld ms\n", n[i],
		    (long long)(clock_mono_ms() - begin));
	}
	for (int turn = 0; turn < TURNS; turn++)
		for (int i = 0; i < 2; i++)
			rate[i][turn] = probed(store[i], n[i]);
	for (int i = 0; i < 2; i++) {
		struct subject subject = { "embedded", store[i] };

		qsort(rate[i], TURNS, sizeof(double), by_double);
		print_size(&subject);
		store_close(store[i]);
		free(paths[i]);
	}
	printf("store: embedded, 16 threads on known triples: %.0f/s of %u, %.0f/s of %u: "
	       "cost %.2f\n",
	    rate[0][TURNS / 2], SMALL, rate[1][TURNS / 2], triples,
	    rate[0][TURNS / 2] / rate[1][TURNS / 2]);
	return 0;
}

int
main(void)
{
	static const int threads[] = { 1, 16, 64 };
	const char *tmp = getenv("TMPDIR");
	char *dir = xasprintf("%s/postern-bench-XXXXXX", tmp != NULL ? tmp : "/tmp");
	int32_t *samples = xcalloc(SAMPLES_MAX, sizeof(*samples));
	struct rig_server server = { .pid = 0 };
	struct err err;

	const char *more = getenv("POSTERN_BENCH_TRIPLES");
	uint64_t triples = 0;

	if (mkdtemp(dir) == NULL)
		return 1;
	if (more != NULL && str_to_uint(str_of(more), SMALL, 1u << 30, &triples)) {
		int rc = large(dir, (unsigned)triples);

		(void)nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
		free(samples);
		free(dir);
		return rc;
	}
	char *path = xasprintf("%s/state", dir), *bare_path = xasprintf("%s/bare", dir);
	const struct store_conf conf = { .engine = "embedded",
		.path = path,
		.size_max = 1u << 30,
		.sync_ms = 1000 };
	struct subject subjects[2] = { { "embedded", store_open(&conf, &err) },
		{ "redis", open_redis(&server) } };
	if (subjects[0].store == NULL) {
		fprintf(stderr, "%s\n", err.text);
		return 1;
	}
	double bare = bare_lmdb(bare_path);
	printf("store: bare LMDB, 1 thread, a transaction each: %.0f/s\n", bare);
	for (size_t i = 0; i < sizeof(threads) / sizeof(threads[0]); i++)
		compare(subjects, threads[i], bare, samples);
	for (int i = 0; i < 2; i++) {
		print_size(&subjects[i]);
		store_close(subjects[i].store);
	}
	if (server.pid != 0)
		rig_server_remove(&server);
	(void)nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
	free(bare_path);
	free(path);
	free(samples);
	free(dir);
	return 0;
}

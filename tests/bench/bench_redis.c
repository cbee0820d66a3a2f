/* SPDX-License-Identifier: BSD-2-Clause */
/* The Redis engine against the server alone: memory of a million triples, as the server
 * itself counts it (POSTERN_BENCH_TRIPLES says how many); and tries per second of as many
 * threads, each waiting for every answer, through the store with its two connections
 * against the bare EVALSHA of the same script by a connection of each thread's own. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hiredis/hiredis.h>

#include "common/base/clock.h"
#include "common/base/xalloc.h"
#include "db/store_redis_node.h"
#include "tests/lib/redis_rig.h"

#define NOW INT64_C(1800000000)
#define BATCH 1000
#define RUN_MS 2000
#define ROUNDS 3
#define TRIPLES 1000000u

static const struct greylist_times times = { 300, 172800, 3024000, 0, 3024000, 0 };

static size_t
part(char *out, const char *text, size_t len)
{
	out[0] = (char)(len >> 8);
	out[1] = (char)(len & 0xff);
	memcpy(out + 2, text, len);
	return len + 2;
}

/* As real ones are: a client, and who wrote to whom. */
static struct str
triple_key(unsigned i, struct str *client, char out[160])
{
	char text[60];
	unsigned net = i / 8;
	size_t used = part(out, text,
	    (size_t)snprintf(text, sizeof(text), "n%u.%u.%u.0/24", 1 + net / 65536 % 220,
		net / 256 % 256, net % 256));

	*client = (struct str){ out + 2, used - 2 };
	used += part(out + used, text,
	    (size_t)snprintf(
		text, sizeof(text), "sender%u@host%u.example", i, i % 977));
	used += part(out + used, text,
	    (size_t)snprintf(text, sizeof(text), "user%u@local.example", i % 5003));
	return (struct str){ out, used };
}

/* Try each triple once.  Returns octets of their keys' parts. */
static uint64_t
fill(struct store *store, unsigned n, int64_t now)
{
	struct future *f[BATCH];
	uint64_t octets = 0;

	for (unsigned i = 0; i < n; i += BATCH) {
		for (unsigned j = 0; j < BATCH; j++) {
			char text[160];
			struct str client, key = triple_key(i + j, &client, text);

			octets += key.len - 6;
			f[j] = store_greylist_check(
			    store, NULL, client, key, &times, now);
		}
		for (unsigned j = 0; j < BATCH; j++) {
			if (!future_wait(f[j], clock_mono_ms() + 60000) ||
			    ((struct greylist_answer *)future_value(f[j]))->state !=
				STORE_OK)
				exit(1);
			future_unref(f[j]);
		}
	}
	return octets;
}

static uint64_t
used(struct store *store, uint64_t *entries)
{
	struct store_stats st;
	struct err err;

	if (store_stats(store, &st, &err) != 0)
		exit(1);
	*entries = st.entries;
	return st.bytes;
}

static void
memory(struct store *store, unsigned n)
{
	uint64_t entries, before = used(store, &entries);
	uint64_t octets = fill(store, n, NOW), after = used(store, &entries);

	printf("redis: %u triples, %.1f octets of client, sender and recipient: %.1f "
	       "octets of memory each\n",
	    n, (double)octets / n, (double)(after - before) / n);
	if (entries != n)
		exit(1);
}

struct client {
	const struct rig_server *server;
	struct store *store; /* NULL: EVALSHA by an own connection */
	unsigned next, step;
	int64_t until_ms;
	size_t n;
	pthread_t thread;
};

static void
try_bare(redisContext *c, const char *digest, struct str client, struct str key)
{
	struct store_request r = { .op = STORE_GREYLIST,
		.now = NOW,
		.key = key,
		.client = client,
		.times = times };
	static _Thread_local struct store_command command;
	const char *argv[STORE_COMMAND_ARGS];

	store_node_command(&command, "postern", digest, &r);
	memcpy(argv, command.argv, sizeof(argv[0]) * (size_t)command.argc);
	redisReply *reply = redisCommandArgv(c, command.argc, argv, command.len);
	if (reply == NULL || reply->type != REDIS_REPLY_ARRAY)
		exit(1);
	freeReplyObject(reply);
}

static void
try_store(struct store *store, struct str client, struct str key)
{
	struct future *f = store_greylist_check(store, NULL, client, key, &times, NOW);

	if (!future_wait(f, clock_mono_ms() + 10000) ||
	    ((struct greylist_answer *)future_value(f))->state != STORE_OK)
		exit(1);
	future_unref(f);
}

static void *
client_run(void *arg)
{
	struct client *me = arg;
	redisContext *c = NULL;
	char digest[41] = "";

	if (me->store == NULL) {
		c = redisConnectUnix(me->server->socket);
		struct str source = store_script_source(STORE_SCRIPT_GREYLIST);
		redisReply *r =
		    redisCommand(c, "SCRIPT LOAD %b", source.p, source.len);

		if (r == NULL || r->len != 40)
			exit(1);
		memcpy(digest, r->str, 40);
		freeReplyObject(r);
	}
	while (clock_mono_ms() < me->until_ms) {
		char text[160];
		struct str client, key = triple_key(me->next, &client, text);

		me->next += me->step;
		if (c == NULL)
			try_store(me->store, client, key);
		else
			try_bare(c, digest, client, key);
		me->n++;
	}
	if (c != NULL)
		redisFree(c);
	return NULL;
}

/* Tries per second; from: of the first triple, so that all are new. */
static double
rate(const struct rig_server *server, struct store *store, int n, unsigned *from)
{
	struct client *client = xcalloc((size_t)n, sizeof(*client));
	int64_t begin = clock_mono_us();
	size_t sum = 0;

	for (int i = 0; i < n; i++) {
		client[i] = (struct client){ .server = server,
			.store = store,
			.next = *from + (unsigned)i,
			.step = (unsigned)n,
			.until_ms = clock_mono_ms() + RUN_MS };
		pthread_create(&client[i].thread, NULL, client_run, &client[i]);
	}
	for (int i = 0; i < n; i++) {
		pthread_join(client[i].thread, NULL);
		sum += client[i].n;
		*from = client[i].next > *from ? client[i].next : *from;
	}
	free(client);
	return (double)sum * 1e6 / (double)(clock_mono_us() - begin);
}

static int
by_size(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

/* Both in turn, so that a machine whose speed wanders slows both. */
static void
compare(const struct rig_server *server, struct store *store, int n, unsigned *from)
{
	double ratio[ROUNDS], bare[ROUNDS];

	for (int i = 0; i < ROUNDS; i++) {
		bare[i] = rate(server, NULL, n, from);
		ratio[i] = rate(server, store, n, from) / bare[i];
	}
	qsort(ratio, ROUNDS, sizeof(*ratio), by_size);
	qsort(bare, ROUNDS, sizeof(*bare), by_size);
	printf("redis: %2d threads: bare EVALSHA %.0f/s; store %.2f of it\n", n,
	    bare[ROUNDS / 2], ratio[ROUNDS / 2]);
}

int
main(void)
{
	static const int threads[] = { 1, 16, 64 };
	const char *missing = rig_server_missing(), *want = getenv("POSTERN_BENCH_TRIPLES");
	unsigned n = want == NULL ? TRIPLES : (unsigned)strtoul(want, NULL, 10);
	unsigned from = 1u << 30;
	struct rig_server server = { .pid = 0 };
	struct err err;

	if (missing != NULL || rig_server_up(&server, "") != 0) {
		printf("redis: no redis-server: %s\n",
		    missing == NULL ? "it does not run" : missing);
		return 0;
	}
	struct store_conf conf = rig_server_conf(&server);
	conf.deadline_ms = 30000;
	struct store *store = store_open(&conf, &err);
	if (store == NULL)
		return 1;
	memory(store, n / BATCH * BATCH);
	for (size_t i = 0; i < sizeof(threads) / sizeof(threads[0]); i++)
		compare(&server, store, threads[i], &from);
	store_close(store);
	rig_server_remove(&server);
	return 0;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* The Redis engine when its server is away, hangs, is slow, forgets, refuses, or is
 * none: the answer, how long it took, what was counted, and that it works again
 * afterwards. */
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <check.h>

#include "common/base/clock.h"
#include "common/base/xalloc.h"
#include "tests/lib/redis_rig.h"
#include "tests/lib/store_rig.h"

#define N(a) ((int)(sizeof(a) / sizeof((a)[0])))
#define T0 RIG_T0
#define DEADLINE_MS 100
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SLOWER 4
#else
#define SLOWER 1
#endif
#define SLACK_MS (250 * SLOWER) /* of a loaded machine */
#define AT_ONCE_MS (60 * SLOWER)
#define RECOVERY_MS 15000

static struct rig_server own; /* of one test */

static void
own_new(void)
{
	rig_counters_new();
	rig_server_place(&own);
}

static void
own_started(void)
{
	own_new();
	rig_server_start(&own, NULL);
}

static void
own_remove(void)
{
	rig_server_remove(&own);
	rig_counters_remove();
}

#define TIMEOUTS "postern_store_redis_timeouts_total"
#define REFUSED "postern_store_redis_refused_total"
#define OPENED "postern_store_redis_breaker_opened_total"
#define ERRORS(class) "postern_store_redis_errors_total{class=\"" class "\"}"

static void
ask_down(struct store *s, int64_t within_ms)
{
	int64_t took;
	struct rate_answer a = rig_ask(s, "x", &took);

	ck_assert_int_eq(a.state, STORE_DOWN);
	ck_assert_msg(took <= within_ms, "%lld ms", (long long)took);
}

/* Asks until it is answered. */
static void
recovers(struct store *s)
{
	int64_t until = clock_mono_ms() + RECOVERY_MS;

	while (rig_ask(s, "recovery", NULL).state != STORE_OK) {
		ck_assert_msg(clock_mono_ms() < until, "does not recover");
		poll(NULL, 0, 10);
	}
}

static struct store *
open_own(void)
{
	struct store_conf conf = rig_server_conf(&own);

	return rig_opened(&conf, NULL);
}

/* --- the server is away --- */

START_TEST(away_at_the_start)
{
	int64_t begin = clock_mono_ms();
	struct store *s = open_own();
	struct store_stats st;
	struct err err;

	ck_assert_int_le(clock_mono_ms() - begin, DEADLINE_MS + SLACK_MS);
	for (int i = 0; i < 100; i++)
		ask_down(s, AT_ONCE_MS);
	ck_assert_uint_eq(rig_counted(REFUSED), 100);
	ck_assert_int_eq(store_stats(s, &st, &err), -1);
	rig_server_start(&own, NULL);
	recovers(s);
	store_close(s);
}
END_TEST

START_TEST(killed_and_back)
{
	struct store *s = open_own();

	ck_assert_int_eq(rig_ask(s, "x", NULL).state, STORE_OK);
	rig_server_kill(&own);
	ask_down(s, DEADLINE_MS + SLACK_MS);
	ck_assert_uint_eq(rig_counted(OPENED), 1);
	for (int i = 0; i < 20; i++)
		ask_down(s, AT_ONCE_MS);
	ck_assert_uint_ge(rig_counted(REFUSED), 20);
	rig_server_start(&own, NULL);
	recovers(s);
	store_close(s);
}
END_TEST

/* Nobody asked meanwhile: nobody notices. */
START_TEST(restarted_while_idle)
{
	struct store *s = open_own();

	ck_assert_int_eq(rig_ask(s, "x", NULL).level, 1);
	rig_server_kill(&own);
	rig_server_start(&own, NULL);
	for (int i = 0; i < 10; i++) {
		char name[32];

		snprintf(name, sizeof(name), "after %d", i);
		struct rate_answer a = rig_ask(s, name, NULL);
		ck_assert_int_eq(a.state, STORE_OK);
		ck_assert_int_eq(a.level, 1);
	}
	ck_assert_uint_eq(rig_counted(OPENED), 0);
	store_close(s);
}
END_TEST

struct asker {
	struct store *store;
	atomic_bool *stop;
	int64_t slowest_ms, ok, down, other;
};

static void *
asker_run(void *arg)
{
	struct asker *a = arg;
	char name[32];

	snprintf(name, sizeof(name), "asker %p", arg);
	while (!*a->stop) {
		int64_t begin = clock_mono_ms();
		struct future *f =
		    store_rate_add(a->store, str_of(name), 1, 1000000000, 0, 1, T0);

		if (!future_wait(f, begin + RIG_WAIT_MS)) {
			a->other++;
		} else {
			struct rate_answer *r = future_value(f);

			a->ok += r->state == STORE_OK;
			a->down += r->state == STORE_DOWN;
			a->other += r->state == STORE_FULL;
		}
		future_unref(f);
		int64_t took = clock_mono_ms() - begin;
		a->slowest_ms = took > a->slowest_ms ? took : a->slowest_ms;
		/* Mail comes from outside: no thread asks in circles. */
		poll(NULL, 0, 1);
	}
	return NULL;
}

START_TEST(restarted_under_load)
{
	struct store *s = open_own();
	struct asker asker[8];
	pthread_t thread[8];
	atomic_bool stop = false;
	int64_t ok = 0, down = 0;

	for (int i = 0; i < 8; i++) {
		asker[i] = (struct asker){ .store = s, .stop = &stop };
		ck_assert(pthread_create(&thread[i], NULL, asker_run, &asker[i]) == 0);
	}
	for (int i = 0; i < 3; i++) {
		recovers(s);
		rig_server_kill(&own);
		ask_down(s, DEADLINE_MS + SLACK_MS);
		rig_server_start(&own, NULL);
	}
	recovers(s);
	stop = true;
	for (int i = 0; i < 8; i++) {
		pthread_join(thread[i], NULL);
		ck_assert_int_eq(asker[i].other, 0);
		ck_assert_int_le(asker[i].slowest_ms, DEADLINE_MS + 2 * SLACK_MS);
		ok += asker[i].ok;
		down += asker[i].down;
	}
	ck_assert_int_gt(ok, 0);
	ck_assert_int_gt(down, 0);
	ck_assert_uint_eq(rig_counted(OPENED), 3);
	store_close(s);
}
END_TEST

/* One lost answer is asked for again (and was done twice); a second one in a row is the
 * server's failure. */
START_TEST(cut_off)
{
	struct rig_between between = { .to = own.socket };

	rig_between_start(&between, own.dir);
	struct store_conf conf = rig_server_conf(&own);
	conf.address = between.path;
	conf.connections = 1;
	struct store *s = rig_opened(&conf, NULL);
	ck_assert_int_eq(rig_ask(s, "a", NULL).level, 1);
	between.cuts = 1;
	ck_assert_int_eq(rig_ask(s, "a", NULL).level, 3);
	ck_assert_uint_eq(rig_counted(OPENED), 0);
	between.cuts = 2;
	ask_down(s, DEADLINE_MS + SLACK_MS);
	ck_assert_uint_eq(rig_counted(OPENED), 1);
	recovers(s);
	store_close(s);
	rig_between_stop(&between);
}
END_TEST

/* --- it does not answer in time --- */

START_TEST(hangs)
{
	struct store *s = open_own();
	int64_t took;

	ck_assert_int_eq(rig_ask(s, "x", NULL).state, STORE_OK);
	rig_server_signal(&own, SIGSTOP);
	ck_assert_int_eq(rig_ask(s, "x", &took).state, STORE_DOWN);
	ck_assert_int_ge(took, DEADLINE_MS - 1);
	ck_assert_int_le(took, DEADLINE_MS + SLACK_MS);
	ck_assert_uint_eq(rig_counted(TIMEOUTS), 1);
	ck_assert_uint_eq(rig_counted(OPENED), 1);
	for (int i = 0; i < 50; i++)
		ask_down(s, AT_ONCE_MS);
	ck_assert_uint_eq(rig_counted(REFUSED), 50);
	rig_server_signal(&own, SIGCONT);
	recovers(s);
	store_close(s);
}
END_TEST

/* What waits behind a hung batch is answered by its own deadline, too. */
START_TEST(hangs_with_a_queue)
{
	struct store *s = open_own();
	struct future *f[500];

	rig_server_signal(&own, SIGSTOP);
	int64_t begin = clock_mono_ms();
	for (int i = 0; i < 500; i++)
		f[i] = store_rate_add(s, STR("same"), 1, 1000, 0, 1, T0);
	for (int i = 0; i < 500; i++)
		ck_assert_int_eq(rig_rate_of(f[i]).state, STORE_DOWN);
	ck_assert_int_le(clock_mono_ms() - begin, DEADLINE_MS + SLACK_MS);
	rig_server_signal(&own, SIGCONT);
	store_close(s);
}
END_TEST

START_TEST(closes_while_it_hangs)
{
	struct store *s = open_own();
	struct future *f = store_rate_add(s, STR("x"), 1, 10, 0, 1, T0);

	rig_rate_of(f);
	rig_server_signal(&own, SIGSTOP);
	f = store_rate_add(s, STR("x"), 1, 10, 0, 1, T0);
	int64_t begin = clock_mono_ms();
	store_close(s);
	ck_assert_int_le(clock_mono_ms() - begin, DEADLINE_MS + SLACK_MS);
	ck_assert(future_done(f));
	ck_assert_int_eq(rig_rate_of(f).state, STORE_DOWN);
}
END_TEST

START_TEST(slow)
{
	struct rig_between between = { .to = own.socket, .delay_ms = 0 };

	rig_between_start(&between, own.dir);
	struct store_conf conf = rig_server_conf(&own);
	conf.address = between.path;
	struct store *s = rig_opened(&conf, NULL);
	int64_t took;

	between.delay_ms = 30;
	ck_assert_int_eq(rig_ask(s, "a", &took).level, 1);
	ck_assert_int_ge(took, 29);
	between.delay_ms = 4 * DEADLINE_MS;
	ck_assert_int_eq(rig_ask(s, "a", &took).state, STORE_DOWN);
	ck_assert_int_le(took, DEADLINE_MS + SLACK_MS);
	ck_assert_uint_eq(rig_counted(TIMEOUTS), 1);
	between.delay_ms = 0;
	recovers(s);
	/* The answer that came too late was nobody else's. */
	ck_assert_int_eq(rig_ask(s, "b", NULL).level, 1);
	ck_assert_int_eq(rig_ask(s, "a", NULL).level, 3);
	store_close(s);
	rig_between_stop(&between);
}
END_TEST

/* --- it refuses --- */

static const struct refusal {
	const char *name, *begin, *end;
	const char *counter;
	bool reads, opens;
	enum store_state state;
} refusals[] = {
	{ "replica", "REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE", ERRORS("away"), false,
	    true, STORE_DOWN },
	{ "full", "CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0", ERRORS("full"),
	    true, false, STORE_FULL },
	{ "no replicas", "CONFIG SET min-replicas-to-write 1",
	    "CONFIG SET min-replicas-to-write 0", ERRORS("refused"), true, false,
	    STORE_DOWN },
	{ "no permission", "ACL SETUSER default -eval -evalsha",
	    "ACL SETUSER default +eval +evalsha", ERRORS("refused"), false, false,
	    STORE_DOWN },
	{ "no writing", "ACL SETUSER default -set", "ACL SETUSER default +set",
	    ERRORS("bad"), true, false, STORE_DOWN },
	{ "no reading", "ACL SETUSER default -getrange",
	    "ACL SETUSER default +getrange", ERRORS("bad"), false, false, STORE_DOWN },
	{ "not our keys", "ACL SETUSER default resetkeys ~other:*",
	    "ACL SETUSER default allkeys", ERRORS("refused"), false, false,
	    STORE_DOWN },
};

START_TEST(refuses)
{
	const struct refusal *r = &refusals[_i];
	struct store *s = open_own();
	struct ipnet net = rig_net("192.0.2.0/24");
	int64_t took;

	ck_assert_int_eq(rig_try(s, "c", "k", T0), GREYLIST_NEW);
	ck_assert_str_eq(rig_server_ask(&own, r->begin), "OK");
	ck_assert_int_eq(rig_ask(s, "x", &took).state, r->state);
	ck_assert_int_le(took, DEADLINE_MS + SLACK_MS);
	ck_assert_uint_eq(rig_counted(r->counter), 1);
	ck_assert_uint_eq(rig_counted(OPENED), r->opens ? 1 : 0);
	if (!r->opens) { /* a triple is deferred only when that was written */
		ck_assert_int_eq(rig_greylist_of(store_greylist_check(s, NULL, STR("c"),
						     STR("k"), &rig_times, T0 + 1))
				     .state,
		    r->state);
	}
	ck_assert_int_eq(rig_event_of(store_event_get(s, &net, EVENT_SPAM, T0)).state,
	    r->reads ? STORE_OK : STORE_DOWN);
	ck_assert_str_eq(rig_server_ask(&own, r->end), "OK");
	if (r->opens)
		recovers(s);
	ck_assert_int_eq(rig_ask(s, "x", NULL).level, 1);
	ck_assert_int_eq(rig_try(s, "c", "k", T0 + 300), GREYLIST_RETRIED);
	store_close(s);
}
END_TEST

/* As long as it is a replica, it is tried quietly and nobody waits. */
START_TEST(stays_a_replica)
{
	struct store *s = open_own();
	int64_t until = clock_mono_ms() + 2600;

	recovers(s); /* also where the first connection came too late */
	ck_assert_str_eq(rig_server_ask(&own, "REPLICAOF 127.0.0.1 1"), "OK");
	ask_down(s, DEADLINE_MS + SLACK_MS);
	while (clock_mono_ms() < until) {
		ask_down(s, AT_ONCE_MS);
		poll(NULL, 0, 5);
	}
	ck_assert_uint_eq(rig_counted(OPENED), 1);
	store_close(s);
}
END_TEST

START_TEST(busy_with_a_script)
{
	struct store *s = open_own();

	ck_assert_str_eq(
	    rig_server_ask(&own, "CONFIG SET busy-reply-threshold 20"), "OK");
	pid_t child = fork();
	if (child == 0) {
		rig_server_ask(&own, "EVAL while\ttrue\tdo\tend 0");
		_exit(0);
	}
	while (strncmp(rig_server_ask(&own, "PING"), "-BUSY", 5) != 0)
		poll(NULL, 0, 5);
	ask_down(s, DEADLINE_MS + SLACK_MS);
	ck_assert_uint_eq(rig_counted(OPENED), 1);
	ck_assert_str_eq(rig_server_ask(&own, "SCRIPT KILL"), "OK");
	recovers(s);
	store_close(s);
}
END_TEST

START_TEST(scripts_are_flushed)
{
	struct store *s = open_own();
	struct ipnet net = rig_net("192.0.2.0/24");

	for (int i = 0; i < 100; i++) {
		char key[32];

		ck_assert_str_eq(rig_server_ask(&own, "SCRIPT FLUSH"), "OK");
		ck_assert_int_eq(rig_ask(s, "b", NULL).level, i + 1);
		ck_assert_str_eq(rig_server_ask(&own, "SCRIPT FLUSH"), "OK");
		snprintf(key, sizeof(key), "k%d", i);
		struct greylist_answer g = rig_greylist_of(store_greylist_check(
		    s, &net, STR("c"), str_of(key), &rig_times, T0));
		ck_assert_int_eq(g.state, STORE_OK);
		ck_assert_int_eq(g.seen.state, GREYLIST_NEW);
	}
	/* Three scripts a round; the second thread's connection loads once more. */
	ck_assert_uint_ge(rig_counted(ERRORS("noscript")), 297);
	store_close(s);
}
END_TEST

/* --- it is full --- */

#define KNOWN 200
#define FILL 20000

/* Ask for n new triples, 64 at a time; how many were not written. */
static int
fill(struct store *s, const char *name, int n, int64_t now)
{
	struct future *f[64];
	int lost = 0;

	for (int i = 0; i < n; i += 64) {
		for (int j = 0; j < 64; j++) {
			char key[40];

			snprintf(key, sizeof(key), "%s%d", name, i + j);
			f[j] = store_greylist_check(
			    s, NULL, str_of(key), str_of(key), &rig_times, now);
		}
		for (int j = 0; j < 64; j++)
			lost += rig_greylist_of(f[j]).state != STORE_OK;
	}
	return lost;
}

static uint64_t
evicted(void)
{
	const char *n = rig_server_ask(&own,
	    "EVAL return\tstring.match(redis.call('INFO','stats'),"
	    "'evicted_keys:([0-9]+)') 0");

	return strtoull(n, NULL, 10);
}

/* With volatile-ttl what expires first makes room: pending triples (2 days), while known
 * ones (35 days) and shared maps stay; nothing is refused. */
START_TEST(full_and_evicting)
{
	struct store_conf conf = rig_server_conf(&own);
	int kept = 0;

	rig_server_kill(&own);
	rig_server_start(&own, "maxmemory 4mb\nmaxmemory-policy volatile-ttl");
	conf.deadline_ms = 20000;
	struct store *s = rig_opened(&conf, NULL);
	ck_assert_int_eq(
	    rig_map_of(store_map_set(s, STR("m"), STR("k"), STR("v"), STR("w"), T0)).state,
	    STORE_OK);
	for (int pass = 0; pass < 2; pass++)
		ck_assert_int_eq(fill(s, "known", KNOWN, T0 + pass * 300), 0);
	ck_assert_int_eq(fill(s, "pending", FILL, T0 + 400), 0);
	ck_assert_uint_gt(strtoull(rig_server_ask(&own, "DBSIZE"), NULL, 10), 2 * KNOWN);
	ck_assert_uint_lt(strtoull(rig_server_ask(&own, "DBSIZE"), NULL, 10), FILL);
	ck_assert_uint_gt(evicted(), FILL / 20);
	for (int i = 0; i < KNOWN; i++) {
		char key[40];

		snprintf(key, sizeof(key), "known%d", i);
		kept += rig_try(s, key, key, T0 + 500) == GREYLIST_KNOWN;
	}
	ck_assert_int_ge(kept, KNOWN * 99 / 100); /* Redis looks at samples */
	ck_assert_int_ge(
	    rig_map_of(store_map_version(s, STR("m"))).version, 1);
	ck_assert_uint_eq(rig_counted(ERRORS("full")), 0);
	store_close(s);
}
END_TEST

/* With noeviction it refuses what is new; what is there is still read, and when there is
 * room again it works. */
START_TEST(full_and_refusing)
{
	struct store_conf conf = rig_server_conf(&own);

	rig_server_kill(&own);
	rig_server_start(&own, "maxmemory 3mb\nmaxmemory-policy noeviction");
	conf.deadline_ms = 20000;
	struct store *s = rig_opened(&conf, NULL);
	struct ipnet net = rig_net("192.0.2.0/24");
	ck_assert_int_eq(
	    rig_event_of(store_event_add(s, &net, EVENT_SPAM, 7, 60, T0)).weight, 7);
	int lost = fill(s, "pending", FILL, T0);
	ck_assert_int_gt(lost, FILL / 10);
	ck_assert_uint_eq(rig_counted(ERRORS("full")), (uint64_t)lost);
	ck_assert_uint_eq(rig_counted(OPENED), 0);
	/* What the server's own buffers gave back may still take a few. */
	char name[32];
	int more = 0;
	do
		snprintf(name, sizeof(name), "more%d", more++);
	while (more < FILL && rig_ask(s, name, NULL).state != STORE_FULL);
	ck_assert_int_lt(more, FILL);
	struct event_answer e = rig_event_of(store_event_get(s, &net, EVENT_SPAM, T0));
	ck_assert_int_eq(e.state, STORE_OK);
	ck_assert_int_eq(e.weight, 7);
	ck_assert_str_eq(rig_server_ask(&own, "CONFIG SET maxmemory 0"), "OK");
	ck_assert_int_eq(rig_ask(s, "x", NULL).level, 1);
	store_close(s);
}
END_TEST

/* --- who is no Redis server --- */

static const struct str lies[] = {
	{ "", 0 },
	{ "\r\n", 2 },
	{ "220 mx.example ESMTP\r\n", 22 },
	{ "*1000000000\r\n", 13 },
	{ "*-2\r\n", 5 },
	{ "$536870912\r\nabc", 15 },
	{ "$-7\r\n", 5 },
	{ ":x\r\n", 4 },
	{ "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n", 40 },
	{ "+OK\r\n+OK\r\n+OK\r\n+OK\r\n", 20 }, /* the greeting, and then silence */
	{ "+OK\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n", 25 }, /* more than was asked */
	{ "+OK\r\n+OK\r\n+OK\r\n+OK\r\n*4\r\n:9\r\n:1\r\n:1\r\n:0\r\n", 40 },
	{ "-ERR\r\n-ERR\r\n-ERR\r\n-ERR\r\n-\r\n", 27 },
};

START_TEST(lied_to)
{
	struct rig_between between = {
		.to = NULL, .says = lies[_i].p, .says_len = lies[_i].len
	};

	rig_between_start(&between, own.dir);
	struct store_conf conf = rig_server_conf(&own);
	conf.address = between.path;
	int64_t begin = clock_mono_ms();
	struct store *s = rig_opened(&conf, NULL);
	for (int i = 0; i < 3; i++)
		ask_down(s, DEADLINE_MS + SLACK_MS);
	ck_assert_int_le(clock_mono_ms() - begin, 4 * DEADLINE_MS + 2 * SLACK_MS);
	store_close(s);
	rig_between_stop(&between);
}
END_TEST

int
main(void)
{
	const char *why = rig_server_missing();
	TCase *started = tcase_create("failures"), *bare = tcase_create("no server");
	int expected = 0;

	if (why != NULL)
		return rig_server_skip(why);
#define ADD(tcase, test, loops)                                                        \
	(tcase_add_loop_test(tcase, test, 0, loops), expected += (loops))
	tcase_add_checked_fixture(started, own_started, own_remove);
	tcase_add_checked_fixture(bare, own_new, own_remove);
	tcase_set_timeout(started, 60);
	tcase_set_timeout(bare, 60);
	ADD(bare, away_at_the_start, 1);
	ADD(bare, lied_to, N(lies));
	ADD(started, killed_and_back, 1);
	ADD(started, restarted_while_idle, 1);
	ADD(started, restarted_under_load, 1);
	ADD(started, cut_off, 1);
	ADD(started, hangs, 1);
	ADD(started, hangs_with_a_queue, 1);
	ADD(started, closes_while_it_hangs, 1);
	ADD(started, slow, 1);
	ADD(started, refuses, N(refusals));
	ADD(started, stays_a_replica, 1);
	ADD(started, busy_with_a_script, 1);
	ADD(started, scripts_are_flushed, 1);
	ADD(started, full_and_evicting, 1);
	ADD(started, full_and_refusing, 1);
	Suite *suite = suite_create("store_redis_down");
	suite_add_tcase(suite, started);
	suite_add_tcase(suite, bare);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int ran = srunner_ntests_run(runner), failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return ran == expected && failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

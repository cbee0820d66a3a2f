/* SPDX-License-Identifier: BSD-2-Clause */
/* The Redis engine on a cluster of three masters: the conformance suite; slots that move
 * while they are asked for; nodes that fail; a map that is wrong. */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include <check.h>

#include "common/base/clock.h"
#include "common/base/xalloc.h"
#include "db/store_redis_slots.h"
#include "tests/lib/redis_group.h"
#include "tests/lib/store_conformance.h"
#include "tests/lib/store_rig.h"
#include "tests/lib/store_traffic.h"

#define T0 RIG_T0
#define DEADLINE_MS 100
#define PATIENT_MS (500 * SLOWER) /* where nothing may be lost to a slow machine */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SLOWER 4
#else
#define SLOWER 1
#endif
#define SLACK_MS (250 * SLOWER) /* of a loaded machine */
#define RECOVERY_MS (15000 * SLOWER)

#define MOVED "postern_store_redis_redirections_total{kind=\"moved\"}"
#define ASK "postern_store_redis_redirections_total{kind=\"ask\"}"
#define OPENED "postern_store_redis_breaker_opened_total"
#define READS "postern_store_redis_map_reads_total"

static struct rig_cluster group; /* of the whole program */
static struct rig_cluster own; /* of a test that harms it */

static struct store_conf
group_conf(void)
{
	rig_cluster_flush(&group);
	struct store_conf conf = rig_cluster_conf(&group);
	conf.deadline_ms = 20000; /* meaning is tested, not time */
	return conf;
}

static void
own_new(void)
{
	rig_counters_new();
	ck_assert_int_eq(rig_cluster_up(&own, 3), 0);
}

static void
own_with_a_new_node(void)
{
	rig_counters_new();
	ck_assert_int_eq(rig_cluster_up(&own, 4), 0);
}

static void
own_remove(void)
{
	rig_cluster_remove(&own);
	rig_counters_remove();
}

static struct store *
open_own(int64_t deadline_ms)
{
	struct store_conf conf = rig_cluster_conf(&own);

	conf.deadline_ms = deadline_ms;
	return rig_opened(&conf, NULL);
}

/* The slot of the bucket that the i-th asker counts in. */
static unsigned
bucket_slot(int i)
{
	char key[40];

	snprintf(key, sizeof(key), "{=own%d}", i);
	return store_slot(str_of(key));
}

/* Each key is where the server says that it belongs. */
START_TEST(slots_as_the_server_counts)
{
	unsigned seed = 1;

	for (int i = 0; i < 200; i++) {
		char key[64], text[100];
		int len = rand_r(&seed) % 40 + 1;

		for (int j = 0; j < len; j++)
			key[j] = "ab{}{}:=."[rand_r(&seed) % 9];
		key[len] = '\0';
		snprintf(text, sizeof(text), "CLUSTER KEYSLOT %s", key);
		ck_assert_msg(strtoul(rig_server_ask(&group.server[0], text), NULL, 10) ==
			store_slot(str_of(key)),
		    "%s", key);
	}
}
END_TEST

START_TEST(all_nodes_are_used)
{
	struct store_conf conf = group_conf();
	struct store *s = rig_opened(&conf, NULL);
	long sum = 0;

	for (int i = 0; i < 60; i++) {
		char name[16];

		snprintf(name, sizeof(name), "b%d", i);
		ck_assert_int_eq(rig_ask(s, name, NULL).level, 1);
	}
	for (int i = 0; i < 3; i++) {
		long n = strtol(rig_server_ask(&group.server[i], "DBSIZE"), NULL, 10);

		ck_assert_int_gt(n, 5);
		sum += n;
	}
	ck_assert_int_eq(sum, 60);
	ck_assert_uint_eq(rig_stats_of(s).entries, 60);
	ck_assert_uint_eq(rig_counted(MOVED), 0);
	ck_assert_uint_eq(rig_counted("postern_store_redis_errors_total"), 0);
	store_close(s);
}
END_TEST

/* Eight slots that are counted in go to another node and back, key by key, under way for
 * a while: every count is right, and no question was in vain. */
START_TEST(slots_move_in_traffic)
{
	struct store *s = open_own(5000);
	struct store_traffic t;

	store_traffic_start(&t, s, 8, 2);
	store_traffic_wait(&t, 100);
	for (int round = 0; round < 2; round++)
		for (int i = 0; i < 8; i++) {
			unsigned slot = bucket_slot(i);
			int from = rig_cluster_owner(&own, slot), to = (from + 1) % 3;

			rig_cluster_move_begin(&own, slot, from, to);
			store_traffic_wait(&t, 10);
			rig_cluster_move_keys(&own, slot, from, to);
			store_traffic_wait(&t, 10);
			rig_cluster_move_end(&own, slot, to);
		}
	store_traffic_wait(&t, 200);
	struct store_traffic_sum sum = store_traffic_stop(&t);
	ck_assert_int_eq(sum.down + sum.full + sum.unanswered, 0);
	for (int i = 0; i < 8; i++) {
		struct rate_answer a = rig_rate_of(store_rate_add(
		    s, str_of(t.asker[i].bucket), 0, 1000000000, 0, 1, T0));

		ck_assert_int_eq(a.level, t.asker[i].ok);
	}
	ck_assert_uint_gt(rig_counted(ASK), 0);
	ck_assert_uint_gt(rig_counted(MOVED), 0);
	ck_assert_uint_eq(rig_counted(OPENED), 0);
	store_close(s);
}
END_TEST

/* Triples, whose script has two keys, may have to wait while their slot moves: those
 * that cannot are answered in time, and it all works afterwards. */
START_TEST(triples_move_in_traffic)
{
	struct store *s = open_own(PATIENT_MS);
	struct store_traffic t;

	store_traffic_triples(&t, s, 8, 2);
	store_traffic_wait(&t, 100);
	ck_assert_int_eq(rig_try(s, "c", "k", T0), GREYLIST_NEW);
	unsigned slot = store_slot(STR("{=c}"));
	int from = rig_cluster_owner(&own, slot), to = (from + 1) % 3;
	rig_cluster_move_begin(&own, slot, from, to);
	/* It is still all here; its client's record is not made yet. */
	struct greylist_answer a = rig_greylist_of(store_greylist_check(
	    s, NULL, STR("c"), STR("k"), &rig_times, T0 + 300));
	ck_assert_int_eq(a.state, STORE_DOWN);
	rig_cluster_move_keys(&own, slot, from, to);
	rig_cluster_move_end(&own, slot, to);
	ck_assert_int_eq(rig_try(s, "c", "k", T0 + 300), GREYLIST_RETRIED);
	store_traffic_wait(&t, 100);
	struct store_traffic_sum sum = store_traffic_stop(&t);
	ck_assert_int_eq(sum.unanswered + sum.full + sum.down, 0);
	ck_assert_int_le(sum.slowest_ms, PATIENT_MS + SLACK_MS);
	ck_assert_uint_gt(rig_counted(
			      "postern_store_redis_redirections_total{kind=\"tryagain\"}"),
	    0);
	ck_assert_uint_eq(rig_counted(OPENED), 0);
	store_close(s);
}
END_TEST

/* A slot goes to a node that no map names: ASK first, then MOVED. */
START_TEST(to_a_new_node)
{
	struct store *s = open_own(5000);
	unsigned slot = bucket_slot(0);
	int from = rig_cluster_owner(&own, slot);

	ck_assert_int_eq(rig_ask(s, "own0", NULL).level, 1);
	rig_cluster_move_begin(&own, slot, from, 3);
	rig_cluster_move_keys(&own, slot, from, 3);
	ck_assert_int_eq(rig_ask(s, "own0", NULL).level, 2);
	ck_assert_uint_ge(rig_counted(ASK), 1);
	rig_cluster_move_end(&own, slot, 3);
	for (int i = 0; i < 50; i++)
		ck_assert_int_eq(rig_ask(s, "own0", NULL).level, 3 + i);
	ck_assert_uint_ge(rig_counted(MOVED), 1);
	ck_assert_uint_le(rig_counted(MOVED), 3);
	store_close(s);
}
END_TEST

/* However often it is told that its map is wrong, it is read at most every 250 ms. */
START_TEST(map_is_read_seldom)
{
	struct store *s = open_own(5000);
	int64_t begin = clock_mono_ms();

	for (int i = 0; i < 60; i++) {
		unsigned slot = bucket_slot(i);
		int from = rig_cluster_owner(&own, slot), to = (from + 1) % 3;
		char name[16];

		rig_cluster_move_begin(&own, slot, from, to);
		rig_cluster_move_end(&own, slot, to);
		snprintf(name, sizeof(name), "own%d", i);
		/* while a slot goes over its nodes may refuse for a moment */
		while (rig_ask(s, name, NULL).state != STORE_OK)
			ck_assert_int_lt(clock_mono_ms(), begin + RECOVERY_MS);
	}
	ck_assert_uint_le(
	    rig_counted(READS), 3 + (uint64_t)(clock_mono_ms() - begin) / 250);
	ck_assert_uint_ge(rig_counted(MOVED), 1);
	store_close(s);
}
END_TEST

/* Wait until that bucket is answered, or not. */
static void
becomes(struct store *s, const char *bucket, enum store_state state)
{
	int64_t until = clock_mono_ms() + RECOVERY_MS;

	for (;;) {
		int64_t took;

		enum store_state is = rig_ask(s, bucket, &took).state;
		ck_assert_int_le(took, DEADLINE_MS + SLACK_MS);
		if (is == state)
			return;
		ck_assert_msg(clock_mono_ms() < until, "%s", bucket);
		poll(NULL, 0, 10);
	}
}

/* The breaker is each node's own: who asks another node notices nothing. */
static const int signals[] = { SIGKILL, SIGSTOP };

START_TEST(one_node_fails)
{
	struct store *s;
	char lost[16] = "", kept[16] = "";

	/* else the others refuse as well, some time later */
	for (int i = 0; i < 3; i++)
		ck_assert_str_eq(rig_server_ask(&own.server[i],
				     "CONFIG SET cluster-require-full-coverage no"),
		    "OK");
	for (int i = 0; i < 60; i++) {
		char *name =
		    rig_cluster_owner(&own, bucket_slot(i)) == 1 ? lost : kept;

		snprintf(name, sizeof(lost), "own%d", i);
	}
	s = open_own(DEADLINE_MS);
	ck_assert_int_eq(rig_ask(s, lost, NULL).state, STORE_OK);
	ck_assert_int_eq(rig_ask(s, kept, NULL).state, STORE_OK);
	rig_server_signal(&own.server[1], signals[_i]);
	becomes(s, lost, STORE_DOWN);
	for (int i = 0; i < 100; i++) {
		int64_t took;

		ck_assert_int_eq(rig_ask(s, kept, &took).state, STORE_OK);
		ck_assert_int_le(took, DEADLINE_MS + SLACK_MS);
		ck_assert_int_eq(rig_ask(s, lost, NULL).state, STORE_DOWN);
	}
	ck_assert_uint_ge(rig_counted(OPENED), 1);
	if (signals[_i] == SIGSTOP) {
		rig_server_signal(&own.server[1], SIGCONT);
		becomes(s, lost, STORE_OK);
	}
	store_close(s);
}
END_TEST

/* A master dies and its replica takes its slots: questions for them are answered again,
 * with what was there. */
START_TEST(replica_takes_over)
{
	char lost[16] = "";
	int64_t until;

	rig_cluster_replicate(&own, 3, 1);
	for (int i = 0; i < 60 && lost[0] == '\0'; i++)
		if (rig_cluster_owner(&own, bucket_slot(i)) == 1)
			snprintf(lost, sizeof(lost), "own%d", i);
	struct store *s = open_own(DEADLINE_MS);
	becomes(s, lost, STORE_OK);
	int64_t level = rig_ask(s, lost, NULL).level;
	until = clock_mono_ms() + RECOVERY_MS;
	/* the replica has the key, whatever it lacks of its last changes */
	while (strcmp(rig_server_ask(&own.server[3], "DBSIZE"), "0") == 0)
		ck_assert_int_lt(clock_mono_ms(), until);
	for (int i = 0; i < 3; i++)
		level = rig_ask(s, lost, NULL).level;
	while (strcmp(rig_server_ask(&own.server[1], "WAIT 1 100"), "1") != 0)
		ck_assert_int_lt(clock_mono_ms(), until);
	rig_server_kill(&own.server[1]);
	becomes(s, lost, STORE_DOWN);
	becomes(s, lost, STORE_OK);
	ck_assert_int_gt(rig_ask(s, lost, NULL).level, level - 2);
	ck_assert_uint_ge(rig_counted(OPENED), 1);
	ck_assert_uint_ge(rig_counted(READS), 2);
	store_close(s);
}
END_TEST

/* Without any node it opens, refuses, and heals. */
START_TEST(all_nodes_away)
{
	int64_t took;

	for (int i = 0; i < 3; i++)
		rig_server_signal(&own.server[i], SIGSTOP);
	struct store *s = open_own(DEADLINE_MS);
	for (int i = 0; i < 20; i++) {
		ck_assert_int_eq(rig_ask(s, "x", &took).state, STORE_DOWN);
		ck_assert_int_le(took, SLACK_MS);
	}
	ck_assert_uint_ge(rig_counted("postern_store_redis_refused_total"), 20);
	for (int i = 0; i < 3; i++)
		rig_server_signal(&own.server[i], SIGCONT);
	becomes(s, "x", STORE_OK);
	store_close(s);
}
END_TEST

/* A server that is no cluster. */
START_TEST(no_cluster)
{
	struct rig_server alone = { .pid = 0 };
	struct store_conf conf = rig_cluster_conf(&group);
	char *options, *address;
	const char *list[1];
	unsigned port = rig_port();

	options = xasprintf("port %u", port);
	address = xasprintf("127.0.0.1:%u", port);
	list[0] = address;
	conf.cluster = list;
	conf.n_cluster = 1;
	ck_assert_int_eq(rig_server_up(&alone, options), 0);
	struct store *s = rig_opened(&conf, NULL);
	ck_assert_int_eq(rig_ask(s, "x", NULL).state, STORE_DOWN);
	store_close(s);
	rig_server_remove(&alone);
	free(address);
	free(options);
}
END_TEST

int
main(void)
{
	static const struct store_subject subject = { group_conf, false };
	const char *why = rig_server_missing();
	TCase *shared = tcase_create("cluster"), *harmed = tcase_create("moves");
	TCase *grown = tcase_create("a new node");

	if (why != NULL)
		return rig_server_skip(why);
	if (rig_cluster_up(&group, 3) != 0) {
		fprintf(stderr, "a cluster of redis-server does not run\n");
		rig_cluster_remove(&group);
		return EXIT_FAILURE;
	}
	Suite *suite = suite_create("store_redis_cluster");
	int expected = store_conformance_add(suite, &subject);
#define ADD(tcase, test, loops)                                                        \
	(tcase_add_loop_test(tcase, test, 0, loops), expected += (loops))
	tcase_add_checked_fixture(shared, rig_counters_new, rig_counters_remove);
	tcase_add_checked_fixture(harmed, own_new, own_remove);
	tcase_add_checked_fixture(grown, own_with_a_new_node, own_remove);
	tcase_set_timeout(shared, 120);
	tcase_set_timeout(harmed, 120);
	tcase_set_timeout(grown, 120);
	ADD(shared, slots_as_the_server_counts, 1);
	ADD(shared, all_nodes_are_used, 1);
	ADD(shared, no_cluster, 1);
	ADD(harmed, slots_move_in_traffic, 1);
	ADD(harmed, triples_move_in_traffic, 1);
	ADD(harmed, map_is_read_seldom, 1);
	ADD(harmed, one_node_fails, 2);
	ADD(harmed, all_nodes_away, 1);
	ADD(grown, to_a_new_node, 1);
	ADD(grown, replica_takes_over, 1);
	suite_add_tcase(suite, shared);
	suite_add_tcase(suite, harmed);
	suite_add_tcase(suite, grown);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int ran = srunner_ntests_run(runner), failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	rig_cluster_remove(&group);
	return ran == expected && failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

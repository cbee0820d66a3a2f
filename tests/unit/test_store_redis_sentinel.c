/* SPDX-License-Identifier: BSD-2-Clause */
/* The Redis engine with a master that sentinels watch: the conformance suite; a failover
 * in the middle of traffic; replicas, wrong names and sentinels that are no help. */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include <check.h>

#include "common/base/clock.h"
#include "common/base/xalloc.h"
#include "tests/lib/redis_group.h"
#include "tests/lib/store_conformance.h"
#include "tests/lib/store_rig.h"
#include "tests/lib/store_traffic.h"

#define T0 RIG_T0
#define DEADLINE_MS 100
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SLOWER 4
#else
#define SLOWER 1
#endif
#define SLACK_MS (250 * SLOWER) /* of a loaded machine */
#define RECOVERY_MS 5000 /* from the new master to the first answer */

static struct rig_watched group; /* of the whole program */
static struct rig_watched own; /* of a test that kills some of it */

static struct store_conf
group_conf(void)
{
	rig_watched_settle(&group);
	ck_assert_str_eq(
	    rig_server_ask(&group.server[rig_watched_master(&group)], "FLUSHALL"),
	    "OK");
	struct store_conf conf = rig_watched_conf(&group);
	conf.deadline_ms = 20000; /* meaning is tested, not time */
	return conf;
}

static void
own_new(void)
{
	rig_counters_new();
	ck_assert_int_eq(rig_watched_up(&own, "", ""), 0);
}

static void
own_remove(void)
{
	rig_watched_remove(&own);
	rig_counters_remove();
}

static struct store *
open_group(void)
{
	(void)group_conf();
	struct store_conf conf = rig_watched_conf(&group);

	return rig_opened(&conf, NULL);
}

/* Wait for a master other than that one; returns when it was seen. */
static int64_t
new_master(const struct rig_watched *w, int old)
{
	int64_t until = clock_mono_ms() + 60000;
	int master;

	while ((master = rig_watched_master(w)) < 0 || master == old) {
		ck_assert_msg(clock_mono_ms() < until, "no failover");
		poll(NULL, 0, 5);
	}
	return clock_mono_ms();
}

static void
answers_within(struct store *s, int64_t until)
{
	while (rig_ask(s, "recovery", NULL).state != STORE_OK) {
		ck_assert_msg(clock_mono_ms() < until, "does not recover");
		poll(NULL, 0, 5);
	}
}

/* What the master is done to, and what brings the group back. */
static const struct {
	const char *name;
	int sig;
} failures[] = { { "killed", SIGKILL }, { "hung", SIGSTOP } };

START_TEST(failover_in_traffic)
{
	struct store_conf conf = rig_watched_conf(&own);
	struct store *s = rig_opened(&conf, NULL);
	int old = rig_watched_master(&own);
	struct store_traffic t;
	struct store_traffic_sum sum;

	store_traffic_start(&t, s, 8, 5);
	store_traffic_wait(&t, 200);
	rig_server_signal(&own.server[old], failures[_i].sig);
	int64_t seen = new_master(&own, old);
	answers_within(s, seen + RECOVERY_MS * SLOWER);
	store_traffic_wait(&t, 200);
	sum = store_traffic_stop(&t);
	ck_assert_int_le(sum.slowest_ms, DEADLINE_MS + SLACK_MS);
	ck_assert_int_eq(sum.unanswered, 0);
	ck_assert_int_eq(sum.full, 0);
	ck_assert_int_gt(sum.down, 0);
	ck_assert_uint_ge(rig_counted("postern_store_redis_breaker_opened_total"), 1);
	/* What was written at the new master is there, and greylisting goes on. */
	ck_assert_int_eq(rig_try(s, "c", "k", T0), GREYLIST_NEW);
	ck_assert_int_eq(rig_try(s, "c", "k", T0 + 300), GREYLIST_RETRIED);
	/* The old one comes back and is never written to. */
	if (failures[_i].sig == SIGKILL) {
		rig_server_kill(&own.server[old]);
		rig_watched_start(&own, old, "");
	} else {
		rig_server_signal(&own.server[old], SIGCONT);
	}
	rig_watched_settle(&own);
	ck_assert_int_eq(rig_watched_master(&own), 1 - old);
	ck_assert_int_eq(rig_try(s, "c", "k", T0 + 301), GREYLIST_KNOWN);
	store_close(s);
}
END_TEST

/* The master is made a replica behind our back (a failover by hand): READONLY. */
START_TEST(failover_by_hand)
{
	struct store *s = open_group();
	int old = rig_watched_master(&group);

	ck_assert_int_eq(rig_ask(s, "x", NULL).state, STORE_OK);
	ck_assert_str_eq(
	    rig_server_ask(&group.sentinel[0], "SENTINEL FAILOVER " RIG_MASTER), "OK");
	int64_t seen = new_master(&group, old);
	answers_within(s, seen + (RECOVERY_MS + 10000) * SLOWER);
	rig_watched_settle(&group);
	answers_within(s, clock_mono_ms() + RECOVERY_MS * SLOWER);
	ck_assert_int_eq(rig_try(s, "c", "k", T0), GREYLIST_NEW);
	char *get = xasprintf("EXISTS postern:2:t:{=c}=k");
	ck_assert_str_eq(rig_server_ask(&group.server[1 - old], get), "1");
	free(get);
	store_close(s);
}
END_TEST

/* One sentinel is gone, one hangs: the third is asked. */
START_TEST(sentinels_away)
{
	struct store_conf conf = rig_watched_conf(&group);
	const char *list[3] = { "127.0.0.1:1", group.address[1], group.address[2] };

	rig_watched_settle(&group);
	rig_server_signal(&group.sentinel[1], SIGSTOP);
	conf.sentinels = list;
	struct store *s = rig_opened(&conf, NULL);
	ck_assert_int_eq(rig_ask(s, "x", NULL).state, STORE_OK);
	store_close(s);
	rig_server_signal(&group.sentinel[1], SIGCONT);
}
END_TEST

/* Who names a replica is not believed. */
START_TEST(a_replica_is_named)
{
	struct rig_between liar = { .to = NULL };
	struct store_conf conf = rig_watched_conf(&group);
	unsigned replica;
	char says[120], address[120];
	const char *list[2];

	rig_watched_settle(&group);
	replica = group.port[1 - rig_watched_master(&group)];
	char port[16];
	snprintf(port, sizeof(port), "%u", replica);
	int len = snprintf(says, sizeof(says), "*2\r\n$9\r\n127.0.0.1\r\n$%zu\r\n%s\r\n",
	    strlen(port), port);
	liar.says = says;
	liar.says_len = (size_t)len;
	rig_between_start(&liar, group.server[0].dir);
	snprintf(address, sizeof(address), "unix:%s", liar.path);
	list[0] = address;
	list[1] = group.address[0];
	conf.sentinels = list;
	conf.n_sentinels = 1;
	struct store *s = rig_opened(&conf, NULL);
	ck_assert_int_eq(rig_ask(s, "x", NULL).state, STORE_DOWN);
	store_close(s);
	conf.n_sentinels = 2;
	s = rig_opened(&conf, NULL);
	ck_assert_int_eq(rig_ask(s, "x", NULL).state, STORE_OK);
	store_close(s);
	rig_between_stop(&liar);
}
END_TEST

START_TEST(unknown_name)
{
	struct store_conf conf = rig_watched_conf(&group);

	conf.master = "nobody";
	struct store *s = rig_opened(&conf, NULL);
	ck_assert_int_eq(rig_ask(s, "x", NULL).state, STORE_DOWN);
	store_close(s);
}
END_TEST

/* Sentinels with a password of their own. */
static const struct {
	const char *secret; /* NULL: none is sent */
	enum store_state state;
} secrets[] = { { NULL, STORE_DOWN }, { "wrong", STORE_DOWN }, { "right", STORE_OK } };

START_TEST(sentinel_password)
{
	struct store_conf conf = rig_watched_conf(&group);
	char *file = xasprintf("%s/secret", group.server[0].dir);
	const char *set = "ACL SETUSER asker on >right +auth "
			  "+sentinel|get-master-addr-by-name";

	rig_watched_settle(&group);
	for (int i = 0; i < 3; i++) {
		ck_assert_str_eq(rig_server_ask(&group.sentinel[i], set), "OK");
		ck_assert_str_eq(
		    rig_server_ask(&group.sentinel[i],
			"ACL SETUSER default -sentinel|get-master-addr-by-name"),
		    "OK");
	}
	if (secrets[_i].secret != NULL) {
		FILE *f = fopen(file, "w");

		ck_assert(f != NULL && fputs(secrets[_i].secret, f) >= 0 &&
		    fclose(f) == 0);
		conf.sentinel_user = "asker";
		conf.sentinel_password_file = file;
	}
	struct store *s = rig_opened(&conf, NULL);
	ck_assert_int_eq(rig_ask(s, "x", NULL).state, secrets[_i].state);
	store_close(s);
	for (int i = 0; i < 3; i++)
		rig_server_ask(&group.sentinel[i],
		    "ACL SETUSER default +sentinel|get-master-addr-by-name");
	free(file);
}
END_TEST

int
main(void)
{
	static const struct store_subject subject = { group_conf, false };
	const char *why = rig_server_missing();
	TCase *shared = tcase_create("sentinel"), *killed = tcase_create("failover");

	if (why != NULL)
		return rig_server_skip(why);
	if (rig_watched_up(&group, "", "") != 0) {
		fprintf(stderr, "a master with sentinels does not run\n");
		rig_watched_remove(&group);
		return EXIT_FAILURE;
	}
	Suite *suite = suite_create("store_redis_sentinel");
	int expected = store_conformance_add(suite, &subject);
#define ADD(tcase, test, loops)                                                        \
	(tcase_add_loop_test(tcase, test, 0, loops), expected += (loops))
	tcase_add_checked_fixture(shared, rig_counters_new, rig_counters_remove);
	tcase_add_checked_fixture(killed, own_new, own_remove);
	tcase_set_timeout(shared, 120);
	tcase_set_timeout(killed, 120);
	ADD(shared, sentinels_away, 1);
	ADD(shared, a_replica_is_named, 1);
	ADD(shared, unknown_name, 1);
	ADD(shared, sentinel_password, 3);
	ADD(shared, failover_by_hand, 1);
	ADD(killed, failover_in_traffic, 2);
	suite_add_tcase(suite, shared);
	suite_add_tcase(suite, killed);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int ran = srunner_ntests_run(runner), failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	rig_watched_remove(&group);
	return ran == expected && failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* Places at one time: two processes on one store, one of them dead; and alone. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "milters/access/access_holds.h"
#include "tests/lib/store_rig.h"

static int64_t now_s;

static int64_t
wall_us(void)
{
	return now_s * 1000000;
}

static struct store *
get_store(void *arg)
{
	return arg;
}

static struct store *
open_store(void)
{
	struct store_conf conf = { .engine = "embedded",
		.path = rig_path,
		.size_max = STORE_SIZE_MIN,
		.sync_ms = 1000,
		.wall_us = wall_us };
	struct err err;
	struct store *s = store_open(&conf, &err);

	ck_assert_msg(s != NULL, "%s", err.text);
	return s;
}

static struct access_holds *
new_holds(const char *host, struct store *store)
{
	struct err err;
	struct access_holds *h = access_holds_new(host, get_store, store, &err);

	ck_assert_msg(h != NULL, "%s", err.text);
	return h;
}

static struct hold_verdict
judge(const struct access_hold *hold)
{
	struct future *f = access_hold_question(hold);

	if (f != NULL)
		ck_assert(future_wait(f, clock_mono_ms() + 10000));
	return access_hold_judge(hold);
}

START_TEST(two_processes)
{
	struct store *store = open_store();
	struct access_holds *a = new_holds("a", store), *b = new_holds("b", store);
	struct access_hold *one = access_hold_begin(a, STR("n"), 2);
	struct hold_verdict v = judge(one);

	ck_assert(v.allowed && !v.alone && v.held == 1);
	struct access_hold *two = access_hold_begin(b, STR("n"), 2);
	ck_assert(judge(two).allowed);
	struct access_hold *three = access_hold_begin(a, STR("n"), 2);
	v = judge(three);
	ck_assert(!v.allowed && v.held == 2);
	access_hold_end(a, three);
	struct access_hold *other = access_hold_begin(a, STR("m"), 2);
	ck_assert(judge(other).allowed);
	access_hold_end(b, two);
	three = access_hold_begin(a, STR("n"), 2);
	ck_assert(judge(three).allowed);
	/* what is left is given back at the end */
	access_holds_free(a);
	one = access_hold_begin(b, STR("n"), 1);
	ck_assert(judge(one).allowed);
	access_holds_free(b);
	store_close(store);
}
END_TEST

/* A holder that never comes back: its place is free when its time is over. */
START_TEST(a_dead_one)
{
	struct store *store = open_store();
	struct access_holds *a = new_holds("a", store);
	struct future *dead = store_hold_take(
	    store, STR("n"), STR("dead|1|1"), 1, HOLD_KEEP, store_now(store));
	struct access_hold *hold;

	ck_assert(future_wait(dead, clock_mono_ms() + 10000));
	future_unref(dead);
	hold = access_hold_begin(a, STR("n"), 1);
	ck_assert(!judge(hold).allowed);
	access_hold_end(a, hold);
	now_s += HOLD_KEEP + 1;
	hold = access_hold_begin(a, STR("n"), 1);
	ck_assert(judge(hold).allowed);
	access_hold_end(a, hold);
	access_holds_free(a);
	store_close(store);
}
END_TEST

START_TEST(alone)
{
	struct access_holds *a = new_holds("a", NULL);
	struct access_hold *held[5];
	struct hold_verdict v;

	for (int i = 0; i < 5; i++)
		held[i] = access_hold_begin(a, STR("n"), 3);
	/* judged late and in any order: who came first is in */
	for (int i = 4; i >= 0; i--) {
		v = judge(held[i]);
		ck_assert(v.alone && v.held == i + 1);
		ck_assert_int_eq(v.allowed, i < 3);
	}
	for (int i = 0; i < 4; i++)
		access_hold_end(a, held[i]);
	held[0] = access_hold_begin(a, STR("n"), 3);
	ck_assert_int_eq(judge(held[0]).held, 2);
	access_hold_end(a, NULL);
	access_holds_free(a);
}
END_TEST

static void
setup(void)
{
	now_s = RIG_T0;
	rig_directory_new();
}

int
main(void)
{
	Suite *s = suite_create("access_holds");
	TCase *t = tcase_create("whole");

	tcase_add_checked_fixture(t, setup, rig_directory_remove);
	tcase_add_test(t, two_processes);
	tcase_add_test(t, a_dead_one);
	tcase_add_test(t, alone);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed == 0 ? 0 : 1;
}

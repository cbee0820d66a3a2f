/* SPDX-License-Identifier: BSD-2-Clause */
/* The conformance suite of the store: what every operation means, whichever engine
 * keeps it.  A new engine is one more row of `engines`. */
#include "db/store.h"

#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include <check.h>

#include "common/base/clock.h"
#include "tests/lib/store_rig.h"

#define N(a) ((int)(sizeof(a) / sizeof((a)[0])))
#define T0 RIG_T0
#define DAY RIG_DAY
#define WAIT_MS RIG_WAIT_MS

/* The engines under test: how each makes the configuration of a fresh store. */
static struct store_conf (*const engines[])(void) = { rig_embedded_conf };

static struct store *
fresh(int i)
{
	struct store_conf conf = engines[i]();

	return rig_opened(&conf, NULL);
}

/* --- what every engine does --- */

START_TEST(life_of_a_triple)
{
	struct store *s = fresh(_i);

	ck_assert_int_eq(rig_try(s, "c", "k", T0), GREYLIST_NEW);
	ck_assert_int_eq(rig_try(s, "c", "other", T0), GREYLIST_NEW);
	ck_assert_int_eq(rig_try(s, "c", "k", T0 + 299), GREYLIST_EARLY);
	ck_assert_int_eq(rig_try(s, "c", "k", T0 + 300), GREYLIST_RETRIED);
	ck_assert_int_eq(rig_try(s, "c", "k", T0 + 30 * DAY), GREYLIST_KNOWN);
	ck_assert_int_eq(rig_try(s, "c", "k", T0 + 66 * DAY), GREYLIST_NEW);
	ck_assert_int_eq(rig_try(s, "c", "other", T0 + 3 * DAY), GREYLIST_NEW);
	struct greylist_answer a = rig_greylist_of(store_greylist_check(
	    s, NULL, STR("c"), STR("k"), &rig_times, T0 + 66 * DAY + 7));
	ck_assert_int_eq(a.seen.state, GREYLIST_EARLY);
	ck_assert_int_eq(a.seen.first, T0 + 66 * DAY);
	ck_assert_int_eq(a.seen.tries, 2);
	store_close(s);
}
END_TEST

/* Confirm n triples of a client, from T0 on. */
static void
confirm(struct store *s, const char *client, int n, int64_t from)
{
	for (int i = 0; i < n; i++) {
		char key[64];

		snprintf(key, sizeof(key), "%s/%lld/%d", client, (long long)from, i);
		ck_assert_int_eq(rig_try(s, client, key, from), GREYLIST_NEW);
		ck_assert_int_eq(rig_try(s, client, key, from + 400), GREYLIST_RETRIED);
	}
}

START_TEST(client_is_whitelisted)
{
	struct store *s = fresh(_i);

	confirm(s, "c", 3, T0);
	ck_assert_int_eq(rig_try(s, "c", "new", T0 + 500), GREYLIST_WHITELISTED);
	ck_assert_int_eq(rig_try(s, "d", "new", T0 + 500), GREYLIST_NEW);
	ck_assert_int_eq(rig_try(s, "c", "new", T0 + 31 * DAY), GREYLIST_NEW);
	store_close(s);
}
END_TEST

static enum greylist_state
try_in(struct store *s, const char *network, const char *key, int64_t now)
{
	struct ipnet n = rig_net(network);
	struct greylist_answer a = rig_greylist_of(
	    store_greylist_check(s, &n, str_of("c"), str_of(key), &rig_times, now));

	ck_assert_int_eq(a.state, STORE_OK);
	return a.seen.state;
}

static const struct voiding {
	enum event_kind kind;
	const char *network;
	bool voids;
} voidings[] = {
	{ EVENT_VIRUS, "192.0.2.0/24", true },
	{ EVENT_TRAP, "192.0.2.0/24", true },
	{ EVENT_SPAM, "192.0.2.0/24", false },
	{ EVENT_FLOOD, "192.0.2.0/24", false },
	{ EVENT_VIRUS, "192.0.3.0/24", false },
	{ EVENT_TRAP, "2001:db8::/64", false },
};

START_TEST(events_void)
{
	struct store *s = fresh(_i / N(voidings));
	const struct voiding *v = &voidings[_i % N(voidings)];
	struct ipnet n = rig_net(v->network);

	confirm(s, "c", 3, T0);
	ck_assert_int_eq(
	    try_in(s, "192.0.2.0/24", "x", T0 + 500), GREYLIST_WHITELISTED);
	rig_event_of(store_event_add(s, &n, v->kind, 1, DAY, T0 + 600));
	ck_assert_int_eq(try_in(s, "192.0.2.0/24", "y", T0 + 700),
	    v->voids ? GREYLIST_NEW : GREYLIST_WHITELISTED);
	/* What is confirmed afterwards counts again. */
	if (v->voids) {
		ck_assert_int_eq(
		    try_in(s, "192.0.2.0/24", "y", T0 + 1000), GREYLIST_RETRIED);
		confirm(s, "c", 2, T0 + 1000);
		ck_assert_int_eq(
		    try_in(s, "192.0.2.0/24", "z", T0 + 2000), GREYLIST_WHITELISTED);
	}
	store_close(s);
}
END_TEST

START_TEST(events_add_up)
{
	struct store *s = fresh(_i);
	struct ipnet a = rig_net("192.0.2.0/24"), b = rig_net("2001:db8:1::/64");
	struct event_answer e = rig_event_of(store_event_get(s, &a, EVENT_SPAM, T0));

	ck_assert_int_eq(e.state, STORE_OK);
	ck_assert_int_eq(e.weight, 0);
	ck_assert_int_eq(e.last, 0);
	e = rig_event_of(store_event_add(s, &a, EVENT_SPAM, 5, 100, T0));
	ck_assert_int_eq(e.weight, 5);
	e = rig_event_of(store_event_add(s, &a, EVENT_SPAM, 7, 100, T0 + 100));
	ck_assert_int_eq(e.weight, 12);
	ck_assert_int_eq(e.last, T0 + 100);
	e = rig_event_of(store_event_get(s, &a, EVENT_FLOOD, T0 + 100));
	ck_assert_int_eq(e.weight, 0);
	e = rig_event_of(store_event_get(s, &b, EVENT_SPAM, T0 + 100));
	ck_assert_int_eq(e.weight, 0);
	e = rig_event_of(store_event_get(s, &a, EVENT_SPAM, T0 + 200));
	ck_assert_int_eq(e.weight, 12);
	e = rig_event_of(store_event_get(s, &a, EVENT_SPAM, T0 + 201));
	ck_assert_int_eq(e.weight, 0);
	e = rig_event_of(store_event_add(s, &a, EVENT_SPAM, 1, 100, T0 + 201));
	ck_assert_int_eq(e.weight, 1);
	store_close(s);
}
END_TEST

/* Steps on one bucket of burst 10. */
static const struct step {
	int64_t at, n, rate, per;
	bool allowed;
	int64_t level, wait;
} steps[] = {
	{ 0, 4, 1, 10, true, 4, 0 },
	{ 0, 6, 1, 10, true, 10, 0 },
	{ 0, 1, 1, 10, false, 10, 10 },
	{ 9, 1, 1, 10, false, 10, 1 }, /* 9.1 in it, rounded up */
	{ 10, 1, 1, 10, true, 10, 0 },
	{ 11, 11, 1, 10, false, 10, -1 }, /* never fits */
	{ 11, 5, 0, 10, false, 10, -1 }, /* nothing leaks */
	{ 5, 1, 1, 10, false, 10, 10 }, /* clock back: stands still */
	{ 30, 1, 1, 10, true, 9, 0 },
	{ 1000, 0, 1, 10, true, 0, 0 },
	{ 1000, 10, 1, 10, true, 10, 0 },
};

START_TEST(rates)
{
	struct store *s = fresh(_i);

	for (int i = 0; i < N(steps); i++) {
		const struct step *st = &steps[i];
		struct rate_answer a = rig_rate_of(store_rate_add(
		    s, STR("b"), st->n, 10, st->rate, st->per, T0 + st->at));

		ck_assert_int_eq(a.state, STORE_OK);
		ck_assert_msg(a.allowed == st->allowed && a.level == st->level &&
			a.wait == st->wait,
		    "step %d: allowed %d level %lld wait %lld", i, a.allowed,
		    (long long)a.level, (long long)a.wait);
	}
	struct rate_answer other =
	    rig_rate_of(store_rate_add(s, STR("c"), 1, 10, 1, 10, T0));
	ck_assert_int_eq(other.level, 1);
	store_close(s);
}
END_TEST

START_TEST(slow_rate_leaks)
{
	struct store *s = fresh(_i);

	/* 10 a day, asked every second while full: after 8640 s one fits again. */
	ck_assert(
	    rig_rate_of(store_rate_add(s, STR("b"), 10, 10, 10, DAY, T0)).allowed);
	for (int t = 1; t < 8640; t += 7)
		ck_assert(
		    !rig_rate_of(store_rate_add(s, STR("b"), 1, 10, 10, DAY, T0 + t))
			 .allowed);
	ck_assert(rig_rate_of(store_rate_add(s, STR("b"), 1, 10, 10, DAY, T0 + 8641))
		      .allowed);
	ck_assert(!rig_rate_of(store_rate_add(s, STR("b"), 1, 10, 10, DAY, T0 + 8642))
		       .allowed);
	store_close(s);
}
END_TEST

START_TEST(long_names)
{
	struct store *s = fresh(_i);
	char name[STORE_NAME_MAX + 1];

	memset(name, 'x', sizeof(name));
	struct str max = { name, STORE_NAME_MAX }, over = { name, STORE_NAME_MAX + 1 };
	ck_assert_int_eq(
	    rig_greylist_of(store_greylist_check(s, NULL, max, max, &rig_times, T0))
		.seen.state,
	    GREYLIST_NEW);
	/* Alike in the part that is kept readable, and yet another triple. */
	name[STORE_NAME_MAX - 1] = 'y';
	ck_assert_int_eq(
	    rig_greylist_of(store_greylist_check(s, NULL, max, max, &rig_times, T0))
		.seen.state,
	    GREYLIST_NEW);
	ck_assert_int_eq(
	    rig_greylist_of(store_greylist_check(s, NULL, max, max, &rig_times, T0))
		.seen.state,
	    GREYLIST_EARLY);
	ck_assert_int_eq(rig_greylist_of(store_greylist_check(
					     s, NULL, STR("c"), over, &rig_times, T0))
			     .state,
	    STORE_DOWN);
	ck_assert_int_eq(rig_greylist_of(store_greylist_check(
					     s, NULL, over, STR("k"), &rig_times, T0))
			     .state,
	    STORE_DOWN);
	ck_assert_int_eq(
	    rig_rate_of(store_rate_add(s, over, 1, 1, 1, 1, T0)).state, STORE_DOWN);
	ck_assert_int_eq(
	    rig_rate_of(store_rate_add(s, STR(""), 1, 1, 1, 1, T0)).state, STORE_OK);
	store_close(s);
}
END_TEST

struct racer {
	struct store *store;
	pthread_barrier_t *start;
	enum greylist_state state;
};

static void *
race(void *arg)
{
	struct racer *r = arg;

	pthread_barrier_wait(r->start);
	struct future *f =
	    store_greylist_check(r->store, NULL, STR("c"), STR("same"), &rig_times, T0);
	if (future_wait(f, clock_mono_ms() + WAIT_MS))
		r->state = ((struct greylist_answer *)future_value(f))->seen.state;
	future_unref(f);
	return NULL;
}

START_TEST(one_is_new)
{
	struct store *s = fresh(_i);
	pthread_barrier_t start;
	pthread_t thread[64];
	struct racer racer[64];
	int n_new = 0, n_early = 0;

	pthread_barrier_init(&start, NULL, 64);
	for (int i = 0; i < 64; i++) {
		racer[i] = (struct racer){ s, &start, GREYLIST_KNOWN };
		ck_assert_int_eq(pthread_create(&thread[i], NULL, race, &racer[i]), 0);
	}
	for (int i = 0; i < 64; i++) {
		pthread_join(thread[i], NULL);
		n_new += racer[i].state == GREYLIST_NEW;
		n_early += racer[i].state == GREYLIST_EARLY;
	}
	pthread_barrier_destroy(&start);
	ck_assert_int_eq(n_new, 1);
	ck_assert_int_eq(n_early, 63);
	ck_assert_uint_eq(rig_stats_of(s).entries, 1);
	store_close(s);
}
END_TEST

/* Every thread counts on buckets of its own and on a common one. */
static void *
count(void *arg)
{
	struct racer *r = arg;
	char name[32];

	snprintf(name, sizeof(name), "own %p", arg);
	for (int i = 0; i < 200; i++) {
		future_unref(
		    store_rate_add(r->store, str_of(name), 1, 1000000, 0, 1, T0));
		future_unref(
		    store_rate_add(r->store, STR("common"), 1, 1000000, 0, 1, T0));
	}
	struct future *f = store_rate_add(r->store, str_of(name), 0, 1, 0, 1, T0);
	if (future_wait(f, clock_mono_ms() + WAIT_MS))
		r->state = ((struct rate_answer *)future_value(f))->level == 200
		    ? GREYLIST_NEW
		    : GREYLIST_KNOWN;
	future_unref(f);
	return NULL;
}

START_TEST(nothing_is_lost)
{
	struct store *s = fresh(_i);
	pthread_t thread[16];
	struct racer racer[16];

	for (int i = 0; i < 16; i++) {
		racer[i] = (struct racer){ s, NULL, GREYLIST_KNOWN };
		ck_assert_int_eq(pthread_create(&thread[i], NULL, count, &racer[i]), 0);
	}
	for (int i = 0; i < 16; i++) {
		pthread_join(thread[i], NULL);
		ck_assert_int_eq(racer[i].state, GREYLIST_NEW);
	}
	ck_assert_int_eq(
	    rig_rate_of(store_rate_add(s, STR("common"), 0, 1, 0, 1, T0)).level, 3200);
	store_close(s);
}
END_TEST

START_TEST(close_answers)
{
	struct store *s = fresh(_i);
	struct future *f[500];

	for (int i = 0; i < 500; i++)
		f[i] = store_rate_add(s, STR("b"), 1, 1000, 0, 1, T0);
	store_close(s);
	for (int i = 0; i < 500; i++) {
		ck_assert(future_done(f[i]));
		ck_assert_int_eq(rig_rate_of(f[i]).level, i + 1);
	}
}
END_TEST

START_TEST(expired_records_go)
{
	struct store *s = fresh(_i);
	int64_t until = clock_mono_ms() + WAIT_MS;

	for (int i = 0; i < 500; i++) {
		char key[32];

		snprintf(key, sizeof(key), "k%d", i);
		rig_try(s, "c", key, T0);
	}
	ck_assert_uint_eq(rig_stats_of(s).entries, 500);
	/* One of them lives on; its row in the index is older than it. */
	ck_assert_int_eq(rig_try(s, "c", "k7", T0 + 400), GREYLIST_RETRIED);
	ck_assert_int_eq(rig_try(s, "c", "k7", T0 + 3 * DAY), GREYLIST_KNOWN);
	while (rig_stats_of(s).entries > 2 && clock_mono_ms() < until)
		poll(NULL, 0, 20);
	ck_assert_uint_eq(rig_stats_of(s).entries, 2); /* the triple and its client */
	ck_assert_int_eq(rig_try(s, "c", "k7", T0 + 4 * DAY), GREYLIST_KNOWN);
	store_close(s);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("store");
	TCase *any = tcase_create("any engine");
	int n = N(engines), expected = 0;

#define ANY(test, loops) (tcase_add_loop_test(any, test, 0, loops), expected += (loops))
	tcase_add_checked_fixture(any, rig_directory_new, rig_directory_remove);
	tcase_set_timeout(any, 60);
	ANY(life_of_a_triple, n);
	ANY(client_is_whitelisted, n);
	ANY(events_void, n * N(voidings));
	ANY(events_add_up, n);
	ANY(rates, n);
	ANY(slow_rate_leaks, n);
	ANY(long_names, n);
	ANY(one_is_new, n);
	ANY(nothing_is_lost, n);
	ANY(close_answers, n);
	ANY(expired_records_go, n);
	suite_add_tcase(suite, any);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int ran = srunner_ntests_run(runner), failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return ran == expected && failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

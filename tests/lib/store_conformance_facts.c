/* SPDX-License-Identifier: BSD-2-Clause */
/* Notes and holds: what every engine does with them. */
#include "tests/lib/store_conformance_facts.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/base/clock.h"
#include "db/store_step.h"
#include "tests/lib/store_rig.h"

#define N(a) ((int)(sizeof(a) / sizeof((a)[0])))
#define T0 RIG_T0
#define DAY RIG_DAY

static struct store *(*fresh)(void); /* set before any test runs */

static unsigned seed;

static int64_t
any(int64_t from, int64_t to)
{
	return from + (int64_t)((unsigned)rand_r(&seed) % (unsigned)(to - from + 1));
}

/* --- notes --- */

static void
note_is(const struct note_answer *a, bool found, int64_t since, struct str text)
{
	struct str got = { a->text, a->len };

	ck_assert_int_eq(a->state, STORE_OK);
	ck_assert_int_eq(a->found, found);
	ck_assert_int_eq(a->since, since);
	ck_assert_msg(str_eq(got, text), "\"%.*s\"", STR_ARG(got));
}

static struct note_answer
note_put(struct store *s, const char *name, const char *text, int64_t keep, int64_t now)
{
	return rig_note_of(store_note_put(
	    s, NOTE_RECIPIENT, str_of(name), str_of(text), keep, now));
}

static struct note_answer
note_get(struct store *s, const char *name, int64_t now)
{
	return rig_note_of(store_note_get(s, NOTE_RECIPIENT, str_of(name), now));
}

START_TEST(life_of_a_note)
{
	struct store *s = fresh();
	struct note_answer a = note_get(s, "n", T0);

	note_is(&a, false, 0, STR(""));
	a = note_put(s, "n", "first", 100, T0);
	note_is(&a, false, T0, STR("first"));
	a = note_get(s, "n", T0 + 100);
	note_is(&a, true, T0, STR("first"));
	a = note_put(s, "n", "first", 100, T0 + 100); /* renewed: known since then */
	note_is(&a, true, T0, STR("first"));
	a = note_put(s, "n", "second", 50, T0 + 200);
	note_is(&a, true, T0 + 200, STR("second"));
	a = note_get(s, "n", T0 + 150); /* a clock that stepped back */
	note_is(&a, true, T0 + 150, STR("second"));
	a = note_get(s, "n", T0 + 251);
	note_is(&a, false, 0, STR(""));
	a = note_put(s, "n", "second", 50, T0 + 251); /* behind a gap */
	note_is(&a, false, T0 + 251, STR("second"));
	a = note_get(s, "N", T0 + 251);
	note_is(&a, false, 0, STR(""));
	store_close(s);
}
END_TEST

START_TEST(notes_of_a_kind)
{
	struct store *s = fresh();
	struct note_answer a;

	for (int k = 0; k < NOTE_KINDS; k++) {
		const char *name = note_kind_name((enum note_kind)k);

		a = rig_note_of(store_note_put(
		    s, (enum note_kind)k, STR("n"), str_of(name), 60, T0));
		note_is(&a, false, T0, str_of(name));
	}
	for (int k = 0; k < NOTE_KINDS; k++) {
		a = rig_note_of(store_note_get(s, (enum note_kind)k, STR("n"), T0));
		note_is(&a, true, T0, str_of(note_kind_name((enum note_kind)k)));
	}
	store_close(s);
}
END_TEST

static const struct {
	struct str text;
	int64_t keep;
	bool good;
	int64_t lives; /* seconds, at least */
} texts[] = {
	{ { "", 0 }, 60, true, 60 },
	{ { "\0", 1 }, 60, true, 60 },
	{ { " 1 2 ", 5 }, 60, true, 60 },
	{ { "a\r\nb\0\xff%s {}", 12 }, 60, true, 60 },
	{ { NULL, STORE_NOTE_MAX }, 60, true, 60 },
	{ { NULL, STORE_NOTE_MAX + 1 }, 60, false, 0 },
	{ { "0x10", 4 }, 0, true, 0 },
	{ { "x", 1 }, -5, true, 0 },
	{ { "x", 1 }, INT64_MAX, true, 1000 * RIG_DAY },
};

START_TEST(notes_are_octets)
{
	char longest[STORE_NOTE_MAX + 1];
	struct str text = texts[_i].text;
	struct store *s = fresh();

	memset(longest, 'x', sizeof(longest));
	if (text.p == NULL)
		text.p = longest;
	struct note_answer a = rig_note_of(
	    store_note_put(s, NOTE_LIST, STR("a|b}{"), text, texts[_i].keep, T0));
	ck_assert_int_eq(a.state, texts[_i].good ? STORE_OK : STORE_DOWN);
	a = rig_note_of(
	    store_note_get(s, NOTE_LIST, STR("a|b}{"), T0 + texts[_i].lives));
	note_is(&a, texts[_i].good, texts[_i].good ? T0 : 0,
	    texts[_i].good ? text : STR(""));
	store_close(s);
}
END_TEST

/* At random: each step is that of the function in C. */
START_TEST(notes_as_in_the_table)
{
	struct store *s = fresh();
	struct note note = { 0 };
	int64_t now = T0, until = 0;

	seed = 31;
	for (int i = 0; i < 1000; i++) {
		char octets[4];
		struct str text = { octets, (size_t)snprintf(octets, sizeof(octets),
						"%d", (int)any(0, 2)) };
		bool put = any(0, 2) == 0;
		int64_t keep = any(0, 60);

		now += any(-5, 30);
		struct note tried = { 0 };
		if (now <= until)
			tried = note;
		struct note_answer want = note_step(&tried, put ? &text : NULL, now);
		struct note_answer got = rig_note_of(put
			? store_note_put(s, NOTE_CORRESPONDENT, STR("n"), text, keep, now)
			: store_note_get(s, NOTE_CORRESPONDENT, STR("n"), now));
		if (put) {
			note = tried;
			until = now + keep;
		}
		note_is(&got, want.found, want.since,
		    (struct str){ want.text, want.len });
	}
	store_close(s);
}
END_TEST

/* --- holds --- */

/* Steps on one name, one behind the other. */
static const struct {
	int64_t at;
	const char *holder;
	bool drop;
	int64_t limit, keep;
	bool allowed;
	int64_t held;
} places[] = {
	{ 0, "a", false, 0, 60, false, 0 },
	{ 0, "a", false, -1, 60, false, 0 },
	{ 0, "a", false, 2, 60, true, 1 },
	{ 0, "b", false, 2, 100, true, 2 },
	{ 0, "c", false, 2, 60, false, 2 },
	{ 30, "a", false, 1, 60, true, 2 }, /* renewed although there are fewer now */
	{ 61, "c", false, 2, 60, false, 2 },
	{ 61, "c", true, 0, 0, false, 2 },
	{ 61, "b", true, 0, 0, true, 1 },
	{ 61, "b", true, 0, 0, false, 1 },
	{ 61, "c", false, 2, 60, true, 2 },
	{ 90, "d", false, 2, 60, false, 2 },
	{ 91, "d", false, 2, 0, true, 2 }, /* a's time is over */
	{ 91, "e", false, 2, 60, false, 2 },
	{ 92, "e", false, 2, INT64_MAX, true, 2 },
	{ 5000000, "", false, 2, -9, true, 2 },
	{ 5000000, "e", true, 0, 0, true, 1 },
	{ 5000000, "", true, 0, 0, true, 0 },
};

START_TEST(holds)
{
	struct store *s = fresh();

	for (int i = 0; i < N(places); i++) {
		struct str holder = str_of(places[i].holder);
		int64_t now = T0 + places[i].at;
		struct hold_answer a = rig_hold_of(places[i].drop
			? store_hold_drop(s, STR("n"), holder, now)
			: store_hold_take(s, STR("n"), holder, places[i].limit,
			      places[i].keep, now));

		ck_assert_int_eq(a.state, STORE_OK);
		ck_assert_msg(a.allowed == places[i].allowed && a.held == places[i].held,
		    "step %d: allowed %d, %lld held", i, a.allowed, (long long)a.held);
	}
	ck_assert_uint_eq(rig_stats_of(s).entries, 0);
	ck_assert(
	    rig_hold_of(store_hold_take(s, STR("m"), STR("x"), 1, 60, T0)).allowed);
	ck_assert(
	    rig_hold_of(store_hold_take(s, STR("n"), STR("x"), 1, 60, T0)).allowed);
	store_close(s);
}
END_TEST

START_TEST(holds_are_bounded)
{
	struct store *s = fresh();
	char name[STORE_NAME_MAX + 1], holder[32];

	for (int i = 0; i < STORE_HOLD_MAX + 2; i++) {
		int len = snprintf(holder, sizeof(holder), "holder %d", i);
		struct str h = { holder, (size_t)len };
		struct hold_answer a =
		    rig_hold_of(store_hold_take(s, STR("n"), h, INT64_MAX, 60, T0));

		ck_assert_int_eq(a.allowed, i < STORE_HOLD_MAX);
		ck_assert_int_eq(a.held, i < STORE_HOLD_MAX ? i + 1 : STORE_HOLD_MAX);
	}
	struct hold_answer a =
	    rig_hold_of(store_hold_drop(s, STR("n"), STR("holder 500"), T0));
	ck_assert(a.allowed && a.held == STORE_HOLD_MAX - 1);
	a = rig_hold_of(store_hold_take(s, STR("n"), STR("x"), 5, 60, T0 + 61));
	ck_assert(a.allowed && a.held == 1);
	memset(name, 'x', sizeof(name));
	struct str max = { name, STORE_NAME_MAX }, over = { name, STORE_NAME_MAX + 1 };
	ck_assert(rig_hold_of(store_hold_take(s, max, max, 1, 60, T0)).allowed);
	ck_assert_int_eq(
	    rig_hold_of(store_hold_take(s, over, max, 1, 60, T0)).state, STORE_DOWN);
	ck_assert_int_eq(
	    rig_hold_of(store_hold_take(s, max, over, 1, 60, T0)).state, STORE_DOWN);
	ck_assert_int_eq(
	    rig_hold_of(store_hold_drop(s, max, over, T0)).state, STORE_DOWN);
	store_close(s);
}
END_TEST

struct taker {
	struct store *store;
	pthread_barrier_t *start;
	bool allowed;
};

static void *
take(void *arg)
{
	struct taker *t = arg;
	char holder[32];
	int len = snprintf(holder, sizeof(holder), "%p", arg);

	pthread_barrier_wait(t->start);
	struct future *f = store_hold_take(
	    t->store, STR("n"), (struct str){ holder, (size_t)len }, 7, 60, T0);
	if (future_wait(f, clock_mono_ms() + RIG_WAIT_MS))
		t->allowed = ((struct hold_answer *)future_value(f))->allowed;
	future_unref(f);
	return NULL;
}

START_TEST(seven_get_in)
{
	struct store *s = fresh();
	pthread_barrier_t start;
	pthread_t thread[32];
	struct taker taker[32];
	int in = 0;

	pthread_barrier_init(&start, NULL, 32);
	for (int i = 0; i < 32; i++) {
		taker[i] = (struct taker){ s, &start, false };
		ck_assert_int_eq(pthread_create(&thread[i], NULL, take, &taker[i]), 0);
	}
	for (int i = 0; i < 32; i++) {
		pthread_join(thread[i], NULL);
		in += taker[i].allowed;
	}
	pthread_barrier_destroy(&start);
	ck_assert_int_eq(in, 7);
	store_close(s);
}
END_TEST

/* At random: each step is that of the function in C. */
START_TEST(holds_as_in_the_table)
{
	struct store *s = fresh();
	struct hold_set set = { .n = 0 };
	int64_t now = T0, end;

	seed = 41;
	for (int i = 0; i < 2000; i++) {
		char name[] = { (char)('a' + any(0, 7)) };
		struct str holder = { name, 1 };
		struct hold_args args = { (uint64_t)name[0], any(0, 3) == 0, any(0, 6),
			any(0, 60) };

		now += any(-3, 20);
		struct hold_answer want = hold_step(&set, &args, now, &end);
		struct hold_answer got = rig_hold_of(args.drop
			? store_hold_drop(s, STR("n"), holder, now)
			: store_hold_take(
			      s, STR("n"), holder, args.limit, args.keep, now));
		ck_assert_msg(got.state == STORE_OK && got.allowed == want.allowed &&
			got.held == want.held,
		    "step %d: allowed %d, %lld held; expected %d, %lld", i, got.allowed,
		    (long long)got.held, want.allowed, (long long)want.held);
	}
	store_close(s);
}
END_TEST

int
store_conformance_facts_add(TCase *tc, struct store *(*fresh_store)(void))
{
	int expected = 0;

#define ANY(test, loops) (tcase_add_loop_test(tc, test, 0, loops), expected += (loops))
	fresh = fresh_store;
	ANY(life_of_a_note, 1);
	ANY(notes_of_a_kind, 1);
	ANY(notes_are_octets, N(texts));
	ANY(notes_as_in_the_table, 1);
	ANY(holds, 1);
	ANY(holds_are_bounded, 1);
	ANY(seven_get_in, 1);
	ANY(holds_as_in_the_table, 1);
	return expected;
}

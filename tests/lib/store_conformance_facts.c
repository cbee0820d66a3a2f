/* SPDX-License-Identifier: BSD-2-Clause */
/* Notes: what every engine does with them. */
#include "tests/lib/store_conformance_facts.h"

#include <stdio.h>
#include <stdlib.h>

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
	return expected;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* What findings come to: own refusals, sums, allowlists, who is spared, what is watched. */
#include <check.h>
#include <stdio.h>
#include <string.h>

#include "milters/access/access_combine.h"

/* One finding: "R" rejects, "T" tempfails, else points; "?" before: watched only; "p"
 * before: spares postmaster. */
static const struct {
	const char *what, *findings;
	int64_t reject_points;
	unsigned spared;
	enum action action, would;
	int code;
	int64_t points;
	int by; /* which finding; -1: none */
} rows[] = {
	{ "nothing found", "", 5000, 0, ACTION_CONTINUE, ACTION_CONTINUE, 0, 0, -1 },
	{ "one refuses", "R", 5000, 0, ACTION_REJECT, ACTION_REJECT, 550, 0, 0 },
	{ "the first of two refuses", "1 R R", 5000, 0, ACTION_REJECT, ACTION_REJECT, 550,
	    1000, 1 },
	{ "lasting before for a while", "T R", 0, 0, ACTION_REJECT, ACTION_REJECT, 550, 0,
	    1 },
	{ "for a while", "1 T", 5000, 0, ACTION_TEMPFAIL, ACTION_TEMPFAIL, 450, 1000, 1 },
	{ "sum before for a while", "5 T", 5000, 0, ACTION_REJECT, ACTION_REJECT, 554,
	    5000, 0 },
	{ "below the threshold", "2.5 2.499", 5000, 0, ACTION_CONTINUE, ACTION_CONTINUE,
	    0, 4999, 0 },
	{ "at the threshold", "2 3", 5000, 0, ACTION_REJECT, ACTION_REJECT, 554, 5000, 1 },
	{ "the first of equal weight speaks", "3 3", 5000, 0, ACTION_REJECT,
	    ACTION_REJECT, 554, 6000, 0 },
	{ "no threshold", "100", 0, 0, ACTION_CONTINUE, ACTION_CONTINUE, 0, 100000, 0 },
	{ "an allowlist takes away", "4 3 -2.5", 5000, 0, ACTION_CONTINUE,
	    ACTION_CONTINUE, 0, 4500, 0 },
	{ "no allowlist outweighs a refusal of its own", "-100 R", 5000, 0, ACTION_REJECT,
	    ACTION_REJECT, 550, -100000, 1 },
	{ "an allowlist alone", "-3", 5000, 0, ACTION_CONTINUE, ACTION_CONTINUE, 0, -3000,
	    -1 },
	{ "watched", "?R", 5000, 0, ACTION_CONTINUE, ACTION_REJECT, 0, 0, -1 },
	{ "watched points", "3 ?3", 5000, 0, ACTION_CONTINUE, ACTION_REJECT, 0, 3000, 0 },
	{ "a watched allowlist saves nobody", "6 ?-5", 5000, 0, ACTION_REJECT,
	    ACTION_CONTINUE, 554, 6000, 0 },
	{ "spared", "pR p9", 5000, CHECK_SPARE_POSTMASTER, ACTION_CONTINUE,
	    ACTION_CONTINUE, 0, 0, -1 },
	{ "spared for another reason", "pR", 5000, CHECK_SPARE_MAP, ACTION_REJECT,
	    ACTION_REJECT, 550, 0, 0 },
	{ "one spared, one not", "pR 5", 5000, CHECK_SPARE_POSTMASTER, ACTION_REJECT,
	    ACTION_REJECT, 554, 5000, 1 },
};

static void
add(struct findings *to, const char *word)
{
	struct finding *f = findings_add(to);

	f->check = "test";
	f->observe = word[0] == '?';
	f->spares = word[0] == 'p' ? CHECK_SPARE_POSTMASTER : 0;
	word += word[0] == '?' || word[0] == 'p';
	f->refuses = word[0] == 'R' || word[0] == 'T';
	if (f->refuses) {
		f->verdict = verdict_refuse(word[0] == 'R' ? 550 : 450,
		    word[0] == 'R' ? "5.7.1" : "4.7.1", "test", "no");
		return;
	}
	double points = 0;
	ck_assert_int_eq(sscanf(word, "%lf", &points), 1);
	f->points = (int64_t)(points * 1000 + (points < 0 ? -0.5 : 0.5));
	f->verdict = verdict_refuse(554, "5.7.9", "test", "heavy %zu", to->n - 1);
}

/* Spread over the phases' sets, as far as the order stays. */
static size_t
fill(const char *text, struct findings sets[2])
{
	struct str rest = str_of(text), word;
	size_t n = 0;

	while (str_word(&rest, &word)) {
		char copy[16];
		snprintf(copy, sizeof(copy), "%.*s", STR_ARG(word));
		add(&sets[n == 0 ? 0 : 1], copy);
		n++;
	}
	return n;
}

START_TEST(what_it_comes_to)
{
	struct findings sets[2] = { { 0 } };
	const struct combine_rules rules = { rows[_i].reject_points, rows[_i].spared };
	struct combined out;

	fill(rows[_i].findings, sets);
	access_combine(sets, 2, &rules, &out);
	ck_assert_msg(out.verdict.action == rows[_i].action, "%s", rows[_i].what);
	ck_assert_msg(out.would.action == rows[_i].would, "%s", rows[_i].what);
	ck_assert_int_eq(out.verdict.code, rows[_i].code);
	ck_assert_int_eq(out.points, rows[_i].points);
	const struct finding *by = rows[_i].by < 0 ? NULL
	    : rows[_i].by == 0                     ? &sets[0].list[0]
						   : &sets[1].list[rows[_i].by - 1];
	ck_assert_msg(out.by == by, "%s", rows[_i].what);
	findings_clear(&sets[0]);
	findings_clear(&sets[1]);
}
END_TEST

/* The heaviest speaks for the sum; a code for a while becomes a lasting one. */
START_TEST(words_of_a_sum)
{
	struct findings set = { 0 };
	const struct combine_rules rules = { 5000, 0 };
	struct combined out;

	struct finding *f = findings_add(&set);
	f->check = "slow";
	f->points = 9000;
	f->verdict = verdict_refuse(450, "4.1.8", "slow", "it is late");
	access_combine(&set, 1, &rules, &out);
	ck_assert_int_eq(out.verdict.code, 550);
	ck_assert_int_eq(out.verdict.action, ACTION_REJECT);
	ck_assert_str_eq(out.verdict.enhanced, "5.7.1");
	ck_assert_str_eq(out.verdict.text, "it is late");
	f = findings_add(&set);
	f->check = "mute";
	f->points = 9001;
	access_combine(&set, 1, &rules, &out);
	ck_assert_str_eq(out.verdict.text, "Refused by local policy");
	ck_assert_str_eq(out.verdict.why, "mute");
	findings_clear(&set);
}
END_TEST

START_TEST(extremes)
{
	struct findings set = { 0 };
	const struct combine_rules rules = { 5000, 0 };
	struct combined out;

	for (int i = 0; i < 3; i++) {
		findings_add(&set)->points = INT64_MAX / 2 + 1;
		set.list[set.n - 1].check = "big";
	}
	access_combine(&set, 1, &rules, &out);
	ck_assert_int_eq(out.points, INT64_MAX);
	ck_assert_int_eq(out.verdict.action, ACTION_REJECT);
	for (int i = 0; i < FINDINGS_MAX + 5; i++)
		findings_add(&set)->check = "more";
	ck_assert_uint_eq(set.n, FINDINGS_MAX);
	ck_assert(set.dropped);
	findings_clear(&set);
	findings_clear(&set);
}
END_TEST

START_TEST(for_the_log)
{
	struct findings sets[2] = { { 0 } };
	struct buf text;

	fill("pR 2.5 ?-1 0.125", sets);
	snprintf(sets[1].list[0].detail, sizeof(sets[1].list[0].detail), "bl.example");
	buf_init(&text, 1000);
	access_combine_print(sets, 2, 0, &text);
	ck_assert_str_eq(buf_cstr(&text),
	    "test(reject) test:bl.example(2.5) ?test(-1) test(0.125)");
	buf_reset(&text);
	access_combine_print(sets, 2, CHECK_SPARE_POSTMASTER, &text);
	ck_assert_str_eq(
	    buf_cstr(&text), "test:bl.example(2.5) ?test(-1) test(0.125)");
	buf_clear(&text);
	findings_clear(&sets[0]);
	findings_clear(&sets[1]);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("access_combine");
	TCase *t = tcase_create("access_combine");

	tcase_add_loop_test(
	    t, what_it_comes_to, 0, (int)(sizeof(rows) / sizeof(rows[0])));
	tcase_add_test(t, words_of_a_sum);
	tcase_add_test(t, extremes);
	tcase_add_test(t, for_the_log);
	suite_add_tcase(s, t);
	SRunner *runner = srunner_create(s);
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? 0 : 1;
}

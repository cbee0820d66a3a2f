/* SPDX-License-Identifier: BSD-2-Clause */
/* Expressions over rules: Perl's values, what is refused, and what is not known. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/base/buf.h"
#include "milters/score/meta.h"

/* A = 1, B = 2, C = 0, H = 7, U: not known (0 or 1), V: not known (0 or more). */
static struct meta_value
value(void *arg, size_t name)
{
	const struct meta *m = arg;

	switch (m->names[name][0]) {
	case 'A':
		return META_NUMBER(1);
	case 'B':
		return META_NUMBER(2);
	case 'H':
		return META_NUMBER(7);
	case 'U':
		return META_UNKNOWN(1);
	case 'V':
		return META_UNKNOWN(HUGE_VAL);
	default:
		return META_NUMBER(0);
	}
}

#define INF HUGE_VAL
static const struct {
	const char *text;
	double lo, hi;
} good[] = {
	{ "A", 1, 1 },
	{ "A && B", 2, 2 }, /* the last one's value, not a truth */
	{ "B && A", 1, 1 },
	{ "A && C", 0, 0 },
	{ "B || A", 2, 2 },
	{ "C || B", 2, 2 },
	{ "C || C", 0, 0 },
	{ "!A", 0, 0 },
	{ "!C", 1, 1 },
	{ "!!B", 1, 1 },
	{ "A + B * H", 15, 15 },
	{ "(A + B) * H", 21, 21 },
	{ "H - B - A", 4, 4 },
	{ "H / B", 3.5, 3.5 },
	{ "H / C", 0, 0 }, /* Perl gives up: no hit */
	{ "A + H / C", 0, 0 },
	{ "-A + B", 1, 1 },
	{ "2 - -3", 5, 5 },
	{ "1.5 * 2", 3, 3 },
	{ "A + B > 2", 1, 1 },
	{ "A + B >= 4", 0, 0 },
	{ "A < B", 1, 1 },
	{ "A <= 1", 1, 1 },
	{ "A == 1", 1, 1 },
	{ "A != 1", 0, 0 },
	{ "A && B || C", 2, 2 },
	{ "C || A && B", 2, 2 },
	{ "!C && A", 1, 1 },
	{ "!(A && C)", 1, 1 },
	{ "A>1||B>1", 1, 1 },
	{ "NOBODY", 0, 0 },
	{ "0", 0, 0 },
	{ "1", 1, 1 },
	{ "\t( A )\t", 1, 1 },
	{ "+A", 1, 1 },
	/* what nobody knows decides only where it must */
	{ "U", 0, 1 },
	{ "!U", 0, 1 },
	{ "U && C", 0, 0 },
	{ "C && U", 0, 0 },
	{ "U && A", 0, 1 },
	{ "U || A", 1, 1 },
	{ "A || U", 1, 1 },
	{ "C || U", 0, 1 },
	{ "A + B + U > 2", 1, 1 },
	{ "A + B + U > 3", 0, 1 },
	{ "A + B + U > 4", 0, 0 },
	{ "A + V > 1", 0, 1 },
	{ "A + V >= 1", 1, 1 },
	{ "C * V", 0, 0 },
	{ "V - V", -INF, INF },
	{ "H - U", 6, 7 },
	{ "-U", -1, 0 },
	{ "U == 2", 0, 0 },
	{ "U != 2", 1, 1 },
	{ "1 / (1 + U)", 0.5, 1 },
	{ "1 / U", -INF, INF },
};

static void
check_value(const char *text, struct meta_value v, double lo, double hi)
{
	ck_assert_msg(!(v.lo < lo) && !(v.lo > lo) && !(v.hi < hi) && !(v.hi > hi),
	    "%s is %g..%g, expected %g..%g", text, v.lo, v.hi, lo, hi);
}

START_TEST(values)
{
	struct err err = { "", "", 0 };
	struct meta *m = meta_parse(str_of(good[_i].text), &err);

	ck_assert_msg(m != NULL, "%s: %s", good[_i].text, err.text);
	check_value(good[_i].text, meta_eval(m, value, m), good[_i].lo, good[_i].hi);
	meta_free(m);
}
END_TEST

static const struct {
	const char *text, *why;
} bad[] = {
	{ "", "the expression is empty: expected rules" },
	{ "  ", "the expression is empty: expected rules" },
	{ "A &&", "the expression ends too early" },
	{ "A & B", "\"& B\": expected an operator" },
	{ "A B", "\"B\": expected an operator" },
	{ "&& A", "\"&& A\": expected a rule, a number or '('" },
	{ "(A", "'(' without ')'" },
	{ "A)", "')' without '('" },
	{ "()", "\")\": expected a rule, a number or '('" },
	{ "1A", "a name cannot begin with a digit" },
	{ "rules_matching(A)", "\"rules_matching(\": functions are not known" },
	{ "A = B", "\"= B\": expected an operator" },
	{ "A ; B", "\"; B\": expected an operator" },
	{ "99999999999999999999", "number too long" },
};

START_TEST(refused)
{
	struct err err;

	ck_assert_ptr_null(meta_parse(str_of(bad[_i].text), &err));
	ck_assert_str_eq(err.text, bad[_i].why);
}
END_TEST

static struct meta *
repeated(const char *before, const char *unit, size_t n, const char *behind, struct err *err)
{
	struct buf b;

	buf_init(&b, 1 << 20);
	buf_add_cstr(&b, before);
	for (size_t i = 0; i < n; i++)
		buf_add_cstr(&b, unit);
	buf_add_cstr(&b, behind);
	struct meta *m = meta_parse(buf_str(&b), err);
	buf_clear(&b);
	return m;
}

START_TEST(limits)
{
	struct err err;
	struct meta *m = repeated("A", "+A", 900, "", &err);

	ck_assert_ptr_nonnull(m);
	check_value("sum", meta_eval(m, value, m), 901, 901);
	ck_assert_uint_eq(m->n_names, 1);
	meta_free(m);
	ck_assert_ptr_null(repeated("A", "+A", META_STEPS_MAX, "", &err));
	ck_assert_ptr_nonnull(strstr(err.text, "over 2000 steps"));
	ck_assert_ptr_null(repeated("", "(", META_DEPTH_MAX + 1, "A", &err));
	ck_assert_ptr_nonnull(strstr(err.text, "deeper than 100"));
	ck_assert_ptr_null(repeated("", "!", META_DEPTH_MAX + 1, "A", &err));
	/* brackets that keep values waiting */
	ck_assert_ptr_null(repeated("", "A+(", META_DEPTH_MAX, "A", &err));
	ck_assert_ptr_null(repeated("", "A", META_NAME_MAX + 1, "", &err));
	ck_assert_ptr_nonnull(strstr(err.text, "name over 120"));
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("score_meta");
	TCase *tc = tcase_create("meta");

	tcase_add_loop_test(tc, values, 0, sizeof(good) / sizeof(good[0]));
	tcase_add_loop_test(tc, refused, 0, sizeof(bad) / sizeof(bad[0]));
	tcase_add_test(tc, limits);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

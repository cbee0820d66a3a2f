/* SPDX-License-Identifier: BSD-2-Clause */
/* What each state of a triple means for a recipient, what the text says, and clocks. */
#include "policy/greylist.h"

#include <stdlib.h>

#include <check.h>

#define N(a) ((int)(sizeof(a) / sizeof((a)[0])))
#define T0 INT64_C(1800000000)

static const struct row {
	const char *name;
	enum store_state store;
	enum greylist_state state;
	int64_t first, now, delay;
	const char *text;
	enum action action;
	const char *why, *told;
	int64_t wait;
} rows[] = {
	{ "new", STORE_OK, GREYLIST_NEW, T0, T0, 300, "wait %w seconds",
	    ACTION_TEMPFAIL, "greylisted", "wait 300 seconds", 300 },
	{ "early", STORE_OK, GREYLIST_EARLY, T0, T0 + 100, 300, "wait %w seconds",
	    ACTION_TEMPFAIL, "early", "wait 200 seconds", 200 },
	{ "a second before", STORE_OK, GREYLIST_EARLY, T0, T0 + 299, 300, "%w",
	    ACTION_TEMPFAIL, "early", "1", 1 },
	{ "delay was shortened meanwhile", STORE_OK, GREYLIST_EARLY, T0, T0 + 100, 60,
	    "%w", ACTION_CONTINUE, "retried", "", 0 },
	{ "retried", STORE_OK, GREYLIST_RETRIED, T0, T0 + 300, 300, "%w",
	    ACTION_CONTINUE, "retried", "", 0 },
	{ "known", STORE_OK, GREYLIST_KNOWN, T0, T0 + 9999, 300, "%w", ACTION_CONTINUE,
	    "known", "", 0 },
	{ "whitelisted", STORE_OK, GREYLIST_WHITELISTED, 0, T0, 300, "%w",
	    ACTION_CONTINUE, "auto-whitelisted", "", 0 },
	{ "no delay", STORE_OK, GREYLIST_NEW, T0, T0, 0, "%w", ACTION_CONTINUE,
	    "no delay", "", 0 },
	{ "store down", STORE_DOWN, GREYLIST_NEW, 0, T0, 300, "%w", ACTION_CONTINUE,
	    "store=down", "", 0 },
	{ "store full", STORE_FULL, GREYLIST_NEW, 0, T0, 300, "%w", ACTION_CONTINUE,
	    "store=full", "", 0 },
	{ "clock back: one delay at most", STORE_OK, GREYLIST_EARLY, T0, T0 - 9000, 300,
	    "%w", ACTION_TEMPFAIL, "early", "300", 300 },
	{ "clock at 1970", STORE_OK, GREYLIST_EARLY, T0, 0, 300, "%w", ACTION_TEMPFAIL,
	    "early", "300", 300 },
	{ "clock far ahead", STORE_OK, GREYLIST_EARLY, T0, INT64_MAX, 300, "%w",
	    ACTION_CONTINUE, "retried", "", 0 },
	{ "sums that overflow", STORE_OK, GREYLIST_EARLY, INT64_MAX, 5, 300, "%w",
	    ACTION_TEMPFAIL, "early", "300", 300 },
	{ "text without a number", STORE_OK, GREYLIST_NEW, T0, T0, 300,
	    "come back 100%", ACTION_TEMPFAIL, "greylisted", "come back 100%", 300 },
	{ "number twice, other signs stay", STORE_OK, GREYLIST_NEW, T0, T0, 60,
	    "%w %s %n %%w %W", ACTION_TEMPFAIL, "greylisted", "60 %s %n %60 %W", 60 },
};

START_TEST(verdict)
{
	const struct row *r = &rows[_i];
	char text[64];
	struct settings_greylist set = { .delay = r->delay, .text = text };
	struct greylist_answer answer = { .state = r->store,
		.seen = { r->state, r->first, 1 } };

	memcpy(text, r->text, strlen(r->text) + 1);
	struct verdict v = greylist_verdict(&set, &answer, r->now);
	ck_assert_msg(v.action == r->action, "%s: %s", r->name, action_name(v.action));
	ck_assert_str_eq(v.why, r->why);
	ck_assert_str_eq(v.text, r->told);
	ck_assert_msg(v.wait == r->wait, "%s: wait %lld", r->name, (long long)v.wait);
	ck_assert_int_eq(v.code, r->action == ACTION_TEMPFAIL ? 451 : 0);
	ck_assert_str_eq(v.enhanced, r->action == ACTION_TEMPFAIL ? "4.7.1" : "");
}
END_TEST

START_TEST(no_answer)
{
	char text[] = "%w";
	struct settings_greylist set = { .delay = 300, .text = text };
	struct verdict v = greylist_verdict(&set, NULL, T0);

	ck_assert_int_eq(v.action, ACTION_CONTINUE);
	ck_assert_str_eq(v.why, "store=down");
}
END_TEST

/* A text as long as the setting allows, of numbers that grow: cut, not overrun. */
START_TEST(long_text)
{
	char text[401];
	struct settings_greylist set = { .delay = 86400, .text = text };
	struct greylist_answer answer = { .state = STORE_OK };

	for (size_t i = 0; i < 400; i += 2)
		memcpy(text + i, "%w", 3);
	struct verdict v = greylist_verdict(&set, &answer, T0);
	ck_assert_int_eq(v.action, ACTION_TEMPFAIL);
	ck_assert(strlen(v.text) > 500 && strlen(v.text) < VERDICT_TEXT_MAX);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("greylist_verdict");
	TCase *tc = tcase_create("verdict");

	tcase_add_loop_test(tc, verdict, 0, N(rows));
	tcase_add_test(tc, no_answer);
	tcase_add_test(tc, long_text);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int ran = srunner_ntests_run(runner), failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return ran == N(rows) + 2 && failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* When a DNS list is set aside, and when it comes back. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "common/net/dnsbl_health.h"

/* Steps, one second each: "p" LISTED UNLISTED a look at the test points, "q" the same of a
 * list without LISTED, "o" one without any; "a" an answer; "s" one about always the same; "r" a random name's; C clean,
 * L listed, U unknown.  "*20 aU": twenty times.  "+60": a minute passes. */
static const struct {
	const char *what, *steps;
	enum dnsbl_fault fault;
} rows[] = {
	{ "nothing happened", "", DNSBL_GOOD },
	{ "good test points", "pLC pLC", DNSBL_GOOD },
	{ "lists the world", "pLL", DNSBL_LISTS_ALL },
	{ "lists the world but not the test point", "rL", DNSBL_LISTS_ALL },
	{ "one good look is not enough", "rL pLC", DNSBL_LISTS_ALL },
	{ "two bring it back", "rL pLC pLC", DNSBL_GOOD },
	{ "two, but not in a row", "rL pLC pLL pLC", DNSBL_LISTS_ALL },
	{ "a silent look between", "rL pLC pUU pLC", DNSBL_LISTS_ALL },
	{ "a clean random name does not bring it back", "rL rC rC rC", DNSBL_LISTS_ALL },
	{ "lists nothing any more", "pLC pCC", DNSBL_LISTS_NONE },
	{ "never had the test point", "pCC pCC", DNSBL_GOOD },
	{ "never, three times", "pCC pCC pCC", DNSBL_LISTS_NONE },
	{ "never, but it lists somebody", "pCC pCC aL pCC pCC", DNSBL_GOOD },
	{ "never, and it lists nobody", "pCC pCC aC pCC", DNSBL_LISTS_NONE },
	{ "lists nothing, and needs not", "qCC", DNSBL_GOOD },
	{ "and comes back", "pLC pCC pLC pLC", DNSBL_GOOD },
	{ "silent twice", "pUU pUU", DNSBL_GOOD },
	{ "silent three times", "pUU pUU pUU", DNSBL_SILENT },
	{ "half silent three times", "pLU pLU pLU", DNSBL_SILENT },
	{ "silent, not in a row", "pUU pUU pLC pUU pUU", DNSBL_GOOD },
	{ "the worst stays while it is silent", "pLL pUU pUU pUU", DNSBL_LISTS_ALL },
	{ "19 errors", "*19 aU", DNSBL_GOOD },
	{ "20 errors", "*20 aU", DNSBL_FAILING },
	{ "20 about the same", "*20 sU", DNSBL_GOOD },
	{ "half of 20", "*10 aC *10 aU", DNSBL_GOOD },
	{ "more than half", "*10 aC *11 aU", DNSBL_FAILING },
	{ "errors of two minutes", "*15 aU +60 *15 aU", DNSBL_GOOD },
	{ "failing comes back", "*20 aU pLC pLC", DNSBL_GOOD },
	{ "and must fail anew", "*20 aU pLC pLC *19 aU", DNSBL_GOOD },
	{ "no test points: a rest", "*20 aU o", DNSBL_FAILING },
	{ "and another trial", "*20 aU +60 o", DNSBL_GOOD },
	{ "no test points, lists the world", "rL +60 o", DNSBL_GOOD },
};

static enum dnsbl_state
state_of(char c)
{
	return c == 'L' ? DNSBL_LISTED : c == 'C' ? DNSBL_CLEAN : DNSBL_UNKNOWN;
}

static void
step(struct dnsbl_health *h, const char *p, int64_t now_ms)
{
	switch (p[0]) {
	case 'p':
	case 'q':
		dnsbl_probed(h, p[0] == 'p' ? DNSBL_PROBE_ON : DNSBL_PROBE_UNLISTED,
		    state_of(p[1]), state_of(p[2]), now_ms);
		break;
	case 'o':
		dnsbl_probed(
		    h, DNSBL_PROBE_OFF, DNSBL_UNKNOWN, DNSBL_UNKNOWN, now_ms);
		break;
	case 's':
	case 'a':
		dnsbl_answered(
		    h, state_of(p[1]), p[0] == 's' ? 1 : (uint64_t)now_ms, now_ms);
		break;
	case 'r':
		dnsbl_random_answered(h, state_of(p[1]), now_ms * 1000, now_ms);
		break;
	default:
		ck_abort_msg("%s", p);
	}
}

START_TEST(faults)
{
	struct dnsbl_health h = { 0 };
	struct str rest = str_of(rows[_i].steps), word;
	int64_t now_ms = 1000000;
	long times = 1;

	while (str_word(&rest, &word)) {
		if (word.p[0] == '+') {
			now_ms += strtol(word.p + 1, NULL, 10) * 1000;
		} else if (word.p[0] == '*') {
			times = strtol(word.p + 1, NULL, 10);
		} else {
			for (; times > 0; times--, now_ms += 10)
				step(&h, word.p, now_ms);
			times = 1;
			now_ms += 1000;
		}
	}
	ck_assert_msg(h.fault == rows[_i].fault, "%s: %s", rows[_i].what,
	    dnsbl_fault_name(h.fault));
	ck_assert_int_eq(dnsbl_usable(&h), rows[_i].fault == DNSBL_GOOD);
}
END_TEST

/* A listing is believed when a name asked for no earlier was clean. */
START_TEST(belief)
{
	struct dnsbl_health h = { 0 };

	ck_assert_int_eq(dnsbl_believe(&h, 0), DNSBL_UNPROVEN);
	ck_assert_int_eq(dnsbl_believe(&h, 100), DNSBL_UNPROVEN);
	dnsbl_random_answered(&h, DNSBL_CLEAN, 99, 120);
	ck_assert_int_eq(dnsbl_believe(&h, 100), DNSBL_UNPROVEN);
	dnsbl_random_answered(&h, DNSBL_UNKNOWN, 110, 121);
	ck_assert_int_eq(dnsbl_believe(&h, 100), DNSBL_UNPROVEN);
	dnsbl_random_answered(&h, DNSBL_CLEAN, 100, 122);
	ck_assert_int_eq(dnsbl_believe(&h, 100), DNSBL_BELIEVED);
	ck_assert_int_eq(dnsbl_believe(&h, 90), DNSBL_BELIEVED);
	/* an older answer that comes late takes nothing back */
	dnsbl_random_answered(&h, DNSBL_CLEAN, 50, 123);
	ck_assert_int_eq(dnsbl_believe(&h, 100), DNSBL_BELIEVED);
	/* the world is listed: nothing is believed, nor after it what was asked before */
	dnsbl_random_answered(&h, DNSBL_LISTED, 200, 210);
	ck_assert_int_eq(dnsbl_believe(&h, 90), DNSBL_DISBELIEVED);
	ck_assert_int_eq(dnsbl_believe(&h, 300), DNSBL_DISBELIEVED);
	dnsbl_probed(&h, DNSBL_PROBE_ON, DNSBL_LISTED, DNSBL_CLEAN, 1000);
	dnsbl_probed(&h, DNSBL_PROBE_ON, DNSBL_LISTED, DNSBL_CLEAN, 2000);
	ck_assert(dnsbl_usable(&h));
	dnsbl_random_answered(&h, DNSBL_CLEAN, 2100000, 2101);
	ck_assert_int_eq(dnsbl_believe(&h, 90), DNSBL_DISBELIEVED);
	ck_assert_int_eq(dnsbl_believe(&h, 2000999), DNSBL_DISBELIEVED);
	ck_assert_int_eq(dnsbl_believe(&h, 2001000), DNSBL_BELIEVED);
	ck_assert_int_eq(dnsbl_believe(&h, 2100001), DNSBL_UNPROVEN);
}
END_TEST

#define DAY 86400
START_TEST(budget)
{
	struct dnsbl_health h = { 0 };
	int64_t now = 20000 * (int64_t)DAY;

	ck_assert(dnsbl_spend(&h, 0, 1000000, now, 0));
	ck_assert_int_eq(h.spent, 1000000);
	memset(&h, 0, sizeof(h));
	for (int i = 0; i < 3; i++)
		ck_assert(dnsbl_spend(&h, 10, 3, now, 0));
	ck_assert(!dnsbl_spend(&h, 10, 3, now, 0));
	ck_assert_int_eq(h.fault, DNSBL_SPENT);
	ck_assert_int_eq(h.spent, 9);
	/* good test points are no money */
	dnsbl_probed(&h, DNSBL_PROBE_ON, DNSBL_LISTED, DNSBL_CLEAN, 0);
	dnsbl_probed(&h, DNSBL_PROBE_ON, DNSBL_LISTED, DNSBL_CLEAN, 0);
	ck_assert_int_eq(h.fault, DNSBL_SPENT);
	ck_assert(!dnsbl_spend(&h, 10, 3, now + DAY - 1, 0));
	ck_assert(dnsbl_spend(&h, 10, 3, now + DAY, 0));
	ck_assert(dnsbl_usable(&h));
	ck_assert_int_eq(h.spent, 3);
	/* a higher budget counts at once */
	ck_assert(dnsbl_spend(&h, 10, 7, now + DAY, 0));
	ck_assert(!dnsbl_spend(&h, 10, 1, now + DAY, 0));
	ck_assert(dnsbl_spend(&h, 100, 1, now + DAY, 0));
	ck_assert(dnsbl_usable(&h));
	/* who lists the world is worse than poor */
	ck_assert(!dnsbl_spend(&h, 10, 1, now + DAY, 0));
	dnsbl_random_answered(&h, DNSBL_LISTED, 1, 1);
	ck_assert_int_eq(h.fault, DNSBL_LISTS_ALL);
}
END_TEST

START_TEST(names)
{
	for (int f = DNSBL_GOOD; f <= DNSBL_SPENT; f++) {
		const char *name = dnsbl_fault_name((enum dnsbl_fault)f);

		ck_assert_str_ne(name, "?");
		for (int g = DNSBL_GOOD; g < f; g++)
			ck_assert_str_ne(name, dnsbl_fault_name((enum dnsbl_fault)g));
	}
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("dnsbl_health");
	TCase *t = tcase_create("dnsbl_health");

	tcase_add_loop_test(t, faults, 0, (int)(sizeof(rows) / sizeof(rows[0])));
	tcase_add_test(t, belief);
	tcase_add_test(t, budget);
	tcase_add_test(t, names);
	suite_add_tcase(s, t);
	SRunner *runner = srunner_create(s);
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? 0 : 1;
}

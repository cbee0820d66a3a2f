/* SPDX-License-Identifier: BSD-2-Clause */
/* Traps: who counts as caught, and that the answer does not give the trap away. */
#include <stdlib.h>

#include <check.h>

#include "policy/greylist.h"

#define N(a) ((int)(sizeof(a) / sizeof((a)[0])))
#define T0 INT64_C(1800000000)

static char text[] = "wait %w";

static struct settings_greylist
settings(bool trap)
{
	return (struct settings_greylist){ .when = GREYLIST_ALWAYS,
		.delay = 300,
		.window = 1000,
		.keep = 1000,
		.prefix4 = 24,
		.prefix6 = 64,
		.block = 3600,
		.block_spam = 3,
		.text = text,
		.trap = trap };
}

static const struct row {
	const char *name;
	const char *client, *sender;
	bool authenticated, inside;
	int when;
	enum greylist_moment moment;
	bool hit;
} rows[] = {
	{ "a stranger", "192.0.2.1", "<a@b.test>", false, false, GREYLIST_ALWAYS,
	    GREYLIST_AT_RCPT, true },
	{ "a bounce", "192.0.2.1", "<>", false, false, GREYLIST_ALWAYS, GREYLIST_AT_RCPT,
	    false },
	{ "our user", "192.0.2.1", "<a@b.test>", true, false, GREYLIST_ALWAYS,
	    GREYLIST_AT_RCPT, false },
	{ "our host", "127.0.0.1", "<a@b.test>", false, false, GREYLIST_ALWAYS,
	    GREYLIST_AT_RCPT, false },
	{ "our network", "192.0.2.1", "<a@b.test>", false, true, GREYLIST_ALWAYS,
	    GREYLIST_AT_RCPT, false },
	{ "nobody is greylisted", "192.0.2.1", "<a@b.test>", false, false, GREYLIST_NEVER,
	    GREYLIST_AT_RCPT, false },
	{ "only suspicious mail waits", "192.0.2.1", "<a@b.test>", false, false,
	    GREYLIST_SUSPICIOUS, GREYLIST_AT_RCPT, true },
	{ "counted at RCPT already", "192.0.2.1", "<a@b.test>", false, false,
	    GREYLIST_SUSPICIOUS, GREYLIST_SUSPICIOUS_AT_END, false },
};

START_TEST(caught)
{
	const struct row *r = &rows[_i];
	struct settings_greylist set = settings(true);
	struct greylist_facts facts = { .moment = r->moment,
		.authenticated = r->authenticated,
		.client = { .sender = str_of(r->sender) },
		.recipient = STR("<trap@local.test>") };
	struct greylist_query q;

	set.when = r->when;
	set.inside = r->inside;
	ck_assert(ip_parse(str_of(r->client), &facts.client.ip));
	greylist_want(&set, &facts, T0, &q);
	ck_assert_msg(q.trap_hit == r->hit, "%s", r->name);
	set.trap = false;
	greylist_want(&set, &facts, T0, &q);
	ck_assert_msg(!q.trap_hit, "%s: no trap", r->name);
}
END_TEST

static struct verdict
judged(bool trap, enum greylist_state state, enum store_state store, int64_t trap_event)
{
	struct settings_greylist set = settings(trap);
	struct greylist_facts facts = { .client = { .sender = STR("<a@b.test>") },
		.recipient = STR("<x@local.test>") };
	const struct greylist_answer answer = { .state = store,
		.seen = { state, T0 - 100, 2 } };
	struct greylist_query q;

	ck_assert(ip_parse(STR("192.0.2.1"), &facts.client.ip));
	facts.trap = (struct greylist_events){ trap_event > 0, trap_event };
	greylist_want(&set, &facts, T0, &q);
	return greylist_judge(&set, &q, &answer, T0);
}

/* In each state in which another recipient is deferred the words are the same. */
START_TEST(alike)
{
	static const enum greylist_state deferred[] = { GREYLIST_NEW, GREYLIST_EARLY };

	for (int i = 0; i < N(deferred); i++) {
		struct verdict trap = judged(true, deferred[i], STORE_OK, 0),
			       other = judged(false, deferred[i], STORE_OK, 0);

		ck_assert_int_eq(trap.code, 451);
		ck_assert_int_eq(trap.code, other.code);
		ck_assert_str_eq(trap.enhanced, other.enhanced);
		ck_assert_str_eq(trap.text, other.text);
	}
	struct verdict trap = judged(true, GREYLIST_NEW, STORE_OK, T0 - 10),
		       other = judged(false, GREYLIST_NEW, STORE_OK, T0 - 10);
	ck_assert_str_eq(trap.why, "trap");
	ck_assert_str_eq(trap.text, other.text);
	ck_assert_int_eq(trap.wait, 3590);
}
END_TEST

START_TEST(never_passes)
{
	static const enum greylist_state passing[] = { GREYLIST_RETRIED, GREYLIST_KNOWN,
		GREYLIST_WHITELISTED };

	for (int i = 0; i < N(passing); i++) {
		struct verdict v = judged(true, passing[i], STORE_OK, 0);

		ck_assert_int_eq(v.action, ACTION_TEMPFAIL);
		ck_assert_str_eq(v.text, "wait 300");
		ck_assert_str_eq(v.why, "trap");
	}
	/* what was not recorded cannot be promised to pass later */
	struct verdict v = judged(true, GREYLIST_NEW, STORE_DOWN, 0);
	ck_assert_int_eq(v.action, ACTION_CONTINUE);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("greylist_trap");
	TCase *tc = tcase_create("trap");

	tcase_add_loop_test(tc, caught, 0, N(rows));
	tcase_add_test(tc, alike);
	tcase_add_test(tc, never_passes);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* Every fault of lists and policies, with its line and what was expected. */
#include <check.h>
#include <stdlib.h>

#include "common/base/buf.h"
#include "policy/policy_set.h"
#include "tests/lib/errors.h"

static const struct {
	const char *in, *errors;
} faults[] = {
	{ "policy p { }",
	    "t:1: policy \"p\" sets nothing: expected a setting or mode" },
	{ "policy { mode observe }",
	    "t:1: policy: expected a name and a block, policy \"name\" { ... }" },
	{ "policy a b { mode observe }",
	    "t:1: policy: expected a name and a block, policy \"name\" { ... }" },
	{ "policy p;",
	    "t:1: policy: expected a name and a block, policy \"name\" { ... }" },
	{ "policy \"\" { mode observe }",
	    "t:1: policy: expected a name and a block, policy \"name\" { ... }" },
	{ "policy p { mode observe }\npolicy p { mode observe }",
	    "t:2: policy \"p\" stands twice: expected one, the other is in t:1" },
	{ "policy p { mode watch }", "t:1: mode: expected observe or enforce" },
	{ "policy p { mode; }", "t:1: mode: expected observe or enforce" },
	{ "policy p { mode observe;\nmode enforce }",
	    "t:2: mode is set again: expected it once, it stands in t:1" },
	{ "policy p { greylist.delay x }",
	    "t:1: greylist.delay: \"x\" cannot be read: expected a duration like 90s, "
	    "5m, "
	    "1h30m, 2d" },
	{ "policy p { greylist.delay 1m;\ngreylist.delay 2m }",
	    "t:2: greylist.delay is set again: expected it once, it stands in t:1" },
	{ "policy p { greylist.socket unix:/x }",
	    "t:1: greylist.socket is read when the program starts: expected a setting "
	    "that a "
	    "policy can give" },
	{ "policy p { access.maps /x }",
	    "t:1: access.maps is read when the program starts: expected a setting that "
	    "a "
	    "policy can give" },
	{ "policy p { run.log stderr }",
	    "t:1: run.log is the same for everybody: expected a setting of a milter" },
	{ "policy p { delay 1m }",
	    "t:1: \"delay\" is no condition or setting of a policy: expected one of "
	    "those in "
	    "postern.conf(5)" },
	{ "policy p { greylist.dealy 1m }",
	    "t:1: \"greylist.dealy\" is no condition or setting of a policy: did you "
	    "mean "
	    "\"greylist.delay\"?" },
	{ "policy p { recipeint a@b.example; mode observe }",
	    "t:1: \"recipeint\" is no condition or setting of a policy: did you mean "
	    "\"recipient\"?" },
	{ "policy p { access.dnsbl x { } }",
	    "t:1: access.dnsbl has a block: expected a value and \";\"" },
	{ "policy p { client x; mode observe }",
	    "t:1: client: \"x\" cannot be read: expected an address or network like "
	    "192.0.2.0/24, host bits zero" },
	{ "policy p { client domain x.example; mode observe }",
	    "t:1: client: \"domain\" cannot be read: expected an address or network "
	    "like "
	    "192.0.2.0/24, host bits zero\n"
	    "t:1: client: \"x.example\" cannot be read: expected an address or network "
	    "like "
	    "192.0.2.0/24, host bits zero" },
	{ "policy p { client; mode observe }",
	    "t:1: client: expected one or more values" },
	{ "policy p { sender domain; mode observe }",
	    "t:1: sender: expected one or more values" },
	{ "policy p { sender b.example; mode observe }",
	    "t:1: sender: \"b.example\" cannot be read: expected an address like "
	    "user@example.org, or: domain, then the domain" },
	{ "policy p { sender domain a@b.example ..x; mode observe }",
	    "t:1: sender: \"a@b.example\" cannot be read: expected a domain name like "
	    "example.org\n"
	    "t:1: sender: \"..x\" cannot be read: expected a domain name like "
	    "example.org" },
	{ "policy p { sender domain m\xc3\xbcller.example; mode observe }",
	    "t:1: sender: \"m\xc3\xbcller.example\" cannot be read: expected a domain "
	    "name in "
	    "ASCII (xn--...)" },
	{ "policy p { recipient null; mode observe }",
	    "t:1: recipient: \"null\" cannot be read: expected an address like "
	    "user@example.org, or: domain, then the domain" },
	{ "policy p { sender { } mode observe }",
	    "t:1: sender has a block: expected values and \";\"" },
	{ "policy p { sender in; mode observe }",
	    "t:1: sender in: expected the name of a list" },
	{ "policy p { sender in partnrs; mode observe }\nlist partners { domain "
	  "a.example }",
	    "t:1: \"partnrs\" is no list: did you mean \"partners\"?" },
	{ "policy p { sender in q; mode observe }",
	    "t:1: \"q\" is no list: expected the name of one, list \"q\" { ... }" },
	{ "list n { network 10.0.0.0/8 }\npolicy p { sender in n; mode observe }",
	    "t:2: list \"n\" has only networks: expected addresses or domains for a "
	    "condition "
	    "on the sender" },
	{ "list n { domain a.example }\npolicy p { client in n; mode observe }",
	    "t:2: list \"n\" has only addresses and domains: expected networks for a "
	    "condition "
	    "on the client" },
	{ "list n { }\nlist n { }",
	    "t:2: list \"n\" stands twice: expected one, the other is in t:1" },
	{ "list n { domian a.example;\ndomain; network x { } }",
	    "t:1: \"domian\" is no entry of a list: did you mean \"domain\"?\n"
	    "t:2: domain: expected one or more values and \";\"\n"
	    "t:2: network: expected one or more values and \";\"" },
	{ "list n { address a; domain a_b.example -; network 1.2.3.4/33 }",
	    "t:1: address: \"a\" cannot be read: expected an address like "
	    "user@example.org\n"
	    "t:1: network: \"1.2.3.4/33\" cannot be read: expected an address or "
	    "network like "
	    "192.0.2.0/24, host bits zero" },
	/* what is known only after a setting is read */
	{ "policy p { sender a@b.example;\naccess.dnsbl off }",
	    "t:2: policy \"p\": access.dnsbl is read at CONNECT, but sender (t:1) is "
	    "known at "
	    "MAIL only: expected a condition known by then" },
	{ "policy p { client authenticated;\naccess.dnsbl off }",
	    "t:2: policy \"p\": access.dnsbl is read at CONNECT, but client (t:1) is "
	    "known at "
	    "MAIL only: expected a condition known by then" },
	{ "policy p { access.delay-checks on;\nrecipient a@b.example; sender null }",
	    "t:1: policy \"p\": access.delay-checks is read at CONNECT, but sender "
	    "(t:2) is "
	    "known at MAIL only: expected a condition known by then\n"
	    "t:1: policy \"p\": access.delay-checks is read at CONNECT, but recipient "
	    "(t:2) is "
	    "known at RCPT only: expected a condition known by then" },
	/* delay and window may come from different places */
	{ "policy p { greylist.delay 1d;\ngreylist.window 1h }",
	    "t:2: policy \"p\": no retry could ever pass: expected greylist.window "
	    "longer than "
	    "greylist.delay" },
	{ "greylist { window 1h }\npolicy p { greylist.delay 1h }",
	    "t:2: policy \"p\": no retry could ever pass: expected greylist.window "
	    "longer than "
	    "greylist.delay" },
};

START_TEST(policy_faults)
{
	struct errs errs = { 0 };

	ck_assert_ptr_null(settings_from_text(str_of(faults[_i].in), "t", &errs));
	check_errors(&errs, faults[_i].errors);
}
END_TEST

START_TEST(too_many)
{
	struct errs errs = { 0 };
	struct buf b;

	buf_init(&b, 1 << 20);
	for (int i = 0; i <= POLICY_POLICIES_MAX; i++)
		buf_addf(&b, "list l%d { }\npolicy p%d { mode observe }\n", i, i);
	ck_assert_ptr_null(settings_from_text(buf_str(&b), "t", &errs));
	check_errors(&errs,
	    "t:2001: too many lists: expected at most 1000\n"
	    "t:2002: too many policies: expected at most 1000");
	buf_clear(&b);
}
END_TEST

/* Errors of every kind, many times: told up to the cap, in bounded time. */
START_TEST(many_errors)
{
	static const char *const pieces[] = {
		"policy p { greylist.dealy 1; sender in q }\n",
		"list l { domian x; }\n", "zzz { }\n", "hots 1;\n"
	};

	for (size_t k = 0; k < sizeof(pieces) / sizeof(pieces[0]); k++) {
		struct errs errs = { 0 };
		struct buf b;

		buf_init(&b, CONF_FILE_MAX);
		while (buf_add_cstr(&b, pieces[k]) == 0)
			;
		ck_assert_ptr_null(settings_from_text(buf_str(&b), "t", &errs));
		ck_assert_uint_eq(errs.n, ERRS_MAX);
		errs_clear(&errs);
		buf_clear(&b);
	}
}
END_TEST

#define ADD_ROWS(tcase, test, rows)                                                    \
	tcase_add_loop_test(tcase, test, 0, (int)(sizeof(rows) / sizeof((rows)[0])))

int
main(void)
{
	Suite *suite = suite_create("policy_faults");
	TCase *wrong = tcase_create("faults");

	tcase_set_timeout(wrong, 60);
	ADD_ROWS(wrong, policy_faults, faults);
	tcase_add_test(wrong, too_many);
	tcase_add_test(wrong, many_errors);
	suite_add_tcase(suite, wrong);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? 0 : 1;
}

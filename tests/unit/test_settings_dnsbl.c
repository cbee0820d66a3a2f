/* SPDX-License-Identifier: BSD-2-Clause */
/* Blocks `dnsbl "zone" { }`: what they take, what they refuse, how they are printed. */
#include <check.h>
#include <stdio.h>
#include <string.h>

#include "common/base/buf.h"
#include "policy/settings.h"
#include "tests/lib/errors.h"

static const struct {
	const char *in, *errors;
} faults[] = {
	{ "access { dnsbl a..b { } }",
	    "t:1: dnsbl: expected the list's zone, as in dnsbl \"bl.example\" { ... "
	    "}" },
	{ "access { dnsbl { } }",
	    "t:1: dnsbl: expected the list's zone, as in dnsbl \"bl.example\" { ... "
	    "}" },
	{ "access { dnsbl bl.example; }",
	    "t:1: dnsbl: \"bl.example\" cannot be read: expected on or off" },
	{ "access { dnsbl a.example { }\ndnsbl A.example { } }",
	    "t:2: dnsbl \"a.example\" stands twice: expected each list once" },
	{ "access { dnsbl a.example { codes 127.0.0.2 10.0.0.1;\n text \"\"; cods 1; } "
	  "}",
	    "t:1: codes: \"10.0.0.1\" is no answer of a DNS list: expected addresses "
	    "within "
	    "127.0.0.0/8\n"
	    "t:2: text: \"\" cannot stand here: expected a text of 1 to 400 octets\n"
	    "t:2: \"cods\" is no setting of dnsbl: did you mean \"codes\"?" },
	{ "access { dnsbl a.example { codes 126.0.0.0/7 ::1; } }",
	    "t:1: codes: \"126.0.0.0/7\" is no answer of a DNS list: expected "
	    "addresses within "
	    "127.0.0.0/8\n"
	    "t:1: codes: \"::1\" is no answer of a DNS list: expected addresses within "
	    "127.0.0.0/8" },
	{ "access { dnsbl a.example { codes 127.0.0.0/8;\n codes 127.255.255.3;\n"
	  " code 127.255.255.0/24 weight 2; code 127.255.254.0/23 } }",
	    "t:2: codes: \"127.255.255.3\" is how a list refuses to answer: expected "
	    "addresses outside 127.255.255.0/24\n"
	    "t:3: code: \"127.255.255.0/24\" is how a list refuses to answer: expected "
	    "addresses outside 127.255.255.0/24" },
	{ "access { dnsbl a.example { what server;\n weight x; weight -1;\n code 10.0.0.1;\n"
	  " code 127.0.0.2 weigh 3;\n code 127.0.0.2 weight;\n servers ns.example;\n"
	  " budget x; key-file k; deadline 1ms; probe yes; ipv4 maybe } }",
	    "t:1: what: \"server\" cannot be read: expected client, helo or sender\n"
	    "t:2: weight: \"x\" cannot be read: expected a number like 5 or 7.5\n"
	    "t:2: weight is set again: expected it once, it stands in t:2\n"
	    "t:3: code: \"10.0.0.1\" is no answer of a DNS list: expected addresses within "
	    "127.0.0.0/8\n"
	    "t:4: code: expected an answer and its weight, as in code 127.0.0.4 weight 3\n"
	    "t:5: code: expected an answer and its weight, as in code 127.0.0.4 weight 3\n"
	    "t:6: servers: \"ns.example\" cannot stand here: expected an address like "
	    "192.0.2.53, 127.0.0.1:5353 or [::1]:53\n"
	    "t:7: budget: \"x\" cannot be read: expected a whole number\n"
	    "t:7: key-file: \"k\" cannot stand here: expected an absolute path\n"
	    "t:7: deadline: \"1ms\" is out of range: expected 50ms to 1m\n"
	    "t:7: probe: \"yes\" is not known: expected one of on, unlisted, off\n"
	    "t:7: ipv4: \"maybe\" cannot be read: expected on or off" },
	{ "access { dnsbl a.example { what client }\ndnsbl a.example { what sender client } }",
	    "t:2: dnsbl \"a.example\" stands twice: expected each list once" },
};

START_TEST(dnsbl_faults)
{
	struct errs errs = { 0 };

	ck_assert_ptr_null(settings_from_text(str_of(faults[_i].in), "t", &errs));
	check_errors(&errs, faults[_i].errors);
}
END_TEST

static struct settings *
right(const char *text)
{
	struct errs errs = { 0 };
	struct settings *s = settings_from_text(str_of(text), "t", &errs);

	check_errors(&errs, "");
	ck_assert_ptr_nonnull(s);
	return s;
}

START_TEST(dnsbl_lists)
{
	struct settings *s = right("access { dnsbl BL.example { codes 127.0.0.2 "
				   "127.0.0.4/30; text \"no: %a\" }\n"
				   "dnsbl \"b2.example\" { } dnsbl off }");

	ck_assert_uint_eq(s->access.dnsbl_lists.n, 2);
	ck_assert_str_eq(s->access.dnsbl_lists.list[0].zone, "bl.example");
	ck_assert_uint_eq(s->access.dnsbl_lists.list[0].codes.n, 2);
	ck_assert_uint_eq(s->access.dnsbl_lists.list[0].codes.list[1].prefix, 30);
	ck_assert_str_eq(s->access.dnsbl_lists.list[0].text, "no: %a");
	ck_assert_str_eq(s->access.dnsbl_lists.list[1].zone, "b2.example");
	ck_assert_uint_eq(s->access.dnsbl_lists.list[1].codes.n, 0);
	ck_assert_str_eq(s->access.dnsbl_lists.list[1].text, "");
	ck_assert(!s->access.dnsbl);
	settings_unref(s);
}
END_TEST

START_TEST(dnsbl_too_many)
{
	struct buf b;
	struct errs errs = { 0 };

	buf_init(&b, 100000);
	buf_add_cstr(&b, "access {");
	for (int i = 0; i < ACCESS_DNSBLS_MAX; i++)
		buf_addf(&b, "dnsbl l%d.example { } ", i);
	buf_add_cstr(&b, "\ndnsbl x.example { } }");
	ck_assert_ptr_null(settings_from_text(buf_str(&b), "t", &errs));
	check_errors(&errs, "t:2: too many DNS lists: expected at most 32");
	buf_clear(&b);
}
END_TEST

/* All that a list can have, and that it prints as it was read. */
START_TEST(dnsbl_whole)
{
	static const char text[] =
	    "zen.example { codes 127.0.0.2/32; code 127.0.0.4/32 weight 3; code 127.0.0.8/29; "
	    "weight 2.5; allow on; what helo sender; ipv6 off; text \"no %a\"; "
	    "servers 127.0.0.1:5353 [::1]:53; key-file /etc/key; budget 100000; "
	    "deadline 2s; probe unlisted; observe on; }";
	char conf[600];
	const struct conf_table *const *tables;
	size_t n;
	struct buf out;

	snprintf(conf, sizeof(conf), "access { dnsbl %s dnsbl zen.example { } }", text);
	struct settings *s = right(conf);
	const struct dnsbl *l = &s->access.dnsbl_lists.list[0];
	ck_assert_uint_eq(s->access.dnsbl_lists.n, 2);
	ck_assert(l->weight.given && l->allow && l->ipv4 && !l->ipv6 && l->observe);
	ck_assert_int_eq(l->weight.points, 2500);
	ck_assert_int_eq(l->what, DNSBL_HELO | DNSBL_SENDER);
	ck_assert_uint_eq(l->own.n, 2);
	ck_assert(l->own.list[0].weighted && l->own.list[0].weight == 3000);
	ck_assert(!l->own.list[1].weighted);
	ck_assert_int_eq(l->budget, 100000);
	ck_assert_int_eq(l->deadline_ms, 2000);
	ck_assert_int_eq(l->probe, DNSBL_PROBE_UNLISTED);
	ck_assert_uint_eq(l->servers.n, 2);
	ck_assert_str_eq(l->key_file, "/etc/key");
	l = &s->access.dnsbl_lists.list[1];
	ck_assert(!l->weight.given && !l->allow && l->ipv4 && l->ipv6 && !l->observe);
	ck_assert_int_eq(l->what, DNSBL_CLIENT);
	tables = settings_tables(&n);
	for (size_t i = 0; i < n; i++) {
		if (strcmp(tables[i]->section, "access") != 0)
			continue;
		buf_init(&out, 1000);
		conf_print(conf_find_block(tables[i], STR("dnsbl")), &s->access, &out);
		snprintf(conf, sizeof(conf), "%s zen.example { }", text);
		ck_assert_str_eq(buf_cstr(&out), conf);
		buf_clear(&out);
	}
	settings_unref(s);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("settings_dnsbl");
	TCase *t = tcase_create("settings_dnsbl");

	tcase_add_loop_test(t, dnsbl_faults, 0, (int)(sizeof(faults) / sizeof(faults[0])));
	tcase_add_test(t, dnsbl_lists);
	tcase_add_test(t, dnsbl_whole);
	tcase_add_test(t, dnsbl_too_many);
	suite_add_tcase(suite, t);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? 0 : 1;
}

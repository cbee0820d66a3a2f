/* SPDX-License-Identifier: BSD-2-Clause */
/* Right-hand sides of a mailertable, good and bad, and the order of look-ups. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "contrib/relay/route.h"

static const struct good_row {
	const char *value;
	enum route_kind kind;
	const char *host;
	uint16_t port;
	int code;
	const char *enhanced, *text;
} good[] = {
	{ "esmtp:gw.test", ROUTE_MX, "gw.test", 25, 0, "", "" },
	{ "smtp:[gw.test]", ROUTE_HOST, "gw.test", 25, 0, "", "" },
	{ "relay:[192.0.2.9]:2525", ROUTE_HOST, "192.0.2.9", 2525, 0, "", "" },
	{ "SMTP:gw.test:26", ROUTE_MX, "gw.test", 26, 0, "", "" },
	{ "smtp:[IPv6:2001:db8::9]", ROUTE_HOST, "2001:db8::9", 25, 0, "", "" },
	{ "smtp:[IPv6:2001:db8::9]:26", ROUTE_HOST, "2001:db8::9", 26, 0, "", "" },
	{ "[127.0.0.1]:2526", ROUTE_HOST, "127.0.0.1", 2526, 0, "", "" },
	{ "mx.example", ROUTE_MX, "mx.example", 25, 0, "", "" },
	{ "error:5.1.1:550 no such host here", ROUTE_ERROR, "", 25, 550, "5.1.1",
	    "no such host here" },
	{ "error:nouser No such user", ROUTE_ERROR, "", 25, 553, "5.3.0",
	    "nouser No such user" },
	{ "error:go away", ROUTE_ERROR, "", 25, 553, "5.3.0", "go away" },
	{ "error:550 go away", ROUTE_ERROR, "", 25, 550, "5.0.0", "go away" },
	{ "error:5.7.1:go away", ROUTE_ERROR, "", 25, 553, "5.3.0", "go away" },
	{ "error:unavailable:temporarily off", ROUTE_ERROR, "", 25, 553, "5.3.0",
	    "temporarily off" },
	{ "error:\"550 Quoted, text: here\"", ROUTE_ERROR, "", 25, 550, "5.0.0",
	    "Quoted, text: here" },
	{ "error:5.7.1:\"550 Quoted, text: here\"", ROUTE_ERROR, "", 25, 550, "5.7.1",
	    "Quoted, text: here" },
	{ "error:550 5.1.1 inner code", ROUTE_ERROR, "", 25, 550, "5.1.1",
	    "inner code" },
	{ "error:tempfail:450 busy", ROUTE_ERROR, "", 25, 450, "4.0.0", "busy" },
};

START_TEST(good_values)
{
	const struct good_row *r = &good[_i];
	struct route out;
	struct err err = { .text = "" };

	ck_assert_msg(route_parse(str_of(r->value), &out, &err) == 0, "%s: %s",
	    r->value, err.text);
	ck_assert_int_eq(out.kind, r->kind);
	ck_assert_str_eq(out.host, r->host);
	ck_assert_uint_eq(out.port, r->port);
	ck_assert_int_eq(out.code, r->code);
	ck_assert_str_eq(out.enhanced, r->enhanced);
	ck_assert_str_eq(out.text, r->text);
}
END_TEST

static const char *const bad[] = { "", "esmtp:", "local:", "local:bob", "smtp:[gw.test",
	"smtp:[gw.test]x", "smtp:gw.test:0", "smtp:gw.test:65536",
	"esmtp:m1.test:m2.test", "esmtp:joe@gw.test", "smtp:a b", "smtp:[]",
	"smtp:a..b", "smtp:-\x01-" };

START_TEST(bad_values)
{
	struct route out;
	struct err err = { .text = "" };

	ck_assert_msg(
	    route_parse(str_of(bad[_i]), &out, &err) == -1, "taken: %s", bad[_i]);
	ck_assert_int_gt((int)strlen(err.text), 5);
}
END_TEST

static const char table_text[] = "exact.test\tsmtp:relay1.test\n"
				 ".dot.test\tesmtp:[relay2.test]\n"
				 "host.dot.test\trelay:relay3.test\n"
				 ".pct.test\tesmtp:%1.gw.test\n"
				 ".deep.a.test\tsmtp:d1.test\n"
				 ".a.test\tsmtp:d2.test\n"
				 "x.deep.a.test\tsmtp:d3.test\n"
				 "[10.1.1.1]\tsmtp:lit.test\n"
				 "closed.test\terror:5.7.1:550 closed\n"
				 "UPPER.test\tsmtp:[CaseHost.test]:2525\n";

static const struct find_row {
	const char *domain;
	bool catch_all; /* with a line for "." */
	const char *smarthost;
	enum route_kind kind;
	const char *host;
} finds[] = {
	{ "exact.test", false, "", ROUTE_MX, "relay1.test" },
	{ "EXACT.Test", false, "", ROUTE_MX, "relay1.test" },
	{ "exact.test.", false, "", ROUTE_MX, "relay1.test" },
	{ "sub.exact.test", false, "", ROUTE_MX, "sub.exact.test" },
	{ "a.dot.test", false, "", ROUTE_HOST, "relay2.test" },
	{ "b.a.dot.test", false, "", ROUTE_HOST, "relay2.test" },
	{ "dot.test", false, "", ROUTE_MX, "dot.test" },
	{ "host.dot.test", false, "", ROUTE_MX, "relay3.test" },
	{ "a.pct.test", false, "", ROUTE_MX, "a.gw.test" },
	{ "b.a.pct.test", false, "", ROUTE_MX, "b.a.gw.test" },
	{ "y.deep.a.test", false, "", ROUTE_MX, "d1.test" },
	{ "deep.a.test", false, "", ROUTE_MX, "d2.test" },
	{ "x.deep.a.test", false, "", ROUTE_MX, "d3.test" },
	{ "[10.1.1.1]", false, "", ROUTE_MX, "lit.test" },
	{ "[10.1.1.2]", false, "", ROUTE_HOST, "10.1.1.2" },
	{ "[nonsense]", false, "", ROUTE_NONE, "" },
	{ "closed.test", false, "[127.0.0.1]:2526", ROUTE_ERROR, "" },
	{ "upper.test", false, "", ROUTE_HOST, "CaseHost.test" },
	{ "other.test", false, "[127.0.0.1]:2526", ROUTE_HOST, "127.0.0.1" },
	{ "other.test", true, "[127.0.0.1]:2526", ROUTE_MX, "catch.test" },
	{ "", false, "[127.0.0.1]:2526", ROUTE_HOST, "127.0.0.1" },
	{ "", false, "", ROUTE_NONE, "" },
	{ "other.test", false, "", ROUTE_MX, "other.test" },
};

static struct map *
open_table(const char *text, const char *more, struct errs *errs)
{
	char path[] = "/tmp/route.XXXXXX";
	int fd = mkstemp(path);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_ge(dprintf(fd, "%s%s", text, more), 0);
	close(fd);
	struct map *m = map_open(path, route_check, errs);
	unlink(path);
	return m;
}

START_TEST(find)
{
	const struct find_row *r = &finds[_i];
	struct errs errs = { 0 };
	struct route out;
	struct map *m =
	    open_table(table_text, r->catch_all ? ".\tsmtp:catch.test\n" : "", &errs);

	ck_assert_msg(m != NULL, "%s", errs.n > 0 ? errs.list[0].text : "?");
	struct map_table *t = map_table_ref(m);
	route_find(t, str_of(r->smarthost), str_of(r->domain), &out);
	ck_assert_msg(out.kind == r->kind, "%s: kind %d", r->domain, out.kind);
	ck_assert_str_eq(out.host, r->host);
	map_table_unref(t);
	map_close(m);
	errs_clear(&errs);
}
END_TEST

static const char *const bad_lines[] = { "a.test\tgw.test\n", "a.test\tlocal:\n",
	"a.test\tesmtp:m1.test:m2.test\n", "a.test\tnosuch:gw.test\n" };

START_TEST(bad_tables)
{
	struct errs errs = { 0 };

	ck_assert_ptr_null(open_table("ok.test\tsmtp:gw.test\n", bad_lines[_i], &errs));
	ck_assert_uint_eq(errs.n, 1);
	ck_assert_int_eq(errs.list[0].line, 2);
	errs_clear(&errs);
}
END_TEST

START_TEST(addresses)
{
	struct route out;

	route_find_address(NULL, STR(""), STR("\"a@b\"@c.test"), &out);
	ck_assert_str_eq(out.host, "c.test");
	route_find_address(NULL, STR(""), STR("postmaster"), &out);
	ck_assert_int_eq(out.kind, ROUTE_NONE);
}
END_TEST

#define COUNT(a) ((int)(sizeof(a) / sizeof((a)[0])))

int
main(void)
{
	Suite *s = suite_create("route");
	TCase *t = tcase_create("route");

	tcase_add_loop_test(t, good_values, 0, COUNT(good));
	tcase_add_loop_test(t, bad_values, 0, COUNT(bad));
	tcase_add_loop_test(t, find, 0, COUNT(finds));
	tcase_add_loop_test(t, bad_tables, 0, COUNT(bad_lines));
	tcase_add_test(t, addresses);
	suite_add_tcase(s, t);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}

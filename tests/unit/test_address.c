/* SPDX-License-Identifier: BSD-2-Clause */
/* common/mail/address: paths taken apart, domains, quoted local parts. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "common/mail/address.h"

#define COUNT(table) (int)(sizeof(table) / sizeof((table)[0]))
#define L63 "123456789012345678901234567890123456789012345678901234567890123"

static void
same(struct str got, struct str want)
{
	ck_assert_msg(str_eq(got, want), "got '%.*s', expected '%.*s'", STR_ARG(got),
	    STR_ARG(want));
}

/* A block of its own size, so that a sanitizer sees a read behind it. */
static char *
exact(struct str in)
{
	char *copy = malloc(in.len > 0 ? in.len : 1);

	if (in.len > 0)
		memcpy(copy, in.p, in.len);
	return copy;
}

static const struct {
	const char *in, *whole, *local, *domain;
	bool null, utf8;
} good[] = {
	{ "<alice@ok.example>", "alice@ok.example", "alice", "ok.example", false,
	    false },
	{ "alice@ok.example", "alice@ok.example", "alice", "ok.example", false, false },
	{ "<>", "", "", "", true, false },
	{ "<postmaster>", "postmaster", "postmaster", "", false, false },
	{ "<@relay.example:b@ok.example>", "b@ok.example", "b", "ok.example", false,
	    false },
	{ "<@r1.example,@r2.example:b@ok.example>", "b@ok.example", "b", "ok.example",
	    false, false },
	{ "<@[IPv6:::1]:b@ok.example>", "b@ok.example", "b", "ok.example", false,
	    false },
	{ "<\"a@b\"@ok.example>", "\"a@b\"@ok.example", "\"a@b\"", "ok.example", false,
	    false },
	{ "<\"a b\\\"c\\\\\"@ok.example>", "\"a b\\\"c\\\\\"@ok.example",
	    "\"a b\\\"c\\\\\"", "ok.example", false, false },
	{ "<\"a>\"@ok.example>", "\"a>\"@ok.example", "\"a>\"", "ok.example", false,
	    false },
	{ "a..b.@carrier.example", "a..b.@carrier.example", "a..b.", "carrier.example",
	    false, false },
	{ "a!b%c+d=e@ok.example", "a!b%c+d=e@ok.example", "a!b%c+d=e", "ok.example",
	    false, false },
	{ "a@[192.0.2.1]", "a@[192.0.2.1]", "a", "[192.0.2.1]", false, false },
	{ "a@[IPv6:2001:db8::1]", "a@[IPv6:2001:db8::1]", "a", "[IPv6:2001:db8::1]",
	    false, false },
	{ "a@_srv.ok.example", "a@_srv.ok.example", "a", "_srv.ok.example", false,
	    false },
	{ "a@localhost", "a@localhost", "a", "localhost", false, false },
	{ "a@" L63 ".example", "a@" L63 ".example", "a", L63 ".example", false, false },
	{ "J\303\274rgen@m\303\274ller.example", "J\303\274rgen@m\303\274ller.example",
	    "J\303\274rgen", "m\303\274ller.example", false, true },
};

START_TEST(parse_good)
{
	char *in = exact(str_of(good[_i].in));
	struct address a;
	struct err err = { .text = "" };
	int rc = address_parse((struct str){ in, strlen(good[_i].in) }, &a, &err);

	ck_assert_msg(rc == 0, "%s: %s", good[_i].in, err.text);
	same(a.whole, str_of(good[_i].whole));
	same(a.local, str_of(good[_i].local));
	same(a.domain, str_of(good[_i].domain));
	ck_assert_int_eq(a.null, good[_i].null);
	ck_assert_int_eq(a.utf8, good[_i].utf8);
	free(in);
}
END_TEST

static const struct str bad[] = {
	STR(""),
	STR("<"),
	STR(">"),
	STR("<a@ok.example"),
	STR("a@ok.example>"),
	STR("<a@ok.example>x"),
	STR("<a@ok.example> "),
	STR(" a@ok.example"),
	STR("<<a@ok.example>>"),
	STR("@ok.example"),
	STR("<@ok.example>"),
	STR("<@r.example:>"),
	STR("<@r.example:@ok.example>"),
	STR("<@r.example,:a@ok.example>"),
	STR("<@r.example,s.example:a@ok.example>"),
	STR("<@:a@ok.example>"),
	STR("<r.example:a@ok.example>"),
	STR("a@"),
	STR("a@.example"),
	STR("a@ok..example"),
	STR("a@ok.example."),
	STR("a@-ok.example"),
	STR("a@ok-.example"),
	STR("a@ok example"),
	STR("a@ok@example"),
	STR("a@ok,example"),
	STR("a@" L63 "4.example"),
	STR("a b@ok.example"),
	STR("a\\@b@ok.example"),
	STR("a,b@ok.example"),
	STR("a(comment)@ok.example"),
	STR("\"a@ok.example"),
	STR("\"a\\\"@ok.example"),
	STR("\"a\"b@ok.example"),
	STR("a\"b\"@ok.example"),
	STR("\"\"@ok.example"),
	STR("\"\""),
	STR("<\"\">"),
	STR("a@[192.0.2.1"),
	STR("a@[192.0.2.256]"),
	STR("a@[2001:db8::1]"),
	STR("a@[IPv6:192.0.2.1]"),
	STR("a@[IPv6:IPv6:::1]"),
	STR("a@[[192.0.2.1]]"),
	STR("a@[x:y]"),
	STR("a@[]"),
	STR("a\r\nb@ok.example"),
	STR("\"a\r\n\"@ok.example"),
	STR("a\tb@ok.example"),
	STR("a\0b@ok.example"),
	STR("a@ok.example\0.test"),
	STR("a\177@ok.example"),
	STR("caf\351@ok.example"),
	STR("\300\257@ok.example"),
	STR("\355\240\200@ok.example"),
	STR("\364\220\200\200@ok.example"),
	STR("\303"),
};

START_TEST(parse_bad)
{
	char *in = exact(bad[_i]);
	struct address a;
	struct err err = { .text = "" };

	ck_assert_msg(address_parse((struct str){ in, bad[_i].len }, &a, &err) == -1,
	    "taken: %.*s", STR_ARG(bad[_i]));
	ck_assert_str_ne(err.text, "");
	free(in);
}
END_TEST

START_TEST(lengths)
{
	char text[ADDRESS_MAX + 2];
	struct address a;
	struct err err;

	memset(text, 'a', sizeof(text));
	ck_assert_int_eq(address_parse((struct str){ text, ADDRESS_MAX }, &a, &err), 0);
	ck_assert_int_eq(
	    address_parse((struct str){ text, ADDRESS_MAX + 1 }, &a, &err), -1);
	for (size_t i = 1; i < 256; i += 2)
		text[i] = '.';
	ck_assert(address_domain_ok((struct str){ text, 255 }));
	ck_assert(!address_domain_ok((struct str){ text, 257 }));
	ck_assert(!address_domain_ok(STR("")));
}
END_TEST

static const struct {
	const char *local, *out;
} quoted[] = {
	{ "a", "a" },
	{ "a.b", "a.b" },
	{ "\"a\"", "a" },
	{ "\"a b\"", "a b" },
	{ "\"a\\\"b\\\\\"", "a\"b\\" },
	{ "", "" },
};

START_TEST(unquote)
{
	char out[8];
	size_t len, want = strlen(quoted[_i].out);

	ck_assert(address_local_unquote(str_of(quoted[_i].local), out, want, &len));
	same((struct str){ out, len }, str_of(quoted[_i].out));
	if (want > 0)
		ck_assert(!address_local_unquote(
		    str_of(quoted[_i].local), out, want - 1, &len));
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("address");
	TCase *t = tcase_create("address");

	tcase_add_loop_test(t, parse_good, 0, COUNT(good));
	tcase_add_loop_test(t, parse_bad, 0, COUNT(bad));
	tcase_add_test(t, lengths);
	tcase_add_loop_test(t, unquote, 0, COUNT(quoted));
	suite_add_tcase(s, t);

	SRunner *r = srunner_create(s);

	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);

	srunner_free(r);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* HELO names, names made of addresses, private addresses. */
#include <check.h>
#include <string.h>

#include "milters/access/access_names.h"

static struct ip
ip_of(const char *text)
{
	struct ip ip;

	ck_assert_msg(ip_parse(str_of(text), &ip), "%s", text);
	return ip;
}

static const struct {
	const char *helo;
	enum helo_fault fault;
} helos[] = {
	{ "mx.example", HELO_GOOD },
	{ "mx.example.", HELO_GOOD },
	{ "MX-1.sub_net.example", HELO_GOOD },
	{ "1.2.example", HELO_GOOD },
	{ "xn--bcher-kva.example", HELO_GOOD },
	{ "[203.0.113.9]", HELO_GOOD },
	{ "[IPv6:2001:db8::9]", HELO_GOOD },
	{ "[ipv6:::ffff:203.0.113.9]", HELO_GOOD },
	{ "sub.gate.example", HELO_GOOD },
	{ "xgate.example", HELO_GOOD },
	{ "localhost", HELO_UNQUALIFIED },
	{ "pc", HELO_UNQUALIFIED },
	{ "pc.", HELO_UNQUALIFIED },
	{ "203.0.113.9", HELO_SYNTAX },
	{ "2001:db8::9", HELO_SYNTAX },
	{ "[203.0.113]", HELO_SYNTAX },
	{ "[203.0.113.9", HELO_SYNTAX },
	{ "203.0.113.9]", HELO_SYNTAX },
	{ "[2001:db8::9]", HELO_SYNTAX },
	{ "[IPv6:203.0.113.9]", HELO_SYNTAX },
	{ "[]", HELO_SYNTAX },
	{ "[x]", HELO_SYNTAX },
	{ "a b.example", HELO_SYNTAX },
	{ "a..example", HELO_SYNTAX },
	{ ".example", HELO_SYNTAX },
	{ ".", HELO_SYNTAX },
	{ "-a.example", HELO_SYNTAX },
	{ "a-.example", HELO_SYNTAX },
	{ "a.123", HELO_SYNTAX },
	{ "12345", HELO_SYNTAX },
	{ "a@b.example", HELO_SYNTAX },
	{ "gr\xc3\xbc.example", HELO_SYNTAX },
	{ "aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffffgggg.example",
	    HELO_SYNTAX },
	{ "gate.example", HELO_FORGED },
	{ "GATE.example.", HELO_FORGED },
	{ "mail.our.example", HELO_FORGED },
	{ "[192.0.2.25]", HELO_FORGED },
	{ "192.0.2.25", HELO_FORGED },
	{ "[192.0.2.26]", HELO_FORGED },
	{ "[IPv6:2001:db8::25]", HELO_FORGED },
	{ "[127.0.0.1]", HELO_FORGED },
	{ "127.5.5.5", HELO_FORGED },
	{ "[IPv6:::1]", HELO_FORGED },
};

START_TEST(helo_row)
{
	static const char *const names[] = { "gate.example", "", "mail.our.example",
		"192.0.2.26" };
	const struct ip ips[] = { ip_of("192.0.2.25"), ip_of("2001:db8::25") };
	const struct helo_own own = { names, 4, ips, 2 };

	ck_assert_msg(access_helo(str_of(helos[_i].helo), &own, "") == helos[_i].fault,
	    "%s", helos[_i].helo);
	/* nobody forges what DNS calls him */
	if (helos[_i].fault == HELO_FORGED && ascii_alpha(helos[_i].helo[0]))
		ck_assert_int_eq(
		    access_helo(str_of(helos[_i].helo), &own, helos[_i].helo), HELO_GOOD);
}
END_TEST

/* A name of any length, with any octet. */
START_TEST(helo_any)
{
	const struct helo_own none = { NULL, 0, NULL, 0 };
	char name[600];

	/* labels of 59 letters */
	for (size_t n = 0; n < sizeof(name); n++)
		name[n] = n % 60 == 59 ? '.' : 'a';
	for (size_t n = 0; n <= sizeof(name); n++) {
		enum helo_fault f = access_helo((struct str){ name, n }, &none, "");
		ck_assert_int_eq(f == HELO_SYNTAX, n == 0 || n > 255);
	}
	for (int c = 0; c < 256; c++) {
		char one[] = { 'a', (char)c, 'b', '.', 'c' };
		bool fine = ascii_alnum((char)c) || c == '-' || c == '_' || c == '.';

		ck_assert_int_eq(
		    access_helo((struct str){ one, 5 }, &none, "") == HELO_GOOD, fine);
	}
}
END_TEST

static const struct {
	const char *name, *ip;
	bool generic;
} generics[] = {
	{ "203-0-113-9.pool.example", "203.0.113.9", true },
	{ "host203.0.113.9.example", "203.0.113.9", true },
	{ "9.113.0.203.dyn.example", "203.0.113.9", true },
	{ "ip-203-000-113-009.example", "203.0.113.9", true },
	{ "203000113009.example", "203.0.113.9", true },
	{ "x009113000203y.example", "203.0.113.9", true },
	{ "cb007109.dsl.example", "203.0.113.9", true },
	{ "CB007109.dsl.example", "203.0.113.9", true },
	{ "p5-203-0-113-9.example", "203.0.113.9", true },
	{ "mx.example", "203.0.113.9", false },
	{ "mx9.example", "203.0.113.9", false },
	{ "203-0-113.example", "203.0.113.9", false },
	{ "203-0-113-99.example", "203.0.113.9", false },
	{ "1203-0-113-9.example", "203.0.113.9", false },
	{ "113-9.example", "203.0.113.9", false },
	{ "[203.0.113.9]", "203.0.113.9", false },
	{ "", "203.0.113.9", false },
	{ "99999999999999999999-203-0-113-9.example", "203.0.113.9", true },
	{ "2001-db8-0-0-1-2-3-4.example", "2001:db8::1:2:3:4", true },
	{ "0001000200030004.example", "2001:db8::1:2:3:4", true },
	{ "2001-0db8-0000-0000-0001-0002-0003-0004.example", "2001:db8::1:2:3:4", true },
	{ "mail.example", "2001:db8::1:2:3:4", false },
	{ "ns1-2-3.example", "2001:db8::1:2:3:4", false },
};

START_TEST(generic_row)
{
	struct ip ip = ip_of(generics[_i].ip);

	ck_assert_msg(
	    access_name_is_generic(generics[_i].name, &ip) == generics[_i].generic, "%s",
	    generics[_i].name);
}
END_TEST

static const struct {
	const char *ip;
	bool is_private;
} addresses[] = {
	{ "0.0.0.0", true },
	{ "10.1.2.3", true },
	{ "100.64.0.1", true },
	{ "100.128.0.1", false },
	{ "127.0.0.1", true },
	{ "169.254.1.1", true },
	{ "172.16.0.1", true },
	{ "172.31.255.255", true },
	{ "172.32.0.1", false },
	{ "192.168.0.1", true },
	{ "224.0.0.1", true },
	{ "255.255.255.255", true },
	{ "8.8.8.8", false },
	{ "192.0.2.1", false },
	{ "::", true },
	{ "::1", true },
	{ "::ffff:10.0.0.1", true },
	{ "fd00::1", true },
	{ "fe80::1", true },
	{ "ff02::1", true },
	{ "2001:db8::1", false },
};

START_TEST(address_row)
{
	struct ip ip = ip_of(addresses[_i].ip);

	ck_assert_msg(access_ip_is_private(&ip) == addresses[_i].is_private, "%s",
	    addresses[_i].ip);
}
END_TEST

#define ROWS(table) (int)(sizeof(table) / sizeof((table)[0]))

int
main(void)
{
	Suite *s = suite_create("access_names");
	TCase *t = tcase_create("access_names");

	tcase_add_loop_test(t, helo_row, 0, ROWS(helos));
	tcase_add_test(t, helo_any);
	tcase_add_loop_test(t, generic_row, 0, ROWS(generics));
	tcase_add_loop_test(t, address_row, 0, ROWS(addresses));
	suite_add_tcase(s, t);
	SRunner *runner = srunner_create(s);
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? 0 : 1;
}

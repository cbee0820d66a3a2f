/* SPDX-License-Identifier: BSD-2-Clause */
/* DNS lists: names, what answers mean, words. */
#include <check.h>
#include <stdio.h>
#include <string.h>

#include "common/net/dnsbl.h"

static struct ip
ip_of(const char *text)
{
	struct ip ip = { 0 };

	ck_assert(ip_parse(str_of(text), &ip));
	return ip;
}

static const struct {
	const char *client, *zone, *name; /* NULL: cannot be asked */
} queries[] = {
	{ "192.0.2.1", "bl.example", "1.2.0.192.bl.example" },
	{ "::ffff:192.0.2.1", "bl.example", "1.2.0.192.bl.example" },
	{ "2001:db8::5", "bl.example",
	    "5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.bl."
	    "example" },
	{ "", "bl.example", NULL },
	{ "2001:db8::5",
	    "a123456789.a123456789.a123456789.a123456789.a123456789.a123456789."
	    "a123456789."
	    "a123456789.a123456789.a123456789.a123456789.a123456789.a123456789."
	    "a123456789."
	    "a123456789.a123456789.a123456789.a123456789.example",
	    NULL },
};

START_TEST(query_row)
{
	char zone[256], name[256];
	struct dnsbl list = { .zone = zone };
	struct ip ip = { 0 };

	snprintf(zone, sizeof(zone), "%s", queries[_i].zone);
	if (queries[_i].client[0] != '\0')
		ip = ip_of(queries[_i].client);
	int rc = dnsbl_query(&list, &ip, name);
	ck_assert_int_eq(rc, queries[_i].name != NULL ? 0 : -1);
	if (rc == 0)
		ck_assert_str_eq(name, queries[_i].name);
}
END_TEST

static const struct {
	const char *what;
	enum dns_status status;
	const char *codes; /* configured; NULL: the default */
	const char *answers[3];
	enum dnsbl_state state;
	const char *code; /* that counted */
} judged[] = {
	{ "not listed", DNS_NXDOMAIN, NULL, { NULL }, DNSBL_CLEAN, NULL },
	{ "a name without an address", DNS_NODATA, NULL, { NULL }, DNSBL_CLEAN, NULL },
	{ "failure", DNS_FAIL, NULL, { NULL }, DNSBL_UNKNOWN, NULL },
	{ "no answer", DNS_TIMEOUT, NULL, { NULL }, DNSBL_UNKNOWN, NULL },
	{ "listed", DNS_OK, NULL, { "127.0.0.2" }, DNSBL_LISTED, "127.0.0.2" },
	{ "last code of the default", DNS_OK, NULL, { "127.0.0.255" }, DNSBL_LISTED,
	    "127.0.0.255" },
	{ "127.0.0.1 is no listing", DNS_OK, NULL, { "127.0.0.1" }, DNSBL_UNKNOWN,
	    NULL },
	{ "127.0.0.0 is no listing", DNS_OK, NULL, { "127.0.0.0" }, DNSBL_UNKNOWN,
	    NULL },
	{ "127.0.1.2 is beyond the default", DNS_OK, NULL, { "127.0.1.2" },
	    DNSBL_UNKNOWN, NULL },
	{ "the list refuses us", DNS_OK, NULL, { "127.255.255.254" }, DNSBL_UNKNOWN,
	    NULL },
	{ "even beside a code", DNS_OK, NULL, { "127.0.0.2", "127.255.255.252" },
	    DNSBL_UNKNOWN, NULL },
	{ "even where configured", DNS_OK, "127.0.0.0/8", { "127.255.255.254" },
	    DNSBL_UNKNOWN, NULL },
	{ "a parked domain answers everything", DNS_OK, NULL, { "203.0.113.9" },
	    DNSBL_UNKNOWN, NULL },
	{ "configured code", DNS_OK, "127.0.0.4", { "127.0.0.4" }, DNSBL_LISTED,
	    "127.0.0.4" },
	{ "another code than configured", DNS_OK, "127.0.0.4", { "127.0.0.2" },
	    DNSBL_UNKNOWN, NULL },
	{ "the configured one of several", DNS_OK, "127.0.0.4",
	    { "127.0.0.2", "127.0.0.4" }, DNSBL_LISTED, "127.0.0.4" },
	{ "a network of codes", DNS_OK, "127.0.1.0/24", { "127.0.1.7" }, DNSBL_LISTED,
	    "127.0.1.7" },
};

START_TEST(judge_row)
{
	char zone[] = "bl.example";
	struct ipnet code;
	struct dnsbl list = { .zone = zone };
	struct dns_record records[3] = { 0 };
	struct dns_answer a = { .status = judged[_i].status, .records = records };

	if (judged[_i].codes != NULL) {
		ck_assert(ipnet_parse(str_of(judged[_i].codes), &code));
		list.codes.list = &code;
		list.codes.n = 1;
	}
	for (; a.n < 3 && judged[_i].answers[a.n] != NULL; a.n++)
		records[a.n].ip = ip_of(judged[_i].answers[a.n]);
	struct dnsbl_result r = dnsbl_judge(&list, &a, NULL);
	ck_assert_msg(r.state == judged[_i].state, "%s", judged[_i].what);
	if (judged[_i].code != NULL) {
		struct ip want = ip_of(judged[_i].code);
		ck_assert(ip_eq(&r.code, &want));
	}
	ck_assert_str_eq(r.txt, "");
}
END_TEST

START_TEST(no_answer_at_all)
{
	char zone[] = "bl.example";
	struct dnsbl list = { .zone = zone };

	ck_assert_int_eq(dnsbl_judge(&list, NULL, NULL).state, DNSBL_UNKNOWN);
}
END_TEST

#define TXT(s) s, sizeof(s) - 1
static const struct {
	const char *what, *txt;
	size_t len;
	const char *text; /* configured; NULL: standard */
	const char *words;
} worded[] = {
	{ "standard, without TXT", NULL, 0, NULL,
	    "Rejected: 192.0.2.1 listed at bl.example" },
	{ "standard, with TXT", TXT("see https://bl.example/?192.0.2.1"), NULL,
	    "Rejected: 192.0.2.1 listed at bl.example: see "
	    "https://bl.example/?192.0.2.1" },
	{ "own text", TXT("spam source"), "No mail from %a: %t",
	    "No mail from 192.0.2.1: spam source" },
	{ "own text, no TXT", NULL, 0, "%a %t", "192.0.2.1 listed at bl.example" },
	{ "percent signs", TXT("x"), "100%% %x %", "100% %x %" },
	{ "line ends cannot make another reply line", TXT("a\r\n250 ok\0b\x1b"), "%t",
	    "a  250 ok b " },
	{ "the key is not told", TXT("ask secret42.bl.example, SECRET42"), "%t",
	    "ask ********.bl.example, ********" },
	{ "high octets", TXT("gr\xc3\xbc\x7f"), "%t", "gr???" },
};

START_TEST(text_row)
{
	char zone[] = "bl.example", text[100], txt[100], out[300];
	struct dnsbl list = { .zone = zone };
	struct dns_record addr = { .ip = ip_of("127.0.0.2") }, rec = { .text = txt };
	struct dns_answer a = { .status = DNS_OK, .records = &addr, .n = 1 };
	struct dns_answer t = { .status = DNS_OK, .records = &rec, .n = 1 };

	if (worded[_i].text != NULL) {
		snprintf(text, sizeof(text), "%s", worded[_i].text);
		list.text = text;
	}
	if (worded[_i].txt != NULL) {
		memcpy(txt, worded[_i].txt, worded[_i].len + 1);
		rec.text_len = worded[_i].len;
	}
	struct dnsbl_result r =
	    dnsbl_judge(&list, &a, worded[_i].txt != NULL ? &t : NULL);
	ck_assert_int_eq(r.state, DNSBL_LISTED);
	dnsbl_text(&list, "Secret42", "192.0.2.1", &r, out, sizeof(out));
	ck_assert_str_eq(out, worded[_i].words);
}
END_TEST

START_TEST(long_txt_is_cut)
{
	char zone[] = "bl.example", txt[2000];
	struct dnsbl list = { .zone = zone };
	struct dns_record addr = { .ip = ip_of("127.0.0.2") };
	struct dns_record rec = { .text = txt, .text_len = sizeof(txt) - 1 };
	struct dns_answer a = { .status = DNS_OK, .records = &addr, .n = 1 };
	struct dns_answer t = { .status = DNS_OK, .records = &rec, .n = 1 };

	memset(txt, 'x', sizeof(txt));
	txt[sizeof(txt) - 1] = '\0';
	struct dnsbl_result r = dnsbl_judge(&list, &a, &t);
	ck_assert_uint_eq(strlen(r.txt), sizeof(r.txt) - 1);
}
END_TEST

static const struct {
	const char *domain, *key, *name; /* NULL: cannot be asked */
} names[] = {
	{ "d.example", NULL, "d.example.bl.example" },
	{ "d.example.", "", "d.example.bl.example" },
	{ "d.example", "k3y", "d.example.k3y.bl.example" },
	{ "a_b.d-e.example", NULL, "a_b.d-e.example.bl.example" },
	{ "localhost", NULL, NULL },
	{ "192.0.2.1", NULL, NULL },
	{ "[192.0.2.1]", NULL, NULL },
	{ "", NULL, NULL },
	{ ".", NULL, NULL },
	{ "a..example", NULL, NULL },
	{ "a b.example", NULL, NULL },
	{ "a\".example", NULL, NULL },
};

START_TEST(name_row)
{
	char zone[] = "bl.example", name[256];
	const struct dnsbl list = { .zone = zone };

	int rc = dnsbl_query_name(&list, names[_i].key, str_of(names[_i].domain), name);
	ck_assert_int_eq(rc, names[_i].name != NULL ? 0 : -1);
	if (rc == 0)
		ck_assert_str_eq(name, names[_i].name);
}
END_TEST

static const struct {
	int family;
	enum dnsbl_test test;
	uint64_t random;
	const char *key, *name;
} tests[] = {
	{ AF_INET, DNSBL_TEST_LISTED, 0, NULL, "2.0.0.127.bl.example" },
	{ AF_INET, DNSBL_TEST_UNLISTED, 0, "k", "1.0.0.127.k.bl.example" },
	{ AF_INET, DNSBL_TEST_RANDOM, 0, NULL, "0.0.64.127.bl.example" },
	{ AF_INET, DNSBL_TEST_RANDOM, UINT64_MAX, NULL, "255.255.191.127.bl.example" },
	{ AF_INET6, DNSBL_TEST_LISTED, 0, NULL,
	    "2.0.0.0.0.0.f.7.f.f.f.f.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.bl.example" },
	{ AF_INET6, DNSBL_TEST_UNLISTED, 0, NULL,
	    "1.0.0.0.0.0.f.7.f.f.f.f.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.bl.example" },
	{ 0, DNSBL_TEST_LISTED, 0, NULL, "test.bl.example" },
	{ 0, DNSBL_TEST_UNLISTED, 0, "k", "invalid.k.bl.example" },
	{ 0, DNSBL_TEST_RANDOM, 7, NULL, "x0000000000000007.invalid.bl.example" },
};

START_TEST(test_point)
{
	char zone[] = "bl.example", name[256];
	const struct dnsbl list = { .zone = zone };

	ck_assert_int_eq(dnsbl_query_test(&list, tests[_i].key, tests[_i].family,
			     tests[_i].test, tests[_i].random, name),
	    0);
	ck_assert_str_eq(name, tests[_i].name);
}
END_TEST

/* Configured: 127.0.0.2 with the list's weight, .4 weighs 3, .5 has none of its own. */
static const struct {
	const char *what;
	bool weighted, allow;
	const char *answers[3];
	enum dnsbl_state state;
	bool refuses;
	int64_t points;
} weighed[] = {
	{ "the list's weight", true, false, { "127.0.0.2" }, DNSBL_LISTED, false, 2500 },
	{ "no weight refuses", false, false, { "127.0.0.2" }, DNSBL_LISTED, true, 0 },
	{ "a code of its own", true, false, { "127.0.0.4" }, DNSBL_LISTED, false, 3000 },
	{ "a code of its own, list without", false, false, { "127.0.0.4" }, DNSBL_LISTED,
	    false, 3000 },
	{ "a code without, list without", false, false, { "127.0.0.5" }, DNSBL_LISTED,
	    true, 0 },
	{ "the heaviest", true, false, { "127.0.0.2", "127.0.0.4" }, DNSBL_LISTED, false,
	    3000 },
	{ "the heaviest, other order", true, false, { "127.0.0.4", "127.0.0.2" },
	    DNSBL_LISTED, false, 3000 },
	{ "one refuses", false, false, { "127.0.0.4", "127.0.0.2" }, DNSBL_LISTED, true,
	    0 },
	{ "a welcome", true, true, { "127.0.0.2" }, DNSBL_LISTED, false, -2500 },
	{ "a welcome by itself", false, true, { "127.0.0.2" }, DNSBL_LISTED, true, 0 },
	{ "an unknown code", true, false, { "127.0.0.9" }, DNSBL_UNKNOWN, false, 0 },
	{ "an unknown code beside", true, false, { "127.0.0.9", "127.0.0.4" },
	    DNSBL_LISTED, false, 3000 },
	{ "the list refuses us", true, false, { "127.0.0.4", "127.255.255.254" },
	    DNSBL_UNKNOWN, false, 0 },
};

static struct ipnet
net_of(const char *text)
{
	struct ipnet net;

	ck_assert(ipnet_parse(str_of(text), &net));
	return net;
}

START_TEST(weight_row)
{
	char zone[] = "bl.example";
	struct ipnet code = net_of("127.0.0.2");
	struct dnsbl_code own[] = { { net_of("127.0.0.4"), true, 3000 },
		{ net_of("127.0.0.5"), false, 0 } };
	struct dnsbl list = { .zone = zone,
		.codes = { &code, 1 },
		.own = { own, 2 },
		.weight = { weighed[_i].weighted, weighed[_i].weighted ? 2500 : 0 },
		.allow = weighed[_i].allow };
	struct dns_record records[3] = { 0 };
	struct dns_answer a = { .status = DNS_OK, .records = records };

	for (; a.n < 3 && weighed[_i].answers[a.n] != NULL; a.n++)
		records[a.n].ip = ip_of(weighed[_i].answers[a.n]);
	struct dnsbl_result r = dnsbl_judge(&list, &a, NULL);
	ck_assert_msg(r.state == weighed[_i].state, "%s", weighed[_i].what);
	ck_assert_msg(r.refuses == weighed[_i].refuses, "%s", weighed[_i].what);
	ck_assert_int_eq(r.points, weighed[_i].points);
}
END_TEST

/* A test point's code need not be one that counts. */
START_TEST(test_point_answers)
{
	char zone[] = "bl.example";
	struct ipnet code = net_of("127.0.0.4");
	const struct dnsbl list = { .zone = zone, .codes = { &code, 1 } };
	struct dns_record rec = { .ip = ip_of("127.0.0.2") };
	struct dns_answer a = { .status = DNS_OK, .records = &rec, .n = 1 };

	ck_assert_int_eq(
	    dnsbl_judge_test(&list, DNSBL_TEST_LISTED, &a), DNSBL_LISTED);
	ck_assert_int_eq(
	    dnsbl_judge_test(&list, DNSBL_TEST_UNLISTED, &a), DNSBL_UNKNOWN);
	rec.ip = ip_of("127.0.0.4");
	ck_assert_int_eq(
	    dnsbl_judge_test(&list, DNSBL_TEST_UNLISTED, &a), DNSBL_LISTED);
	rec.ip = ip_of("127.255.255.254");
	ck_assert_int_eq(
	    dnsbl_judge_test(&list, DNSBL_TEST_LISTED, &a), DNSBL_UNKNOWN);
	a.status = DNS_NXDOMAIN;
	ck_assert_int_eq(dnsbl_judge_test(&list, DNSBL_TEST_LISTED, &a), DNSBL_CLEAN);
	ck_assert_int_eq(
	    dnsbl_judge_test(&list, DNSBL_TEST_LISTED, NULL), DNSBL_UNKNOWN);
}
END_TEST

static const struct {
	const char *text; /* NULL: standard */
	bool allow, wants;
} wants[] = {
	{ NULL, false, true },
	{ NULL, true, false },
	{ "", false, true },
	{ "%a: %t", false, true },
	{ "%a", false, false },
	{ "100%%t", false, false },
	{ "%", false, false },
};

START_TEST(txt_needed)
{
	char zone[] = "bl.example", text[20];
	struct dnsbl list = { .zone = zone, .allow = wants[_i].allow };

	if (wants[_i].text != NULL) {
		snprintf(text, sizeof(text), "%s", wants[_i].text);
		list.text = text;
	}
	ck_assert_int_eq(dnsbl_wants_txt(&list), wants[_i].wants);
}
END_TEST

START_TEST(keys)
{
	char key[70] = "";

	ck_assert_ptr_null(dnsbl_key_wrong(STR("aB3-x")));
	ck_assert_ptr_nonnull(dnsbl_key_wrong(STR("")));
	ck_assert_ptr_nonnull(dnsbl_key_wrong(STR("a.b")));
	ck_assert_ptr_nonnull(dnsbl_key_wrong(STR("a\0b")));
	memset(key, 'a', 63);
	ck_assert_ptr_null(dnsbl_key_wrong(str_of(key)));
	key[63] = 'a';
	ck_assert_ptr_nonnull(dnsbl_key_wrong(str_of(key)));
}
END_TEST

#define ROWS(table) (int)(sizeof(table) / sizeof((table)[0]))

int
main(void)
{
	Suite *s = suite_create("dnsbl");
	TCase *t = tcase_create("dnsbl");

	tcase_add_loop_test(t, query_row, 0, ROWS(queries));
	tcase_add_loop_test(t, judge_row, 0, ROWS(judged));
	tcase_add_test(t, no_answer_at_all);
	tcase_add_loop_test(t, text_row, 0, ROWS(worded));
	tcase_add_test(t, long_txt_is_cut);
	tcase_add_loop_test(t, name_row, 0, ROWS(names));
	tcase_add_loop_test(t, test_point, 0, ROWS(tests));
	tcase_add_loop_test(t, weight_row, 0, ROWS(weighed));
	tcase_add_test(t, test_point_answers);
	tcase_add_loop_test(t, txt_needed, 0, ROWS(wants));
	tcase_add_test(t, keys);
	suite_add_tcase(s, t);
	SRunner *runner = srunner_create(s);
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? 0 : 1;
}

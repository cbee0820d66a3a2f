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
		list.codes = &code;
		list.n_codes = 1;
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
	{ "high octets", TXT("gr\xc3\xbc\x7f"), "%t", "gr???" },
};

START_TEST(text_row)
{
	char zone[] = "bl.example", text[100], txt[100], out[300];
	struct dnsbl list = { .zone = zone };
	struct dns_record addr = { .ip = ip_of("127.0.0.2") }, rec = { .text = txt };
	struct dns_answer a = { .status = DNS_OK, .records = &addr, .n = 1 };
	struct dns_answer t = { .status = DNS_OK, .records = &rec, .n = 1 };
	struct ip client = ip_of("192.0.2.1");

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
	dnsbl_text(&list, &client, &r, out, sizeof(out));
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
	suite_add_tcase(s, t);
	SRunner *runner = srunner_create(s);
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? 0 : 1;
}

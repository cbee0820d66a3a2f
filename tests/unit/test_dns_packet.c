/* SPDX-License-Identifier: BSD-2-Clause */
/* DNS messages: what is well formed and what it means, from octets written out here;
 * and every message cut at every octet must fail, never read on. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/buf.h"
#include "common/net/dns_answer.h"
#include "common/net/dns_packet.h"

/* Header of an answer: flags, counts. */
#define HEAD(flags, an, ns) "\x12\x34" flags "\0\1\0" an "\0" ns "\0\0"
#define ASKED_A "\1a\7example\0\0\1\0\1" /* 12..24 "a.example", .. 28 */
#define ADDR "\0\1\0\1\0\0\1\0\0\4\xc0\0\2\1" /* A, TTL 256, 192.0.2.1 */
#define SOA_OF_EXAMPLE                                                                 \
	"\xc0\x0e\0\6\0\1\0\0\0\x64\0\x1a\2ns\xc0\x0e\0"                               \
	"\0\0\0\1\0\0\0\2\0\0\0\3\0\0\0\4\0\0\0\x2a"

#define ROW(text) text, sizeof(text) - 1
static const struct {
	const char *what, *msg;
	size_t len;
	enum dns_type type;
	enum dns_status status;
	size_t n;
	uint32_t ttl;
	const char *first; /* name or text of the first record, or its address */
} answers[] = {
	{ "one address", ROW(HEAD("\x81\x80", "\1", "\0") ASKED_A "\xc0\x0c" ADDR),
	    DNS_A, DNS_OK, 1, 256, "192.0.2.1" },
	{ "owner in upper case",
	    ROW(HEAD("\x81\x80", "\1", "\0") ASKED_A "\1A\7EXAMPLE\0" ADDR), DNS_A,
	    DNS_OK, 1, 256, "192.0.2.1" },
	{ "another owner", ROW(HEAD("\x81\x80", "\1", "\0") ASKED_A "\1b\xc0\x0e" ADDR),
	    DNS_A, DNS_NODATA, 0, 0, "" },
	{ "alias in the wrong order",
	    ROW(HEAD("\x81\x80", "\2", "\0") ASKED_A
		"\1b\xc0\x0e" ADDR "\xc0\x0c\0\5\0\1\0\0\0\x10\0\4\1b\xc0\x0e"),
	    DNS_A, DNS_OK, 1, 16, "192.0.2.1" },
	{ "alias to itself",
	    ROW(HEAD("\x81\x80", "\1", "\0") ASKED_A
		"\xc0\x0c\0\5\0\1\0\0\0\x10\0\2\xc0\x0c"),
	    DNS_A, DNS_FAIL, 0, 0, "" },
	{ "TTL above 2^31",
	    ROW(HEAD("\x81\x80", "\1", "\0") ASKED_A
		"\xc0\x0c\0\1\0\1\x80\0\0\1\0\4\xc0\0\2\1"),
	    DNS_A, DNS_OK, 1, 0, "192.0.2.1" },
	{ "no such name, SOA of 100 with minimum 42",
	    ROW(HEAD("\x81\x83", "\0", "\1") ASKED_A SOA_OF_EXAMPLE), DNS_A,
	    DNS_NXDOMAIN, 0, 42, "" },
	{ "no such record", ROW(HEAD("\x81\x80", "\0", "\1") ASKED_A SOA_OF_EXAMPLE),
	    DNS_MX, DNS_NODATA, 0, 42, "" },
	{ "records beside NXDOMAIN do not count",
	    ROW(HEAD("\x81\x83", "\1", "\0") ASKED_A "\xc0\x0c" ADDR), DNS_A,
	    DNS_NXDOMAIN, 0, 0, "" },
	{ "mail exchanger",
	    ROW(HEAD("\x81\x80", "\1", "\0") ASKED_A
		"\xc0\x0c\0\x0f\0\1\0\0\0\1\0\6\0\5\1m\xc0\x0e"),
	    DNS_MX, DNS_OK, 1, 1, "m.example" },
	{ "text in two strings, NUL inside",
	    ROW(HEAD("\x81\x80", "\1", "\0") ASKED_A
		"\xc0\x0c\0\x10\0\1\0\0\0\1\0\7\3a\0b\2cd"),
	    DNS_TXT, DNS_OK, 1, 1, "a" },
	{ "dot and control octet in a label",
	    ROW(HEAD("\x81\x80", "\1", "\0") ASKED_A
		"\xc0\x0c\0\x0c\0\1\0\0\0\1\0\7\5a.b\1\xff\0"),
	    DNS_PTR, DNS_OK, 1, 1, "a\\.b\\001\\255" },
	{ "a question", ROW(HEAD("\1\0", "\0", "\0") ASKED_A), DNS_A, DNS_FAIL, 0, 0,
	    "" },
	{ "server failure", ROW(HEAD("\x81\x82", "\0", "\0") ASKED_A), DNS_A, DNS_FAIL,
	    0, 0, "" },
	{ "address of three octets",
	    ROW(HEAD("\x81\x80", "\1", "\0") ASKED_A
		"\xc0\x0c\0\1\0\1\0\0\1\0\0\3\xc0\0\2"),
	    DNS_A, DNS_FAIL, 0, 0, "" },
	{ "TXT string longer than its record",
	    ROW(HEAD("\x81\x80", "\1", "\0") ASKED_A
		"\xc0\x0c\0\x10\0\1\0\0\0\1\0\2\5a"),
	    DNS_TXT, DNS_FAIL, 0, 0, "" },
	{ "MX name runs out of the record",
	    ROW(HEAD("\x81\x80", "\1", "\0") ASKED_A
		"\xc0\x0c\0\x0f\0\1\0\0\0\1\0\3\0\5\1m\xc0\x0e"),
	    DNS_MX, DNS_FAIL, 0, 0, "" },
	{ "pointer forwards", ROW(HEAD("\x81\x80", "\1", "\0") ASKED_A "\xc0\xff" ADDR),
	    DNS_A, DNS_FAIL, 0, 0, "" },
	{ "pointer to itself",
	    ROW(HEAD("\x81\x80", "\1", "\0") ASKED_A "\xc0\x1b" ADDR), DNS_A, DNS_FAIL,
	    0, 0, "" },
	{ "label of an unknown kind",
	    ROW(HEAD("\x81\x80", "\1", "\0") ASKED_A "\x41z\0" ADDR), DNS_A, DNS_FAIL,
	    0, 0, "" },
	{ "more records promised than there are",
	    ROW(HEAD("\x81\x80", "\2", "\0") ASKED_A "\xc0\x0c" ADDR), DNS_A, DNS_FAIL,
	    0, 0, "" },
};

static struct dns_answer *
parse(const char *msg, size_t len, enum dns_type type)
{
	/* a block of exactly that length, so that a sanitizer sees a read behind it */
	char *copy = malloc(len > 0 ? len : 1);
	struct err err = { 0 };

	ck_assert_ptr_nonnull(copy);
	memcpy(copy, msg, len);
	struct dns_answer *a =
	    dns_answer_parse((struct str){ copy, len }, STR("a.example"), type, &err);
	ck_assert(a->status != DNS_FAIL || err.text[0] != '\0');
	free(copy);
	return a;
}

START_TEST(answer_row)
{
	struct dns_answer *a =
	    parse(answers[_i].msg, answers[_i].len, answers[_i].type);
	char ip[IP_TEXT_MAX] = "";
	const char *first = "";

	ck_assert_msg(a->status == answers[_i].status, "%s: %s", answers[_i].what,
	    dns_status_name(a->status));
	ck_assert_msg(a->n == answers[_i].n, "%s: %zu records", answers[_i].what, a->n);
	if (a->n > 0 && a->records[0].text != NULL)
		first = a->records[0].text;
	else if (a->n > 0 && a->records[0].name != NULL)
		first = a->records[0].name;
	else if (a->n > 0)
		first = ip_format(&a->records[0].ip, ip);
	ck_assert_str_eq(first, answers[_i].first);
	ck_assert_msg(a->status == DNS_FAIL || a->ttl == answers[_i].ttl, "%s: ttl %u",
	    answers[_i].what, a->ttl);
	dns_answer_unref(a);
}
END_TEST

/* Any prefix of a message is no answer with records. */
START_TEST(cut_row)
{
	for (size_t len = 0; len < answers[_i].len; len++) {
		struct dns_answer *a = parse(answers[_i].msg, len, answers[_i].type);
		ck_assert_msg(
		    a->status != DNS_OK, "%s cut at %zu", answers[_i].what, len);
		dns_answer_unref(a);
	}
}
END_TEST

static const struct {
	const char *name;
	bool ok;
} names[] = {
	{ "a.example", true },
	{ "_dmarc.a-b.example", true },
	{ "0/25.2.0.192.in-addr.arpa", true },
	{ "x", true },
	{ "", false },
	{ ".", false },
	{ "a.example.", false },
	{ ".example", false },
	{ "a..example", false },
	{ "a b", false },
	{ "a\\.b", false },
	{ "a\x7f", false },
	{ "\xc3\xa4.example", false },
	{ "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.b", true },
	{ "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.b", false },
};

START_TEST(name_row)
{
	struct buf out;
	struct err err = { 0 };
	struct dns_question q;

	ck_assert_int_eq(dns_name_ok(str_of(names[_i].name)), names[_i].ok);
	buf_init(&out, 600);
	ck_assert_int_eq(
	    dns_write_query(&out, 7, str_of(names[_i].name), DNS_TXT, true) == 0,
	    names[_i].ok);
	if (names[_i].ok) { /* and back */
		struct dns_reader r = { buf_str(&out), DNS_HEADER_LEN };
		ck_assert_int_eq(dns_read_question(&r, &q, &err), 0);
		ck_assert_str_eq(q.name, names[_i].name);
		ck_assert_uint_eq(q.type, DNS_TXT);
	}
	buf_clear(&out);
}
END_TEST

START_TEST(longest_name)
{
	char name[DNS_NAME_MAX + 2];

	for (size_t i = 0; i < sizeof(name); i++)
		name[i] = i % 50 == 49 ? '.' : 'a';
	ck_assert(dns_name_ok((struct str){ name, DNS_NAME_MAX }));
	ck_assert(!dns_name_ok((struct str){ name, DNS_NAME_MAX + 1 }));
}
END_TEST

/* A message of nothing but pointers, each to the one before: refused, not walked. */
START_TEST(pointer_chain)
{
	char msg[4096] = HEAD("\x81\x80", "\1", "\0");

	for (size_t i = DNS_HEADER_LEN; i + 1 < sizeof(msg); i += 2) {
		size_t to = i == DNS_HEADER_LEN ? 0 : i - 2;
		msg[i] = (char)(0xc0 | to >> 8);
		msg[i + 1] = (char)to;
	}
	struct dns_reader r = { { msg, sizeof(msg) }, sizeof(msg) - 2 };
	char name[DNS_NAME_TEXT];
	struct err err = { 0 };
	ck_assert_int_eq(dns_read_name(&r, name, &err), -1);
	ck_assert_ptr_nonnull(strstr(err.text, "pointers"));
}
END_TEST

/* A full answer keeps its first records and drops the rest. */
START_TEST(too_many_records)
{
	struct buf out;
	struct dns_header h = { .flags = DNS_FLAG_QR, .n_answers = 300 };

	buf_init(&out, 65535);
	dns_write_header(&out, &h);
	for (int i = 0; i < 300; i++) {
		dns_write_rr(&out, STR("a.example"), DNS_A, 5, 4);
		buf_addf(&out, "\x7f%c%c%c", 1, 1, 1);
	}
	ck_assert(!out.failed);
	struct dns_answer *a = parse(out.p, out.len, DNS_A);
	ck_assert_int_eq(a->status, DNS_OK);
	ck_assert_uint_eq(a->n, DNS_RECORDS_MAX);
	dns_answer_unref(a);
	buf_clear(&out);
}
END_TEST

#define ROWS(table) (int)(sizeof(table) / sizeof((table)[0]))

int
main(void)
{
	Suite *s = suite_create("dns_packet");
	TCase *t = tcase_create("dns_packet");

	tcase_add_loop_test(t, answer_row, 0, ROWS(answers));
	tcase_add_loop_test(t, cut_row, 0, ROWS(answers));
	tcase_add_loop_test(t, name_row, 0, ROWS(names));
	tcase_add_test(t, longest_name);
	tcase_add_test(t, pointer_chain);
	tcase_add_test(t, too_many_records);
	suite_add_tcase(s, t);
	SRunner *runner = srunner_create(s);
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? 0 : 1;
}

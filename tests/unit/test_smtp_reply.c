/* SPDX-License-Identifier: BSD-2-Clause */
/* common/mail/smtp_reply: replies read whole and octet by octet, and written. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "common/mail/smtp_reply.h"

#define COUNT(table) (int)(sizeof(table) / sizeof((table)[0]))

static void
same(struct str got, struct str want)
{
	ck_assert_msg(str_eq(got, want), "got '%.*s', expected '%.*s'", STR_ARG(got),
	    STR_ARG(want));
}

static const struct {
	const char *name;
	struct str in;
	enum parse end;
	int code;
	size_t lines;
	const char *text;
	size_t rest; /* octets that stay in the stream */
} rows[] = {
	{ "one line", STR("250 2.1.0 Ok\r\n"), PARSE_DONE, 250, 1, "2.1.0 Ok", 0 },
	{ "bare LF", STR("250 Ok\n"), PARSE_DONE, 250, 1, "Ok", 0 },
	{ "code alone", STR("250\r\n"), PARSE_DONE, 250, 1, "", 0 },
	{ "code and blank", STR("354 \r\n"), PARSE_DONE, 354, 1, "", 0 },
	{ "three lines", STR("250-mx\r\n250-SIZE 10\r\n250 8BITMIME\r\n"), PARSE_DONE,
	    250, 3, "mx\nSIZE 10\n8BITMIME", 0 },
	{ "two replies pipelined", STR("250 a\r\n354 b\r\n"), PARSE_DONE, 250, 1, "a",
	    7 },
	{ "lowest", STR("200 x\r\n"), PARSE_DONE, 200, 1, "x", 0 },
	{ "highest", STR("559 x\r\n"), PARSE_DONE, 559, 1, "x", 0 },
	{ "NUL in the text", STR("250 a\0b\r\n"), PARSE_DONE, 250, 1, NULL, 0 },
	{ "unfinished line", STR("250 Ok\r"), PARSE_MORE, 0, 0, "", 7 },
	{ "unfinished reply", STR("250-Ok\r\n"), PARSE_MORE, 250, 1, "Ok", 0 },
	{ "nothing", STR(""), PARSE_MORE, 0, 0, "", 0 },
	{ "class 1", STR("199 x\r\n"), PARSE_ERROR, 0, 0, "", 0 },
	{ "class 6", STR("600 x\r\n"), PARSE_ERROR, 0, 0, "", 0 },
	{ "second digit 6", STR("260 x\r\n"), PARSE_ERROR, 0, 0, "", 0 },
	{ "letters", STR("25x Ok\r\n"), PARSE_ERROR, 0, 0, "", 0 },
	{ "short", STR("25\r\n"), PARSE_ERROR, 0, 0, "", 0 },
	{ "empty line", STR("\r\n"), PARSE_ERROR, 0, 0, "", 0 },
	{ "no separator", STR("250Ok\r\n"), PARSE_ERROR, 0, 0, "", 0 },
	{ "four digits", STR("2500 Ok\r\n"), PARSE_ERROR, 0, 0, "", 0 },
	{ "codes differ", STR("250-a\r\n550 b\r\n"), PARSE_ERROR, 250, 1, "a", 0 },
};

static void
feed(int row, size_t step)
{
	struct str in = rows[row].in;
	struct smtp_reply r;
	struct err err;
	size_t have = 0, at = 0, used;
	enum parse p;

	smtp_reply_init(&r);
	for (;;) {
		size_t len = have - at;
		char *copy = malloc(len > 0 ? len : 1);

		memcpy(copy, in.p + at, len);
		p = smtp_reply_feed(&r, (struct str){ copy, len }, &used, &err);
		free(copy);
		ck_assert_uint_le(used, len);
		at += used;
		if (p != PARSE_MORE || have == in.len)
			break;
		have = in.len - have < step ? in.len : have + step;
	}
	ck_assert_int_eq(p, rows[row].end);
	ck_assert_int_eq(r.code, rows[row].code);
	ck_assert_uint_eq(r.n_lines, rows[row].lines);
	if (rows[row].text != NULL)
		same(buf_str(&r.text), str_of(rows[row].text));
	else
		same(buf_str(&r.text), STR("a\0b"));
	if (p != PARSE_ERROR)
		ck_assert_uint_eq(in.len - at, rows[row].rest);
	smtp_reply_clear(&r);
}

START_TEST(whole)
{
	feed(_i, 10000);
}
END_TEST

START_TEST(octet_by_octet)
{
	feed(_i, 1);
}
END_TEST

START_TEST(limits)
{
	struct smtp_reply r;
	struct err err;
	struct buf b;
	size_t used;

	buf_init(&b, 1 << 20);
	for (int i = 0; i < SMTP_REPLY_LINES_MAX; i++)
		buf_addf(&b, "250-%0100d\r\n", i);
	smtp_reply_init(&r);
	ck_assert_int_eq(smtp_reply_feed(&r, buf_str(&b), &used, &err), PARSE_MORE);
	ck_assert_uint_eq(used, b.len);
	ck_assert_uint_eq(r.text.len, 8192); /* the rest of the text is cut */
	ck_assert_int_eq(
	    smtp_reply_feed(&r, STR("250 x\r\n"), &used, &err), PARSE_ERROR);
	smtp_reply_clear(&r);

	buf_reset(&b);
	buf_addf(&b, "250 %0*d\r\n", SMTP_REPLY_LINE_MAX - 6, 1);
	smtp_reply_init(&r);
	ck_assert_int_eq(smtp_reply_feed(&r, buf_str(&b), &used, &err), PARSE_DONE);
	smtp_reply_clear(&r);
	buf_reset(&b);
	buf_addf(&b, "250 %0*d\r\n", SMTP_REPLY_LINE_MAX - 5, 1);
	smtp_reply_init(&r);
	ck_assert_int_eq(smtp_reply_feed(&r, buf_str(&b), &used, &err), PARSE_ERROR);
	ck_assert_int_eq(
	    smtp_reply_feed(
		&r, str_sub(buf_str(&b), 0, SMTP_REPLY_LINE_MAX - 1), &used, &err),
	    PARSE_MORE);
	smtp_reply_clear(&r);
	buf_clear(&b);
}
END_TEST

static const struct {
	int code;
	const char *text, *enhanced, *rest; /* enhanced NULL: none */
} codes[] = {
	{ 550, "5.7.1 no", "5.7.1", "no" },
	{ 250, "2.0.0", "2.0.0", "" },
	{ 450, "4.200.123  x", "4.200.123", "x" },
	{ 550, "4.7.1 no", NULL, NULL }, /* another class */
	{ 550, "5.7 no", NULL, NULL },
	{ 550, "5.7.x no", NULL, NULL },
	{ 550, "5.7.1234 no", NULL, NULL },
	{ 550, "5.7.1x", NULL, NULL },
	{ 550, "5..1 no", NULL, NULL },
	{ 550, "55.7.1 no", NULL, NULL },
	{ 550, "", NULL, NULL },
};

START_TEST(enhanced)
{
	struct str code, rest;
	bool ok =
	    smtp_reply_enhanced(codes[_i].code, str_of(codes[_i].text), &code, &rest);

	ck_assert_int_eq(ok, codes[_i].enhanced != NULL);
	if (ok) {
		same(code, str_of(codes[_i].enhanced));
		same(rest, str_of(codes[_i].rest));
	}
}
END_TEST

static const struct {
	int code;
	const char *enhanced;
	struct str text;
	const char *out;
} writes[] = {
	{ 250, "2.0.0", STR("Ok"), "250 2.0.0 Ok\r\n" },
	{ 354, "", STR("go on"), "354 go on\r\n" },
	{ 250, "", STR(""), "250 \r\n" },
	{ 250, "2.0.0", STR(""), "250 2.0.0\r\n" },
	{ 550, "5.7.1", STR("a\nb"), "550-5.7.1 a\r\n550 5.7.1 b\r\n" },
	{ 550, "", STR("a\r\nb\r\n"), "550-a\r\n550 b\r\n" },
	{ 550, "", STR("a\n\nb"), "550-a\r\n550-\r\n550 b\r\n" },
	{ 550, "", STR("a\rb\0c\t\303\251"), "550 a?b?c???\r\n" },
};

START_TEST(write_reply)
{
	struct buf b;

	buf_init(&b, 1000);
	smtp_reply_write(&b, writes[_i].code, writes[_i].enhanced, writes[_i].text);
	same(buf_str(&b), str_of(writes[_i].out));
	buf_clear(&b);
}
END_TEST

/* Whatever the text, our own parser takes what was written, in lines of 512 octets. */
START_TEST(long_text_is_folded)
{
	struct smtp_reply r;
	struct buf text, out;
	struct err err;
	size_t used, longest = 0, start = 0;

	buf_init(&text, 1 << 20);
	buf_init(&out, 1 << 20);
	for (int i = 0; i < 300; i++)
		buf_addf(&text, _i == 0 ? "word%d " : "%08d", i);
	smtp_reply_write(&out, 550, "5.7.1", buf_str(&text));
	for (size_t i = 0; i < out.len; i++) {
		if (out.p[i] != '\n')
			continue;
		longest = i + 1 - start > longest ? i + 1 - start : longest;
		start = i + 1;
	}
	ck_assert_uint_le(longest, 512);
	ck_assert_uint_gt(longest, 490);
	smtp_reply_init(&r);
	ck_assert_int_eq(smtp_reply_feed(&r, buf_str(&out), &used, &err), PARSE_DONE);
	ck_assert_uint_eq(used, out.len);
	ck_assert_uint_ge(r.n_lines, 5);
	smtp_reply_clear(&r);
	buf_clear(&text);
	buf_clear(&out);
}
END_TEST

START_TEST(endless_text_is_cut)
{
	struct smtp_reply r;
	struct buf text, out;
	struct err err;
	size_t used;

	buf_init(&text, 1000);
	buf_init(&out, 1 << 20);
	for (int i = 0; i < 1000; i++)
		buf_add_char(&text, '\n');
	smtp_reply_write(&out, 550, "5.7.1", buf_str(&text));
	smtp_reply_init(&r);
	ck_assert_int_eq(smtp_reply_feed(&r, buf_str(&out), &used, &err), PARSE_DONE);
	ck_assert_uint_eq(r.n_lines, SMTP_REPLY_LINES_MAX);
	smtp_reply_clear(&r);
	buf_clear(&text);
	buf_clear(&out);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("smtp_reply");
	TCase *t = tcase_create("smtp_reply");

	tcase_add_loop_test(t, whole, 0, COUNT(rows));
	tcase_add_loop_test(t, octet_by_octet, 0, COUNT(rows));
	tcase_add_test(t, limits);
	tcase_add_loop_test(t, enhanced, 0, COUNT(codes));
	tcase_add_loop_test(t, write_reply, 0, COUNT(writes));
	tcase_add_loop_test(t, long_text_is_folded, 0, 2);
	tcase_add_test(t, endless_text_is_cut);
	suite_add_tcase(s, t);

	SRunner *r = srunner_create(s);

	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);

	srunner_free(r);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

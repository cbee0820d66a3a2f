/* SPDX-License-Identifier: BSD-2-Clause */
/* Charsets, HTML and what rules see of a message. */
#include <check.h>
#include <stdlib.h>

#include "common/mail/charset.h"
#include "common/mail/html.h"
#include "common/mail/render.h"

#define COUNT(table) (int)(sizeof(table) / sizeof((table)[0]))

static const struct {
	const char *in, *label, *out;
} charsets[] = {
	{ "plain", "", "plain" },
	{ "\xc3\xa4", "iso-8859-1", "\xc3\xa4" }, /* valid UTF-8 wins */
	{ "\xe4", "ISO-8859-1", "\xc3\xa4" },
	{ "\x80", "iso-8859-1", "\xe2\x82\xac" }, /* taken as windows-1252 */
	{ "\xe4", "", "\xc3\xa4" },
	{ "\xe4", "../../etc/passwd", "\xc3\xa4" },
	{ "\xd0", "koi8-r", "\xd0\xbf" },
	{ "\x82\xa0", "shift_jis", "\xe3\x81\x82" },
	{ "+AOQ-", "utf-7", "\xc3\xa4" },
	{ "\x1b$B$\"\x1b(B", "iso-2022-jp", "\xe3\x81\x82" },
	{ "a\xff", "euc-jp", "a\xef\xbf\xbd" },
	{ "\xed\xa0\x80", "utf-8", "\xc3\xad\xc2\xa0\xe2\x82\xac" }, /* a surrogate is not UTF-8 */
};

START_TEST(charset)
{
	struct buf out;

	buf_init(&out, 1000);
	ck_assert(
	    charset_to_utf8(str_of(charsets[_i].in), str_of(charsets[_i].label), &out));
	ck_assert_str_eq(buf_cstr(&out), charsets[_i].out);
	ck_assert(utf8_valid(buf_str(&out)));
	buf_clear(&out);
}
END_TEST

START_TEST(all_charsets_are_there)
{
	ck_assert_uint_gt(charset_preload(), 45);
}
END_TEST

static const struct {
	const char *html, *text, *uris;
} htmls[] = {
	{ "plain", "plain", "" },
	{ "a<br>b<p>c", "a\nb\n\nc", "" },
	{ "a\n\nb <br> c&nbsp; d\t\r\n", "a b\nc  d ", "" },
	{ "<td> a </td>\n<td>b</td>", " a b ", "" },
	{ "a &nbsp;<p>\nb", "a \n\nb", "" },
	{ "a<script>x<b>y</script>b", "ab", "" },
	{ "a<style>x</STYLE >b", "ab", "" },
	{ "a<script>never closed", "a", "" },
	{ "a<!-- c --!>b<!-->c<!--->d<!-- open", "abcd", "" },
	{ "a<!doctype x>b<?php x>c</ x>d</>e", "abcde", "" },
	{ "1 < 2 <3 a<b", "1 < 2 <3 a", "" },
	{ "&lt;&#65;&#x42;&amp&copy;&nosuch;&#128;", "<AB&\xc2\xa9&nosuch;\xe2\x82\xac", "" },
	{ "<a/href=http://e.example/x>l</a>", "l", "http://e.example/x\n" },
	{ "<a\fhref='http://e.example/?a&amp;b'>", "", "http://e.example/?a&b\n" },
	{ "<a href=\"ht\ntp://e.example\">", "", "http://e.example\n" },
	{ "<a href=http://1.example href=http://2.example>", "", "http://1.example\n" },
	{ "<img src=\"http://e.example/%41\">", "",
	    "http://e.example/%41\nhttp://e.example/A\n" },
	{ "<a href=\"http://unclosed.example>text", "", "" },
	{ "<title>T <b> x</title>y", "\n\nT <b> x\n\ny", "" },
};

START_TEST(html)
{
	struct render r = { 0 };
	struct buf text;

	buf_init(&text, 10000);
	buf_init(&r.uris, 10000);
	render_html(str_of(htmls[_i].html), &text, &r);
	ck_assert_str_eq(buf_cstr(&text), htmls[_i].text);
	ck_assert_str_eq(buf_cstr(&r.uris), htmls[_i].uris);
	buf_clear(&text);
	buf_clear(&r.uris);
}
END_TEST

static const struct {
	const char *raw, *text;
} headers[] = {
	{ " plain ", "plain" },
	{ " folded\r\n\t  here", "folded here" },
	{ "=?utf-8?Q?a=C3=A4?=", "a\xc3\xa4" },
	{ "=?iso-8859-1?q?=E4?= =?utf-8?B?w6Q=?=", "\xc3\xa4\xc3\xa4" },
	{ "x =?utf-8?Q?a?= y", "x a y" },
	{ "=?utf-8?Q?unclosed", "=?utf-8?Q?unclosed" },
	{ "=?utf-8?X?a?=", "=?utf-8?X?a?=" },
	{ "raw \xe4", "raw \xc3\xa4" },
};

START_TEST(header_value)
{
	struct buf out;

	buf_init(&out, 1000);
	render_header(str_of(headers[_i].raw), &out);
	ck_assert_str_eq(buf_cstr(&out), headers[_i].text);
	buf_clear(&out);
}
END_TEST

static const struct {
	const char *message, *body, *uris;
} messages[] = {
	{ "Subject: =?utf-8?Q?H=C3=A4?=\r\n\r\none\r\ntwo\r\n\r\n\r\nthree\r\n",
	    "H\xc3\xa4\none two\nthree\n", "" },
	{ "Subject: a\r\nSubject: b\r\n\r\nx", "b\nx \n", "" },
	{ "Content-Type: text/html\r\n\r\n<p>See&nbsp;<a href=http://e.example>this</a>",
	    "\n\nSee this \n", "http://e.example\n" },
	{ "Content-Type: multipart/alternative; boundary=b\r\n\r\n--b\r\n\r\nplain\r\n--b\r\n"
	  "Content-Type: image/png\r\n\r\nnot text\r\n--b\r\nContent-Type: text/html\r\n"
	  "Content-Transfer-Encoding: base64\r\n\r\nPGI+aHRtbDwvYj4=\r\n--b--\r\n",
	    "\nplain html \n", "" },
	{ "\r\nGo to www.e.example, or (http://f.example/a).", "\nGo to www.e.example, or (http://f.example/a). \n",
	    "http://www.e.example\nhttp://f.example/a\n" },
	{ "\r\na.b+c@d-e.test. f@g h@1.2 @i.test mailto:j@k.test, l@m.test@n.test x@",
	    "\na.b+c@d-e.test. f@g h@1.2 @i.test mailto:j@k.test, l@m.test@n.test x@ \n",
	    "mailto:a.b+c@d-e.test\nmailto:j@k.test\nmailto:l@m.test\n" },
	{ "\r\n\xe2\x80\x9cquoted\xe2\x80\x9d", "\n\"quoted\" \n", "" },
};

START_TEST(message)
{
	struct str text = str_of(messages[_i].message);
	struct render r;
	struct mime m;

	mime_read(text, &m);
	render_message(text, &m.views[0], &r);
	ck_assert_str_eq(buf_cstr(&r.body), messages[_i].body);
	ck_assert_str_eq(buf_cstr(&r.uris), messages[_i].uris);
	ck_assert(!r.cut);
	render_clear(&r);
	mime_clear(&m);
}
END_TEST

START_TEST(long_lines_are_cut)
{
	struct buf text;
	struct render r;
	struct mime m;
	size_t longest = 0;

	buf_init(&text, 1u << 20);
	buf_add_cstr(&text, "\r\n");
	for (int i = 0; i < 40000; i++)
		buf_add_cstr(&text, "word ");
	mime_read(buf_str(&text), &m);
	render_message(buf_str(&text), &m.views[0], &r);
	struct str rest = buf_str(&r.body), line;
	while (rest.len > 0 && str_cut(&rest, '\n', &line))
		longest = line.len > longest ? line.len : longest;
	ck_assert_uint_le(longest, RENDER_LINE_MAX);
	ck_assert_uint_gt(longest, RENDER_LINE_MAX - 20);
	ck_assert(r.cut);
	render_clear(&r);
	mime_clear(&m);
	buf_clear(&text);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("render");
	TCase *tc = tcase_create("render");

	tcase_add_loop_test(tc, charset, 0, COUNT(charsets));
	tcase_add_test(tc, all_charsets_are_there);
	tcase_add_loop_test(tc, html, 0, COUNT(htmls));
	tcase_add_loop_test(tc, header_value, 0, COUNT(headers));
	tcase_add_loop_test(tc, message, 0, COUNT(messages));
	tcase_add_test(tc, long_lines_are_cut);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int bad = srunner_ntests_failed(runner);
	srunner_free(runner);
	return bad == 0 ? 0 : 1;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* Rules over messages, through reader, renderer and PCRE2: SpamAssassin's meaning by
 * tables, limits, and the recordings of SpamAssassin itself where they lie beside this
 * tree. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/xalloc.h"
#include "common/mail/mime.h"
#include "milters/score/fields.h"
#include "milters/score/literals.h"
#include "milters/score/match.h"
#include "milters/score/prefilter.h"
#include "milters/score/score.h"
#include "milters/score/work.h"
#include "tests/lib/errors.h"

#define MAIL "From: \"A. Body\" <a@b.test>, c@d.test (Old)\nTo: x@y.test\nSubject: Hello\n\n"

/* The value of rule X over a message. */
static const struct {
	const char *rules, *message;
	uint32_t value;
} cases[] = {
	/* body: the subject first, a paragraph a line */
	{ "body X /^Hello$/", MAIL "text\n", 1 },
	{ "body X /hello/", MAIL "text\n", 0 },
	{ "body X /hello/i", MAIL "text\n", 1 },
	{ "body X /one two three/", MAIL "one\ntwo\n  three\n", 1 },
	{ "body X /one two/", MAIL "one\n\ntwo\n", 0 },
	{ "body X /Hello/\ntflags X nosubject", MAIL "text\n", 0 },
	{ "body X /bold/", "Content-Type: text/html\n\n<p>b<b>ol</b>d</p>", 1 },
	{ "body X /secret/", "Content-Transfer-Encoding: base64\n\nc2VjcmV0\n", 1 },
	{ "body X /\\xc3\\xa4/", "Content-Type: text/plain; charset=iso-8859-1\n\n\xe4\n", 1 },
	{ "body X /\\bword\\b/", MAIL "a word.\n", 1 },
	{ "body X /caf\\b/", MAIL "caf\xc3\xa9\n", 1 }, /* \b knows ASCII only */
	{ "body X /text\\n\\z/", MAIL "text\n", 1 }, /* lines keep their end */
	/* rawbody: decoded, not rendered, no subject */
	{ "rawbody X /<b>ol/", "Content-Type: text/html\n\n<p>b<b>ol</b>d</p>", 1 },
	{ "rawbody X /Hello/", MAIL "text\n", 0 },
	{ "rawbody X /one\\ntwo/", MAIL "one\ntwo\n", 1 },
	/* uri */
	{ "uri X m{^http://a\\.test/x$}", MAIL "see http://a.test/x, please\n", 1 },
	{ "uri X m{^http://a\\.test/$}", "Content-Type: text/html\n\n<a href='http://a.test/'>b</a>",
	    1 },
	{ "uri X m{a b}", "Content-Type: text/html\n\n<a href='http://a.test/a%20b'>b</a>", 1 },
	/* full: as it came */
	{ "full X /^Subject: Hello$/m", MAIL "text\n", 1 },
	{ "full X /Hello\\n\\ntext/", MAIL "text\n", 1 },
	{ "full X /c2VjcmV0/", "Content-Transfer-Encoding: base64\n\nc2VjcmV0\n", 1 },
	/* header */
	{ "header X Subject =~ /^Hello$/", MAIL, 1 },
	{ "header X subject =~ /^Hello$/", MAIL, 1 },
	{ "header X Subject =~ /\\n\\z/", MAIL, 1 },
	{ "header X S =~ /^one\\ntwo\\n\\z/", "S: one\nT: x\nS: two\n\n", 1 },
	{ "header X S =~ /^a b$/", "S: a\n\t b\n\n", 1 },
	{ "header X S:raw =~ /^ a\\n\\t b\\n\\z/", "S: a\n\t b\n\n", 1 },
	{ "header X S:raw =~ /\\r/", "S: a\r\n\tb\r\n\r\n", 0 },
	{ "header X S =~ /^\\xc3\\xa4$/", "S: =?iso-8859-1?q?=E4?=\n\n", 1 },
	{ "header X S:raw =~ /iso-8859/", "S: =?iso-8859-1?q?=E4?=\n\n", 1 },
	{ "header X Nothing =~ /^$/", MAIL, 1 }, /* no field: an empty value */
	{ "header X Nothing !~ /x/", MAIL, 1 },
	{ "header X Nothing =~ /none/ [if-unset: none]", MAIL, 1 },
	{ "header X Subject =~ /none/ [if-unset: none]", MAIL, 0 },
	{ "header X Nothing !~ /none/ [if-unset: none]", MAIL, 0 },
	{ "header X Subject !~ /Hello/", MAIL, 0 },
	{ "header X exists:Subject", MAIL, 1 },
	{ "header X exists:Sender", MAIL, 0 },
	{ "header X From:addr =~ /^a\\@b\\.test\\nc\\@d\\.test\\z/", MAIL, 1 },
	{ "header X From:name =~ /^A\\. Body\\nOld\\z/", MAIL, 1 },
	{ "header X From:name =~ /^J\xc3\xb6rg$/", "From: =?utf-8?B?SsO2cmc=?= <j@k.test>\n\n", 1 },
	{ "header X To:addr =~ /^x\\@y\\.test$/", MAIL, 1 },
	{ "header X ToCc =~ /^a\\@b\\nc\\@d\\n\\z/", "Cc: c@d\nTo: a@b\n\n", 1 },
	{ "header X MESSAGEID =~ /^<2>\\n<1>\\n\\z/", "Message-Id: <1>\nX-Message-Id: <2>\n\n", 1 },
	{ "header X exists:MessageID\nheader Y MESSAGEID =~ /x/", "Message-Id: <1>\n\n", 0 },
	{ "header X ALL =~ /^From: .*^To: x.*^Subject: Hello\\n\\z/ms", MAIL, 1 },
	{ "header X ALL:raw =~ /^To:x$/m", "To:x\n\n", 1 },
	{ "header X EnvelopeFrom =~ /^r\\@s\\.test$/", "Return-Path: <r@s.test>\n\n", 1 },
	{ "header X EnvelopeFrom =~ /./",
	    "Received: from x by y; Fri\nReturn-Path: <r@s.test>\n\n", 0 },
	{ "header X B =~ /b/", "A: a\njunk\nB: b\n\n", 1 },
	{ "header X B =~ /b/", "A: a\nj\nj\nj\nj\nB: b\n\n", 0 },
	{ "header X A =~ /a/", "From who Fri\nA: a\n\n", 1 },
	/* how often */
	{ "body X /a/", MAIL "a a a\n\na\n", 1 },
	{ "body X /a/\ntflags X multiple nosubject", MAIL "a a a\n\na\n", 4 },
	{ "body X /a/\ntflags X multiple maxhits=3 nosubject", MAIL "a a a\n\na\n", 3 },
	{ "body X /x*/\ntflags X multiple nosubject", MAIL "axxb\n", 5 }, /* as Perl's /g */
	{ "header X Subject =~ /l/\ntflags X multiple", MAIL, 2 },
	{ "body X /(?=a)/\ntflags X multiple nosubject", MAIL "aaa\n", 3 },
	/* patterns: octets, Perl's habits */
	{ "body X /\\i/", MAIL "i\n", 1 }, /* an unknown escape is the letter */
	{ "body X /^.$/\ntflags X nosubject", MAIL "\xc3\xa4\n", 0 }, /* two octets */
	{ "body X /(?aa)\\w/\ntflags X nosubject", MAIL "\xc3\xa4\n", 0 },
	{ "body X /a b/x", MAIL "ab\n", 1 },
	{ "body X m{<}\ntflags X nosubject", MAIL "a < b\n", 1 },
	{ "replace_tag A (?:a|4)\nbody X /v<A>l/\nreplace_rules X", MAIL "v4l\n", 1 },
	{ "body X /gtube/i\nscore X 0", MAIL "GTUBE\n", 0 }, /* not run */
};

static struct work
load(const char *text)
{
	struct errs errs = { 0 }, notes = { 0 };
	struct work w = { .rules = rules_from_text(str_of(text), "t.cf", &errs) };

	check_errors(&errs, "");
	w.match = match_new(w.rules, 0, &notes);
	check_errors(&notes, "");
	return w;
}

static uint32_t
value_of(struct work *w, const char *name, struct str message)
{
	struct hits h;

	work_message(w, message, (struct str){ NULL, 0 }, &h);
	uint32_t value = h.hits[rules_find(w->rules, str_of(name))];
	hits_clear(&h);
	return value;
}

START_TEST(values)
{
	struct work w = load(cases[_i].rules);
	struct str m = str_of(cases[_i].message);
	uint32_t value = value_of(&w, "X", m);

	ck_assert_msg(value == cases[_i].value, "%s: %u, expected %u", cases[_i].rules, value,
	    cases[_i].value);
	/* the same again: nothing of a message is left behind */
	value_of(&w, "X", STR("From: other\n\nother text\n"));
	ck_assert_uint_eq(value_of(&w, "X", m), cases[_i].value);
	work_clear(&w);
}
END_TEST

START_TEST(sender_from_the_envelope)
{
	struct work w = load("header X EnvelopeFrom =~ /^e\\@f\\.test$/\n"
			     "header Y EnvelopeFrom =~ /^$/");
	struct hits h;

	work_message(&w, STR(MAIL "x\n"), STR("<e@f.test>"), &h);
	ck_assert_uint_eq(h.hits[rules_find(w.rules, STR("X"))], 1);
	hits_clear(&h);
	work_message(&w, STR(MAIL "x\n"), STR("<>"), &h);
	ck_assert_uint_eq(h.hits[rules_find(w.rules, STR("Y"))], 1);
	hits_clear(&h);
	work_clear(&w);
}
END_TEST

static const struct {
	const char *raw, *addresses, *names;
} mailboxes[] = {
	{ "a@b", "a@b\n", "" },
	{ "<a@b>", "a@b\n", "" },
	{ "N M <a@b>", "a@b\n", "N M\n" },
	{ "\"N, M\" <a@b>, c@d", "a@b\nc@d\n", "N, M\n" },
	{ "a@b (N (x) M)", "a@b\n", "N x M\n" },
	{ "'N' <a@b>", "a@b\n", "N\n" },
	{ "\"a\\\"b\" <a@b>", "a@b\n", "a\"b\n" },
	{ "undisclosed:;", "", "" },
	{ "\"x@y\" <a@b>", "a@b\n", "x@y\n" },
	{ "N  \t M<a@b>", "a@b\n", "N M\n" },
	{ "<a@b", "a@b\n", "" },
	{ "\"unclosed <a@b>", "", "" },
	{ "", "", "" },
};

START_TEST(addresses)
{
	struct buf b;

	buf_init(&b, 1000);
	fields_addresses(str_of(mailboxes[_i].raw), false, &b);
	if (strcmp(mailboxes[_i].raw, "\"unclosed <a@b>") != 0) /* anything bounded will do */
		ck_assert_str_eq(buf_cstr(&b), mailboxes[_i].addresses);
	buf_reset(&b);
	fields_addresses(str_of(mailboxes[_i].raw), true, &b);
	ck_assert_str_eq(buf_cstr(&b), mailboxes[_i].names);
	buf_clear(&b);
}
END_TEST

START_TEST(a_pattern_that_runs_away_is_not_known)
{
	struct work w = load("body X /^(?:a+)+$/\nbody Y /after/\n"
			     "meta Z X\nmeta W !X");
	struct buf b;
	struct hits h;
	struct score s;

	buf_init(&b, 10000);
	buf_add_cstr(&b, "From: a\n\n");
	for (int i = 0; i < 1500; i++)
		buf_add_char(&b, 'a');
	buf_add_cstr(&b, "!\n\nafter\n");
	work_message(&w, buf_str(&b), (struct str){ NULL, 0 }, &h);
	ck_assert_uint_eq(h.hits[rules_find(w.rules, STR("X"))], HITS_UNKNOWN);
	ck_assert_uint_eq(h.hits[rules_find(w.rules, STR("Y"))], 1);
	score_message(w.rules, 0, &h, &s);
	ck_assert_uint_eq(s.n, 1); /* neither Z nor W: nobody knows */
	ck_assert_uint_eq(s.unknown, 1);
	ck_assert_uint_eq(s.undecided, 2);
	score_clear(&s);
	hits_clear(&h);
	buf_clear(&b);
	work_clear(&w);
}
END_TEST

static bool
after_three(void *arg)
{
	int *asked = arg;

	return ++*asked > 3;
}

START_TEST(time_up)
{
	struct work w = load("body A /x/\nbody B /x/\nbody C /x/\nbody D /x/\nbody E /x/\n");
	struct str m = STR("A: b\n\nx\n");
	struct render text;
	struct mime mime;
	struct hits h;
	int asked = 0;

	mime_read(m, &mime);
	render_message(m, &mime.views[0], &text);
	const struct match_input in = {
		.message = m, .text = &text, .over = after_three, .arg = &asked
	};
	match_run(w.match, &in, &h);
	ck_assert(h.over);
	/* GTUBE, the first, is passed over: its words do not stand there */
	ck_assert_uint_eq(h.hits[rules_find(w.rules, STR("C"))], 1);
	ck_assert_uint_eq(h.hits[rules_find(w.rules, STR("D"))], HITS_UNKNOWN);
	ck_assert_uint_eq(h.hits[rules_find(w.rules, STR("E"))], HITS_UNKNOWN);
	hits_clear(&h);
	render_clear(&text);
	mime_clear(&mime);
	work_clear(&w);
}
END_TEST

START_TEST(refused_patterns_are_told)
{
	struct errs errs = { 0 }, notes = { 0 };
	struct rules *r = rules_from_text(
	    STR("body A /a(/\nbody B /b/\n\nbody C /(?<x>c/\nmeta D A || B"), "t.cf", &errs);
	struct work w = { .rules = r };

	check_errors(&errs, "");
	w.match = match_new(r, 0, &notes);
	ck_assert_uint_eq(notes.n, 2);
	ck_assert_int_eq(notes.list[0].line, 1);
	ck_assert_ptr_nonnull(strstr(notes.list[0].text, "A: the pattern does not compile: "));
	ck_assert_int_eq(notes.list[1].line, 4);
	errs_clear(&notes);
	ck_assert_uint_eq(value_of(&w, "A", STR("x: y\n\nb\n")), HITS_UNKNOWN);
	ck_assert_uint_eq(value_of(&w, "B", STR("x: y\n\nb\n")), 1);
	work_clear(&w);
}
END_TEST

/* Words of which one must stand in a match, as sorted as they are found; NULL: none known. */
static const struct {
	const char *pattern, *words;
} needed[] = {
	{ "hello", "hello" },
	{ "Hello World", "hello world" },
	{ "^hello$", "hello" },
	{ "\\bhello\\b", "hello" },
	{ "a", NULL },
	{ "ab", NULL },
	{ "abc?d", NULL }, /* ab or abc: too short to tell */
	{ "hello?", "hell" },
	{ "hello+ you", "hello" },
	{ "he(?:ll|rr)o", "hello herro" },
	{ "(?:one|two|three)", "one two three" },
	{ "one|two", "one two" },
	{ "one|", NULL },
	{ "one|.", NULL },
	{ "one|.two", "one two" },
	{ "(?:one|two)? more words", " more words" },
	{ "x*hello.*worldly", "worldly" },
	{ "(hello)(?=no)(?!never)(?<=x)(?<!y)you", "helloyou" },
	{ "(?i)hello", "hello" },
	{ "(?i:hello)", "hello" },
	{ "(?x) h e", NULL },
	{ "hel[lL]o", "hello" },
	{ "h[ae]llo", "hallo hello" },
	{ "h[^a]llo", "llo" },
	{ "h[a-z]llo", "llo" },
	{ "h[]a]llo", "h]llo hallo" },
	{ "h\\dllo", "llo" },
	{ "a\\.b\\/c", "a.b/c" },
	{ "\\x41\\x42\\x43", "abc" },
	{ "hello{0,3}", "hell" },
	{ "(?:hello){2}", "hello" },
	{ "(?:hello){0}x", NULL },
	{ "hello{", "hello{" },
	{ "(?<n>hello)", "hello" },
	{ "(?P<n>hello)", "hello" },
	{ "(?>hello)++", "hello" },
	{ "(hello)\\1", "hello" },
	{ "\\Qhello\\E", NULL },
	{ "(?(1)hello)", NULL },
	{ "(?&T0)hello", NULL },
	{ "(*UTF)hello", NULL },
	{ "\\p{L}hello", NULL },
	{ "[[:alpha:]]hello", NULL },
	{ "hello\\Kthere", NULL },
	{ "hello(", NULL },
	{ "hello)", NULL },
	{ "*hello", NULL },
	{ "a[bcd][efg][hij][klm]nopq",
	    "hknopq hlnopq hmnopq iknopq ilnopq imnopq jknopq jlnopq jmnopq" },
	{ "0123456789012345678901234567890", "012345678901234567890123" },
	{ "\\xc3\\xa4hello", "\xc3\xa4hello" },
};

START_TEST(words_that_are_needed)
{
	struct literals words;
	struct buf b;

	buf_init(&b, 10000);
	bool found = literals_of(str_of(needed[_i].pattern), false, &words);
	for (size_t i = 0; found && i < words.n; i++) {
		buf_add_cstr(&b, i == 0 ? "" : " ");
		buf_add(&b, words.list[i].p, words.list[i].len);
	}
	if (needed[_i].words == NULL)
		ck_assert_msg(!found, "%s: %s", needed[_i].pattern, buf_cstr(&b));
	else
		ck_assert_str_eq(buf_cstr(&b), needed[_i].words);
	buf_clear(&b);
}
END_TEST

START_TEST(words_are_found)
{
	struct prefilter *p = prefilter_new();
	struct literals words;
	bool wanted[4] = { false };

	ck_assert(literals_of(STR("hello|hellish"), false, &words));
	prefilter_add(p, 0, &words);
	ck_assert(literals_of(STR("hello"), false, &words));
	prefilter_add(p, 1, &words);
	ck_assert(literals_of(STR("end"), false, &words));
	prefilter_add(p, 2, &words);
	ck_assert(literals_of(STR("endless"), false, &words));
	prefilter_add(p, 3, &words);
	prefilter_run(p, STR("say HeLLo at the end"), wanted);
	ck_assert(wanted[0] && wanted[1] && wanted[2] && !wanted[3]);
	memset(wanted, 0, sizeof(wanted));
	prefilter_run(p, STR("hellish"), wanted);
	ck_assert(wanted[0] && !wanted[1] && !wanted[2] && !wanted[3]);
	memset(wanted, 0, sizeof(wanted));
	prefilter_run(p, STR("he"), wanted);
	prefilter_run(p, (struct str){ NULL, 0 }, wanted);
	prefilter_run(p, STR("hell en d"), wanted);
	ck_assert(!wanted[0] && !wanted[1] && !wanted[2] && !wanted[3]);
	prefilter_free(p);
}
END_TEST

START_TEST(domains)
{
	struct work w = load("");
	struct hits h;

	work_message(&w,
	    STR("Content-Type: text/html\n\n<a href='http://A.test/x'></a>"
		"<a href='https://u:p@b.test:8080?q'></a><a href='http://a.test'></a>"
		"<a href='mailto:x@c.test'></a><a href='http://nodot/'></a>"
		"<a href='http://d.test\\@e.test/'></a><a href='http://f .test/'></a>"),
	    (struct str){ NULL, 0 }, &h);
	ck_assert_str_eq(buf_cstr(&h.domains), "a.test\nb.test\nd.test\n");
	ck_assert_uint_eq(h.n_domains, 3);
	hits_clear(&h);
	work_clear(&w);
}
END_TEST

START_TEST(large_headers_are_bounded)
{
	struct work w = load("header X Z =~ /z/\nheader Y A =~ /a/");
	struct buf b;
	struct hits h;

	buf_init(&b, 4 << 20);
	for (int i = 0; i < 5000; i++)
		buf_addf(&b, "A: a%d\n", i);
	buf_add_cstr(&b, "Z: z\n\n");
	work_message(&w, buf_str(&b), (struct str){ NULL, 0 }, &h);
	ck_assert_uint_eq(h.hits[rules_find(w.rules, STR("Y"))], 1);
	ck_assert(h.cut);
	hits_clear(&h);
	buf_clear(&b);
	work_clear(&w);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("score_match");
	TCase *tc = tcase_create("match");

	tcase_set_timeout(tc, 60);
	tcase_add_loop_test(tc, values, 0, sizeof(cases) / sizeof(cases[0]));
	tcase_add_loop_test(tc, addresses, 0, sizeof(mailboxes) / sizeof(mailboxes[0]));
	tcase_add_loop_test(tc, words_that_are_needed, 0, sizeof(needed) / sizeof(needed[0]));
	tcase_add_test(tc, words_are_found);
	tcase_add_test(tc, sender_from_the_envelope);
	tcase_add_test(tc, a_pattern_that_runs_away_is_not_known);
	tcase_add_test(tc, time_up);
	tcase_add_test(tc, refused_patterns_are_told);
	tcase_add_test(tc, domains);
	tcase_add_test(tc, large_headers_are_bounded);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* From hits to a verdict: the jail's answer read as hostile, sums, metas of metas,
 * thresholds, the fields' shape; and how a message is collected. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/xalloc.h"
#include "milters/score/collect.h"
#include "milters/score/hits.h"
#include "milters/score/score.h"
#include "tests/lib/errors.h"

static struct rules *
read_rules(const char *text)
{
	struct errs errs = { 0 };
	struct rules *r = rules_from_text(str_of(text), "t.cf", &errs);

	check_errors(&errs, "");
	return r;
}

/* "A B=3 C=?" as hits. */
static void
set_hits(struct hits *h, const struct rules *r, const char *text)
{
	struct str rest = str_of(text), word, name;
	uint64_t n;

	hits_init(h, r);
	while (str_word(&rest, &word)) {
		str_cut(&word, '=', &name);
		size_t i = rules_find(r, name);
		ck_assert_uint_ne(i, SIZE_MAX);
		n = 1;
		if (word.p != NULL && str_is(word, "?"))
			n = HITS_UNKNOWN;
		else if (word.p != NULL)
			ck_assert(str_to_uint(word, 1, 1000000, &n));
		h->hits[i] = (uint32_t)n;
	}
}

#define RULES \
	"body A /a/\nscore A 2\nbody B /b/\nscore B 0.5 3 3 3\ntflags B multiple\n" \
	"body C /c/\nscore C -1.25\nbody __S /s/\ntflags __S multiple\nbody N /n/\nscore N 0\n" \
	"body E eval:x()\nbody F eval:x()\ntflags F net\n" \
	"meta M1 A && __S > 2\nscore M1 4\nmeta M2 M1 && B\nscore M2 0.1\n" \
	"meta __M3 M2 || C\nmeta NEVER 1\nscore NEVER 0\nmeta USES NEVER || A\n" \
	"meta NOT_F !F\nscore NOT_F 0.01\nmeta NOT_E !E\nmeta E_OR_A E || A\nscore E_OR_A 0.2\n" \
	"meta MANY B * 2\nscore MANY 0.3\ntflags MANY multiple\nmeta NOBODY __NOWHERE + N\n" \
	"meta LOCAL local_tests_only\nscore LOCAL 0.001\n"

static const struct {
	const char *hits;
	int64_t points;
	const char *tests;
	size_t unknown, undecided;
} sums[] = {
	{ "", 11, "LOCAL,NOT_F", 0, 2 }, /* NOT_E, E_OR_A */
	{ "A", 2211, "A,E_OR_A,LOCAL,NOT_F", 0, 1 },
	{ "B=3", 1500 + 11 + 300, "B,LOCAL,MANY,NOT_F", 0, 2 },
	{ "C", -1250 + 11, "C,LOCAL,NOT_F", 0, 2 },
	{ "A __S=2", 2211, "A,E_OR_A,LOCAL,NOT_F", 0, 1 },
	{ "A __S=3", 6211, "A,E_OR_A,LOCAL,M1,NOT_F", 0, 1 },
	{ "A B __S=5", 7111, "A,B,E_OR_A,LOCAL,M1,M2,MANY,NOT_F", 0, 1 },
	{ "N", 11, "LOCAL,NOT_F", 0, 2 }, /* not asked for */
	{ "A=?", 11, "LOCAL,NOT_F", 1, 2 }, /* M1 is out for want of __S, E_OR_A is not */
	{ "A __S=?", 2211, "A,E_OR_A,LOCAL,NOT_F", 1, 2 }, /* M1; not M2, for want of B */
};

START_TEST(sums_up)
{
	struct rules *r = read_rules(RULES);
	struct hits h;
	struct score s;
	struct buf b;

	buf_init(&b, 1000);
	set_hits(&h, r, sums[_i].hits);
	score_message(r, 0, &h, &s);
	score_tests(r, &s, &b);
	/* USES never runs: it depends on a meta whose score is 0 */
	ck_assert_str_eq(buf_cstr(&b), sums[_i].tests);
	ck_assert_int_eq(s.points, sums[_i].points);
	ck_assert_uint_eq(s.unknown, sums[_i].unknown);
	ck_assert_uint_eq(s.undecided, sums[_i].undecided);
	score_clear(&s);
	hits_clear(&h);
	buf_clear(&b);
	rules_free(r);
}
END_TEST

/* ---- the way out of the jail ---- */

static int
read_back(const struct rules *r, struct str wire, struct hits *h, struct err *err)
{
	*err = (struct err){ .text = "" };
	return hits_read(wire, r, h, err);
}

START_TEST(wire_there_and_back)
{
	struct rules *r = read_rules(RULES), *other = read_rules("body B /b/\nmeta A C\n");
	struct hits h, back;
	struct buf b;
	struct err err;

	buf_init(&b, 10000);
	set_hits(&h, r, "A B=7 C=? __S=1000000");
	hits_add_domain(&h, STR("Shop.test"));
	hits_add_domain(&h, STR("shop.test"));
	hits_add_domain(&h, STR("no_dot"));
	hits_add_domain(&h, STR("b.test"));
	h.over = true;
	hits_write(&h, r, &b);
	ck_assert_int_eq(read_back(r, buf_str(&b), &back, &err), 0);
	ck_assert_uint_eq(back.n, r->n);
	ck_assert_int_eq(memcmp(back.hits, h.hits, r->n * sizeof(*h.hits)), 0);
	ck_assert_str_eq(buf_cstr(&back.domains), "shop.test\nb.test\n");
	ck_assert(back.over && !back.cut);
	ck_assert_uint_eq(back.foreign, 0);
	hits_clear(&back);
	/* a daemon whose rules are others: what it does not know is left out */
	ck_assert_int_eq(read_back(other, buf_str(&b), &back, &err), 0);
	ck_assert_uint_eq(back.hits[rules_find(other, STR("B"))], 7);
	ck_assert_uint_eq(back.hits[rules_find(other, STR("A"))], 0); /* a meta there */
	ck_assert_uint_eq(back.foreign, 3);
	hits_clear(&back);
	/* cut off anywhere, it is no answer */
	for (size_t len = 0; len < b.len; len++) {
		ck_assert_int_eq(read_back(r, str_sub(buf_str(&b), 0, len), &back, &err), -1);
		ck_assert_str_eq(err.text, "the jail's answer ends too early");
	}
	hits_clear(&h);
	buf_clear(&b);
	rules_free(r);
	rules_free(other);
}
END_TEST

#define W(literal) { literal, sizeof(literal) - 1 }
#define N0 "\0\0\0\0"
static const struct {
	struct str wire;
	const char *why;
} lies[] = {
	{ W("PSH2" N0 N0 N0 N0), "of another kind" },
	{ W("PSH1\0\0\0\4" N0 N0 N0), "of another kind" },
	{ W("PSH1" N0 "\xff\xff\xff\xff"), "too many rules" },
	{ W("PSH1" N0 "\0\0\0\1" "\1A" N0 N0 N0), "an impossible count" },
	{ W("PSH1" N0 "\0\0\0\1" "\1A\xff\xff\xff\xff" N0 N0), "an impossible count" },
	{ W("PSH1" N0 "\0\0\0\1" "\1A\0\x10\0\0" N0 N0), "an impossible count" },
	{ W("PSH1" N0 "\0\0\0\2" "\1A\0\0\0\1\1A\0\0\0\1" N0 N0), "a rule twice" },
	{ W("PSH1" N0 "\0\0\0\1" "\1A\0\0\0\1" "\0\0\0\1" "\1A" N0), "a rule twice" },
	{ W("PSH1" N0 N0 "\0\0\0\1" "\xffX" N0), "ends too early" },
	{ W("PSH1" N0 N0 N0 "\0\0\0\x65"), "too many domains" },
	{ W("PSH1" N0 N0 N0 "\0\0\0\1" "\4a\nb."), "a domain that is none" },
	{ W("PSH1" N0 N0 N0 "\0\0\0\1" "\0"), "a domain that is none" },
	{ W("PSH1" N0 N0 N0 N0 "x"), "octets behind its end" },
};

START_TEST(wire_lies)
{
	struct rules *r = read_rules(RULES);
	struct hits h;
	struct err err;

	ck_assert_int_eq(read_back(r, lies[_i].wire, &h, &err), -1);
	ck_assert_msg(strstr(err.text, lies[_i].why) != NULL, "%s", err.text);
	rules_free(r);
}
END_TEST

/* ---- verdicts ---- */

static char words[] = "go away";
static char nothing[] = "";
static struct settings_score set = {
	.tag = 5000, .reject = 15000, .text = words, .subject_tag = nothing
};

static const struct {
	int64_t points;
	enum score_state state;
	int on_failure;
	enum action action;
	int code;
	bool tag;
	const char *why;
} decisions[] = {
	{ 0, SCORE_DONE, 0, ACTION_CONTINUE, 0, false, "score" },
	{ -3000, SCORE_DONE, 0, ACTION_CONTINUE, 0, false, "score" },
	{ 4999, SCORE_DONE, 0, ACTION_CONTINUE, 0, false, "score" },
	{ 5000, SCORE_DONE, 0, ACTION_CONTINUE, 0, true, "tagged" },
	{ 14999, SCORE_PARTLY, 0, ACTION_CONTINUE, 0, true, "tagged" },
	{ 15000, SCORE_DONE, 0, ACTION_REJECT, 550, true, "spam" },
	{ 15000, SCORE_PARTLY, 1, ACTION_REJECT, 550, true, "spam" },
	{ 0, SCORE_FAILED, SCORE_FAILURE_PASS, ACTION_CONTINUE, 0, false, "failed" },
	{ 0, SCORE_FAILED, SCORE_FAILURE_TEMPFAIL, ACTION_TEMPFAIL, 451, false, "failed" },
};

START_TEST(decides)
{
	struct settings_score own = set;
	const struct score s = { .points = decisions[_i].points };

	own.on_failure = decisions[_i].on_failure;
	struct score_decision d = score_decide(&own, decisions[_i].state, &s);
	ck_assert_int_eq(d.verdict.action, decisions[_i].action);
	ck_assert_int_eq(d.verdict.code, decisions[_i].code);
	ck_assert_int_eq(d.tag, decisions[_i].tag);
	ck_assert_str_eq(d.verdict.why, decisions[_i].why);
	if (d.verdict.code == 550) {
		ck_assert_str_eq(d.verdict.text, "go away");
		ck_assert_str_eq(d.verdict.enhanced, "5.7.1");
	}
}
END_TEST

START_TEST(fields_have_the_known_shape)
{
	struct rules *r = read_rules(RULES "body A_RULE_WITH_A_LONG_NAME_TO_FOLD_BEHIND /a/\n"
					   "body ANOTHER_ONE_THAT_DOES_NOT_FIT /a/\n");
	struct hits h;
	struct score s;
	struct buf b;

	buf_init(&b, 1000);
	set_hits(&h, r,
	    "A B C __S=3 A_RULE_WITH_A_LONG_NAME_TO_FOLD_BEHIND ANOTHER_ONE_THAT_DOES_NOT_FIT");
	score_message(r, 0, &h, &s);
	score_status(r, &set, SCORE_DONE, true, &s, &b);
	ck_assert_str_eq(buf_cstr(&b),
	    "Yes, score=7.9 required=5.0 tests=A,\n"
	    "\tANOTHER_ONE_THAT_DOES_NOT_FIT,\n"
	    "\tA_RULE_WITH_A_LONG_NAME_TO_FOLD_BEHIND,B,C,E_OR_A,LOCAL,M1,M2,MANY,\n"
	    "\tNOT_F autolearn=disabled version=postern-1");
	buf_reset(&b);
	score_level(&s, &b);
	ck_assert_str_eq(buf_cstr(&b), "*******");
	score_clear(&s);
	hits_clear(&h);
	s = (struct score){ .points = -2349 };
	buf_reset(&b);
	score_level(&s, &b);
	ck_assert_str_eq(buf_cstr(&b), "");
	score_status(r, &set, SCORE_PARTLY, false, &s, &b);
	ck_assert_str_eq(buf_cstr(&b), "No, score=-2.3 required=5.0 tests=none partly=yes\n"
				       "\tautolearn=disabled version=postern-1");
	buf_reset(&b);
	score_status(r, &set, SCORE_FAILED, false, &s, &b);
	ck_assert_str_eq(buf_cstr(&b), "No, score=failed required=5.0 tests=none "
				       "autolearn=disabled\n\tversion=postern-1");
	s.points = 123456789;
	buf_reset(&b);
	score_level(&s, &b);
	ck_assert_uint_eq(b.len, SCORE_LEVEL_MAX);
	buf_clear(&b);
	rules_free(r);
}
END_TEST

static const struct {
	struct score_hop hop;
	const char *text;
} hops[] = {
	{ { "h.test", "n.test", "192.0.2.1", "mx.test", "Q1", false },
	    "from h.test (n.test [192.0.2.1])\n\tby mx.test (Postern) with ESMTP id Q1;\n"
	    "\tFri, 20 Nov 2026 10:00:00 +0000" },
	{ { "h.test", "[192.0.2.1]", "192.0.2.1", "mx.test", "", true },
	    "from h.test (unknown [192.0.2.1])\n\tby mx.test (Postern) with ESMTPA;\n"
	    "\tFri, 20 Nov 2026 10:00:00 +0000" },
	{ { "e)\nX: y", "n.test", "2001:db8::1", "mx.test", "Q 1", false },
	    "from e??X:?y (n.test [IPv6:2001:db8::1])\n\tby mx.test (Postern) with ESMTP id "
	    "Q?1;\n\tFri, 20 Nov 2026 10:00:00 +0000" },
	{ { "", "", "", "mx.test", "", false },
	    "from unknown (unknown)\n\tby mx.test (Postern) with ESMTP;\n"
	    "\tFri, 20 Nov 2026 10:00:00 +0000" },
};

START_TEST(received)
{
	struct buf b;

	buf_init(&b, 1000);
	score_received(&hops[_i].hop, 1795168800, &b);
	ck_assert_str_eq(buf_cstr(&b), hops[_i].text);
	buf_clear(&b);
}
END_TEST

/* ---- collecting ---- */

static const struct {
	const char *body, *kept;
} bodies[] = {
	{ "a\r\nb\r\n", "a\nb\n" },
	{ "a\nb\n", "a\nb\n" },
	{ "a\rb\r\r\nc", "a\rb\r\nc" },
	{ "a\r", "a\r" },
	{ "\r\n", "\n" },
	{ "\r\r", "\r\r" },
	{ "", "" },
};

/* Whole, and octet by octet. */
START_TEST(line_ends)
{
	struct str body = str_of(bodies[_i].body);
	struct collect c;

	collect_init(&c);
	for (size_t step = body.len + 1; step > 0; step = step > 2 ? 2 : step - 1) {
		collect_header(&c, STR("A"), STR("b\n\tc"));
		collect_limit(&c, 1000);
		for (size_t at = 0; at < body.len; at += step)
			collect_body(&c, str_sub(body, at, at + step));
		collect_end(&c);
		ck_assert_str_eq(buf_cstr(&c.head), "A: b\n\tc\n");
		ck_assert_str_eq(buf_cstr(&c.body), bodies[_i].kept);
		ck_assert(!c.cut);
		collect_clear(&c);
	}
}
END_TEST

START_TEST(collect_limits)
{
	struct collect c;
	char name[40];

	collect_init(&c);
	collect_header(&c, STR("A"), STR("b"));
	collect_limit(&c, 16);
	collect_body(&c, STR("0123456789\r\n"));
	ck_assert_str_eq(buf_cstr(&c.body), "0123456789\n");
	ck_assert(!c.cut);
	collect_body(&c, STR("x"));
	ck_assert(c.cut);
	ck_assert_str_eq(buf_cstr(&c.body), "0123456789\n");
	ck_assert_uint_eq(c.size, 5 + 13);
	collect_clear(&c);
	for (int i = 0; i < 70000; i++)
		collect_header(&c, STR("Name"), STR("v"));
	ck_assert(c.cut);
	ck_assert_uint_le(c.head.len, COLLECT_HEAD_MAX);
	collect_limit(&c, 1000); /* less than the header has */
	collect_body(&c, STR("x"));
	ck_assert_uint_eq(c.body.len, 0);
	collect_clear(&c);
	ck_assert(!c.cut && c.head.len == 0);
	for (int i = 0; i < COLLECT_MARKS_MAX; i++) {
		snprintf(name, sizeof(name), "x-SPAM-%d", i);
		collect_header(&c, str_of(name), STR("v"));
		collect_header(&c, str_of(name), STR("w"));
	}
	ck_assert(!c.too_marked);
	ck_assert_uint_eq(c.n_marks, COLLECT_MARKS_MAX);
	ck_assert_uint_eq(c.marks[3].n, 2);
	collect_header(&c, STR("X-Spam-One-More"), STR("v"));
	ck_assert(c.too_marked);
	collect_clear(&c);
	collect_header(&c, STR("SUBJECT"), STR("first"));
	collect_header(&c, STR("Subject"), STR("second"));
	ck_assert_str_eq(c.subject, "first");
	collect_clear(&c);
}
END_TEST

/* What is tried again comes with another way behind it; it is the same content. */
static const struct {
	const char *received, *subject, *body;
	bool same;
} contents[] = {
	{ "from a\n\tby b; 1", "x", "y", true },
	{ "from a\n\tby b; 2", "x", "y", true },
	{ "from a\n by c; 3\n\twith d", "x", "y", true },
	{ "from a\n\tby b; 1", "z", "y", false },
	{ "from a\n\tby b; 1", "x\n y", "y", false },
	{ "from a\n\tby b; 1", "x", "z", false },
	{ "from a\n\tby b; 1", "x", "", false },
};

static void
hash_of(size_t i, uint8_t out[COLLECT_HASH_SIZE])
{
	struct collect c;

	collect_init(&c);
	collect_header(&c, STR("Received"), str_of(contents[i].received));
	collect_header(&c, STR("x-greylist"), str_of(contents[i].received));
	collect_header(&c, STR("Subject"), str_of(contents[i].subject));
	collect_limit(&c, 1000);
	collect_body(&c, str_of(contents[i].body));
	collect_end(&c);
	collect_hash(&c, out);
	collect_clear(&c);
}

START_TEST(content_hash)
{
	uint8_t first[COLLECT_HASH_SIZE], other[COLLECT_HASH_SIZE];

	hash_of(0, first);
	hash_of((size_t)_i, other);
	ck_assert_int_eq(memcmp(first, other, sizeof(first)) == 0, contents[_i].same);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("score");
	TCase *tc = tcase_create("score");

	tcase_add_loop_test(tc, sums_up, 0, sizeof(sums) / sizeof(sums[0]));
	tcase_add_test(tc, wire_there_and_back);
	tcase_add_loop_test(tc, wire_lies, 0, sizeof(lies) / sizeof(lies[0]));
	tcase_add_loop_test(tc, decides, 0, sizeof(decisions) / sizeof(decisions[0]));
	tcase_add_test(tc, fields_have_the_known_shape);
	tcase_add_loop_test(tc, received, 0, sizeof(hops) / sizeof(hops[0]));
	tcase_add_loop_test(tc, line_ends, 0, sizeof(bodies) / sizeof(bodies[0]));
	tcase_add_test(tc, collect_limits);
	tcase_add_loop_test(
	    tc, content_hash, 0, sizeof(contents) / sizeof(contents[0]));
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

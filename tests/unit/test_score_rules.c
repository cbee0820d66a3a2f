/* SPDX-License-Identifier: BSD-2-Clause */
/* Rule files: what is read, what is refused with file:line, conditions, tags, files. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/xalloc.h"
#include "milters/score/rules.h"
#include "tests/lib/errors.h"

static struct rules *
read_rules(const char *text)
{
	struct errs errs = { 0 };
	struct rules *r = rules_from_text(str_of(text), "t.cf", &errs);

	check_errors(&errs, "");
	ck_assert_ptr_nonnull(r);
	return r;
}

static const struct rule *
rule_named(const struct rules *r, const char *name)
{
	size_t i = rules_find(r, str_of(name));

	return i == SIZE_MAX ? NULL : &r->list[i];
}

/* Rule X of the text: type, pattern (or field for headers), flags. */
static const struct {
	const char *text;
	enum rule_type type;
	const char *pattern;
	unsigned flags;
} good[] = {
	{ "body X /abc/", RULE_BODY, "abc", 0 },
	{ "body X /a\\/b/i", RULE_BODY, "a\\/b", RULE_CASELESS },
	{ "body X m{a/b}xms", RULE_BODY, "a/b", RULE_EXTENDED | RULE_MULTILINE | RULE_DOTALL },
	{ "body X m!a(b)!", RULE_BODY, "a(b)", 0 },
	{ "body X m(a(b))", RULE_BODY, "a(b)", 0 },
	{ "body X m'a'i", RULE_BODY, "a", RULE_CASELESS },
	{ "body X /a/b/i", RULE_BODY, "a/b", RULE_CASELESS },
	{ "body X /(?aa)a(?a)b\\(?aa)/", RULE_BODY, "ab\\(?aa)", 0 },
	{ "body X /a\\#b/ # comment", RULE_BODY, "a#b", 0 },
	{ "  BODY   X   /a b/  ", RULE_BODY, "a b", 0 },
	{ "rawbody X /a/", RULE_RAWBODY, "a", 0 },
	{ "uri X /a/", RULE_URI, "a", 0 },
	{ "full X /a/", RULE_FULL, "a", 0 },
	{ "header X Subject =~ /a/", RULE_HEADER, "a", 0 },
	{ "header X Subject =~ m{a}i", RULE_HEADER, "a", RULE_CASELESS },
	{ "header X To !~ /a/ [if-unset: b c]", RULE_HEADER, "a", 0 },
	{ "header X exists:X-Foo", RULE_HEADER, NULL, 0 },
	{ "header X ALL:raw =~ /^a/m", RULE_HEADER, "^a", RULE_MULTILINE },
	{ "body X eval:check_it('a', 1)", RULE_EVAL, NULL, 0 },
	{ "header X eval:check_it()", RULE_EVAL, NULL, 0 },
	{ "mimeheader X Content-Type =~ /a/", RULE_EVAL, NULL, 0 },
	{ "body X", RULE_EMPTY, NULL, 0 },
	{ "meta X A && !B", RULE_META, NULL, 0 },
	{ "score X 3", RULE_NONE, NULL, 0 },
	{ "body X /old/\nbody X /new/", RULE_BODY, "new", 0 },
	{ "meta X A\nbody X /new/i", RULE_BODY, "new", RULE_CASELESS },
	{ "if (version >= 3.004002)\nbody X /yes/\nendif", RULE_BODY, "yes", 0 },
	{ "if(version<4)\nbody X /no/\nelse\nbody X /yes/\nendif", RULE_BODY, "yes", 0 },
	{ "ifplugin Mail::SpamAssassin::Plugin::DKIM\nbody X /yes/\nelse\nbody X /no/\nendif",
	    RULE_BODY, "yes", 0 },
	{ "ifplugin Mail::SpamAssassin::Plugin::Nothing\nbody X /no/\nelse\nbody X /yes/\nendif",
	    RULE_BODY, "yes", 0 },
	{ "loadplugin My::Plugin my.pm\nif plugin(My::Plugin)\nbody X /yes/\nendif", RULE_BODY,
	    "yes", 0 },
	{ "if !plugin(My::Plugin)\nbody X /yes/\nendif", RULE_BODY, "yes", 0 },
	{ "if can(Mail::SpamAssassin::Conf::feature_capture_rules)\nbody X /yes/\nendif",
	    RULE_BODY, "yes", 0 },
	{ "if !can(Mail::SpamAssassin::Plugin::None::has_x)\nbody X /yes/\nendif", RULE_BODY,
	    "yes", 0 },
	{ "if 0\nif nonsense\nbody X /no/\nendif\nelse\nbody X /yes/\nendif", RULE_BODY, "yes",
	    0 },
	{ "if !((version > 4.1))\nbody X /yes/\nendif", RULE_BODY, "yes", 0 },
	{ "unknown statement\nbody X /a/\nrequired_score 3", RULE_BODY, "a", 0 },
	{ "lang de describe X Unsinn\nbody X /a/\npriority X -5", RULE_BODY, "a", 0 },
};

START_TEST(read_well)
{
	struct rules *r = read_rules(good[_i].text);
	const struct rule *x = rule_named(r, "X");

	ck_assert_ptr_nonnull(x);
	ck_assert_str_eq(rule_type_name(x->type), rule_type_name(good[_i].type));
	if (good[_i].pattern == NULL)
		ck_assert_ptr_null(x->pattern);
	else
		ck_assert_str_eq(x->pattern, good[_i].pattern);
	ck_assert_uint_eq(x->flags, good[_i].flags);
	rules_free(r);
}
END_TEST

static const struct {
	const char *text, *errors;
} bad[] = {
	{ "body X abc", "t.cf:1: X: \"abc\" is no pattern: expected /.../ or m{...}" },
	{ "\n\nbody X /abc", "t.cf:3: X: the pattern has no end: expected '/'" },
	{ "body X m{abc", "t.cf:1: X: the pattern has no end: expected '}'" },
	{ "body X /abc/q",
	    "t.cf:1: X: flag 'q' of a pattern is not known: expected i, m, s or x" },
	{ "body 1X /a/",
	    "t.cf:1: body: \"1X\" is no name of a rule: expected letters, digits and '_'" },
	{ "body", "t.cf:1: body: \"\" is no name of a rule: expected letters, digits and '_'" },
	{ "header X Subject",
	    "t.cf:1: X: \"\" cannot be read: expected =~ or !~ and a pattern" },
	{ "header X Subject = /a/",
	    "t.cf:1: X: \"= /a/\" cannot be read: expected =~ or !~ and a pattern" },
	{ "header X exists:", "t.cf:1: X: \"\" is no header field" },
	{ "score X", "t.cf:1: score X: expected one value or four" },
	{ "score X 1 2", "t.cf:1: score X: expected one value or four" },
	{ "score X 1 2 3 4 5", "t.cf:1: score X: expected one value or four" },
	{ "score X high", "t.cf:1: score X: \"high\" is no number" },
	{ "score X 1..2", "t.cf:1: score X: \"1..2\" is no number" },
	{ "score X 9999999999", "t.cf:1: score X: \"9999999999\" is no number" },
	{ "tflags X maxhits=many", "t.cf:1: tflags X: \"maxhits=many\": expected a number of hits" },
	{ "meta X A &&", "t.cf:1: meta X: the expression ends too early" },
	{ "meta A B\nmeta B C\nmeta C A",
	    "t.cf:3: meta C depends on itself through A (t.cf:1)" },
	{ "meta A A", "t.cf:1: meta A depends on itself through A (t.cf:1)" },
	{ "endif", "t.cf:1: endif without if" },
	{ "else", "t.cf:1: else without if" },
	{ "if 1\nelse\nelse\nendif", "t.cf:3: else without if" },
	{ "body A /a/\nif 1\nbody B /b/", "t.cf:2: the condition has no endif" },
	{ "if nonsense\nendif", "t.cf:1: \"nonsense\" is not known in a condition" },
	{ "if plugin(X\nendif", "t.cf:1: '(' without ')' in a condition" },
	{ "if unknown(X)\nendif",
	    "t.cf:1: \"unknown(\" is not known in a condition: expected plugin or can" },
	{ "include missing.cf",
	    "t.cf:1: rule file \"missing.cf\" cannot be opened: No such file or directory" },
	{ "body A abc\nbody B /b/\nbody C abc",
	    "t.cf:1: A: \"abc\" is no pattern: expected /.../ or m{...}\n"
	    "t.cf:3: C: \"abc\" is no pattern: expected /.../ or m{...}" },
};

START_TEST(refused)
{
	struct errs errs = { 0 };

	ck_assert_ptr_null(rules_from_text(str_of(bad[_i].text), "t.cf", &errs));
	check_errors(&errs, bad[_i].errors);
}
END_TEST

START_TEST(headers)
{
	struct rules *r = read_rules("header A From:addr =~ /a/\n"
				     "header B From:name !~ /a/\n"
				     "header C Subject:raw =~ /a/ [if-unset: none at all]\n"
				     "header D exists:X-Y\n"
				     "header E X-Spam-Relays-External =~ /a/\n"
				     "header F From:host =~ /a/\n");

	ck_assert_int_eq(rule_named(r, "A")->part, RULE_ADDR);
	ck_assert_str_eq(rule_named(r, "A")->field, "From");
	ck_assert_int_eq(rule_named(r, "B")->part, RULE_NAME);
	ck_assert(rule_named(r, "B")->negated);
	ck_assert_int_eq(rule_named(r, "C")->part, RULE_RAW);
	ck_assert_str_eq(rule_named(r, "C")->if_unset, "none at all");
	ck_assert(rule_named(r, "D")->exists);
	ck_assert_ptr_nonnull(rule_named(r, "E")->unsupported);
	ck_assert_ptr_nonnull(rule_named(r, "F")->unsupported);
	rules_free(r);
}
END_TEST

static void
check_score(const struct rules *r, const char *name, size_t set, double expected)
{
	double score = rule_score(rule_named(r, name), set);

	ck_assert_msg(fabs(score - expected) < 1e-9, "%s in set %zu: %g", name, set, score);
}

START_TEST(scores)
{
	struct rules *r = read_rules("body A /a/\nscore A 2.5\n"
				     "body B /a/\nscore B 1 2 -3 0\n"
				     "body C /a/\n"
				     "body D /a/\ntflags D nice\n"
				     "body T_E /a/\n"
				     "body __F /a/\nscore __F 5\n"
				     "body G /a/\nscore G 2\nscore G (0.5)\n"
				     "body H /a/\ntflags H multiple maxhits=3 nosubject net\n");

	check_score(r, "A", 0, 2.5);
	check_score(r, "A", 3, 2.5);
	check_score(r, "B", 0, 1);
	check_score(r, "B", 2, -3);
	check_score(r, "B", 3, 0);
	ck_assert(!rule_enabled(rule_named(r, "B"), 3));
	check_score(r, "C", 0, 1);
	check_score(r, "D", 0, -1);
	check_score(r, "T_E", 0, 0.01);
	check_score(r, "__F", 0, 0);
	ck_assert(rule_enabled(rule_named(r, "__F"), 0));
	check_score(r, "G", 0, 2.5);
	ck_assert_uint_eq(rule_named(r, "H")->tflags,
	    RULE_MULTIPLE | RULE_NOSUBJECT | RULE_NET);
	ck_assert_uint_eq(rule_named(r, "H")->maxhits, 3);
	check_score(r, "GTUBE", 0, 1000);
	rules_free(r);
}
END_TEST

/* Tags are put in as ReplaceTags does. */
static const struct {
	const char *pattern, *expanded, *defined;
} tags[] = {
	{ "/x<A>y/", "x[aA]y", "(?(DEFINE)(?<T0>[aA]))x(?&T0)y" },
	{ "/<A><B>/", "[aA][bB]", "(?(DEFINE)(?<T0>[aA])(?<T1>[bB]))(?&T0)(?&T1)" },
	{ "/(?i)<N>z/", "(?i)n[aA]z", "(?i)(?(DEFINE)(?<T0>n(?&T1))(?<T1>[aA]))(?&T0)z" },
	{ "/<inter W><A><B>c/", "[aA]\\W[bB]c",
	    "(?(DEFINE)(?<T0>[aA])(?<T1>[bB]))(?&T0)\\W(?&T1)c" },
	{ "/<post P><A><B>/", "[aA]+[bB]+", "(?(DEFINE)(?<T0>[aA])(?<T1>[bB]))(?&T0)+(?&T1)+" },
	{ "/<pre P><A>/", "-[aA]", "(?(DEFINE)(?<T0>[aA]))-(?&T0)" },
	{ "/<none>a</", "<none>a<", NULL },
	{ "/<A>\\1/", "[aA]\\1", NULL },
	{ "/plain/", "plain", NULL },
};

START_TEST(replace_tags)
{
	char *text = xasprintf("replace_tag A [aA]\nreplace_tag B [bB]\nreplace_tag N n<A>\n"
			       "replace_inter W \\W\nreplace_post P +\nreplace_pre P -\n"
			       "body X %s\nreplace_rules X\n",
	    tags[_i].pattern);
	struct rules *r = read_rules(text);
	struct buf b;

	buf_init(&b, RULES_PATTERN_MAX);
	ck_assert_int_eq(rules_expand(r, rule_named(r, "X"), &b), 0);
	ck_assert_str_eq(buf_cstr(&b), tags[_i].expanded);
	buf_reset(&b);
	int rc = rules_expand_define(r, rule_named(r, "X"), &b);
	ck_assert_int_eq(rc, tags[_i].defined == NULL ? -1 : 0);
	if (rc == 0)
		ck_assert_str_eq(buf_cstr(&b), tags[_i].defined);
	buf_clear(&b);
	rules_free(r);
	free(text);
}
END_TEST

/* A tag that holds two of itself grows without end: it must not. */
START_TEST(tags_that_explode)
{
	struct rules *r = read_rules(
	    "replace_tag A <A><A><A><A><A><A><A><A><A><A><A><A><A><A><A><A><A><A><A><A>\n"
	    "body X /<A><A><A><A><A><A><A><A>/\nreplace_rules X\n");
	struct buf b;

	buf_init(&b, RULES_PATTERN_MAX);
	ck_assert_int_ne(rules_expand(r, rule_named(r, "X"), &b), 0);
	buf_clear(&b);
	rules_free(r);
}
END_TEST

START_TEST(notes)
{
	struct rules *r = read_rules("report a\nreport b\nbody X eval:check_x('a')\n"
				     "add_header all x y\nheader Y eval:check_x()\n"
				     "urirhssub U x. A 2\n");

	ck_assert_uint_eq(r->n_notes, 4);
	ck_assert_str_eq(r->notes[0].what, "statement report");
	ck_assert_uint_eq(r->notes[0].n, 2);
	ck_assert_int_eq(r->notes[0].line, 1);
	ck_assert_str_eq(r->notes[1].what, "eval check_x");
	ck_assert_uint_eq(r->notes[1].n, 2);
	ck_assert_str_eq(r->notes[1].file, "t.cf");
	ck_assert_str_eq(r->notes[2].what, "statement add_header");
	ck_assert_str_eq(r->notes[3].what, "statement urirhssub");
	rules_free(r);
}
END_TEST

static void
write_file(const char *dir, const char *name, const char *text)
{
	char *path = xasprintf("%s/%s", dir, name);
	FILE *f = fopen(path, "we");

	ck_assert_ptr_nonnull(f);
	fputs(text, f);
	ck_assert_int_eq(fclose(f), 0);
	free(path);
}

START_TEST(folders_and_includes)
{
	char dir[] = "/tmp/postern-rules-XXXXXX";
	struct errs errs = { 0 };

	ck_assert_ptr_nonnull(mkdtemp(dir));
	char *sub = xasprintf("%s/sub", dir), *loop = xasprintf("%s/sub/loop.cf", dir);
	ck_assert_int_eq(mkdir(sub, 0700), 0);
	write_file(dir, "b.cf", "body X /b/\ninclude sub/more.inc\n");
	write_file(dir, "a.cf", "body X /a/\nif plugin(Z)\nbody Z /z/\nendif\n");
	write_file(dir, "z.pre", "loadplugin Z\n");
	write_file(dir, "ignored.txt", "nonsense {\n");
	write_file(sub, "more.inc", "body Y /y/\n");
	write_file(sub, "loop.cf", "include loop.cf\n");
	const char *paths[] = { dir };
	struct rules *r = rules_load(paths, 1, &errs);
	check_errors(&errs, "");
	ck_assert_str_eq(rule_named(r, "X")->pattern, "b");
	ck_assert_ptr_nonnull(rule_named(r, "Y"));
	ck_assert_ptr_nonnull(rule_named(r, "Z")); /* the .pre file came first */
	rules_free(r);
	paths[0] = loop;
	ck_assert_ptr_null(rules_load(paths, 1, &errs));
	ck_assert_uint_eq(errs.n, 1);
	ck_assert_ptr_nonnull(strstr(errs.list[0].text, "deeper than 10"));
	errs_clear(&errs);
	char *command = xasprintf("rm -r %s", dir);
	ck_assert_int_eq(system(command), 0);
	free(command);
	free(sub);
	free(loop);
}
END_TEST

START_TEST(limits)
{
	struct errs errs = { 0 };
	struct buf b;

	buf_init(&b, 4 << 20);
	for (int i = 0; i < RULES_MAX; i++)
		buf_addf(&b, "body X%d /a/\n", i);
	ck_assert_ptr_null(rules_from_text(buf_str(&b), "t.cf", &errs));
	/* GTUBE is one of them */
	ck_assert_str_eq(errs.list[0].text, "too many rules: expected at most 20000");
	ck_assert_int_eq(errs.list[0].line, RULES_MAX);
	errs_clear(&errs);
	buf_reset(&b);
	buf_add_cstr(&b, "body X /");
	for (int i = 0; i < RULES_LINE_MAX; i++)
		buf_add_char(&b, 'a');
	buf_add_cstr(&b, "/\nbody Y /\n");
	ck_assert_ptr_null(rules_from_text(buf_str(&b), "t.cf", &errs));
	check_errors(&errs, "t.cf:1: line over 65536 octets\n"
			    "t.cf:2: Y: the pattern has no end: expected '/'");
	ck_assert_ptr_null(rules_from_text(STR("body X /a\0b/"), "t.cf", &errs));
	check_errors(&errs, "t.cf:1: NUL in a statement");
	buf_clear(&b);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("score_rules");
	TCase *tc = tcase_create("rules");

	tcase_add_loop_test(tc, read_well, 0, sizeof(good) / sizeof(good[0]));
	tcase_add_loop_test(tc, refused, 0, sizeof(bad) / sizeof(bad[0]));
	tcase_add_loop_test(tc, replace_tags, 0, sizeof(tags) / sizeof(tags[0]));
	tcase_add_test(tc, headers);
	tcase_add_test(tc, scores);
	tcase_add_test(tc, tags_that_explode);
	tcase_add_test(tc, notes);
	tcase_add_test(tc, folders_and_includes);
	tcase_add_test(tc, limits);
	suite_add_tcase(s, tc);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

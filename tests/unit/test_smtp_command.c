/* SPDX-License-Identifier: BSD-2-Clause */
/* SMTP command lines, paths with parameters, xtext, and message ids. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/id.h"
#include "common/mail/smtp_command.h"

#define S(literal)                                                                     \
	{                                                                              \
		"" literal, sizeof(literal) - 1                                        \
	}

static const struct line {
	struct str in;
	const char *verb, *args; /* NULL: refused */
} lines[] = {
	{ S("NOOP"), "NOOP", "" },
	{ S("noop  "), "noop", "" },
	{ S("EHLO a.example"), "EHLO", "a.example" },
	{ S("MAIL\tFROM:<a@b.example> "), "MAIL", "FROM:<a@b.example>" },
	{ S("X1 2"), "X1", "2" },
	{ S(""), NULL, NULL },
	{ S(" NOOP"), NULL, NULL },
	{ S("NOOP:"), NULL, NULL },
	{ S("NO\0OP"), NULL, NULL },
	{ S("NOOP \0"), NULL, NULL },
	{ S("NOOP a\rb"), NULL, NULL },
	{ S("NOOP a\nb"), NULL, NULL },
	{ S("\x80NOOP"), NULL, NULL },
};

START_TEST(line)
{
	const struct line *t = &lines[_i];
	struct smtp_command c;
	struct err err;
	int rc = smtp_command_read(t->in, &c, &err);

	ck_assert_int_eq(rc, t->verb == NULL ? -1 : 0);
	if (rc == 0) {
		ck_assert(str_is(c.verb, t->verb));
		ck_assert(str_is(c.args, t->args));
	} else {
		ck_assert_str_ne(err.text, "");
	}
}
END_TEST

static const struct path {
	struct str in;
	const char *path; /* NULL: refused */
	const char *params; /* joined by '|' */
} paths[] = {
	{ S("FROM:<>"), "<>", "" },
	{ S("from:<a@b.example>"), "<a@b.example>", "" },
	{ S("FROM: <a@b.example>"), "<a@b.example>", "" },
	{ S("FROM:<a@b.example> SIZE=1 BODY=8BITMIME"), "<a@b.example>",
	    "SIZE=1|BODY=8BITMIME" },
	{ S("FROM:<a@b.example>  X-Y"), "<a@b.example>", "X-Y" },
	{ S("FROM:<\"a>b\"@c.example>"), "<\"a>b\"@c.example>", "" },
	{ S("FROM:<\"a\\\">b\"@c.example> SIZE=2"), "<\"a\\\">b\"@c.example>",
	    "SIZE=2" },
	{ S("FROM:<@x.example:a@b.example>"), "<@x.example:a@b.example>", "" },
	{ S("FROM:<a@b.example> A=b=c"), NULL, NULL },
	{ S("FROM:a@b.example"), NULL, NULL },
	{ S("FROM <a@b.example>"), NULL, NULL },
	{ S("TO:<a@b.example>"), NULL, NULL },
	{ S("FROM:<a@b.example"), NULL, NULL },
	{ S("FROM:<\"a@b.example>"), NULL, NULL },
	{ S("FROM:<a@b.example>SIZE=1"), NULL, NULL },
	{ S("FROM:<a@b.example> =1"), NULL, NULL },
	{ S("FROM:<a@b.example> SIZE="), NULL, NULL },
	{ S("FROM:<a@b.example> SI_ZE=1"), NULL, NULL },
	{ S("FROM:<a@b.example> SIZE=\x80"), NULL, NULL },
	{ S("FROM:<a@b.example> 1 2 3 4 5 6 7 8 9 a b c d e f g"), "<a@b.example>",
	    "1|2|3|4|5|6|7|8|9|a|b|c|d|e|f|g" },
	{ S("FROM:<a@b.example> 1 2 3 4 5 6 7 8 9 a b c d e f g h"), NULL, NULL },
	{ S("FROM:"), NULL, NULL },
	{ S(""), NULL, NULL },
};

START_TEST(path)
{
	const struct path *t = &paths[_i];
	struct smtp_path p;
	struct err err;
	struct buf joined;
	int rc = smtp_path_read(t->in, STR("FROM:"), &p, &err);

	ck_assert_int_eq(rc, t->path == NULL ? -1 : 0);
	if (rc < 0)
		return;
	ck_assert(str_is(p.path, t->path));
	buf_init(&joined, 1000);
	for (size_t i = 0; i < p.n_params; i++) {
		(void)buf_add_cstr(&joined, i == 0 ? "" : "|");
		(void)buf_add_str(&joined, p.params[i].text);
	}
	ck_assert_str_eq(buf_cstr(&joined), t->params);
	buf_clear(&joined);
}
END_TEST

static const struct xtext {
	const char *in, *out; /* NULL: refused */
} xtexts[] = {
	{ "", "" },
	{ "plain@text.example", "plain@text.example" },
	{ "a+20b", "a b" },
	{ "+2B+3D", "+=" },
	{ "caf+C3+A9", "caf\xc3\xa9" },
	{ "a+0A", NULL },
	{ "a+0D+0A", NULL },
	{ "a+00b", NULL },
	{ "a+7F", NULL },
	{ "a+", NULL },
	{ "a+2", NULL },
	{ "a+2b", NULL },
	{ "a+G0", NULL },
	{ "a=b", NULL },
	{ "a b", NULL },
	{ "a\x80", NULL },
	{ "a\tb", NULL },
};

START_TEST(xtext)
{
	const struct xtext *t = &xtexts[_i];
	struct err err;
	struct buf out;
	int rc;

	buf_init(&out, 100);
	rc = smtp_xtext_decode(str_of(t->in), &out, &err);
	ck_assert_int_eq(rc, t->out == NULL ? -1 : 0);
	if (rc == 0)
		ck_assert(str_is(buf_str(&out), t->out));
	buf_clear(&out);
}
END_TEST

START_TEST(xtext_bound)
{
	struct err err;
	struct buf out;

	buf_init(&out, 3);
	ck_assert_int_eq(smtp_xtext_decode(STR("abcd"), &out, &err), -1);
	buf_clear(&out);
}
END_TEST

START_TEST(ids)
{
	char last[ID_SIZE] = "", id[ID_SIZE];

	for (int i = 0; i < 5000; i++) {
		id_make(id);
		ck_assert(id_ok(str_of(id)));
		ck_assert_int_gt(strcmp(id, last), 0); /* they sort by time */
		memcpy(last, id, sizeof(last));
	}
	ck_assert(!id_ok(STR("")));
	ck_assert(!id_ok(str_sub(str_of(id), 0, ID_LEN - 1)));
	id[3] = 'a';
	ck_assert(!id_ok(str_of(id)));
	id[3] = '/';
	ck_assert(!id_ok(str_of(id)));
	id[3] = '\0';
	ck_assert(!id_ok((struct str){ id, ID_LEN }));
}
END_TEST

START_TEST(adopted_ids)
{
	char id[ID_SIZE], a[ID_ADOPTED_SIZE], b[ID_ADOPTED_SIZE];

	id_make(id);
	ck_assert(id_adopt(str_of(id), a));
	ck_assert_uint_eq(strlen(a), ID_ADOPTED_LEN);
	ck_assert_int_eq(strncmp(a, id, ID_LEN), 0);
	ck_assert(id_adopt(str_of(a), b)); /* by the tier behind: no longer */
	ck_assert_uint_eq(strlen(b), ID_ADOPTED_LEN);
	ck_assert_int_eq(strncmp(b, id, ID_LEN), 0);
	ck_assert_str_ne(a, b);
	ck_assert(!id_adopt(STR(""), b));
	ck_assert(!id_adopt(str_sub(str_of(a), 0, ID_ADOPTED_LEN - 1), b));
	ck_assert(!id_adopt(STR("../../../etc/passwd.."), b));
}
END_TEST

#define LOOP(tc, test, table)                                                          \
	tcase_add_loop_test(tc, test, 0, (int)(sizeof(table) / sizeof(table[0])))

int
main(void)
{
	Suite *s = suite_create("smtp_command");
	TCase *tc = tcase_create("all");
	SRunner *sr = srunner_create(s);
	int failed;

	LOOP(tc, line, lines);
	LOOP(tc, path, paths);
	LOOP(tc, xtext, xtexts);
	tcase_add_test(tc, xtext_bound);
	tcase_add_test(tc, ids);
	tcase_add_test(tc, adopted_ids);
	suite_add_tcase(s, tc);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed == 0 ? 0 : 1;
}

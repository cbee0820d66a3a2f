/* SPDX-License-Identifier: BSD-2-Clause */
/* common/mail/header: sections read, edited and written back. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "common/mail/header.h"

#define COUNT(table) (int)(sizeof(table) / sizeof((table)[0]))

static void
same(struct str got, struct str want)
{
	ck_assert_msg(str_eq(got, want), "got '%.*s', expected '%.*s'", STR_ARG(got),
	    STR_ARG(want));
}

/* Parse a copy of exactly its size, so that a sanitizer sees a read behind it. */
static int
parse(struct header *h, struct str in, size_t *body)
{
	struct err err;
	char *copy = malloc(in.len > 0 ? in.len : 1);

	if (in.len > 0)
		memcpy(copy, in.p, in.len);
	int rc = header_parse(h, (struct str){ copy, in.len }, body, &err);

	free(copy);
	return rc;
}

static void
rendered(const struct header *h, struct str want)
{
	struct buf b;

	buf_init(&b, 1 << 20);
	ck_assert_int_eq(header_render(h, &b), 0);
	same(buf_str(&b), want);
	buf_clear(&b);
}

static const struct {
	const char *name;
	struct str in;
	size_t fields, body;
	struct str out; /* len 0: the octets of in up to the empty line */
} sections[] = {
	{ "plain", STR("From: a\r\nTo: b\r\n\r\nbody\r\n"), 2, 18, STR("") },
	{ "folds", STR("X-Fold: first\r\n second\r\n\tthird\r\nB: c\r\n\r\n"), 2, 40,
	    STR("") },
	{ "no blank behind the colon", STR("To:b\r\nCc:  c\r\nS:\tt\r\n\r\n"), 3, 22,
	    STR("") },
	{ "empty values", STR("A:\r\nB: \r\nC:\r\n d\r\n\r\n"), 3, 19, STR("") },
	{ "blank in front of the colon", STR("Subject : x\r\n\r\n"), 1, 15, STR("") },
	{ "8-bit and NUL", STR("A: caf\303\251 \377\0x\r\n\r\n"), 1, 16, STR("") },
	{ "bare CR stays", STR("A: b\rc\r\r\n\r\n"), 1, 11, STR("A: b\rc\r\r\n") },
	{ "fold of blanks", STR("A: b\r\n \r\nC: d\r\n\r\n"), 2, 17, STR("") },
	{ "long name", STR("A!#$%&'*+-./0^_`{|}~: b\r\n\r\n"), 1, 27, STR("") },
	{ "bare LF", STR("A: b\n c\nD: e\n\nbody\n"), 2, 14,
	    STR("A: b\r\n c\r\nD: e\r\n") },
	{ "mixed line ends", STR("A: b\r\n c\nD: e\r\n\nx"), 2, 16,
	    STR("A: b\r\n c\r\nD: e\r\n") },
	{ "end without empty line", STR("A: b\r\n"), 1, 6, STR("A: b\r\n") },
	{ "end within a line", STR("A: b"), 1, 4, STR("A: b\r\n") },
	{ "end within a line end", STR("A: b\r"), 1, 5, STR("A: b\r\n") },
	{ "no field begins the body", STR("A: b\r\nnot a field\r\nC: d\r\n"), 1, 6,
	    STR("A: b\r\n") },
	{ "blank in a name", STR("A: b\r\nno field: x\r\n"), 1, 6, STR("A: b\r\n") },
	{ "mbox line", STR("From a@b Fri Nov 20 06:59:16 2026\r\nA: b\r\n"), 0, 0,
	    STR("") },
	{ "8-bit name", STR("\303\251: b\r\n"), 0, 0, STR("") },
	{ "fold first", STR(" x: y\r\nA: b\r\n"), 0, 0, STR("") },
	{ "no name", STR(": y\r\n"), 0, 0, STR("") },
	{ "only a body", STR("\r\nA: b\r\n"), 0, 2, STR("") },
	{ "nothing", STR(""), 0, 0, STR("") },
};

START_TEST(section)
{
	struct header *h = header_new();
	struct str in = sections[_i].in, out = sections[_i].out;
	size_t body;

	ck_assert_int_eq(parse(h, STR("Old: field\r\n\r\n"), &body), 0);
	ck_assert_int_eq(parse(h, in, &body), 0);
	ck_assert_uint_eq(header_count(h), sections[_i].fields);
	ck_assert_uint_eq(body, sections[_i].body);
	if (out.len == 0 && sections[_i].fields > 0)
		out = str_sub(in, 0, body - 2);
	rendered(h, out);
	for (size_t i = 0; i < header_count(h); i++) {
		const struct header_field *f = header_at(h, i);

		same(f->name, str_sub(in, f->offset, f->offset + f->name.len));
	}
	header_free(h);
}
END_TEST

static const struct {
	struct str in;
	const char *name, *value;
} fields[] = {
	{ STR("Subject: x\r\n"), "Subject", " x" },
	{ STR("Subject \t:x\r\n"), "Subject", "x" },
	{ STR("A:\r\n"), "A", "" },
	{ STR("A: b\r\n\tc\r\n"), "A", " b\r\n\tc" },
	{ STR("A: b\n\tc\n"), "A", " b\r\n\tc" },
	{ STR("A: b: c"), "A", " b: c" },
};

START_TEST(field)
{
	struct header *h = header_new();
	size_t body;

	ck_assert_int_eq(parse(h, fields[_i].in, &body), 0);
	ck_assert_uint_eq(header_count(h), 1);
	same(header_at(h, 0)->name, str_of(fields[_i].name));
	same(header_at(h, 0)->value, str_of(fields[_i].value));
	ck_assert_ptr_null(header_at(h, 1));
	header_free(h);
}
END_TEST

START_TEST(limits)
{
	struct header *h = header_new();
	struct buf b;
	size_t body;

	buf_init(&b, 1 << 21);
	for (int i = 0; i < HEADER_FIELDS_MAX; i++)
		buf_add_cstr(&b, "A: b\r\n");
	ck_assert_int_eq(parse(h, buf_str(&b), &body), 0);
	while (header_count(h) < HEADER_FIELDS_EDITED_MAX)
		ck_assert_int_eq(
		    header_insert(h, 0, STR("A"), STR("b"), false, NULL), 0);
	ck_assert_int_eq(header_insert(h, 0, STR("A"), STR("b"), false, NULL), -1);
	ck_assert_int_eq(header_replace(h, 0, STR("A"), STR("c"), false, NULL), 0);
	ck_assert_uint_eq(header_count(h), HEADER_FIELDS_EDITED_MAX);
	buf_add_cstr(&b, "A: b\r\n");
	ck_assert_int_eq(parse(h, buf_str(&b), &body), -1);

	buf_reset(&b);
	buf_addf(&b, "A: %0*d\r\n", (int)HEADER_SECTION_MAX - 5, 0);
	ck_assert_int_eq(parse(h, buf_str(&b), &body), 0);
	struct str twice =
	    str_sub(buf_str(&b), 3, b.len - 2); /* the same field again */

	ck_assert_int_eq(header_insert(h, 0, STR("A"), twice, false, NULL), 0);
	ck_assert_int_eq(header_insert(h, 0, STR("A"), STR(""), false, NULL), -1);
	buf_reset(&b);
	buf_addf(&b, "A: %0*d\r\n", (int)HEADER_SECTION_MAX - 4, 0);
	ck_assert_int_eq(parse(h, buf_str(&b), &body), -1);
	/* bare LF grows to CRLF; a body of any length does not count */
	buf_reset(&b);
	buf_addf(&b, "A: %0*d\n", (int)HEADER_SECTION_MAX - 4, 0);
	ck_assert_int_eq(parse(h, buf_str(&b), &body), -1);
	buf_reset(&b);
	buf_addf(&b, "A: b\r\n\r\n%0*d\r\n", (int)HEADER_SECTION_MAX, 0);
	ck_assert_int_eq(parse(h, buf_str(&b), &body), 0);
	ck_assert_uint_eq(body, 8);
	buf_clear(&b);
	header_free(h);
}
END_TEST

#define BEFORE "A: 1\r\nX-Dup: one\r\nB: 2\r\nx-dup: two\r\n"

START_TEST(find)
{
	struct header *h = header_new();
	size_t body;

	ck_assert_int_eq(parse(h, STR(BEFORE), &body), 0);
	ck_assert_int_eq(header_find(h, STR("X-DUP"), 1), 1);
	ck_assert_int_eq(header_find(h, STR("X-Dup"), 2), 3);
	ck_assert_int_eq(header_find(h, STR("X-Dup"), 3), -1);
	ck_assert_int_eq(header_find(h, STR("X-Dup"), 0), -1);
	ck_assert_int_eq(header_find(h, STR("X-Du"), 1), -1);
	ck_assert_uint_eq(header_count_name(h, STR("X-dup")), 2);
	ck_assert_uint_eq(header_count_name(h, STR("C")), 0);
	header_free(h);
}
END_TEST

static const struct {
	const char *name;
	char edit; /* i, r, d */
	size_t at;
	struct str field, value;
	bool lead_space;
	const char *out; /* NULL: refused, nothing changed */
} edits[] = {
	{ "on top", 'i', 0, STR("N"), STR("v"), false, "N: v\r\n" BEFORE },
	{ "within", 'i', 1, STR("N"), STR("v"), false,
	    "A: 1\r\nN: v\r\nX-Dup: one\r\nB: 2\r\nx-dup: two\r\n" },
	{ "at the end", 'i', 4, STR("N"), STR("v"), false, BEFORE "N: v\r\n" },
	{ "beyond the end", 'i', 999, STR("N"), STR("v"), false, BEFORE "N: v\r\n" },
	{ "its own blank", 'i', 999, STR("N"), STR("\tv"), true, BEFORE "N:\tv\r\n" },
	{ "no blank at all", 'i', 999, STR("N"), STR("v"), true, BEFORE "N:v\r\n" },
	{ "empty", 'i', 999, STR("N"), STR(""), false, BEFORE "N:\r\n" },
	{ "fold as LF", 'i', 999, STR("N"), STR("l1\n\tl2"), false,
	    BEFORE "N: l1\r\n\tl2\r\n" },
	{ "fold as CRLF", 'i', 999, STR("N"), STR("l1\r\n l2"), false,
	    BEFORE "N: l1\r\n l2\r\n" },
	{ "line end behind", 'i', 999, STR("N"), STR("v\r\n\n"), false,
	    BEFORE "N: v\r\n" },
	{ "8-bit", 'i', 999, STR("N"), STR("caf\303\251"), false,
	    BEFORE "N: caf\303\251\r\n" },
	{ "replaced", 'r', 1, STR("Y"), STR("v"), false,
	    "A: 1\r\nY: v\r\nB: 2\r\nx-dup: two\r\n" },
	{ "deleted first", 'd', 0, STR(""), STR(""), false,
	    "X-Dup: one\r\nB: 2\r\nx-dup: two\r\n" },
	{ "deleted last", 'd', 3, STR(""), STR(""), false,
	    "A: 1\r\nX-Dup: one\r\nB: 2\r\n" },
	{ "deleted none", 'd', 4, STR(""), STR(""), false, BEFORE },
	{ "replace none", 'r', 4, STR("N"), STR("v"), false, NULL },
	{ "second field smuggled", 'i', 0, STR("N"), STR("v\nBcc: x"), false, NULL },
	{ "second field by CRLF", 'i', 0, STR("N"), STR("v\r\nBcc: x"), false, NULL },
	{ "body smuggled", 'r', 0, STR("N"), STR("v\r\n\r\nbody"), false, NULL },
	{ "bare CR", 'i', 0, STR("N"), STR("v\rx"), false, NULL },
	{ "CR CR LF", 'i', 0, STR("N"), STR("v\r\r\n x"), false, NULL },
	{ "NUL", 'i', 0, STR("N"), STR("v\0x"), false, NULL },
	{ "no name", 'i', 0, STR(""), STR("v"), false, NULL },
	{ "colon in name", 'i', 0, STR("N:"), STR("v"), false, NULL },
	{ "blank in name", 'r', 0, STR("N N"), STR("v"), false, NULL },
	{ "line end in name", 'i', 0, STR("N\r\nX"), STR("v"), false, NULL },
	{ "8-bit name", 'i', 0, STR("N\303"), STR("v"), false, NULL },
	{ "DEL in name", 'i', 0, STR("N\177"), STR("v"), false, NULL },
	{ "NUL in name", 'i', 0, STR("N\0"), STR("v"), false, NULL },
};

START_TEST(edit)
{
	struct header *h = header_new();
	struct err err = { .text = "" };
	size_t body;
	int rc = 0;

	ck_assert_int_eq(parse(h, STR(BEFORE), &body), 0);
	if (edits[_i].edit == 'i')
		rc = header_insert(h, edits[_i].at, edits[_i].field, edits[_i].value,
		    edits[_i].lead_space, &err);
	else if (edits[_i].edit == 'r')
		rc = header_replace(h, edits[_i].at, edits[_i].field, edits[_i].value,
		    edits[_i].lead_space, &err);
	else
		header_delete(h, edits[_i].at);
	ck_assert_int_eq(rc, edits[_i].out == NULL ? -1 : 0);
	ck_assert_int_eq(err.text[0] != '\0', edits[_i].out == NULL);
	rendered(h, str_of(edits[_i].out == NULL ? BEFORE : edits[_i].out));
	header_free(h);
}
END_TEST

START_TEST(copy_is_its_own)
{
	struct header *h = header_new();
	size_t body;

	ck_assert_int_eq(parse(h, STR(BEFORE), &body), 0);
	struct header *copy = header_dup(h);

	ck_assert_int_eq(header_insert(copy, 0, STR("N"), STR("v"), false, NULL), 0);
	header_delete(copy, 2);
	rendered(h, STR(BEFORE));
	header_free(h);
	rendered(copy, STR("N: v\r\nA: 1\r\nB: 2\r\nx-dup: two\r\n"));
	ck_assert_uint_eq(header_at(copy, 0)->offset, SIZE_MAX);
	ck_assert_uint_eq(header_at(copy, 2)->offset, 18);

	struct header *other = header_new();

	header_swap(copy, other);
	ck_assert_uint_eq(header_count(copy), 0);
	rendered(other, STR("N: v\r\nA: 1\r\nB: 2\r\nx-dup: two\r\n"));
	header_free(other);
	header_free(copy);
	header_free(NULL);
}
END_TEST

START_TEST(render_into_little_room)
{
	struct header *h = header_new();
	struct buf b;
	size_t body;

	ck_assert_int_eq(parse(h, STR(BEFORE), &body), 0);
	buf_init(&b, sizeof(BEFORE) - 2);
	ck_assert_int_eq(header_render(h, &b), -1);
	ck_assert_uint_eq(b.len, 0);
	buf_clear(&b);
	header_free(h);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("header");
	TCase *t = tcase_create("header");

	tcase_add_loop_test(t, section, 0, COUNT(sections));
	tcase_add_loop_test(t, field, 0, COUNT(fields));
	tcase_add_test(t, limits);
	tcase_add_test(t, find);
	tcase_add_loop_test(t, edit, 0, COUNT(edits));
	tcase_add_test(t, copy_is_its_own);
	tcase_add_test(t, render_into_little_room);
	suite_add_tcase(s, t);

	SRunner *r = srunner_create(s);

	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);

	srunner_free(r);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

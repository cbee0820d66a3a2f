/* SPDX-License-Identifier: BSD-2-Clause */
/* The end-of-data matrix: X "." Y for eight X and eight Y that somebody's server takes
 * for line ends, each followed by a second, smuggled transaction; whole, octet by
 * octet, and across the edges of read buffers.  What is right comes from the plain
 * decoder. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/buf.h"
#include "common/mail/smtp_data.h"
#include "tests/lib/smtp_data_ref.h"

static const struct end {
	const char *name;
	struct str octets;
} ends[8] = {
	{ "CRLF", { "\r\n", 2 } },
	{ "LF", { "\n", 1 } },
	{ "CR", { "\r", 1 } },
	{ "CRCRLF", { "\r\r\n", 3 } },
	{ "LFCR", { "\n\r", 2 } },
	{ "NUL CRLF", { "\0\r\n", 3 } },
	{ "CRLF NUL", { "\r\n\0", 3 } },
	{ "nothing", { "", 0 } },
};

#define SMUGGLED                                                                       \
	"MAIL FROM:<b@evil.example>\r\nRCPT TO:<v@victim.example>\r\nDATA\r\n"         \
	"Subject: second\r\n\r\nsmuggled\r\n.\r\n"

/* Decode in fragments of `step`; checks everything against the plain decoder. */
static void
compare(struct str in, size_t first, size_t step)
{
	struct smtp_data_ref ref;
	struct smtp_data d;
	enum parse rc = PARSE_MORE;
	char *out = malloc(in.len + 1);
	size_t at = 0, len = 0, to = first;

	smtp_data_ref(in.p, in.len, &ref);
	smtp_data_init(&d);
	while (rc == PARSE_MORE && at < in.len) {
		size_t used, n;

		rc = smtp_data_decode(&d, str_sub(in, at, to), &used, out + len, &n);
		at += used;
		len += n;
		to = at + step;
	}
	ck_assert_int_eq(rc, ref.ended ? PARSE_DONE : PARSE_MORE);
	ck_assert_uint_eq(at, ref.used);
	ck_assert_uint_eq(len, ref.len);
	ck_assert_int_eq(memcmp(out, ref.data, len), 0);
	ck_assert_uint_eq(d.octets, len);
	ck_assert_int_eq(d.bare_cr, ref.bare_cr);
	ck_assert_int_eq(d.bare_lf, ref.bare_lf);
	ck_assert_int_eq(d.nul, ref.nul);
	free(ref.data);
	free(out);
}

/* "pad X . Y" and the smuggled transaction. */
static void
make_case(int i, size_t pad, struct buf *b)
{
	buf_init(b, 1u << 20);
	buf_add_cstr(b, "Subject: first\r\n\r\nbody");
	for (size_t n = b->len; n < pad; n++)
		buf_add_char(b, n % 70 == 69 ? '_' : 'x');
	buf_add_str(b, ends[i / 8].octets);
	buf_add_char(b, '.');
	buf_add_str(b, ends[i % 8].octets);
	buf_add_cstr(b, SMUGGLED);
}

START_TEST(matrix_whole)
{
	struct buf b;

	make_case(_i, 0, &b);
	compare(buf_str(&b), b.len, b.len);
	buf_clear(&b);
}
END_TEST

START_TEST(matrix_octet_by_octet)
{
	struct buf b;

	make_case(_i, 0, &b);
	compare(buf_str(&b), 1, 1);
	compare(buf_str(&b), 2, 3);
	buf_clear(&b);
}
END_TEST

START_TEST(matrix_at_buffer_edges)
{
	static const size_t sizes[] = { 4096, 8192, 16384, 65536 };

	for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
		for (size_t back = 0; back <= 8; back++) {
			struct buf b;

			make_case(_i, sizes[s] - back, &b);
			for (size_t step = sizes[s] - 1; step <= sizes[s] + 1; step++)
				compare(buf_str(&b), step, step);
			buf_clear(&b);
		}
	}
}
END_TEST

/* What the matrix must come to, not only that two decoders agree: which of the 64 end
 * the first message at X "." Y.  All others end at the smuggled transaction's own mark.
 */
START_TEST(matrix_verdicts)
{
	struct buf b;
	struct smtp_data_ref ref;
	bool x_ends = _i / 8 == 0 || _i / 8 == 3 || _i / 8 == 5;
	bool y_ends = _i % 8 == 0 || _i % 8 == 6;

	make_case(_i, 0, &b);
	size_t after = b.len - (sizeof(SMUGGLED) - 1);
	/* "CRLF NUL" holds its line end in front of the NUL */
	size_t expected = x_ends && y_ends ? after - (_i % 8 == 6 ? 1 : 0) : b.len;
	smtp_data_ref(b.p, b.len, &ref);
	ck_assert(ref.ended);
	ck_assert_uint_eq(ref.used, expected);
	free(ref.data);
	compare(buf_str(&b), b.len, b.len);
	buf_clear(&b);
}
END_TEST

static const struct row {
	const char *name;
	struct str in;
	struct str data; /* what is given out */
	enum parse rc;
	size_t used;
	size_t longest;
	bool bare_cr, bare_lf, nul;
} rows[] = {
	{ "empty message", STR(".\r\nQUIT\r\n"), STR(""), PARSE_DONE, 3, 0, 0, 0, 0 },
	{ "one line", STR("a\r\n.\r\n"), STR("a\r\n"), PARSE_DONE, 6, 1, 0, 0, 0 },
	{ "stuffed dot", STR("..\r\n.\r\n"), STR(".\r\n"), PARSE_DONE, 7, 1, 0, 0, 0 },
	{ "two dots stuffed", STR("...a\r\n.\r\n"), STR("..a\r\n"), PARSE_DONE, 9, 3, 0,
	    0, 0 },
	{ "dot not doubled", STR(".a\r\n.\r\n"), STR("a\r\n"), PARSE_DONE, 7, 1, 0, 0,
	    0 },
	{ "space before the dot", STR(" .\r\n.\r\n"), STR(" .\r\n"), PARSE_DONE, 7, 2,
	    0, 0, 0 },
	{ "space behind the dot", STR(". \r\n.\r\n"), STR(" \r\n"), PARSE_DONE, 7, 1, 0,
	    0, 0 },
	{ "bare LF before the mark", STR("a\nb\r\n.\r\n"), STR("a\nb\r\n"), PARSE_DONE,
	    8, 3, 0, 1, 0 },
	{ "bare LF at the line before", STR("a\n.\r\n.\r\n"), STR("a\n.\r\n"),
	    PARSE_DONE, 8, 3, 0, 1, 0 },
	{ "bare CR at the end of data", STR("a\r\r\n.\r\n"), STR("a\r\r\n"), PARSE_DONE,
	    7, 2, 1, 0, 0 },
	{ "dot and bare CR", STR("\r\n.\rx\r\n.\r\n"), STR("\r\n\rx\r\n"), PARSE_DONE,
	    10, 2, 1, 0, 0 },
	{ "NUL", STR("a\0b\r\n.\r\n"), STR("a\0b\r\n"), PARSE_DONE, 8, 3, 0, 0, 1 },
	{ "blank lines", STR("\r\n\r\n.\r\n"), STR("\r\n\r\n"), PARSE_DONE, 7, 0, 0, 0,
	    0 },
	{ "not ended", STR("a\r\n"), STR("a\r\n"), PARSE_MORE, 3, 1, 0, 0, 0 },
	{ "dot held", STR("a\r\n."), STR("a\r\n"), PARSE_MORE, 4, 1, 0, 0, 0 },
	{ "dot and CR held", STR("a\r\n.\r"), STR("a\r\n"), PARSE_MORE, 5, 1, 0, 0, 0 },
	{ "nothing", STR(""), STR(""), PARSE_MORE, 0, 0, 0, 0, 0 },
};

START_TEST(row_decodes)
{
	const struct row *r = &rows[_i];
	char out[64];
	struct smtp_data d;
	size_t used, n;

	smtp_data_init(&d);
	ck_assert_int_eq(smtp_data_decode(&d, r->in, &used, out, &n), r->rc);
	ck_assert_msg(used == r->used, "%s: %zu used", r->name, used);
	ck_assert_msg(str_eq((struct str){ out, n }, r->data), "%s: data", r->name);
	ck_assert_msg(
	    d.longest == r->longest, "%s: longest %u", r->name, (unsigned)d.longest);
	ck_assert_int_eq(d.bare_cr, r->bare_cr);
	ck_assert_int_eq(d.bare_lf, r->bare_lf);
	ck_assert_int_eq(d.nul, r->nul);
	compare(r->in, 1, 1);
}
END_TEST

static const struct out_row {
	const char *name;
	struct str in, wire;
	bool bad; /* a flag is up */
} out_rows[] = {
	{ "empty", STR(""), STR(".\r\n"), false },
	{ "one line", STR("a\r\n"), STR("a\r\n.\r\n"), false },
	{ "no final CRLF", STR("a"), STR("a\r\n.\r\n"), false },
	{ "final CR", STR("a\r"), STR("a\r\n.\r\n"), false },
	{ "dot", STR(".\r\n"), STR("..\r\n.\r\n"), false },
	{ "dot alone", STR("."), STR("..\r\n.\r\n"), false },
	{ "two lines with dots", STR(".a\r\n..b\r\n"), STR("..a\r\n...b\r\n.\r\n"),
	    false },
	{ "dot inside", STR("a.\r\nb.c\r\n"), STR("a.\r\nb.c\r\n.\r\n"), false },
	{ "end mark inside", STR("\r\n.\r\nMAIL\r\n"), STR("\r\n..\r\nMAIL\r\n.\r\n"),
	    false },
	{ "bare LF and dot", STR("a\n.\r\n"), STR("a\n.\r\n.\r\n"), true },
	{ "bare CR", STR("a\rb\r\n"), STR("a\rb\r\n.\r\n"), true },
	{ "NUL", STR("a\0\r\n"), STR("a\0\r\n.\r\n"), true },
};

START_TEST(row_encodes)
{
	const struct out_row *r = &out_rows[_i];

	for (size_t step = 1; step <= r->in.len + 1; step++) {
		char wire[128];
		size_t n = 0;
		struct smtp_data_out d;

		smtp_data_out_init(&d);
		for (size_t at = 0; at < r->in.len; at += step)
			n += smtp_data_encode(
			    &d, str_sub(r->in, at, at + step), wire + n);
		n += smtp_data_encode_end(&d, wire + n);
		ck_assert_msg(str_eq((struct str){ wire, n }, r->wire), "%s", r->name);
		ck_assert_int_eq(d.bare_cr || d.bare_lf || d.nul, r->bad);
	}
}
END_TEST

#define COUNT(a) ((int)(sizeof(a) / sizeof((a)[0])))

int
main(void)
{
	Suite *s = suite_create("smtp_data");
	TCase *matrix = tcase_create("end of data");
	TCase *table = tcase_create("rows");

	tcase_add_loop_test(matrix, matrix_whole, 0, 64);
	tcase_add_loop_test(matrix, matrix_octet_by_octet, 0, 64);
	tcase_add_loop_test(matrix, matrix_at_buffer_edges, 0, 64);
	tcase_add_loop_test(matrix, matrix_verdicts, 0, 64);
	tcase_add_loop_test(table, row_decodes, 0, COUNT(rows));
	tcase_add_loop_test(table, row_encodes, 0, COUNT(out_rows));
	suite_add_tcase(s, matrix);
	suite_add_tcase(s, table);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}

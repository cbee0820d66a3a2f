/* SPDX-License-Identifier: BSD-2-Clause */
/* The engine against what the real sendmail was recorded to decide: every row of the
 * folder, through the same function that `posternctl test access` calls.  What matches
 * today must match tomorrow: the counts below only ever rise.  With ACCESS_DIFF set the
 * rows that differ are printed. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/buf.h"
#include "milters/access/access_table.h"
#include "milters/access/access_test.h"

#define FOLDER "tests/vectors/access"

static const struct {
	const char *file;
	const char *results[8]; /* in the file's order; NULL ends */
	size_t rows, match; /* recorded; at least so many match */
} files[] = {
	{ "cases.tsv",
	    { "stage_of_refusal", "code", "enhanced", "text", "action",
		"client_resolve", "quarantine", "events" },
	    3024, 3024 },
	{ "multi.tsv",
	    { "connect_reply", "mail_reply", "rcpt_replies", "outcome", "queued_rcpts",
		"quarantine" },
	    207, 207 },
	{ "controls.tsv", { "result" }, 54, 54 },
	{ "lookups.tsv", { "lookups" }, 31, 31 },
};

static char *output; /* of one run over the folder, made before the tests fork */

static void
add_cell(struct buf *out, const char *text)
{
	for (; *text != '\0'; text++) {
		if (*text == '\\' || *text == '\t' || *text == '\n')
			buf_addf(out, "\\%c",
			    *text == '\t'       ? 't'
				: *text == '\n' ? 'n'
						: '\\');
		else
			buf_add_char(out, *text);
	}
}

static void
expected(const struct access_table *t, size_t row, int file, struct buf *out)
{
	buf_reset(out);
	add_cell(out, access_table_get(t, row, "id"));
	for (int i = 0; i < 8 && files[file].results[i] != NULL; i++) {
		buf_add_char(out, '\t');
		add_cell(out, access_table_get(t, row, files[file].results[i]));
	}
}

static void
show(const struct access_table *t, size_t row, struct str got, const char *want)
{
	if (getenv("ACCESS_DIFF") == NULL)
		return;
	for (size_t i = 0; i < t->n_columns; i++)
		fprintf(stderr, "%s=%s ", t->columns[i], t->rows[row][i]);
	fprintf(stderr, "\n   got  %.*s\n   want %s\n", STR_ARG(got), want);
}

START_TEST(recorded)
{
	char head[64];
	struct access_table t;
	struct err err = { 0 };
	struct buf want;
	size_t match = 0;

	ck_assert_msg(
	    access_table_read(FOLDER, files[_i].file, &t, &err) == 0, "%s", err.text);
	ck_assert_uint_eq(t.n_rows, files[_i].rows);
	snprintf(head, sizeof(head), "# %s\n", files[_i].file);
	const char *at = strstr(output, head);
	ck_assert_ptr_nonnull(at);
	struct str rest = str_of(at + strlen(head)), line;
	buf_init(&want, 65536);
	for (size_t i = 0; i < t.n_rows; i++) {
		ck_assert(str_cut(&rest, '\n', &line));
		expected(&t, i, _i, &want);
		if (str_is(line, buf_cstr(&want)))
			match++;
		else
			show(&t, i, line, buf_cstr(&want));
	}
	ck_assert_msg(match >= files[_i].match,
	    "%s: %zu of %zu rows match, expected %zu", files[_i].file, match, t.n_rows,
	    files[_i].match);
	buf_clear(&want);
	access_table_clear(&t);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("access_vectors");
	TCase *t = tcase_create("access_vectors");
	struct err err = { 0 };
	size_t size;
	FILE *out = open_memstream(&output, &size);

	if (out == NULL || access_test_run(FOLDER, out, &err) != 0) {
		fprintf(stderr, "test_access_vectors: %s\n", err.text);
		return 1;
	}
	fclose(out);
	tcase_add_loop_test(t, recorded, 0, (int)(sizeof(files) / sizeof(files[0])));
	suite_add_tcase(s, t);
	SRunner *runner = srunner_create(s);
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	free(output);
	return failed == 0 ? 0 : 1;
}

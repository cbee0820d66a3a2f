/* SPDX-License-Identifier: BSD-2-Clause */
/* The log: quoting of hostile values, levels, and that a full target never holds us up. */
#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/log.h"

static const struct {
	struct str value;
	const char *written;
} values[] = {
	{ { "plain", 5 }, "v=plain" },
	{ { "", 0 }, "v=\"\"" },
	{ { "two words", 9 }, "v=\"two words\"" },
	{ { "a=b", 3 }, "v=\"a=b\"" },
	{ { "say \"hi\"", 8 }, "v=\"say \\\"hi\\\"\"" },
	{ { "line\nevent=forged", 17 }, "v=\"line\\x0aevent=forged\"" },
	{ { "nul\0byte", 8 }, "v=\"nul\\x00byte\"" },
	{ { "\x1b[31m", 5 }, "v=\"\\x1b[31m\"" },
	{ { "\xc3\xa4", 2 }, "v=\"\\xc3\\xa4\"" },
};

START_TEST(values_are_quoted)
{
	struct logline l;

	logline_init(&l, LOG_LEVEL_ERR, "test");
	logline_str(&l, "v", values[_i].value);
	ck_assert_uint_eq(l.len, strlen("event=test ") + strlen(values[_i].written));
	ck_assert_mem_eq(
	    l.text + strlen("event=test "), values[_i].written, strlen(values[_i].written));
}
END_TEST

START_TEST(long_values_keep_the_rest)
{
	struct logline l;
	char big[5000];

	memset(big, 'x', sizeof(big));
	logline_init(&l, LOG_LEVEL_ERR, "test");
	logline_str(&l, "big", (struct str){ big, sizeof(big) });
	logline_cstr(&l, "why", "kept");
	ck_assert(!l.cut);
	ck_assert_mem_eq(l.text + l.len - 8, "why=kept", 8);
}
END_TEST

START_TEST(file_gets_lines_of_its_level)
{
	char path[] = "/tmp/postern-log-XXXXXX", text[1000] = "";
	int fd = mkstemp(path);
	struct err err;

	ck_assert_int_eq(log_open("tester", path, LOG_LEVEL_INFO, &err), 0);
	log_msg(LOG_LEVEL_DEBUG, "hidden", "no");
	log_msg(LOG_LEVEL_WARN, "shown", "%d is odd", 7);
	ck_assert_int_gt(read(fd, text, sizeof(text) - 1), 0);
	unlink(path);
	ck_assert_ptr_nonnull(strstr(text, "warn event=shown msg=\"7 is odd\"\n"));
	ck_assert_ptr_nonnull(strstr(text, " tester["));
	ck_assert_ptr_null(strstr(text, "hidden"));
	close(fd);
}
END_TEST

START_TEST(full_pipe_drops_and_counts)
{
	int ends[2];
	struct err err;

	ck_assert_int_eq(pipe(ends), 0);
	ck_assert_int_ge(dup2(ends[1], STDERR_FILENO), 0);
	ck_assert_int_eq(log_open("tester", "stderr", LOG_LEVEL_INFO, &err), 0);
	/* A line that waited would hang here until Check's time-out. */
	for (int i = 0; i < 3000; i++)
		log_msg(LOG_LEVEL_WARN, "flood", "line number %d of a flood of lines", i);
	ck_assert_uint_gt(log_dropped(), 0);
}
END_TEST

START_TEST(bad_target_is_an_error)
{
	struct err err;

	ck_assert_int_eq(log_open("t", "somewhere", LOG_LEVEL_INFO, &err), -1);
	ck_assert_ptr_nonnull(strstr(err.text, "expected syslog, stderr or an absolute"));
	ck_assert_int_eq(log_open("t", "/nonexistent/x", LOG_LEVEL_INFO, &err), -1);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("log");
	TCase *tc = tcase_create("log");

	tcase_add_loop_test(
	    tc, values_are_quoted, 0, sizeof(values) / sizeof(values[0]));
	tcase_add_test(tc, long_values_keep_the_rest);
	tcase_add_test(tc, file_gets_lines_of_its_level);
	tcase_add_test(tc, full_pipe_drops_and_counts);
	tcase_add_test(tc, bad_target_is_an_error);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int bad = srunner_ntests_failed(runner);
	srunner_free(runner);
	return bad == 0 ? 0 : 1;
}

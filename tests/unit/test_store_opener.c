/* SPDX-License-Identifier: BSD-2-Clause */
/* A store that opens is there at once; one that does not is no reason to stop, and none
 * to wait for at the end.  That it is tried again is seen on the whole program
 * (tests/interop/greylist_milter.py): it takes 10 s. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/base/buf.h"
#include "common/base/clock.h"
#include "policy/store_opener.h"
#include "tests/lib/store_rig.h"

static struct settings *
settings_with(const char *path)
{
	struct errs errs = { 0 };
	struct buf text;

	buf_init(&text, 1000);
	buf_addf(&text, "state { path \"%s\"; size 16M; }", path);
	struct settings *s = settings_from_text(buf_str(&text), "test", &errs);
	ck_assert_msg(s != NULL, "%s", errs.n > 0 ? errs.list[0].text : "?");
	buf_clear(&text);
	errs_clear(&errs);
	return s;
}

START_TEST(opens)
{
	struct settings *s = settings_with(rig_path);
	struct err err;
	struct store_opener *o = store_opener_new(s, &err);

	settings_unref(s); /* it keeps its own reference */
	ck_assert_ptr_nonnull(o);
	ck_assert_ptr_nonnull(store_opener_get(o));
	ck_assert_int_eq(
	    rig_try(store_opener_get(o), "client", "key", RIG_T0), GREYLIST_NEW);
	store_opener_free(o);
}
END_TEST

START_TEST(does_not_open)
{
	FILE *in_the_way = fopen(rig_path, "w");
	struct settings *s = settings_with(rig_path);
	struct err err;
	int64_t began;

	ck_assert_ptr_nonnull(in_the_way);
	fclose(in_the_way);
	struct store_opener *o = store_opener_new(s, &err);
	settings_unref(s);
	ck_assert_ptr_nonnull(o);
	ck_assert_ptr_null(store_opener_get(o));
	began = clock_mono_ms();
	store_opener_free(o);
	ck_assert_int_lt(clock_mono_ms() - began, 5000);
	unlink(rig_path);
}
END_TEST

START_TEST(none)
{
	ck_assert_ptr_null(store_opener_get(NULL));
	store_opener_free(NULL);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("store_opener");
	TCase *tc = tcase_create("opener");

	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, rig_directory_new, rig_directory_remove);
	tcase_add_test(tc, opens);
	tcase_add_test(tc, does_not_open);
	tcase_add_test(tc, none);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

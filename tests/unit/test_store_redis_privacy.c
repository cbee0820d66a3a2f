/* SPDX-License-Identifier: BSD-2-Clause */
/* Privacy mode on a Redis server: the conformance suite, and that no name is among the
 * server's keys and values. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <check.h>

#include "common/base/xalloc.h"
#include "tests/lib/redis_rig.h"
#include "tests/lib/store_conformance.h"
#include "tests/lib/store_rig.h"

#define T0 RIG_T0
#define SECRET "000102030405060708090a0b0c0d0e0f\n"

static struct rig_server server;
static char *secret; /* the file */

static struct store_conf
hidden_conf(void)
{
	ck_assert_str_eq(rig_server_ask(&server, "FLUSHALL"), "OK");
	struct store_conf conf = rig_server_conf(&server);
	conf.deadline_ms = 20000; /* meaning is tested, not time */
	conf.secret_file = secret;
	return conf;
}

START_TEST(no_name_is_kept)
{
	static const struct str key = { "\0\016dclient.hidden\0\012a@b.hidden\0\012c@d.hidden",
		16 + 12 + 12 };
	struct store_conf conf = hidden_conf();

	conf.secret_file = _i == 1 ? secret : NULL;
	struct store *s = rig_opened(&conf, NULL);
	ck_assert_int_eq(rig_greylist_of(store_greylist_check(s, NULL,
					     STR("dclient.hidden"), key, &rig_times, T0))
			     .seen.state,
	    GREYLIST_NEW);
	rig_note_of(store_note_put(
	    s, NOTE_CORRESPONDENT, STR("a@note.hidden"), STR("x"), 60, T0));
	rig_rate_of(store_rate_add(s, STR("user@rate.hidden"), 1, 10, 1, 60, T0));
	rig_hold_of(
	    store_hold_take(s, STR("hold.hidden"), STR("by.hidden"), 1, 60, T0));
	store_close(s);
	ck_assert_str_eq(rig_server_ask(&server, "DBSIZE"), "4");
	/* KEYS answers with an array, of which the rig tells the length. */
	ck_assert_str_eq(rig_server_ask(&server, "KEYS *hidden*"), _i == 1 ? "0" : "4");
}
END_TEST

int
main(void)
{
	static const struct store_subject hidden = { hidden_conf, false };
	const char *missing = rig_server_missing();

	if (missing != NULL)
		return rig_server_skip(missing);
	if (rig_server_up(&server, "") != 0)
		return EXIT_FAILURE;
	secret = xasprintf("%s/secret", server.dir);
	int fd = open(secret, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0 || write(fd, SECRET, strlen(SECRET)) != (ssize_t)strlen(SECRET))
		return EXIT_FAILURE;
	close(fd);
	Suite *suite = suite_create("store_redis_privacy");
	TCase *own = tcase_create("privacy");
	int expected = store_conformance_add(suite, &hidden);
	tcase_add_loop_test(own, no_name_is_kept, 0, 2);
	suite_add_tcase(suite, own);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int ran = srunner_ntests_run(runner), failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	unlink(secret);
	free(secret);
	rig_server_remove(&server);
	return ran == expected + 2 && failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* Privacy mode: the conformance suite in it, the hash by known answers, the file with
 * the secret, and that no name can be found in the store's file. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <check.h>

#include "common/base/xalloc.h"
#include "db/store_privacy.h"
#include "tests/lib/store_conformance.h"
#include "tests/lib/store_rig.h"

#define N(a) ((int)(sizeof(a) / sizeof((a)[0])))
#define T0 RIG_T0
#define SECRET "000102030405060708090a0b0c0d0e0f"

/* Key 00 01 .. 0f, input 00 01 ..: as other implementations answer. */
static const struct {
	size_t len;
	const char *hash;
} answers[] = {
	{ 0, "a3817f04ba25a8e66df67214c7550293" },
	{ 1, "da87c1d86b99af44347659119b22fc45" },
	{ 7, "a1f1ebbed8dbc153c0b84aa61ff08239" },
	{ 8, "3b62a9ba6258f5610f83e264f31497b4" },
	{ 63, "5150d1772f50834a503e069a973fbd7c" },
};

START_TEST(known_answers)
{
	uint8_t key[16], in[64], out[16];
	char text[33];

	for (int i = 0; i < 64; i++)
		in[i] = (uint8_t)i;
	memcpy(key, in, sizeof(key));
	siphash128(key, in, answers[_i].len, out);
	for (size_t i = 0; i < sizeof(out); i++)
		snprintf(text + 2 * i, 3, "%02x", out[i]);
	ck_assert_str_eq(text, answers[_i].hash);
}
END_TEST

static const struct store_privacy on = { true,
	{ 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15 } };

static const struct {
	struct str key;
	size_t len; /* hidden */
} keys[] = {
	{ { "\0\1a\0\1b\0\1c", 9 }, 3 * 25 },
	{ { "\0\1a\0\0\0\1c", 8 }, 3 * 25 },
	{ { "\0\0", 2 }, 25 },
	{ { "", 0 }, STORE_HIDDEN },
	{ { "a", 1 }, STORE_HIDDEN },
	{ { "\0\2a", 3 }, STORE_HIDDEN },
	{ { "\0\1a\0", 4 }, STORE_HIDDEN },
	{ { "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 16 }, 8 * 25 },
	{ { "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 18 }, STORE_HIDDEN },
};

START_TEST(names_of_keys)
{
	struct store_privacy off = { .on = false };
	char out[STORE_HIDDEN_KEY_MAX], twice[STORE_HIDDEN_KEY_MAX];
	struct str key = keys[_i].key;
	struct str hidden = store_privacy_key(&on, key, false, out);

	ck_assert_uint_eq(hidden.len, keys[_i].len);
	ck_assert(str_eq(store_privacy_key(&on, hidden, true, twice), hidden));
	ck_assert(!str_eq(store_privacy_key(&on, hidden, false, twice), hidden));
	ck_assert(str_eq(store_privacy_key(&off, key, false, twice), key));
}
END_TEST

START_TEST(one_name)
{
	char out[STORE_HIDDEN], other[STORE_HIDDEN];
	struct store_privacy changed = on;
	struct str hidden = store_privacy_name(&on, STR("a@b.example"), false, out);

	changed.secret[15] ^= 1;
	ck_assert_uint_eq(hidden.len, STORE_HIDDEN);
	ck_assert_int_eq(hidden.p[0], '#');
	ck_assert(
	    !str_eq(store_privacy_name(&changed, STR("a@b.example"), false, other),
		hidden));
	ck_assert(
	    !str_eq(store_privacy_name(&on, STR("A@b.example"), false, other), hidden));
	/* What only looks like one is hidden again. */
	ck_assert(!str_is(store_privacy_name(&on, STR("#short"), true, other), "#short"));
	ck_assert_int_eq(store_privacy_name(&on, STR("#1234567890123456789 12"), true,
			     other)
			     .p[0],
	    '#');
	ck_assert(
	    !str_is(store_privacy_name(&on, STR("#1234567890123456789 12"), true, other),
		"#1234567890123456789 12"));
}
END_TEST

static char *
secret_file(const char *text, mode_t mode)
{
	char *file = xasprintf("%s.secret", rig_path);
	int fd = open(file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	size_t len = strlen(text);

	ck_assert(fd >= 0 && write(fd, text, len) == (ssize_t)len);
	ck_assert_int_eq(fchmod(fd, mode), 0);
	close(fd);
	return file;
}

static const struct {
	const char *text;
	mode_t mode;
	const char *told; /* NULL: it is good */
} files[] = {
	{ SECRET, 0640, NULL },
	{ SECRET "\n", 0600, NULL },
	{ " 000102030405060708090A0B0C0D0E0F\r\nrest", 0600, NULL },
	{ SECRET "\n", 0644, "everybody may read" },
	{ SECRET "0\n", 0600, "expected 32 hexadecimal digits" },
	{ "00010203040506070809\n", 0600, "expected 32 hexadecimal digits" },
	{ "g00102030405060708090a0b0c0d0e0f\n", 0600, "expected 32 hexadecimal digits" },
	{ "", 0600, "expected 32 hexadecimal digits" },
	{ "\n" SECRET "\n", 0600, "expected 32 hexadecimal digits" },
};

START_TEST(secret_files)
{
	char *file = secret_file(files[_i].text, files[_i].mode);
	struct store_privacy p = { .on = false };
	struct err err = { .text = "" };

	ck_assert_int_eq(
	    store_privacy_read(&p, file, &err), files[_i].told == NULL ? 0 : -1);
	if (files[_i].told == NULL)
		ck_assert_mem_eq(p.secret, on.secret, STORE_SECRET);
	else
		ck_assert_msg(strstr(err.text, files[_i].told) != NULL, "%s", err.text);
	ck_assert_int_eq(p.on, files[_i].told == NULL);
	struct store_conf conf = rig_embedded_conf();
	conf.secret_file = file;
	struct store *s = store_open(&conf, &err);
	ck_assert_int_eq(s != NULL, files[_i].told == NULL);
	ck_assert(s == NULL || store_hides(s));
	store_close(s);
	unlink(file);
	ck_assert_int_eq(store_privacy_read(&p, file, &err), -1);
	free(file);
}
END_TEST

/* Whether the octets stand in the store's file. */
static bool
in_store(const char *what)
{
	char *file = xasprintf("%s/data.mdb", rig_path);
	FILE *f = fopen(file, "r");
	char *octets = xmalloc(64 << 20);

	ck_assert(f != NULL);
	size_t n = fread(octets, 1, 64 << 20, f);
	fclose(f);
	free(file);
	bool found = memmem(octets, n, what, strlen(what)) != NULL;
	free(octets);
	return found;
}

static void
use(struct store *s)
{
	static const struct str key = { "\0\016dclient.secret\0\012a@b.secret\0\012c@d.secret",
		16 + 12 + 12 };
	struct ipnet net = rig_net("192.0.2.0/24");

	ck_assert_int_eq(rig_greylist_of(store_greylist_check(s, &net,
					     STR("dclient.secret"), key, &rig_times, T0))
			     .seen.state,
	    GREYLIST_NEW);
	ck_assert_int_eq(rig_greylist_of(store_greylist_check(s, &net,
					     STR("dclient.secret"), key, &rig_times,
					     T0 + 300))
			     .seen.state,
	    GREYLIST_RETRIED);
	rig_rate_of(store_rate_add(s, STR("user@rate.secret"), 1, 10, 1, 60, T0));
	rig_note_of(store_note_put(
	    s, NOTE_CORRESPONDENT, STR("a@note.secret"), STR("x"), 60, T0));
	rig_hold_of(store_hold_take(
	    s, STR("n.secret"), STR("holder.secret"), 1, 60, T0));
}

START_TEST(no_name_is_kept)
{
	struct store_conf conf = rig_embedded_conf();
	char *file = secret_file(SECRET, 0600);

	conf.secret_file = _i == 1 ? file : NULL;
	struct store *s = rig_opened(&conf, NULL);
	use(s);
	store_close(s);
	ck_assert_int_eq(in_store(".secret"), _i == 0);
	/* With another secret, or none, it is nobody that is known. */
	if (_i == 1) {
		conf.secret_file = NULL;
		s = rig_opened(&conf, NULL);
		use(s);
		store_close(s);
	}
	free(file);
}
END_TEST

static struct store_conf
hidden_conf(void)
{
	static char *file; /* of this test's folder; the conf borrows it */
	struct store_conf conf = rig_embedded_conf();

	free(file);
	file = secret_file(SECRET, 0600);
	conf.secret_file = file;
	return conf;
}

int
main(void)
{
	static const struct store_subject hidden = { hidden_conf, true };
	Suite *suite = suite_create("store_privacy");
	TCase *own = tcase_create("privacy");
	int expected = store_conformance_add(suite, &hidden);

	tcase_add_checked_fixture(own, rig_directory_new, rig_directory_remove);
	tcase_add_loop_test(own, known_answers, 0, N(answers));
	tcase_add_loop_test(own, names_of_keys, 0, N(keys));
	tcase_add_test(own, one_name);
	tcase_add_loop_test(own, secret_files, 0, N(files));
	tcase_add_loop_test(own, no_name_is_kept, 0, 2);
	expected += N(answers) + N(keys) + 1 + N(files) + 2;
	suite_add_tcase(suite, own);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int ran = srunner_ntests_run(runner), failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return ran == expected && failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

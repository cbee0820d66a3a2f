/* SPDX-License-Identifier: BSD-2-Clause */
/* Maps: what a line means, which files are refused, and that only complete files are
 * loaded: half-saved in place, renamed into place, emptied, deleted, with and without
 * the right to take a lease. */
#include "db/map.h"
#include "db/map_private.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <check.h>

#include "common/base/buf.h"
#include "common/base/clock.h"
#include "common/base/xalloc.h"

#define N(a) ((int)(sizeof(a) / sizeof((a)[0])))
#define S(literal)                                                                     \
	{                                                                              \
		"" literal, sizeof(literal) - 1                                        \
	}

/* --- the text --- */

static const struct good {
	const char *name;
	struct str text;
	size_t n, duplicates;
	const char *key, *value; /* value NULL: not there */
	int line;
} good[] = {
	{ "tab", S("a.example\tREJECT\n"), 1, 0, "a.example", "REJECT", 1 },
	{ "blanks of all kinds", S("a \t \v\fREJECT\n"), 1, 0, "a", "REJECT", 1 },
	{ "key folded, value not", S("Connect:A.Example OK Friend\n"), 1, 0,
	    "connect:a.example", "OK Friend", 1 },
	{ "asked in capitals", S("a OK\n"), 1, 0, "A", "OK", 1 },
	{ "comment and empty lines", S("# x y\n\na OK\n#\n"), 1, 0, "a", "OK", 3 },
	{ "a comment sign later is value", S("a OK # really\n"), 1, 0, "a",
	    "OK # really", 1 },
	{ "no newline at the end", S("a OK\nb NO"), 2, 0, "b", "NO", 2 },
	{ "carriage return at the end", S("a OK\r\nb NO\r\n"), 2, 0, "a", "OK", 1 },
	{ "trailing blanks are value", S("a OK  \n"), 1, 0, "a", "OK  ", 1 },
	{ "no continuation", S("a OK\\\nb NO\n"), 2, 0, "a", "OK\\", 1 },
	{ "a line of blanks", S("a OK\n \t \nb NO\n"), 2, 0, "b", "NO", 3 },
	{ "first of two stays", S("a ONE\nb x\nA TWO\n"), 2, 1, "a", "ONE", 1 },
	{ "empty file", S(""), 0, 0, "a", NULL, 0 },
	{ "only comments", S("# nothing"), 0, 0, "nothing", NULL, 0 },
	{ "a prefix is not the key", S("example.com OK\n"), 1, 0, "example", NULL, 0 },
	{ "8-bit octets", S("m\xfcller\tja \xe4\n"), 1, 0, "m\xfcller", "ja \xe4", 1 },
	{ "empty key asked", S("a OK\n"), 1, 0, "", NULL, 0 },
};

static struct map_table *
parse(struct str text, struct errs *errs)
{
	return map_parse("m", xmemdup0(text.p, text.len), text.len, NULL, errs);
}

START_TEST(good_text)
{
	const struct good *g = &good[_i];
	struct errs errs = { 0 };
	struct map_table *t = parse(g->text, &errs);
	int line;

	ck_assert_msg(t != NULL, "%s", g->name);
	ck_assert_uint_eq(map_count(t), g->n);
	ck_assert_uint_eq(map_duplicates(t, &line), g->duplicates);
	const struct map_entry *e = map_get(t, str_of(g->key));
	ck_assert_msg((e == NULL) == (g->value == NULL), "%s", g->name);
	if (e != NULL) {
		ck_assert_msg(
		    str_is(e->value, g->value), "%s: %.*s", g->name, STR_ARG(e->value));
		ck_assert_int_eq(e->line, g->line);
	}
	map_table_unref(t);
}
END_TEST

static const struct bad {
	const char *name;
	struct str text;
	int line;
	size_t n;
	const char *told;
} bad[] = {
	{ "leading blank", S("a OK\n b OK\n"), 2, 1, "begins with a blank" },
	{ "key alone", S("a OK\n\nb\n"), 3, 1, "without value" },
	{ "key and blanks", S("b \t\n"), 1, 1, "without value" },
	{ "NUL in the value", S("a O\0K\n"), 1, 1, "NUL" },
	{ "NUL in the key", S("a\0b OK\n"), 1, 1, "NUL" },
	{ "every fault is told", S("a\nb OK\nc\n d e\n"), 1, 3, "without value" },
};

START_TEST(bad_text)
{
	const struct bad *b = &bad[_i];
	struct errs errs = { 0 };

	ck_assert_msg(parse(b->text, &errs) == NULL, "%s", b->name);
	ck_assert_uint_eq(errs.n, b->n);
	ck_assert_int_eq(errs.list[0].line, b->line);
	ck_assert_str_eq(errs.list[0].file, "m");
	ck_assert_msg(
	    strstr(errs.list[0].text, b->told) != NULL, "%s", errs.list[0].text);
	errs_clear(&errs);
}
END_TEST

/* n times 'x', then tail */
static struct map_table *
parse_long(size_t n, const char *tail, struct errs *errs)
{
	size_t len = n + strlen(tail);
	char *text = xmalloc(len);

	memset(text, 'x', n);
	memcpy(text + n, tail, len - n);
	return map_parse("m", text, len, NULL, errs);
}

START_TEST(limits)
{
	struct errs errs = { 0 };
	struct map_table *t = parse_long(MAP_KEY_MAX, " OK\n", &errs);

	ck_assert(t != NULL && map_count(t) == 1);
	map_table_unref(t);
	ck_assert(parse_long(MAP_KEY_MAX + 1, " OK\n", &errs) == NULL);
	ck_assert(strstr(errs.list[0].text, "key of 1025") != NULL);
	ck_assert(parse_long(MAP_LINE_MAX + 1, "\nb OK\n", &errs) == NULL);
	ck_assert(strstr(errs.list[1].text, "line of 65537") != NULL);
	errs_clear(&errs);
}
END_TEST

static bool
only_ok(const struct map_entry *e, const char *file, struct errs *errs)
{
	if (str_is(e->value, "OK"))
		return true;
	errs_add(errs, file, e->line, "value \"%.*s\", expected OK", STR_ARG(e->value));
	return false;
}

START_TEST(values_are_checked)
{
	struct errs errs = { 0 };
	char *text = xstrdup("a OK\nb MAYBE\n");

	ck_assert(map_parse("m", text, strlen(text), &(struct map_rules){ .check = only_ok }, &errs) == NULL);
	ck_assert_uint_eq(errs.n, 1);
	ck_assert_int_eq(errs.list[0].line, 2);
	errs_clear(&errs);
}
END_TEST

START_TEST(two_hundred_thousand)
{
	struct buf text;
	struct errs errs = { 0 };
	char key[64];

	buf_init(&text, 16 << 20);
	for (int i = 0; i < 200000; i++)
		buf_addf(&text, "Connect:host%d.Example REJECT %d\n", i, i);
	size_t len = text.len;
	char *taken = buf_take(&text);
	int64_t start = clock_mono_us();
	struct map_table *t = map_parse("m", taken, len, NULL, &errs);
	int64_t built = clock_mono_us();
	ck_assert(t != NULL);
	ck_assert_uint_eq(map_count(t), 200000);
	for (int i = 0; i < 200000; i++) {
		int n = snprintf(key, sizeof(key), "connect:HOST%d.example", i);
		const struct map_entry *e = map_get(t, (struct str){ key, (size_t)n });

		ck_assert(e != NULL && e->line == i + 1);
	}
	printf("# 200000 entries: read in %lld us, all looked up in %lld us\n",
	    (long long)(built - start), (long long)(clock_mono_us() - built));
	map_table_unref(t);
}
END_TEST

/* --- files: in a directory of their own, by relative names, so that a user without
 * rights on the way there can be tried, too --- */

static char *dir;
static int home = -1;

static void
in_directory(void)
{
	const char *tmp = getenv("TMPDIR");

	dir = xasprintf("%s/postern-map-XXXXXX", tmp != NULL ? tmp : "/tmp");
	home = open(".", O_RDONLY | O_CLOEXEC);
	ck_assert(mkdtemp(dir) != NULL);
	ck_assert_int_eq(chmod(dir, 0755), 0);
	ck_assert_int_eq(chdir(dir), 0);
}

static void
leave_directory(void)
{
	static const char *const names[] = { "m", "m.new", "link", "real/m", "real" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		(void)remove(names[i]);
	ck_assert_int_eq(fchdir(home), 0);
	close(home);
	(void)rmdir(dir);
	free(dir);
}

static int
begin_write(const char *name, const char *text)
{
	int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	return fd;
}

static void
put(const char *name, const char *text)
{
	close(begin_write(name, text));
}

static bool
has(struct map *m, const char *key, const char *value)
{
	struct map_table *t = map_table_ref(m);
	const struct map_entry *e = map_get(t, str_of(key));
	bool yes = value == NULL ? e == NULL : e != NULL && str_is(e->value, value);

	map_table_unref(t);
	return yes;
}

static bool
soon(struct map *m, const char *key, const char *value)
{
	int64_t until = clock_mono_ms() + 20000;

	while (!has(m, key, value)) {
		if (clock_mono_ms() > until)
			return false;
		poll(NULL, 0, 5);
	}
	return true;
}

static struct map *
opened(const char *name, map_check *check)
{
	struct errs errs = { 0 };
	struct map *m = map_open(name, check, &errs);

	ck_assert_msg(m != NULL, "%s", errs.n > 0 ? errs.list[0].text : "no reason");
	return m;
}

static void
refused(struct map *m, const char *told)
{
	struct errs errs = { 0 };

	ck_assert_int_eq(map_refresh(m, &errs), -1);
	ck_assert_uint_ge(errs.n, 1);
	ck_assert_msg(strstr(errs.list[0].text, told) != NULL, "%s", errs.list[0].text);
	errs_clear(&errs);
}

static void
swapped(struct map *m, int expected)
{
	struct errs errs = { 0 };

	ck_assert_int_eq(map_refresh(m, &errs), expected);
	ck_assert_uint_eq(errs.n, 0);
}

START_TEST(first_start)
{
	struct errs errs = { 0 };

	ck_assert(map_open("m", NULL, &errs) == NULL);
	ck_assert(strstr(errs.list[0].text, "cannot open") != NULL);
	put("m", "a OK\nb\n");
	ck_assert(map_open("m", NULL, &errs) == NULL);
	ck_assert_int_eq(errs.list[1].line, 2);
	ck_assert(map_open(".", NULL, &errs) == NULL);
	ck_assert(strstr(errs.list[2].text, "regular file") != NULL);
	errs_clear(&errs);
}
END_TEST

START_TEST(reload)
{
	put("m", "a OK\n");
	struct map *m = opened("m", only_ok);
	struct map_table *old = map_table_ref(m);

	swapped(m, 0);
	put("m", "a OK\nb OK\n");
	swapped(m, 1);
	ck_assert(has(m, "b", "OK"));
	ck_assert(
	    map_get(old, STR("b")) == NULL); /* a session keeps what it began with */
	map_table_unref(old);
	put("m", "a OK\nc OK\nd NO\n");
	refused(m, "expected OK");
	refused(m, "expected OK"); /* told at every reload */
	ck_assert(has(m, "b", "OK") && has(m, "c", NULL));
	ck_assert_int_eq(unlink("m"), 0);
	refused(m, "cannot open");
	ck_assert(has(m, "b", "OK"));
	put("m", "e OK\n");
	swapped(m, 1);
	ck_assert(has(m, "e", "OK") && has(m, "b", NULL));
	map_close(m);
}
END_TEST

START_TEST(table_outlives_map)
{
	put("m", "a OK\n");
	struct map *m = opened("m", NULL);
	struct map_table *t = map_table_ref(m);

	map_close(m);
	ck_assert(map_get(t, STR("a")) != NULL);
	ck_assert_str_eq(map_path(t), "m");
	map_table_unref(t);
}
END_TEST

/* A writer that saves in place stops half-way, goes on, and closes. */
START_TEST(half_saved)
{
	put("m", "a OK\nb OK\n");
	struct map *m = opened("m", NULL);
	int fd = begin_write("m", "a NEW\n");

	refused(m, "open for writing");
	ck_assert(has(m, "a", "OK") && has(m, "b", "OK"));
	ck_assert_int_eq(write(fd, "b NEW\n", 6), 6);
	refused(m, "open for writing");
	ck_assert(has(m, "a", "OK"));
	close(fd);
	swapped(m, 1);
	ck_assert(has(m, "a", "NEW") && has(m, "b", "NEW"));
	map_close(m);
}
END_TEST

START_TEST(emptied_then_written)
{
	put("m", "a OK\n");
	struct map *m = opened("m", NULL);
	int64_t start = clock_mono_ms();

	put("m", "");
	swapped(m, 1); /* it really is empty, after a second's rest */
	ck_assert_int_ge(clock_mono_ms() - start, MAP_SETTLE_MS / 2);
	ck_assert(has(m, "a", NULL));
	map_close(m);
}
END_TEST

START_TEST(watched)
{
	struct err err;

	put("m", "a OK\n");
	struct map *m = opened("m", only_ok);
	ck_assert_int_eq(map_watch(&m, 1, &err), 0);

	int fd = begin_write("m", "a OK\n");
	ck_assert_int_eq(write(fd, "b OK\n", 5), 5);
	refused(m, "writ");
	ck_assert(has(m, "b", NULL));
	close(fd);
	ck_assert(soon(m, "b", "OK"));

	put("m.new", "c OK\n");
	ck_assert_int_eq(rename("m.new", "m"), 0);
	ck_assert(soon(m, "c", "OK"));
	ck_assert(has(m, "b", NULL));

	put("m", "c OK\nd WRONG\n"); /* stays out, and the next one comes in */
	ck_assert_int_eq(unlink("m"), 0);
	ck_assert(has(m, "c", "OK"));
	put("m", "e OK\n");
	ck_assert(soon(m, "e", "OK"));
	map_close(m);
}
END_TEST

START_TEST(watched_through_link)
{
	struct err err;

	ck_assert_int_eq(mkdir("real", 0755), 0);
	put("real/m", "a OK\n");
	ck_assert_int_eq(symlink("real/m", "link"), 0);
	put("m", "z OK\n");
	struct map *maps[2] = { opened("link", NULL), opened("m", NULL) };
	ck_assert_int_eq(map_watch(maps, 2, &err), 0);
	put("real/m", "b OK\n");
	ck_assert(soon(maps[0], "b", "OK"));
	put("m", "y OK\n");
	ck_assert(soon(maps[1], "y", "OK"));
	map_close(maps[0]); /* the other one goes on being watched */
	put("m", "x OK\n");
	ck_assert(soon(maps[1], "x", "OK"));
	map_close(maps[1]);
}
END_TEST

/* Without the right to a lease: inotify and rest must do. */
START_TEST(without_lease)
{
	struct err err;

	if (geteuid() != 0) /* the owner of a file always may */
		return;
	put("m", "a OK\n");
	ck_assert_int_eq(seteuid(65534), 0);
	struct map *m = opened("m", NULL);
	ck_assert_int_eq(map_watch(&m, 1, &err), 0);
	ck_assert_int_eq(seteuid(0), 0);
	int fd = begin_write("m", "b NEW\n");
	int64_t until = clock_mono_ms() + 20000;
	bool seen = false;
	while (!seen && clock_mono_ms() < until) {
		pthread_mutex_lock(&m->lock);
		seen = m->writing;
		pthread_mutex_unlock(&m->lock);
		poll(NULL, 0, 1);
	}
	ck_assert(seen);
	ck_assert_int_eq(seteuid(65534), 0);
	refused(m, "being written");
	ck_assert_int_eq(seteuid(0), 0);
	ck_assert(has(m, "a", "OK"));
	close(fd);
	ck_assert(soon(m, "b", "NEW"));
	map_close(m);
}
END_TEST

/* Sessions look up while the map is swapped under them. */
static void *
reader(void *arg)
{
	struct map *m = arg;

	for (int i = 0; i < 3000; i++) {
		struct map_table *t = map_table_ref(m);
		const struct map_entry *e = map_get(t, STR("a"));

		if (e == NULL || e->value.len < 1)
			return m;
		map_table_unref(t);
	}
	return NULL;
}

START_TEST(threads)
{
	pthread_t thread[4];
	void *failed = NULL;

	put("m", "a 0\n");
	struct map *m = opened("m", NULL);
	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(pthread_create(&thread[i], NULL, reader, m), 0);
	for (int i = 1; i < 50; i++) {
		char text[32];

		snprintf(text, sizeof(text), "a %d\n", i);
		put("m.new", text);
		ck_assert_int_eq(rename("m.new", "m"), 0);
		swapped(m, 1);
	}
	for (int i = 0; i < 4; i++) {
		void *result;

		pthread_join(thread[i], &result);
		failed = result != NULL ? result : failed;
	}
	ck_assert(failed == NULL);
	map_close(m);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("map");
	TCase *text = tcase_create("text"), *files = tcase_create("files");
	int expected = N(good) + N(bad) + 3 + 9;

	tcase_add_loop_test(text, good_text, 0, N(good));
	tcase_add_loop_test(text, bad_text, 0, N(bad));
	tcase_add_test(text, limits);
	tcase_add_test(text, values_are_checked);
	tcase_add_test(text, two_hundred_thousand);
	suite_add_tcase(suite, text);
	tcase_add_checked_fixture(files, in_directory, leave_directory);
	tcase_set_timeout(files, 60);
	tcase_add_test(files, first_start);
	tcase_add_test(files, reload);
	tcase_add_test(files, table_outlives_map);
	tcase_add_test(files, half_saved);
	tcase_add_test(files, emptied_then_written);
	tcase_add_test(files, watched);
	tcase_add_test(files, watched_through_link);
	tcase_add_test(files, without_lease);
	tcase_add_test(files, threads);
	suite_add_tcase(suite, files);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int ran = srunner_ntests_run(runner), failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return ran == expected && failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* Shared maps in the embedded engine: what an administrator entered outlives power cuts
 * and a full store; and changes of a map as octets. */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <check.h>
#include <lmdb.h>

#include "common/base/clock.h"
#include "common/base/xalloc.h"
#include "db/store_private.h"
#include "db/store_rows.h"
#include "db/store_table.h"
#include "tests/lib/store_rig.h"

#define N(a) ((int)(sizeof(a) / sizeof((a)[0])))
#define T0 RIG_T0

static enum store_state
enter(struct store *s, const char *key, struct str value)
{
	return rig_map_of(store_map_set(
			      s, STR("access"), str_of(key), value, STR("root"), T0))
	    .state;
}

static void
has(struct store *s, const char *key, const char *value)
{
	struct future *f = store_map_get(s, STR("access"), str_of(key));

	ck_assert(future_wait(f, clock_mono_ms() + RIG_WAIT_MS));
	const struct map_value *v = future_value(f);
	ck_assert_msg(v->found == (value != NULL) && str_eq(v->value, str_of(value)),
	    "%s: \"%.*s\"", key, STR_ARG(v->value));
	future_unref(f);
}

/* In a child that is killed: enter something and wait until it is in the snapshot. */
static void
enter_and_die(void)
{
	struct store_conf conf = rig_embedded_conf();
	char *file = xasprintf("%s/snapshot.mdb", rig_path);
	int64_t until = clock_mono_ms() + RIG_WAIT_MS;

	conf.snapshot_s = 3600; /* the map alone makes one earlier */
	conf.sync_ms = 50;
	struct store *s = rig_opened(&conf, "boot-a");
	for (int i = 0; i < 500; i++) {
		char key[32];

		snprintf(key, sizeof(key), "k%d", i);
		ck_assert_int_eq(enter(s, key, STR("reject")), STORE_OK);
	}
	while (access(file, F_OK) != 0 && clock_mono_ms() < until)
		poll(NULL, 0, 20);
	ck_assert_int_eq(access(file, F_OK), 0);
	kill(getpid(), SIGKILL);
}

static void
damage(const char *name)
{
	char *file = xasprintf("%s/%s", rig_path, name);
	int fd = open(file, O_RDWR | O_CLOEXEC);
	char junk[4096];
	struct stat st;

	ck_assert(fd >= 0 && fstat(fd, &st) == 0);
	memset(junk, 0xa5, sizeof(junk));
	for (off_t at = st.st_size / 4 & ~(off_t)4095; at < st.st_size * 3 / 4;
	     at += 4096)
		ck_assert_int_eq(pwrite(fd, junk, sizeof(junk), at), (int)sizeof(junk));
	close(fd);
	free(file);
}

START_TEST(power_cut)
{
	struct store_conf conf = rig_embedded_conf();
	pid_t child = fork();
	int status;

	ck_assert_int_ge(child, 0);
	if (child == 0)
		enter_and_die();
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	if (_i == 1)
		damage("data.mdb");
	struct store *s = rig_opened(&conf, "boot-b");
	ck_assert_str_ne(rig_stats_of(s).note, "opened");
	has(s, "k0", "reject");
	if (_i == 0)
		has(s, "k499", "reject");
	store_close(s);
}
END_TEST

static void
fill(struct store *s, int from, int n)
{
	struct future *f[100];

	for (int i = from; i < from + n; i += N(f)) {
		for (int j = 0; j < N(f); j++) {
			char key[64];
			int len = snprintf(key, sizeof(key), "a key of a triple %d", i + j);

			f[j] = store_greylist_check(s, NULL, STR("c"),
			    (struct str){ key, (size_t)len }, &rig_times, T0 + i);
		}
		for (int j = 0; j < N(f); j++)
			ck_assert_int_eq(rig_greylist_of(f[j]).state, STORE_OK);
	}
}

/* Records make room for each other; maps take no more than their share, and neither
 * pushes the other out. */
START_TEST(full)
{
	struct store_conf conf = rig_embedded_conf();
	char text[STORE_MAP_VALUE_MAX], key[32];
	int entered = 0;

	conf.size_max = STORE_SIZE_MIN;
	struct store *s = rig_opened(&conf, NULL);
	ck_assert_int_eq(enter(s, "first", STR("ok")), STORE_OK);
	fill(s, 0, 40000);
	has(s, "first", "ok");
	memset(text, 'x', sizeof(text));
	struct str value = { text, sizeof(text) };
	enum store_state state = STORE_OK;
	while (state == STORE_OK && entered < 100000) {
		snprintf(key, sizeof(key), "entry %d", entered++);
		state = enter(s, key, value);
	}
	ck_assert_int_eq(state, STORE_FULL);
	ck_assert_int_gt(entered, 500);
	has(s, key, NULL);
	has(s, "first", "ok");
	fill(s, 40000, 10000);
	ck_assert_int_eq(enter(s, "entry 1", STR("")), STORE_FULL);
	/* Removing is always possible, and makes room. */
	for (int i = 0; i < entered - 1; i++) {
		snprintf(key, sizeof(key), "entry %d", i);
		ck_assert_int_eq(enter(s, key, (struct str){ NULL, 0 }), STORE_OK);
	}
	ck_assert_int_eq(enter(s, "entry 1", STR("again")), STORE_OK);
	has(s, "entry 1", "again");
	has(s, "first", "ok");
	store_close(s);
}
END_TEST

/* With plain LMDB: drop the maps' database (0), or put a key into it that is none. */
static void
tamper(int how)
{
	static char junk[][8] = { "", "x", "mmap", "m\0k", "vm\0k", "lm\0k" };
	MDB_val key = { 5, junk[how] }, value = { 1, junk[1] };
	MDB_env *env;
	MDB_txn *txn;
	MDB_dbi dbi;

	ck_assert_int_eq(mdb_env_create(&env), 0);
	mdb_env_set_maxdbs(env, TABLE_DATABASES);
	mdb_env_set_mapsize(env, 64 << 20);
	ck_assert_int_eq(mdb_env_open(env, rig_path, 0, 0660), 0);
	ck_assert_int_eq(mdb_txn_begin(env, NULL, 0, &txn), 0);
	ck_assert_int_eq(mdb_dbi_open(txn, "maps", 0, &dbi), 0);
	ck_assert_int_eq(how == 0 ? mdb_drop(txn, dbi, 1)
				  : mdb_put(txn, dbi, &key, &value, 0),
	    0);
	ck_assert_int_eq(mdb_txn_commit(txn), 0);
	mdb_env_close(env);
}

static void
try_and_die(void)
{
	struct store_conf conf = rig_embedded_conf();
	struct store *s = rig_opened(&conf, "boot-a");

	rig_try(s, "c", "k", T0);
	kill(getpid(), SIGKILL);
}

/* A store of before there were maps is sound; one with what is no map is not. */
START_TEST(looked_at_closely)
{
	struct store_conf conf = rig_embedded_conf();
	pid_t child = fork();
	int status;

	ck_assert_int_ge(child, 0);
	if (child == 0)
		try_and_die();
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	tamper(_i);
	struct store *s = rig_opened(&conf, "boot-b");
	if (_i == 0) {
		ck_assert_str_eq(rig_stats_of(s).note, "verified after an unclean boot");
		ck_assert_int_eq(rig_try(s, "c", "k", T0 + 1), GREYLIST_EARLY);
	} else {
		ck_assert_str_ne(rig_stats_of(s).note, "verified after an unclean boot");
	}
	ck_assert_int_eq(enter(s, "k", STR("v")), STORE_OK);
	store_close(s);
}
END_TEST

/* --- octets --- */

static const struct map_change changes[] = {
	{ T0, { "root", 4 }, { "k", 1 }, { "v", 1 }, false },
	{ -1, { "", 0 }, { "k\0", 2 }, { "", 0 }, true },
	{ INT64_MAX, { "", 0 }, { "", 0 }, { "\xff\0", 2 }, false },
};

START_TEST(change_octets)
{
	const struct map_change *c = &changes[_i];
	char octets[ROWS_CHANGE_MAX + 1] = { 0 };
	size_t len = rows_change_write(c, octets);
	struct map_change back;

	ck_assert(rows_change_read((struct str){ octets, len }, &back));
	ck_assert_int_eq(back.when, c->when);
	ck_assert_int_eq(back.removed, c->removed);
	ck_assert(str_eq(back.who, c->who) && str_eq(back.key, c->key) &&
	    str_eq(back.value, c->value));
	for (size_t cut = 0; cut < len; cut++)
		ck_assert(!rows_change_read((struct str){ octets, cut }, &back));
	ck_assert(!rows_change_read((struct str){ octets, len + 1 }, &back));
	octets[1] = 2;
	ck_assert(!rows_change_read((struct str){ octets, len }, &back));
	octets[1] = 0;
	octets[0] = 2;
	ck_assert(!rows_change_read((struct str){ octets, len }, &back));
}
END_TEST

static const struct {
	struct str rows;
	int parts;
	size_t left;
} rows[] = {
	{ { "", 0 }, 0, 0 },
	{ { "\0\0\0\0", 4 }, 1, 0 },
	{ { "\0\0\0\1a\0\0\0\0", 9 }, 2, 0 },
	{ { "\0\0\0", 3 }, 0, 3 },
	{ { "\0\0\0\2a", 5 }, 0, 5 },
	{ { "\0\0\0\1a\xff\xff\xff\xff", 9 }, 1, 4 },
};

START_TEST(row_octets)
{
	struct str s = rows[_i].rows, part;
	int n = 0;

	while (rows_part(&s, &part))
		n++;
	ck_assert_int_eq(n, rows[_i].parts);
	ck_assert_uint_eq(s.len, rows[_i].left);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("store_map");
	TCase *own = tcase_create("embedded"), *octets = tcase_create("octets");

	tcase_add_checked_fixture(own, rig_directory_new, rig_directory_remove);
	tcase_set_timeout(own, 60);
	tcase_add_loop_test(own, power_cut, 0, 2);
	tcase_add_test(own, full);
	tcase_add_loop_test(own, looked_at_closely, 0, 6);
	tcase_add_loop_test(octets, change_octets, 0, N(changes));
	tcase_add_loop_test(octets, row_octets, 0, N(rows));
	suite_add_tcase(suite, own);
	suite_add_tcase(suite, octets);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int ran = srunner_ntests_run(runner), failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return ran == 2 + 1 + 6 + N(changes) + N(rows) && failed == 0 ? EXIT_SUCCESS
								      : EXIT_FAILURE;
}

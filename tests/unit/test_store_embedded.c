/* SPDX-License-Identifier: BSD-2-Clause */
/* What the embedded engine promises about crashes, power cuts, other processes, damaged
 * files and a full store. */
#include "db/store.h"
#include "db/store_private.h"
#include "db/store_table.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <check.h>
#include <lmdb.h>

#include "common/base/clock.h"
#include "common/base/xalloc.h"
#include "tests/lib/store_rig.h"

#define N(a) ((int)(sizeof(a) / sizeof((a)[0])))
#define T0 RIG_T0
#define DAY RIG_DAY
#define WAIT_MS RIG_WAIT_MS

/* --- the embedded engine --- */

START_TEST(refuses_to_open)
{
	struct store_conf conf = rig_embedded_conf();
	struct err err;

	conf.size_max = STORE_SIZE_MIN - 1;
	ck_assert(store_open(&conf, &err) == NULL);
	ck_assert(strstr(err.text, "expected at least") != NULL);
	conf = rig_embedded_conf();
	conf.engine = "tape";
	ck_assert(store_open(&conf, &err) == NULL);
	ck_assert(strstr(err.text, "\"tape\"") != NULL);
	conf = rig_embedded_conf();
	conf.path = "/nowhere/at/all";
	ck_assert(store_open(&conf, &err) == NULL);
	ck_assert(strstr(err.text, "/nowhere/at/all") != NULL);
	store_close(NULL);
}
END_TEST

static void
mode_is(const char *name, mode_t mode)
{
	char *file = xasprintf("%s%s", rig_path, name);
	struct stat st;

	ck_assert_msg(stat(file, &st) == 0, "%s", file);
	ck_assert_msg((st.st_mode & 07777) == mode, "%s: %o", file,
	    (unsigned)(st.st_mode & 07777));
	free(file);
}

START_TEST(files_are_shared)
{
	mode_t mask = umask(077);
	struct store_conf conf = rig_embedded_conf();
	struct store *s = rig_opened(&conf, NULL);

	umask(mask);
	mode_is("", 02770);
	mode_is("/data.mdb", 0660);
	mode_is("/lock.mdb", 0660);
	mode_is("/open.lock", 0660);
	mode_is("/boot", 0660);
	store_close(s);
}
END_TEST

START_TEST(remembers)
{
	struct store_conf conf = rig_embedded_conf();
	struct store *s = rig_opened(&conf, "boot-a");

	ck_assert_str_eq(rig_stats_of(s).note, "new");
	rig_try(s, "c", "k", T0);
	store_close(s);
	s = rig_opened(&conf, "boot-a");
	ck_assert_str_eq(rig_stats_of(s).note, "opened");
	ck_assert_int_eq(rig_try(s, "c", "k", T0 + 400), GREYLIST_RETRIED);
	store_close(s);
	s = rig_opened(&conf, "boot-b"); /* closed in order: trusted over a boot */
	ck_assert_str_eq(rig_stats_of(s).note, "opened");
	ck_assert_int_eq(rig_try(s, "c", "k", T0 + 500), GREYLIST_KNOWN);
	store_close(s);
}
END_TEST

START_TEST(each_answer_on_disk)
{
	struct store_conf conf = rig_embedded_conf();

	conf.sync_ms = 0;
	struct store *s = rig_opened(&conf, NULL);
	ck_assert_int_eq(rig_try(s, "c", "k", T0), GREYLIST_NEW);
	ck_assert_int_eq(rig_try(s, "c", "k", T0 + 1), GREYLIST_EARLY);
	store_close(s);
}
END_TEST

/* Run in a child with the store open; it ends without closing. */
static void
crash_after(const char *boot_id, void (*work)(struct store *s))
{
	pid_t child = fork();

	ck_assert_int_ge(child, 0);
	if (child == 0) {
		struct store_conf conf = rig_embedded_conf();

		conf.snapshot_s = 1;
		work(rig_opened(&conf, boot_id));
		kill(getpid(), SIGKILL);
	}
	int status;
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void
many_triples(struct store *s)
{
	for (int i = 0; i < 2000; i++) {
		char key[32];

		snprintf(key, sizeof(key), "k%d", i);
		rig_try(s, "c", key, T0);
	}
}

static void
with_snapshot(struct store *s)
{
	char *file = xasprintf("%s/snapshot.mdb", rig_path);
	int64_t until = clock_mono_ms() + WAIT_MS;

	many_triples(s);
	while (access(file, F_OK) != 0 && clock_mono_ms() < until)
		poll(NULL, 0, 20);
	ck_assert_int_eq(access(file, F_OK), 0);
	rig_try(s, "c", "after the snapshot", T0);
	free(file);
}

START_TEST(killed_same_boot)
{
	crash_after("boot-a", many_triples);
	struct store_conf conf = rig_embedded_conf();
	struct store *s = rig_opened(&conf, "boot-a");
	ck_assert_str_eq(rig_stats_of(s).note, "opened");
	ck_assert_uint_eq(rig_stats_of(s).entries, 2000);
	ck_assert_int_eq(rig_try(s, "c", "k1999", T0 + 1), GREYLIST_EARLY);
	store_close(s);
}
END_TEST

START_TEST(power_cut_sound)
{
	crash_after("boot-a", many_triples);
	struct store_conf conf = rig_embedded_conf();
	struct store *s = rig_opened(&conf, "boot-b");
	ck_assert_str_eq(rig_stats_of(s).note, "verified after an unclean boot");
	ck_assert_uint_eq(rig_stats_of(s).entries, 2000);
	ck_assert_int_eq(rig_try(s, "c", "k1999", T0 + 1), GREYLIST_EARLY);
	store_close(s);
}
END_TEST

/* Overwrite the middle half of a file, as a power cut leaves pages that were never
 * written. */
static void
damage(const char *name)
{
	char *file = xasprintf("%s/%s", rig_path, name);
	int fd = open(file, O_RDWR | O_CLOEXEC);
	char junk[4096];
	struct stat st;

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(fstat(fd, &st), 0);
	memset(junk, 0xa5, sizeof(junk));
	for (off_t at = st.st_size / 4 & ~(off_t)4095; at < st.st_size * 3 / 4;
	     at += 4096)
		ck_assert_int_eq(pwrite(fd, junk, sizeof(junk), at), (int)sizeof(junk));
	close(fd);
	free(file);
}

START_TEST(power_cut_torn)
{
	crash_after("boot-a", with_snapshot);
	damage("data.mdb");
	struct store_conf conf = rig_embedded_conf();
	struct store *s = rig_opened(&conf, "boot-b");
	ck_assert_msg(strncmp(rig_stats_of(s).note, "recovered from snapshot", 23) == 0,
	    "%s", rig_stats_of(s).note);
	ck_assert_uint_ge(rig_stats_of(s).entries, 2000);
	ck_assert_int_eq(rig_try(s, "c", "k1999", T0 + 1), GREYLIST_EARLY);
	mode_is("/data.mdb", 0660);
	store_close(s);
}
END_TEST

START_TEST(power_cut_all_torn)
{
	crash_after("boot-a", with_snapshot);
	damage("data.mdb");
	damage("snapshot.mdb");
	struct store_conf conf = rig_embedded_conf();
	struct store *s = rig_opened(&conf, "boot-b");
	ck_assert_msg(strncmp(rig_stats_of(s).note, "begun empty", 11) == 0, "%s",
	    rig_stats_of(s).note);
	ck_assert_uint_eq(rig_stats_of(s).entries, 0);
	ck_assert_int_eq(rig_try(s, "c", "k1", T0 + 400), GREYLIST_NEW);
	store_close(s);
}
END_TEST

/* Not LMDB's at all, with a boot file that says all is well. */
START_TEST(foreign_file)
{
	struct store_conf conf = rig_embedded_conf();
	struct store *s = rig_opened(&conf, "boot-a");

	store_close(s);
	char *file = xasprintf("%s/data.mdb", rig_path);
	int fd = open(file, O_WRONLY | O_TRUNC | O_CLOEXEC);
	for (int i = 0; i < 1000; i++)
		ck_assert_int_eq(write(fd, "not a database\n", 15), 15);
	close(fd);
	free(file);
	s = rig_opened(&conf, "boot-a");
	ck_assert_msg(strncmp(rig_stats_of(s).note, "begun empty", 11) == 0, "%s",
	    rig_stats_of(s).note);
	ck_assert_int_eq(rig_try(s, "c", "k", T0), GREYLIST_NEW);
	store_close(s);
}
END_TEST

/* Change every record in place by fn, with plain LMDB. */
static void
tamper(void (*fn)(uint8_t *value, size_t *len))
{
	MDB_env *env;
	MDB_txn *txn;
	MDB_dbi dbi;
	MDB_cursor *cursor;
	MDB_val key, value;

	ck_assert_int_eq(mdb_env_create(&env), 0);
	mdb_env_set_maxdbs(env, TABLE_DATABASES);
	mdb_env_set_mapsize(env, 64 << 20);
	ck_assert_int_eq(mdb_env_open(env, rig_path, 0, 0660), 0);
	ck_assert_int_eq(mdb_txn_begin(env, NULL, 0, &txn), 0);
	ck_assert_int_eq(mdb_dbi_open(txn, "data", 0, &dbi), 0);
	ck_assert_int_eq(mdb_cursor_open(txn, dbi, &cursor), 0);
	while (mdb_cursor_get(cursor, &key, &value, MDB_NEXT) == 0) {
		uint8_t copy[2000], name[64];
		size_t len = value.mv_size;

		memcpy(copy, value.mv_data, len);
		memcpy(name, key.mv_data, key.mv_size); /* its page moves */
		key.mv_data = name;
		fn(copy, &len);
		value = (MDB_val){ len, copy };
		ck_assert_int_eq(mdb_cursor_put(cursor, &key, &value, MDB_CURRENT), 0);
	}
	mdb_cursor_close(cursor);
	ck_assert_int_eq(mdb_txn_commit(txn), 0);
	mdb_env_close(env);
}

static void
cut_short(uint8_t *value, size_t *len)
{
	(void)value;
	*len = 20;
}

static void
next_version(uint8_t *value, size_t *len)
{
	value[0] = 2;
	value[*len] = 'x';
	*len += 1;
}

static void
other_name(uint8_t *value, size_t *len)
{
	value[*len - 1] ^= 1;
}

static void
impossible_flag(uint8_t *value, size_t *len)
{
	(void)len;
	value[18] = 7;
}

static void (*const tamperings[])(
    uint8_t *, size_t *) = { cut_short, next_version, other_name, impossible_flag };

START_TEST(damaged_values_are_absent)
{
	struct store_conf conf = rig_embedded_conf();
	struct store *s = rig_opened(&conf, NULL);

	rig_try(s, "c", "k", T0);
	rig_try(s, "c", "l", T0);
	store_close(s);
	tamper(tamperings[_i]);
	s = rig_opened(&conf, NULL);
	ck_assert_int_eq(rig_try(s, "c", "k", T0 + 400), GREYLIST_NEW);
	ck_assert_int_eq(rig_try(s, "c", "k", T0 + 800), GREYLIST_RETRIED);
	/* and they expire, whatever they are */
	int64_t until = clock_mono_ms() + WAIT_MS;
	ck_assert_int_eq(rig_try(s, "c", "k", T0 + 30 * DAY), GREYLIST_KNOWN);
	while (rig_stats_of(s).entries > 2 && clock_mono_ms() < until)
		poll(NULL, 0, 20);
	ck_assert_uint_eq(rig_stats_of(s).entries, 2); /* k and c */
	store_close(s);
}
END_TEST

/* Write without end until killed. */
static void
write_on(struct store *s, int seed)
{
	struct future *last = NULL;

	for (int i = 0;; i++) {
		char key[64];

		snprintf(key, sizeof(key), "%d/%d", seed, i % 5000);
		future_unref(last);
		last = store_greylist_check(
		    s, NULL, str_of(key), str_of(key), &rig_times, T0 + i / 16);
		if (i % 64 == 0)
			future_wait(last, clock_mono_ms() + WAIT_MS);
	}
}

static pid_t
writer(int seed)
{
	int ready[2];
	char c;

	ck_assert_int_eq(pipe2(ready, O_CLOEXEC), 0);
	pid_t child = fork();
	ck_assert_int_ge(child, 0);
	if (child == 0) {
		struct store_conf conf = rig_embedded_conf();
		struct store *s = rig_opened(&conf, "boot-a");

		rig_try(s, "c", "ready", T0);
		if (write(ready[1], "r", 1) != 1)
			_exit(1);
		write_on(s, seed);
	}
	close(ready[1]);
	ck_assert_int_eq(read(ready[0], &c, 1), 1);
	close(ready[0]);
	return child;
}

START_TEST(killed_while_writing)
{
	struct store_conf conf = rig_embedded_conf();

	for (int i = 0; i < 20; i++) {
		pid_t a = writer(i), b = writer(1000 + i);

		poll(NULL, 0, 7 * i % 40); /* somewhere in the middle */
		kill(a, SIGKILL);
		kill(b, SIGKILL);
		ck_assert_int_eq(waitpid(a, NULL, 0), a);
		ck_assert_int_eq(waitpid(b, NULL, 0), b);
		/* Another boot: everything is walked and checked. */
		struct store *s = rig_opened(&conf, i % 4 == 3 ? "boot-b" : "boot-a");
		const char *note = rig_stats_of(s).note;
		ck_assert_msg(
		    strcmp(note,
			i % 4 == 3 ? "verified after an unclean boot" : "opened") == 0,
		    "round %d: %s", i, note);
		ck_assert_int_ne(rig_try(s, "c", "ready", T0 + 1), GREYLIST_NEW);
		store_close(s);
	}
}
END_TEST

/* Two processes count on one bucket. */
START_TEST(two_processes)
{
	pid_t child[2];

	for (int i = 0; i < 2; i++) {
		child[i] = fork();
		ck_assert_int_ge(child[i], 0);
		if (child[i] == 0) {
			struct store_conf conf = rig_embedded_conf();
			struct store *s = rig_opened(&conf, NULL);

			for (int k = 0; k < 1000; k++) {
				struct rate_answer a = rig_rate_of(
				    store_rate_add(s, STR("b"), 1, 1000000, 0, 1, T0));
				if (!a.allowed)
					_exit(1);
			}
			store_close(s);
			_exit(0);
		}
	}
	for (int i = 0; i < 2; i++) {
		int status;

		ck_assert_int_eq(waitpid(child[i], &status, 0), child[i]);
		ck_assert_int_eq(status, 0);
	}
	struct store_conf conf = rig_embedded_conf();
	struct store *s = rig_opened(&conf, "boot-b");
	ck_assert_str_eq(
	    rig_stats_of(s).note, "opened"); /* the last one closed in order */
	ck_assert_int_eq(
	    rig_rate_of(store_rate_add(s, STR("b"), 0, 1, 0, 1, T0)).level, 2000);
	store_close(s);
}
END_TEST

/* A store that was allowed 64 MB is opened with 8: it shrinks while it serves. */
START_TEST(smaller_than_before)
{
	struct store_conf conf = rig_embedded_conf();
	struct store *s = rig_opened(&conf, NULL);
	char key[600];

	memset(key, 'x', sizeof(key));
	for (int i = 0; i < 40000; i++) {
		key[snprintf(key, 16, "%d", i)] = ' ';
		struct future *f = store_greylist_check(s, NULL, STR("c"),
		    (struct str){ key, sizeof(key) }, &rig_times, T0 + i);
		if (i % 1000 == 999)
			ck_assert(future_wait(f, clock_mono_ms() + WAIT_MS));
		future_unref(f);
	}
	ck_assert_uint_gt(rig_stats_of(s).bytes, 16 << 20);
	store_close(s);
	conf.size_max = STORE_SIZE_MIN;
	s = rig_opened(&conf, NULL);
	int64_t until = clock_mono_ms() + WAIT_MS;
	for (int i = 0; rig_stats_of(s).bytes > conf.size_max; i++) {
		char name[16];

		snprintf(name, sizeof(name), "n%d", i);
		ck_assert_int_eq(rig_try(s, "c", name, T0 + 50000), GREYLIST_NEW);
		ck_assert_int_lt(clock_mono_ms(), until);
	}
	store_close(s);
}
END_TEST

START_TEST(full_evicts_what_expires_first)
{
	struct store_conf conf = rig_embedded_conf();
	char key[600];

	conf.size_max = STORE_SIZE_MIN;
	struct store *s = rig_opened(&conf, NULL);
	memset(key, 'x', sizeof(key));
	/* 30000 records of 700 octets do not fit 8 MB; later ones expire later. */
	struct future *f[64] = { NULL };
	for (int i = 0; i < 30000; i++) {
		int n = snprintf(key, 16, "%d", i);
		key[n] = ' ';
		struct future **slot = &f[i % 64];
		if (*slot != NULL)
			ck_assert_int_eq(rig_greylist_of(*slot).state, STORE_OK);
		*slot = store_greylist_check(s, NULL, STR("c"),
		    (struct str){ key, sizeof(key) }, &rig_times, T0 + i);
	}
	for (int i = 0; i < 64; i++)
		ck_assert_int_eq(rig_greylist_of(f[i]).state, STORE_OK);
	struct store_stats st = rig_stats_of(s);
	ck_assert_uint_gt(st.entries, 2500);
	ck_assert_uint_lt(st.entries, 12000);
	ck_assert_uint_le(st.bytes, st.size_max);
	int n = snprintf(key, 16, "%d", 29000);
	key[n] = ' ';
	struct greylist_answer a = rig_greylist_of(store_greylist_check(s, NULL,
	    STR("c"), (struct str){ key, sizeof(key) }, &rig_times, T0 + 30000));
	ck_assert_int_eq(a.seen.state, GREYLIST_RETRIED);
	n = snprintf(key, 16, "%d", 5);
	memset(key + n, ' ', 1);
	memset(key + n + 1, 'x', 10);
	a = rig_greylist_of(store_greylist_check(s, NULL, STR("c"),
	    (struct str){ key, sizeof(key) }, &rig_times, T0 + 30000));
	ck_assert_int_eq(a.seen.state, GREYLIST_NEW);
	store_close(s);
	struct stat file;
	char *name = xasprintf("%s/data.mdb", rig_path);
	ck_assert_int_eq(stat(name, &file), 0);
	ck_assert_uint_le((uint64_t)file.st_size, conf.size_max);
	free(name);
}
END_TEST

/* A child that, when told, runs fn with a store of its own on the same path.  It is
 * made before this process has threads. */
static pid_t
child_new(uint64_t size_max, void (*fn)(struct store *s), int *go)
{
	int fds[2];

	ck_assert_int_eq(pipe2(fds, O_CLOEXEC), 0);
	pid_t child = fork();
	ck_assert_int_ge(child, 0);
	if (child == 0) {
		struct store_conf conf = rig_embedded_conf();
		char c;

		conf.size_max = size_max;
		if (read(fds[0], &c, 1) != 1)
			_exit(1);
		struct store *s = rig_opened(&conf, NULL);
		fn(s);
		store_close(s);
		_exit(0);
	}
	close(fds[0]);
	*go = fds[1];
	return child;
}

static void
child_run(pid_t child, int go)
{
	int status;

	ck_assert_int_eq(write(go, "g", 1), 1);
	close(go);
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(status, 0);
}

static void
twelve_megabytes(struct store *s)
{
	char key[600];
	struct future *last = NULL;

	memset(key, 'y', sizeof(key));
	for (int i = 0; i < 16000; i++) {
		key[snprintf(key, 16, "%d", i)] = ' ';
		future_unref(last);
		last = store_greylist_check(s, NULL, STR("c"),
		    (struct str){ key, sizeof(key) }, &rig_times, T0);
		if (i % 1000 == 999)
			ck_assert(future_wait(last, clock_mono_ms() + WAIT_MS));
	}
	future_unref(last);
}

/* Another process may use more room than we were told of: we follow. */
START_TEST(map_grows_elsewhere)
{
	struct store_conf conf = rig_embedded_conf();

	int go;
	pid_t child = child_new(64 << 20, twelve_megabytes, &go);

	conf.size_max = STORE_SIZE_MIN;
	struct store *s = rig_opened(&conf, NULL);
	ck_assert_int_eq(rig_try(s, "c", "before", T0), GREYLIST_NEW);
	child_run(child, go);
	ck_assert_int_eq(rig_try(s, "c", "before", T0 + 1), GREYLIST_EARLY);
	ck_assert_int_eq(rig_try(s, "c", "after", T0), GREYLIST_NEW);
	store_close(s);
}
END_TEST

/* A child that holds LMDB's write lock until told. */
static pid_t
hold_lock(int *release)
{
	int held[2], go[2];
	char c;

	ck_assert_int_eq(pipe2(held, O_CLOEXEC) | pipe2(go, O_CLOEXEC), 0);
	pid_t child = fork();
	ck_assert_int_ge(child, 0);
	if (child == 0) {
		MDB_env *env;
		MDB_txn *txn;

		close(go[1]);
		if (mdb_env_create(&env) != 0 ||
		    mdb_env_open(env, rig_path, 0, 0660) != 0 ||
		    mdb_txn_begin(env, NULL, 0, &txn) != 0 ||
		    write(held[1], "h", 1) != 1)
			_exit(1);
		_exit(read(go[0], &c, 1) != 0);
	}
	close(held[1]);
	close(go[0]);
	ck_assert_int_eq(read(held[0], &c, 1), 1);
	close(held[0]);
	*release = go[1];
	return child;
}

/* Who comes while a transaction stands still is refused at once; who was there before
 * is answered when it goes on. */
START_TEST(stall_costs_nothing)
{
	struct store_conf conf = rig_embedded_conf();
	struct store *s = rig_opened(&conf, NULL);
	int release, status;
	struct future *f = NULL;
	int64_t until = clock_mono_ms() + WAIT_MS;

	rig_try(s, "c", "k", T0);
	pid_t child = hold_lock(&release);
	struct future *first =
	    store_greylist_check(s, NULL, STR("c"), STR("k"), &rig_times, T0 + 1);
	ck_assert(!future_wait(first, clock_mono_ms() + 100));
	do {
		future_unref(f);
		f = store_greylist_check(s, NULL, STR("c"), STR("x"), &rig_times, T0);
		ck_assert_int_lt(clock_mono_ms(), until);
		poll(NULL, 0, 20);
	} while (!future_done(f));
	ck_assert_int_eq(rig_greylist_of(f).state, STORE_DOWN);
	ck_assert(!future_done(first));
	close(release);
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(status, 0);
	ck_assert_int_eq(rig_greylist_of(first).seen.state, GREYLIST_EARLY);
	ck_assert_int_eq(rig_try(s, "c", "k", T0 + 2), GREYLIST_EARLY);
	store_close(s);
}
END_TEST

/* A disk that takes no more: nothing is recorded, and it is said; later all is well. */
START_TEST(disk_refuses)
{
	struct store_conf conf = rig_embedded_conf();
	struct rlimit was, now;
	int64_t until;
	struct greylist_answer a;

	ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &was), 0);
	signal(SIGXFSZ, SIG_IGN);
	struct store *s = rig_opened(&conf, NULL);
	ck_assert_int_eq(rig_try(s, "c", "k", T0), GREYLIST_NEW);
	now = was;
	now.rlim_cur = 4096;
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &now), 0);
	a = rig_greylist_of(
	    store_greylist_check(s, NULL, STR("c"), STR("lost"), &rig_times, T0));
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &was), 0);
	ck_assert_int_ne(a.state, STORE_OK);
	until = clock_mono_ms() + WAIT_MS;
	do {
		ck_assert_int_lt(clock_mono_ms(), until);
		poll(NULL, 0, 20);
		a = rig_greylist_of(store_greylist_check(
		    s, NULL, STR("c"), STR("lost"), &rig_times, T0));
	} while (a.state != STORE_OK);
	ck_assert_int_eq(a.seen.state, GREYLIST_NEW);
	ck_assert_int_eq(rig_try(s, "c", "k", T0 + 1), GREYLIST_EARLY);
	store_close(s);
	signal(SIGXFSZ, SIG_DFL);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("store_embedded");
	TCase *own = tcase_create("embedded");
	int expected = 0;

#define OWN(test) (tcase_add_test(own, test), expected++)
	tcase_add_checked_fixture(own, rig_directory_new, rig_directory_remove);
	tcase_set_timeout(own, 100);
	OWN(refuses_to_open);
	OWN(files_are_shared);
	OWN(remembers);
	OWN(each_answer_on_disk);
	OWN(killed_same_boot);
	OWN(power_cut_sound);
	OWN(power_cut_torn);
	OWN(power_cut_all_torn);
	OWN(foreign_file);
	OWN(killed_while_writing);
	OWN(two_processes);
	OWN(full_evicts_what_expires_first);
	OWN(smaller_than_before);
	OWN(map_grows_elsewhere);
	OWN(stall_costs_nothing);
	OWN(disk_refuses);
	tcase_add_loop_test(own, damaged_values_are_absent, 0, N(tamperings));
	expected += N(tamperings);
	suite_add_tcase(suite, own);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int ran = srunner_ntests_run(runner), failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return ran == expected && failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

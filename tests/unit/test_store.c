/* SPDX-License-Identifier: BSD-2-Clause */
/* The store: one suite of meanings that every engine must pass, and what the embedded
 * engine promises about crashes, power cuts, other processes and a full disk. */
#include "db/store.h"
#include "db/store_private.h"

#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <pthread.h>
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

#define N(a) ((int)(sizeof(a) / sizeof((a)[0])))
#define T0 INT64_C(1800000000)
#define DAY INT64_C(86400)
#define WAIT_MS 20000

static const struct greylist_times times = { .delay = 300,
	.window = 2 * DAY,
	.keep = 35 * DAY,
	.auto_whitelist = 3,
	.whitelist_keep = 30 * DAY };

static char *dir; /* of one test; the store is "<dir>/state" */
static char *path;

static void
directory_new(void)
{
	const char *tmp = getenv("TMPDIR");

	dir = xasprintf("%s/postern-store-XXXXXX", tmp != NULL ? tmp : "/tmp");
	ck_assert(mkdtemp(dir) != NULL);
	path = xasprintf("%s/state", dir);
}

static int
remove_one(const char *name, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	return remove(name);
}

static void
directory_remove(void)
{
	nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
	free(path);
	free(dir);
}

static struct store_conf
embedded_conf(void)
{
	return (struct store_conf){ .engine = "embedded",
		.path = path,
		.size_max = 64 << 20,
		.sync_ms = 1000,
		.snapshot_s = 0 };
}

static struct store *
opened(const struct store_conf *conf, const char *boot_id)
{
	struct err err = { .text = "" };
	struct store *s = boot_id == NULL ? store_open(conf, &err)
					  : store_open_booted(conf, boot_id, &err);

	ck_assert_msg(s != NULL, "%s", err.text);
	return s;
}

/* The engines under test: how each makes the configuration of a fresh store. */
static struct store_conf (*const engines[])(void) = { embedded_conf };

static struct store *
fresh(int i)
{
	struct store_conf conf = engines[i]();

	return opened(&conf, NULL);
}

/* --- asking and waiting --- */

static struct greylist_answer
greylist_of(struct future *f)
{
	ck_assert(future_wait(f, clock_mono_ms() + WAIT_MS));
	struct greylist_answer a = *(struct greylist_answer *)future_value(f);
	future_unref(f);
	return a;
}

static struct event_answer
event_of(struct future *f)
{
	ck_assert(future_wait(f, clock_mono_ms() + WAIT_MS));
	struct event_answer a = *(struct event_answer *)future_value(f);
	future_unref(f);
	return a;
}

static struct rate_answer
rate_of(struct future *f)
{
	ck_assert(future_wait(f, clock_mono_ms() + WAIT_MS));
	struct rate_answer a = *(struct rate_answer *)future_value(f);
	future_unref(f);
	return a;
}

static struct ipnet
net(const char *text)
{
	struct ipnet n;

	ck_assert(ipnet_parse(str_of(text), &n));
	return n;
}

static enum greylist_state
try(struct store *s, const char *client, const char *key, int64_t now)
{
	struct greylist_answer a = greylist_of(
	    store_greylist_check(s, NULL, str_of(client), str_of(key), &times, now));

	ck_assert_int_eq(a.state, STORE_OK);
	return a.seen.state;
}

static struct store_stats
stats_of(struct store *s)
{
	struct store_stats st;
	struct err err = { .text = "" };

	ck_assert_msg(store_stats(s, &st, &err) == 0, "%s", err.text);
	return st;
}

/* --- what every engine does --- */

START_TEST(life_of_a_triple)
{
	struct store *s = fresh(_i);

	ck_assert_int_eq(try(s, "c", "k", T0), GREYLIST_NEW);
	ck_assert_int_eq(try(s, "c", "other", T0), GREYLIST_NEW);
	ck_assert_int_eq(try(s, "c", "k", T0 + 299), GREYLIST_EARLY);
	ck_assert_int_eq(try(s, "c", "k", T0 + 300), GREYLIST_RETRIED);
	ck_assert_int_eq(try(s, "c", "k", T0 + 30 * DAY), GREYLIST_KNOWN);
	ck_assert_int_eq(try(s, "c", "k", T0 + 66 * DAY), GREYLIST_NEW);
	ck_assert_int_eq(try(s, "c", "other", T0 + 3 * DAY), GREYLIST_NEW);
	struct greylist_answer a = greylist_of(store_greylist_check(
	    s, NULL, STR("c"), STR("k"), &times, T0 + 66 * DAY + 7));
	ck_assert_int_eq(a.seen.state, GREYLIST_EARLY);
	ck_assert_int_eq(a.seen.first, T0 + 66 * DAY);
	ck_assert_int_eq(a.seen.tries, 2);
	store_close(s);
}
END_TEST

/* Confirm n triples of a client, from T0 on. */
static void
confirm(struct store *s, const char *client, int n, int64_t from)
{
	for (int i = 0; i < n; i++) {
		char key[64];

		snprintf(key, sizeof(key), "%s/%lld/%d", client, (long long)from, i);
		ck_assert_int_eq(try(s, client, key, from), GREYLIST_NEW);
		ck_assert_int_eq(try(s, client, key, from + 400), GREYLIST_RETRIED);
	}
}

START_TEST(client_is_whitelisted)
{
	struct store *s = fresh(_i);

	confirm(s, "c", 3, T0);
	ck_assert_int_eq(try(s, "c", "new", T0 + 500), GREYLIST_WHITELISTED);
	ck_assert_int_eq(try(s, "d", "new", T0 + 500), GREYLIST_NEW);
	ck_assert_int_eq(try(s, "c", "new", T0 + 31 * DAY), GREYLIST_NEW);
	store_close(s);
}
END_TEST

static enum greylist_state
try_in(struct store *s, const char *network, const char *key, int64_t now)
{
	struct ipnet n = net(network);
	struct greylist_answer a = greylist_of(
	    store_greylist_check(s, &n, str_of("c"), str_of(key), &times, now));

	ck_assert_int_eq(a.state, STORE_OK);
	return a.seen.state;
}

static const struct voiding {
	enum event_kind kind;
	const char *network;
	bool voids;
} voidings[] = {
	{ EVENT_VIRUS, "192.0.2.0/24", true },
	{ EVENT_TRAP, "192.0.2.0/24", true },
	{ EVENT_SPAM, "192.0.2.0/24", false },
	{ EVENT_FLOOD, "192.0.2.0/24", false },
	{ EVENT_VIRUS, "192.0.3.0/24", false },
	{ EVENT_TRAP, "2001:db8::/64", false },
};

START_TEST(events_void)
{
	struct store *s = fresh(_i / N(voidings));
	const struct voiding *v = &voidings[_i % N(voidings)];
	struct ipnet n = net(v->network);

	confirm(s, "c", 3, T0);
	ck_assert_int_eq(
	    try_in(s, "192.0.2.0/24", "x", T0 + 500), GREYLIST_WHITELISTED);
	event_of(store_event_add(s, &n, v->kind, 1, DAY, T0 + 600));
	ck_assert_int_eq(try_in(s, "192.0.2.0/24", "y", T0 + 700),
	    v->voids ? GREYLIST_NEW : GREYLIST_WHITELISTED);
	/* What is confirmed afterwards counts again. */
	if (v->voids) {
		ck_assert_int_eq(
		    try_in(s, "192.0.2.0/24", "y", T0 + 1000), GREYLIST_RETRIED);
		confirm(s, "c", 2, T0 + 1000);
		ck_assert_int_eq(
		    try_in(s, "192.0.2.0/24", "z", T0 + 2000), GREYLIST_WHITELISTED);
	}
	store_close(s);
}
END_TEST

START_TEST(events_add_up)
{
	struct store *s = fresh(_i);
	struct ipnet a = net("192.0.2.0/24"), b = net("2001:db8:1::/64");
	struct event_answer e = event_of(store_event_get(s, &a, EVENT_SPAM, T0));

	ck_assert_int_eq(e.state, STORE_OK);
	ck_assert_int_eq(e.weight, 0);
	ck_assert_int_eq(e.last, 0);
	e = event_of(store_event_add(s, &a, EVENT_SPAM, 5, 100, T0));
	ck_assert_int_eq(e.weight, 5);
	e = event_of(store_event_add(s, &a, EVENT_SPAM, 7, 100, T0 + 100));
	ck_assert_int_eq(e.weight, 12);
	ck_assert_int_eq(e.last, T0 + 100);
	e = event_of(store_event_get(s, &a, EVENT_FLOOD, T0 + 100));
	ck_assert_int_eq(e.weight, 0);
	e = event_of(store_event_get(s, &b, EVENT_SPAM, T0 + 100));
	ck_assert_int_eq(e.weight, 0);
	e = event_of(store_event_get(s, &a, EVENT_SPAM, T0 + 200));
	ck_assert_int_eq(e.weight, 12);
	e = event_of(store_event_get(s, &a, EVENT_SPAM, T0 + 201));
	ck_assert_int_eq(e.weight, 0);
	e = event_of(store_event_add(s, &a, EVENT_SPAM, 1, 100, T0 + 201));
	ck_assert_int_eq(e.weight, 1);
	store_close(s);
}
END_TEST

/* Steps on one bucket of burst 10. */
static const struct step {
	int64_t at, n, rate, per;
	bool allowed;
	int64_t level, wait;
} steps[] = {
	{ 0, 4, 1, 10, true, 4, 0 },
	{ 0, 6, 1, 10, true, 10, 0 },
	{ 0, 1, 1, 10, false, 10, 10 },
	{ 9, 1, 1, 10, false, 10, 1 }, /* 9.1 in it, rounded up */
	{ 10, 1, 1, 10, true, 10, 0 },
	{ 11, 11, 1, 10, false, 10, -1 }, /* never fits */
	{ 11, 5, 0, 10, false, 10, -1 }, /* nothing leaks */
	{ 5, 1, 1, 10, false, 10, 10 }, /* clock back: stands still */
	{ 30, 1, 1, 10, true, 9, 0 },
	{ 1000, 0, 1, 10, true, 0, 0 },
	{ 1000, 10, 1, 10, true, 10, 0 },
};

START_TEST(rates)
{
	struct store *s = fresh(_i);

	for (int i = 0; i < N(steps); i++) {
		const struct step *st = &steps[i];
		struct rate_answer a = rate_of(store_rate_add(
		    s, STR("b"), st->n, 10, st->rate, st->per, T0 + st->at));

		ck_assert_int_eq(a.state, STORE_OK);
		ck_assert_msg(a.allowed == st->allowed && a.level == st->level &&
			a.wait == st->wait,
		    "step %d: allowed %d level %lld wait %lld", i, a.allowed,
		    (long long)a.level, (long long)a.wait);
	}
	struct rate_answer other =
	    rate_of(store_rate_add(s, STR("c"), 1, 10, 1, 10, T0));
	ck_assert_int_eq(other.level, 1);
	store_close(s);
}
END_TEST

START_TEST(slow_rate_leaks)
{
	struct store *s = fresh(_i);

	/* 10 a day, asked every second while full: after 8640 s one fits again. */
	ck_assert(rate_of(store_rate_add(s, STR("b"), 10, 10, 10, DAY, T0)).allowed);
	for (int t = 1; t < 8640; t += 7)
		ck_assert(!rate_of(store_rate_add(s, STR("b"), 1, 10, 10, DAY, T0 + t))
			       .allowed);
	ck_assert(
	    rate_of(store_rate_add(s, STR("b"), 1, 10, 10, DAY, T0 + 8641)).allowed);
	ck_assert(
	    !rate_of(store_rate_add(s, STR("b"), 1, 10, 10, DAY, T0 + 8642)).allowed);
	store_close(s);
}
END_TEST

START_TEST(long_names)
{
	struct store *s = fresh(_i);
	char name[STORE_NAME_MAX + 1];

	memset(name, 'x', sizeof(name));
	struct str max = { name, STORE_NAME_MAX }, over = { name, STORE_NAME_MAX + 1 };
	ck_assert_int_eq(
	    greylist_of(store_greylist_check(s, NULL, max, max, &times, T0)).seen.state,
	    GREYLIST_NEW);
	/* Alike in the part that is kept readable, and yet another triple. */
	name[STORE_NAME_MAX - 1] = 'y';
	ck_assert_int_eq(
	    greylist_of(store_greylist_check(s, NULL, max, max, &times, T0)).seen.state,
	    GREYLIST_NEW);
	ck_assert_int_eq(
	    greylist_of(store_greylist_check(s, NULL, max, max, &times, T0)).seen.state,
	    GREYLIST_EARLY);
	ck_assert_int_eq(
	    greylist_of(store_greylist_check(s, NULL, STR("c"), over, &times, T0))
		.state,
	    STORE_DOWN);
	ck_assert_int_eq(
	    greylist_of(store_greylist_check(s, NULL, over, STR("k"), &times, T0))
		.state,
	    STORE_DOWN);
	ck_assert_int_eq(
	    rate_of(store_rate_add(s, over, 1, 1, 1, 1, T0)).state, STORE_DOWN);
	ck_assert_int_eq(
	    rate_of(store_rate_add(s, STR(""), 1, 1, 1, 1, T0)).state, STORE_OK);
	store_close(s);
}
END_TEST

struct racer {
	struct store *store;
	pthread_barrier_t *start;
	enum greylist_state state;
};

static void *
race(void *arg)
{
	struct racer *r = arg;

	pthread_barrier_wait(r->start);
	struct future *f =
	    store_greylist_check(r->store, NULL, STR("c"), STR("same"), &times, T0);
	if (future_wait(f, clock_mono_ms() + WAIT_MS))
		r->state = ((struct greylist_answer *)future_value(f))->seen.state;
	future_unref(f);
	return NULL;
}

START_TEST(one_is_new)
{
	struct store *s = fresh(_i);
	pthread_barrier_t start;
	pthread_t thread[64];
	struct racer racer[64];
	int n_new = 0, n_early = 0;

	pthread_barrier_init(&start, NULL, 64);
	for (int i = 0; i < 64; i++) {
		racer[i] = (struct racer){ s, &start, GREYLIST_KNOWN };
		ck_assert_int_eq(pthread_create(&thread[i], NULL, race, &racer[i]), 0);
	}
	for (int i = 0; i < 64; i++) {
		pthread_join(thread[i], NULL);
		n_new += racer[i].state == GREYLIST_NEW;
		n_early += racer[i].state == GREYLIST_EARLY;
	}
	pthread_barrier_destroy(&start);
	ck_assert_int_eq(n_new, 1);
	ck_assert_int_eq(n_early, 63);
	ck_assert_uint_eq(stats_of(s).entries, 1);
	store_close(s);
}
END_TEST

/* Every thread counts on buckets of its own and on a common one. */
static void *
count(void *arg)
{
	struct racer *r = arg;
	char name[32];

	snprintf(name, sizeof(name), "own %p", arg);
	for (int i = 0; i < 200; i++) {
		future_unref(
		    store_rate_add(r->store, str_of(name), 1, 1000000, 0, 1, T0));
		future_unref(
		    store_rate_add(r->store, STR("common"), 1, 1000000, 0, 1, T0));
	}
	struct future *f = store_rate_add(r->store, str_of(name), 0, 1, 0, 1, T0);
	if (future_wait(f, clock_mono_ms() + WAIT_MS))
		r->state = ((struct rate_answer *)future_value(f))->level == 200
		    ? GREYLIST_NEW
		    : GREYLIST_KNOWN;
	future_unref(f);
	return NULL;
}

START_TEST(nothing_is_lost)
{
	struct store *s = fresh(_i);
	pthread_t thread[16];
	struct racer racer[16];

	for (int i = 0; i < 16; i++) {
		racer[i] = (struct racer){ s, NULL, GREYLIST_KNOWN };
		ck_assert_int_eq(pthread_create(&thread[i], NULL, count, &racer[i]), 0);
	}
	for (int i = 0; i < 16; i++) {
		pthread_join(thread[i], NULL);
		ck_assert_int_eq(racer[i].state, GREYLIST_NEW);
	}
	ck_assert_int_eq(
	    rate_of(store_rate_add(s, STR("common"), 0, 1, 0, 1, T0)).level, 3200);
	store_close(s);
}
END_TEST

START_TEST(close_answers)
{
	struct store *s = fresh(_i);
	struct future *f[500];

	for (int i = 0; i < 500; i++)
		f[i] = store_rate_add(s, STR("b"), 1, 1000, 0, 1, T0);
	store_close(s);
	for (int i = 0; i < 500; i++) {
		ck_assert(future_done(f[i]));
		ck_assert_int_eq(rate_of(f[i]).level, i + 1);
	}
}
END_TEST

START_TEST(expired_records_go)
{
	struct store *s = fresh(_i);
	int64_t until = clock_mono_ms() + WAIT_MS;

	for (int i = 0; i < 500; i++) {
		char key[32];

		snprintf(key, sizeof(key), "k%d", i);
		try(s, "c", key, T0);
	}
	ck_assert_uint_eq(stats_of(s).entries, 500);
	/* One of them lives on; its row in the index is older than it. */
	ck_assert_int_eq(try(s, "c", "k7", T0 + 400), GREYLIST_RETRIED);
	ck_assert_int_eq(try(s, "c", "k7", T0 + 3 * DAY), GREYLIST_KNOWN);
	while (stats_of(s).entries > 2 && clock_mono_ms() < until)
		poll(NULL, 0, 20);
	ck_assert_uint_eq(stats_of(s).entries, 2); /* the triple and its client */
	ck_assert_int_eq(try(s, "c", "k7", T0 + 4 * DAY), GREYLIST_KNOWN);
	store_close(s);
}
END_TEST

/* --- the embedded engine --- */

START_TEST(refuses_to_open)
{
	struct store_conf conf = embedded_conf();
	struct err err;

	conf.size_max = STORE_SIZE_MIN - 1;
	ck_assert(store_open(&conf, &err) == NULL);
	ck_assert(strstr(err.text, "expected at least") != NULL);
	conf = embedded_conf();
	conf.engine = "tape";
	ck_assert(store_open(&conf, &err) == NULL);
	ck_assert(strstr(err.text, "\"tape\"") != NULL);
	conf = embedded_conf();
	conf.path = "/nowhere/at/all";
	ck_assert(store_open(&conf, &err) == NULL);
	ck_assert(strstr(err.text, "/nowhere/at/all") != NULL);
	store_close(NULL);
}
END_TEST

static void
mode_is(const char *name, mode_t mode)
{
	char *file = xasprintf("%s%s", path, name);
	struct stat st;

	ck_assert_msg(stat(file, &st) == 0, "%s", file);
	ck_assert_msg((st.st_mode & 07777) == mode, "%s: %o", file,
	    (unsigned)(st.st_mode & 07777));
	free(file);
}

START_TEST(files_are_shared)
{
	mode_t mask = umask(077);
	struct store_conf conf = embedded_conf();
	struct store *s = opened(&conf, NULL);

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
	struct store_conf conf = embedded_conf();
	struct store *s = opened(&conf, "boot-a");

	ck_assert_str_eq(stats_of(s).note, "new");
	try(s, "c", "k", T0);
	store_close(s);
	s = opened(&conf, "boot-a");
	ck_assert_str_eq(stats_of(s).note, "opened");
	ck_assert_int_eq(try(s, "c", "k", T0 + 400), GREYLIST_RETRIED);
	store_close(s);
	s = opened(&conf, "boot-b"); /* closed in order: trusted over a boot */
	ck_assert_str_eq(stats_of(s).note, "opened");
	ck_assert_int_eq(try(s, "c", "k", T0 + 500), GREYLIST_KNOWN);
	store_close(s);
}
END_TEST

START_TEST(each_answer_on_disk)
{
	struct store_conf conf = embedded_conf();

	conf.sync_ms = 0;
	struct store *s = opened(&conf, NULL);
	ck_assert_int_eq(try(s, "c", "k", T0), GREYLIST_NEW);
	ck_assert_int_eq(try(s, "c", "k", T0 + 1), GREYLIST_EARLY);
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
		struct store_conf conf = embedded_conf();

		conf.snapshot_s = 1;
		work(opened(&conf, boot_id));
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
		try(s, "c", key, T0);
	}
}

static void
with_snapshot(struct store *s)
{
	char *file = xasprintf("%s/snapshot.mdb", path);
	int64_t until = clock_mono_ms() + WAIT_MS;

	many_triples(s);
	while (access(file, F_OK) != 0 && clock_mono_ms() < until)
		poll(NULL, 0, 20);
	ck_assert_int_eq(access(file, F_OK), 0);
	try(s, "c", "after the snapshot", T0);
	free(file);
}

START_TEST(killed_same_boot)
{
	crash_after("boot-a", many_triples);
	struct store_conf conf = embedded_conf();
	struct store *s = opened(&conf, "boot-a");
	ck_assert_str_eq(stats_of(s).note, "opened");
	ck_assert_uint_eq(stats_of(s).entries, 2000);
	ck_assert_int_eq(try(s, "c", "k1999", T0 + 1), GREYLIST_EARLY);
	store_close(s);
}
END_TEST

START_TEST(power_cut_sound)
{
	crash_after("boot-a", many_triples);
	struct store_conf conf = embedded_conf();
	struct store *s = opened(&conf, "boot-b");
	ck_assert_str_eq(stats_of(s).note, "verified after an unclean boot");
	ck_assert_uint_eq(stats_of(s).entries, 2000);
	ck_assert_int_eq(try(s, "c", "k1999", T0 + 1), GREYLIST_EARLY);
	store_close(s);
}
END_TEST

/* Overwrite the middle half of a file, as a power cut leaves pages that were never
 * written. */
static void
damage(const char *name)
{
	char *file = xasprintf("%s/%s", path, name);
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
	struct store_conf conf = embedded_conf();
	struct store *s = opened(&conf, "boot-b");
	ck_assert_msg(strncmp(stats_of(s).note, "recovered from snapshot", 23) == 0,
	    "%s", stats_of(s).note);
	ck_assert_uint_ge(stats_of(s).entries, 2000);
	ck_assert_int_eq(try(s, "c", "k1999", T0 + 1), GREYLIST_EARLY);
	mode_is("/data.mdb", 0660);
	store_close(s);
}
END_TEST

START_TEST(power_cut_all_torn)
{
	crash_after("boot-a", with_snapshot);
	damage("data.mdb");
	damage("snapshot.mdb");
	struct store_conf conf = embedded_conf();
	struct store *s = opened(&conf, "boot-b");
	ck_assert_msg(
	    strncmp(stats_of(s).note, "begun empty", 11) == 0, "%s", stats_of(s).note);
	ck_assert_uint_eq(stats_of(s).entries, 0);
	ck_assert_int_eq(try(s, "c", "k1", T0 + 400), GREYLIST_NEW);
	store_close(s);
}
END_TEST

/* Not LMDB's at all, with a boot file that says all is well. */
START_TEST(foreign_file)
{
	struct store_conf conf = embedded_conf();
	struct store *s = opened(&conf, "boot-a");

	store_close(s);
	char *file = xasprintf("%s/data.mdb", path);
	int fd = open(file, O_WRONLY | O_TRUNC | O_CLOEXEC);
	for (int i = 0; i < 1000; i++)
		ck_assert_int_eq(write(fd, "not a database\n", 15), 15);
	close(fd);
	free(file);
	s = opened(&conf, "boot-a");
	ck_assert_msg(
	    strncmp(stats_of(s).note, "begun empty", 11) == 0, "%s", stats_of(s).note);
	ck_assert_int_eq(try(s, "c", "k", T0), GREYLIST_NEW);
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
	mdb_env_set_maxdbs(env, 3);
	mdb_env_set_mapsize(env, 64 << 20);
	ck_assert_int_eq(mdb_env_open(env, path, 0, 0660), 0);
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
	struct store_conf conf = embedded_conf();
	struct store *s = opened(&conf, NULL);

	try(s, "c", "k", T0);
	try(s, "c", "l", T0);
	store_close(s);
	tamper(tamperings[_i]);
	s = opened(&conf, NULL);
	ck_assert_int_eq(try(s, "c", "k", T0 + 400), GREYLIST_NEW);
	ck_assert_int_eq(try(s, "c", "k", T0 + 800), GREYLIST_RETRIED);
	/* and they expire, whatever they are */
	int64_t until = clock_mono_ms() + WAIT_MS;
	ck_assert_int_eq(try(s, "c", "k", T0 + 30 * DAY), GREYLIST_KNOWN);
	while (stats_of(s).entries > 2 && clock_mono_ms() < until)
		poll(NULL, 0, 20);
	ck_assert_uint_eq(stats_of(s).entries, 2); /* k and c */
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
		    s, NULL, str_of(key), str_of(key), &times, T0 + i / 16);
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
		struct store_conf conf = embedded_conf();
		struct store *s = opened(&conf, "boot-a");

		try(s, "c", "ready", T0);
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
	struct store_conf conf = embedded_conf();

	for (int i = 0; i < 20; i++) {
		pid_t a = writer(i), b = writer(1000 + i);

		poll(NULL, 0, 7 * i % 40); /* somewhere in the middle */
		kill(a, SIGKILL);
		kill(b, SIGKILL);
		ck_assert_int_eq(waitpid(a, NULL, 0), a);
		ck_assert_int_eq(waitpid(b, NULL, 0), b);
		/* Another boot: everything is walked and checked. */
		struct store *s = opened(&conf, i % 4 == 3 ? "boot-b" : "boot-a");
		const char *note = stats_of(s).note;
		ck_assert_msg(
		    strcmp(note,
			i % 4 == 3 ? "verified after an unclean boot" : "opened") == 0,
		    "round %d: %s", i, note);
		ck_assert_int_ne(try(s, "c", "ready", T0 + 1), GREYLIST_NEW);
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
			struct store_conf conf = embedded_conf();
			struct store *s = opened(&conf, NULL);

			for (int k = 0; k < 1000; k++) {
				struct rate_answer a = rate_of(
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
	struct store_conf conf = embedded_conf();
	struct store *s = opened(&conf, "boot-b");
	ck_assert_str_eq(stats_of(s).note, "opened"); /* the last one closed in order */
	ck_assert_int_eq(
	    rate_of(store_rate_add(s, STR("b"), 0, 1, 0, 1, T0)).level, 2000);
	store_close(s);
}
END_TEST

/* A store that was allowed 64 MB is opened with 8: it shrinks while it serves. */
START_TEST(smaller_than_before)
{
	struct store_conf conf = embedded_conf();
	struct store *s = opened(&conf, NULL);
	char key[600];

	memset(key, 'x', sizeof(key));
	for (int i = 0; i < 40000; i++) {
		key[snprintf(key, 16, "%d", i)] = ' ';
		struct future *f = store_greylist_check(s, NULL, STR("c"),
		    (struct str){ key, sizeof(key) }, &times, T0 + i);
		if (i % 1000 == 999)
			ck_assert(future_wait(f, clock_mono_ms() + WAIT_MS));
		future_unref(f);
	}
	ck_assert_uint_gt(stats_of(s).bytes, 16 << 20);
	store_close(s);
	conf.size_max = STORE_SIZE_MIN;
	s = opened(&conf, NULL);
	int64_t until = clock_mono_ms() + WAIT_MS;
	for (int i = 0; stats_of(s).bytes > conf.size_max; i++) {
		char name[16];

		snprintf(name, sizeof(name), "n%d", i);
		ck_assert_int_eq(try(s, "c", name, T0 + 50000), GREYLIST_NEW);
		ck_assert_int_lt(clock_mono_ms(), until);
	}
	store_close(s);
}
END_TEST

START_TEST(full_evicts_what_expires_first)
{
	struct store_conf conf = embedded_conf();
	char key[600];

	conf.size_max = STORE_SIZE_MIN;
	struct store *s = opened(&conf, NULL);
	memset(key, 'x', sizeof(key));
	/* 30000 records of 700 octets do not fit 8 MB; later ones expire later. */
	struct future *f[64] = { NULL };
	for (int i = 0; i < 30000; i++) {
		int n = snprintf(key, 16, "%d", i);
		key[n] = ' ';
		struct future **slot = &f[i % 64];
		if (*slot != NULL)
			ck_assert_int_eq(greylist_of(*slot).state, STORE_OK);
		*slot = store_greylist_check(s, NULL, STR("c"),
		    (struct str){ key, sizeof(key) }, &times, T0 + i);
	}
	for (int i = 0; i < 64; i++)
		ck_assert_int_eq(greylist_of(f[i]).state, STORE_OK);
	struct store_stats st = stats_of(s);
	ck_assert_uint_gt(st.entries, 2500);
	ck_assert_uint_lt(st.entries, 12000);
	ck_assert_uint_le(st.bytes, st.size_max);
	int n = snprintf(key, 16, "%d", 29000);
	key[n] = ' ';
	struct greylist_answer a = greylist_of(store_greylist_check(
	    s, NULL, STR("c"), (struct str){ key, sizeof(key) }, &times, T0 + 30000));
	ck_assert_int_eq(a.seen.state, GREYLIST_RETRIED);
	n = snprintf(key, 16, "%d", 5);
	memset(key + n, ' ', 1);
	memset(key + n + 1, 'x', 10);
	a = greylist_of(store_greylist_check(
	    s, NULL, STR("c"), (struct str){ key, sizeof(key) }, &times, T0 + 30000));
	ck_assert_int_eq(a.seen.state, GREYLIST_NEW);
	store_close(s);
	struct stat file;
	char *name = xasprintf("%s/data.mdb", path);
	ck_assert_int_eq(stat(name, &file), 0);
	ck_assert_uint_le((uint64_t)file.st_size, conf.size_max);
	free(name);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("store");
	TCase *any = tcase_create("any engine"), *own = tcase_create("embedded");
	int n = N(engines), expected = 0;

#define ANY(test, loops) (tcase_add_loop_test(any, test, 0, loops), expected += (loops))
#define OWN(test) (tcase_add_test(own, test), expected++)
	tcase_add_checked_fixture(any, directory_new, directory_remove);
	tcase_add_checked_fixture(own, directory_new, directory_remove);
	tcase_set_timeout(any, 60);
	tcase_set_timeout(own, 100);
	ANY(life_of_a_triple, n);
	ANY(client_is_whitelisted, n);
	ANY(events_void, n * N(voidings));
	ANY(events_add_up, n);
	ANY(rates, n);
	ANY(slow_rate_leaks, n);
	ANY(long_names, n);
	ANY(one_is_new, n);
	ANY(nothing_is_lost, n);
	ANY(close_answers, n);
	ANY(expired_records_go, n);
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
	tcase_add_loop_test(own, damaged_values_are_absent, 0, N(tamperings));
	expected += N(tamperings);
	suite_add_tcase(suite, any);
	suite_add_tcase(suite, own);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int ran = srunner_ntests_run(runner), failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return ran == expected && failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

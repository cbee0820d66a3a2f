/* SPDX-License-Identifier: BSD-2-Clause */
/* The Redis engine: the conformance suite, and what it does when its server is away,
 * hangs, is slow, forgets, refuses, or holds what is not ours: the answer, how long it
 * took, what was counted, and that it works again afterwards. */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <check.h>

#include "common/base/buf.h"
#include "common/base/clock.h"
#include "common/base/metrics.h"
#include "common/base/xalloc.h"
#include "db/store_address.h"
#include "tests/lib/redis_rig.h"
#include "tests/lib/store_conformance.h"
#include "tests/lib/store_rig.h"

#define N(a) ((int)(sizeof(a) / sizeof((a)[0])))
#define T0 RIG_T0
#define DEADLINE_MS 100
#define SLACK_MS 150 /* of a loaded machine */
#define AT_ONCE_MS 60
#define RECOVERY_MS 15000

static struct rig_server common; /* of the whole program, for what does not harm it */
static struct rig_server own; /* of one test */

static struct store_conf
common_conf(void)
{
	ck_assert_str_eq(rig_server_ask(&common, "FLUSHALL"), "OK");
	struct store_conf conf = rig_server_conf(&common);
	conf.deadline_ms = 20000; /* meaning is tested, not time */
	return conf;
}

static struct buf page_before; /* metrics as the test found them */

static uint64_t
counted_on(struct str page, const char *name)
{
	struct str line;
	uint64_t n, sum = 0;

	while (str_cut(&page, '\n', &line)) {
		ptrdiff_t blank = str_rindex(line, ' ');

		if (str_starts(line, str_of(name)) && blank > 0 &&
		    str_to_uint(str_sub(line, (size_t)blank + 1, line.len), 0,
			UINT64_MAX, &n))
			sum += n;
	}
	return sum;
}

/* What this test added to a counter, over all its labels. */
static uint64_t
counted(const char *name)
{
	struct buf page;

	buf_init(&page, 1 << 20);
	metrics_render(&page);
	uint64_t n =
	    counted_on(buf_str(&page), name) - counted_on(buf_str(&page_before), name);
	buf_clear(&page);
	return n;
}

static void
counters_new(void)
{
	buf_init(&page_before, 1 << 20);
	metrics_render(&page_before);
}

static void
counters_remove(void)
{
	buf_clear(&page_before);
}

static void
own_new(void)
{
	counters_new();
	rig_server_place(&own);
}

static void
own_started(void)
{
	own_new();
	rig_server_start(&own, NULL);
}

static void
own_remove(void)
{
	rig_server_remove(&own);
	counters_remove();
}

#define TIMEOUTS "postern_store_redis_timeouts_total"
#define REFUSED "postern_store_redis_refused_total"
#define OPENED "postern_store_redis_breaker_opened_total"
#define ERRORS(class) "postern_store_redis_errors_total{class=\"" class "\"}"

/* Add one to a bucket that never leaks. */
static struct rate_answer
ask(struct store *s, const char *name, int64_t *took_ms)
{
	int64_t begin = clock_mono_ms();
	struct rate_answer a =
	    rig_rate_of(store_rate_add(s, str_of(name), 1, 1000000, 0, 1, T0));

	if (took_ms != NULL)
		*took_ms = clock_mono_ms() - begin;
	return a;
}

static void
ask_down(struct store *s, int64_t within_ms)
{
	int64_t took;
	struct rate_answer a = ask(s, "x", &took);

	ck_assert_int_eq(a.state, STORE_DOWN);
	ck_assert_msg(took <= within_ms, "%lld ms", (long long)took);
}

/* Asks until it is answered. */
static void
recovers(struct store *s)
{
	int64_t until = clock_mono_ms() + RECOVERY_MS;

	while (ask(s, "recovery", NULL).state != STORE_OK) {
		ck_assert_msg(clock_mono_ms() < until, "does not recover");
		poll(NULL, 0, 10);
	}
}

static struct store *
open_own(void)
{
	struct store_conf conf = rig_server_conf(&own);

	return rig_opened(&conf, NULL);
}

/* --- the server is away --- */

START_TEST(away_at_the_start)
{
	int64_t begin = clock_mono_ms();
	struct store *s = open_own();
	struct store_stats st;
	struct err err;

	ck_assert_int_le(clock_mono_ms() - begin, DEADLINE_MS + SLACK_MS);
	for (int i = 0; i < 100; i++)
		ask_down(s, AT_ONCE_MS);
	ck_assert_uint_eq(counted(REFUSED), 100);
	ck_assert_int_eq(store_stats(s, &st, &err), -1);
	rig_server_start(&own, NULL);
	recovers(s);
	store_close(s);
}
END_TEST

START_TEST(killed_and_back)
{
	struct store *s = open_own();

	ck_assert_int_eq(ask(s, "x", NULL).state, STORE_OK);
	rig_server_kill(&own);
	ask_down(s, DEADLINE_MS + SLACK_MS);
	ck_assert_uint_eq(counted(OPENED), 1);
	for (int i = 0; i < 20; i++)
		ask_down(s, AT_ONCE_MS);
	ck_assert_uint_ge(counted(REFUSED), 20);
	rig_server_start(&own, NULL);
	recovers(s);
	store_close(s);
}
END_TEST

/* Nobody asked meanwhile: nobody notices. */
START_TEST(restarted_while_idle)
{
	struct store *s = open_own();

	ck_assert_int_eq(ask(s, "x", NULL).level, 1);
	rig_server_kill(&own);
	rig_server_start(&own, NULL);
	for (int i = 0; i < 10; i++) {
		char name[16];

		snprintf(name, sizeof(name), "after %d", i);
		struct rate_answer a = ask(s, name, NULL);
		ck_assert_int_eq(a.state, STORE_OK);
		ck_assert_int_eq(a.level, 1);
	}
	ck_assert_uint_eq(counted(OPENED), 0);
	store_close(s);
}
END_TEST

struct asker {
	struct store *store;
	atomic_bool *stop;
	int64_t slowest_ms, ok, down, other;
};

static void *
asker_run(void *arg)
{
	struct asker *a = arg;
	char name[32];

	snprintf(name, sizeof(name), "asker %p", arg);
	while (!*a->stop) {
		int64_t begin = clock_mono_ms();
		struct future *f =
		    store_rate_add(a->store, str_of(name), 1, 1000000000, 0, 1, T0);

		if (!future_wait(f, begin + RIG_WAIT_MS)) {
			a->other++;
		} else {
			struct rate_answer *r = future_value(f);

			a->ok += r->state == STORE_OK;
			a->down += r->state == STORE_DOWN;
			a->other += r->state == STORE_FULL;
		}
		future_unref(f);
		int64_t took = clock_mono_ms() - begin;
		a->slowest_ms = took > a->slowest_ms ? took : a->slowest_ms;
	}
	return NULL;
}

START_TEST(restarted_under_load)
{
	struct store *s = open_own();
	struct asker asker[8];
	pthread_t thread[8];
	atomic_bool stop = false;
	int64_t ok = 0, down = 0;

	for (int i = 0; i < 8; i++) {
		asker[i] = (struct asker){ .store = s, .stop = &stop };
		ck_assert(pthread_create(&thread[i], NULL, asker_run, &asker[i]) == 0);
	}
	for (int i = 0; i < 3; i++) {
		recovers(s);
		rig_server_kill(&own);
		ask_down(s, DEADLINE_MS + SLACK_MS);
		rig_server_start(&own, NULL);
	}
	recovers(s);
	stop = true;
	for (int i = 0; i < 8; i++) {
		pthread_join(thread[i], NULL);
		ck_assert_int_eq(asker[i].other, 0);
		ck_assert_int_le(asker[i].slowest_ms, DEADLINE_MS + 2 * SLACK_MS);
		ok += asker[i].ok;
		down += asker[i].down;
	}
	ck_assert_int_gt(ok, 0);
	ck_assert_int_gt(down, 0);
	ck_assert_uint_eq(counted(OPENED), 3);
	store_close(s);
}
END_TEST

/* --- it does not answer in time --- */

START_TEST(hangs)
{
	struct store *s = open_own();
	int64_t took;

	ck_assert_int_eq(ask(s, "x", NULL).state, STORE_OK);
	rig_server_signal(&own, SIGSTOP);
	ck_assert_int_eq(ask(s, "x", &took).state, STORE_DOWN);
	ck_assert_int_ge(took, DEADLINE_MS - 1);
	ck_assert_int_le(took, DEADLINE_MS + SLACK_MS);
	ck_assert_uint_eq(counted(TIMEOUTS), 1);
	ck_assert_uint_eq(counted(OPENED), 1);
	for (int i = 0; i < 50; i++)
		ask_down(s, AT_ONCE_MS);
	ck_assert_uint_eq(counted(REFUSED), 50);
	rig_server_signal(&own, SIGCONT);
	recovers(s);
	store_close(s);
}
END_TEST

/* What waits behind a hung batch is answered by its own deadline, too. */
START_TEST(hangs_with_a_queue)
{
	struct store *s = open_own();
	struct future *f[500];

	rig_server_signal(&own, SIGSTOP);
	int64_t begin = clock_mono_ms();
	for (int i = 0; i < 500; i++)
		f[i] = store_rate_add(s, STR("same"), 1, 1000, 0, 1, T0);
	for (int i = 0; i < 500; i++)
		ck_assert_int_eq(rig_rate_of(f[i]).state, STORE_DOWN);
	ck_assert_int_le(clock_mono_ms() - begin, DEADLINE_MS + SLACK_MS);
	rig_server_signal(&own, SIGCONT);
	store_close(s);
}
END_TEST

START_TEST(closes_while_it_hangs)
{
	struct store *s = open_own();
	struct future *f = store_rate_add(s, STR("x"), 1, 10, 0, 1, T0);

	rig_rate_of(f);
	rig_server_signal(&own, SIGSTOP);
	f = store_rate_add(s, STR("x"), 1, 10, 0, 1, T0);
	int64_t begin = clock_mono_ms();
	store_close(s);
	ck_assert_int_le(clock_mono_ms() - begin, DEADLINE_MS + SLACK_MS);
	ck_assert(future_done(f));
	ck_assert_int_eq(rig_rate_of(f).state, STORE_DOWN);
}
END_TEST

START_TEST(slow)
{
	struct rig_between between = { .to = own.socket, .delay_ms = 0 };

	rig_between_start(&between, own.dir);
	struct store_conf conf = rig_server_conf(&own);
	conf.address = between.path;
	struct store *s = rig_opened(&conf, NULL);
	int64_t took;

	between.delay_ms = 30;
	ck_assert_int_eq(ask(s, "a", &took).level, 1);
	ck_assert_int_ge(took, 29);
	between.delay_ms = 4 * DEADLINE_MS;
	ck_assert_int_eq(ask(s, "a", &took).state, STORE_DOWN);
	ck_assert_int_le(took, DEADLINE_MS + SLACK_MS);
	ck_assert_uint_eq(counted(TIMEOUTS), 1);
	between.delay_ms = 0;
	recovers(s);
	/* The answer that came too late was nobody else's. */
	ck_assert_int_eq(ask(s, "b", NULL).level, 1);
	ck_assert_int_eq(ask(s, "a", NULL).level, 3);
	store_close(s);
	rig_between_stop(&between);
}
END_TEST

/* --- it refuses --- */

static const struct refusal {
	const char *name, *begin, *end;
	const char *counter;
	bool reads, opens;
	enum store_state state;
} refusals[] = {
	{ "replica", "REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE", ERRORS("away"), false,
	    true, STORE_DOWN },
	{ "full", "CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0", ERRORS("full"),
	    true, false, STORE_FULL },
	{ "no replicas", "CONFIG SET min-replicas-to-write 1",
	    "CONFIG SET min-replicas-to-write 0", ERRORS("refused"), true, false,
	    STORE_DOWN },
	{ "no permission", "ACL SETUSER default -eval -evalsha",
	    "ACL SETUSER default +eval +evalsha", ERRORS("refused"), false, false,
	    STORE_DOWN },
	{ "no writing", "ACL SETUSER default -set", "ACL SETUSER default +set",
	    ERRORS("bad"), true, false, STORE_DOWN },
	{ "no reading", "ACL SETUSER default -getrange",
	    "ACL SETUSER default +getrange", ERRORS("bad"), false, false, STORE_DOWN },
	{ "not our keys", "ACL SETUSER default resetkeys ~other:*",
	    "ACL SETUSER default allkeys", ERRORS("refused"), false, false,
	    STORE_DOWN },
};

START_TEST(refuses)
{
	const struct refusal *r = &refusals[_i];
	struct store *s = open_own();
	struct ipnet net = rig_net("192.0.2.0/24");
	int64_t took;

	ck_assert_int_eq(rig_try(s, "c", "k", T0), GREYLIST_NEW);
	ck_assert_str_eq(rig_server_ask(&own, r->begin), "OK");
	ck_assert_int_eq(ask(s, "x", &took).state, r->state);
	ck_assert_int_le(took, DEADLINE_MS + SLACK_MS);
	ck_assert_uint_eq(counted(r->counter), 1);
	ck_assert_uint_eq(counted(OPENED), r->opens ? 1 : 0);
	if (!r->opens) { /* a triple is deferred only when that was written */
		ck_assert_int_eq(rig_greylist_of(store_greylist_check(s, NULL, STR("c"),
						     STR("k"), &rig_times, T0 + 1))
				     .state,
		    r->state);
	}
	ck_assert_int_eq(rig_event_of(store_event_get(s, &net, EVENT_SPAM, T0)).state,
	    r->reads ? STORE_OK : STORE_DOWN);
	ck_assert_str_eq(rig_server_ask(&own, r->end), "OK");
	if (r->opens)
		recovers(s);
	ck_assert_int_eq(ask(s, "x", NULL).level, 1);
	ck_assert_int_eq(rig_try(s, "c", "k", T0 + 300), GREYLIST_RETRIED);
	store_close(s);
}
END_TEST

/* As long as it is a replica, it is tried quietly and nobody waits. */
START_TEST(stays_a_replica)
{
	struct store *s = open_own();
	int64_t until = clock_mono_ms() + 2600;

	ck_assert_str_eq(rig_server_ask(&own, "REPLICAOF 127.0.0.1 1"), "OK");
	ask_down(s, DEADLINE_MS + SLACK_MS);
	while (clock_mono_ms() < until) {
		ask_down(s, AT_ONCE_MS);
		poll(NULL, 0, 5);
	}
	ck_assert_uint_eq(counted(OPENED), 1);
	store_close(s);
}
END_TEST

START_TEST(busy_with_a_script)
{
	struct store *s = open_own();

	ck_assert_str_eq(
	    rig_server_ask(&own, "CONFIG SET busy-reply-threshold 20"), "OK");
	pid_t child = fork();
	if (child == 0) {
		rig_server_ask(&own, "EVAL while\ttrue\tdo\tend 0");
		_exit(0);
	}
	while (strncmp(rig_server_ask(&own, "PING"), "-BUSY", 5) != 0)
		poll(NULL, 0, 5);
	ask_down(s, DEADLINE_MS + SLACK_MS);
	ck_assert_uint_eq(counted(OPENED), 1);
	ck_assert_str_eq(rig_server_ask(&own, "SCRIPT KILL"), "OK");
	recovers(s);
	store_close(s);
}
END_TEST

START_TEST(scripts_are_flushed)
{
	struct store *s = open_own();
	struct ipnet net = rig_net("192.0.2.0/24");

	for (int i = 0; i < 100; i++) {
		char key[32];

		ck_assert_str_eq(rig_server_ask(&own, "SCRIPT FLUSH"), "OK");
		ck_assert_int_eq(ask(s, "b", NULL).level, i + 1);
		ck_assert_str_eq(rig_server_ask(&own, "SCRIPT FLUSH"), "OK");
		snprintf(key, sizeof(key), "k%d", i);
		struct greylist_answer g = rig_greylist_of(store_greylist_check(
		    s, &net, STR("c"), str_of(key), &rig_times, T0));
		ck_assert_int_eq(g.state, STORE_OK);
		ck_assert_int_eq(g.seen.state, GREYLIST_NEW);
	}
	/* Three scripts a round; the second thread's connection loads once more. */
	ck_assert_uint_ge(counted(ERRORS("noscript")), 297);
	store_close(s);
}
END_TEST

/* --- who may --- */

static void
write_file(const char *name, const char *text)
{
	FILE *f = fopen(name, "w");

	ck_assert(f != NULL && fputs(text, f) >= 0 && fclose(f) == 0);
}

static const struct login {
	const char *user, *file;
	bool works, opens;
} logins[] = {
	{ NULL, NULL, false, true }, /* -NOAUTH */
	{ "", "secret of default\n", true, true },
	{ "", "secret of default", true, true },
	{ "", " secret of default \r\nsecond line\n", true, true },
	{ "postern", "secret of postern\n", true, true },
	{ "default", "secret of default\n", true, true },
	{ "postern", "secret of default\n", false, true },
	{ "nobody", "secret of default\n", false, true },
	{ "postern", "\n", false, false },
	{ "postern", "", false, false },
};

START_TEST(authenticates)
{
	const struct login *l = &logins[_i];
	struct store_conf conf = rig_server_conf(&own);
	char *file = xasprintf("%s/password", own.dir);
	struct err err = { .text = "" };

	rig_server_start(&own,
	    "user default on \">secret of default\" ~* &* +@all\n"
	    "user postern on \">secret of postern\" ~postern:* +@all");
	if (l->file != NULL) {
		write_file(file, l->file);
		conf.password_file = file;
		conf.user = l->user;
	}
	struct store *s = store_open(&conf, &err);
	ck_assert_msg((s != NULL) == l->opens, "%s", err.text);
	if (s != NULL)
		ck_assert_int_eq(
		    ask(s, "x", NULL).state, l->works ? STORE_OK : STORE_DOWN);
	store_close(s);
	free(file);
}
END_TEST

/* The example that is shipped allows all that we do, and nothing else. */
START_TEST(shipped_acl)
{
	struct store_conf conf = rig_server_conf(&own);
	char *file = xasprintf("%s/password", own.dir);
	char *options = xasprintf("aclfile %s/users.acl", own.dir);
	char *copy = xasprintf(
	    "sed 's/CHANGE-ME/secret/' contrib/redis/users.acl >%s/users.acl", own.dir);
	struct ipnet net = rig_net("192.0.2.0/24");

	ck_assert_int_eq(system(copy), 0);
	write_file(file, "secret\n");
	rig_server_start(&own, options);
	ck_assert(strncmp(rig_server_ask(&own, "PING"), "-NOAUTH", 7) == 0);
	conf.user = "postern";
	conf.password_file = file;
	struct store *s = rig_opened(&conf, NULL);
	ck_assert_int_eq(rig_try(s, "c", "k", T0), GREYLIST_NEW);
	ck_assert_int_eq(rig_try(s, "c", "k", T0 + 400), GREYLIST_RETRIED);
	ck_assert_int_eq(ask(s, "x", NULL).level, 1);
	ck_assert_int_eq(
	    rig_event_of(store_event_add(s, &net, EVENT_VIRUS, 1, 60, T0)).weight, 1);
	ck_assert_uint_eq(rig_stats_of(s).entries, 4);
	ck_assert_uint_eq(counted("postern_store_redis_errors_total"), 0);
	store_close(s);
	conf.prefix = "other";
	s = rig_opened(&conf, NULL);
	ck_assert_int_eq(ask(s, "x", NULL).state, STORE_DOWN);
	store_close(s);
	free(copy);
	free(options);
	free(file);
}
END_TEST

/* --- what lies there --- */

static const struct planted {
	const char *type; /* command that makes the key, or NULL: a string of this: */
	const char *value;
	size_t len;
} plants[] = {
	{ "LPUSH", NULL, 0 }, { "SADD", NULL, 0 }, { "XADD", NULL, 0 },
	{ NULL, "garbage", 7 }, { NULL, "\0\xff\x01", 3 }, { NULL, "1", 1 },
	{ NULL, "0 0 0 0 9007199254740993", 24 }, { NULL, "-1 0 -1 0 1900000000", 20 },
	{ NULL, "nan nan nan nan nan", 19 }, { NULL, "0x1 0x1 0x1 0x1 0x7fffffff", 26 },
	{ NULL, "1e3 1e3 1e3 1e3 1e10", 20 }, { NULL, "0 0 0 0 1900000000 7 8 9", 24 },
	{ NULL, " 0 0 0 1900000000", 17 },
	{ NULL, NULL, 50 << 20 }, /* so many octets */
};

static void
plant(const char *key, const struct planted *p)
{
	if (p->type != NULL) {
		char *command = xasprintf(
		    "%s %s%s x y", p->type, key, p->type[0] == 'X' ? " *" : "");

		rig_server_ask(&common, "PING");
		ck_assert(rig_server_ask(&common, command)[0] != '-');
		free(command);
	} else if (p->value != NULL) {
		rig_server_set(&common, key, p->value, p->len);
	} else {
		char *octets = xmalloc(p->len);

		memset(octets, '1', p->len);
		rig_server_set(&common, key, octets, p->len);
		free(octets);
	}
}

START_TEST(foreign_values)
{
	static const char *const keys[] = { "postern:1:t:{=c}k", "postern:1:c:{=c}",
		"postern:1:r:{=b}", "postern:1:e:{=192.0.2.0/24}spam",
		"postern:1:e:{=192.0.2.0/24}virus", "postern:1:e:{=192.0.2.0/24}trap" };
	struct store_conf conf = common_conf();
	struct store *s = rig_opened(&conf, NULL);
	struct ipnet net = rig_net("192.0.2.0/24");

	for (int i = 0; i < N(keys); i++)
		plant(keys[i], &plants[_i]);
	struct greylist_answer g = rig_greylist_of(
	    store_greylist_check(s, &net, STR("c"), STR("k"), &rig_times, T0));
	ck_assert_int_eq(g.state, STORE_OK);
	ck_assert_int_eq(g.seen.state, GREYLIST_NEW);
	struct rate_answer a =
	    rig_rate_of(store_rate_add(s, STR("b"), 1, 10, 1, 60, T0));
	ck_assert_int_eq(a.state, STORE_OK);
	ck_assert_int_eq(a.level, 1);
	ck_assert_int_eq(
	    rig_event_of(store_event_add(s, &net, EVENT_SPAM, 3, 60, T0)).weight, 3);
	ck_assert_uint_eq(counted("postern_store_redis_bad_values_total"), 6);
	/* What was written over is whole. */
	ck_assert_int_eq(rig_try(s, "c", "k", T0 + 1), GREYLIST_EARLY);
	ck_assert_int_eq(
	    rig_rate_of(store_rate_add(s, STR("b"), 1, 10, 1, 60, T0)).level, 2);
	ck_assert_str_eq(rig_server_ask(&common, "TYPE postern:1:t:{=c}k"), "string");
	store_close(s);
}
END_TEST

START_TEST(keys_have_a_life)
{
	struct store_conf conf = common_conf();
	struct store *s = rig_opened(&conf, NULL);
	struct ipnet net = rig_net("2001:db8::/64");
	static const struct {
		const char *key;
		long min, max;
	} keys[] = {
		{ "postern:1:t:{=c}pending", 2 * RIG_DAY, 2 * RIG_DAY + 60 },
		{ "postern:1:t:{=c}known", 35 * RIG_DAY, 35 * RIG_DAY + 60 },
		{ "postern:1:c:{=c}", 30 * RIG_DAY, 30 * RIG_DAY + 60 },
		{ "postern:1:e:{=2001:db8::/64}trap", 7 * RIG_DAY, 7 * RIG_DAY + 60 },
		{ "postern:1:r:{=leaks}", 600, 660 },
		{ "postern:1:r:{=never}", 1100 * RIG_DAY - 10, 1100 * RIG_DAY },
	};

	rig_try(s, "c", "known", T0 - 300);
	rig_try(s, "c", "known", T0);
	rig_try(s, "c", "pending", T0);
	rig_event_of(store_event_add(s, &net, EVENT_TRAP, 1, 7 * RIG_DAY, T0));
	rig_rate_of(store_rate_add(s, STR("leaks"), 10, 10, 1, 60, T0));
	rig_rate_of(store_rate_add(s, STR("never"), 10, 10, 0, 60, T0));
	ck_assert_str_eq(rig_server_ask(&common, "DBSIZE"), "6");
	for (int i = 0; i < N(keys); i++) {
		char *command = xasprintf("TTL %s", keys[i].key);
		long ttl = strtol(rig_server_ask(&common, command), NULL, 10);

		ck_assert_msg(ttl >= keys[i].min - 5 && ttl <= keys[i].max, "%s: %ld",
		    keys[i].key, ttl);
		free(command);
	}
	store_close(s);
}
END_TEST

START_TEST(databases_and_prefixes)
{
	struct store_conf conf = common_conf();
	struct store *s = rig_opened(&conf, NULL);

	conf.database = 3;
	struct store *other = rig_opened(&conf, NULL);
	conf.prefix = "second";
	struct store *second = rig_opened(&conf, NULL);
	ck_assert_int_eq(ask(s, "x", NULL).level, 1);
	ck_assert_int_eq(ask(other, "x", NULL).level, 1);
	ck_assert_int_eq(ask(second, "x", NULL).level, 1);
	ck_assert_int_eq(ask(second, "x", NULL).level, 2);
	ck_assert_uint_eq(rig_stats_of(s).entries, 1);
	struct store_stats st = rig_stats_of(other);
	ck_assert_uint_eq(st.entries, 2);
	ck_assert_uint_gt(st.bytes, 0);
	ck_assert_msg(
	    strstr(st.note, "redis ") != NULL && strstr(st.note, "master") != NULL,
	    "%s", st.note);
	store_close(second);
	store_close(other);
	store_close(s);
	conf.database = 900; /* the server has 16 */
	s = rig_opened(&conf, NULL);
	ck_assert_int_eq(ask(s, "x", NULL).state, STORE_DOWN);
	store_close(s);
}
END_TEST

/* --- who is no Redis server --- */

static const struct str lies[] = {
	{ "", 0 },
	{ "\r\n", 2 },
	{ "220 mx.example ESMTP\r\n", 22 },
	{ "*1000000000\r\n", 13 },
	{ "*-2\r\n", 5 },
	{ "$536870912\r\nabc", 15 },
	{ "$-7\r\n", 5 },
	{ ":x\r\n", 4 },
	{ "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n", 40 },
	{ "+OK\r\n+OK\r\n+OK\r\n+OK\r\n", 20 }, /* the greeting, and then silence */
	{ "+OK\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n", 25 }, /* more than was asked */
	{ "+OK\r\n+OK\r\n+OK\r\n+OK\r\n*4\r\n:9\r\n:1\r\n:1\r\n:0\r\n", 40 },
	{ "-ERR\r\n-ERR\r\n-ERR\r\n-ERR\r\n-\r\n", 27 },
};

START_TEST(lied_to)
{
	struct rig_between between = {
		.to = NULL, .says = lies[_i].p, .says_len = lies[_i].len
	};

	rig_between_start(&between, own.dir);
	struct store_conf conf = rig_server_conf(&own);
	conf.address = between.path;
	int64_t begin = clock_mono_ms();
	struct store *s = rig_opened(&conf, NULL);
	for (int i = 0; i < 3; i++)
		ask_down(s, DEADLINE_MS + SLACK_MS);
	ck_assert_int_le(clock_mono_ms() - begin, 4 * DEADLINE_MS + 2 * SLACK_MS);
	store_close(s);
	rig_between_stop(&between);
}
END_TEST

/* --- settings --- */

static const struct {
	const char *text;
	bool good;
	const char *path, *ip;
	unsigned port;
} addresses[] = {
	{ "unix:/run/redis.sock", true, "/run/redis.sock", "", 6379 },
	{ "/run/redis.sock", true, "/run/redis.sock", "", 6379 },
	{ "192.0.2.1:7000", true, "", "192.0.2.1", 7000 },
	{ "192.0.2.1", true, "", "192.0.2.1", 6379 },
	{ "2001:db8::1", true, "", "2001:db8::1", 6379 },
	{ "[2001:db8::1]:7000", true, "", "2001:db8::1", 7000 },
	{ "", false, NULL, NULL, 0 },
	{ "/", false, NULL, NULL, 0 },
	{ "unix:relative", false, NULL, NULL, 0 },
	{ "redis.example:6379", false, NULL, NULL, 0 },
	{ "localhost", false, NULL, NULL, 0 },
	{ "192.0.2.1:0", false, NULL, NULL, 0 },
	{ "192.0.2.1:65536", false, NULL, NULL, 0 },
	{ "192.0.2.1:", false, NULL, NULL, 0 },
	{ "192.0.2.300:1", false, NULL, NULL, 0 },
	{ "unix:/"
	  "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
	  "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
	    false, NULL, NULL, 0 },
};

START_TEST(address)
{
	struct store_address a;

	ck_assert_int_eq(
	    store_address_parse(str_of(addresses[_i].text), &a), addresses[_i].good);
	if (!addresses[_i].good)
		return;
	ck_assert_str_eq(a.path, addresses[_i].path);
	ck_assert_str_eq(a.ip, addresses[_i].ip);
	ck_assert_uint_eq(a.port, addresses[_i].port);
}
END_TEST

START_TEST(bad_settings)
{
	struct err err;
	struct store_conf good = rig_server_conf(&own), bad[8];

	for (int i = 0; i < 8; i++)
		bad[i] = good;
	bad[0].address = "redis.example";
	bad[1].prefix = "";
	bad[2].prefix = "a{b";
	bad[3].database = -1;
	bad[4].connections = 0;
	bad[5].connections = STORE_CONNECTIONS_MAX + 1;
	bad[6].deadline_ms = 0;
	bad[7].password_file = "/nonexistent/password";
	for (int i = 0; i < 8; i++) {
		err.text[0] = '\0';
		ck_assert_msg(store_open(&bad[i], &err) == NULL, "row %d", i);
		ck_assert_msg(err.text[0] != '\0', "row %d", i);
	}
}
END_TEST

/* By TCP and IPv6, too. */
START_TEST(over_tcp)
{
	struct store_conf conf = rig_server_conf(&own);
	unsigned port = 20000 + (unsigned)getpid() % 10000;
	char options[100], address_text[64];

	snprintf(options, sizeof(options), "port %u\nbind 127.0.0.1 -::1", port);
	rig_server_start(&own, options);
	for (int i = 0; i < 2; i++) {
		if (i == 1 && access("/proc/net/if_inet6", R_OK) != 0)
			continue;
		snprintf(address_text, sizeof(address_text),
		    i == 0 ? "127.0.0.1:%u" : "[::1]:%u", port);
		conf.address = address_text;
		struct store *s = rig_opened(&conf, NULL);
		ck_assert_msg(ask(s, "x", NULL).level == i + 1, "%s", address_text);
		store_close(s);
	}
}
END_TEST

static int
failures_add(Suite *suite)
{
	TCase *started = tcase_create("failures"), *bare = tcase_create("no server"),
	      *shared = tcase_create("values");
	int n = 0;

#define ADD(tcase, test, loops)                                                        \
	(tcase_add_loop_test(tcase, test, 0, loops), n += (loops))
	tcase_add_checked_fixture(started, own_started, own_remove);
	tcase_add_checked_fixture(bare, own_new, own_remove);
	tcase_set_timeout(started, 60);
	tcase_set_timeout(bare, 60);
	tcase_add_checked_fixture(shared, counters_new, counters_remove);
	tcase_set_timeout(shared, 60);
	ADD(bare, away_at_the_start, 1);
	ADD(started, killed_and_back, 1);
	ADD(started, restarted_while_idle, 1);
	ADD(started, restarted_under_load, 1);
	ADD(started, hangs, 1);
	ADD(started, hangs_with_a_queue, 1);
	ADD(started, closes_while_it_hangs, 1);
	ADD(started, slow, 1);
	ADD(started, refuses, N(refusals));
	ADD(started, stays_a_replica, 1);
	ADD(started, busy_with_a_script, 1);
	ADD(started, scripts_are_flushed, 1);
	ADD(bare, authenticates, N(logins));
	ADD(bare, shipped_acl, 1);
	ADD(bare, over_tcp, 1);
	ADD(bare, lied_to, N(lies));
	ADD(bare, address, N(addresses));
	ADD(bare, bad_settings, 1);
	ADD(shared, foreign_values, N(plants));
	ADD(shared, keys_have_a_life, 1);
	ADD(shared, databases_and_prefixes, 1);
	suite_add_tcase(suite, started);
	suite_add_tcase(suite, bare);
	suite_add_tcase(suite, shared);
	return n;
}

/* The runner reads TAP: a plan of none, and why. */
static int
skip(const char *why)
{
	const char *name = getenv("CK_TAP_LOG_FILE_NAME");
	FILE *f = name == NULL ? stdout : fopen(name, "w");

	if (f == NULL)
		return EXIT_FAILURE;
	fprintf(f, "1..0 # SKIP no redis-server: %s\n", why);
	return fflush(f) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

int
main(void)
{
	static const struct store_subject redis = { common_conf, false };
	const char *why = rig_server_missing();

	if (why != NULL)
		return skip(why);
	if (rig_server_up(&common, "") != 0) {
		fprintf(stderr, "redis-server does not run\n");
		return EXIT_FAILURE;
	}
	Suite *suite = suite_create("store_redis");
	int expected = store_conformance_add(suite, &redis);
	expected += failures_add(suite);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int ran = srunner_ntests_run(runner), failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	rig_server_remove(&common);
	return ran == expected && failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

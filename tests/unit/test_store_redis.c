/* SPDX-License-Identifier: BSD-2-Clause */
/* The Redis engine: the conformance suite; who may log in, what its keys look like,
 * what happens where foreign values lie under them, and its settings.  What it does
 * when the server fails is in test_store_redis_down.c. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <check.h>

#include "common/base/clock.h"
#include "common/base/xalloc.h"
#include "db/store_address.h"
#include "db/store_redis_script.h"
#include "tests/lib/redis_rig.h"
#include "tests/lib/store_conformance.h"
#include "tests/lib/store_rig.h"

#define N(a) ((int)(sizeof(a) / sizeof((a)[0])))
#define T0 RIG_T0

static struct rig_server common; /* of the whole program, for what does not harm it */
static char common_address[32]; /* its TCP port */
static struct rig_server own; /* of one test */

static struct store_conf
common_conf(void)
{
	ck_assert_str_eq(rig_server_ask(&common, "FLUSHALL"), "OK");
	struct store_conf conf = rig_server_conf(&common);
	conf.address = common_address;
	conf.deadline_ms = 20000; /* meaning is tested, not time */
	return conf;
}

static void
own_new(void)
{
	rig_counters_new();
	rig_server_place(&own);
}

static void
own_remove(void)
{
	rig_server_remove(&own);
	rig_counters_remove();
}

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
		    rig_ask(s, "x", NULL).state, l->works ? STORE_OK : STORE_DOWN);
	store_close(s);
	free(file);
}
END_TEST

/* --- what lies there --- */

static const struct planted {
	const char *type; /* command that makes the key, or NULL: a string of this: */
	const char *value;
	size_t len;
	bool note; /* could be one, that expired */
} plants[] = {
	{ "LPUSH", NULL, 0, false }, { "SADD", NULL, 0, false },
	{ "XADD", NULL, 0, false }, { NULL, "garbage", 7, false },
	{ NULL, "\0\xff\x01", 3, false }, { NULL, "1", 1, false },
	{ NULL, "0 0 0 0 9007199254740993", 24, true },
	{ NULL, "-1 0 -1 0 1900000000", 20, true },
	{ NULL, "nan nan nan nan nan", 19, false },
	{ NULL, "0x1 0x1 0x1 0x1 0x7fffffff", 26, false },
	{ NULL, "1e3 1e3 1e3 1e3 1e10", 20, false },
	{ NULL, "0 0 0 0 1900000000 7 8 9", 24, true },
	{ NULL, " 0 0 0 1900000000", 17, false },
	{ NULL, "1020000000000000010", 18, false },
	{ NULL, "102000000000000001x", 19, false },
	{ NULL, "9020000000000000100", 19, false },
	{ NULL, "-0920000000000000100", 20, false },
	{ NULL, "+1020000000000000100", 20, false },
	{ NULL, NULL, 50 << 20, false }, /* so many octets */
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
	static const char *const keys[] = { "postern:2:t:{=c}=k", "postern:1:c:{=c}",
		"postern:1:r:{=b}", "postern:1:e:{=192.0.2.0/24}spam",
		"postern:1:e:{=192.0.2.0/24}virus", "postern:1:e:{=192.0.2.0/24}trap",
		"postern:1:n:{=n}list", "postern:1:h:{=n}" };
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
	ck_assert(!rig_note_of(store_note_get(s, NOTE_LIST, STR("n"), T0)).found);
	ck_assert_int_eq(
	    rig_hold_of(store_hold_take(s, STR("n"), STR("x"), 1, 60, T0)).held, 1);
	ck_assert_uint_eq(rig_counted("postern_store_redis_bad_values_total"),
	    plants[_i].note ? 7 : 8);
	/* What was written over is whole. */
	ck_assert_int_eq(rig_try(s, "c", "k", T0 + 1), GREYLIST_EARLY);
	ck_assert_int_eq(
	    rig_rate_of(store_rate_add(s, STR("b"), 1, 10, 1, 60, T0)).level, 2);
	ck_assert_str_eq(rig_server_ask(&common, "TYPE postern:2:t:{=c}=k"), "string");
	store_close(s);
}
END_TEST

/* A triple's value as the manual says. */
static const struct packed {
	int64_t first, last;
	int tries; /* of which all but one at first */
	const char *value;
} packs[] = {
	{ T0, T0, 1, "1020000000000000000" },
	{ T0, T0 + 7, 2, "1120000000000000007" },
	{ T0, T0 + 300, 2, "-1120000000000000300" },
	{ T0, T0 + 299, 80, "8920000000000000299" },
	{ T0, T0 + 299, 81, "0 1800000000 1800000299 81 1800172800" },
	{ 1600000000, 1600000000, 1, "1000000000000000000" },
	{ 1599999999, 1599999999, 1, "0 1599999999 1599999999 1 1600172799" },
	{ 2599999999, 2599999999, 1, "1099999999900000000" },
	{ 2600000000, 2600000300, 2, "1 2600000000 2600000300 2 2603024300" },
};

START_TEST(a_triple_is_small)
{
	const struct packed *p = &packs[_i];
	struct store_conf conf = common_conf();
	struct store *s = rig_opened(&conf, NULL);

	for (int i = 1; i < p->tries; i++)
		rig_try(s, "c", "k", p->first);
	enum greylist_state last = rig_try(s, "c", "k", p->last);
	ck_assert_int_eq(last,
	    p->tries == 1                    ? GREYLIST_NEW
		: p->last < p->first + 300 ? GREYLIST_EARLY
					   : GREYLIST_RETRIED);
	ck_assert_str_eq(rig_server_ask(&common, "GET postern:2:t:{=c}=k"), p->value);
	ck_assert_str_eq(rig_server_ask(&common, "OBJECT ENCODING postern:2:t:{=c}=k"),
	    strchr(p->value, ' ') == NULL ? "int" : "embstr");
	/* And it reads back as what it was. */
	struct greylist_answer a = rig_greylist_of(store_greylist_check(
	    s, NULL, STR("c"), STR("k"), &rig_times, p->last + 1));
	ck_assert_int_eq(a.seen.first, p->first);
	ck_assert_int_eq(a.seen.tries, p->tries + 1);
	ck_assert_int_eq(a.seen.state,
	    last == GREYLIST_RETRIED         ? GREYLIST_KNOWN
		: p->last + 1 >= p->first + 300 ? GREYLIST_RETRIED
						: GREYLIST_EARLY);
	store_close(s);
}
END_TEST

/* How a triple is named, there and back. */
static const struct {
	struct str client, key;
	const char *rest; /* NULL: '=' and the whole key */
	size_t rest_len;
} names[] = {
	{ { "n192.0.2.0/24", 13 }, { "\0\15n192.0.2.0/24\0\1s\0\1r", 21 },
	    "\0\1s\0\1r", 6 },
	{ { "", 0 }, { "\0\0\0\0\0\0", 6 }, "\0\0\0\0", 4 },
	{ { "c", 1 }, { "\0\1c", 3 }, NULL, 0 },
	{ { "c", 1 }, { "\0\1d\0\1s", 6 }, NULL, 0 },
	{ { "c", 1 }, { "\0\2c\0\1s", 6 }, NULL, 0 },
	{ { "c", 1 }, { "\0\1c=", 4 }, NULL, 0 },
	{ { "c", 1 }, { "\0\1c\377\377", 5 }, NULL, 0 },
	{ { "c", 1 }, { "k", 1 }, NULL, 0 },
	{ { "c", 1 }, { "", 0 }, NULL, 0 },
	{ { "a}b", 3 }, { "\0\3a}b\0\1s", 8 }, NULL, 0 },
	{ { "}=", 2 }, { "\0\2}=\0\1s", 7 }, NULL, 0 },
	{ { "c", 1 }, { "\0\1c=}=", 6 }, NULL, 0 },
};

START_TEST(triple_names)
{
	struct store_request r = { .op = STORE_GREYLIST,
		.client = names[_i].client,
		.key = names[_i].key };
	struct store_command c;
	char key[STORE_NAME_MAX];
	size_t len = 0, skip = strlen("p:2:t:");
	struct str client = { 0 };

	store_command_init(&c);
	store_command_script(&c, STORE_SCRIPT_GREYLIST, "x");
	store_request_args(&c, "p", &r, 0);
	struct str name = { c.argv[3] + skip, c.len[3] - skip };
	size_t tail =
	    names[_i].rest == NULL ? names[_i].key.len + 1 : names[_i].rest_len;
	ck_assert_uint_eq(name.len, 3 + names[_i].client.len + tail);
	if (names[_i].rest != NULL)
		ck_assert(memcmp(name.p + name.len - tail, names[_i].rest, tail) == 0);
	ck_assert(store_triple_name(name, &client, key, &len));
	ck_assert(str_eq(client, names[_i].client));
	ck_assert(str_eq((struct str){ key, len }, names[_i].key));
}
END_TEST

static const char *const no_names[] = { "", "{=", "{=c", "c}k", "{c}=k", "{=c}k}k",
	"{=c}" };

START_TEST(no_triple_names)
{
	char key[STORE_NAME_MAX];
	struct str client;
	size_t len;

	ck_assert_msg(!store_triple_name(str_of(no_names[_i]), &client, key, &len),
	    "%s", no_names[_i]);
}
END_TEST

/* Daemons of the version before this and of the one after it lay theirs beside ours. */
START_TEST(other_versions)
{
	static const char *const theirs[] = { "postern:1:t:{=c}=k",
		"postern:3:t:{=c}=k", "postern:0:c:{=c}", "postern:2:c:{=c}",
		"postern:2:r:{=b}", "postern:2:e:{=192.0.2.0/24}virus" };
	struct store_conf conf = common_conf();
	struct store *s = rig_opened(&conf, NULL);
	struct ipnet net = rig_net("192.0.2.0/24");

	for (int i = 0; i < N(theirs); i++)
		rig_server_set(&common, theirs[i], "theirs", 6);
	ck_assert_int_eq(rig_greylist_of(store_greylist_check(s, &net, STR("c"),
					     STR("k"), &rig_times, T0))
			     .seen.state,
	    GREYLIST_NEW);
	ck_assert_int_eq(rig_greylist_of(store_greylist_check(s, &net, STR("c"),
					     STR("k"), &rig_times, T0 + 300))
			     .seen.state,
	    GREYLIST_RETRIED);
	ck_assert_int_eq(
	    rig_rate_of(store_rate_add(s, STR("b"), 1, 10, 1, 60, T0)).level, 1);
	ck_assert_int_eq(
	    rig_event_of(store_event_add(s, &net, EVENT_VIRUS, 3, 60, T0)).weight, 3);
	ck_assert_uint_eq(rig_counted("postern_store_redis_bad_values_total"), 0);
	for (int i = 0; i < N(theirs); i++) {
		char *command = xasprintf("GET %s", theirs[i]);

		ck_assert_str_eq(rig_server_ask(&common, command), "theirs");
		free(command);
	}
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
		{ "postern:2:t:{=c}=pending", 2 * RIG_DAY, 2 * RIG_DAY + 60 },
		{ "postern:2:t:{=c}=known", 35 * RIG_DAY, 35 * RIG_DAY + 60 },
		{ "postern:1:c:{=c}", 30 * RIG_DAY, 30 * RIG_DAY + 60 },
		{ "postern:1:e:{=2001:db8::/64}trap", 7 * RIG_DAY, 7 * RIG_DAY + 60 },
		{ "postern:1:r:{=leaks}", 600, 660 },
		{ "postern:1:n:{=n}list", 60, 120 },
		{ "postern:1:h:{=n}", 600, 660 },
		{ "postern:1:r:{=never}", 1100 * RIG_DAY - 10, 1100 * RIG_DAY },
	};

	rig_try(s, "c", "known", T0 - 300);
	rig_try(s, "c", "known", T0);
	rig_try(s, "c", "pending", T0);
	rig_event_of(store_event_add(s, &net, EVENT_TRAP, 1, 7 * RIG_DAY, T0));
	rig_rate_of(store_rate_add(s, STR("leaks"), 10, 10, 1, 60, T0));
	rig_rate_of(store_rate_add(s, STR("never"), 10, 10, 0, 60, T0));
	rig_note_of(store_note_put(s, NOTE_LIST, STR("n"), STR("text"), 60, T0));
	rig_hold_of(store_hold_take(s, STR("n"), STR("x"), 5, 600, T0));
	rig_hold_of(store_hold_take(s, STR("n"), STR("y"), 5, 60, T0));
	ck_assert_str_eq(rig_server_ask(&common, "DBSIZE"), "8");
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
	ck_assert_int_eq(rig_ask(s, "x", NULL).level, 1);
	ck_assert_int_eq(rig_ask(other, "x", NULL).level, 1);
	ck_assert_int_eq(rig_ask(second, "x", NULL).level, 1);
	ck_assert_int_eq(rig_ask(second, "x", NULL).level, 2);
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
	ck_assert_int_eq(rig_ask(s, "x", NULL).state, STORE_DOWN);
	store_close(s);
}
END_TEST

/* --- clocks --- */

static int64_t ahead_s; /* of the second host */

static int64_t
other_clock(void)
{
	return clock_wall_us() + ahead_s * 1000000;
}

static const int64_t clocks[] = { 0, 600, -600, 86400, -86400 };

/* Two hosts whose clocks differ judge alike on one server, in real time. */
START_TEST(clocks_apart)
{
	struct store_conf conf = common_conf();
	struct store *a = rig_opened(&conf, NULL);

	ahead_s = clocks[_i];
	conf.wall_us = other_clock;
	struct store *b = rig_opened(&conf, NULL);
	int64_t apart = store_now(b) - store_now(a);
	ck_assert_msg(apart >= -1 && apart <= 1, "%lld s", (long long)apart);
	ck_assert_int_eq(rig_try(a, "c", "k", store_now(a)), GREYLIST_NEW);
	ck_assert_int_eq(rig_try(b, "c", "k", store_now(b)), GREYLIST_EARLY);
	ck_assert_int_eq(rig_try(b, "c", "l", store_now(b)), GREYLIST_NEW);
	ck_assert_int_eq(rig_try(a, "c", "l", store_now(a)), GREYLIST_EARLY);
	ck_assert_int_eq(rig_try(b, "c", "l", store_now(b) + 301), GREYLIST_RETRIED);
	ck_assert_int_eq(rig_try(a, "c", "l", store_now(a)), GREYLIST_KNOWN);
	/* Without that agreement one of them would let it pass at once, or never. */
	if (ahead_s == 600)
		ck_assert_int_eq(
		    rig_try(b, "c", "k", other_clock() / 1000000), GREYLIST_RETRIED);
	store_close(b);
	store_close(a);
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
		ck_assert_msg(rig_ask(s, "x", NULL).level == i + 1, "%s", address_text);
		store_close(s);
	}
}
END_TEST

int
main(void)
{
	static const struct store_subject redis = { common_conf, false };
	const char *why = rig_server_missing();
	TCase *bare = tcase_create("settings"), *shared = tcase_create("values");

	if (why != NULL)
		return rig_server_skip(why);
	char port[32];
	unsigned number = rig_port();
	snprintf(port, sizeof(port), "port %u", number);
	snprintf(common_address, sizeof(common_address), "127.0.0.1:%u", number);
	if (rig_server_up(&common, port) != 0) {
		fprintf(stderr, "redis-server does not run\n");
		return EXIT_FAILURE;
	}
	Suite *suite = suite_create("store_redis");
	int expected = store_conformance_add(suite, &redis);
#define ADD(tcase, test, loops)                                                        \
	(tcase_add_loop_test(tcase, test, 0, loops), expected += (loops))
	tcase_add_checked_fixture(bare, own_new, own_remove);
	tcase_add_checked_fixture(shared, rig_counters_new, rig_counters_remove);
	tcase_set_timeout(bare, 60);
	tcase_set_timeout(shared, 60);
	ADD(bare, authenticates, N(logins));
	ADD(bare, over_tcp, 1);
	ADD(bare, address, N(addresses));
	ADD(bare, bad_settings, 1);
	ADD(shared, foreign_values, N(plants));
	ADD(shared, a_triple_is_small, N(packs));
	ADD(bare, triple_names, N(names));
	ADD(bare, no_triple_names, N(no_names));
	ADD(shared, other_versions, 1);
	ADD(shared, keys_have_a_life, 1);
	ADD(shared, databases_and_prefixes, 1);
	ADD(shared, clocks_apart, N(clocks));
	suite_add_tcase(suite, bare);
	suite_add_tcase(suite, shared);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int ran = srunner_ntests_run(runner), failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	rig_server_remove(&common);
	return ran == expected && failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

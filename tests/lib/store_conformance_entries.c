/* SPDX-License-Identifier: BSD-2-Clause */
/* Walks, putting and deleting of entries: what every engine does. */
#include "tests/lib/store_conformance_entries.h"

#include <stdio.h>
#include <stdlib.h>

#include "db/store_private.h"
#include "tests/lib/store_rig.h"

#define N(a) ((int)(sizeof(a) / sizeof((a)[0])))
#define T0 RIG_T0
#define DAY RIG_DAY

static struct store *(*fresh)(void); /* set before any test runs */

/* A key as greylisting makes it: parts behind their lengths. */
#define KEY_CLIENT "n192.0.2.0/24"
#define KEY "\0\015" KEY_CLIENT "\0\005a@b.c\0\003d@e"
static const struct str key = { KEY, sizeof(KEY) - 1 };
static const struct str client = { KEY_CLIENT, sizeof(KEY_CLIENT) - 1 };

static enum greylist_state
try_key(struct store *s, int64_t now)
{
	struct greylist_answer a = rig_greylist_of(
	    store_greylist_check(s, NULL, client, key, &rig_times, now));

	ck_assert_int_eq(a.state, STORE_OK);
	return a.seen.state;
}

static void
put(struct store *s, const struct store_entry *e)
{
	ck_assert_int_eq(rig_state_of(store_entry_put(s, e, T0)), STORE_OK);
}

static bool
gone(struct store *s, const struct store_entry *e)
{
	struct delete_answer a = rig_gone_of(store_entry_delete(s, e));

	ck_assert_int_eq(a.state, STORE_OK);
	return a.found;
}

/* As an entry has them: as they are, or hidden in privacy mode. */
static struct str
key_kept(struct store *s, struct str k)
{
	static char out[STORE_HIDDEN_KEY_MAX];

	return store_privacy_key(store_privacy_of(s), k, false, out);
}

static struct str
client_kept(struct store *s, struct str c)
{
	static char out[STORE_HIDDEN];

	return store_privacy_name(store_privacy_of(s), c, false, out);
}

/* What a walk gave, at most so many, by number of kind. */
struct seen {
	int n, stop, by_kind[5];
	struct store_entry last[5];
	char client[5][100], key[5][100];
	size_t key_len[5];
	bool number[2000]; /* of keys "k17" */
};

static bool
see(void *arg, const struct store_entry *e)
{
	struct seen *seen = arg;
	uint64_t i;

	ck_assert(e->kind == STORE_TRIPLE || e->kind == STORE_CLIENT ||
	    e->kind == STORE_EVENT);
	seen->by_kind[e->kind]++;
	seen->last[e->kind] = *e;
	snprintf(seen->client[e->kind], 100, "%.*s", STR_ARG(e->client));
	seen->key_len[e->kind] = e->key.len;
	if (e->key.len > 0 && e->key.len < 100)
		memcpy(seen->key[e->kind], e->key.p, e->key.len);
	if (e->kind == STORE_TRIPLE && str_starts(e->key, STR("k")) &&
	    str_to_uint(str_sub(e->key, 1, e->key.len), 0, N(seen->number) - 1, &i))
		seen->number[i] = true;
	return ++seen->n != seen->stop;
}

static void
walk(struct store *s, unsigned kinds, int64_t now, struct seen *seen)
{
	struct err err = { .text = "" };
	int stop = seen->stop;

	memset(seen, 0, sizeof(*seen));
	seen->stop = stop;
	ck_assert_msg(
	    store_scan(s, kinds, now, see, seen, &err) == 0, "%s", err.text);
}

static void
about(int64_t got, int64_t want)
{
	ck_assert_msg(got >= want - 3 && got <= want + 3, "%lld, expected %lld",
	    (long long)got, (long long)want);
}

START_TEST(walk_gives_all)
{
	static struct seen seen;
	struct store *s = fresh();
	struct ipnet net = rig_net("2001:db8::/64");

	walk(s, STORE_TRIPLE | STORE_CLIENT | STORE_EVENT, T0, &seen);
	ck_assert_int_eq(seen.n, 0);
	ck_assert_int_eq(try_key(s, T0), GREYLIST_NEW);
	ck_assert_int_eq(try_key(s, T0 + 400), GREYLIST_RETRIED);
	rig_event_of(store_event_add(s, &net, EVENT_TRAP, 7, DAY, T0 + 400));
	rig_rate_of(store_rate_add(s, STR("t"), 1, 10, 1, 60, T0 + 400));
	rig_note_of(store_note_put(s, NOTE_LIST, STR("n"), STR("x"), DAY, T0 + 400));
	walk(s, STORE_TRIPLE | STORE_CLIENT | STORE_EVENT, T0 + 400, &seen);
	ck_assert_int_eq(seen.n, 3);
	const struct store_entry *t = &seen.last[STORE_TRIPLE];
	ck_assert(str_is(client_kept(s, client), seen.client[STORE_TRIPLE]));
	struct str got = { seen.key[STORE_TRIPLE], seen.key_len[STORE_TRIPLE] };
	ck_assert(str_eq(got, key_kept(s, key)));
	ck_assert(t->triple.known && t->triple.first == T0 &&
	    t->triple.last == T0 + 400 && t->triple.tries == 2 && !t->cut);
	about(t->expires, T0 + 400 + 35 * DAY);
	const struct store_entry *c = &seen.last[STORE_CLIENT];
	ck_assert(str_is(client_kept(s, client), seen.client[STORE_CLIENT]));
	ck_assert(c->person.confirmed == 1 && c->person.last == T0 + 400 &&
	    c->person.voided == 0);
	ck_assert_int_eq(c->expires, T0 + 400 + 30 * DAY);
	const struct store_entry *e = &seen.last[STORE_EVENT];
	char text[IP_TEXT_MAX + 4];
	ck_assert_str_eq(ipnet_format(&e->network, text), "2001:db8::/64");
	ck_assert(e->event == EVENT_TRAP && e->sum.weight == 7 &&
	    e->sum.last == T0 + 400 && e->sum.keep == DAY);
	ck_assert_int_eq(e->expires, T0 + 400 + DAY);
	/* by kind, and without what is over */
	walk(s, STORE_CLIENT, T0 + 400, &seen);
	ck_assert(seen.n == 1 && seen.by_kind[STORE_CLIENT] == 1);
	walk(s, STORE_EVENT | STORE_TRIPLE, T0 + 400, &seen);
	ck_assert(seen.n == 2 && seen.by_kind[STORE_CLIENT] == 0);
	walk(s, STORE_EVENT, T0 + 401 + DAY, &seen);
	ck_assert_int_eq(seen.n, 0);
	walk(s, 0, T0, &seen);
	ck_assert_int_eq(seen.n, 0);
	store_close(s);
}
END_TEST

START_TEST(walk_through_many)
{
	static struct seen seen;
	struct store *s = fresh();
	struct future *f[100];

	for (int i = 0; i < N(seen.number); i += N(f)) {
		char name[32];

		for (int j = 0; j < N(f); j++) {
			int len = snprintf(name, sizeof(name), "k%d", i + j);
			struct str k = { name, (size_t)len };

			f[j] = store_greylist_check(s, NULL, k, k, &rig_times, T0);
		}
		for (int j = 0; j < N(f); j++)
			ck_assert_int_eq(rig_greylist_of(f[j]).state, STORE_OK);
	}
	walk(s, STORE_TRIPLE, T0, &seen);
	ck_assert_int_ge(seen.n, N(seen.number));
	for (int i = 0; i < N(seen.number) && !store_hides(s); i++)
		ck_assert_msg(seen.number[i], "k%d is missing", i);
	seen.stop = 230;
	walk(s, STORE_TRIPLE | STORE_CLIENT, T0, &seen);
	ck_assert_int_eq(seen.n, 230);
	store_close(s);
}
END_TEST

/* What a try makes of a triple that was put. */
static const struct {
	struct greylist_triple triple;
	int64_t now;
	enum greylist_state state;
} triples[] = {
	{ { true, true, T0 - 10, T0, 5 }, T0 + 1, GREYLIST_KNOWN },
	{ { true, true, T0, T0, 1 }, T0 + 1, GREYLIST_KNOWN },
	{ { true, false, T0 - 10, T0, 5 }, T0 + 1, GREYLIST_EARLY },
	{ { true, false, T0 - 300, T0 - 300, 1 }, T0, GREYLIST_RETRIED },
	{ { true, true, T0 - 2000 * DAY, T0, 5000 }, T0 + 1, GREYLIST_KNOWN },
	{ { true, true, 0, T0, INT64_C(1) << 40 }, T0 + 1, GREYLIST_KNOWN },
};

START_TEST(put_triple)
{
	static struct seen seen;
	struct store *s = fresh();
	struct store_entry e = { .kind = STORE_TRIPLE,
		.client = client,
		.key = key,
		.triple = triples[_i].triple,
		.expires = T0 + DAY };

	ck_assert(!gone(s, &e));
	try_key(s, T0 - 5000);
	put(s, &e); /* over that one */
	walk(s, STORE_TRIPLE, T0, &seen);
	ck_assert_int_eq(seen.n, 1);
	const struct store_entry *t = &seen.last[STORE_TRIPLE];
	ck_assert(t->triple.known == e.triple.known &&
	    t->triple.first == e.triple.first && t->triple.last == e.triple.last &&
	    t->triple.tries == e.triple.tries);
	about(t->expires, T0 + DAY);
	ck_assert_int_eq(try_key(s, triples[_i].now), triples[_i].state);
	ck_assert(gone(s, &e));
	ck_assert(!gone(s, &e));
	ck_assert_int_eq(try_key(s, T0 + 2), GREYLIST_NEW);
	store_close(s);
}
END_TEST

START_TEST(put_client)
{
	static struct seen seen;
	struct store *s = fresh();
	struct store_entry e = { .kind = STORE_CLIENT,
		.client = client,
		.person = { true, 3, T0, 0 },
		.expires = T0 + 30 * DAY };

	put(s, &e);
	ck_assert_int_eq(try_key(s, T0 + 1), GREYLIST_WHITELISTED);
	walk(s, STORE_CLIENT, T0, &seen);
	ck_assert(seen.n == 1 && seen.last[STORE_CLIENT].person.confirmed == 3);
	e.person.voided = T0 + 2;
	put(s, &e);
	ck_assert_int_eq(try_key(s, T0 + 3), GREYLIST_NEW);
	ck_assert(gone(s, &e));
	walk(s, STORE_CLIENT, T0, &seen);
	ck_assert_int_eq(seen.n, 0);
	store_close(s);
}
END_TEST

START_TEST(put_event)
{
	static struct seen seen;
	struct store *s = fresh();
	struct store_entry e = { .kind = STORE_EVENT,
		.network = rig_net("192.0.2.0/24"),
		.event = EVENT_TRAP };

	e.sum.weight = 9;
	e.sum.last = T0;
	e.sum.keep = 100;
	put(s, &e);
	struct event_answer a =
	    rig_event_of(store_event_get(s, &e.network, EVENT_TRAP, T0 + 50));
	ck_assert(a.weight == 9 && a.last == T0);
	a = rig_event_of(store_event_add(s, &e.network, EVENT_TRAP, 1, 100, T0 + 100));
	ck_assert_int_eq(a.weight, 10);
	walk(s, STORE_EVENT, T0 + 200, &seen);
	ck_assert_int_eq(seen.n, 1);
	e.event = EVENT_VIRUS;
	ck_assert(!gone(s, &e));
	e.event = EVENT_TRAP;
	ck_assert(gone(s, &e));
	a = rig_event_of(store_event_get(s, &e.network, EVENT_TRAP, T0 + 100));
	ck_assert_int_eq(a.weight, 0);
	store_close(s);
}
END_TEST

static char long_name[STORE_NAME_MAX + 1];

static const struct store_entry refused[] = {
	{ .kind = 0, .client = { "c", 1 } },
	{ .kind = STORE_TRIPLE | STORE_CLIENT, .client = { "c", 1 } },
	{ .kind = STORE_TRIPLE, .client = { "c", 1 }, .key = { "k", 1 } }, /* no try */
	{ .kind = STORE_TRIPLE,
	    .client = { "c", 1 },
	    .key = { "k", 1 },
	    .cut = true,
	    .triple = { true, true, T0, T0, 1 } },
	{ .kind = STORE_TRIPLE,
	    .client = { "c", 1 },
	    .key = { "k", 1 },
	    .triple = { true, true, T0 + 1, T0, 1 } },
	{ .kind = STORE_TRIPLE,
	    .client = { "c", 1 },
	    .key = { long_name, sizeof(long_name) },
	    .triple = { true, true, T0, T0, 1 } },
	{ .kind = STORE_CLIENT, .client = { long_name, sizeof(long_name) } },
	{ .kind = STORE_CLIENT, .client = { "c", 1 }, .person = { true, -1, T0, 0 } },
};

START_TEST(put_refused)
{
	struct store *s = fresh();

	ck_assert_int_eq(
	    rig_state_of(store_entry_put(s, &refused[_i], T0)), STORE_DOWN);
	ck_assert_uint_eq(rig_stats_of(s).entries, 0);
	store_close(s);
}
END_TEST

/* A walk gives names back, whatever they are, and where they are longer than an engine
 * keeps it says so. */
static const struct {
	struct str client, key;
} names[] = {
	{ { "", 0 }, { "\0\0\0\1a\0\1b", 8 } },
	{ { "a}b", 3 }, { "\0\3a}b\0\1c\0\1d", 11 } },
	{ { "{=", 2 }, { "\0\2{=\0\1c\0\1d", 10 } },
	{ { "}", 1 }, { "\0\1}\0\1c\0\1d", 9 } },
	{ { "\0", 1 }, { "\0\1\0\0\1c\0\1d", 9 } },
	{ { "\xff\r\n", 3 }, { "\0\3\xff\r\n\0\1c\0\1d", 11 } },
	{ { "x", 1 }, { "\0\1x=y", 5 } },
	{ { long_name, STORE_NAME_MAX }, { long_name, STORE_NAME_MAX } },
};

struct named {
	struct store *store;
	int i;
};

static bool
see_name(void *arg, const struct store_entry *e)
{
	const struct named *n = arg;
	bool triple = e->kind == STORE_TRIPLE;
	struct str want = triple ? key_kept(n->store, names[n->i].key)
				 : client_kept(n->store, names[n->i].client);
	struct str got = triple ? e->key : e->client;

	if (e->cut) {
		ck_assert_uint_gt(got.len, 500);
		ck_assert(str_starts(want, got) && want.len > got.len);
	} else {
		ck_assert_msg(str_eq(got, want), "%.*s", STR_ARG(got));
	}
	/* A key that is not in parts is hidden as a whole, and tells of no client. */
	if (triple && names[n->i].key.len < 100 && e->client.len > 0)
		ck_assert(
		    str_eq(e->client, client_kept(n->store, names[n->i].client)));
	return true;
}

START_TEST(names_come_back)
{
	struct store *s = fresh();
	struct err err = { .text = "" };
	struct named n = { s, _i };
	int i = _i;

	memset(long_name, 'x', sizeof(long_name));
	rig_greylist_of(store_greylist_check(
	    s, NULL, names[i].client, names[i].key, &rig_times, T0));
	rig_greylist_of(store_greylist_check(
	    s, NULL, names[i].client, names[i].key, &rig_times, T0 + 400));
	ck_assert_uint_eq(rig_stats_of(s).entries, 2);
	ck_assert_int_eq(
	    store_scan(s, STORE_TRIPLE | STORE_CLIENT, T0 + 400, see_name, &n, &err),
	    0);
	store_close(s);
}
END_TEST

int
store_conformance_entries_add(TCase *tc, struct store *(*fresh_store)(void))
{
	int expected = 0;

#define ANY(test, loops) (tcase_add_loop_test(tc, test, 0, loops), expected += (loops))
	fresh = fresh_store;
	ANY(walk_gives_all, 1);
	ANY(walk_through_many, 1);
	ANY(put_triple, N(triples));
	ANY(put_client, 1);
	ANY(put_event, 1);
	ANY(put_refused, N(refused));
	ANY(names_come_back, N(names));
	return expected;
}

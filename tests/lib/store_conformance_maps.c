/* SPDX-License-Identifier: BSD-2-Clause */
/* Shared maps: what every engine does with them. */
#include "tests/lib/store_conformance_maps.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/base/buf.h"
#include "common/base/clock.h"
#include "tests/lib/store_rig.h"

#define N(a) ((int)(sizeof(a) / sizeof((a)[0])))
#define T0 RIG_T0

static struct store *(*fresh)(void); /* set before any test runs */

static struct map_answer
map_set(struct store *s, const char *key, const char *value, int64_t now)
{
	struct map_answer a = rig_map_of(store_map_set(
	    s, STR("access"), str_of(key), str_of(value), STR("root"), now));

	ck_assert_int_eq(a.state, STORE_OK);
	return a;
}

static void
map_has(struct store *s, struct str map, struct str key, struct str value)
{
	struct future *f = store_map_get(s, map, key);

	ck_assert(future_wait(f, clock_mono_ms() + RIG_WAIT_MS));
	const struct map_value *v = future_value(f);
	ck_assert_int_eq(v->state, STORE_OK);
	ck_assert_int_eq(v->found, value.p != NULL);
	ck_assert_msg(str_eq(v->value, value), "\"%.*s\"", STR_ARG(v->value));
	future_unref(f);
}

static int64_t
map_version(struct store *s, const char *map)
{
	struct map_answer a = rig_map_of(store_map_version(s, str_of(map)));

	ck_assert_int_eq(a.state, STORE_OK);
	return a.version;
}

struct walked {
	int n, stop;
	char seen[4000];
	struct buf text; /* of what came, in order */
};

static bool
walk_entry(void *arg, struct str key, struct str value)
{
	struct walked *w = arg;
	uint64_t i;

	if (str_starts(key, STR("key ")) &&
	    str_to_uint(str_sub(key, 4, key.len), 0, sizeof(w->seen) - 1, &i)) {
		ck_assert(str_eq(str_sub(key, 4, key.len), value));
		w->seen[i] = 1;
	}
	return ++w->n != w->stop;
}

static bool
walk_change(void *arg, const struct map_change *c)
{
	struct walked *w = arg;

	buf_addf(&w->text, "%lld %.*s %s %.*s=%.*s\n", (long long)(c->when - T0),
	    STR_ARG(c->who), c->removed ? "removed" : "entered", STR_ARG(c->key),
	    STR_ARG(c->value));
	return ++w->n != w->stop;
}

static int64_t
walk_map(struct store *s, const char *map, struct walked *w)
{
	struct err err = { .text = "" };
	int64_t version = -1;

	*w = (struct walked){ .stop = w->stop };
	ck_assert_msg(
	    store_map_read(s, str_of(map), &version, walk_entry, w, &err) == 0, "%s",
	    err.text);
	return version;
}

static void
walk_log(struct store *s, const char *map, size_t n, struct walked *w)
{
	struct err err = { .text = "" };

	*w = (struct walked){ .stop = w->stop };
	buf_init(&w->text, 1 << 20);
	ck_assert_msg(store_map_log(s, str_of(map), n, walk_change, w, &err) == 0, "%s",
	    err.text);
}

START_TEST(life_of_a_map)
{
	struct store *s = fresh();
	struct map_answer a = map_set(s, "a", NULL, T0);

	ck_assert(!a.found && a.version == 0); /* nothing was changed */
	map_has(s, STR("access"), STR("a"), (struct str){ NULL, 0 });
	a = map_set(s, "a", "reject", T0);
	ck_assert(!a.found && a.version == T0 * 1000);
	a = map_set(s, "a", "reject", T0 + 5);
	ck_assert(a.found && a.version == T0 * 1000);
	a = map_set(s, "a", "", T0);
	ck_assert(a.found && a.version == T0 * 1000 + 1);
	map_has(s, STR("access"), STR("a"), STR(""));
	map_has(s, STR("acces"), STR("a"), (struct str){ NULL, 0 });
	map_has(s, STR("access"), STR("A"), (struct str){ NULL, 0 });
	a = map_set(s, "b", "ok", T0 - 100); /* a clock that stepped back */
	ck_assert(!a.found && a.version == T0 * 1000 + 2);
	a = map_set(s, "a", NULL, T0 + 7);
	ck_assert(a.found && a.version == (T0 + 7) * 1000);
	map_has(s, STR("access"), STR("a"), (struct str){ NULL, 0 });
	map_has(s, STR("access"), STR("b"), STR("ok"));
	ck_assert_int_eq(map_version(s, "access"), (T0 + 7) * 1000);
	ck_assert_int_eq(map_version(s, "other"), 0);
	struct walked w = { .n = 0 };
	walk_log(s, "access", 100, &w);
	ck_assert_str_eq(buf_cstr(&w.text),
	    "7 root removed a=\n-100 root entered b=ok\n0 root entered a=\n"
	    "0 root entered a=reject\n");
	buf_clear(&w.text);
	walk_log(s, "access", 1, &w);
	ck_assert_str_eq(buf_cstr(&w.text), "7 root removed a=\n");
	buf_clear(&w.text);
	walk_log(s, "other", 100, &w);
	ck_assert_int_eq(w.n, 0);
	walk_log(s, "access", 0, &w);
	ck_assert_int_eq(w.n, 0);
	store_close(s);
}
END_TEST

static char longest[STORE_MAP_VALUE_MAX + 1];

static const struct {
	struct str map, key, value, who;
	bool good;
} sets[] = {
	{ { "a", 1 }, { "k", 1 }, { "v", 1 }, { "", 0 }, true },
	{ { longest, STORE_MAP_NAME_MAX }, { longest, STORE_MAP_KEY_MAX },
	    { longest, STORE_MAP_VALUE_MAX }, { longest, STORE_MAP_WHO_MAX }, true },
	{ { "A-z_0.9", 7 }, { "a\0b", 3 }, { "\0\r\n\xff", 4 }, { "\0", 1 }, true },
	{ { "a", 1 }, { "\0", 1 }, { "%s %n {}", 8 }, { "}", 1 }, true },
	{ { longest, STORE_MAP_NAME_MAX + 1 }, { "k", 1 }, { "v", 1 }, { "", 0 },
	    false },
	{ { "a", 1 }, { longest, STORE_MAP_KEY_MAX + 1 }, { "v", 1 }, { "", 0 },
	    false },
	{ { "a", 1 }, { "k", 1 }, { longest, STORE_MAP_VALUE_MAX + 1 }, { "", 0 },
	    false },
	{ { "a", 1 }, { "k", 1 }, { "v", 1 }, { longest, STORE_MAP_WHO_MAX + 1 },
	    false },
	{ { "a", 1 }, { "", 0 }, { "v", 1 }, { "", 0 }, false },
	{ { "", 0 }, { "k", 1 }, { "v", 1 }, { "", 0 }, false },
	{ { "a b", 3 }, { "k", 1 }, { "v", 1 }, { "", 0 }, false },
	{ { "a}", 2 }, { "k", 1 }, { "v", 1 }, { "", 0 }, false },
	{ { "a\0", 2 }, { "k", 1 }, { "v", 1 }, { "", 0 }, false },
};

START_TEST(maps_are_bounded)
{
	struct store *s = fresh();
	struct map_answer a = rig_map_of(store_map_set(s, sets[_i].map, sets[_i].key,
	    sets[_i].value, sets[_i].who, T0));

	ck_assert_int_eq(a.state, sets[_i].good ? STORE_OK : STORE_DOWN);
	if (sets[_i].good)
		map_has(s, sets[_i].map, sets[_i].key, sets[_i].value);
	store_close(s);
}
END_TEST

START_TEST(large_map)
{
	static struct walked w;
	struct store *s = fresh();
	struct future *f[100];
	char key[20];

	map_set(s, "other", "x", T0);
	for (int i = 0; i < 3000; i += N(f)) {
		for (int j = 0; j < N(f); j++) {
			int len = snprintf(key, sizeof(key), "key %d", i + j);

			f[j] = store_map_set(s, STR("large"),
			    (struct str){ key, (size_t)len },
			    (struct str){ key + 4, (size_t)len - 4 }, STR(""), T0);
		}
		for (int j = 0; j < N(f); j++)
			ck_assert_int_eq(rig_map_of(f[j]).state, STORE_OK);
	}
	int64_t version = walk_map(s, "large", &w);
	ck_assert_int_eq(version, T0 * 1000 + 2999);
	for (int i = 0; i < 3000; i++)
		ck_assert_msg(w.seen[i], "key %d is missing", i);
	w.stop = 150;
	walk_map(s, "large", &w);
	ck_assert_int_eq(w.n, 150);
	w.stop = 0;
	walk_map(s, "other", &w);
	ck_assert_int_eq(w.n, 0);
	walk_map(s, "access", &w);
	ck_assert_int_eq(w.n, 1);
	walk_log(s, "large", 5000, &w);
	ck_assert_int_eq(w.n, STORE_MAP_LOG_MAX);
	ck_assert(str_starts(buf_str(&w.text), STR("0  entered key 2999=2999\n")));
	ck_assert(str_ends_nocase(buf_str(&w.text), STR(" key 2000=2000\n")));
	buf_clear(&w.text);
	w.stop = 120;
	walk_log(s, "large", 5000, &w);
	ck_assert_int_eq(w.n, 120);
	buf_clear(&w.text);
	store_close(s);
}
END_TEST

static bool
no_entry(void *arg, struct str key, struct str value)
{
	(void)arg, (void)key, (void)value;
	return false;
}

static bool
no_change(void *arg, const struct map_change *change)
{
	(void)arg, (void)change;
	return false;
}

START_TEST(no_map)
{
	struct store *s = fresh();
	struct err err = { .text = "" };
	int64_t version;

	ck_assert_int_eq(
	    store_map_read(s, STR("a b"), &version, no_entry, NULL, &err), -1);
	ck_assert_str_ne(err.text, "");
	err.text[0] = '\0';
	ck_assert_int_eq(store_map_log(s, STR(""), 9, no_change, NULL, &err), -1);
	ck_assert_str_ne(err.text, "");
	ck_assert_int_eq(rig_map_of(store_map_version(s, STR("{"))).state, STORE_DOWN);
	store_close(s);
}
END_TEST

struct setter {
	struct store *store;
	int nr;
	int64_t version[50];
};

static void *
set_many(void *arg)
{
	struct setter *st = arg;
	char key[32];

	for (int i = 0; i < N(st->version); i++) {
		int len = snprintf(key, sizeof(key), "%d/%d", st->nr, i);
		struct future *f = store_map_set(st->store, STR("race"),
		    (struct str){ key, (size_t)len }, STR("v"), STR("w"), T0);

		if (future_wait(f, clock_mono_ms() + RIG_WAIT_MS))
			st->version[i] =
			    ((struct map_answer *)future_value(f))->version;
		future_unref(f);
	}
	return NULL;
}

START_TEST(versions_are_unique)
{
	static struct setter setter[8];
	static bool given[8 * N(setter[0].version)];
	struct store *s = fresh();
	struct walked w = { .n = 0 };
	pthread_t thread[8];

	for (int i = 0; i < 8; i++) {
		setter[i] = (struct setter){ .store = s, .nr = i };
		ck_assert_int_eq(
		    pthread_create(&thread[i], NULL, set_many, &setter[i]), 0);
	}
	for (int i = 0; i < 8; i++) {
		pthread_join(thread[i], NULL);
		for (int j = 0; j < N(setter[i].version); j++) {
			int64_t v = setter[i].version[j] - T0 * 1000;

			ck_assert(v >= 0 && v < N(given) && !given[v]);
			given[v] = true;
		}
	}
	walk_map(s, "race", &w);
	ck_assert_int_eq(w.n, N(given));
	store_close(s);
}
END_TEST

int
store_conformance_maps_add(TCase *tc, struct store *(*fresh_store)(void))
{
	int expected = 0;

#define ANY(test, loops) (tcase_add_loop_test(tc, test, 0, loops), expected += (loops))
	fresh = fresh_store;
	memset(longest, 'x', sizeof(longest));
	ANY(life_of_a_map, 1);
	ANY(maps_are_bounded, N(sets));
	ANY(large_map, 1);
	ANY(no_map, 1);
	ANY(versions_are_unique, 1);
	return expected;
}

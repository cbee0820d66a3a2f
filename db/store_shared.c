/* SPDX-License-Identifier: BSD-2-Clause */
/* The front of the shared maps: names and lengths are checked here, a change is written
 * as it stands in the log, and walks are put together of what the engines answer step
 * by step.  How an engine keeps a map is its own. */
#include "db/store_private.h"

#include <poll.h>
#include <stdlib.h>

#include "common/base/clock.h"
#include "common/base/xalloc.h"
#include "db/store_rows.h"

#define STEP_MS 5000 /* for one step of a walk, tries included */
#define AGAIN_MS 100 /* before a step is tried again */

bool
store_map_name_good(struct str map)
{
	for (size_t i = 0; i < map.len; i++)
		if (!ascii_alnum(map.p[i]) && map.p[i] != '-' && map.p[i] != '_' &&
		    map.p[i] != '.')
			return false;
	return map.len > 0 && map.len <= STORE_MAP_NAME_MAX;
}

static struct store_request *
map_request(enum store_op op, struct str map, size_t room, int64_t now)
{
	bool good = store_map_name_good(map);
	struct store_request *r = store_request_new(op, now, good ? map.len + room : 0);
	size_t used = 0;

	if (good)
		r->key = store_request_text(r, &used, map);
	return r;
}

struct future *
store_map_set(struct store *s, struct str map, struct str key, struct str value,
    struct str who, int64_t now)
{
	bool fits = key.len > 0 && key.len <= STORE_MAP_KEY_MAX &&
	    value.len <= STORE_MAP_VALUE_MAX && who.len <= STORE_MAP_WHO_MAX;
	struct store_request *r =
	    map_request(STORE_MAP_SET, map, fits ? ROWS_CHANGE_MAX : 0, now);
	struct map_change change = { now, who, key, value, value.p == NULL };

	if (!fits || r->key.p == NULL)
		return store_refuse(r);
	size_t len = rows_change_write(&change, r->text + map.len);
	r->change = (struct str){ r->text + map.len, len };
	(void)rows_change_read(r->change, &change);
	r->member = change.key;
	r->value = change.removed ? (struct str){ NULL, 0 } : change.value;
	return store_submit(s, r);
}

struct future *
store_map_version(struct store *s, struct str map)
{
	struct store_request *r = map_request(STORE_MAP_VERSION, map, 0, 0);

	return r->key.p == NULL ? store_refuse(r) : store_submit(s, r);
}

struct future *
store_map_get(struct store *s, struct str map, struct str key)
{
	bool fits = key.len > 0 && key.len <= STORE_MAP_KEY_MAX;
	struct store_request *r =
	    map_request(STORE_MAP_GET, map, fits ? key.len : 0, 0);
	size_t used = map.len;

	if (!fits || r->key.p == NULL)
		return store_refuse(r);
	r->member = store_request_text(r, &used, key);
	return store_submit(s, r);
}

/* --- walks --- */

struct future *
store_walk_wait(struct store *s, struct store_request *(*ask)(void *arg), void *arg,
    struct err *err)
{
	int64_t until = clock_mono_ms() + STEP_MS;

	for (;;) {
		struct future *f = store_submit(s, ask(arg));
		const struct store_chunk *chunk =
		    future_wait(f, until) ? future_value(f) : NULL;

		if (chunk != NULL && chunk->state == STORE_OK)
			return f;
		future_unref(f);
		if (clock_mono_ms() + AGAIN_MS >= until) {
			err_set(err, "the store does not answer");
			return NULL;
		}
		poll(NULL, 0, AGAIN_MS);
	}
}

struct map_walk {
	enum store_op op;
	struct str map;
	struct store_cursor cursor;
	char after[STORE_MAP_KEY_MAX];
	size_t after_len;
};

static struct store_request *
map_walk_ask(void *arg)
{
	const struct map_walk *w = arg;
	struct store_request *r = map_request(w->op, w->map, w->after_len, 0);
	size_t used = w->map.len;

	r->cursor = w->cursor;
	r->member = store_request_text(r, &used, (struct str){ w->after, w->after_len });
	return r;
}

/* Hand the rows out.  1: go on; 0: each() wants no more; -1. */
static int
map_rows(struct map_walk *w, struct str rows,
    bool (*each)(void *arg, struct str key, struct str value), void *arg,
    struct err *err)
{
	struct str key, value;

	while (rows.len > 0) {
		if (!rows_part(&rows, &key) || !rows_part(&rows, &value) ||
		    key.len > sizeof(w->after))
			return err_set(err, "the store's answer cannot be read");
		memcpy(w->after, key.p, key.len);
		w->after_len = key.len;
		if (!each(arg, key, value))
			return 0;
	}
	return 1;
}

int
store_map_read(struct store *s, struct str map, int64_t *version,
    bool (*each)(void *arg, struct str key, struct str value), void *arg,
    struct err *err)
{
	struct map_walk w = { .op = STORE_MAP_VERSION, .map = map };

	if (!store_map_name_good(map))
		return err_set(err, "\"%.*s\" is no name of a map",
		    (int)(map.len < 100 ? map.len : 100), map.p);
	struct future *f = store_walk_wait(s, map_walk_ask, &w, err);
	if (f == NULL)
		return -1;
	*version = ((const struct map_answer *)future_value(f))->version;
	future_unref(f);
	w.op = STORE_MAP_READ;
	for (int rc = 1; rc > 0;) {
		f = store_walk_wait(s, map_walk_ask, &w, err);
		if (f == NULL)
			return -1;
		const struct store_chunk *chunk = future_value(f);
		rc = map_rows(&w, chunk->rows, each, arg, err);
		w.cursor = chunk->next;
		if (rc > 0 && !chunk->more)
			rc = 0;
		future_unref(f);
		if (rc < 0)
			return -1;
	}
	return 0;
}

int
store_map_log(struct store *s, struct str map, size_t n,
    bool (*each)(void *arg, const struct map_change *change), void *arg,
    struct err *err)
{
	struct map_walk w = { .op = STORE_MAP_LOG, .map = map };
	bool more = n > 0;

	if (!store_map_name_good(map))
		return err_set(err, "\"%.*s\" is no name of a map",
		    (int)(map.len < 100 ? map.len : 100), map.p);
	while (more) {
		struct future *f = store_walk_wait(s, map_walk_ask, &w, err);
		if (f == NULL)
			return -1;
		const struct store_chunk *chunk = future_value(f);
		struct str rows = chunk->rows, row;
		struct map_change change;

		w.cursor = chunk->next;
		more = chunk->more;
		while (n > 0 && rows_part(&rows, &row) && rows_change_read(row, &change)) {
			n--;
			if (!each(arg, &change))
				n = 0;
		}
		bool read = n == 0 || rows.len == 0;
		future_unref(f);
		if (!read)
			return err_set(err, "the store's answer cannot be read");
		more = more && n > 0;
	}
	return 0;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* Replies of store_redis_reply.h.  No connection is seen here, so that a fuzzer can
 * feed any octets through hiredis' reader into it. */
#include "db/store_redis_reply.h"

#include <stdio.h>

#include "db/store_redis_scan.h"
#include "db/store_rows.h"

#if HIREDIS_MAJOR >= 1
typedef size_t elements_t; /* the type changed between hiredis' versions */
#define ELEMENTS_GOOD(n, max) ((n) <= (max))
#else
typedef int elements_t;
#define ELEMENTS_GOOD(n, max) ((n) >= 0 && (size_t)(n) <= (max))
#endif

static void *
array_new(const redisReadTask *task, elements_t n)
{
	struct store_reply_room *room = task->privdata;

	if (task->parent == NULL)
		room->left = 8 * room->max;
	if (!ELEMENTS_GOOD(n, room->max) || (size_t)n > room->left)
		return NULL;
	room->left -= (size_t)n;
	return room->own->createArray(task, n);
}

void
store_reply_bound(redisReader *reader, struct store_reply_room *room, size_t max)
{
	room->own = reader->fn;
	room->fn = *reader->fn;
	room->fn.createArray = array_new;
	room->max = max;
	room->left = 8 * max;
	reader->fn = &room->fn;
	reader->privdata = room;
}

static const char *const reply_names[] = {
	[STORE_REPLY_OK] = "ok",
	[STORE_REPLY_FULL] = "full",
	[STORE_REPLY_REFUSED] = "refused",
	[STORE_REPLY_AWAY] = "away",
	[STORE_REPLY_NOSCRIPT] = "noscript",
	[STORE_REPLY_BAD] = "bad",
};
_Static_assert(sizeof(reply_names) / sizeof(reply_names[0]) == STORE_REPLIES,
    "a name for every class");

const char *
store_reply_name(enum store_reply reply)
{
	return reply_names[reply];
}

static const struct {
	const char *code;
	enum store_reply class;
} codes[] = {
	{ "OOM", STORE_REPLY_FULL },
	{ "MISCONF", STORE_REPLY_REFUSED },
	{ "NOREPLICAS", STORE_REPLY_REFUSED },
	{ "NOPERM", STORE_REPLY_REFUSED },
	{ "NOSCRIPT", STORE_REPLY_NOSCRIPT },
	{ "READONLY", STORE_REPLY_AWAY },
	{ "LOADING", STORE_REPLY_AWAY },
	{ "MASTERDOWN", STORE_REPLY_AWAY },
	{ "BUSY", STORE_REPLY_AWAY },
	{ "NOAUTH", STORE_REPLY_AWAY },
	{ "WRONGPASS", STORE_REPLY_AWAY },
	{ "CLUSTERDOWN", STORE_REPLY_AWAY },
	{ "TRYAGAIN", STORE_REPLY_AWAY },
	{ "MOVED", STORE_REPLY_AWAY },
	{ "ASK", STORE_REPLY_AWAY },
};

/* "OOM command not ..."; from within a script older servers say "ERR Error running
 * script (...): -OOM command not ...". */
static bool
has_code(struct str text, const char *code)
{
	struct str want = str_of(code), word;

	for (bool first = true; str_word(&text, &word); first = false)
		if ((first && str_eq(word, want)) ||
		    (word.len > 1 && word.p[0] == '-' &&
			str_eq(str_sub(word, 1, word.len), want)))
			return true;
	return false;
}

enum store_reply
store_reply_class(const redisReply *reply)
{
	if (reply->type != REDIS_REPLY_ERROR)
		return STORE_REPLY_OK;
	struct str text = { reply->str, reply->len };
	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
		if (has_code(text, codes[i].code))
			return codes[i].class;
	return STORE_REPLY_BAD;
}

/* n whole numbers of an array of just that many. */
static enum store_reply
numbers(const redisReply *reply, size_t n, int64_t *out)
{
	enum store_reply class = store_reply_class(reply);

	if (class != STORE_REPLY_OK)
		return class;
	if (reply->type != REDIS_REPLY_ARRAY || reply->elements != n)
		return STORE_REPLY_BAD;
	for (size_t i = 0; i < n; i++) {
		const redisReply *e = reply->element[i];

		if (e == NULL || e->type != REDIS_REPLY_INTEGER)
			return STORE_REPLY_BAD;
		out[i] = e->integer;
	}
	/* The last one of every script: how many values were bad. */
	return out[n - 1] >= 0 && out[n - 1] <= 16 ? STORE_REPLY_OK : STORE_REPLY_BAD;
}

enum store_reply
store_reply_greylist(
    const redisReply *reply, struct greylist_seen *out, uint64_t *bad_values)
{
	int64_t v[4];
	enum store_reply class = numbers(reply, 4, v);

	if (class != STORE_REPLY_OK)
		return class;
	if (v[0] < GREYLIST_NEW || v[0] > GREYLIST_WHITELISTED || v[2] < 0 ||
	    (v[2] == 0) != (v[0] == GREYLIST_WHITELISTED))
		return STORE_REPLY_BAD;
	*out = (struct greylist_seen){ (enum greylist_state)v[0], v[1], v[2] };
	*bad_values = (uint64_t)v[3];
	return STORE_REPLY_OK;
}

enum store_reply
store_reply_event(
    const redisReply *reply, struct event_answer *out, uint64_t *bad_values)
{
	int64_t v[3];
	enum store_reply class = numbers(reply, 3, v);

	if (class != STORE_REPLY_OK)
		return class;
	if (v[0] < 0)
		return STORE_REPLY_BAD;
	*out = (struct event_answer){ STORE_OK, v[0], v[1] };
	*bad_values = (uint64_t)v[2];
	return STORE_REPLY_OK;
}

enum store_reply
store_reply_rate(const redisReply *reply, struct rate_answer *out, uint64_t *bad_values)
{
	int64_t v[4];
	enum store_reply class = numbers(reply, 4, v);

	if (class != STORE_REPLY_OK)
		return class;
	if (v[0] < 0 || v[0] > 1 || v[1] < 0 || v[2] < -1 || (v[0] == 1 && v[2] != 0))
		return STORE_REPLY_BAD;
	*out = (struct rate_answer){ STORE_OK, v[0] == 1, v[1], v[2] };
	*bad_values = (uint64_t)v[3];
	return STORE_REPLY_OK;
}

/* An array of n: whole numbers, but for the text at `at`, and in the end how many values
 * were bad. */
static enum store_reply
numbers_and_text(
    const redisReply *reply, size_t n, size_t at, int64_t *out, struct str *text)
{
	enum store_reply class = store_reply_class(reply);

	if (class != STORE_REPLY_OK)
		return class;
	if (reply->type != REDIS_REPLY_ARRAY || reply->elements != n)
		return STORE_REPLY_BAD;
	for (size_t i = 0; i < n; i++) {
		const redisReply *e = reply->element[i];
		int want = i == at ? REDIS_REPLY_STRING : REDIS_REPLY_INTEGER;

		if (e == NULL || e->type != want)
			return STORE_REPLY_BAD;
		out[i] = i == at ? 0 : e->integer;
		if (i == at)
			*text = (struct str){ e->str, e->len };
	}
	return out[n - 1] >= 0 && out[n - 1] <= 16 ? STORE_REPLY_OK : STORE_REPLY_BAD;
}

enum store_reply
store_reply_note(const redisReply *reply, struct note_answer *out, uint64_t *bad_values)
{
	int64_t v[4];
	struct str text = { 0 };
	enum store_reply class = numbers_and_text(reply, 4, 2, v, &text);

	if (class != STORE_REPLY_OK)
		return class;
	if (v[0] < 0 || v[0] > 1 || text.len > STORE_NOTE_MAX)
		return STORE_REPLY_BAD;
	*out = (struct note_answer){
		.state = STORE_OK, .found = v[0] == 1, .since = v[1], .len = text.len
	};
	if (text.len > 0)
		memcpy(out->text, text.p, text.len);
	*bad_values = (uint64_t)v[3];
	return STORE_REPLY_OK;
}

enum store_reply
store_reply_hold(const redisReply *reply, struct hold_answer *out, uint64_t *bad_values)
{
	int64_t v[3];
	enum store_reply class = numbers(reply, 3, v);

	if (class != STORE_REPLY_OK)
		return class;
	if (v[0] < 0 || v[0] > 1 || v[1] < 0)
		return STORE_REPLY_BAD;
	*out = (struct hold_answer){ STORE_OK, v[0] == 1, v[1] };
	*bad_values = (uint64_t)v[2];
	return STORE_REPLY_OK;
}

enum store_reply
store_reply_map(const redisReply *reply, struct map_answer *out, uint64_t *bad_values)
{
	int64_t v[3];
	enum store_reply class = numbers(reply, 3, v);

	if (class != STORE_REPLY_OK)
		return class;
	if (v[0] < 0 || v[0] > 1 || v[1] < 0)
		return STORE_REPLY_BAD;
	*out = (struct map_answer){ STORE_OK, v[0] == 1, v[1] };
	*bad_values = (uint64_t)v[2];
	return STORE_REPLY_OK;
}

enum store_reply
store_reply_gone(
    const redisReply *reply, struct delete_answer *out, uint64_t *bad_values)
{
	int64_t v[2];
	enum store_reply class = numbers(reply, 2, v);

	if (class != STORE_REPLY_OK)
		return class;
	if (v[0] < 0 || v[0] > 1)
		return STORE_REPLY_BAD;
	*out = (struct delete_answer){ STORE_OK, v[0] == 1 };
	*bad_values = (uint64_t)v[1];
	return STORE_REPLY_OK;
}

enum store_reply
store_reply_value(const redisReply *reply, struct map_value *out, struct buf *value)
{
	enum store_reply class = store_reply_class(reply);

	if (class != STORE_REPLY_OK)
		return class;
	if (reply->type == REDIS_REPLY_NIL) {
		*out = (struct map_value){ .state = STORE_OK };
		return STORE_REPLY_OK;
	}
	if (reply->type != REDIS_REPLY_STRING || reply->len > STORE_MAP_VALUE_MAX ||
	    buf_add(value, reply->str, reply->len) != 0)
		return STORE_REPLY_BAD;
	*out = (struct map_value){ .state = STORE_OK, .found = true };
	return STORE_REPLY_OK;
}

enum store_reply
store_reply_version(const redisReply *reply, struct map_answer *out)
{
	enum store_reply class = store_reply_class(reply);
	uint64_t version = 0;

	if (class != STORE_REPLY_OK)
		return class;
	if (reply->type != REDIS_REPLY_STRING ||
	    (reply->len > 0 &&
		!str_to_uint((struct str){ reply->str, reply->len }, 0, INT64_MAX,
		    &version)))
		return STORE_REPLY_BAD;
	*out = (struct map_answer){ .state = STORE_OK, .version = (int64_t)version };
	return STORE_REPLY_OK;
}

/* A string as a row. */
static bool
row_taken(const redisReply *e, struct buf *rows)
{
	return e != NULL && e->type == REDIS_REPLY_STRING &&
	    rows_add(rows, (struct str){ e->str, e->len }) == 0;
}

/* Cursor, list of strings: the answer of a SCAN command. */
static enum store_reply
scan_head(const redisReply *reply, uint64_t *cursor, const redisReply **list)
{
	enum store_reply class = store_reply_class(reply);

	if (class != STORE_REPLY_OK)
		return class;
	if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2)
		return STORE_REPLY_BAD;
	const redisReply *at = reply->element[0];
	*list = reply->element[1];
	return at != NULL && *list != NULL && at->type == REDIS_REPLY_STRING &&
		(*list)->type == REDIS_REPLY_ARRAY &&
		str_to_uint((struct str){ at->str, at->len }, 0, UINT64_MAX, cursor)
	    ? STORE_REPLY_OK
	    : STORE_REPLY_BAD;
}

enum store_reply
store_reply_map_read(
    const redisReply *reply, struct store_chunk *out, struct buf *rows)
{
	const redisReply *list;
	uint64_t cursor;
	enum store_reply class = scan_head(reply, &cursor, &list);

	if (class != STORE_REPLY_OK)
		return class;
	if (list->elements % 2 != 0)
		return STORE_REPLY_BAD;
	for (size_t i = 0; i < list->elements; i++)
		if (!row_taken(list->element[i], rows))
			return STORE_REPLY_BAD;
	*out = (struct store_chunk){ .state = STORE_OK, .more = cursor != 0 };
	out->next.number = cursor;
	return STORE_REPLY_OK;
}

enum store_reply
store_reply_map_log(const redisReply *reply, uint64_t from, struct store_chunk *out,
    struct buf *rows)
{
	enum store_reply class = store_reply_class(reply);

	if (class != STORE_REPLY_OK)
		return class;
	if (reply->type != REDIS_REPLY_ARRAY)
		return STORE_REPLY_BAD;
	for (size_t i = 0; i < reply->elements; i++)
		if (!row_taken(reply->element[i], rows))
			return STORE_REPLY_BAD;
	*out = (struct store_chunk){ .state = STORE_OK,
		.more = reply->elements >= STORE_CHUNK_ROWS };
	out->next.number = from + reply->elements;
	return STORE_REPLY_OK;
}

/* The number at the start of s, up to a comma or its end. */
static bool
number_at(struct str s, uint64_t *out)
{
	struct str head;

	return str_cut(&s, ',', &head) && str_to_uint(head, 0, INT64_MAX, out);
}

static bool
printable(struct str s)
{
	for (size_t i = 0; i < s.len; i++)
		if (s.p[i] < ' ' || s.p[i] > '~')
			return false;
	return true;
}

static void
stats_line(struct str line, struct str db, struct store_stats *out)
{
	struct str name;
	uint64_t n;

	if (!str_cut(&line, ':', &name))
		return;
	if (str_is(name, "used_memory") && number_at(line, &n))
		out->bytes = n;
	else if (str_is(name, "maxmemory") && number_at(line, &n))
		out->size_max = n;
	else if (str_eq(name, db) && str_starts(line, STR("keys=")) &&
	    number_at(str_sub(line, 5, line.len), &n))
		out->entries = n;
	else if (printable(line) &&
	    (str_is(name, "redis_version") || str_is(name, "role"))) {
		size_t used = strlen(out->note);

		snprintf(out->note + used, sizeof(out->note) - used, "%s%.*s",
		    used == 0 ? "redis " : " ", (int)(line.len < 40 ? line.len : 40),
		    line.p);
	}
}

enum store_reply
store_reply_stats(const redisReply *reply, int64_t database, struct store_stats *out)
{
	enum store_reply class = store_reply_class(reply);
	struct str text = { reply->str, reply->len }, line;
	char db[32];

	if (class != STORE_REPLY_OK)
		return class;
	if (reply->type != REDIS_REPLY_STRING)
		return STORE_REPLY_BAD;
	int len = snprintf(db, sizeof(db), "db%lld", (long long)database);
	*out = (struct store_stats){ 0 };
	while (str_cut(&text, '\n', &line))
		stats_line(str_trim(line), (struct str){ db, (size_t)len }, out);
	return STORE_REPLY_OK;
}

enum store_reply
store_reply_answer(const redisReply *reply, const char *prefix, int64_t database,
    struct store_request *r, uint64_t *bad_values)
{
	buf_reset(&r->octets); /* of an answer that broke off */
	switch (r->op) {
	case STORE_GREYLIST:
		r->answer.greylist.state = STORE_OK;
		return store_reply_greylist(reply, &r->answer.greylist.seen, bad_values);
	case STORE_EVENT_ASK:
		return store_reply_event(reply, &r->answer.event, bad_values);
	case STORE_RATE:
		return store_reply_rate(reply, &r->answer.bucket, bad_values);
	case STORE_NOTE:
		return store_reply_note(reply, &r->answer.note, bad_values);
	case STORE_HOLD:
		return store_reply_hold(reply, &r->answer.hold, bad_values);
	case STORE_MAP_SET:
		return store_reply_map(reply, &r->answer.map, bad_values);
	case STORE_MAP_GET:
		return store_reply_value(reply, &r->answer.value, &r->octets);
	case STORE_MAP_VERSION:
		return store_reply_version(reply, &r->answer.map);
	case STORE_MAP_READ:
		return store_reply_map_read(reply, &r->answer.chunk, &r->octets);
	case STORE_MAP_LOG:
		return store_reply_map_log(
		    reply, r->cursor.number, &r->answer.chunk, &r->octets);
	case STORE_SCAN:
		return store_reply_scan(
		    reply, prefix, r, &r->answer.chunk, &r->octets);
	case STORE_PUT:
	case STORE_DELETE:
		return store_reply_gone(reply, &r->answer.gone, bad_values);
	case STORE_STATS:
		return store_reply_stats(reply, database, &r->answer.stats);
	}
	return STORE_REPLY_BAD;
}

enum store_reply
store_reply_digest(const redisReply *reply, char digest[41])
{
	enum store_reply class = store_reply_class(reply);

	if (class != STORE_REPLY_OK)
		return class;
	if ((reply->type != REDIS_REPLY_STRING && reply->type != REDIS_REPLY_STATUS) ||
	    reply->len != 40)
		return STORE_REPLY_BAD;
	for (int i = 0; i < 40; i++)
		if (!ascii_digit(reply->str[i]) &&
		    !(reply->str[i] >= 'a' && reply->str[i] <= 'f'))
			return STORE_REPLY_BAD;
	memcpy(digest, reply->str, 40);
	digest[40] = '\0';
	return STORE_REPLY_OK;
}

enum store_reply
store_reply_time(const redisReply *reply, int64_t *us)
{
	enum store_reply class = store_reply_class(reply);
	uint64_t v[2];

	if (class != STORE_REPLY_OK)
		return class;
	if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2)
		return STORE_REPLY_BAD;
	for (int i = 0; i < 2; i++) {
		const redisReply *e = reply->element[i];

		if (e == NULL || e->type != REDIS_REPLY_STRING ||
		    !str_to_uint((struct str){ e->str, e->len }, 0,
			i == 0 ? UINT64_C(253402300799) : 999999, &v[i]))
			return STORE_REPLY_BAD;
	}
	*us = (int64_t)(v[0] * 1000000 + v[1]);
	return STORE_REPLY_OK;
}

bool
store_reply_is_master(const redisReply *reply)
{
	if (reply->type != REDIS_REPLY_ARRAY || reply->elements == 0 ||
	    reply->element[0] == NULL || reply->element[0]->type != REDIS_REPLY_STRING)
		return false;
	const redisReply *role = reply->element[0];
	return str_is((struct str){ role->str, role->len }, "master");
}

int
store_reply_master_address(
    const redisReply *reply, struct store_address *out, struct err *err)
{
	struct str part[2];

	if (reply->type == REDIS_REPLY_ERROR)
		return err_set(err, "it answers %.*s",
		    (int)(reply->len < 200 ? reply->len : 200), reply->str);
	if (reply->type == REDIS_REPLY_NIL)
		return err_set(err, "it knows no master of this name");
	if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2)
		return err_set(err, "its answer is no address");
	for (size_t i = 0; i < 2; i++) {
		const redisReply *e = reply->element[i];

		if (e == NULL || e->type != REDIS_REPLY_STRING)
			return err_set(err, "its answer is no address");
		part[i] = (struct str){ e->str, e->len };
	}
	if (!store_address_of(part[0], part[1], out))
		return err_set(err, "its answer is no IP address and port");
	return 0;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* Entries of store_redis_scan.h.  The forms of values are those of store_redis_lua.c. */
#include "db/store_redis_scan.h"

#include "db/store_redis_script.h"

#define EPOCH INT64_C(1600000000) /* of a triple in one number */
#define LIFE_MORE 60 /* seconds that a key lives longer than its record */
#define SPAN_DIGITS 8
#define FIRST_DIGITS 9

static bool
number(struct str s, int64_t *out)
{
	bool negative = str_starts(s, STR("-"));
	uint64_t v;

	if (negative)
		s = str_sub(s, 1, s.len);
	if (!str_to_uint(s, 0, (uint64_t)STORE_NUMBER_MAX, &v))
		return false;
	*out = negative ? -(int64_t)v : (int64_t)v;
	return true;
}

/* Just n numbers with one blank between them. */
static bool
numbers(struct str value, size_t n, int64_t *out)
{
	struct str word;

	for (size_t i = 0; i < n; i++)
		if (!str_cut(&value, ' ', &word) || !number(word, &out[i]))
			return false;
	return value.len == 0;
}

static bool
triple_compact(struct str value, struct greylist_triple *t)
{
	bool known = str_starts(value, STR("-"));
	struct str digits = str_sub(value, known, value.len);
	uint64_t tries, first, span;

	if (digits.len != 2 + FIRST_DIGITS + SPAN_DIGITS ||
	    !str_to_uint(str_sub(digits, 0, 2), 10, 89, &tries) ||
	    !str_to_uint(str_sub(digits, 2, 2 + FIRST_DIGITS), 0, UINT64_MAX, &first) ||
	    !str_to_uint(
		str_sub(digits, 2 + FIRST_DIGITS, digits.len), 0, UINT64_MAX, &span))
		return false;
	*t = (struct greylist_triple){ .exists = true,
		.known = known,
		.first = EPOCH + (int64_t)first,
		.last = EPOCH + (int64_t)(first + span),
		.tries = (int64_t)tries - 9 };
	return true;
}

static bool
triple_read(struct str value, int64_t by_life, struct record *r)
{
	int64_t v[5];

	r->kind = RECORD_TRIPLE;
	r->expires = by_life;
	if (triple_compact(value, &r->triple))
		return true;
	if (!numbers(value, 5, v) || v[0] < 0 || v[0] > 1 || v[3] < 1 || v[1] > v[2])
		return false;
	r->triple = (struct greylist_triple){ true, v[0] == 1, v[1], v[2], v[3] };
	r->expires = v[4];
	return true;
}

static bool
client_read(struct str value, struct record *r)
{
	int64_t v[4];

	r->kind = RECORD_CLIENT;
	if (!numbers(value, 4, v) || v[0] < 0)
		return false;
	r->client = (struct greylist_client){ true, v[0], v[1], v[2] };
	r->expires = v[3];
	return true;
}

static bool
event_read(struct str value, struct record *r)
{
	int64_t v[4];

	r->kind = RECORD_EVENT;
	if (!numbers(value, 4, v) || v[0] < 0 || v[2] < 0)
		return false;
	r->event = (struct event_sum){ v[0], v[1], v[2] };
	r->expires = v[3];
	return true;
}

/* "{=NAME}REST", ended by the last brace. */
static bool
tagged(struct str s, struct str *name, struct str *rest)
{
	ptrdiff_t end = str_rindex(s, '}');

	if (!str_starts(s, STR("{=")) || end < 2)
		return false;
	*name = str_sub(s, 2, (size_t)end);
	*rest = str_sub(s, (size_t)end + 1, s.len);
	return true;
}

/* One entry; what is none, or another's, is passed over.  -1: no room. */
static int
entry(const char *prefix, const struct store_request *r, struct str key,
    struct str value, int64_t life, struct buf *rows)
{
	struct record record = { .expires = 0 };
	char name[STORE_NAME_MAX];
	struct str behind, client = STR(""), rest;
	enum store_kind kind = store_entry_kind(prefix, key, &behind);
	size_t len = 0;
	bool good = false;

	if ((r->kinds & (unsigned)kind) == 0)
		return 0;
	if (kind == STORE_TRIPLE) {
		good = triple_read(value, store_later(r->now, life - LIFE_MORE), &record) &&
		    store_triple_name(behind, &client, name, &len);
	} else if (tagged(behind, &client, &rest)) {
		bool event = kind == STORE_EVENT;

		good = client.len + rest.len + 1 <= sizeof(name) &&
		    (event ? event_read(value, &record)
			   : rest.len == 0 && client_read(value, &record));
		if (good && event) {
			len = rest.len + 1;
			memcpy(name, rest.p, rest.len);
			name[rest.len] = '|';
		}
		if (good)
			memcpy(name + len, client.p, client.len);
		len += client.len;
		if (event)
			client = STR("");
	}
	if (!good || r->now > record.expires)
		return 0;
	record.name_len = len;
	return store_row_add(rows, client, (struct str){ name, len }, &record);
}

enum store_reply
store_reply_scan(const redisReply *reply, const char *prefix,
    const struct store_request *r, struct store_chunk *out, struct buf *rows)
{
	enum store_reply class = store_reply_class(reply);
	uint64_t cursor = 0;

	if (class != STORE_REPLY_OK)
		return class;
	if (reply->type != REDIS_REPLY_ARRAY || reply->elements % 3 != 1)
		return STORE_REPLY_BAD;
	for (size_t i = 0; i < reply->elements; i++) {
		const redisReply *e = reply->element[i];
		int want = i % 3 == 0 && i > 0 ? REDIS_REPLY_INTEGER : REDIS_REPLY_STRING;

		if (e == NULL || e->type != want)
			return STORE_REPLY_BAD;
	}
	const redisReply *at = reply->element[0];
	if (!str_to_uint((struct str){ at->str, at->len }, 0, UINT64_MAX, &cursor))
		return STORE_REPLY_BAD;
	for (size_t i = 1; i < reply->elements; i += 3) {
		const redisReply *key = reply->element[i], *v = reply->element[i + 1];

		if (entry(prefix, r, (struct str){ key->str, key->len },
			(struct str){ v->str, v->len },
			reply->element[i + 2]->integer, rows) != 0)
			return STORE_REPLY_BAD;
	}
	*out = (struct store_chunk){ .state = STORE_OK, .more = cursor != 0 };
	out->next.number = cursor;
	out->next.node = r->cursor.node;
	return STORE_REPLY_OK;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* Any octets as the answer of a Redis server: read by hiredis and by us.  What is taken
 * lies in the ranges that the rest of the program relies on; what is not taken changes
 * nothing. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "db/store_redis_reply.h"
#include "db/store_redis_scan.h"
#include "db/store_rows.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
greylist(const redisReply *r)
{
	struct greylist_seen seen = { .first = -77 };
	uint64_t bad = 0;

	if (store_reply_greylist(r, &seen, &bad) != STORE_REPLY_OK) {
		if (seen.first != -77 || bad != 0)
			abort();
	} else if (greylist_state_name(seen.state) == NULL || seen.tries < 0 ||
	    bad > 16) {
		abort();
	}
}

static void
event(const redisReply *r)
{
	struct event_answer a = { .last = -77 };
	uint64_t bad = 0;

	if (store_reply_event(r, &a, &bad) != STORE_REPLY_OK) {
		if (a.last != -77 || bad != 0)
			abort();
	} else if (a.state != STORE_OK || a.weight < 0 || bad > 16) {
		abort();
	}
}

static void
rate(const redisReply *r)
{
	struct rate_answer a = { .level = -77 };
	uint64_t bad = 0;

	if (store_reply_rate(r, &a, &bad) != STORE_REPLY_OK) {
		if (a.level != -77 || bad != 0)
			abort();
	} else if (a.level < 0 || a.wait < -1 || (a.allowed && a.wait != 0) ||
	    bad > 16) {
		abort();
	}
}

static void
note(const redisReply *r)
{
	struct note_answer a = { .since = -77 };
	uint64_t bad = 0;

	if (store_reply_note(r, &a, &bad) != STORE_REPLY_OK) {
		if (a.since != -77 || bad != 0)
			abort();
	} else if (a.state != STORE_OK || a.len > STORE_NOTE_MAX || bad > 16) {
		abort();
	}
}

static void
hold(const redisReply *r)
{
	struct hold_answer a = { .held = -77 };
	uint64_t bad = 0;

	if (store_reply_hold(r, &a, &bad) != STORE_REPLY_OK) {
		if (a.held != -77 || bad != 0)
			abort();
	} else if (a.state != STORE_OK || a.held < 0 || bad > 16) {
		abort();
	}
}

static void
walk(const redisReply *r)
{
	struct store_chunk chunk = { 0 };
	struct map_change change;
	struct buf octets;
	struct str rows, row;

	buf_init(&octets, 100000);
	if (store_reply_map_log(r, 0, &chunk, &octets) == STORE_REPLY_OK) {
		rows = buf_str(&octets);
		while (rows_part(&rows, &row))
			(void)rows_change_read(row, &change);
		if (rows.len != 0)
			abort();
	}
	buf_reset(&octets);
	if (store_reply_map_read(r, &chunk, &octets) == STORE_REPLY_OK) {
		rows = buf_str(&octets);
		while (rows_part(&rows, &row))
			if (!rows_part(&rows, &row))
				abort();
	}
	buf_clear(&octets);
}

static void
map(const redisReply *r)
{
	struct map_answer a = { .version = -77 };
	struct map_value v = { .found = false };
	struct buf octets;
	uint64_t bad = 0;

	buf_init(&octets, STORE_MAP_VALUE_MAX);
	if (store_reply_map(r, &a, &bad) == STORE_REPLY_OK &&
	    (a.version < 0 || bad > 16))
		abort();
	if (store_reply_version(r, &a) == STORE_REPLY_OK && a.version < 0)
		abort();
	if (store_reply_value(r, &v, &octets) == STORE_REPLY_OK && !v.found &&
	    octets.len > 0)
		abort();
	buf_clear(&octets);
}

static void
scan(const redisReply *r)
{
	struct store_request q = { .op = STORE_SCAN, .now = 1600000000, .kinds = 7 };
	struct store_chunk chunk = { 0 };
	struct buf octets;
	struct str rows, row;
	int parts = 0;

	buf_init(&octets, 100000);
	if (store_reply_scan(r, "p", &q, &chunk, &octets) == STORE_REPLY_OK) {
		rows = buf_str(&octets);
		for (; rows_part(&rows, &row); parts++)
			if (row.len > RECORD_MAX)
				abort();
		if (parts % 4 != 0 || rows.len != 0)
			abort();
	}
	buf_clear(&octets);
}

static void
other(const redisReply *r)
{
	struct store_stats st = { 0 };
	char digest[41] = "";

	if (store_reply_stats(r, 0, &st) == STORE_REPLY_OK &&
	    memchr(st.note, '\0', sizeof(st.note)) == NULL)
		abort();
	if (store_reply_digest(r, digest) == STORE_REPLY_OK && strlen(digest) != 40)
		abort();
	if (store_reply_name(store_reply_class(r))[0] == '\0')
		abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	redisReader *reader = redisReaderCreate();
	struct store_reply_room room;
	void *r = NULL;

	store_reply_bound(reader, &room, STORE_REPLY_ELEMENTS_MAX);
	if (size > 0)
		redisReaderFeed(reader, (const char *)data, size);
	while (redisReaderGetReply(reader, &r) == REDIS_OK && r != NULL) {
		greylist(r);
		event(r);
		rate(r);
		note(r);
		hold(r);
		map(r);
		walk(r);
		scan(r);
		other(r);
		freeReplyObject(r);
	}
	redisReaderFree(reader);
	return 0;
}

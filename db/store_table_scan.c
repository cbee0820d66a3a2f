/* SPDX-License-Identifier: BSD-2-Clause */
/* Records in the order of their keys, kind by kind, some at a time.  Damaged and
 * foreign ones are passed over. */
#include "db/store_table_scan.h"

#include <errno.h>

_Static_assert(STORE_CURSOR_KEY == TABLE_KEY, "a walk goes on at a key");

/* In the order of their letters. */
static const struct {
	enum record_kind record;
	enum store_kind kind;
} order[] = {
	{ RECORD_CLIENT, STORE_CLIENT },
	{ RECORD_EVENT, STORE_EVENT },
	{ RECORD_TRIPLE, STORE_TRIPLE },
};

/* The next kind that is wanted, at or behind this letter; 0: none. */
static uint8_t
kind_from(unsigned kinds, uint8_t letter)
{
	for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++)
		if ((uint8_t)order[i].record >= letter &&
		    (kinds & (unsigned)order[i].kind) != 0)
			return (uint8_t)order[i].record;
	return 0;
}

/* The first record behind key, of a kind that is wanted.  MDB_NOTFOUND: no more. */
static int
next_record(MDB_cursor *cursor, unsigned kinds, const uint8_t after[TABLE_KEY],
    MDB_val *key, MDB_val *got)
{
	uint8_t from[TABLE_KEY];
	int rc;

	memcpy(from, after, TABLE_KEY);
	for (;;) {
		uint8_t kind = kind_from(kinds, from[0]);

		if (kind == 0)
			return MDB_NOTFOUND;
		if (kind != from[0]) {
			memset(from, 0, sizeof(from));
			from[0] = kind;
		}
		*key = (MDB_val){ TABLE_KEY, from };
		rc = mdb_cursor_get(cursor, key, got, MDB_SET_RANGE);
		if (rc == 0 && key->mv_size == TABLE_KEY &&
		    memcmp(key->mv_data, after, TABLE_KEY) == 0)
			rc = mdb_cursor_get(cursor, key, got, MDB_NEXT);
		if (rc != 0 || key->mv_size != TABLE_KEY)
			return rc == 0 ? MDB_CORRUPTED : rc;
		if (*(const uint8_t *)key->mv_data == from[0])
			return 0;
		memset(from, 0, sizeof(from));
		from[0] = (uint8_t)(kind + 1);
	}
}

/* What a triple's key tells of its client. */
static struct str
client_of(const struct record *r)
{
	const uint8_t *p = (const uint8_t *)r->name.p;

	if (r->kind == RECORD_CLIENT)
		return r->name;
	if (r->kind != RECORD_TRIPLE || r->name.len < 2)
		return STR("");
	size_t len = (size_t)p[0] << 8 | p[1];
	return len <= r->name.len - 2 ? str_sub(r->name, 2, 2 + len) : STR("");
}

int
table_scan(struct table_txn *tx, const struct store_request *r,
    struct store_chunk *answer, struct buf *rows)
{
	uint8_t after[TABLE_KEY];
	MDB_cursor *cursor;
	MDB_val key, got;
	int rc = mdb_cursor_open(tx->txn, tx->table->data, &cursor);

	if (rc != 0)
		return rc;
	*answer = (struct store_chunk){ .state = STORE_OK };
	memcpy(after, r->cursor.key, TABLE_KEY);
	for (int i = 0; rc == 0 && i < STORE_CHUNK_ROWS; i++) {
		struct record record;

		rc = next_record(cursor, r->kinds, after, &key, &got);
		if (rc != 0)
			break;
		memcpy(after, key.mv_data, TABLE_KEY);
		if (record_decode((struct str){ got.mv_data, got.mv_size }, &record) !=
			RECORD_OK ||
		    record.kind != (enum record_kind)after[0] ||
		    r->now > record.expires)
			continue;
		if (store_row_add(rows, client_of(&record), record.name, &record) != 0)
			rc = EMSGSIZE;
	}
	mdb_cursor_close(cursor);
	answer->more = rc == 0;
	memcpy(answer->next.key, after, TABLE_KEY);
	return rc == MDB_NOTFOUND ? 0 : rc;
}

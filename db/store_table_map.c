/* SPDX-License-Identifier: BSD-2-Clause */
/* Shared maps of store_table_map.h: entries, their version, and the log of changes,
 * which is cut to its last ones. */
#include "db/store_table_map.h"

#include <errno.h>

#include "db/store_rows.h"

#define KEY_MAX (1 + STORE_MAP_NAME_MAX + 1 + STORE_MAP_KEY_MAX)

struct map_key {
	uint8_t octets[KEY_MAX];
	size_t len;
};

static MDB_val
val(const void *p, size_t len)
{
	MDB_val v = { len, (void *)(uintptr_t)p };

	return v;
}

static struct str
val_str(const MDB_val *v)
{
	return (struct str){ v->mv_data, v->mv_size };
}

static MDB_val
map_key(struct map_key *k, char kind, struct str map, struct str member)
{
	k->octets[0] = (uint8_t)kind;
	memcpy(k->octets + 1, map.p, map.len);
	k->octets[1 + map.len] = 0;
	k->len = map.len + 2;
	if (member.len > 0)
		memcpy(k->octets + k->len, member.p, member.len);
	k->len += member.len;
	return val(k->octets, k->len);
}

static MDB_val
log_key(struct map_key *k, struct str map, int64_t version)
{
	uint8_t octets[8];

	be64_put(octets, version);
	return map_key(k, 'l', map, (struct str){ (char *)octets, 8 });
}

int
table_map_version(struct table_txn *tx, struct str map, int64_t *version)
{
	struct map_key k;
	MDB_val key = map_key(&k, 'v', map, STR("")), got;
	int rc = mdb_get(tx->txn, tx->table->maps, &key, &got);

	*version = rc == 0 && got.mv_size == 8 ? be64_get(got.mv_data) : 0;
	return rc == MDB_NOTFOUND ? 0 : rc;
}

uint64_t
table_map_bytes(struct table_txn *tx)
{
	MDB_stat st;

	if (mdb_stat(tx->txn, tx->table->maps, &st) != 0)
		return 0;
	return (st.ms_branch_pages + st.ms_leaf_pages + st.ms_overflow_pages) *
	    st.ms_psize;
}

/* The first key of the map's kind at or behind `key`; MDB_NOTFOUND: there is none. */
static int
seek(MDB_cursor *cursor, const MDB_val *prefix, MDB_val *key, MDB_val *got,
    MDB_cursor_op op)
{
	int rc = mdb_cursor_get(cursor, key, got, op);

	if (rc == 0 &&
	    (key->mv_size < prefix->mv_size ||
		memcmp(key->mv_data, prefix->mv_data, prefix->mv_size) != 0))
		return MDB_NOTFOUND;
	return rc;
}

/* To the last key of the map's kind, before `end`. */
static int
seek_last(MDB_cursor *cursor, const MDB_val *prefix, MDB_val *key, MDB_val *got)
{
	int rc = mdb_cursor_get(cursor, key, got, MDB_SET_RANGE);

	return seek(
	    cursor, prefix, key, got, rc == MDB_NOTFOUND ? MDB_LAST : MDB_PREV);
}

/* Forget the changes before the last ones. */
static int
log_cut(struct table_txn *tx, struct str map)
{
	struct map_key k, p;
	MDB_val prefix = map_key(&p, 'l', map, STR("")), got;
	MDB_val key = log_key(&k, map, INT64_MAX);
	MDB_cursor *cursor;
	int rc = mdb_cursor_open(tx->txn, tx->table->maps, &cursor);

	if (rc != 0)
		return rc;
	rc = seek_last(cursor, &prefix, &key, &got);
	for (int i = 0; rc == 0 && i < STORE_MAP_LOG_MAX; i++)
		rc = seek(cursor, &prefix, &key, &got, MDB_PREV);
	while (rc == 0 && (rc = mdb_cursor_del(cursor, 0)) == 0)
		rc = seek(cursor, &prefix, &key, &got, MDB_PREV);
	mdb_cursor_close(cursor);
	return rc == MDB_NOTFOUND ? 0 : rc;
}

static int
log_add(struct table_txn *tx, const struct store_request *r, int64_t version)
{
	struct map_key k;
	uint8_t octets[8];
	MDB_val key = log_key(&k, r->key, version), change =
	    val(r->change.p, r->change.len);
	int rc = mdb_put(tx->txn, tx->table->maps, &key, &change, 0);

	be64_put(octets, version);
	key = map_key(&k, 'v', r->key, STR(""));
	change = val(octets, sizeof(octets));
	if (rc == 0)
		rc = mdb_put(tx->txn, tx->table->maps, &key, &change, 0);
	return rc == 0 ? log_cut(tx, r->key) : rc;
}

int
table_map_set(
    struct table_txn *tx, const struct store_request *r, struct map_answer *answer)
{
	struct map_key k;
	MDB_val key = map_key(&k, 'm', r->key, r->member), got;
	MDB_val put = val(r->value.p, r->value.len);
	bool remove = r->value.p == NULL;

	*answer = (struct map_answer){ .state = STORE_OK };
	int rc = table_map_version(tx, r->key, &answer->version);
	if (rc != 0)
		return rc;
	rc = mdb_get(tx->txn, tx->table->maps, &key, &got);
	if (rc != 0 && rc != MDB_NOTFOUND)
		return rc;
	answer->found = rc == 0;
	if (remove ? rc != 0 : rc == 0 && str_eq(val_str(&got), r->value))
		return 0;
	if (!remove && table_map_bytes(tx) > tx->table->maps_limit) {
		answer->state = STORE_FULL;
		return 0;
	}
	rc = remove ? mdb_del(tx->txn, tx->table->maps, &key, NULL)
		    : mdb_put(tx->txn, tx->table->maps, &key, &put, 0);
	answer->version = map_version_next(answer->version, r->now);
	tx->changed = tx->maps_changed = true;
	return rc == 0 ? log_add(tx, r, answer->version) : rc;
}

int
table_map_get(struct table_txn *tx, const struct store_request *r,
    struct map_value *answer, struct buf *value)
{
	struct map_key k;
	MDB_val key = map_key(&k, 'm', r->key, r->member), got;
	int rc = mdb_get(tx->txn, tx->table->maps, &key, &got);

	*answer = (struct map_value){ .state = STORE_OK, .found = rc == 0 };
	if (rc == 0)
		return buf_add_str(value, val_str(&got)) == 0 ? 0 : EMSGSIZE;
	return rc == MDB_NOTFOUND ? 0 : rc;
}

int
table_map_read(struct table_txn *tx, const struct store_request *r,
    struct store_chunk *answer, struct buf *rows)
{
	struct map_key k, p;
	MDB_val key = map_key(&k, 'm', r->key, r->member), got;
	MDB_val prefix = map_key(&p, 'm', r->key, STR(""));
	MDB_cursor *cursor;
	int rc = table_map_version(tx, r->key, &answer->version);

	answer->state = STORE_OK;
	if (rc == 0)
		rc = mdb_cursor_open(tx->txn, tx->table->maps, &cursor);
	if (rc != 0)
		return rc;
	rc = seek(cursor, &prefix, &key, &got, MDB_SET_RANGE);
	if (rc == 0 && r->member.len > 0 && key.mv_size == k.len &&
	    memcmp(key.mv_data, k.octets, k.len) == 0)
		rc = seek(cursor, &prefix, &key, &got, MDB_NEXT);
	for (int i = 0; rc == 0 && i < STORE_CHUNK_ROWS; i++) {
		rc = rows_add(rows, str_sub(val_str(&key), prefix.mv_size, key.mv_size));
		rc = rc == 0 && rows_add(rows, val_str(&got)) == 0 ? 0 : EMSGSIZE;
		if (rc == 0)
			rc = seek(cursor, &prefix, &key, &got, MDB_NEXT);
	}
	answer->more = rc == 0;
	mdb_cursor_close(cursor);
	return rc == MDB_NOTFOUND ? 0 : rc;
}

int
table_map_log(struct table_txn *tx, const struct store_request *r,
    struct store_chunk *answer, struct buf *rows)
{
	struct map_key k, p;
	MDB_val prefix = map_key(&p, 'l', r->key, STR("")), got;
	int64_t from =
	    r->cursor.number == 0 ? INT64_MAX : (int64_t)r->cursor.number;
	MDB_val key = log_key(&k, r->key, from);
	MDB_cursor *cursor;
	int rc = mdb_cursor_open(tx->txn, tx->table->maps, &cursor);

	answer->state = STORE_OK;
	if (rc != 0)
		return rc;
	rc = seek_last(cursor, &prefix, &key, &got);
	for (int i = 0; rc == 0 && i < STORE_CHUNK_ROWS; i++) {
		if (key.mv_size == prefix.mv_size + 8)
			answer->next.number = (uint64_t)be64_get(
			    (const uint8_t *)key.mv_data + prefix.mv_size);
		rc = rows_add(rows, val_str(&got)) == 0 ? 0 : EMSGSIZE;
		if (rc == 0)
			rc = seek(cursor, &prefix, &key, &got, MDB_PREV);
	}
	answer->more = rc == 0;
	mdb_cursor_close(cursor);
	return rc == MDB_NOTFOUND ? 0 : rc;
}

static bool
key_good(struct str key, size_t value_len)
{
	ptrdiff_t end = str_index(key, '\0');
	struct str rest = str_sub(key, (size_t)(end < 0 ? 0 : end) + 1, key.len);

	if (key.len < 3 || key.len > KEY_MAX || end < 2 ||
	    !store_map_name_good(str_sub(key, 1, (size_t)end)))
		return false;
	switch (key.p[0]) {
	case 'm':
		return rest.len > 0 && value_len <= STORE_MAP_VALUE_MAX;
	case 'l':
		return rest.len == 8 && value_len <= ROWS_CHANGE_MAX;
	case 'v':
		return rest.len == 0 && value_len == 8;
	}
	return true; /* of another version of ours */
}

const char *
table_map_verify(struct table_txn *tx)
{
	MDB_cursor *cursor;
	MDB_val key, got, last = { 0, NULL };
	const char *wrong = NULL;

	if (mdb_cursor_open(tx->txn, tx->table->maps, &cursor) != 0)
		return "no cursor";
	int rc = mdb_cursor_get(cursor, &key, &got, MDB_FIRST);
	while (rc == 0 && wrong == NULL) {
		if (last.mv_data != NULL && mdb_cmp(tx->txn, tx->table->maps, &last, &key) >= 0)
			wrong = "keys of maps out of order";
		else if (!key_good(val_str(&key), got.mv_size))
			wrong = "a damaged map";
		last = key;
		rc = mdb_cursor_get(cursor, &key, &got, MDB_NEXT);
	}
	mdb_cursor_close(cursor);
	if (wrong == NULL && rc != MDB_NOTFOUND)
		wrong = mdb_strerror(rc);
	return wrong;
}

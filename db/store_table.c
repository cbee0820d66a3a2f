/* SPDX-License-Identifier: BSD-2-Clause */
/* Records, their expiry index and their count of octets, in one LMDB transaction.
 *
 * The index is lazy: a row stands at `indexed`, at or before the record's `expires`,
 * and is moved when it comes up.  So a mail of a known triple, which only lengthens its
 * life, writes one row and not three. */
#include "db/store_table.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>
#include <xxhash.h>

#include "common/base/metrics.h"
#include "db/store_table_map.h"

/* What LMDB spends on a row beside its octets: a node's head and its place in the page.
 */
#define ROW_OVERHEAD 10
#define INDEX_KEY (8 + TABLE_KEY)
#define INDEX_ROW (INDEX_KEY + ROW_OVERHEAD)

METRIC_COUNTER(bad_records, "postern_store_records_bad_total", NULL,
    "Damaged or foreign records that were taken as absent");
METRIC_COUNTER(evicted_records, "postern_store_records_evicted_total", NULL,
    "Records forgotten before their time because the store was full");
METRIC_COUNTER(expired_records, "postern_store_records_expired_total", NULL,
    "Records forgotten because their time was over");

static MDB_val
val(const void *p, size_t len)
{
	/* LMDB takes const octets through a pointer that is not; it does not write. */
	MDB_val v = { len, (void *)(uintptr_t)p };

	return v;
}

static int
table_secret(struct table *t, MDB_txn *txn)
{
	MDB_val key = val("secret", 6), got;
	int rc = mdb_get(txn, t->meta, &key, &got);

	if (rc == 0 && got.mv_size != sizeof(t->secret))
		return MDB_INVALID;
	if (rc == 0)
		memcpy(t->secret, got.mv_data, sizeof(t->secret));
	if (rc != MDB_NOTFOUND)
		return rc;
	if (getrandom(t->secret, sizeof(t->secret), 0) != (ssize_t)sizeof(t->secret))
		return EIO;
	got = val(t->secret, sizeof(t->secret));
	return mdb_put(txn, t->meta, &key, &got, 0);
}

static int
table_dbis(struct table *t, MDB_txn *txn, unsigned flags)
{
	int rc = mdb_dbi_open(txn, "data", flags, &t->data);

	if (rc == 0)
		rc = mdb_dbi_open(txn, "expiry", flags, &t->expiry);
	if (rc == 0)
		rc = mdb_dbi_open(txn, "meta", flags, &t->meta);
	return rc;
}

int
table_open(struct table *t, MDB_env *env, uint64_t size_max, struct err *err)
{
	MDB_txn *txn;
	int rc = mdb_txn_begin(env, NULL, 0, &txn);

	if (rc != 0)
		return err_set(err, "cannot begin: %s", mdb_strerror(rc));
	rc = table_dbis(t, txn, MDB_CREATE);
	if (rc == 0)
		rc = mdb_dbi_open(txn, "maps", MDB_CREATE, &t->maps);
	if (rc == 0)
		rc = table_secret(t, txn);
	if (rc != 0)
		mdb_txn_abort(txn);
	else
		rc = mdb_txn_commit(txn);
	/* Pages of keys in random order are little more than half full, and a transaction
	 * needs free pages beside those that it replaces. */
	t->limit = size_max / 8 * 3;
	t->maps_limit = size_max / 4;
	return rc == 0 ? 0 : err_set(err, "cannot open tables: %s", mdb_strerror(rc));
}

int
table_begin(const struct table *t, MDB_env *env, bool write, struct table_txn *tx)
{
	MDB_val key = val("bytes", 5), got;

	*tx = (struct table_txn){ .table = t };
	int rc = mdb_txn_begin(env, NULL, write ? 0 : MDB_RDONLY, &tx->txn);
	if (rc != 0)
		return rc;
	rc = mdb_get(tx->txn, t->meta, &key, &got);
	if (rc == 0 && got.mv_size == 8)
		tx->bytes = be64_get(got.mv_data);
	if (rc == 0 || rc == MDB_NOTFOUND)
		return 0;
	table_abort(tx);
	return rc;
}

int
table_commit(struct table_txn *tx)
{
	uint8_t octets[8];
	MDB_val key = val("bytes", 5), count = val(octets, sizeof(octets));
	int rc = 0;

	if (!tx->changed) {
		table_abort(tx);
		return 0;
	}
	be64_put(octets, tx->bytes < 0 ? 0 : tx->bytes);
	rc = mdb_put(tx->txn, tx->table->meta, &key, &count, 0);
	if (rc == 0 && tx->maps_changed) {
		key = val("maps", 4);
		be64_put(octets, (int64_t)mdb_txn_id(tx->txn));
		rc = mdb_put(tx->txn, tx->table->meta, &key, &count, 0);
	}
	if (rc != 0) {
		table_abort(tx);
		return rc;
	}
	return mdb_txn_commit(tx->txn);
}

void
table_abort(struct table_txn *tx)
{
	mdb_txn_abort(tx->txn);
	tx->txn = NULL;
}

static void
table_key(const struct table *t, enum record_kind kind, struct str name,
    uint8_t out[TABLE_KEY])
{
	XXH128_canonical_t hash;

	XXH128_canonicalFromHash(&hash,
	    XXH3_128bits_withSecret(name.p, name.len, t->secret, sizeof(t->secret)));
	out[0] = (uint8_t)kind;
	memcpy(out + 1, hash.digest, sizeof(hash.digest));
}

static struct str
val_str(const MDB_val *v)
{
	return (struct str){ v->mv_data, v->mv_size };
}

int
table_get(struct table_txn *tx, enum record_kind kind, struct str name, int64_t now,
    struct record *r)
{
	uint8_t octets[TABLE_KEY];
	MDB_val key = val(octets, sizeof(octets)), got;

	table_key(tx->table, kind, name, octets);
	int rc = mdb_get(tx->txn, tx->table->data, &key, &got);
	bool there = false;
	if (rc == 0) {
		there = record_decode(val_str(&got), r) == RECORD_OK &&
		    r->kind == kind && record_is(r, name);
		if (!there)
			metric_add(&bad_records, 1);
	}
	if (!there || now > r->expires)
		*r = (struct record){ .kind = kind };
	r->name = name;
	r->name_len = name.len;
	return rc == MDB_NOTFOUND ? 0 : rc;
}

/* Rows sort by time: the sign bit is turned so that times before 1970 come first. */
static MDB_val
index_key(int64_t when, const uint8_t key[TABLE_KEY], uint8_t out[INDEX_KEY])
{
	be64_put(out, when ^ INT64_MIN);
	memcpy(out + 8, key, TABLE_KEY);
	return val(out, INDEX_KEY);
}

static int
index_add(struct table_txn *tx, int64_t when, const uint8_t key[TABLE_KEY])
{
	uint8_t octets[INDEX_KEY];
	MDB_val row = index_key(when, key, octets), empty = val("", 0);

	int rc = mdb_put(tx->txn, tx->table->expiry, &row, &empty, MDB_NOOVERWRITE);
	if (rc == 0)
		tx->bytes += INDEX_ROW;
	return rc == MDB_KEYEXIST ? 0 : rc;
}

static int
index_delete(struct table_txn *tx, int64_t when, const uint8_t key[TABLE_KEY])
{
	uint8_t octets[INDEX_KEY];
	MDB_val row = index_key(when, key, octets);
	int rc = mdb_del(tx->txn, tx->table->expiry, &row, NULL);

	if (rc == 0)
		tx->bytes -= INDEX_ROW;
	return rc == MDB_NOTFOUND ? 0 : rc;
}

/* Keep the index right for a record that is about to be written over *old. */
static int
put_index(struct table_txn *tx, struct record *r, const uint8_t key[TABLE_KEY],
    bool had_old, int64_t old_indexed)
{
	int rc = 0;

	if (had_old && old_indexed <= r->expires) {
		r->indexed = old_indexed;
		return 0;
	}
	if (had_old)
		rc = index_delete(tx, old_indexed, key);
	r->indexed = r->expires;
	return rc == 0 ? index_add(tx, r->indexed, key) : rc;
}

int
table_put(struct table_txn *tx, struct record *r)
{
	uint8_t octets[TABLE_KEY], body[RECORD_MAX];
	MDB_val key = val(octets, sizeof(octets)), got, put;
	struct record old = { 0 };

	table_key(tx->table, r->kind, r->name, octets);
	int rc = mdb_get(tx->txn, tx->table->data, &key, &got);
	if (rc != 0 && rc != MDB_NOTFOUND)
		return rc;
	bool had_old = rc == 0 && record_decode(val_str(&got), &old) != RECORD_BAD;
	int64_t old_bytes =
	    rc == 0 ? (int64_t)(TABLE_KEY + got.mv_size + ROW_OVERHEAD) : 0;
	rc = put_index(tx, r, octets, had_old, old.indexed);
	if (rc != 0)
		return rc;
	put = val(body, record_encode(r, body));
	tx->bytes += (int64_t)(TABLE_KEY + put.mv_size + ROW_OVERHEAD) - old_bytes;
	tx->changed = true;
	return mdb_put(tx->txn, tx->table->data, &key, &put, 0);
}

int
table_delete(struct table_txn *tx, enum record_kind kind, struct str name, bool *found)
{
	uint8_t octets[TABLE_KEY];
	MDB_val key = val(octets, sizeof(octets)), got;
	struct record old;

	*found = false;
	table_key(tx->table, kind, name, octets);
	int rc = mdb_get(tx->txn, tx->table->data, &key, &got);
	if (rc != 0)
		return rc == MDB_NOTFOUND ? 0 : rc;
	if (record_decode(val_str(&got), &old) != RECORD_BAD)
		rc = index_delete(tx, old.indexed, octets);
	if (rc != 0)
		return rc;
	*found = true;
	tx->changed = true;
	tx->bytes -= (int64_t)(TABLE_KEY + got.mv_size + ROW_OVERHEAD);
	return mdb_del(tx->txn, tx->table->data, &key, NULL);
}

/* What the first row of the index says about its record. */
struct due {
	int64_t when;
	uint8_t key[TABLE_KEY];
	bool there; /* the record is, and stands for this row */
	struct record record; /* its head */
	size_t len;
	uint8_t octets[RECORD_MAX];
};

static int
due_first(struct table_txn *tx, struct due *d)
{
	MDB_cursor *cursor;
	MDB_val row, got, key;
	int rc = mdb_cursor_open(tx->txn, tx->table->expiry, &cursor);

	if (rc != 0)
		return rc;
	rc = mdb_cursor_get(cursor, &row, &got, MDB_FIRST);
	mdb_cursor_close(cursor);
	if (rc != 0)
		return rc;
	if (row.mv_size != INDEX_KEY)
		return MDB_CORRUPTED;
	const uint8_t *p = row.mv_data;
	d->when = be64_get(p) ^ INT64_MIN;
	memcpy(d->key, p + 8, TABLE_KEY);
	key = val(d->key, TABLE_KEY);
	rc = mdb_get(tx->txn, tx->table->data, &key, &got);
	if (rc != 0 && rc != MDB_NOTFOUND)
		return rc;
	enum record_read read =
	    rc == 0 ? record_decode(val_str(&got), &d->record) : RECORD_BAD;
	/* A damaged record, or one that no longer fits, goes with the row that led to
	 * it. */
	d->len = rc == 0 ? got.mv_size : 0;
	d->there = read != RECORD_BAD && d->record.indexed == d->when &&
	    d->len <= sizeof(d->octets);
	if (d->there)
		memcpy(d->octets, got.mv_data, d->len);
	if (read != RECORD_BAD && d->record.indexed != d->when)
		d->len = 0; /* another row leads to it: leave it */
	return 0;
}

/* The record lives longer than its row: write both anew. */
static int
due_move(struct table_txn *tx, struct due *d)
{
	MDB_val key = val(d->key, TABLE_KEY), put = val(d->octets, d->len);
	int rc = index_add(tx, d->record.expires, d->key);

	be64_put(d->octets + 10, d->record.expires);
	return rc == 0 ? mdb_put(tx->txn, tx->table->data, &key, &put, 0) : rc;
}

static int
due_drop(struct table_txn *tx, struct due *d)
{
	MDB_val key = val(d->key, TABLE_KEY);
	int rc = mdb_del(tx->txn, tx->table->data, &key, NULL);

	if (rc == 0)
		tx->bytes -= (int64_t)(TABLE_KEY + d->len + ROW_OVERHEAD);
	return rc == MDB_NOTFOUND ? 0 : rc;
}

/* Take the first row away, with its record or moving it.  before: records that live to
 * then or longer stay. */
static int
due_handle(struct table_txn *tx, struct due *d, int64_t before, bool *dropped)
{
	int rc = index_delete(tx, d->when, d->key);

	tx->changed = true;
	*dropped = false;
	if (rc != 0 || d->len == 0)
		return rc;
	if (d->there && d->record.expires > d->when && d->record.expires >= before)
		return due_move(tx, d);
	*dropped = true;
	return due_drop(tx, d);
}

int
table_sweep(struct table_txn *tx, int64_t now, size_t max, size_t *n, bool *left)
{
	int rc = 0;
	struct due d;
	bool dropped;

	*n = 0;
	*left = false;
	for (size_t rows = 0; rc == 0; rows++) {
		rc = due_first(tx, &d);
		if (rc != 0 || d.when >= now)
			break;
		if (rows == max) {
			*left = true;
			break;
		}
		rc = due_handle(tx, &d, now, &dropped);
		*n += dropped;
	}
	metric_add(&expired_records, *n);
	return rc == MDB_NOTFOUND ? 0 : rc;
}

int
table_evict(struct table_txn *tx, size_t n, size_t *evicted)
{
	int rc = 0;
	struct due d;
	bool dropped;

	*evicted = 0;
	/* A row that is moved comes up again at its record's true time, so this ends.
	 */
	while (*evicted < n && rc == 0) {
		rc = due_first(tx, &d);
		if (rc == 0)
			rc = due_handle(tx, &d, INT64_MIN, &dropped);
		*evicted += rc == 0 && dropped;
	}
	metric_add(&evicted_records, *evicted);
	return rc == MDB_NOTFOUND ? 0 : rc;
}

uint64_t
table_maps_changed(struct table_txn *tx)
{
	MDB_val key = val("maps", 4), got;

	if (mdb_get(tx->txn, tx->table->meta, &key, &got) != 0 || got.mv_size != 8)
		return 0;
	return (uint64_t)be64_get(got.mv_data);
}

uint64_t
table_entries(struct table_txn *tx)
{
	MDB_stat st;

	return mdb_stat(tx->txn, tx->table->data, &st) == 0 ? st.ms_entries : 0;
}

/* One record of a walk: whole, behind the one before, indexed where it says. */
static const char *
verify_row(struct table_txn *tx, const MDB_val *key, const MDB_val *got,
    uint8_t last[TABLE_KEY], bool first)
{
	struct record r;
	uint8_t octets[INDEX_KEY];
	MDB_val row, empty;

	if (key->mv_size != TABLE_KEY)
		return "a key of the wrong size";
	if (!first && memcmp(last, key->mv_data, TABLE_KEY) >= 0)
		return "keys out of order";
	memcpy(last, key->mv_data, TABLE_KEY);
	if (record_decode(val_str(got), &r) == RECORD_BAD)
		return "a damaged record";
	row = index_key(r.indexed, last, octets);
	if (mdb_get(tx->txn, tx->table->expiry, &row, &empty) != 0)
		return "a record that is not in the expiry index";
	return NULL;
}

static const char *
verify_data(struct table_txn *tx, size_t *rows)
{
	MDB_cursor *cursor;
	MDB_val key, got;
	uint8_t last[TABLE_KEY];
	const char *wrong = NULL;

	*rows = 0;
	if (mdb_cursor_open(tx->txn, tx->table->data, &cursor) != 0)
		return "no cursor";
	int rc = mdb_cursor_get(cursor, &key, &got, MDB_FIRST);
	for (; rc == 0 && wrong == NULL; ++*rows) {
		wrong = verify_row(tx, &key, &got, last, *rows == 0);
		rc = mdb_cursor_get(cursor, &key, &got, MDB_NEXT);
	}
	mdb_cursor_close(cursor);
	if (wrong == NULL && rc != MDB_NOTFOUND)
		wrong = mdb_strerror(rc);
	return wrong;
}

static const char *
verify_index(struct table_txn *tx, size_t *rows)
{
	MDB_cursor *cursor;
	MDB_val key, got;
	uint8_t last[INDEX_KEY];
	const char *wrong = NULL;

	*rows = 0;
	if (mdb_cursor_open(tx->txn, tx->table->expiry, &cursor) != 0)
		return "no cursor";
	int rc = mdb_cursor_get(cursor, &key, &got, MDB_FIRST);
	for (; rc == 0 && wrong == NULL; ++*rows) {
		if (key.mv_size != INDEX_KEY ||
		    (*rows > 0 && memcmp(last, key.mv_data, INDEX_KEY) >= 0))
			wrong = "expiry index out of order";
		else
			memcpy(last, key.mv_data, INDEX_KEY);
		rc = mdb_cursor_get(cursor, &key, &got, MDB_NEXT);
	}
	mdb_cursor_close(cursor);
	if (wrong == NULL && rc != MDB_NOTFOUND)
		wrong = mdb_strerror(rc);
	return wrong;
}

/* What was walked must be what the tree's head says. */
static const char *
verify_tables(struct table_txn *tx)
{
	size_t records, rows;
	MDB_stat data, expiry;
	const char *wrong = verify_data(tx, &records);

	if (wrong == NULL)
		wrong = verify_index(tx, &rows);
	if (wrong != NULL)
		return wrong;
	if (mdb_stat(tx->txn, tx->table->data, &data) != 0 ||
	    mdb_stat(tx->txn, tx->table->expiry, &expiry) != 0)
		return "no statistics";
	return data.ms_entries == records && expiry.ms_entries == rows &&
		rows >= records
	    ? NULL
	    : "counts that do not agree";
}

int
table_verify(MDB_env *env, struct err *err)
{
	struct table t = { 0 };
	struct table_txn tx = { .table = &t };
	int rc = mdb_txn_begin(env, NULL, MDB_RDONLY, &tx.txn);

	if (rc != 0)
		return err_set(err, "%s", mdb_strerror(rc));
	rc = table_dbis(&t, tx.txn, 0);
	const char *wrong = rc != 0 ? mdb_strerror(rc) : verify_tables(&tx);
	MDB_val key = val("secret", 6), got;
	if (wrong == NULL && mdb_get(tx.txn, t.meta, &key, &got) != 0)
		wrong = "no secret";
	/* A file of before there were maps has none. */
	rc = wrong == NULL ? mdb_dbi_open(tx.txn, "maps", 0, &t.maps) : 0;
	if (wrong == NULL && rc != MDB_NOTFOUND)
		wrong = rc == 0 ? table_map_verify(&tx) : mdb_strerror(rc);
	table_abort(&tx);
	return wrong == NULL ? 0 : err_set(err, "%s", wrong);
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* Records in an LMDB environment: a table of records by hashed name, an index of when
 * they expire, and how many octets they take.  Everything here runs inside one
 * transaction of one thread.  Returns are LMDB's: 0, MDB_MAP_FULL, ... */
#ifndef POSTERN_DB_STORE_TABLE_H
#define POSTERN_DB_STORE_TABLE_H

#include <lmdb.h>

#include "common/base/err.h"
#include "db/store_record.h"

#define TABLE_SECRET 192 /* octets that seed the hash of names: XXH3 asks for 136 */
#define TABLE_DATABASES 4
#define TABLE_KEY 17 /* kind, 128 bits of hash */

struct table {
	MDB_dbi data, expiry, meta, maps;
	uint8_t secret[TABLE_SECRET];
	uint64_t limit; /* octets of records at which the first to expire make room */
	uint64_t maps_limit; /* octets of pages that shared maps may take */
};

struct table_txn {
	const struct table *table;
	MDB_txn *txn;
	int64_t bytes; /* of all records, as counted */
	bool changed;
	bool maps_changed; /* shared ones: to be on disk before it is answered */
};

/* Open (and, where they are not yet, make) the databases: TABLE_DATABASES. */
int table_open(struct table *t, MDB_env *env, uint64_t size_max, struct err *err);

int table_begin(const struct table *t, MDB_env *env, bool write, struct table_txn *tx);
int table_commit(struct table_txn *tx);
void table_abort(struct table_txn *tx);

/* *r of this name; all zero but kind and name when there is none, or none that is whole
 * and not expired. */
int table_get(struct table_txn *tx, enum record_kind kind, struct str name, int64_t now,
    struct record *r);
/* Write it with its expires; indexed is kept here. */
int table_put(struct table_txn *tx, struct record *r);

/* Forget the record of this name.  *found: there was one, expired or not. */
int table_delete(
    struct table_txn *tx, enum record_kind kind, struct str name, bool *found);

/* Forget up to max records that expired before now.  *left: more are due. */
int table_sweep(struct table_txn *tx, int64_t now, size_t max, size_t *n, bool *left);
/* Forget n records, the first to expire first, whether they are due or not. */
int table_evict(struct table_txn *tx, size_t n, size_t *evicted);

/* Which transaction changed shared maps last; 0: none. */
uint64_t table_maps_changed(struct table_txn *tx);

uint64_t table_entries(struct table_txn *tx);

/* Walk everything: order of keys, every record whole, every record indexed.  For a file
 * that is not trusted; -1: it is not right. */
int table_verify(MDB_env *env, struct err *err);

#endif

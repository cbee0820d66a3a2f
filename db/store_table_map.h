/* SPDX-License-Identifier: BSD-2-Clause */
/* Shared maps in the LMDB environment, in a database of their own ("maps"), apart from
 * the records that end.  Its keys, by their first octet:
 *
 *     'm' map 0 key        value of the key
 *     'l' map 0 version 8  the change of that version (store_rows.h)
 *     'v' map 0            version 8
 *
 * Numbers are big-endian.  Returns are LMDB's. */
#ifndef POSTERN_DB_STORE_TABLE_MAP_H
#define POSTERN_DB_STORE_TABLE_MAP_H

#include "db/store_private.h"
#include "db/store_table.h"

int table_map_set(struct table_txn *tx, const struct store_request *r,
    struct map_answer *answer);
int table_map_get(struct table_txn *tx, const struct store_request *r,
    struct map_value *answer, struct buf *value);
int table_map_version(struct table_txn *tx, struct str map, int64_t *version);
/* Entries behind r->member; changes before version r->cursor.number (0: the newest). */
int table_map_read(struct table_txn *tx, const struct store_request *r,
    struct store_chunk *answer, struct buf *rows);
int table_map_log(struct table_txn *tx, const struct store_request *r,
    struct store_chunk *answer, struct buf *rows);

/* Octets of the pages that maps take. */
uint64_t table_map_bytes(struct table_txn *tx);

/* Keys in order and of this form; NULL: all right, else what is not. */
const char *table_map_verify(struct table_txn *tx);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* The walk of tools through the records of the embedded store. */
#ifndef POSTERN_DB_STORE_TABLE_SCAN_H
#define POSTERN_DB_STORE_TABLE_SCAN_H

#include "db/store_private.h"
#include "db/store_table.h"

/* Records of r->kinds behind r->cursor that have not expired.  Returns LMDB's. */
int table_scan(struct table_txn *tx, const struct store_request *r,
    struct store_chunk *answer, struct buf *rows);

#endif

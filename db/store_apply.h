/* SPDX-License-Identifier: BSD-2-Clause */
/* What a question does inside a transaction of the embedded store. */
#ifndef POSTERN_DB_STORE_APPLY_H
#define POSTERN_DB_STORE_APPLY_H

#include "db/store_private.h"
#include "db/store_table.h"

/* Read and change records and maps, and fill r's answer; all but STORE_STATS.  It may be
 * done again in another transaction.  Returns LMDB's. */
int store_apply(struct table_txn *tx, struct store_request *r);

#endif

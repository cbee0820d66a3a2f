/* SPDX-License-Identifier: BSD-2-Clause */
/* Keys and values of a Redis server as entries, for the walk of tools; read as foreign.
 * Pure. */
#ifndef POSTERN_DB_STORE_REDIS_SCAN_H
#define POSTERN_DB_STORE_REDIS_SCAN_H

#include "db/store_redis_reply.h"

/* The answer of the scan script to r: rows of store_private.h are added, of entries that
 * are wanted, can be read and have not expired. */
enum store_reply store_reply_scan(const redisReply *reply, const char *prefix,
    const struct store_request *r, struct store_chunk *out, struct buf *rows);

#endif

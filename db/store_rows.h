/* SPDX-License-Identifier: BSD-2-Clause */
/* Rows of a walk through the store as octets, and changes of a shared map as they stand
 * in its log.  A change:
 *
 *     offset  octets
 *     0       1       version: 1
 *     1       1       0 entered, 1 removed
 *     2       8       when, wall seconds
 *     10      2 2 2   lengths of who, key and value
 *     16      ..      who, key, value
 *
 * Numbers are big-endian. */
#ifndef POSTERN_DB_STORE_ROWS_H
#define POSTERN_DB_STORE_ROWS_H

#include "common/base/buf.h"
#include "db/store.h"

#define ROWS_CHANGE_HEAD 16
#define ROWS_CHANGE_MAX                                                                \
	(ROWS_CHANGE_HEAD + STORE_MAP_WHO_MAX + STORE_MAP_KEY_MAX + STORE_MAP_VALUE_MAX)

/* A part behind its length in four octets; -1: no room. */
int rows_add(struct buf *rows, struct str part);
/* The next part, borrowed; false: there is no whole one. */
bool rows_part(struct str *rows, struct str *part);

/* out: room for ROWS_CHANGE_MAX; the parts are of lengths that store.h allows. */
size_t rows_change_write(const struct map_change *change, char *out);
/* Parts borrow from in; false: that is none. */
bool rows_change_read(struct str in, struct map_change *out);

#endif

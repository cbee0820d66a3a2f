/* SPDX-License-Identifier: BSD-2-Clause */
/* Tables of tab-separated cells and maps from small text files. */
#ifndef POSTERN_ACCESS_TABLE_H
#define POSTERN_ACCESS_TABLE_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/err.h"
#include "milters/access/access_map.h"

#define ACCESS_TABLE_COLUMNS_MAX 32
#define ACCESS_FILE_MAX (64 << 20) /* octets */

/* dir/name as text with a NUL behind it, which the caller frees; NULL: err says why.
 * name must not lead out of dir. */
char *access_file_read(const char *dir, const char *name, struct err *err);

/* The first line names the columns; "\\", "\t" and "\n" in a cell are escapes. */
struct access_table {
	char *text; /* owns all cells */
	const char *columns[ACCESS_TABLE_COLUMNS_MAX];
	size_t n_columns;
	const char *(*rows)[ACCESS_TABLE_COLUMNS_MAX]; /* "" where a row is short */
	size_t n_rows;
};

int access_table_read(
    const char *dir, const char *name, struct access_table *out, struct err *err);
void access_table_clear(struct access_table *t);
bool access_table_has(const struct access_table *t, const char *column);
/* The cell of a column, "" when there is none. */
const char *access_table_get(
    const struct access_table *t, size_t row, const char *column);

/* A map read as makemap reads it; the first of equal keys stays. */
struct access_textmap;
struct access_textmap *access_textmap_of(const char *text);
void access_textmap_free(struct access_textmap *m);
/* An access_lookup; arg: the map. */
bool access_textmap_lookup(void *arg, struct str key, struct access_entry *out);

#endif

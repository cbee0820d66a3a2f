/* SPDX-License-Identifier: BSD-2-Clause */
/* Lookup tables from text files: `key <blanks> value`, '#' comments, as makemap reads
 * them.  A table is an immutable, reference-counted snapshot; only complete files are
 * loaded, a bad file leaves the old table in force. */
#ifndef POSTERN_DB_MAP_H
#define POSTERN_DB_MAP_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/err.h"
#include "common/base/str.h"

struct map_entry {
	struct str key; /* lower case, as makemap stores it */
	struct str value;
	int line;
};

struct map_table; /* snapshot */

/* Check one line as it is read; NULL when the map takes any value.  Returns false after
 * adding an error: the table is then not loaded. */
typedef bool map_check(const struct map_entry *e, const char *file, struct errs *errs);

/* A watched file.  path is copied. */
struct map;
struct map *map_open(const char *path, map_check *check, struct errs *errs);
void map_close(struct map *m);

/* Look whether the file changed, and swap when a complete, right version lies there.
 * Complete: the file was closed after writing or renamed into place, not changed while
 * it was read, and not empty where it had entries a moment ago for less than settle_ms.
 * Called by a watcher thread or at reload.  Returns 1 swapped, 0 unchanged, -1 refused. */
int map_refresh(struct map *m, struct errs *errs);
/* Start a thread that watches all maps (inotify) and refreshes; errors go to the log. */
int map_watch(struct map *const *maps, size_t n, struct err *err);

/* The snapshot in force; unref when done.  Never NULL. */
struct map_table *map_table_ref(struct map *m);
void map_table_unref(struct map_table *t);
/* Exact key, any case.  Borrowed while the table is referenced; NULL: none. */
const struct map_entry *map_get(const struct map_table *t, struct str key);
size_t map_count(const struct map_table *t);
const char *map_path(const struct map_table *t);

#endif

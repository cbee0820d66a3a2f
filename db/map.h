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

#define MAP_FILE_MAX (256 << 20) /* octets */
#define MAP_LINE_MAX (64 << 10)
#define MAP_KEY_MAX 1024
#define MAP_ENTRIES_MAX (8 << 20)

struct map_entry {
	struct str key; /* lower case, as makemap stores it */
	struct str value;
	int line;
};

struct map_table; /* snapshot */

/* Check one line as it is read; NULL when the map takes any value.  Returns false after
 * adding an error: the table is then not loaded. */
typedef bool map_check(const struct map_entry *e, const char *file, struct errs *errs);

/* Read a file.  path is copied.  NULL: errs says why (missing, faulty, being written). */
struct map;
struct map *map_open(const char *path, map_check *check, struct errs *errs);
/* Stops watching it; tables that are still referenced live on. */
void map_close(struct map *m);

/* Look whether the file changed, and swap when a complete, right version lies there.
 * Complete: nobody has it open for writing (a read lease is granted), or where a lease is
 * not permitted the watcher saw it closed or renamed into place, or it was left alone for
 * a second; not changed while it was read; and not emptied within the last second where
 * it had entries.  Called at reload; may wait up to two seconds for the file to settle.
 * Returns 1 swapped, 0 unchanged, -1 refused (errs says why; the old table stays, also
 * when the file is gone). */
int map_refresh(struct map *m, struct errs *errs);
/* Start a thread that watches these maps (inotify; and looks each minute, for what inotify
 * cannot see) until each is closed.  It logs what it did and what it refused.  A map is
 * watched by one watcher only.  -1: no inotify instance or thread to be had. */
int map_watch(struct map *const *maps, size_t n, struct err *err);

/* The snapshot in force; unref when done.  Never NULL. */
struct map_table *map_table_ref(struct map *m);
void map_table_unref(struct map_table *t);
/* Exact key, any case.  Borrowed while the table is referenced; NULL: none. */
const struct map_entry *map_get(const struct map_table *t, struct str key);
size_t map_count(const struct map_table *t);
/* Lines whose key stood in a former line, which stays as with makemap; the first of them. */
size_t map_duplicates(const struct map_table *t, int *first_line);
const char *map_path(const struct map_table *t);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* A map that all hosts share, kept in the store (db/store.h) and edited with `posternctl
 * access`.  A thread asks the store for the map's version several times a second and reads
 * the whole map when it changed; lookups go to a table in memory.  While the store is out
 * the last table stays in force; before the first one was read there is none, and who
 * looks up must know. */
#ifndef POSTERN_DB_MAP_SHARED_H
#define POSTERN_DB_MAP_SHARED_H

#include "db/map.h"
#include "db/store.h"

/* A change is in force everywhere within a second: this, and the time to read. */
#define MAP_SHARED_POLL_MS 250

/* In the store a value is the entry's value; a line "#: [expires DATE] [note]\n" may stand
 * before it, as in a text. */

struct map_shared;
/* Starts the thread.  store(arg) is asked each time; NULL: not open (yet).  An entry that
 * the check refuses is left out, and named in the log.  rules is copied. */
struct map_shared *map_shared_open(const char *name, const struct map_rules *rules,
    struct store *(*store)(void *arg), void *arg, struct err *err);
void map_shared_close(struct map_shared *m); /* accepts NULL */

/* The table in force; unref when done.  NULL: never read so far. */
struct map_table *map_shared_ref(struct map_shared *m);

/* Read the map once.  *version as the store counts.  NULL: err. */
struct map_table *map_shared_read(struct store *s, const char *name,
    const struct map_rules *rules, int64_t *version, struct err *err);

#endif

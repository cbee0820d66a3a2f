/* SPDX-License-Identifier: BSD-2-Clause */
/* Lookup tables: from text files, `key <blanks> value`, '#' comments, as makemap reads
 * them, and from the .db files that makemap makes of these.  A table is an immutable,
 * reference-counted snapshot; only complete files are loaded, a bad file leaves the old
 * table in force. */
#ifndef POSTERN_DB_MAP_H
#define POSTERN_DB_MAP_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/err.h"
#include "common/base/ip.h"
#include "common/base/str.h"

#define MAP_FILE_MAX (256 << 20) /* octets */
#define MAP_LINE_MAX (64 << 10)
#define MAP_KEY_MAX 1024
#define MAP_ENTRIES_MAX (8 << 20)

struct map_entry {
	struct str key; /* lower case, as makemap stores it */
	struct str value;
	int line; /* 0: not from a text */
	int64_t expires; /* wall seconds from which it counts as absent; 0: never */
	struct str note; /* what people noted about it; may be empty */
};

struct map_table; /* snapshot */

/* Check one line as it is read; NULL when the map takes any value.  Returns false after
 * adding an error: the table is then not loaded. */
typedef bool map_check(const struct map_entry *e, const char *file, struct errs *errs);

/* Look at one entry before it is checked.  false: it is left out of the table, and the
 * rest loads.  refused: gets why, where a human must act; said: what is worth one line in
 * the log.  Both belong to the table. */
typedef bool map_sift(const struct map_entry *e, const char *file, struct errs *refused,
    struct errs *said);

/* What the reader of a table wants to know; all may be NULL or false. */
struct map_rules {
	map_sift *sift;
	map_check *check;
	/* Keys that are networks ("connect:192.0.2.0/25") are found by map_get_net(), and
	 * a line "#: [expires DATE] [note]" speaks of the entry that follows it. */
	bool extensions;
};

/* Read a file.  spec is copied: a path, "text:PATH", or "hash:PATH" or "btree:PATH" for
 * makemap's output, where ".db" is added when it is missing.  NULL: errs says why
 * (missing, faulty, being written). */
struct map;
struct map *map_open_rules(
    const char *spec, const struct map_rules *rules, struct errs *errs);
/* The same with nothing but a check. */
struct map *map_open(const char *spec, map_check *check, struct errs *errs);
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
/* The entry for the network of ip's first `bits` bits, written with this tag ("connect:",
 * lower case; "" none).  NULL: none. */
const struct map_entry *map_get_net(
    const struct map_table *t, struct str tag, const struct ip *ip, unsigned bits);
/* Is there any entry for networks of this length? */
bool map_has_nets(const struct map_table *t, int family, unsigned bits);
/* Every entry, in the order of the file; each() returns false to stop. */
void map_each(const struct map_table *t,
    bool (*each)(void *arg, const struct map_entry *e), void *arg);
size_t map_count(const struct map_table *t); /* with those of networks */
/* What the sift said; borrowed. */
const struct errs *map_refused(const struct map_table *t);
const struct errs *map_said(const struct map_table *t);
/* Was the text that this .db was made from changed after it?  err says it in words. */
bool map_is_stale(const struct map *m, struct err *err);
/* Log what a load brought: the number of entries, and what the sift said. */
void map_log_loaded(const struct map_table *t);
/* Lines whose key stood in a former line, which stays as with makemap; the first of them. */
size_t map_duplicates(const struct map_table *t, int *first_line);
const char *map_path(const struct map_table *t);

/* Read what stands behind "#:".  false: err says why. */
bool map_note_parse(
    struct str text, int64_t *expires, struct str *note, struct err *err);
/* The network that a key names, behind its tag.  0: it names none; -1: it means to, and
 * err says what is wrong. */
int map_net_parse(
    struct str key, struct str *tag, struct ipnet *net, struct err *err);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* What the reader of maps (map_parse.c), the files behind them (map.c) and the watcher
 * (map_watch.c) share.  Tests and the fuzzer call map_parse() directly. */
#ifndef POSTERN_DB_MAP_PRIVATE_H
#define POSTERN_DB_MAP_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>

#include "db/map.h"

/* How long a file must rest when nothing else tells that its writer is done. */
#define MAP_SETTLE_MS 1000

struct map_table {
	atomic_uint refs;
	char *path;
	char *text; /* the file; keys were folded to lower case in place */
	struct map_entry *entries;
	size_t n, cap;
	uint32_t *slots; /* index into entries + 1; 0: free */
	size_t mask;
	uint64_t seed;
	size_t duplicates;
	int duplicate_line; /* of the first one */
};

/* Read a whole text.  Takes text (malloc'd, len octets).  NULL: errs grew. */
struct map_table *map_parse(
    const char *path, char *text_take, size_t len, map_check *check, struct errs *errs);

/* What tells one version of a file from another. */
struct map_stamp {
	dev_t dev;
	ino_t ino;
	off_t size;
	struct timespec mtime, ctime;
};

struct map_watcher;

struct map {
	char *path;
	map_check *check;
	pthread_mutex_t refresh; /* one reader of the file at a time; before `lock` */
	struct map_stamp refused; /* version told as faulty already */
	pthread_mutex_t lock; /* of what follows */
	struct map_table *table;
	struct map_stamp stamp; /* of the version that table was made from */
	bool writing; /* changed, and not closed since, says inotify */
	struct map_watcher *watcher; /* NULL: not watched */
};

/* As map_refresh.  closed: a writer just closed the file or renamed it into place.
 * again: also tell the faults of a version that was refused before. */
int map_load(struct map *m, bool closed, bool again, struct errs *errs);
/* Stop watching; returns when the watcher does not touch m any more. */
void map_unwatch(struct map *m);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* What the readers of maps (map_parse.c, map_db.c), the tables that they make
 * (map_table.c), the files behind them (map.c) and the watcher (map_watch.c) share.
 * Tests and the fuzzers call map_parse() and map_db_parse() directly. */
#ifndef POSTERN_DB_MAP_PRIVATE_H
#define POSTERN_DB_MAP_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>

#include "db/map.h"

/* How long a file must rest when nothing else tells that its writer is done. */
#define MAP_SETTLE_MS 1000

/* An entry whose key is a network. */
struct map_net {
	struct str tag;
	struct ipnet net;
	struct map_entry entry;
};

struct map_table {
	atomic_uint refs;
	char *path;
	char *text; /* the file; keys were folded to lower case in place */
	struct map_net *nets; /* sorted by map_net_order() */
	size_t n_nets, nets_cap;
	bool net4[33], net6[129]; /* lengths that exist */
	struct errs refused, said;
	struct map_entry *entries;
	size_t n, cap;
	char **owned; /* what else entries borrow from */
	size_t n_owned, owned_cap;
	uint32_t *slots; /* index into entries + 1; 0: free */
	size_t mask;
	uint64_t seed;
	size_t duplicates;
	int duplicate_line; /* of the first one */
};

/* Read a whole text.  Takes text (malloc'd, len octets).  NULL: errs grew. */
struct map_table *map_parse(const char *path, char *text_take, size_t len,
    const struct map_rules *rules, struct errs *errs);
/* Read a whole .db of type hash or btree.  The rest as map_parse. */
struct map_table *map_db_parse(const char *path, char *octets_take, size_t len,
    const struct map_rules *rules, struct errs *errs);

/* A table in the making; text_take: what its entries borrow from. */
struct map_table *map_table_new(const char *path, char *text_take);
/* Keep octets (malloc'd) as long as the table lives. */
void map_table_own(struct map_table *t, char *octets_take);
/* Sift, check and add an entry.  rules may be NULL. */
void map_table_add(struct map_table *t, const struct map_entry *e,
    const struct map_rules *rules, struct errs *errs);
/* Make it fit for lookups; nothing is added afterwards.  !good: let it go, after telling
 * errs also of the lines that would have been left out; NULL then. */
struct map_table *map_table_done(struct map_table *t, bool good, struct errs *errs);

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
	bool db; /* makemap's output */
	char *source; /* of a .db: the text that it is made from; else NULL */
	int64_t stale_told; /* mtime of the text that was told to be newer */
	struct map_rules rules;
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
/* map_is_stale(), once for each version of the text.  For the watcher. */
bool map_stale_news(struct map *m, struct err *err);
/* Stop watching; returns when the watcher does not touch m any more. */
void map_unwatch(struct map *m);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* Several maps in order, of all kinds (db/map_spec.h): the first that has a key wins.
 * Files and shared maps are tables in memory; a directory is asked when a key is needed. */
#ifndef POSTERN_DB_MAP_SET_H
#define POSTERN_DB_MAP_SET_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/base/future.h"
#include "common/base/ip.h"
#include "db/map.h"
#include "db/map_ldap.h"
#include "db/map_spec.h"
#include "db/store.h"

#define MAP_SET_MAX 16

struct map_set_conf {
	const char *const *specs;
	size_t n;
	struct map_rules rules; /* of files */
	struct map_rules shared_rules;
	const struct map_ldap_conf *ldaps;
	size_t n_ldaps;
	struct store *(*store)(void *arg); /* for shared maps; NULL: there is none */
	void *store_arg;
};

struct map_set;
/* Opens all and watches them.  NULL: errs says why. */
struct map_set *map_set_open(const struct map_set_conf *conf, struct errs *errs);
void map_set_refresh(struct map_set *set, struct errs *errs); /* at a reload */
void map_set_close(struct map_set *set); /* accepts NULL */

/* What one connection sees: files and shared maps as they were when it began; answers of a
 * directory are kept for it, too.  wait(arg, future, deadline) waits in this thread. */
struct map_view;
struct map_view *map_view_new(
    struct map_set *set, bool (*wait)(void *arg, struct future *f, int64_t deadline_ms),
    void *arg);
void map_view_free(struct map_view *v); /* accepts NULL */

enum map_found {
	MAP_NONE,
	MAP_FOUND,
	MAP_FAILED, /* a map that comes before the answer cannot be asked */
};
struct map_hit { /* all borrowed from the view, until the next plan begins */
	struct str value, note;
	const char *file; /* "ldap:NAME" for a directory */
	int line; /* 0: no line */
};
/* now: wall seconds, for entries that expire. */
enum map_found map_view_get(
    struct map_view *v, struct str key, int64_t now, struct map_hit *out);
/* The entry for the network of ip's first `bits` bits.  Directories know none. */
enum map_found map_view_get_net(struct map_view *v, struct str tag, const struct ip *ip,
    unsigned bits, int64_t now, struct map_hit *out);

/* Between these two map_view_get() finds nothing in directories and only notes what it
 * would have asked; the end asks for all of it in one question and waits. */
bool map_view_plan_begin(struct map_view *v); /* false: nothing to plan for */
void map_view_plan_end(struct map_view *v);
/* The next map_view_get() asks a directory that failed for this view again. */
void map_view_forget_failures(struct map_view *v);

#endif

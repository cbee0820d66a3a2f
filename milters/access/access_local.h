/* SPDX-License-Identifier: BSD-2-Clause */
/* Buckets of this process, for the time while the store is out: limits then hold for
 * each host alone.  Bounded: among many names those that are empty soonest are
 * forgotten. */
#ifndef POSTERN_ACCESS_LOCAL_H
#define POSTERN_ACCESS_LOCAL_H

#include "db/store.h"

struct access_local;
/* sets: times 8 buckets are kept; a power of two. */
struct access_local *access_local_new(size_t sets);
void access_local_free(struct access_local *l); /* accepts NULL */

/* As store_rate_add.  From any thread. */
struct rate_answer access_local_rate(struct access_local *l, struct str name, int64_t n,
    int64_t burst, int64_t rate, int64_t per, int64_t now);

#endif

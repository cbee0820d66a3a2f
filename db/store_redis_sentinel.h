/* SPDX-License-Identifier: BSD-2-Clause */
/* Where the master is now: asked of Redis Sentinels.  Whether the server that they name is
 * a master is seen by whoever connects to it (ROLE).  Used by one thread. */
#ifndef POSTERN_DB_STORE_REDIS_SENTINEL_H
#define POSTERN_DB_STORE_REDIS_SENTINEL_H

#include "db/store_redis_link.h"

#define STORE_SENTINELS_MAX 16

struct store_sentinel_conf {
	struct store_address sentinel[STORE_SENTINELS_MAX];
	size_t n;
	const char *master, *user, *password; /* outlive it */
	int64_t deadline_ms; /* for each of them */
	size_t first, last; /* its own: who was asked first, and who answered last */
};

/* The address that the turn-th of them tells, the one that was right the last time
 * first.  1: *out; -1: it tells none, err says why; 0: they were all asked. */
int store_sentinel_ask(struct store_sentinel_conf *s, size_t turn,
    struct store_address *out, struct err *err);

#endif

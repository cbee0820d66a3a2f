/* SPDX-License-Identifier: BSD-2-Clause */
/* The engine that keeps state in a Redis server, for several hosts together: see
 * postern-store(5) for what it writes there. */
#ifndef POSTERN_DB_STORE_REDIS_H
#define POSTERN_DB_STORE_REDIS_H

#include "db/store_private.h"

extern const struct store_engine store_redis;

#endif

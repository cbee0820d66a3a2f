/* SPDX-License-Identifier: BSD-2-Clause */
/* Numbers in the access map: GreetPause, ClientRate and ClientConn.  Pure. */
#ifndef POSTERN_ACCESS_CONTROL_H
#define POSTERN_ACCESS_CONTROL_H

#include "milters/access/access_map.h"

/* Milliseconds to wait before the greeting; fallback: without an entry. */
long access_greet_pause(const struct access *a, long fallback);

enum access_limit { ACCESS_LIMIT_RATE, ACCESS_LIMIT_CONNECTIONS };
/* What the map allows this client.  false: nothing is said, or "0": no limit. *allowed:
 * at most so many; *where names the entry (key, file, line; kind NONE). */
bool access_limit_find(const struct access *a, enum access_limit limit,
    unsigned long *allowed, struct access_result *where);
/* count: this connection included.  NONE, or REFUSED with 452. */
struct access_result access_check_limit(
    const struct access *a, enum access_limit limit, unsigned long count);

#endif

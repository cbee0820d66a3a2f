/* SPDX-License-Identifier: BSD-2-Clause */
/* The DNS lists asked about one client: all at once when it connects, judged when the
 * verdict is due.  Waiting is the caller's business. */
#ifndef POSTERN_ACCESS_LISTS_H
#define POSTERN_ACCESS_LISTS_H

#include "common/base/ip.h"
#include "common/net/dnsbl.h"
#include "common/net/resolver.h"
#include "milters/access/access_map.h"

struct access_lists;

/* lists are borrowed for the life of the result.  NULL: nothing to ask. */
struct access_lists *access_lists_ask(struct resolver *r, const struct dnsbl *lists,
    size_t n, const struct ip *client, int64_t deadline_ms);
void access_lists_free(struct access_lists *l); /* accepts NULL */

/* Call wait(arg, future, deadline) for every answer that the judgement needs, then
 * judge: the first list in order that has the client refuses; what did not come counts
 * as not listed.  The same answer is given when called again. */
void access_lists_judge(struct access_lists *l,
    bool (*wait)(void *arg, struct future *f, int64_t deadline_ms), void *arg,
    struct access_dnsbl *out);
/* The zone that refused; NULL: none. */
const char *access_lists_zone(const struct access_lists *l);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* The newest answers about recipients, in this process: for the time while the store is
 * out, and to spare it questions.  Bounded; the oldest go first. */
#ifndef POSTERN_ACCESS_RCPT_CACHE_H
#define POSTERN_ACCESS_RCPT_CACHE_H

#include "milters/access/access_rcpt.h"

struct rcpt_cache;
/* sets: times 8 answers are kept; a power of two. */
struct rcpt_cache *rcpt_cache_new(size_t sets);
void rcpt_cache_free(struct rcpt_cache *c); /* accepts NULL */

/* From any thread. */
bool rcpt_cache_get(struct rcpt_cache *c, struct str name, struct rcpt_memory *out);
void rcpt_cache_put(struct rcpt_cache *c, struct str name, const struct rcpt_memory *m);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* The DNS lists asked about one client, HELO name or sender's domain: all at once when it
 * is known, judged when the verdict is due.  Time of the judgement: that of the slowest
 * list or its deadline, never the sum.  A listing counts only when a name that no sane list
 * has, asked for right behind it, is not listed: a list that begins to list the world
 * refuses nobody.  Waiting is the caller's business. */
#ifndef POSTERN_ACCESS_LISTS_H
#define POSTERN_ACCESS_LISTS_H

#include "milters/access/access_list.h"

struct access_lists;

/* what: one of enum dnsbl_what; client with DNSBL_CLIENT, else name.  set is borrowed for
 * the life of the result.  NULL: nothing to ask. */
struct access_lists *access_lists_ask(struct access_list_set *set, enum dnsbl_what what,
    const struct ip *client, struct str name, int64_t now);
void access_lists_free(struct access_lists *l); /* accepts NULL */

/* A listing that counts. */
struct access_lists_hit {
	const struct dnsbl *list;
	struct dnsbl_result result;
	char text[400]; /* words for a reply */
};
/* Wait for the answers, with wait(arg, future, deadline), and judge; what did not come
 * counts as not listed.  It ends early where a list refuses by itself and no list could
 * speak for the client.  The same answer when called again.  hits: borrowed from l, in the
 * configuration's order. */
const struct access_lists_hit *access_lists_judge(struct access_lists *l,
    bool (*wait)(void *arg, struct future *f, int64_t deadline_ms), void *arg, size_t *n);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* The DNS lists of the daemon while it runs: for each its resolver, its key, what is known
 * of its health.  That stays over a reload, as long as the list does.  Thread-safe. */
#ifndef POSTERN_ACCESS_LIST_H
#define POSTERN_ACCESS_LIST_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/net/dnsbl.h"
#include "common/net/dnsbl_health.h"
#include "common/net/resolver.h"
#include "policy/settings.h"

struct access_list; /* one list */
struct access_list_pool; /* all that ever were in this process */

/* resolver: for lists without servers of their own; outlives the pool. */
struct access_list_pool *access_list_pool_new(struct resolver *resolver);
/* The lists of these settings become the current ones.  false: errs says which key cannot
 * be read or which servers not be asked; the former lists stay current. */
bool access_list_pool_load(
    struct access_list_pool *p, const struct settings *s, struct errs *errs);
void access_list_pool_free(struct access_list_pool *p); /* no set is in use any more */

/* The lists of one configuration, in its order; holds it. */
struct access_list_set {
	struct settings *settings;
	size_t n;
	struct access_list **lists;
	_Atomic unsigned refs;
};
struct access_list_set *access_list_set_ref(struct access_list_pool *p);
void access_list_set_unref(struct access_list_set *s); /* accepts NULL */

/* Ask about a name of the list (dnsbl_query and kin, with this key). */
const char *access_list_key(struct access_list *l, char out[DNSBL_KEY_MAX + 1]);
struct resolver *access_list_resolver(const struct access_list *l);

/* Not set aside, or only for its budget: what is cached may be used. */
bool access_list_usable(struct access_list *l);
/* May n questions be asked now?  They are counted. */
bool access_list_take(
    struct access_list *l, int64_t budget, unsigned n, int64_t now, int64_t now_ms);

/* What came of them (dnsbl_health.h); logged where it sets a list aside or brings it
 * back. */
void access_list_answered(struct access_list *l, enum dnsbl_state state, uint64_t subject,
    int64_t now_ms);
void access_list_random(struct access_list *l, enum dnsbl_state state,
    int64_t asked_us, int64_t now_ms);
/* How long the list took for an answer.  A list is near when it takes no time that anybody
 * would notice: what is only needed for a listing can then be asked for after it. */
void access_list_took(struct access_list *l, int64_t us);
bool access_list_is_near(struct access_list *l);
enum dnsbl_belief access_list_believe(struct access_list *l, int64_t last_us);
void access_list_disbelieved(struct access_list *l); /* counted */

/* Look at the test points of all current lists; waits for the answers (at most the lists'
 * deadline).  bad_only: of those that are set aside. */
void access_list_probe(struct access_list_pool *p, bool bad_only, int64_t now);
/* For the tests. */
enum dnsbl_fault access_list_fault(struct access_list *l);

#endif

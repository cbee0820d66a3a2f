/* SPDX-License-Identifier: BSD-2-Clause */
/* Places that connections and messages of this process hold: taken in the store, where
 * all hosts count them, and renewed by a thread, so that the places of a host that died
 * are free again within HOLD_KEEP seconds.  While the store is out this process counts
 * alone. */
#ifndef POSTERN_ACCESS_HOLDS_H
#define POSTERN_ACCESS_HOLDS_H

#include "common/base/err.h"
#include "common/base/future.h"
#include "db/store.h"

#define HOLD_KEEP 60 /* seconds that a place lives without renewal */

struct access_holds;
struct access_hold;

/* host: who we are among the hosts of the store.  get_store(arg): the store just now,
 * or NULL.  NULL: err. */
struct access_holds *access_holds_new(const char *host,
    struct store *(*get_store)(void *arg), void *arg, struct err *err);
/* Nothing is held any more.  Accepts NULL. */
void access_holds_free(struct access_holds *h);

/* Take a place of name; the store is asked, nobody waits.  Never NULL. */
struct access_hold *access_hold_begin(
    struct access_holds *h, struct str name, int64_t limit);
/* The question to the store, to be waited for; NULL: there is no store. */
struct future *access_hold_question(const struct access_hold *hold);
struct hold_verdict {
	bool allowed;
	bool alone; /* the store did not answer: counted in this process only */
	int64_t held;
};
struct hold_verdict access_hold_judge(const struct access_hold *hold);
/* Give it back, whatever was said.  Accepts NULL. */
void access_hold_end(struct access_holds *h, struct access_hold *hold);

#endif

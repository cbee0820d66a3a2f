/* SPDX-License-Identifier: BSD-2-Clause */
/* Counting for the checks: in the store where it answers in time, else on this host
 * alone. Which of both it is goes into the log when it changes. */
#ifndef POSTERN_ACCESS_COUNT_H
#define POSTERN_ACCESS_COUNT_H

#include "milters/access/access_holds.h"
#include "milters/access/access_rate.h"
#include "milters/access/access_store.h"
#include "milters/access/check.h"

struct access_counter;
/* what: static, for the log: "rate".  store is borrowed.  NULL: err. */
struct access_counter *access_counter_new(const char *what, struct access_store *store,
    const struct settings *settings, struct err *err);
void access_counter_free(struct access_counter *c);
struct access_holds *access_counter_holds(struct access_counter *c);

/* One question to a bucket. */
struct access_count {
	char key[RATE_KEY_MAX];
	size_t key_len;
	int64_t n, burst, rate, per;
	struct future *question; /* NULL: no store */
	int64_t deadline_ms;
};
/* Ask; key and numbers are set, the rest is filled. */
void access_count_begin(
    struct access_counter *c, struct access_count *q, const struct check_facts *facts);
/* Wait, and count here when the store has no answer.  Ends the question. */
struct rate_answer access_count_end(
    struct access_counter *c, struct access_count *q, const struct check_facts *facts);
/* Forget a question that nobody judged. */
void access_count_drop(struct access_count *q);

/* Wait for a hold of access_counter_holds(), at most until deadline_ms. */
struct hold_verdict access_count_hold(struct access_counter *c,
    const struct access_hold *hold, int64_t deadline_ms, const struct check_facts *facts);

/* For others that ask the store: log when it stops and begins to answer. */
void access_counter_note(struct access_counter *c, bool answered);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* What became of a message with several recipients, and how its header tells it.  Pure. */
#ifndef POSTERN_POLICY_GREYLIST_OUTCOME_H
#define POSTERN_POLICY_GREYLIST_OUTCOME_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/verdict.h"
#include "policy/greylist.h"

/* What became of a message, over its recipients: the longest delay counts, and without
 * one the first reason. */
struct greylist_outcome {
	const char *why; /* NULL: nothing yet */
	bool delayed, would; /* would: deferred but for `mode observe` */
	int64_t seconds; /* from the first try to the one that passed */
};
/* answer may be NULL. */
void greylist_outcome_add(struct greylist_outcome *o, const struct verdict *v,
    const struct greylist_answer *answer, bool observed, int64_t now);

/* The value of X-Greylist: what happened, where, how long. */
void greylist_header(
    const struct greylist_outcome *o, const char *host, int64_t now, struct buf *out);

#endif

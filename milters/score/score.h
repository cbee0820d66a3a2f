/* SPDX-License-Identifier: BSD-2-Clause */
/* From hits to points, from points to a verdict and to the headers that recipients'
 * filters read.  Pure: what the jail found comes in, nothing is asked. */
#ifndef POSTERN_SCORE_SCORE_H
#define POSTERN_SCORE_SCORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/verdict.h"
#include "milters/score/hits.h"
#include "milters/score/rules.h"
#include "policy/settings.h"

#define SCORE_SET_LOCAL 0 /* neither network tests nor Bayes */
#define SCORE_LEVEL_MAX 50 /* stars */

/* Points are thousandths, as settings have them. */
struct score {
	int64_t points;
	size_t *tests; /* rules that hit and score, by name; sub-rules are not told */
	double *values; /* of each */
	size_t n;
	size_t unknown; /* enabled rules that were not run to their end */
	size_t undecided; /* metas that depend on what is not known */
};

/* What became of a message. */
enum score_state {
	SCORE_DONE,
	SCORE_PARTLY, /* by its beginning only, or not by all rules */
	SCORE_FAILED, /* not at all */
};

void score_message(
    const struct rules *r, size_t set, const struct hits *h, struct score *out);
void score_clear(struct score *s);

/* Every rule's value, sub-rules and metas too: values[i] for rule i, of which r->n fit.
 * score_message without the summing up, for tests. */
void score_values(const struct rules *r, size_t set, const struct hits *h,
    struct meta_value *values);

struct score_decision {
	struct verdict verdict;
	bool tag; /* mark as spam */
};
struct score_decision score_decide(
    const struct settings_score *set, enum score_state state, const struct score *s);

/* "7.1" or "-0.3" */
void score_print_points(int64_t points, struct buf *out);
/* Values for X-Spam-Status ("Yes, score=7.1 required=5.0 tests=A,B ...", folded) and
 * X-Spam-Level. */
void score_status(const struct rules *r, const struct settings_score *set,
    enum score_state state, bool tag, const struct score *s, struct buf *out);
void score_level(const struct score *s, struct buf *out);
/* "A,B,C", or "none" */
void score_tests(const struct rules *r, const struct score *s, struct buf *out);

/* The Received field that the MTA is going to write, for rules that look at the last hop:
 * value only, folded with LF. */
struct score_hop {
	const char *helo, *name, *ip, *host, *id; /* "": not known */
	bool authenticated;
};
void score_received(const struct score_hop *hop, int64_t now, struct buf *out);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* What the checks of a connection and its envelope found, and what it comes to.  A finding
 * refuses by itself, or has points: a refusal when their sum reaches the threshold.  Points
 * below zero (allowlists) take away from the sum, never from a refusal of its own.  Pure. */
#ifndef POSTERN_ACCESS_COMBINE_H
#define POSTERN_ACCESS_COMBINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/verdict.h"

#define FINDINGS_MAX 64 /* of one phase; further ones are dropped and told */

/* Who is spared a check (check_ops.spares), and why this one is (check_facts.spared). */
enum check_spare {
	CHECK_SPARE_MAP = 1, /* the access map has a word for this client */
	CHECK_SPARE_AUTHENTICATED = 2,
	CHECK_SPARE_LOCAL = 4, /* the host itself */
	CHECK_SPARE_POSTMASTER = 8, /* mail to postmaster and abuse */
	CHECK_SPARE_ALL = 15,
};

struct finding {
	const char *check; /* static: check_ops.name, set by the framework */
	unsigned spares; /* whom this finding spares; the framework adds the check's */
	int64_t points; /* thousandths; what a finding adds to the sum */
	bool refuses; /* by itself; verdict.action says how */
	bool observe; /* watched only: logged and counted, decides nothing */
	/* The reply, with code, where this finding refuses or is the heaviest of a sum that
	 * does.  why: static. */
	struct verdict verdict;
	char detail[160]; /* for the log: what was seen, as in "bl.example=127.0.0.2" */
};

struct findings { /* zeroed: empty */
	struct finding *list;
	size_t n, size;
	bool dropped; /* there were more than FINDINGS_MAX */
};

/* A zeroed one, to be filled; never NULL (beyond FINDINGS_MAX the last is given again). */
struct finding *findings_add(struct findings *f);
void findings_clear(struct findings *f); /* and free */

struct combine_rules {
	int64_t reject_points; /* thousandths; 0: points alone never refuse */
	unsigned spared; /* enum check_spare: findings of checks that spare it do not count */
};

struct combined {
	struct verdict verdict; /* CONTINUE: nothing refuses */
	int64_t points; /* the sum of what counts */
	const struct finding *by; /* that refuses, or the heaviest; borrowed; may be NULL */
	/* The same had the watched findings counted as well: differs where one matters. */
	struct verdict would;
	const struct finding *would_by;
};

/* Of the refusals a lasting one goes before one for a while, the points between both; the
 * first in order where there are several. */
void access_combine(const struct findings *sets, size_t n, const struct combine_rules *rules,
    struct combined *out);

/* All findings that count, for the log: "dnsbl:bl.example=127.0.0.2(2.5) helo:(reject)";
 * watched ones have a question mark.  Stops at the buffer's maximum. */
void access_combine_print(
    const struct findings *sets, size_t n, unsigned spared, struct buf *out);
/* "2.5", "-1", "0.125". */
void access_points_print(int64_t points, struct buf *out);

#endif

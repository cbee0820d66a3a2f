/* SPDX-License-Identifier: BSD-2-Clause */
/* Whether a DNS list can be believed: from its test points, from names that no list has
 * (dnsbl.h), from how often it fails, and from its daily budget.  A list that cannot be is
 * set aside - neither asked nor believed - until its test points are right again.  Pure; the
 * caller locks.  Times: _ms and _us monotonic, now wall clock. */
#ifndef POSTERN_NET_DNSBL_HEALTH_H
#define POSTERN_NET_DNSBL_HEALTH_H

#include <stdbool.h>
#include <stdint.h>

#include "common/net/dnsbl.h"

enum dnsbl_fault {
	DNSBL_GOOD,
	DNSBL_LISTS_ALL, /* what must not be listed is */
	DNSBL_LISTS_NONE, /* what must be listed is not, any more or three times in a row */
	DNSBL_SILENT, /* test points had no answer three times in a row */
	DNSBL_FAILING, /* more than half of at least 20 answers in a minute were errors */
	DNSBL_SPENT, /* the day's budget is used up */
};
/* "good", "lists everything", ... for log and status. */
const char *dnsbl_fault_name(enum dnsbl_fault fault);

#define DNSBL_WINDOW_MS 60000 /* in which errors are counted */
#define DNSBL_SUBJECTS 64 /* that are told apart in it */
#define DNSBL_WINDOW_MIN 20 /* answers before their rate says something */
#define DNSBL_PROBES_BACK 2 /* good probes in a row that bring a list back */
#define DNSBL_PROBES_SILENT 3
#define DNSBL_PROBES_EMPTY 3
#define DNSBL_REST_MS 60000 /* a list without test points rests so long */

struct dnsbl_health { /* zeroed: good */
	enum dnsbl_fault fault;
	int64_t since_ms; /* that it is so */
	unsigned good, silent; /* probes in a row */
	bool point_seen; /* the test point that must be listed was, once */
	unsigned empty; /* else: probes in a row, without a listing between, that it was not */
	int64_t window_ms; /* begin */
	unsigned answers, errors;
	uint64_t subjects[DNSBL_SUBJECTS]; /* the latest of the window */
	int64_t clean_us; /* the latest asking time of a random name that was clean; 0: none */
	int64_t wild_us; /* ... that was listed */
	int64_t day, spent; /* days since 1970, questions in it */
};

/* May it be asked? */
bool dnsbl_usable(const struct dnsbl_health *h);

/* Take n questions from the day's budget (0: there is none).  false: it does not have them;
 * the list rests until the day (UTC) ends. */
bool dnsbl_spend(
    struct dnsbl_health *h, int64_t budget, unsigned n, int64_t now, int64_t now_ms);

/* An answer about a client came, or did not, or is not believed (UNKNOWN).  subject: a hash
 * of what was asked about; the same one again says nothing new. */
void dnsbl_answered(
    struct dnsbl_health *h, enum dnsbl_state state, uint64_t subject, int64_t now_ms);

/* The answer for a random name: LISTED sets the list aside at once. */
void dnsbl_random_answered(
    struct dnsbl_health *h, enum dnsbl_state state, int64_t asked_us, int64_t now_ms);

/* May a listing be believed that was asked for at last_us at the latest?  Only
 * when a random name that was asked for no earlier was clean. */
enum dnsbl_belief { DNSBL_BELIEVED, DNSBL_DISBELIEVED, DNSBL_UNPROVEN };
enum dnsbl_belief dnsbl_believe(const struct dnsbl_health *h, int64_t last_us);

/* Both test points were asked; probe: enum dnsbl_probe.  With DNSBL_PROBE_OFF nothing was
 * asked: a list that was set aside is tried again after its rest. */
void dnsbl_probed(struct dnsbl_health *h, int probe, enum dnsbl_state listed,
    enum dnsbl_state unlisted, int64_t now_ms);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* Judges DNS lists instead of clients: which are set aside, why, and when they are asked
 * again.  Knows no clock and asks nothing. */
#include "common/net/dnsbl_health.h"

#define DAY 86400

const char *
dnsbl_fault_name(enum dnsbl_fault fault)
{
	switch (fault) {
	case DNSBL_GOOD:
		return "good";
	case DNSBL_LISTS_ALL:
		return "lists everything";
	case DNSBL_LISTS_NONE:
		return "lists nothing";
	case DNSBL_SILENT:
		return "silent";
	case DNSBL_FAILING:
		return "failing";
	case DNSBL_SPENT:
		return "budget spent";
	}
	return "?";
}

static void
set_fault(struct dnsbl_health *h, enum dnsbl_fault fault, int64_t now_ms)
{
	h->good = 0;
	if (h->fault == fault)
		return;
	/* what was asked while everything was listed stays wrong as long as it is cached */
	if (h->fault == DNSBL_LISTS_ALL)
		h->wild_us = now_ms * 1000 + 999;
	h->fault = fault;
	h->since_ms = now_ms;
	h->window_ms = now_ms;
	h->answers = h->errors = 0;
}

bool
dnsbl_usable(const struct dnsbl_health *h)
{
	return h->fault == DNSBL_GOOD;
}

bool
dnsbl_spend(
    struct dnsbl_health *h, int64_t budget, unsigned n, int64_t now, int64_t now_ms)
{
	int64_t day = now / DAY;

	if (day != h->day) {
		h->day = day;
		h->spent = 0;
		if (h->fault == DNSBL_SPENT)
			set_fault(h, DNSBL_GOOD, now_ms);
	}
	if (budget > 0 && h->spent + n > budget) {
		if (h->fault == DNSBL_GOOD)
			set_fault(h, DNSBL_SPENT, now_ms);
		return false;
	}
	h->spent += n;
	/* a reload may have raised the budget */
	if (h->fault == DNSBL_SPENT)
		set_fault(h, DNSBL_GOOD, now_ms);
	return true;
}

/* Many connections of one client wait for one answer. */
static bool
is_new(struct dnsbl_health *h, uint64_t subject)
{
	unsigned n = h->answers < DNSBL_SUBJECTS ? h->answers : DNSBL_SUBJECTS;

	for (unsigned i = 0; i < n; i++)
		if (h->subjects[i] == subject)
			return false;
	h->subjects[h->answers % DNSBL_SUBJECTS] = subject;
	return true;
}

void
dnsbl_answered(
    struct dnsbl_health *h, enum dnsbl_state state, uint64_t subject, int64_t now_ms)
{
	if (now_ms - h->window_ms >= DNSBL_WINDOW_MS) {
		h->window_ms = now_ms;
		h->answers = h->errors = 0;
	}
	if (!is_new(h, subject))
		return;
	h->answers++;
	h->errors += state == DNSBL_UNKNOWN;
	if (state == DNSBL_LISTED)
		h->empty = 0;
	if (h->fault == DNSBL_GOOD && h->answers >= DNSBL_WINDOW_MIN &&
	    h->errors * 2 > h->answers)
		set_fault(h, DNSBL_FAILING, now_ms);
}

void
dnsbl_random_answered(
    struct dnsbl_health *h, enum dnsbl_state state, int64_t asked_us, int64_t now_ms)
{
	if (state == DNSBL_CLEAN && asked_us > h->clean_us)
		h->clean_us = asked_us;
	if (state != DNSBL_LISTED)
		return;
	if (asked_us > h->wild_us)
		h->wild_us = asked_us;
	set_fault(h, DNSBL_LISTS_ALL, now_ms);
}

enum dnsbl_belief
dnsbl_believe(const struct dnsbl_health *h, int64_t last_us)
{
	if (h->fault == DNSBL_LISTS_ALL || (h->wild_us != 0 && last_us <= h->wild_us))
		return DNSBL_DISBELIEVED;
	return h->clean_us != 0 && h->clean_us >= last_us ? DNSBL_BELIEVED
							   : DNSBL_UNPROVEN;
}

/* What one look at the test points says.  A list that never had the point that must be
 * listed may do without it, as long as it lists somebody. */
static enum dnsbl_fault
fault_of(struct dnsbl_health *h, int probe, enum dnsbl_state listed,
    enum dnsbl_state unlisted)
{
	if (unlisted == DNSBL_LISTED)
		return DNSBL_LISTS_ALL;
	if (probe != DNSBL_PROBE_ON || listed == DNSBL_UNKNOWN)
		return DNSBL_GOOD;
	if (listed == DNSBL_LISTED) {
		h->point_seen = true;
		h->empty = 0;
		return DNSBL_GOOD;
	}
	h->empty++;
	return h->point_seen || h->empty >= DNSBL_PROBES_EMPTY ? DNSBL_LISTS_NONE
								: DNSBL_GOOD;
}

void
dnsbl_probed(struct dnsbl_health *h, int probe, enum dnsbl_state listed,
    enum dnsbl_state unlisted, int64_t now_ms)
{
	bool silent = unlisted == DNSBL_UNKNOWN ||
	    (probe == DNSBL_PROBE_ON && listed == DNSBL_UNKNOWN);

	if (probe == DNSBL_PROBE_OFF) {
		if (h->fault != DNSBL_GOOD && h->fault != DNSBL_SPENT &&
		    now_ms - h->since_ms >= DNSBL_REST_MS)
			set_fault(h, DNSBL_GOOD, now_ms);
		return;
	}
	enum dnsbl_fault fault = fault_of(h, probe, listed, unlisted);
	h->silent = fault == DNSBL_GOOD && silent ? h->silent + 1 : 0;
	if (fault == DNSBL_GOOD && h->silent >= DNSBL_PROBES_SILENT)
		fault = h->fault == DNSBL_GOOD ? DNSBL_SILENT : h->fault;
	if (fault != DNSBL_GOOD) {
		if (h->fault != DNSBL_SPENT || fault == DNSBL_LISTS_ALL)
			set_fault(h, fault, now_ms);
		return;
	}
	h->good = silent ? 0 : h->good + 1;
	if (h->good >= DNSBL_PROBES_BACK && h->fault != DNSBL_GOOD &&
	    h->fault != DNSBL_SPENT)
		set_fault(h, DNSBL_GOOD, now_ms);
}

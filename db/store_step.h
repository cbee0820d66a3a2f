/* SPDX-License-Identifier: BSD-2-Clause */
/* One step of what the store counts, pure: for greylist triples see greylist_state.h;
 * here events and rates.  Every engine changes its records by these, or repeats them
 * and is held to them by the conformance test. */
#ifndef POSTERN_DB_STORE_STEP_H
#define POSTERN_DB_STORE_STEP_H

#include "db/store.h"
#include "db/store_record.h"

/* Add weight (>= 0) to *sum, which is all zero when nothing is known.  *expires_* as in
 * greylist_try().  A step with weight 0 only reads: *expires_* is 0. */
struct event_answer event_step(
    struct event_sum *sum, int64_t weight, int64_t keep, int64_t now, int64_t *expires);

/* Leak, then add n when it fits.  Units are limited to RATE_UNITS_MAX, so that sums in
 * 10^-9 units fit; a larger burst counts as that much. */
#define RATE_UNITS_MAX INT64_C(4000000000)
struct rate_args {
	int64_t n, burst, rate, per;
};
struct rate_answer rate_step(struct rate_level *level, const struct rate_args *args,
    int64_t now, int64_t *expires);

/* Put *text (at most RECORD_NOTE_MAX octets; NULL: only read) in the place of *note,
 * which is all zero when there is none.  The same text again goes on being known since
 * it was first. */
struct note_answer note_step(struct note *note, const struct str *text, int64_t now);

/* One holder takes (or, drop, leaves) a place of *set; places whose time is over are
 * free. *expires: when the last one will be; 0: nothing is held. */
struct hold_place {
	int64_t until; /* wall seconds, the last in which it is held */
	uint64_t holder; /* hash of its name */
};
struct hold_set {
	size_t n;
	struct hold_place place[RECORD_PLACES_MAX];
};
struct hold_args {
	uint64_t holder;
	bool drop;
	int64_t limit, keep;
};
struct hold_answer hold_step(
    struct hold_set *set, const struct hold_args *args, int64_t now, int64_t *expires);
/* A record's places and back; out: room for all of set. */
void hold_read(const struct hold *in, struct hold_set *set);
void hold_write(const struct hold_set *set, uint8_t *out);

/* The version of a map's next change: larger, and not one that another server gave
 * before it lost it, if that was in another second. */
int64_t map_version_next(int64_t version, int64_t now);

/* from + seconds, at most INT64_MAX. */
int64_t store_later(int64_t from, int64_t seconds);

#endif

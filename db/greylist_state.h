/* SPDX-License-Identifier: BSD-2-Clause */
/* What is remembered of a greylist triple and of a client, and the one table by which a
 * try changes it.  Pure; the embedded engine calls it, the Redis script repeats it, and
 * the conformance test holds both to the same rows.
 *
 *   record          try at                     becomes              seen (before)
 *   none            any                        pending, first=now   NEW
 *   pending         before first+delay         pending (kept)       EARLY
 *   pending         in [delay, window]         known, last=now,     RETRIED
 *                                              client confirmed+1
 *   pending         after first+window         pending, first=now   NEW (expired)
 *   known           within last+keep           known, last=now      KNOWN
 *   known           after last+keep            pending, first=now   NEW (expired)
 *   client with confirmed >= auto_whitelist within its keep: WHITELISTED, no triple is
 *   made; last=now of the client is renewed.
 *   client whose last is not newer than voided, or older than its keep: confirmed=0 first.
 *
 * A window that is not longer than the delay counts from the end of the delay.
 */
#ifndef POSTERN_DB_GREYLIST_STATE_H
#define POSTERN_DB_GREYLIST_STATE_H

#include <stdbool.h>
#include <stdint.h>

struct greylist_times {
	int64_t delay; /* seconds that a new triple waits */
	int64_t window; /* seconds from the first try within which a retry counts */
	int64_t keep; /* seconds a known triple lives after its last mail */
	int64_t auto_whitelist; /* confirmed triples that whitelist a client; 0: never */
	int64_t whitelist_keep; /* seconds after the client's last mail */
	int64_t voided; /* wall seconds of the newest hit that the caller knows of; 0: none */
};

enum greylist_state {
	GREYLIST_NEW,
	GREYLIST_EARLY,
	GREYLIST_RETRIED,
	GREYLIST_KNOWN,
	GREYLIST_WHITELISTED,
};

struct greylist_seen {
	enum greylist_state state;
	int64_t first; /* first try of the triple, wall seconds; 0: WHITELISTED without */
	int64_t tries; /* this one included; 0: WHITELISTED */
};

struct greylist_triple {
	bool exists;
	bool known; /* passed once; else pending */
	int64_t first, last;
	int64_t tries;
};

struct greylist_client {
	bool exists;
	int64_t confirmed; /* triples that became known */
	int64_t last;
	int64_t voided; /* newest virus or trap hit; confirmations not newer than it do not
	                   count; 0: none */
};

/* Apply one try.  Both records are changed in place; times->voided raises
 * client->voided, and so does the caller beforehand when it finds a newer hit.  *expires_* = wall seconds after which the
 * record may be forgotten; 0: the try did not change it, nothing is to be written.  A
 * clock that stepped back never blocks a triple for longer than one delay: stored times
 * in the future are taken as now. */
struct greylist_seen greylist_try(struct greylist_triple *triple,
    struct greylist_client *client, const struct greylist_times *times, int64_t now,
    int64_t *expires_triple, int64_t *expires_client);

const char *greylist_state_name(enum greylist_state state);

#endif

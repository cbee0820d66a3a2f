/* SPDX-License-Identifier: BSD-2-Clause */
/* What the store keeps, as structs and as octets.  A record's octets:
 *
 *     offset  octets
 *     0       1       schema version of the body
 *     1       1       kind: 't' triple, 'c' client, 'e' event, 'r' rate, 'n' note,
 *                     'h' hold
 *     2       8       expires: wall seconds after which it may be forgotten
 *     10      8       indexed: where it stands in the expiry index; <= expires
 *     18      ..      body by kind, version 1:
 *                       t  flags 1 (1 = known), first 8, last 8, tries 8
 *                       c  confirmed 8, last 8, voided 8
 *                       e  weight 8, last 8, keep 8
 *                       r  level 8 (10^-9 units), stamp 8
 *                       n  since 8, length 2 (<= 200), as many octets of text
 *                       h  count 2 (<= 1000), as many places: until 8, XXH3 of holder 8
 *     end     2+n     length of the whole name, then its first 600 octets
 *
 * Numbers are big-endian.  The first 18 octets are the same in every version, so that a
 * daemon of version N-1 can expire what version N wrote; kinds that a daemon does not
 * know it leaves alone until then. */
#ifndef POSTERN_DB_STORE_RECORD_H
#define POSTERN_DB_STORE_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/str.h"
#include "db/greylist_state.h"

#define RECORD_VERSION 1
#define RECORD_HEAD 18
#define RECORD_NAME_KEPT 600
#define RECORD_NOTE_MAX 200
#define RECORD_PLACES_MAX 1000
#define RECORD_PLACE 16 /* octets */
#define RECORD_BODY_MAX (2 + RECORD_PLACES_MAX * RECORD_PLACE)
#define RECORD_MAX (RECORD_HEAD + RECORD_BODY_MAX + 2 + RECORD_NAME_KEPT) /* octets */

enum record_kind {
	RECORD_TRIPLE = 't',
	RECORD_CLIENT = 'c',
	RECORD_EVENT = 'e',
	RECORD_RATE = 'r',
	RECORD_NOTE = 'n',
	RECORD_HOLD = 'h',
};

struct event_sum {
	int64_t weight, last, keep; /* keep: seconds after last */
};

struct rate_level {
	int64_t level; /* 10^-9 units in the bucket at stamp */
	int64_t stamp; /* wall seconds */
};

struct note {
	bool exists;
	int64_t since;
	size_t len;
	char text[RECORD_NOTE_MAX];
};

/* Who has a place, and how long.  Octets, because most are few and some are many: n
 * places as in the record, borrowed. */
struct hold {
	size_t n;
	const uint8_t *places;
};

struct record {
	enum record_kind kind;
	int64_t expires, indexed;
	union {
		struct greylist_triple triple;
		struct greylist_client client;
		struct event_sum event;
		struct rate_level rate;
		struct note note;
		struct hold hold;
	};
	struct str name; /* borrowed; what is kept of it when it was read */
	size_t name_len; /* of the whole */
};

/* What foreign octets are. */
enum record_read {
	RECORD_BAD, /* damaged: counts as absent */
	RECORD_FOREIGN, /* whole, but of a version or kind that we do not know: the same
			 */
	RECORD_OK,
};

/* Read octets; only kind, expires and indexed are set for RECORD_FOREIGN. */
enum record_read record_decode(struct str in, struct record *out);
/* Write into out; returns the length.  name is cut to what is kept. */
size_t record_encode(const struct record *r, uint8_t out[RECORD_MAX]);
/* Whether the record, as read, is that of this name (another one may share its hash).
 */
bool record_is(const struct record *r, struct str name);

void be64_put(uint8_t *out, int64_t v);
int64_t be64_get(const uint8_t *in);

#endif

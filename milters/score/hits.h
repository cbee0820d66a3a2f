/* SPDX-License-Identifier: BSD-2-Clause */
/* What the jail found in a message, and its way out of the jail.
 *
 * Octets, numbers big-endian: "PSH1", flags(4), then three lists, each a count(4) and its
 * items: hits (name length(1), name, count(4)); rules whose value is not known (length(1),
 * name); domains (length(1), domain).  Rules travel by name, so that a daemon and a jail
 * that read the rule files at different moments understand each other.  The reader
 * trusts nothing: a worker may have been taken over by what it read. */
#ifndef POSTERN_SCORE_HITS_H
#define POSTERN_SCORE_HITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/err.h"
#include "milters/score/rules.h"

#define HITS_UNKNOWN UINT32_MAX /* a rule that was not run to its end */
#define HITS_DOMAINS_MAX 100
#define HITS_DOMAIN_MAX 253

struct hits {
	uint32_t *hits; /* by rule: how often; HITS_UNKNOWN */
	size_t n;
	bool cut; /* a limit on the message's size was reached */
	bool over; /* the budget was used up */
	size_t foreign; /* rules that the reader's set does not have */
	struct buf domains; /* of links, each once, in lower case, each ending in LF */
	size_t n_domains;
};

void hits_init(struct hits *h, const struct rules *r);
void hits_clear(struct hits *h);

/* Host names and nothing else. */
bool hits_domain_ok(struct str domain);
/* Add a domain unless it is there, is none, or there are enough. */
void hits_add_domain(struct hits *h, struct str domain);

void hits_write(const struct hits *h, const struct rules *r, struct buf *out);
/* 0: *h is filled and wants clearing.  -1 (err): not what hits_write makes. */
int hits_read(struct str in, const struct rules *r, struct hits *h, struct err *err);

#endif

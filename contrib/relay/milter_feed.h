/* SPDX-License-Identifier: BSD-2-Clause */
/* A message as the sequence of packets that a filter is shown: L for every field, N, B
 * in chunks, E; without the steps that the filter left out. */
#ifndef POSTERN_RELAY_MILTER_FEED_H
#define POSTERN_RELAY_MILTER_FEED_H

#include "common/base/buf.h"
#include "common/base/err.h"
#include "contrib/relay/milter_chain.h"

struct milter_feed {
	const struct chain_message *m; /* borrowed; must not change meanwhile */
	ptrdiff_t own; /* field that is not shown, -1 none */
	uint32_t protocol;
	char next; /* L N B E; 0: all sent */
	size_t field;
	uint64_t body; /* octets sent */
};

void milter_feed_init(struct milter_feed *f, const struct chain_message *m,
    ptrdiff_t own, uint32_t protocol);
/* The filter wants no more of these (L or B). */
void milter_feed_skip(struct milter_feed *f, char cmd);
/* Append the packet f->next and move on.  Fields: one leading space removed unless
 * negotiated, folds as LF, NUL as '?', cut at what libmilter reads in one packet.
 * Body: octets as they are, MILTER_CHUNK_MAX a packet.  -1: the file cannot be read. */
int milter_feed_write(struct milter_feed *f, struct buf *out, struct err *err);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* Look at every octet of a message in every way that some reader would: each part of each
 * view decoded, messages and uuencoded blocks inside parts opened, each distinct content
 * scanned once, and the message as it stands scanned as well. */
#ifndef POSTERN_MIME_SCAND_INSPECT_H
#define POSTERN_MIME_SCAND_INSPECT_H

#include "common/base/buf.h"
#include "milters/mime/scand/clam.h"

struct inspect_limits {
	uint64_t decoded; /* octets of all decoded contents together */
	unsigned depth; /* encoded messages in messages */
	int64_t time_ms; /* no scan of a part begins after that; 0: whenever */
};

/* Append an inspection (inspection.h) to reply.  clam NULL: nothing is scanned (tests). */
void inspect_message(struct str message, struct clam *clam,
    const struct inspect_limits *limits, struct buf *reply);

/* "exe", "elf", "zip", "ole", "pdf", ... by the first octets; "" unknown. */
struct str inspect_sniff(struct str content);

#endif

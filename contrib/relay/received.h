/* SPDX-License-Identifier: BSD-2-Clause */
/* Our trace line (RFC 5321 4.4). */
#ifndef POSTERN_RELAY_RECEIVED_H
#define POSTERN_RELAY_RECEIVED_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/ip.h"
#include "common/base/str.h"
#include "common/mail/header.h"

#define RECEIVED_MAX 100 /* more are a loop: RFC 5321 6.3 asks for at least 100 */

struct received {
	const char *helo, *name; /* of the client; name "" unknown */
	struct ip client;
	const char *host; /* ours */
	const char *proto; /* "ESMTP" */
	const char *id;
	const char *rcpt; /* the only recipient, without <>; NULL: several or none */
	int64_t now; /* wall seconds */
};

/* Append the field's value, folded, without a line end behind it.  Foreign text is cut
 * to what cannot break the line or its comment.  -1: out is full. */
int received_write(struct buf *out, const struct received *r);

/* The field's date in UTC, RFC 5322 3.3: "Fri, 20 Nov 2026 09:10:00 +0000". */
void received_date(int64_t now, char out[40]);

/* How many trace lines a message bears: Received, in any case. */
size_t received_count(const struct header *h);

#endif

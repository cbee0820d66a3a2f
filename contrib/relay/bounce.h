/* SPDX-License-Identifier: BSD-2-Clause */
/* What becomes of recipients that can never be served: a delivery status notification
 * to the sender (RFC 3462, 3464), or a copy of the message for quarantine where a
 * bounce would hit somebody who never wrote to us. */
#ifndef POSTERN_RELAY_BOUNCE_H
#define POSTERN_RELAY_BOUNCE_H

#include "common/base/buf.h"
#include "contrib/relay/record.h"

#define BOUNCE_HEADER_MAX (64 * 1024) /* octets of the original's header sent back */

/* Why one recipient failed. */
struct bounce_rcpt {
	uint16_t rcpt; /* by number in the envelope */
	int code; /* SMTP reply, 0: none */
	char enhanced[12]; /* "" : made from the code */
	char text[512];
	char remote[256]; /* whose answer it is; "": our own */
};

enum bounce_way {
	BOUNCE_SEND,
	BOUNCE_QUARANTINE, /* null sender (RFC 5321 6.1), no_bounce, or so configured */
};
enum bounce_way bounce_way(const struct envelope *e, bool quarantine_configured);

struct bounce_source {
	const struct record *record; /* the message that failed */
	const struct qio *q;
	int fd; /* its file */
	const char *host; /* our name */
	int64_t now; /* wall seconds */
	enum bounce_way way;
};

/* Make the record, to be committed like any other: id gets its id.  Returns a memfd;
 * -1: err. */
int bounce_record(const struct bounce_source *s, const struct bounce_rcpt *list,
    size_t n, char id[MESSAGE_ID_MAX], struct err *err);

/* The notification's text alone; original: the header section to send back. */
int bounce_render(struct buf *out, const struct bounce_source *s, struct str original,
    const struct bounce_rcpt *list, size_t n, const char *id, bool *eight_bit);

#endif

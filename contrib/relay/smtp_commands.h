/* SPDX-License-Identifier: BSD-2-Clause */
/* The words of an SMTP client: what a server's EHLO reply offers, and the commands that
 * follow from it.  Pure text. */
#ifndef POSTERN_RELAY_SMTP_COMMANDS_H
#define POSTERN_RELAY_SMTP_COMMANDS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/str.h"
#include "contrib/relay/envelope.h"

enum smtp_xforward { /* attributes of Postfix' XFORWARD that we know */
	XFORWARD_NAME = 1 << 0,
	XFORWARD_ADDR = 1 << 1,
	XFORWARD_PORT = 1 << 2,
	XFORWARD_PROTO = 1 << 3,
	XFORWARD_HELO = 1 << 4,
	XFORWARD_IDENT = 1 << 5,
	XFORWARD_SOURCE = 1 << 6,
};

struct smtp_offer {
	bool pipelining, eight_bit, size;
	uint64_t size_max; /* 0: no limit told */
	unsigned xforward; /* enum smtp_xforward */
};

/* text: the lines of a 250 reply to EHLO joined with LF, the first is the greeting. */
void smtp_offer_read(struct str text, struct smtp_offer *out);

/* RFC 3461 xtext: '+', '=', blanks and all that is not printable ASCII as +XX. */
void smtp_xtext(struct buf *out, struct str value);

void smtp_mail_command(struct buf *out, const struct envelope *e,
    const struct smtp_offer *offer, uint64_t size);
void smtp_rcpt_command(struct buf *out, const char *address);
/* XFORWARD in two lines, so that none grows over 512 octets; part 0 or 1.  Returns
 * false and adds nothing when no attribute of that part is offered. */
bool smtp_xforward_command(
    struct buf *out, const struct envelope *e, unsigned offered, int part);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* What SMTP says about a message beside its octets: who sends, to whom, by which way it
 * came.  Owned text throughout; no field may hold CR, LF or NUL. */
#ifndef POSTERN_RELAY_ENVELOPE_H
#define POSTERN_RELAY_ENVELOPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/ip.h"
#include "common/base/str.h"

#define ENVELOPE_RCPTS_MAX 1000 /* RFC 5321 4.5.3.1.8 asks for 100 */
#define MESSAGE_ID_MAX 32 /* our queue id with NUL */

struct envelope_rcpt {
	char *address; /* without <>; as the client wrote it */
};

struct envelope {
	char id[MESSAGE_ID_MAX]; /* made at MAIL, common/base/id.h */
	char *sender; /* without <>; "" = null sender */
	bool body_8bit; /* BODY=8BITMIME */
	uint64_t size; /* octets of the message; SIZE= when not yet known */
	struct envelope_rcpt *rcpts;
	size_t n_rcpts;
	struct ip
	    client; /* who gave it to the first of our tiers (XCLIENT, XFORWARD) */
	uint16_t client_port;
	char *client_name; /* PTR name or "[address]" */
	char *helo;
	char *proto; /* "SMTP", "ESMTP" */
	char *auth; /* authenticated user, "" none */
	int64_t received; /* wall seconds */
	bool no_bounce; /* a later failure is quarantined, never bounced (design section
			   5) */
	char *hold; /* not "": into quarantine at once, for this reason (chain HOLD) */
};

/* All texts "" (allocated); nothing known. */
void envelope_init(struct envelope *e);
void envelope_clear(struct envelope *e);
/* Replace one of the texts: envelope_set(&e.helo, value).  Copies value. */
void envelope_set(char **field, struct str value);
void envelope_copy(struct envelope *to, const struct envelope *from);
/* Copies address; -1 when ENVELOPE_RCPTS_MAX is reached. */
int envelope_add_rcpt(struct envelope *e, const char *address);
/* false when there was none (compared as RFC 5321 2.4: local part exact, domain any
 * case) */
bool envelope_delete_rcpt(struct envelope *e, const char *address);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* One message to one next hop over SMTP, event-driven: PIPELINING, SIZE, 8BITMIME and
 * XFORWARD as the server offers them.  Used by the delivery process and by a listener
 * that hands a message on within the client's session. */
#ifndef POSTERN_RELAY_SMTP_CLIENT_H
#define POSTERN_RELAY_SMTP_CLIENT_H

#include <event2/event.h>

#include "common/base/err.h"
#include "common/base/ip.h"
#include "common/base/str.h"
#include "contrib/relay/envelope.h"

struct smtp_target {
	struct ip ip;
	uint16_t port;
};

struct smtp_job {
	struct smtp_target
	    target; /* one address; the caller walks through alternatives */
	const char *helo; /* our name */
	const struct envelope *envelope; /* borrowed until done */
	const size_t *rcpts; /* indices into the envelope's recipients; NULL: all */
	size_t n_rcpts;
	struct str
	    header; /* octets in front of the message, CRLF line ends; borrowed */
	int message_fd; /* borrowed */
	uint64_t message_offset,
	    message_len; /* octets with CRLF line ends, unstuffed */
	bool xforward; /* send XFORWARD when offered: client, helo, our id */
	int64_t connect_ms, command_ms, data_ms; /* RFC 5321 4.5.3.2 */
};

/* How it went for one recipient; or, in smtp_result.whole, for the message. */
struct smtp_outcome {
	int code; /* the server's or, where we give up ourselves, ours; 0: no answer */
	char enhanced[12]; /* "" when the server gave none */
	char text[512]; /* one line, printable; behind the codes */
};

enum smtp_end {
	SMTP_SENT, /* the server answered 2yz to the end of data */
	SMTP_REFUSED, /* it answered 4yz or 5yz at greeting, EHLO, MAIL, all RCPT, DATA,
			 end; or cannot take the message: too large for its SIZE
			 (552 5.3.4), 8-bit octets without 8BITMIME (554 5.6.3: we do
			 not convert), a bare CR, bare LF or NUL (554 5.6.0: never sent
			 on) */
	SMTP_BROKEN, /* no connection, time-out, closed, protocol error: try again later
		      */
	SMTP_UNSURE, /* broken after the final dot: may have been taken; try again, for
			a duplicate is better than a loss (RFC 1047) */
};

struct smtp_result {
	enum smtp_end end;
	bool early; /* it ended before MAIL was answered, for no fault of the message: another
	               host may do better */
	struct smtp_outcome whole; /* what ended it */
	/* One per recipient of the job, in its order (rcpts NULL: all of the envelope).
	 * A recipient refused with 4yz or 5yz keeps that answer however it ended; the
	 * others have that of the message, or code 0.  Borrowed for the callback. */
	const struct smtp_outcome *rcpts;
	size_t n_rcpts;
};

struct smtp_client;
/* Starts; done is called exactly once from the loop, never from within this call. */
struct smtp_client *smtp_client_start(struct event_base *base,
    const struct smtp_job *job,
    void (*done)(void *arg, const struct smtp_result *result), void *arg);
/* Give up (only before done was called); nothing is called any more. */
void smtp_client_cancel(struct smtp_client *c);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* The SMTP side of a milter chain for tests: SMTP commands in, reply codes out, by the
 * same rules as the listener's session.  Runs the event loop itself. */
#ifndef POSTERN_TESTS_CHAIN_DRIVER_H
#define POSTERN_TESTS_CHAIN_DRIVER_H

#include "common/base/buf.h"
#include "contrib/relay/milter_chain.h"

#define DRIVER_RECEIVED "Received: from client.example by mx.ok.example; now"

struct chain_driver {
	struct event_base *base;
	struct milter_chain *chain;
	struct chain_reply reply; /* of the last step; text without filter names */
	char filter[64]; /* whose it was */
	int code; /* of the last command; 0: none sent yet */
	bool closed; /* after 421 */
	bool in_mail, in_data;
	bool discard;
	bool at_once; /* done was called from within the step's own call: forbidden */
	size_t n_accepted;
	struct envelope envelope;
	const char *(*refuses)(const char *path); /* our own refusals; NULL: none */
	/* The last message after the chain: rendered header and body; "" when it was
	 * not sent on. */
	enum { DRIVER_NOTHING, DRIVER_SENT, DRIVER_HELD, DRIVER_GONE } fate;
	struct buf out;
	char *out_sender;
	struct buf out_rcpts; /* "a@x b@y" */
	uint64_t body_max; /* as of struct chain_message */
	bool done;
	int n_ids;
};

void driver_init(struct chain_driver *d, struct event_base *base,
    const struct milter_filter_conf *filters, size_t n);
/* As above, with the client's facts. */
void driver_init_client(struct chain_driver *d, struct event_base *base,
    const struct milter_filter_conf *filters, size_t n,
    const struct chain_client *client);
void driver_clear(struct chain_driver *d);

int driver_connect(struct chain_driver *d); /* 220, 554, 421 */
/* "EHLO x", "MAIL FROM:<a@b> SIZE=1", "RCPT TO:<...>", "DATA", "RSET", "QUIT"; anything
 * else is unknown: 500.  Ends the program after 20 s without an answer. */
int driver_command(struct chain_driver *d, const char *line);
/* After 354: the whole message with CRLF, unstuffed. */
int driver_message(struct chain_driver *d, struct str text);

/* The dialogue of tests/vectors/milter/matrix.*.tsv: two messages (alice to a and b,
 * bob to c); codes as "220|250|...", commands that were not reached are absent.  sent:
 * which were delivered, "alice>a+b,bob>c", or "none"; "hold:" stands before those held.
 */
void driver_dialogue(struct chain_driver *d, struct buf *codes, struct buf *sent);

/* Let both ends handle what is under way. */
void driver_settle(struct chain_driver *d);
/* Run the loop until *flag, at most 20 s. */
void driver_wait(struct event_base *base, const bool *flag);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* Shared by connection.c (socket and timers), connection_mail.c (envelope) and
 * connection_message.c (text to handoff). */
#ifndef POSTERN_RELAY_CONNECTION_PRIVATE_H
#define POSTERN_RELAY_CONNECTION_PRIVATE_H

#include "common/mail/smtp_command.h"
#include "contrib/relay/connection.h"
#include "contrib/relay/milter_chain.h"

struct client_facts { /* of whom we take the client for */
	struct ip ip;
	uint16_t port;
	char *name; /* confirmed, or "[address]", or "unknown" */
	const char *resolve; /* static */
	char *helo;
	char *login;
	const char *proto; /* static: "SMTP", "ESMTP" */
};

/* Of whom the filters of c->chain were told: the client, or the one that XFORWARD
 * named. */
struct shown_client {
	bool forwarded;
	struct ip ip;
	uint16_t port;
	char *name, *helo;
};

struct mail_command { /* MAIL as typed, kept while filters are told of another client */
	char *storage; /* of all strings */
	const char *path, *args[SMTP_PARAMS_MAX];
	size_t n_args;
};

struct connection {
	struct gate *gate;
	struct connection *next, **at;
	int fd;
	struct event *read, *write, *timer;
	struct ip peer, local; /* as the kernel says: trust is judged by peer */
	uint16_t peer_port, local_port;
	bool trusted;
	bool spoken_for; /* XCLIENT put another client in the place of the peer */
	bool eof; /* the client sends no more */
	bool closing; /* is being ended: no more callbacks into it */
	bool busy; /* one of our functions is on the stack: do not free */
	uint64_t lingered; /* octets thrown away since everything was said */
	int64_t stalled_ms; /* the client reads nothing; 0: it reads */
	struct session *session;
	struct client_facts client;
	struct client_name *lookup;
	struct milter_chain *chain;
	struct shown_client shown;
	void (*shown_then)(struct connection *c); /* once they are told */
	struct event *pause; /* before the greeting; NULL: none under way */

	/* the transaction */
	struct session_attrs forward; /* XFORWARD */
	struct envelope envelope;
	struct mail_command mail;
	bool discard; /* a filter wants the client to believe in success */
	char *discarded_by;
	struct verdict refused; /* of the recipient under way */
	char *rcpt; /* the recipient under way, without <> */
	int text_fd; /* memfd; -1 none */
	uint64_t text_len;
	struct header *header;
	bool separate; /* an empty line goes behind the header */
	struct chain_message *message;
	struct handoff *handoff;
};

/* Answer the session's question, then look after the socket.  c may be gone afterwards:
 * let it be the last that a callback does. */
void connection_answer(
    struct connection *c, int code, const char *enhanced, const char *text);
void connection_answer_verdict(struct connection *c, const struct verdict *v);
/* What a filter said instead of CONTINUE. */
void connection_answer_chain(struct connection *c, const struct chain_reply *r);
/* The code of it: 421, but not where it is about a client that only sent us mail
 * through the tier in front: that tier's connection is not closed for it, and the
 * client hears "later" instead of "queued". */
int connection_chain_code(const struct connection *c, const struct chain_reply *r);

#endif

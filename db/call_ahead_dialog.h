/* SPDX-License-Identifier: BSD-2-Clause */
/* Asking a server which recipients it has: the SMTP dialogue alone, without socket and
 * clock.  Octets of the server go in, commands come out.  For each recipient MAIL
 * FROM:<>, RCPT, RSET; no message is ever sent.  What the server says may be anything:
 * replies are read by common/mail/smtp_reply, and nothing of them goes out again. */
#ifndef POSTERN_DB_CALL_AHEAD_DIALOG_H
#define POSTERN_DB_CALL_AHEAD_DIALOG_H

#include <stdbool.h>

#include "common/base/buf.h"
#include "common/base/str.h"
#include "common/mail/smtp_reply.h"

enum call_ahead_state {
	CALL_AHEAD_YES, /* the server takes mail for it */
	CALL_AHEAD_NO, /* and never will: 5yz about the recipient */
	CALL_AHEAD_TROUBLE, /* 4yz, or a refusal that says nothing of the recipient */
	CALL_AHEAD_DOWN, /* no server answered in time */
};
const char *call_ahead_state_name(enum call_ahead_state state);

struct call_ahead_answer {
	enum call_ahead_state state;
	int code; /* of the server; 0 with DOWN */
	char enhanced[12]; /* RFC 3463, or "" */
	char text[200]; /* one line, printable ASCII */
};
/* What a reply to RCPT says. */
void call_ahead_judge(int code, struct str text, struct call_ahead_answer *out);

enum dialog_state {
	DIALOG_GREETING,
	DIALOG_EHLO,
	DIALOG_HELO,
	DIALOG_READY, /* a recipient may be asked */
	DIALOG_MAIL,
	DIALOG_RCPT,
	DIALOG_RSET,
	DIALOG_BROKEN, /* drop the connection */
};
struct dialog {
	enum dialog_state state;
	char host[256]; /* our name */
	char rcpt[520]; /* being asked about */
	struct smtp_reply reply;
	struct buf in; /* part of a reply */
	struct buf out; /* to be sent; the caller consumes it */
	bool answered; /* answer is about rcpt; the caller clears it */
	struct call_ahead_answer answer;
	char why[100]; /* of BROKEN */
};
void dialog_init(struct dialog *d, const char *host);
void dialog_clear(struct dialog *d);
/* Eats all of in.  One answer at most comes of it: no second question is open. */
void dialog_feed(struct dialog *d, struct str in);
/* In READY only.  false: this cannot be asked (blanks, control octets, too long). */
bool dialog_ask(struct dialog *d, struct str rcpt);
/* Is a question open? */
bool dialog_busy(const struct dialog *d);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* One SMTP connection from the server's side (RFC 5321) as a machine without socket and
 * clock: octets in, replies out, and questions to its driver (may this sender? this
 * recipient?), which are answered at once or later.  It owns the order of commands, the
 * syntax, pipelining, the limits and the errors' budget; it decides nothing about mail.
 *
 * Pipelining (RFC 2920): MAIL, RCPT, RSET, NOOP, VRFY, HELP and XFORWARD may have
 * commands behind them when EHLO offered it.  Octets that stand behind EHLO, HELO,
 * DATA, XCLIENT, STARTTLS, AUTH or BDAT before we answered, behind any command of a
 * client that was not offered PIPELINING, or before our greeting, were sent blind: 554
 * and the end of the connection; they are never executed.  Behind the end of data
 * commands may follow (RFC 2920 3.1).
 *
 * A message whose text holds a bare CR, a bare LF or a NUL is read to its CRLF.CRLF and
 * refused with one 550; the driver hears of it as session_ops.reset. */
#ifndef POSTERN_RELAY_SESSION_H
#define POSTERN_RELAY_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/ip.h"
#include "common/base/str.h"
#include "common/mail/address.h"
#include "common/mail/smtp_command.h"

enum session_state {
	SESSION_GREETING, /* connection checks under way; nothing was said */
	SESSION_REFUSED, /* greeted with an error: waits for QUIT (RFC 5321 3.1) */
	SESSION_START, /* greeted */
	SESSION_READY, /* EHLO or HELO taken */
	SESSION_MAIL, /* a sender */
	SESSION_RCPT, /* and at least one recipient */
	SESSION_DATA, /* 354 said: text comes */
	SESSION_MESSAGE, /* end of data seen, its answer is due */
	SESSION_CLOSED, /* flush session_output, then close */
};

#define SESSION_IN_MAX (256u * 1024) /* octets kept unread while an answer is due */
#define SESSION_OUT_MAX (64u * 1024) /* replies not yet read by the client */
#define SESSION_SKIP_MAX (64u * 1024) /* octets of one endless line */

struct session_conf {
	const char *host; /* our name; borrowed while the session lives */
	uint64_t message_size; /* octets */
	uint64_t line_max; /* octets of a line of text, without CRLF */
	size_t rcpts_max;
	unsigned errors_max; /* then 421 */
	unsigned junk_max; /* commands that move no mail, then 421 */
	unsigned delay_after; /* errors; from then on errors are answered late */
	int64_t error_delay_ms; /* times the errors beyond delay_after; 0 none */
	int64_t command_ms; /* for a whole command line */
	int64_t data_ms; /* grace for text, on top of its octets at data_rate */
	uint64_t data_rate; /* octets a second */
	bool pipelining_guard; /* false only where a test looks at the decoder alone */
};
/* Shipped limits; host is "localhost". */
extern const struct session_conf session_conf_default;

/* What XCLIENT or XFORWARD told.  NULL: not told; "": told to be not available. */
struct session_attrs {
	char *name, *helo, *proto, *login, *ident, *source;
	bool has_addr, has_port;
	struct ip addr; /* family 0: not available */
	uint16_t port;
};
void session_attrs_clear(struct session_attrs *a);

/* What the driver is asked; each of connect, helo, mail, rcpt, data, message and
 * xclient is answered by exactly one session_answer, from within or later.  Borrowed
 * text is valid for the call. */
struct session_ops {
	void (*connect)(void *arg);
	void (*helo)(void *arg, struct str name, bool extended);
	/* size: of SIZE=, 0 unknown.  sender->null: <>. */
	void (*mail)(void *arg, const struct smtp_path *path,
	    const struct address *sender, uint64_t size, bool body_8bit);
	void (*rcpt)(
	    void *arg, const struct smtp_path *path, const struct address *rcpt);
	void (*data)(void *arg);
	/* Message octets, unstuffed; false: cannot be kept, the client gets 452. */
	bool (*text)(void *arg, const char *p, size_t len);
	void (*message)(void *arg);
	/* The transaction under way is over without a message. */
	void (*reset)(void *arg);
	/* The client is to be taken for this one; everything begins anew at connect:
	 * the answer is the greeting. */
	void (*xclient)(void *arg, const struct session_attrs *attrs);
	/* Not answered. */
	void (*xforward)(void *arg, const struct session_attrs *attrs);
};

struct session;

/* conf is copied; ops is borrowed.  trusted: XCLIENT and XFORWARD are offered. */
struct session *session_new(const struct session_conf *conf,
    const struct session_ops *ops, void *arg, bool trusted);
void session_free(struct session *s);

/* Ask connect. */
void session_start(struct session *s, int64_t now_ms);

/* Feed octets, at most session_room(s); with none, go on after output was drained. */
void session_input(struct session *s, struct str in, int64_t now_ms);
size_t session_room(const struct session *s);

/* Answer the question that is open.  connect and xclient: 220 lets in (the text of the
 * greeting is ours); data: 354 lets in; others: 250.  421 closes after the reply.  text
 * may have lines with LF between. */
void session_answer(
    struct session *s, int code, const char *enhanced, struct str text, int64_t now_ms);

/* Replies to be sent; the driver consumes what it has sent. */
struct buf *session_output(struct session *s);

/* Octets that came before our greeting. */
size_t session_early(const struct session *s);

/* When session_tick is due, monotonic ms; INT64_MAX: not at all. */
int64_t session_wake(const struct session *s);
void session_tick(struct session *s, int64_t now_ms);

/* Under stress (too many clients) everything is shorter: 10 s for a command, 30 s of
 * grace for text, 5 errors, 10 idle commands; at once for what is under way. */
void session_stress(struct session *s, bool stress, int64_t now_ms);

/* Say 421 with this text as soon as no transaction is under way, then close. */
void session_shutdown(struct session *s, struct str text, int64_t now_ms);

enum session_state session_state(const struct session *s);
const char *session_state_name(enum session_state state);
bool session_waiting(const struct session *s); /* a question is open */
bool session_extended(const struct session *s); /* EHLO, not HELO */
unsigned session_errors(const struct session *s);

#endif

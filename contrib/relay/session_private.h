/* SPDX-License-Identifier: BSD-2-Clause */
/* Shared by session.c (octets, states, limits, replies) and session_verbs.c (commands).
 */
#ifndef POSTERN_RELAY_SESSION_PRIVATE_H
#define POSTERN_RELAY_SESSION_PRIVATE_H

#include "common/mail/smtp_data.h"
#include "contrib/relay/session.h"

enum session_question {
	ASK_NONE,
	ASK_CONNECT,
	ASK_HELO,
	ASK_MAIL,
	ASK_RCPT,
	ASK_DATA,
	ASK_MESSAGE,
};

struct session {
	struct session_conf conf; /* in force; under stress tighter than usual */
	struct session_conf usual;
	const struct session_ops *ops;
	void *arg;
	bool trusted;
	enum session_state state;
	enum session_question asked;
	bool final; /* nothing may stand behind the command that was asked about */
	bool extended;
	bool running; /* session_run is on the stack */
	bool shutdown; /* 421 as soon as nothing is asked */
	char shutdown_text[160];
	struct buf in, out;
	size_t skipped; /* octets of a line that is too long; 0: none under way */
	bool skipped_cr; /* and the last of them was CR */
	unsigned errors, junk;
	size_t n_rcpts;
	int64_t now_ms; /* of the call under way */
	int64_t deadline_ms; /* of the command, or where the text began plus grace */
	int64_t hold_ms; /* no command is read before */
	struct smtp_data data;
	uint64_t text_octets; /* of the text, as they came */
	bool text_lost; /* the driver could not keep it */
};

#define ST(state) (1u << (state))

struct session_verb {
	const char *name;
	unsigned states; /* in which it is legal, bits ST() */
	bool final; /* octets behind it are a violation (see session.h) */
	bool junk; /* moves no mail */
	void (*run)(struct session *s, struct str args);
};
/* NULL: not a command. */
const struct session_verb *session_verb_find(struct str verb);
/* Answer a command that is not legal in this state. */
void session_out_of_order(struct session *s);
/* A line of HTTP: a browser that was lured here. */
bool session_verb_foreign(struct str verb);

void session_set_state(struct session *s, enum session_state state);
/* A reply of our own; code 421 ends the session. */
void session_say(struct session *s, int code, const char *enhanced, const char *fmt,
    ...) __attribute__((format(printf, 4, 5)));
void session_say_lines(
    struct session *s, int code, const char *enhanced, struct str text);
/* The same, and it counts as an error. */
void session_fail(struct session *s, int code, const char *enhanced, const char *fmt,
    ...) __attribute__((format(printf, 4, 5)));
/* A reply, then the end. */
void session_end(struct session *s, int code, const char *enhanced, const char *text);
/* Open a question; the caller then calls the driver. */
void session_ask(struct session *s, enum session_question question);
/* Forget sender and recipients; the driver is told when there were any. */
void session_reset_mail(struct session *s);

/* Read "NAME=xtext ..." of XCLIENT (client) or XFORWARD.  -1: err. */
int session_attrs_read(
    struct str args, bool client, struct session_attrs *out, struct err *err);

#endif

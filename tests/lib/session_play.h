/* SPDX-License-Identifier: BSD-2-Clause */
/* A driver for SMTP sessions in tests: answers by simple rules, keeps what happened,
 * and checks at every step what must always hold.  Recipients "deny..." get 550,
 * "later..." 451, senders "deny..." 550; HELO "deny..." 550; everything else passes. */
#ifndef POSTERN_TESTS_SESSION_PLAY_H
#define POSTERN_TESTS_SESSION_PLAY_H

#include "common/base/buf.h"
#include "contrib/relay/session.h"

enum play_question {
	PLAY_NONE,
	PLAY_CONNECT,
	PLAY_HELO,
	PLAY_MAIL,
	PLAY_RCPT,
	PLAY_DATA,
	PLAY_MESSAGE
};

struct play {
	struct session *session;
	int64_t now;
	bool later; /* answer from play_go, not from within the question */
	int connect_code, data_code, message_code; /* 0: 220, 354, 250 */
	bool text_fails;
	enum play_question open;
	bool deny, defer; /* what the open question gets */
	struct buf replies; /* all octets that the session said */
	struct buf
	    trace; /* "connect helo mail:<a@b> rcpt:<c@d> data message:12 reset" */
	struct buf text; /* of the message under way */
	struct buf last; /* the last whole message */
	unsigned messages; /* questions about whole messages */
	unsigned questions, answers;
};

void play_init(
    struct play *p, const struct session_conf *conf, bool trusted, bool later);
void play_clear(struct play *p);
void play_start(struct play *p);
/* Feed in pieces of at most `step` octets (0: whole); after each the open question is
 * answered where answers come later.  Stops when the session is closed. */
void play_feed(struct play *p, struct str in, size_t step);
/* Answer what is open, drain what was said. */
void play_go(struct play *p);
/* Codes of all replies so far, "220 250 354": one for each whole reply. */
void play_codes(const struct play *p, struct buf *out);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* Plays one recording: the filters answer octet for octet what they answered then, the
 * chain is driven by the SMTP client's commands, and both sides' doings are noted in a
 * form that can be compared. */
#ifndef POSTERN_TESTS_MILTER_REPLAY_H
#define POSTERN_TESTS_MILTER_REPLAY_H

#include "common/base/buf.h"
#include "tests/lib/milter_tape.h"

/* One line a packet, without D, O and Q, and without A where the next packet says as
 * much: "M <a@b>|SIZE=1|", "L Subject|hello|", "B 24 <sha>".  Left out of the
 * recording: fields that the MTA added (Postfix: Date, Message-Id, From).  Left out of
 * ours: fields that Postfix hides (Bcc, Return-Path), when it is a recording of
 * Postfix.  U is only its first word. */
struct replay {
	struct buf ours[2], theirs[2]; /* per filter */
	/* Classes of the SMTP replies to the greeting and each command, "2.2.2.3.2";
	 * '-' for a command that could not be given. */
	struct buf our_codes, their_codes;
	struct buf macros; /* a line for each value that differs */
	int n_macros; /* values compared */
	/* Messages that went on: envelope, header section, body; without what the MTAs
	 * add or remove themselves (Date, Message-Id, From; Bcc, Return-Path) and with
	 * the MTA's own Received in short.  Held messages are not among them. */
	struct buf our_mail, their_mail;
};

void replay_run(struct replay *r, const struct tape *t);
void replay_clear(struct replay *r);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* Judging recipients inside a milter's callbacks: facts are collected, the store is asked
 * and waited for within the message's budget, the verdict is logged and counted, and what
 * X-Greylist will say is kept.  What a fact means is the engine's (greylist.c) and what an
 * answer means policy/greylist.c's. */
#ifndef POSTERN_MILTERS_GREYLIST_JUDGE_H
#define POSTERN_MILTERS_GREYLIST_JUDGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/run/milter.h"
#include "milters/greylist/greylist.h"
#include "policy/settings.h"

/* Octets of a path that are kept; what is longer is no address. */
#define JUDGE_PATH_MAX (2 * ADDRESS_MAX)

/* A message under way.  Zeroed, it is none. */
struct judge_message {
	const struct settings *settings; /* borrowed until the message ends */
	struct store *store; /* NULL: not open */
	char sender[JUDGE_PATH_MAX];
	size_t sender_len;
	bool authenticated, null_sender;
	int64_t budget_ms; /* store time left */
	struct greylist_outcome outcome;
	bool header; /* an accepted recipient wants X-Greylist */
};

/* At MAIL.  sender: as typed, with <>. */
void judge_begin(struct judge_message *m, struct milter_session *s,
    const struct settings *settings, struct store *store, struct str sender);
void judge_clear(struct judge_message *m);

/* One recipient, as typed, by its own settings. */
struct verdict judge_recipient(
    struct judge_message *m, struct milter_session *s, struct str rcpt);

/* One answer for n (at least 1) recipients of a message: settings are merged, and it is
 * deferred when one triple is; the longest wait is told. */
struct verdict judge_together(
    struct judge_message *m, struct milter_session *s, char *const *rcpts, size_t n);

/* At end of message: X-Greylist among the edits, when there is something to say.  A field
 * that cannot be written is logged: it is no reason to refuse mail. */
void judge_mark(struct judge_message *m, struct milter_session *s);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* Judging recipients inside a milter's callbacks: facts are fetched, the store is asked
 * and waited for within the message's budget, the verdict is logged and counted, and what
 * X-Greylist will say is kept.  What a fact means and what an answer means is the engine's
 * (policy/greylist.h).  Two daemons judge: postern-greylist each recipient at RCPT,
 * postern-score suspicious mail at its end. */
#ifndef POSTERN_POLICY_GREYLIST_JUDGE_H
#define POSTERN_POLICY_GREYLIST_JUDGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/run/milter.h"
#include "policy/greylist_outcome.h"
#include "policy/greylist_env.h"
#include "policy/greylist_lookups.h"
#include "policy/settings.h"

/* Octets of a path that are kept; what is longer is no address. */
#define JUDGE_PATH_MAX (2 * ADDRESS_MAX)

/* A message under way.  Zeroed, it is none. */
struct judge_message {
	enum greylist_moment moment;
	const struct settings *settings; /* borrowed until the message ends */
	const struct judge_env *env;
	struct store *store; /* NULL: not open */
	char sender[JUDGE_PATH_MAX];
	size_t sender_len;
	bool authenticated, null_sender;
	bool inside; /* a recipient was exempt because the mail is ours */
	int64_t budget_ms; /* store time left */
	int64_t began_ms; /* monotonic: MAIL */
	struct lookups lookups;
	struct greylist_outcome outcome;
	bool header; /* an accepted recipient wants X-Greylist */
	unsigned own_headers; /* fields of that name which came with it */
};

/* At MAIL.  sender: as typed, with <>. */
void judge_begin(struct judge_message *m, struct milter_session *s,
    enum greylist_moment moment, const struct settings *settings,
    const struct judge_env *env, struct str sender);
void judge_clear(struct judge_message *m);

/* Begin the lookups that these settings need, while SMTP goes on.  The wait for the DNS
 * counts from here, or from the first recipient that is judged. */
void judge_ahead(struct judge_message *m, struct milter_session *s,
    const struct settings_greylist *set);
/* The same by the settings for this client and sender, whoever the recipients are. */
void judge_ahead_of_rcpt(struct judge_message *m, struct milter_session *s);

/* One recipient, as typed, by its own settings. */
struct verdict judge_recipient(
    struct judge_message *m, struct milter_session *s, struct str rcpt);

/* One answer for n (at least 1) recipients of a message: settings are merged, and it is
 * deferred when one triple is; the longest wait is told. */
struct verdict judge_together(
    struct judge_message *m, struct milter_session *s, char *const *rcpts, size_t n);

/* A message of ours (m->inside) to this recipient was taken: note whom our user wrote to,
 * without waiting. */
void judge_sent(struct judge_message *m, struct milter_session *s, struct str rcpt);

/* A field of the message's header, by its name. */
void judge_header(struct judge_message *m, struct str name);
/* At end of message: X-Greylist among the edits, when there is something to say.  A field
 * that cannot be written is logged: it is no reason to refuse mail. */
void judge_mark(struct judge_message *m, struct milter_session *s);

#endif

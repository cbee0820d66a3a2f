/* SPDX-License-Identifier: BSD-2-Clause */
/* Who is there to get mail: which block speaks for a recipient, what a map of
 * recipients says, how long a server's answer holds, and what a sender hears.  Pure. */
#ifndef POSTERN_ACCESS_RCPT_H
#define POSTERN_ACCESS_RCPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/str.h"
#include "common/base/verdict.h"
#include "db/call_ahead_dialog.h"
#include "db/store.h"
#include "policy/settings_limits.h"

/* The first block that names the recipient's domain, any case; NULL: none does. */
const struct access_recipients *access_rcpt_block(
    const struct access_recipient_sets *sets, struct str domain);

/* Keys in the order in which a map is asked: u+d@dom, u@dom, @dom; in lower case.
 * i from 0; false: no more. */
#define RCPT_KEY_MAX 600
bool access_rcpt_key(
    struct str local, struct str domain, unsigned i, char out[RCPT_KEY_MAX]);
/* What stands behind a key: REJECT is nobody, everything else somebody. */
bool access_rcpt_value_known(struct str value);

/* An answer as it is remembered. */
struct rcpt_memory {
	struct call_ahead_answer answer; /* YES or NO */
	int64_t when; /* wall seconds */
};
/* As the text of a note. */
void access_rcpt_note_write(const struct rcpt_memory *m, struct buf *out);
bool access_rcpt_note_read(struct str text, struct rcpt_memory *out);

enum rcpt_age {
	RCPT_UNKNOWN, /* nothing is remembered, or it is of no use any more */
	RCPT_OLD, /* counts only when no server answers */
	RCPT_FRESH, /* no server need be asked */
};
enum rcpt_age access_rcpt_age(
    const struct access_recipients *set, const struct rcpt_memory *m, int64_t now);
/* How long to remember an answer, in seconds. */
int64_t access_rcpt_keep(
    const struct access_recipients *set, const struct call_ahead_answer *a);

/* Static texts of verdict.why. */
extern const char access_rcpt_why_unknown[], access_rcpt_why_trouble[];

struct verdict access_rcpt_nobody(const struct access_recipients *set, struct str rcpt);
/* now: what a server says; old: what is remembered, NULL nothing that counts. */
struct verdict access_rcpt_verdict(const struct access_recipients *set, struct str rcpt,
    const struct call_ahead_answer *now, const struct rcpt_memory *old);

#endif

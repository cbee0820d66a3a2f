/* SPDX-License-Identifier: BSD-2-Clause */
/* What an engine decided about a connection, a sender, a recipient or a message.  No
 * engine says "accept": libmilter would take the whole message away from the filter. */
#ifndef POSTERN_BASE_VERDICT_H
#define POSTERN_BASE_VERDICT_H

#include <stdbool.h>
#include <stdint.h>

enum action {
	ACTION_CONTINUE,
	ACTION_REJECT,
	ACTION_TEMPFAIL,
	ACTION_DISCARD,
	ACTION_QUARANTINE,
};

#define VERDICT_TEXT_MAX 512 /* with NUL */

struct verdict {
	enum action action;
	int code; /* RFC 5321: 4yz or 5yz, fitting the action; 0: no reply text */
	char enhanced[12]; /* RFC 3463, "5.7.1"; "" when the text carries its own or none */
	char text[VERDICT_TEXT_MAX]; /* tells a person why and what to do; no CR, LF */
	const char *why; /* static: the reason's short name for log and header */
	int64_t wait; /* seconds until a retry can succeed; 0: not known */
};

/* "continue", "reject", ... */
const char *action_name(enum action action);

/* Shorthands.  why is static text. */
struct verdict verdict_continue(const char *why);
struct verdict verdict_refuse(int code, const char *enhanced, const char *why,
    const char *fmt, ...) __attribute__((format(printf, 4, 5)));

#endif

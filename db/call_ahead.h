/* SPDX-License-Identifier: BSD-2-Clause */
/* Which recipients has a server?  Asked by SMTP as for a delivery
 * (db/call_ahead_dialog), on a thread of its own, over a few connections that are used
 * again.  Answers are futures; nothing is remembered here but which server does not
 * answer. */
#ifndef POSTERN_DB_CALL_AHEAD_H
#define POSTERN_DB_CALL_AHEAD_H

#include <stddef.h>

#include "common/base/err.h"
#include "common/base/future.h"
#include "db/call_ahead_dialog.h"

#define CALL_AHEAD_QUEUE_MAX 2000 /* questions at once; further ones are DOWN */

struct call_ahead_conf {
	const char *const
	    *servers; /* "10.0.0.5", "10.0.0.5:25", "[::1]:25", in order */
	size_t n_servers;
	const char *host; /* our name for EHLO */
	int64_t connections; /* to each server */
	int64_t command_ms; /* for connecting and for each reply */
};

struct call_ahead;
/* NULL: err.  Everything is copied. */
struct call_ahead *call_ahead_new(const struct call_ahead_conf *conf, struct err *err);
/* Open questions are answered DOWN.  Accepts NULL. */
void call_ahead_free(struct call_ahead *c);

/* rcpt: address without <>.  The first server that can be reached answers; the next is
 * asked when it cannot.  Value: struct call_ahead_answer, DOWN at deadline_ms
 * (clock_mono_ms) at the latest.  Whoever asks for the same recipient meanwhile gets
 * the same future (and its deadline). */
struct future *call_ahead_ask(
    struct call_ahead *c, struct str rcpt, int64_t deadline_ms);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* The patterns of a rule set over one message: how often each rule hits.
 *
 * Compiled once, with just-in-time code, before the jail locks itself down; then run on
 * hostile text under a limit per match and a budget per message.  Reads no clock and
 * does no I/O: the caller says when time is up. */
#ifndef POSTERN_SCORE_MATCH_H
#define POSTERN_SCORE_MATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/mail/render.h"
#include "milters/score/hits.h"
#include "milters/score/rules.h"

#define MATCH_LIMIT 100000u /* PCRE2's count of steps in one match */
#define MATCH_HEAP_KB 20000u
#define MATCH_JIT_STACK (1u << 20) /* octets */

struct match;

/* Compile what is enabled in the score set.  Patterns that PCRE2 refuses go to notes, as
 * file:line, and stay unknown.  r is borrowed as long as the result lives. */
struct match *match_new(const struct rules *r, size_t set, struct errs *notes);
void match_free(struct match *m);
size_t match_compiled(const struct match *m); /* patterns */
/* How many are tried only where one of their words stands; and whether that is done (it
 * is): results are the same, for tests. */
size_t match_filtered(const struct match *m);
void match_set_filtering(struct match *m, bool on);

struct match_input {
	struct str message;
	struct str sender; /* of the envelope; p NULL: not known */
	const struct render *text;
	/* true: stop, time is up; what did not run is unknown.  NULL: never. */
	bool (*over)(void *arg);
	void *arg;
};

void match_run(struct match *m, const struct match_input *in, struct hits *out);

#endif

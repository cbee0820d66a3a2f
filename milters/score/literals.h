/* SPDX-License-Identifier: BSD-2-Clause */
/* What a text must hold for a pattern to match at all: words, one of which stands in every
 * match.  Most rules can be passed over by looking for their words first.  What this
 * does not understand it gives up on: the pattern is then always run. */
#ifndef POSTERN_SCORE_LITERALS_H
#define POSTERN_SCORE_LITERALS_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/str.h"

#define LITERALS_MAX 48 /* of one pattern */
#define LITERAL_LEN_MAX 24
#define LITERAL_LEN_MIN 3

/* Words in lower case: texts are compared without case, whatever the pattern says. */
struct literals {
	struct {
		unsigned char len;
		char p[LITERAL_LEN_MAX];
	} list[LITERALS_MAX];
	size_t n;
};

/* false: no such words are known.  extended: flag x, where blanks mean nothing. */
bool literals_of(struct str pattern, bool extended, struct literals *out);

#endif

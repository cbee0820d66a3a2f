/* SPDX-License-Identifier: BSD-2-Clause */
/* What happens to a message inside the jail: read it, render its text, run the rules.
 * Used by the jailed program, and by `posternctl test score` on files that are trusted. */
#ifndef POSTERN_SCORE_WORK_H
#define POSTERN_SCORE_WORK_H

#include "common/base/err.h"
#include "common/base/str.h"
#include "milters/score/match.h"

#define WORK_BUDGET_MS 250 /* processor time that rules have for one message */

struct work {
	struct rules *rules;
	struct match *match;
};

/* Rules from files, compiled; charsets opened.  -1: all faults are in errs.  Patterns that
 * do not compile are no fault: notes. */
int work_load(struct work *w, const char *const *paths, size_t n, struct errs *errs,
    struct errs *notes);
void work_clear(struct work *w);

/* One message, under the budget.  sender: see match.h. */
void work_message(struct work *w, struct str message, struct str sender, struct hits *out);

#endif

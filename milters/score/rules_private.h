/* SPDX-License-Identifier: BSD-2-Clause */
/* Between rules.c (the set), rules_read.c (files and statements) and rules_pattern.c. */
#ifndef POSTERN_SCORE_RULES_PRIVATE_H
#define POSTERN_SCORE_RULES_PRIVATE_H

#include "milters/score/rules.h"

struct rules *rules_new(void);
/* The rule of that name, made when it is new; NULL: RULES_MAX.  Pointers to rules die
 * with the next one that is made. */
struct rule *rules_get(struct rules *r, struct str name);
void rules_note(struct rules *r, struct str what, const char *file, int line);
/* Forget the definition, keep score, description and flags. */
void rule_undefine(struct rule *rule);
/* Link metas to their rules and put them in order; cycles go to errs. */
void rules_finish(struct rules *r, struct errs *errs);

const char *rules_tag(const struct rules *r, enum rules_tags kind, struct str name);

/* Read all of text into r. */
void rules_read_text(
    struct rules *r, struct str text, const char *file, struct errs *errs);
/* What one file loads as a plugin holds for those behind it. */
void rules_read_paths(
    struct rules *r, const char *const *paths, size_t n, struct errs *errs);

/* "/re/i", "m{re}xs" at the whole of text: pattern (heap) and flags of the rule.  -1. */
int rules_pattern_parse(struct str text, struct rule *rule, struct err *err);

#endif

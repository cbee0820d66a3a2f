/* SPDX-License-Identifier: BSD-2-Clause */
/* Looks for the words of many patterns in a text at once: by their first three octets,
 * in lower case.  Tells which patterns can match at all. */
#ifndef POSTERN_SCORE_PREFILTER_H
#define POSTERN_SCORE_PREFILTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/str.h"
#include "milters/score/literals.h"

struct prefilter;

struct prefilter *prefilter_new(void);
void prefilter_free(struct prefilter *p); /* accepts NULL */
/* A pattern, by a number of the caller's, that matches only where one of the words is. */
void prefilter_add(struct prefilter *p, size_t pattern, const struct literals *words);
/* Set wanted[pattern] for every pattern of which a word stands in text. */
void prefilter_run(struct prefilter *p, struct str text, bool *wanted);

#endif

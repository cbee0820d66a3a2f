/* SPDX-License-Identifier: BSD-2-Clause */
/* Conditions of rule files: ifplugin, if, else, endif.  Answered as SpamAssassin 4.0.1
 * with its default plugins and with those that the files load themselves would. */
#ifndef POSTERN_SCORE_RULES_COND_H
#define POSTERN_SCORE_RULES_COND_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/err.h"
#include "common/base/str.h"

#define RULES_COND_MAX 50
#define RULES_COND_PLUGINS_MAX 200

struct rules_cond {
	struct {
		bool holds; /* this branch is read */
		bool outer; /* what stands around it is read */
		bool else_seen;
		int line;
	} stack[RULES_COND_MAX];
	unsigned n;
	char **plugins; /* by loadplugin */
	size_t n_plugins;
};

void rules_cond_init(struct rules_cond *c);
void rules_cond_clear(struct rules_cond *c);

/* 1: the word is a condition's, and was read; 0: it is another statement; -1: err. */
int rules_cond_statement(
    struct rules_cond *c, struct str word, struct str rest, int line, struct err *err);
bool rules_cond_skip(const struct rules_cond *c);

/* How many conditions are open, the line of the innermost; close all beyond depth. */
unsigned rules_cond_depth(const struct rules_cond *c);
int rules_cond_open(const struct rules_cond *c);
void rules_cond_cut(struct rules_cond *c, unsigned depth);

void rules_cond_plugin(struct rules_cond *c, struct str name);

#endif

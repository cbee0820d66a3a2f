/* SPDX-License-Identifier: BSD-2-Clause */
/* Expressions over other rules: `meta NAME (A && !B) || C + D > 2`, with Perl's values: A && B is
 * B's value, A || B the first true one, numbers may be fractions.
 *
 * Rules that this program cannot run have a value that nobody knows.  They are not guessed
 * to be 0: every value is a range, an expression counts as true only when it is true
 * for all values in it, and stays undecided otherwise. */
#ifndef POSTERN_SCORE_META_H
#define POSTERN_SCORE_META_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/base/str.h"

#define META_STEPS_MAX 2000 /* numbers, names and operators of one expression */
#define META_DEPTH_MAX 100 /* brackets, and values waiting */
#define META_NAME_MAX 120

/* From lo to hi; lo == hi: known. */
struct meta_value {
	double lo, hi;
};

#define META_NUMBER(x) ((struct meta_value){ (x), (x) })
#define META_UNKNOWN(max) ((struct meta_value){ 0, (max) })

enum meta_op {
	META_OP_NUMBER,
	META_OP_NAME,
	META_OP_NOT,
	META_OP_NEGATE,
	META_OP_MUL,
	META_OP_DIV,
	META_OP_ADD,
	META_OP_SUB,
	META_OP_LT,
	META_OP_LE,
	META_OP_GT,
	META_OP_GE,
	META_OP_EQ,
	META_OP_NE,
	META_OP_AND,
	META_OP_OR,
	META_OPS
};

struct meta_step {
	enum meta_op op;
	double number;
	size_t name; /* index into names */
};

struct meta {
	struct meta_step *steps; /* reverse Polish */
	size_t n;
	char **names; /* each once */
	size_t n_names;
};

/* NULL (err): not an expression, or over a limit. */
struct meta *meta_parse(struct str text, struct err *err);
void meta_free(struct meta *m); /* accepts NULL */

/* value(arg, i): of the ith name.  A division by zero makes the whole 0, as Perl gives up. */
struct meta_value meta_eval(
    const struct meta *m, struct meta_value (*value)(void *arg, size_t name), void *arg);

/* Whatever the value is: certainly true, certainly false; neither: undecided. */
static inline bool
meta_true(struct meta_value v)
{
	return v.lo > 0 || v.hi < 0;
}
static inline bool
meta_false(struct meta_value v)
{
	return !(v.lo < 0) && !(v.lo > 0) && !(v.hi < 0) && !(v.hi > 0);
}

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* Reads an expression by precedence with an explicit stack, and computes it over ranges.
 * Which rule a name means, and in which order expressions run, is rules.c's. */
#include "milters/score/meta.h"

#include <math.h>
#include <stdlib.h>

#include "common/base/xalloc.h"

#define OP_OPEN META_OPS /* on the stack of waiting operators only */
#define NUMBER_DIGITS_MAX 18

static const struct {
	const char *text; /* longer spellings first */
	enum meta_op op;
} binary[] = { { "&&", META_OP_AND }, { "||", META_OP_OR }, { "<=", META_OP_LE },
	{ ">=", META_OP_GE }, { "==", META_OP_EQ }, { "!=", META_OP_NE }, { "<", META_OP_LT },
	{ ">", META_OP_GT }, { "*", META_OP_MUL }, { "/", META_OP_DIV }, { "+", META_OP_ADD },
	{ "-", META_OP_SUB } };

struct reader {
	struct str rest;
	struct meta *m;
	unsigned ops[META_DEPTH_MAX]; /* enum meta_op or OP_OPEN */
	size_t n_ops;
	size_t values; /* that wait when the steps so far have run */
	bool operand; /* an operand comes next */
	struct err *err;
};

/* As in Perl; larger binds tighter. */
static int
precedence(unsigned op)
{
	switch (op) {
	case META_OP_OR:
		return 1;
	case META_OP_AND:
		return 2;
	case META_OP_EQ:
	case META_OP_NE:
		return 3;
	case META_OP_LT:
	case META_OP_LE:
	case META_OP_GT:
	case META_OP_GE:
		return 4;
	case META_OP_ADD:
	case META_OP_SUB:
		return 5;
	case META_OP_MUL:
	case META_OP_DIV:
		return 6;
	case META_OP_NOT:
	case META_OP_NEGATE:
		return 7;
	default:
		return 0; /* OP_OPEN */
	}
}

static int
emit(struct reader *r, struct meta_step step)
{
	struct meta *m = r->m;

	if (m->n == META_STEPS_MAX)
		return err_set(r->err, "expression over %d steps", META_STEPS_MAX);
	if (step.op == META_OP_NUMBER || step.op == META_OP_NAME) {
		if (++r->values > META_DEPTH_MAX)
			return err_set(r->err, "expression deeper than %d", META_DEPTH_MAX);
	} else if (precedence(step.op) < 7) {
		r->values--;
	}
	if (m->n % 16 == 0)
		m->steps = xreallocarray(m->steps, m->n + 16, sizeof(*m->steps));
	m->steps[m->n++] = step;
	return 0;
}

static int
push(struct reader *r, unsigned op)
{
	if (r->n_ops == META_DEPTH_MAX)
		return err_set(r->err, "expression deeper than %d", META_DEPTH_MAX);
	r->ops[r->n_ops++] = op;
	return 0;
}

/* Operators that bind at least as tightly as the next one come first. */
static int
pop_down_to(struct reader *r, int least)
{
	while (r->n_ops > 0 && r->ops[r->n_ops - 1] != OP_OPEN &&
	    precedence(r->ops[r->n_ops - 1]) >= least)
		if (emit(r, (struct meta_step){ .op = (enum meta_op)r->ops[--r->n_ops] }) != 0)
			return -1;
	return 0;
}

static bool
name_octet(char c)
{
	return ascii_alnum(c) || c == '_';
}

static int
read_number(struct reader *r)
{
	double value = 0, unit = 1;
	bool fraction = false;
	size_t i = 0;

	for (; i < r->rest.len && (ascii_digit(r->rest.p[i]) || (r->rest.p[i] == '.' && !fraction));
	     i++) {
		if (r->rest.p[i] == '.') {
			fraction = true;
			continue;
		}
		if (i > NUMBER_DIGITS_MAX)
			return err_set(r->err, "number too long");
		value = value * 10 + (r->rest.p[i] - '0');
		unit *= fraction ? 10 : 1;
	}
	if (i < r->rest.len && name_octet(r->rest.p[i]))
		return err_set(r->err, "a name cannot begin with a digit");
	r->rest = str_sub(r->rest, i, r->rest.len);
	return emit(r, (struct meta_step){ .op = META_OP_NUMBER, .number = value / unit });
}

static int
read_name(struct reader *r)
{
	struct meta *m = r->m;
	size_t len = 0, i = 0;

	while (len < r->rest.len && name_octet(r->rest.p[len]))
		len++;
	struct str name = str_sub(r->rest, 0, len);
	r->rest = str_sub(r->rest, len, r->rest.len);
	if (len > META_NAME_MAX)
		return err_set(r->err, "name over %d octets", META_NAME_MAX);
	if (r->rest.len > 0 && r->rest.p[0] == '(')
		return err_set(r->err, "\"%.*s(\": functions are not known", STR_ARG(name));
	while (i < m->n_names && !str_is(name, m->names[i]))
		i++;
	if (i == m->n_names) {
		m->names = xreallocarray(m->names, i + 1, sizeof(*m->names));
		m->names[m->n_names++] = str_dup(name);
	}
	return emit(r, (struct meta_step){ .op = META_OP_NAME, .name = i });
}

static int
read_operand(struct reader *r)
{
	char c = r->rest.p[0];

	if (c == '!' || c == '-' || c == '(' || c == '+') {
		r->rest = str_sub(r->rest, 1, r->rest.len);
		return c == '+' ? 0
				: push(r, c == '!' ? META_OP_NOT
					   : c == '-' ? META_OP_NEGATE
						      : OP_OPEN);
	}
	r->operand = false;
	if (ascii_digit(c) || c == '.')
		return read_number(r);
	if (name_octet(c))
		return read_name(r);
	return err_set(r->err, "\"%.*s\": expected a rule, a number or '('",
	    (int)(r->rest.len < 20 ? r->rest.len : 20), r->rest.p);
}

static int
close_bracket(struct reader *r)
{
	if (pop_down_to(r, 1) != 0)
		return -1;
	if (r->n_ops == 0)
		return err_set(r->err, "')' without '('");
	r->n_ops--;
	r->rest = str_sub(r->rest, 1, r->rest.len);
	return 0;
}

static int
read_operator(struct reader *r)
{
	if (r->rest.p[0] == ')')
		return close_bracket(r);
	for (size_t i = 0; i < sizeof(binary) / sizeof(binary[0]); i++) {
		struct str text = str_of(binary[i].text);

		if (!str_starts(r->rest, text))
			continue;
		r->rest = str_sub(r->rest, text.len, r->rest.len);
		r->operand = true;
		return pop_down_to(r, precedence(binary[i].op)) != 0 ? -1 : push(r, binary[i].op);
	}
	return err_set(r->err, "\"%.*s\": expected an operator",
	    (int)(r->rest.len < 20 ? r->rest.len : 20), r->rest.p);
}

static int
read_all(struct reader *r)
{
	for (;;) {
		while (r->rest.len > 0 && (ascii_blank(r->rest.p[0]) || r->rest.p[0] == '\r'))
			r->rest = str_sub(r->rest, 1, r->rest.len);
		if (r->rest.len == 0)
			break;
		if ((r->operand ? read_operand(r) : read_operator(r)) != 0)
			return -1;
	}
	if (r->operand)
		return err_set(r->err, r->m->n == 0 && r->n_ops == 0
			? "the expression is empty: expected rules"
			: "the expression ends too early");
	if (pop_down_to(r, 1) != 0)
		return -1;
	return r->n_ops == 0 ? 0 : err_set(r->err, "'(' without ')'");
}

struct meta *
meta_parse(struct str text, struct err *err)
{
	struct reader r = { .rest = text, .operand = true, .err = err };

	r.m = xcalloc(1, sizeof(*r.m));
	if (read_all(&r) == 0)
		return r.m;
	meta_free(r.m);
	return NULL;
}

void
meta_free(struct meta *m)
{
	if (m == NULL)
		return;
	for (size_t i = 0; i < m->n_names; i++)
		free(m->names[i]);
	free(m->names);
	free(m->steps);
	free(m);
}

/* ---- ranges ---- */

static struct meta_value
truth(bool yes, bool no)
{
	return (struct meta_value){ yes ? 1 : 0, no ? 0 : 1 };
}

static struct meta_value
hull(struct meta_value a, struct meta_value b)
{
	return (struct meta_value){ fmin(a.lo, b.lo), fmax(a.hi, b.hi) };
}

/* 0 times anything is 0, also where the other end is open. */
static double
times(double a, double b)
{
	return (a < 0 || a > 0) && (b < 0 || b > 0) ? a * b : 0;
}

static struct meta_value
multiply(struct meta_value a, struct meta_value b)
{
	double p = times(a.lo, b.lo), q = times(a.lo, b.hi), r = times(a.hi, b.lo),
	       s = times(a.hi, b.hi);

	return (struct meta_value){ fmin(fmin(p, q), fmin(r, s)), fmax(fmax(p, q), fmax(r, s)) };
}

/* *dead: the divisor is 0. */
static struct meta_value
divide(struct meta_value a, struct meta_value b, bool *dead)
{
	*dead = *dead || meta_false(b);
	if (meta_false(b))
		return META_NUMBER(0);
	if (b.lo <= 0 && b.hi >= 0)
		return (struct meta_value){ -HUGE_VAL, HUGE_VAL };
	return multiply(a, (struct meta_value){ 1 / b.hi, 1 / b.lo });
}

static struct meta_value
both(struct meta_value a, struct meta_value b)
{
	if (meta_false(a) || meta_false(b))
		return META_NUMBER(0);
	return meta_true(a) ? b : hull(META_NUMBER(0), b);
}

static struct meta_value
either(struct meta_value a, struct meta_value b)
{
	if (meta_true(a))
		return a;
	/* true in any case, whichever of the two it is */
	return meta_false(a) || meta_true(b) ? b : hull(a, b);
}

static struct meta_value
compute(enum meta_op op, struct meta_value a, struct meta_value b, bool *dead)
{
	bool equal = !(a.lo < b.lo) && !(a.lo > b.lo) && !(a.hi < b.hi) && !(a.hi > b.hi) &&
	    !(a.lo < a.hi);
	bool apart = a.hi < b.lo || b.hi < a.lo;

	switch (op) {
	case META_OP_NUMBER:
	case META_OP_NAME:
	case META_OPS:
		break;
	case META_OP_NOT:
		return truth(meta_false(a), meta_true(a));
	case META_OP_NEGATE:
		return (struct meta_value){ -a.hi, -a.lo };
	case META_OP_MUL:
		return multiply(a, b);
	case META_OP_DIV:
		return divide(a, b, dead);
	case META_OP_ADD:
		return (struct meta_value){ a.lo + b.lo, a.hi + b.hi };
	case META_OP_SUB:
		return (struct meta_value){ a.lo - b.hi, a.hi - b.lo };
	case META_OP_LT:
		return truth(a.hi < b.lo, a.lo >= b.hi);
	case META_OP_LE:
		return truth(a.hi <= b.lo, a.lo > b.hi);
	case META_OP_GT:
		return truth(a.lo > b.hi, a.hi <= b.lo);
	case META_OP_GE:
		return truth(a.lo >= b.hi, a.hi < b.lo);
	case META_OP_EQ:
		return truth(equal, apart);
	case META_OP_NE:
		return truth(apart, equal);
	case META_OP_AND:
		return both(a, b);
	case META_OP_OR:
		return either(a, b);
	}
	return META_NUMBER(0);
}

struct meta_value
meta_eval(
    const struct meta *m, struct meta_value (*value)(void *arg, size_t name), void *arg)
{
	struct meta_value stack[META_DEPTH_MAX];
	bool dead = false;
	size_t n = 0;

	for (size_t i = 0; i < m->n; i++) {
		const struct meta_step *step = &m->steps[i];

		if (step->op == META_OP_NUMBER) {
			stack[n++] = META_NUMBER(step->number);
		} else if (step->op == META_OP_NAME) {
			stack[n++] = value(arg, step->name);
		} else if (precedence(step->op) == 7) {
			stack[n - 1] = compute(step->op, stack[n - 1], stack[n - 1], &dead);
		} else {
			n--;
			stack[n - 1] = compute(step->op, stack[n - 1], stack[n], &dead);
		}
	}
	/* inf - inf */
	if (dead || isnan(stack[0].lo) || isnan(stack[0].hi))
		return META_NUMBER(0);
	return stack[0];
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* Runs the checks of a table: asks each as soon as facts are known, judges what is due,
 * keeps findings as long as they hold, counts.  What findings come to is decided in
 * access_combine.c, what a check looks at in its own file. */
#include "milters/access/check.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/metrics.h"
#include "common/base/xalloc.h"
#include "policy/settings_access.h"

enum count { COUNT_CLEAN, COUNT_FOUND, COUNT_DECIDED, COUNT_OBSERVED, COUNT_SPARED };
#define COUNTS 5

static const char *const count_names[COUNTS] = { "clean", "found", "decided",
	"observed", "spared" };

struct checks {
	const struct check_ops *const *table;
	size_t n;
	void *self[CHECKS_MAX];
	struct metric metrics[CHECKS_MAX][COUNTS]; /* never freed: they are linked */
};

struct check_conn {
	struct checks *checks;
	void *conn[CHECKS_MAX];
	bool judged[CHECKS_MAX][CHECK_PHASES];
	struct findings found[CHECK_PHASES];
	bool postmaster; /* a recipient of the message is one */
};

bool
check_wait(const struct check_facts *facts, struct future *f, int64_t deadline_ms)
{
	return facts->wait(facts->wait_arg, f, deadline_ms);
}

/* ---- the worker ---- */

static void
name_metrics(struct checks *c)
{
	for (size_t i = 0; i < c->n; i++)
		for (int k = 0; k < COUNTS; k++) {
			c->metrics[i][k] = (struct metric){
				.name = "postern_access_checks_total",
				.labels = xasprintf("check=\"%s\",outcome=\"%s\"",
				    c->table[i]->name, count_names[k]),
				.help = "Checks of connections and envelopes by outcome"
			};
			metric_add(&c->metrics[i][k], 0);
		}
}

static void
stop_first(struct checks *c, size_t n)
{
	while (n-- > 0)
		if (c->table[n]->stop != NULL)
			c->table[n]->stop(c->self[n]);
}

struct checks *
checks_start(const struct check_ops *const *table, size_t n,
    const struct check_shared *shared, struct err *err)
{
	assert(n <= CHECKS_MAX);
	struct checks *c = xcalloc(1, sizeof(*c));

	c->table = table;
	c->n = n;
	for (size_t i = 0; i < n; i++) {
		if (table[i]->start == NULL)
			c->self[i] = shared->resolver;
		if (table[i]->start == NULL ||
		    table[i]->start(shared, &c->self[i], err) == 0)
			continue;
		stop_first(c, i);
		free(c);
		return NULL;
	}
	name_metrics(c);
	return c;
}

void
checks_reload(struct checks *c, const struct check_shared *shared, struct errs *errs)
{
	for (size_t i = 0; i < c->n; i++)
		if (c->table[i]->reload != NULL)
			c->table[i]->reload(c->self[i], shared, errs);
}

/* The struct itself stays: its metrics are read until the process ends. */
void
checks_stop(struct checks *c)
{
	if (c != NULL)
		stop_first(c, c->n);
}

/* ---- a connection ---- */

struct check_conn *
check_conn_new(struct checks *checks)
{
	struct check_conn *c = xcalloc(1, sizeof(*c));

	c->checks = checks;
	for (size_t i = 0; i < checks->n; i++) {
		const struct check_ops *ops = checks->table[i];

		if (ops->conn_size > 0)
			c->conn[i] = xcalloc(1, ops->conn_size);
		if (ops->conn_init != NULL)
			ops->conn_init(checks->self[i], c->conn[i]);
	}
	return c;
}

void
check_conn_free(struct check_conn *c)
{
	if (c == NULL)
		return;
	for (size_t i = 0; i < c->checks->n; i++) {
		const struct check_ops *ops = c->checks->table[i];

		if (ops->conn_clear != NULL)
			ops->conn_clear(c->checks->self[i], c->conn[i]);
		free(c->conn[i]);
	}
	for (int p = 0; p < CHECK_PHASES; p++)
		findings_clear(&c->found[p]);
	free(c);
}

static void
forget(struct check_conn *c, enum check_phase phase)
{
	c->found[phase].n = 0;
	c->found[phase].dropped = false;
	for (size_t i = 0; i < c->checks->n; i++)
		c->judged[i][phase] = false;
}

void
check_msg_clear(struct check_conn *c)
{
	for (size_t i = 0; i < c->checks->n; i++)
		if (c->checks->table[i]->msg_clear != NULL)
			c->checks->table[i]->msg_clear(c->checks->self[i], c->conn[i]);
	for (int p = CHECK_MAIL; p < CHECK_PHASES; p++)
		forget(c, (enum check_phase)p);
	c->postmaster = false;
}

/* At the end one answer serves all recipients. */
static unsigned
spared(const struct check_conn *c, enum check_phase phase, const struct check_facts *facts)
{
	return facts->spared |
	    (phase > CHECK_RCPT && c->postmaster ? CHECK_SPARE_POSTMASTER : 0u);
}

void
check_ask(struct check_conn *c, enum check_phase phase, const struct check_facts *facts)
{
	unsigned spare = spared(c, phase, facts);

	if (phase == CHECK_HELO || phase == CHECK_RCPT)
		forget(c, phase);
	if (phase == CHECK_RCPT && (facts->spared & CHECK_SPARE_POSTMASTER) != 0)
		c->postmaster = true;
	for (size_t i = 0; i < c->checks->n; i++) {
		const struct check_ops *ops = c->checks->table[i];

		if (ops->ask != NULL && (ops->spares & spare) == 0)
			ops->ask(c->checks->self[i], c->conn[i], phase, facts);
	}
}

static bool
is_observed(const struct settings_access *set, const char *check)
{
	for (size_t i = 0; i < set->observe.n; i++)
		if (strcmp(set->observe.list[i], check) == 0)
			return true;
	return false;
}

static void
judge_one(struct check_conn *c, size_t i, enum check_phase phase,
    const struct check_facts *facts)
{
	const struct check_ops *ops = c->checks->table[i];
	struct findings *out = &c->found[phase];
	size_t before = out->n;

	if (before == FINDINGS_MAX)
		before--; /* what is added takes the place of the last */
	c->judged[i][phase] = true;
	ops->judge(c->checks->self[i], c->conn[i], phase, facts, out);
	for (size_t k = before; k < out->n; k++) {
		out->list[k].check = ops->name;
		out->list[k].spares |= ops->spares;
		if (is_observed(&facts->view->access, ops->name))
			out->list[k].observe = true;
	}
	metric_add(&c->checks->metrics[i][out->n > before ? COUNT_FOUND : COUNT_CLEAN], 1);
}

/* With delay_checks a recipient's entry may spare the client: nothing is due before. */
static bool
is_due(enum check_phase phase, const struct settings_access *set)
{
	if (set->delay_checks != ACCESS_DELAY_OFF)
		return phase >= CHECK_RCPT;
	switch ((enum access_refuse)set->refuse) {
	case ACCESS_REFUSE_CONNECT:
		return true;
	case ACCESS_REFUSE_MAIL:
		return phase >= CHECK_MAIL;
	case ACCESS_REFUSE_RCPT:
		break;
	}
	return phase >= CHECK_RCPT;
}

static void
count_decision(struct check_conn *c, const struct finding *by, enum count how)
{
	for (size_t i = 0; by != NULL && i < c->checks->n; i++)
		if (c->checks->table[i]->name == by->check)
			metric_add(&c->checks->metrics[i][how], 1);
}

bool
check_judge(struct check_conn *c, enum check_phase phase, const struct check_facts *facts,
    struct combined *out)
{
	const struct settings_access *set = &facts->view->access;
	const struct combine_rules rules = { set->reject_points, spared(c, phase, facts) };

	*out = (struct combined){ .verdict = verdict_continue("checks"),
		.would = verdict_continue("checks") };
	if (!is_due(phase, set))
		return false;
	for (enum check_phase p = CHECK_CONNECT; p <= phase; p++) {
		/* a recipient's findings are its own */
		if (p == CHECK_RCPT && phase != CHECK_RCPT)
			continue;
		for (size_t i = 0; i < c->checks->n; i++) {
			const struct check_ops *ops = c->checks->table[i];

			if (ops->judge == NULL || c->judged[i][p])
				continue;
			if ((ops->spares & rules.spared) == 0)
				judge_one(c, i, p, facts);
			else if (p == phase)
				metric_add(&c->checks->metrics[i][COUNT_SPARED], 1);
		}
	}
	if (phase > CHECK_RCPT)
		forget(c, CHECK_RCPT);
	access_combine(c->found, (size_t)phase + 1, &rules, out);
	if (out->verdict.action != ACTION_CONTINUE)
		count_decision(c, out->by, COUNT_DECIDED);
	else if (out->would.action != ACTION_CONTINUE)
		count_decision(c, out->would_by, COUNT_OBSERVED);
	return true;
}

void
check_told(struct check_conn *c, enum check_phase phase, const struct check_facts *facts,
    const struct verdict *verdict)
{
	for (size_t i = 0; i < c->checks->n; i++)
		if (c->checks->table[i]->told != NULL)
			c->checks->table[i]->told(
			    c->checks->self[i], c->conn[i], phase, facts, verdict);
}

void
check_header(struct check_conn *c, struct str name, struct str value)
{
	for (size_t i = 0; i < c->checks->n; i++)
		if (c->checks->table[i]->header != NULL)
			c->checks->table[i]->header(
			    c->checks->self[i], c->conn[i], name, value);
}

void
check_eom(struct check_conn *c, const struct check_facts *facts)
{
	for (size_t i = 0; i < c->checks->n; i++)
		if (c->checks->table[i]->eom != NULL)
			c->checks->table[i]->eom(c->checks->self[i], c->conn[i], facts);
}

void
check_print(const struct check_conn *c, unsigned spare, struct buf *out)
{
	access_combine_print(c->found, CHECK_PHASES, spare, out);
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* Store or this host: who counts.  What is counted, and what follows, is not decided
 * here. */
#include "milters/access/access_count.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/metrics.h"
#include "common/base/xalloc.h"
#include "milters/access/access_local.h"

#define LOCAL_SETS 8192u /* times 8 buckets of 32 octets: 2 MB */

METRIC_COUNTER(alone_total, "postern_access_counted_alone_total", NULL,
    "Counts and places that this host judged without the store");

struct access_counter {
	const char *what;
	struct access_store *store;
	struct access_local *local;
	struct access_holds *holds;
	atomic_bool out; /* the log knows that the store is */
};

static struct store *
get_store(void *arg)
{
	return access_store_get(arg);
}

struct access_counter *
access_counter_new(const char *what, struct access_store *store,
    const struct settings *settings, struct err *err)
{
	struct access_counter *c = xcalloc(1, sizeof(*c));

	c->what = what;
	c->store = store;
	c->local = access_local_new(LOCAL_SETS);
	c->holds = access_holds_new(settings->run.host, get_store, store, err);
	if (c->holds != NULL)
		return c;
	access_local_free(c->local);
	free(c);
	return NULL;
}

void
access_counter_free(struct access_counter *c)
{
	if (c == NULL)
		return;
	access_holds_free(c->holds);
	access_local_free(c->local);
	free(c);
}

struct access_holds *
access_counter_holds(struct access_counter *c)
{
	return c->holds;
}

void
access_counter_note(struct access_counter *c, bool answered)
{
	if (!answered)
		metric_add(&alone_total, 1);
	if (atomic_exchange(&c->out, !answered) == !answered)
		return;
	if (answered)
		log_msg(LOG_LEVEL_INFO, "access.store",
		    "%s: the store answers again, all hosts count together", c->what);
	else
		log_msg(LOG_LEVEL_WARN, "access.store",
		    "%s: the store does not answer, this host counts alone", c->what);
}

void
access_count_begin(
    struct access_counter *c, struct access_count *q, const struct check_facts *facts)
{
	struct store *store = access_store_get(c->store);

	q->deadline_ms = clock_mono_ms() + facts->settings->state.budget_ms;
	q->question = store == NULL
	    ? NULL
	    : store_rate_add(store, (struct str){ q->key, q->key_len }, q->n, q->burst,
		  q->rate, q->per, store_now(store));
}

struct rate_answer
access_count_end(
    struct access_counter *c, struct access_count *q, const struct check_facts *facts)
{
	struct rate_answer a = { .state = STORE_DOWN };

	if (q->question != NULL && check_wait(facts, q->question, q->deadline_ms))
		a = *(const struct rate_answer *)future_value(q->question);
	access_count_drop(q);
	access_counter_note(c, a.state == STORE_OK);
	if (a.state == STORE_OK)
		return a;
	return access_local_rate(c->local, (struct str){ q->key, q->key_len }, q->n,
	    q->burst, q->rate, q->per, clock_wall());
}

void
access_count_drop(struct access_count *q)
{
	future_unref(q->question);
	q->question = NULL;
}

struct hold_verdict
access_count_hold(struct access_counter *c, const struct access_hold *hold,
    int64_t deadline_ms, const struct check_facts *facts)
{
	struct future *question = access_hold_question(hold);
	struct hold_verdict v;

	if (question != NULL)
		(void)check_wait(facts, question, deadline_ms);
	v = access_hold_judge(hold);
	access_counter_note(c, !v.alone);
	return v;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* Counts towards penalties, and the penalties in force.  Events of other daemons (a
 * trap hit that one of them saw) count the same.  While the store is out this host
 * remembers its own. */
#include "milters/access/check_events.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/metrics.h"
#include "common/base/xalloc.h"
#include "milters/access/access_count.h"
#include "milters/access/access_local.h"

#define LOCAL_SETS 2048u

METRIC_COUNTER(penalties_total, "postern_access_penalties_total", NULL,
    "Networks that were put under a penalty");

struct self {
	struct access_counter *counter;
	struct access_store *store;
	struct access_local *local; /* penalties that this host gave */
};

struct conn {
	struct future *asked[PENALTIES]; /* by place in the settings */
	int64_t deadline_ms;
	bool early_counted;
	bool given[PENALTIES]; /* by kind, for what happened in this connection */
};

static enum event_kind
event_of(int penalty)
{
	switch ((enum penalty_kind)penalty) {
	case PENALTY_HARVEST:
		return EVENT_HARVEST;
	case PENALTY_FLOOD:
		return EVENT_FLOOD;
	case PENALTY_TRAP:
		return EVENT_TRAP;
	case PENALTY_EARLY:
		break;
	}
	return EVENT_EARLY;
}

bool
check_events_unknown(const struct verdict *v)
{
	return v->action == ACTION_REJECT &&
	    (strcmp(v->enhanced, "5.1.1") == 0 || strcmp(v->enhanced, "5.1.10") == 0);
}

static int
start(const struct check_shared *shared, void **self, struct err *err)
{
	struct self *s = xcalloc(1, sizeof(*s));

	s->store = shared->store;
	s->local = access_local_new(LOCAL_SETS);
	s->counter =
	    access_counter_new("penalty", shared->store, shared->settings, err);
	*self = s;
	if (s->counter != NULL)
		return 0;
	access_local_free(s->local);
	free(s);
	return -1;
}

static void
stop(void *self)
{
	struct self *s = self;

	access_counter_free(s->counter);
	access_local_free(s->local);
	free(s);
}

static void
conn_clear(void *self, void *conn)
{
	struct conn *c = conn;

	(void)self;
	for (size_t i = 0; i < PENALTIES; i++)
		future_unref(c->asked[i]);
}

/* Whose network is nobody's cannot be refused. */
static bool
has_network(const struct check_facts *f)
{
	return f->ip.family != 0 && !ip_is_loopback(&f->ip);
}

static size_t
name_of(const char *what, int kind, const struct ipnet *net, char *out, size_t size)
{
	char text[IP_TEXT_MAX + 4];

	return (size_t)snprintf(out, size, "%s|%s|%s", what,
	    penalty_name((enum penalty_kind)kind), ipnet_format(net, text));
}

/* --- an event --- */

static void
penalize(struct self *s, const struct access_penalty *p, const struct ipnet *net)
{
	struct store *store = access_store_get(s->store);
	char name[RATE_KEY_MAX], text[IP_TEXT_MAX + 4];
	size_t len = name_of("penalty", p->kind, net, name, sizeof(name));
	struct logline l;

	/* Nobody waits for it. */
	if (store != NULL)
		future_unref(store_event_add(
		    store, net, event_of(p->kind), 1, p->keep, store_now(store)));
	(void)access_local_rate(
	    s->local, (struct str){ name, len }, 1, 1, 1, p->keep, clock_wall());
	metric_add(&penalties_total, 1);
	logline_init(&l, LOG_LEVEL_INFO, "penalty");
	logline_cstr(&l, "kind", penalty_name((enum penalty_kind)p->kind));
	logline_cstr(&l, "network", ipnet_format(net, text));
	logline_int(&l, "keep", p->keep);
	logline_send(&l);
}

/* It happened once more; the last of `after` is one too many. */
static void
count(struct self *s, struct conn *c, int kind, const struct check_facts *facts)
{
	const struct access_penalties *all = &facts->view->access.penalties;
	struct ipnet net = access_event_net(&facts->ip);
	const struct access_penalty *p = NULL;
	struct access_count q = { .n = 1 };

	for (size_t i = 0; i < all->n; i++)
		if (all->list[i].kind == kind)
			p = &all->list[i];
	if (p == NULL || !facts->view->access.penalty)
		return;
	q.key_len = name_of("event", kind, &net, q.key, sizeof(q.key));
	q.burst = p->after.number - 1;
	q.rate = p->after.number;
	q.per = p->after.seconds;
	access_count_begin(s->counter, &q, facts);
	if (access_count_end(s->counter, &q, facts).allowed)
		return;
	penalize(s, p, &net);
	c->given[kind] = true;
}

static bool
is_trap(const struct check_facts *facts)
{
	const struct access_penalties *all = &facts->view->access.penalties;

	for (size_t i = 0; i < all->n; i++)
		for (size_t k = 0; k < all->list[i].recipients.n; k++)
			if (str_is_nocase(str_of(facts->rcpt->given),
				all->list[i].recipients.list[k]))
				return true;
	return false;
}

static void
told(void *self, void *conn, enum check_phase phase, const struct check_facts *facts,
    const struct verdict *v)
{
	if (!has_network(facts) || facts->auth[0] != '\0')
		return;
	if (phase == CHECK_RCPT && check_events_unknown(v))
		count(self, conn, PENALTY_HARVEST, facts);
	if (phase == CHECK_RCPT && facts->rcpt != NULL && is_trap(facts))
		count(self, conn, PENALTY_TRAP, facts);
	if (v->why == access_rate_why || v->why == access_at_once_why)
		count(self, conn, PENALTY_FLOOD, facts);
}

/* --- penalties in force --- */

static void
ask(void *self, void *conn, enum check_phase phase, const struct check_facts *facts)
{
	const struct settings_access *set = &facts->view->access;
	struct self *s = self;
	struct conn *c = conn;

	if (phase != CHECK_CONNECT || !set->penalty || set->penalties.n == 0 ||
	    !has_network(facts) || c->deadline_ms != 0)
		return;
	struct ipnet net = access_event_net(&facts->ip);
	struct store *store = access_store_get(s->store);

	c->deadline_ms = clock_mono_ms() + facts->settings->state.budget_ms;
	for (size_t i = 0; store != NULL && i < set->penalties.n; i++)
		c->asked[i] = store_event_get(store, &net,
		    event_of(set->penalties.list[i].kind), store_now(store));
	if (facts->early && !c->early_counted) {
		c->early_counted = true;
		count(s, c, PENALTY_EARLY, facts);
	}
}

static bool
in_force(struct self *s, struct conn *c, size_t i, const struct check_facts *facts)
{
	const struct access_penalty *p = &facts->view->access.penalties.list[i];
	struct ipnet net = access_event_net(&facts->ip);
	const struct event_answer *a = NULL;
	char name[RATE_KEY_MAX];
	struct store *store = access_store_get(s->store);

	if (c->asked[i] != NULL && check_wait(facts, c->asked[i], c->deadline_ms))
		a = future_value(c->asked[i]);
	bool answered = a != NULL && a->state == STORE_OK;

	access_counter_note(s->counter, answered);
	if (answered && store != NULL)
		return a->weight > 0 && store_now(store) - a->last <= p->keep;
	size_t len = name_of("penalty", p->kind, &net, name, sizeof(name));

	return access_local_rate(
		   s->local, (struct str){ name, len }, 0, 1, 1, p->keep, clock_wall())
		   .level > 0;
}

static void
found(struct findings *out, const struct access_penalty *p)
{
	static const char *const said[PENALTIES] = {
		[PENALTY_HARVEST] = "asked for too many addresses that nobody has",
		[PENALTY_FLOOD] = "sent too much, again and again",
		[PENALTY_TRAP] = "wrote to addresses that nobody can know",
		[PENALTY_EARLY] = "talked before our greeting",
	};
	struct finding *f = findings_add(out);

	f->refuses = true;
	f->verdict = p->action == 1
	    ? verdict_refuse(554, "5.7.1", "penalty", "%s", p->text)
	    : verdict_refuse(421, "4.7.0", "penalty", "%s", p->text);
	if (p->text[0] == '\0')
		(void)snprintf(f->verdict.text, sizeof(f->verdict.text),
		    "Your network %s: no mail from it for a while", said[p->kind]);
	(void)snprintf(f->detail, sizeof(f->detail), "%s",
	    penalty_name((enum penalty_kind)p->kind));
}

static void
judge(void *self, void *conn, enum check_phase phase, const struct check_facts *facts,
    struct findings *out)
{
	const struct access_penalties *all = &facts->view->access.penalties;
	struct conn *c = conn;

	if (!facts->view->access.penalty)
		return;
	/* What it did in this very connection ends it as well. */
	for (size_t i = 0; i < all->n && (phase == CHECK_MAIL || phase == CHECK_RCPT);
	     i++)
		if (c->given[all->list[i].kind])
			found(out, &all->list[i]);
	if (phase != CHECK_CONNECT || c->deadline_ms == 0)
		return;
	for (size_t i = 0; i < all->n; i++)
		if (in_force(self, c, i, facts))
			found(out, &all->list[i]);
}

const struct check_ops check_penalty = { .name = "penalty",
	.spares = CHECK_SPARE_ALL,
	.start = start,
	.stop = stop,
	.conn_size = sizeof(struct conn),
	.conn_clear = conn_clear,
	.ask = ask,
	.judge = judge,
	.told = told };

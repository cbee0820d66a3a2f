/* SPDX-License-Identifier: BSD-2-Clause */
/* Rates and concurrency.  Asked as soon as what is counted is known, judged when a
 * verdict is due: a client that is refused only at RCPT was counted when it came.
 * Places are given back at the end of what held them. */
#include "milters/access/check_rate.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/base/clock.h"
#include "common/base/xalloc.h"
#include "milters/access/access_control.h"
#include "milters/access/access_count.h"

/* One rule in one connection, message or recipient. */
struct asked {
	struct asked *next;
	const struct access_rate *rule; /* of the connection's settings */
	enum check_phase phase; /* when it was asked */
	bool counts; /* count is open */
	struct access_count count;
	struct access_hold *hold; /* NULL: none */
	bool hold_judged;
	int64_t deadline_ms; /* for the store's answer about the hold */
};

struct conn {
	struct asked *connection, *message; /* what lives as long */
};

static int
start(const struct check_shared *shared, void **self, struct err *err)
{
	*self = access_counter_new("rate", shared->store, shared->settings, err);
	return *self == NULL ? -1 : 0;
}

static void
stop(void *self)
{
	access_counter_free(self);
}

static void
forget(struct access_counter *counter, struct asked **list)
{
	while (*list != NULL) {
		struct asked *a = *list;

		*list = a->next;
		access_count_drop(&a->count);
		access_hold_end(access_counter_holds(counter), a->hold);
		free(a);
	}
}

static void
conn_clear(void *self, void *conn)
{
	struct conn *c = conn;

	forget(self, &c->message);
	forget(self, &c->connection);
}

static void
msg_clear(void *self, void *conn)
{
	forget(self, &((struct conn *)conn)->message);
}

/* --- asking --- */

static struct rate_facts
facts_of(const struct check_facts *f)
{
	struct rate_facts out = { .ip = f->ip, .user = f->auth };

	if (f->sender != NULL && !f->sender->null) {
		out.sender = str_of(f->sender->given);
		out.sender_domain = str_of(f->sender->domain);
	}
	if (f->rcpt != NULL)
		out.recipient = str_of(f->rcpt->given);
	return out;
}

static void
ask_rule(struct access_counter *counter, struct conn *c, enum check_phase phase,
    enum rate_when now, const struct access_rate *rule, const struct check_facts *facts)
{
	struct asked **list = phase == CHECK_CONNECT ? &c->connection : &c->message;
	bool counts = access_rate_when(rule) == now;
	bool holds = access_rate_at_once_when(rule) == now;
	const struct rate_facts known = facts_of(facts);
	char key[RATE_KEY_MAX];
	size_t len = counts || holds ? access_rate_key(rule, &known, key) : 0;
	struct asked *a;

	if (len == 0)
		return;
	a = xcalloc(1, sizeof(*a));
	a->rule = rule;
	a->phase = phase;
	a->deadline_ms = clock_mono_ms() + facts->settings->state.budget_ms;
	a->counts = counts;
	if (counts) {
		struct rate_limit limit = access_rate_limit(rule);

		memcpy(a->count.key, key, len + 1);
		a->count.key_len = len;
		a->count.n = 1;
		a->count.burst = limit.burst;
		a->count.rate = limit.number;
		a->count.per = limit.seconds;
		access_count_begin(counter, &a->count, facts);
	}
	if (holds)
		a->hold = access_hold_begin(access_counter_holds(counter),
		    (struct str){ key, len }, rule->at_once);
	a->next = *list;
	*list = a;
}

/* What was asked for the last recipient concerns this one no more, judged or not;
 * places are kept until the message ends. */
static void
next_recipient(struct conn *c)
{
	for (struct asked **at = &c->message; *at != NULL;) {
		struct asked *a = *at;

		if (a->phase != CHECK_RCPT) {
			at = &a->next;
			continue;
		}
		access_count_drop(&a->count);
		a->counts = false;
		a->hold_judged = true;
		if (a->hold != NULL) {
			at = &a->next;
			continue;
		}
		*at = a->next;
		free(a);
	}
}

static void
ask(void *self, void *conn, enum check_phase phase, const struct check_facts *facts)
{
	static const enum rate_when whens[CHECK_PHASES] = {
		[CHECK_CONNECT] = RATE_AT_CONNECT,
		[CHECK_MAIL] = RATE_AT_MAIL,
		[CHECK_RCPT] = RATE_AT_RCPT,
	};
	const struct settings_access *set = &facts->view->access;

	if (phase == CHECK_RCPT)
		next_recipient(conn);
	if (whens[phase] == RATE_NEVER || !set->rate)
		return;
	for (size_t i = 0; i < set->rates.n; i++)
		ask_rule(self, conn, phase, whens[phase], &set->rates.list[i], facts);
}

/* --- judging --- */

static void
found(struct findings *out, const struct access_rate *rule, struct verdict v,
    const char *what, int64_t level)
{
	struct finding *f = findings_add(out);

	f->refuses = rule->points == 0;
	f->points = rule->points;
	f->verdict = v;
	(void)snprintf(f->detail, sizeof(f->detail), "%s %s=%lld", rule->name, what,
	    (long long)level);
}

static void
judge_one(struct access_counter *counter, struct asked *a,
    const struct check_facts *facts, struct findings *out)
{
	if (a->counts) {
		struct rate_answer r = access_count_end(counter, &a->count, facts);

		a->counts = false;
		if (!r.allowed)
			found(out, a->rule, access_rate_verdict(a->rule, r.wait),
			    access_rate_limit(a->rule).unit, r.level);
	}
	if (a->hold != NULL && !a->hold_judged) {
		struct hold_verdict h =
		    access_count_hold(counter, a->hold, a->deadline_ms, facts);

		a->hold_judged = true;
		if (h.allowed)
			return;
		found(out, a->rule, access_at_once_verdict(a->rule), "at-once", h.held);
		access_hold_end(access_counter_holds(counter), a->hold);
		a->hold = NULL;
	}
}

static void
judge(void *self, void *conn, enum check_phase phase, const struct check_facts *facts,
    struct findings *out)
{
	struct conn *c = conn;
	struct asked *a = phase == CHECK_CONNECT ? c->connection : c->message;

	for (; a != NULL; a = a->next)
		if (a->phase == phase)
			judge_one(self, a, facts, out);
}

/* Who may talk to the host itself at once is counted as well: a user's mail may come
 * through a program of this host. */
const struct check_ops check_rate = { .name = "rate",
	.start = start,
	.stop = stop,
	.conn_size = sizeof(struct conn),
	.conn_clear = conn_clear,
	.msg_clear = msg_clear,
	.ask = ask,
	.judge = judge };

/* --- ClientRate: and ClientConn: of the access map --- */

#define MAP_WINDOW 60 /* seconds: sendmail's ConnectionRateWindowSize */

struct map_conn {
	bool rate_asked, rate_open;
	struct access_count count;
	unsigned long rate_limit;
	struct access_result rate_where, conn_where;
	struct access_hold *hold;
	int64_t deadline_ms; /* for the store's answer about the hold */
};

static int
map_start(const struct check_shared *shared, void **self, struct err *err)
{
	*self = access_counter_new("client-rate", shared->store, shared->settings, err);
	return *self == NULL ? -1 : 0;
}

static void
map_conn_clear(void *self, void *conn)
{
	struct map_conn *c = conn;

	access_count_drop(&c->count);
	access_hold_end(access_counter_holds(self), c->hold);
}

static void
map_ask(void *self, void *conn, enum check_phase phase, const struct check_facts *facts)
{
	struct map_conn *c = conn;
	char ip[IP_TEXT_MAX], name[RATE_KEY_MAX];
	unsigned long limit;

	if (phase != CHECK_CONNECT || facts->ip.family == 0 || c->rate_asked)
		return;
	c->rate_asked = true;
	c->deadline_ms = clock_mono_ms() + facts->settings->state.budget_ms;
	(void)ip_format(&facts->ip, ip);
	if (access_limit_find(
		facts->access, ACCESS_LIMIT_RATE, &c->rate_limit, &c->rate_where)) {
		c->rate_open = true;
		c->count.key_len = (size_t)snprintf(
		    c->count.key, sizeof(c->count.key), "ClientRate|%s", ip);
		c->count.n = 1;
		c->count.burst = c->count.rate = (int64_t)c->rate_limit;
		c->count.per = MAP_WINDOW;
		if (c->rate_limit > 0)
			access_count_begin(self, &c->count, facts);
	}
	if (access_limit_find(
		facts->access, ACCESS_LIMIT_CONNECTIONS, &limit, &c->conn_where)) {
		(void)snprintf(name, sizeof(name), "ClientConn|%s", ip);
		c->hold = access_hold_begin(
		    access_counter_holds(self), str_of(name), (int64_t)limit);
	}
}

static void
map_found(struct findings *out, const struct access_result *where, const char *why,
    const char *text)
{
	struct finding *f = findings_add(out);

	f->refuses = true;
	f->verdict = verdict_refuse(421, "4.3.2", why, "%s", text);
	(void)snprintf(
	    f->detail, sizeof(f->detail), "%.100s line=%d", where->key, where->line);
}

static void
map_judge(void *self, void *conn, enum check_phase phase,
    const struct check_facts *facts, struct findings *out)
{
	struct map_conn *c = conn;

	if (phase != CHECK_CONNECT)
		return;
	if (c->rate_open) {
		c->rate_open = false;
		if (c->rate_limit == 0 ||
		    !access_count_end(self, &c->count, facts).allowed)
			map_found(out, &c->rate_where, access_rate_why,
			    "Connection rate limit exceeded.");
	}
	if (c->hold != NULL &&
	    !access_count_hold(self, c->hold, c->deadline_ms, facts).allowed) {
		map_found(out, &c->conn_where, access_at_once_why,
		    "Too many open connections.");
		access_hold_end(access_counter_holds(self), c->hold);
		c->hold = NULL;
	}
}

/* As in sendmail they do not stand where Connect: has spoken. */
const struct check_ops check_client_rate = { .name = "client-rate",
	.spares = CHECK_SPARE_MAP,
	.start = map_start,
	.stop = stop,
	.conn_size = sizeof(struct map_conn),
	.conn_clear = map_conn_clear,
	.ask = map_ask,
	.judge = map_judge };

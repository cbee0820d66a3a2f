/* SPDX-License-Identifier: BSD-2-Clause */
/* The two ways to an answer - one recipient by itself, or all of a message together - are
 * one: everything is asked first, then everything is waited for. */
#include "milters/greylist/judge.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/metrics.h"
#include "common/base/xalloc.h"
#include "policy/greylist.h"
#include "policy/policy.h"

#define DECISION(var, verdict)                                                         \
	METRIC_COUNTER(var, "postern_greylist_decisions_total",                        \
	    "verdict=\"" verdict "\"", "Recipients judged by postern-greylist")
DECISION(deferred_total, "deferred");
DECISION(passed_total, "passed");
DECISION(exempt_total, "exempt");
DECISION(observed_total, "observed");
DECISION(store_out_total, "store_out");

/* A recipient with all that its decision needs; too large for the stack when many. */
struct judged {
	struct policy_view view;
	struct greylist_query query;
	struct future *future;
	const struct greylist_answer *answer; /* borrowed from future */
	struct verdict verdict;
};

/* Wall seconds, as all hosts of the store count them. */
static int64_t
wall(const struct judge_message *m)
{
	return m->store == NULL ? clock_wall() : store_now(m->store);
}

static struct str
sender_of(const struct judge_message *m)
{
	return (struct str){ m->sender, m->sender_len };
}

static struct policy_view
view_of(const struct judge_message *m, struct milter_session *s, struct str rcpt)
{
	char sender[ADDRESS_MAX], recipient[ADDRESS_MAX];
	struct policy_facts facts = { .stage = STAGE_RCPT,
		.client = milter_client(s)->ip,
		.authenticated = m->authenticated,
		.sender = { sender, greylist_address(sender_of(m), sender) },
		.recipient = { recipient, greylist_address(rcpt, recipient) } };
	struct policy_view view;

	policy_resolve(m->settings, &facts, &view);
	return view;
}

/* Begin: the question goes to the store, unless nothing is to be asked or no time is
 * left. */
static void
ask(struct judged *j, struct judge_message *m, struct milter_session *s, struct str rcpt,
    int64_t now)
{
	const struct greylist_facts facts = { .moment = GREYLIST_AT_RCPT,
		.authenticated = m->authenticated,
		.client = { .ip = milter_client(s)->ip, .sender = sender_of(m) },
		.recipient = rcpt };

	greylist_want(&j->view.greylist, &facts, now, &j->query);
	if (!j->query.ask || m->store == NULL || m->budget_ms <= 0)
		return;
	j->future = store_greylist_check(m->store, &j->query.network,
	    (struct str){ j->query.client, j->query.client_len },
	    (struct str){ j->query.key, j->query.key_len }, &j->query.times, now);
}

/* End: wait for the answer within the message's budget, and judge. */
static void
answer(
    struct judged *j, struct judge_message *m, struct milter_session *s, int64_t now)
{
	int64_t begin = clock_mono_ms();

	if (j->future != NULL && milter_wait(s, j->future, begin + m->budget_ms))
		j->answer = future_value(j->future);
	m->budget_ms -= clock_mono_ms() - begin;
	j->verdict = greylist_judge(&j->view.greylist, &j->query, j->answer, now);
}

static void
count(const struct judged *j)
{
	if (j->query.exempt != NULL)
		metric_add(&exempt_total, 1);
	else if (j->answer == NULL || j->answer->state != STORE_OK)
		metric_add(&store_out_total, 1);
	else if (j->verdict.action == ACTION_CONTINUE)
		metric_add(&passed_total, 1);
	else
		metric_add(j->view.observe ? &observed_total : &deferred_total, 1);
}

static void
log_judged(const struct judged *j, const struct judge_message *m,
    struct milter_session *s, struct str rcpt)
{
	const struct milter_client *client = milter_client(s);
	char ip[IP_TEXT_MAX];
	struct logline l;

	logline_init(&l, LOG_LEVEL_INFO, "greylist");
	logline_cstr(
	    &l, j->view.observe ? "would" : "action", action_name(j->verdict.action));
	if (client->queue_id[0] != '\0')
		logline_cstr(&l, "qid", client->queue_id);
	ip_format(&client->ip, ip);
	logline_cstr(&l, "client", ip[0] != '\0' ? ip : "local");
	logline_cstr(&l, "name", client->name);
	logline_str(&l, "from", m->null_sender ? STR("<>") : sender_of(m));
	logline_str(&l, "to", rcpt);
	logline_cstr(&l, "why", j->verdict.why);
	if (j->query.ask) {
		logline_cstr(&l, "identity",
		    greylist_identity_kind_name(j->query.identity.kind));
		logline_cstr(&l, "as", j->query.identity.name);
	}
	if (j->answer != NULL && j->answer->seen.tries > 0)
		logline_int(&l, "tries", j->answer->seen.tries);
	if (j->verdict.action != ACTION_CONTINUE) {
		logline_int(&l, "code", j->verdict.code);
		logline_cstr(&l, "status", j->verdict.enhanced);
		logline_int(&l, "wait", j->verdict.wait);
	}
	logline_send(&l);
}

/* Log, count, remember for the header; returns what the client gets. */
static struct verdict
settle(struct judged *j, struct judge_message *m, struct milter_session *s,
    struct str rcpt, int64_t now)
{
	count(j);
	log_judged(j, m, s, rcpt);
	if (!j->query.inside)
		greylist_outcome_add(
		    &m->outcome, &j->verdict, j->answer, j->view.observe, now);
	if (j->view.observe || j->verdict.action == ACTION_CONTINUE)
		m->header = m->header || j->view.greylist.header;
	future_unref(j->future);
	j->future = NULL;
	j->answer = NULL;
	return j->view.observe ? verdict_continue("observed") : j->verdict;
}

struct verdict
judge_recipient(struct judge_message *m, struct milter_session *s, struct str rcpt)
{
	struct judged *j = xcalloc(1, sizeof(*j));
	int64_t now = wall(m);

	rcpt = str_sub(rcpt, 0, JUDGE_PATH_MAX);
	j->view = view_of(m, s, rcpt);
	ask(j, m, s, rcpt, now);
	answer(j, m, s, now);
	struct verdict v = settle(j, m, s, rcpt, now);
	policy_view_clear(&j->view);
	free(j);
	return v;
}

static struct policy_view
merged_view(const struct judge_message *m, struct milter_session *s, char *const *rcpts,
    size_t n)
{
	struct policy_view *views = xcalloc(n, sizeof(*views)), merged;

	for (size_t i = 0; i < n; i++)
		views[i] = view_of(m, s, str_of(rcpts[i]));
	policy_merge(m->settings, views, n, &merged);
	for (size_t i = 0; i < n; i++)
		policy_view_clear(&views[i]);
	free(views);
	return merged;
}

/* Asked at once, so that all share one wait. */
struct verdict
judge_together(
    struct judge_message *m, struct milter_session *s, char *const *rcpts, size_t n)
{
	struct judged *j = xcalloc(n, sizeof(*j));
	struct policy_view view = merged_view(m, s, rcpts, n);
	struct verdict worst = verdict_continue("greylist");
	int64_t now = wall(m);

	for (size_t i = 0; i < n; i++) {
		j[i].view = view;
		ask(&j[i], m, s, str_of(rcpts[i]), now);
	}
	for (size_t i = 0; i < n; i++) {
		answer(&j[i], m, s, now);
		struct verdict v = settle(&j[i], m, s, str_of(rcpts[i]), now);
		if (v.action != ACTION_CONTINUE &&
		    (worst.action == ACTION_CONTINUE || v.wait > worst.wait))
			worst = v;
	}
	policy_view_clear(&view);
	free(j);
	return worst;
}

void
judge_begin(struct judge_message *m, struct milter_session *s,
    const struct settings *settings, struct store *store, struct str sender)
{
	sender = str_sub(sender, 0, sizeof(m->sender));
	m->settings = settings;
	m->store = store;
	if (sender.len > 0)
		memcpy(m->sender, sender.p, sender.len);
	m->sender_len = sender.len;
	m->null_sender = greylist_null_sender(sender);
	m->authenticated = milter_client(s)->auth[0] != '\0';
	m->budget_ms = settings->state.budget_ms;
}

void
judge_clear(struct judge_message *m)
{
	m->sender_len = 0;
	m->authenticated = m->null_sender = m->header = false;
	m->outcome = (struct greylist_outcome){ .why = NULL };
}

void
judge_mark(struct judge_message *m, struct milter_session *s)
{
	struct err err;
	struct buf value;

	if (!m->header || m->outcome.why == NULL)
		return;
	buf_init(&value, 900);
	greylist_header(&m->outcome, m->settings->run.host, wall(m), &value);
	if (milter_add_header(s, STR("X-Greylist"), buf_str(&value), &err) != 0)
		log_err("greylist_header", &err);
	buf_clear(&value);
}

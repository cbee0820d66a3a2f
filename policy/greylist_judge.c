/* SPDX-License-Identifier: BSD-2-Clause */
/* The two ways to an answer - one recipient by itself, or all of a message together - are
 * one: prepare, ask, answer, excuse, settle.  In each of these everything is asked before
 * anything is waited for. */
#include "policy/greylist_judge.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/metrics.h"
#include "common/base/xalloc.h"
#include "policy/client_events.h"
#include "policy/policy.h"

#define OWN_HEADERS_MAX 10 /* a message that passed us so often gets no further one */

#define DECISION(var, verdict)                                                         \
	METRIC_COUNTER(var, "postern_greylist_decisions_total",                        \
	    "verdict=\"" verdict "\"", "Recipients judged by postern-greylist")
DECISION(deferred_total, "deferred");
DECISION(passed_total, "passed");
DECISION(exempt_total, "exempt");
DECISION(blocked_total, "blocked");
DECISION(observed_total, "observed");
DECISION(store_out_total, "store_out");

/* A recipient with all that its decision needs; too large for the stack when many. */
struct judged {
	struct policy_view view;
	struct greylist_facts facts; /* borrows the recipient */
	unsigned asks;
	struct greylist_query query;
	struct future *check, *note;
	const struct greylist_answer *answer; /* borrowed from check */
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
view_of(const struct judge_message *m, struct milter_session *s, enum stage stage,
    struct str rcpt)
{
	char sender[ADDRESS_MAX], recipient[ADDRESS_MAX];
	struct policy_facts facts = { .stage = stage,
		.client = milter_client(s)->ip,
		.authenticated = m->authenticated,
		.sender = { sender, greylist_address(sender_of(m), sender) },
		.recipient = { recipient, greylist_address(rcpt, recipient) } };
	struct policy_view view;

	policy_resolve(m->settings, &facts, &view);
	return view;
}

/* What is known without asking anybody. */
static struct greylist_facts
facts_of(const struct judge_message *m, struct milter_session *s, struct str rcpt)
{
	const struct milter_client *client = milter_client(s);

	return (struct greylist_facts){ .moment = m->moment,
		.authenticated = m->authenticated,
		.client = { .ip = client->ip,
		    .name = str_of(client->name_confirmed ? client->name : ""),
		    .helo = str_of(client->helo),
		    .sender = sender_of(m),
		    .suffixes = m->env->suffixes },
		.recipient = rcpt };
}

/* Correspondents are asked for with the triple: see ask_note. */
static void
look_up(struct judge_message *m, const struct settings_greylist *set,
    const struct greylist_facts *facts, unsigned asks, int64_t now)
{
	if (m->began_ms == 0)
		m->began_ms = clock_mono_ms();
	const struct lookups_about about = { .env = m->env,
		.store = m->budget_ms > 0 ? m->store : NULL,
		.set = set,
		.client = &facts->client,
		.receiver = m->settings->run.host,
		.now = now,
		.dns_deadline_ms = m->began_ms + set->dns_deadline_ms };

	lookups_ask(&m->lookups, &about, asks & ~(unsigned)GREYLIST_ASK_CORRESPONDENT);
}

/* First: what the decision needs is asked for. */
static void
prepare(struct judged *j, struct judge_message *m, struct milter_session *s,
    struct str rcpt, int64_t now)
{
	j->facts = facts_of(m, s, rcpt);
	j->asks = greylist_asks(&j->view.greylist, &j->facts);
	if (j->asks != 0)
		look_up(m, &j->view.greylist, &j->facts, j->asks, now);
}

/* Whether our user wrote to this sender: asked together with the triple, because most mail
 * that has anything to ask is new. */
static void
ask_note(struct judged *j, struct judge_message *m, int64_t now)
{
	char name[GREYLIST_CORRESPONDENT_MAX];

	if ((j->asks & GREYLIST_ASK_CORRESPONDENT) == 0 || j->query.exempt != NULL ||
	    j->query.trap_hit)
		return;
	size_t len = greylist_correspondent_name(j->facts.recipient, sender_of(m), name);
	if (len > 0)
		j->note = store_note_get(
		    m->store, NOTE_CORRESPONDENT, (struct str){ name, len }, now);
}

/* Then: with these facts the store is asked, unless the decision is made already or no
 * time is left. */
static void
ask(struct judged *j, struct judge_message *m, struct milter_session *s, int64_t now)
{
	const struct settings_greylist *set = &j->view.greylist;

	if (j->asks != 0)
		lookups_wait(&m->lookups, s, m->began_ms + set->dns_deadline_ms,
		    &m->budget_ms, &j->facts);
	greylist_want(set, &j->facts, now, &j->query);
	m->inside = m->inside || j->query.inside;
	if (j->query.trap_hit && !j->view.observe)
		client_event_add(
		    m->store, &j->facts.client.ip, m->authenticated, EVENT_TRAP, set);
	if (m->store == NULL || m->budget_ms <= 0)
		return;
	/* Events about the network are among the facts: not asked for again. */
	if (j->query.ask)
		j->check = store_greylist_check(m->store, NULL,
		    (struct str){ j->query.client, j->query.client_len },
		    (struct str){ j->query.key, j->query.key_len }, &j->query.times, now);
	ask_note(j, m, now);
}

/* Wait for the store within the message's budget.  NULL: it did not answer. */
static const void *
await(struct future *f, struct judge_message *m, struct milter_session *s)
{
	int64_t began = clock_mono_ms();

	if (f == NULL)
		return NULL;
	/* What is there already is taken even when the time is over. */
	bool done = milter_wait(s, f, began + (m->budget_ms > 0 ? m->budget_ms : 0));
	m->budget_ms -= clock_mono_ms() - began;
	return done ? future_value(f) : NULL;
}

static void
answer(
    struct judged *j, struct judge_message *m, struct milter_session *s, int64_t now)
{
	/* The one that was asked last comes last: one wait for both. */
	(void)await(j->note, m, s);
	j->answer = await(j->check, m, s);
	j->verdict = greylist_judge(&j->view.greylist, &j->query, j->answer, now);
}

/* Last: an exemption that matters only to what would not pass. */
static void
excuse(struct judged *j, struct judge_message *m, struct milter_session *s, int64_t now)
{
	const struct note_answer *note =
	    j->verdict.action == ACTION_CONTINUE ? NULL : await(j->note, m, s);

	if (note == NULL || note->state != STORE_OK || !note->found)
		return;
	j->facts.correspondent = true;
	greylist_want(&j->view.greylist, &j->facts, now, &j->query);
	j->verdict = greylist_judge(&j->view.greylist, &j->query, NULL, now);
}

static void
count(const struct judged *j)
{
	if (j->query.exempt != NULL)
		metric_add(&exempt_total, 1);
	else if (j->query.blocked > 0)
		metric_add(j->view.observe ? &observed_total : &blocked_total, 1);
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
	if (j->query.exempt == NULL) {
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

/* At RCPT nothing is said of mail that postern-score may judge at its end, unless it is
 * refused here. */
static bool
left_to_score(const struct judged *j)
{
	return j->facts.moment == GREYLIST_AT_RCPT &&
	    j->view.greylist.when == GREYLIST_SUSPICIOUS && j->query.exempt != NULL;
}

/* Log, count, remember for the header; returns what the client gets. */
static struct verdict
settle(struct judged *j, struct judge_message *m, struct milter_session *s,
    struct str rcpt, int64_t now)
{
	bool silent = left_to_score(j);

	if (!silent) {
		count(j);
		log_judged(j, m, s, rcpt);
	}
	if (!silent && !j->query.inside)
		greylist_outcome_add(
		    &m->outcome, &j->verdict, j->answer, j->view.observe, now);
	if (!silent && (j->view.observe || j->verdict.action == ACTION_CONTINUE))
		m->header = m->header || j->view.greylist.header;
	future_unref(j->check);
	future_unref(j->note);
	return j->view.observe ? verdict_continue("observed") : j->verdict;
}

struct verdict
judge_recipient(struct judge_message *m, struct milter_session *s, struct str rcpt)
{
	struct judged *j = xcalloc(1, sizeof(*j));
	int64_t now = wall(m);

	rcpt = str_sub(rcpt, 0, JUDGE_PATH_MAX);
	j->view = view_of(m, s, STAGE_RCPT, rcpt);
	prepare(j, m, s, rcpt, now);
	ask(j, m, s, now);
	answer(j, m, s, now);
	excuse(j, m, s, now);
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
		views[i] = view_of(m, s, STAGE_RCPT, str_of(rcpts[i]));
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
		prepare(&j[i], m, s, str_of(rcpts[i]), now);
	}
	for (size_t i = 0; i < n; i++)
		ask(&j[i], m, s, now);
	for (size_t i = 0; i < n; i++)
		answer(&j[i], m, s, now);
	for (size_t i = 0; i < n; i++) {
		excuse(&j[i], m, s, now);
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
judge_begin(struct judge_message *m, struct milter_session *s, enum greylist_moment moment,
    const struct settings *settings, const struct judge_env *env, struct str sender)
{
	sender = str_sub(sender, 0, sizeof(m->sender));
	m->moment = moment;
	m->settings = settings;
	m->env = env;
	m->store = store_opener_get(env->opener);
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
	lookups_clear(&m->lookups);
	m->sender_len = 0;
	m->began_ms = 0;
	m->authenticated = m->null_sender = m->inside = m->header = false;
	m->own_headers = 0;
	m->outcome = (struct greylist_outcome){ .why = NULL };
}

void
judge_ahead(struct judge_message *m, struct milter_session *s,
    const struct settings_greylist *set)
{
	const struct greylist_facts facts = facts_of(m, s, STR(""));
	unsigned asks = greylist_asks(set, &facts);

	if (asks != 0)
		look_up(m, set, &facts, asks, wall(m));
}

void
judge_ahead_of_rcpt(struct judge_message *m, struct milter_session *s)
{
	struct policy_view view = view_of(m, s, STAGE_MAIL, STR(""));

	judge_ahead(m, s, &view.greylist);
	policy_view_clear(&view);
}

void
judge_sent(struct judge_message *m, struct milter_session *s, struct str rcpt)
{
	char name[GREYLIST_CORRESPONDENT_MAX];
	size_t len = greylist_correspondent_name(sender_of(m), rcpt, name);

	if (!m->inside || m->store == NULL || len == 0)
		return;
	struct policy_view view = view_of(m, s, STAGE_RCPT, rcpt);
	if (view.greylist.correspondents)
		future_unref(store_note_put(m->store, NOTE_CORRESPONDENT,
		    (struct str){ name, len }, STR(""), view.greylist.correspondents_keep,
		    wall(m)));
	policy_view_clear(&view);
}

void
judge_header(struct judge_message *m, struct str name)
{
	if (str_is_nocase(name, "X-Greylist"))
		m->own_headers++;
}

void
judge_mark(struct judge_message *m, struct milter_session *s)
{
	struct err err;
	struct buf value;

	if (!m->header || m->outcome.why == NULL || m->own_headers >= OWN_HEADERS_MAX)
		return;
	buf_init(&value, 900);
	greylist_header(&m->outcome, m->settings->run.host, wall(m), &value);
	if (milter_add_header(s, STR("X-Greylist"), buf_str(&value), &err) != 0)
		log_err("greylist_header", &err);
	buf_clear(&value);
}

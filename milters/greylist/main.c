/* SPDX-License-Identifier: BSD-2-Clause */
/* postern-greylist: binds libmilter's callbacks to the engine and the state store.  It
 * collects facts, asks the store with a deadline, logs, and writes X-Greylist.
 *
 * A recipient is deferred at RCPT, each by itself.  Mail of the null sender is judged
 * at the end of its header instead, so that others can verify our senders' addresses by
 * a callout (MAIL FROM:<>, RCPT, QUIT); then one answer serves all recipients: settings
 * are merged, and it is deferred when one triple is. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/metrics.h"
#include "common/base/xalloc.h"
#include "common/run/daemon.h"
#include "db/store.h"
#include "milters/greylist/greylist.h"
#include "policy/greylist.h"
#include "policy/policy.h"
#include "policy/settings.h"
#include "policy/settings_daemon.h"

#define PATH_KEPT                                                                      \
	(2 * ADDRESS_MAX) /* octets of a path; what is longer is no address            \
			   */
#define NULL_RCPTS_MAX 100 /* recipients of one bounce; RFC 5321 4.5.3.1.8 */
#define OWN_HEADERS_MAX 10 /* a message that passed us so often gets no further one */
#define STORE_RETRY_S 10

#define DECISION(var, verdict)                                                         \
	METRIC_COUNTER(var, "postern_greylist_decisions_total",                        \
	    "verdict=\"" verdict "\"", "Recipients judged by postern-greylist")
DECISION(deferred_total, "deferred");
DECISION(passed_total, "passed");
DECISION(exempt_total, "exempt");
DECISION(observed_total, "observed");
DECISION(store_out_total, "store_out");

/* What the worker holds; settings change at a reload, the store is opened once. */
static struct {
	pthread_mutex_t lock; /* of all below */
	pthread_cond_t stopping;
	struct settings *settings;
	struct store *store; /* NULL: not open (yet) */
	bool stop, opener_runs;
	pthread_t opener;
} worker = { .lock = PTHREAD_MUTEX_INITIALIZER, .stopping = PTHREAD_COND_INITIALIZER };

struct conn {
	struct settings *settings;
	/* Of the message. */
	char sender[PATH_KEPT];
	size_t sender_len;
	bool authenticated, null_sender;
	int64_t budget_ms; /* store time left */
	struct greylist_outcome outcome;
	bool header; /* an accepted recipient wants X-Greylist */
	unsigned own_headers;
	char *null_rcpts[NULL_RCPTS_MAX];
	size_t n_null_rcpts;
};

/* NULL: not open.  Once open it stays until no callback runs any more. */
static struct store *
store_now(void)
{
	pthread_mutex_lock(&worker.lock);
	struct store *store = worker.store;
	pthread_mutex_unlock(&worker.lock);
	return store;
}

static struct str
sender_of(const struct conn *c)
{
	return (struct str){ c->sender, c->sender_len };
}

/* ---- one recipient ---- */

/* A recipient with all that its decision needs; too large for the stack when many. */
struct judged {
	struct policy_view view;
	struct greylist_query query;
	struct future *future;
	const struct greylist_answer *answer; /* borrowed from future */
	struct verdict verdict;
};

static struct policy_view
view_of(struct milter_session *s, const struct conn *c, struct str rcpt)
{
	char sender[ADDRESS_MAX], recipient[ADDRESS_MAX];
	struct policy_facts facts = { .stage = STAGE_RCPT,
		.client = milter_client(s)->ip,
		.authenticated = c->authenticated,
		.sender = { sender, greylist_address(sender_of(c), sender) },
		.recipient = { recipient, greylist_address(rcpt, recipient) } };
	struct policy_view view;

	policy_resolve(c->settings, &facts, &view);
	return view;
}

/* Begin: the question goes to the store, unless nothing is to be asked or no time is
 * left. */
static void
judge_ask(struct judged *j, struct milter_session *s, struct conn *c, struct str rcpt,
    int64_t now)
{
	const struct greylist_facts facts = { .client = milter_client(s)->ip,
		.authenticated = c->authenticated,
		.sender = sender_of(c),
		.recipient = rcpt };

	greylist_want(&j->view.greylist, &facts, &j->query);
	struct store *store = store_now();
	if (j->query.exempt != NULL || store == NULL || c->budget_ms <= 0)
		return;
	j->future = store_greylist_check(store, &j->query.network,
	    (struct str){ j->query.client, j->query.client_len },
	    (struct str){ j->query.key, j->query.key_len }, &j->query.times, now);
}

/* End: wait for the answer within the message's budget, and judge. */
static void
judge_answer(struct judged *j, struct milter_session *s, struct conn *c, int64_t now)
{
	int64_t begin = clock_mono_ms();

	if (j->query.exempt != NULL) {
		j->verdict = verdict_continue(j->query.exempt);
		return;
	}
	if (j->future != NULL && milter_wait(s, j->future, begin + c->budget_ms))
		j->answer = future_value(j->future);
	c->budget_ms -= clock_mono_ms() - begin;
	j->verdict = greylist_verdict(&j->view.greylist, j->answer, now);
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
log_judged(struct milter_session *s, const struct conn *c, const struct judged *j,
    struct str rcpt)
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
	logline_str(&l, "from", c->null_sender ? STR("<>") : sender_of(c));
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

/* Log, count, remember for the header; returns what the client gets. */
static struct verdict
settle(struct judged *j, struct milter_session *s, struct conn *c, struct str rcpt,
    int64_t now)
{
	count(j);
	log_judged(s, c, j, rcpt);
	if (!j->query.inside)
		greylist_outcome_add(
		    &c->outcome, &j->verdict, j->answer, j->view.observe, now);
	if (j->view.observe || j->verdict.action == ACTION_CONTINUE)
		c->header = c->header || j->view.greylist.header;
	future_unref(j->future);
	j->future = NULL;
	j->answer = NULL;
	return j->view.observe ? verdict_continue("observed") : j->verdict;
}

static struct verdict
judge_recipient(struct milter_session *s, struct conn *c, struct str rcpt)
{
	struct judged *j = xcalloc(1, sizeof(*j));
	int64_t now = clock_wall();

	j->view = view_of(s, c, rcpt);
	judge_ask(j, s, c, rcpt, now);
	judge_answer(j, s, c, now);
	struct verdict v = settle(j, s, c, rcpt, now);
	policy_view_clear(&j->view);
	free(j);
	return v;
}

/* ---- the null sender ---- */

static struct policy_view
merged_view(struct milter_session *s, const struct conn *c)
{
	struct policy_view *views = xcalloc(c->n_null_rcpts, sizeof(*views)), merged;

	for (size_t i = 0; i < c->n_null_rcpts; i++)
		views[i] = view_of(s, c, str_of(c->null_rcpts[i]));
	policy_merge(c->settings, views, c->n_null_rcpts, &merged);
	for (size_t i = 0; i < c->n_null_rcpts; i++)
		policy_view_clear(&views[i]);
	free(views);
	return merged;
}

/* One answer for all: asked at once, so that they share one wait; the longest wait is
 * told. */
static struct verdict
judge_bounce(struct milter_session *s, struct conn *c)
{
	struct judged *j = xcalloc(c->n_null_rcpts, sizeof(*j));
	struct policy_view view = merged_view(s, c);
	struct verdict worst = verdict_continue("greylist");
	int64_t now = clock_wall();

	for (size_t i = 0; i < c->n_null_rcpts; i++) {
		j[i].view = view;
		judge_ask(&j[i], s, c, str_of(c->null_rcpts[i]), now);
	}
	for (size_t i = 0; i < c->n_null_rcpts; i++) {
		judge_answer(&j[i], s, c, now);
		struct verdict v = settle(&j[i], s, c, str_of(c->null_rcpts[i]), now);
		if (v.action != ACTION_CONTINUE &&
		    (worst.action == ACTION_CONTINUE || v.wait > worst.wait))
			worst = v;
	}
	policy_view_clear(&view);
	free(j);
	return worst;
}

/* Kept until the header has come. */
static struct verdict
keep_recipient(struct conn *c, struct str rcpt)
{
	if (c->n_null_rcpts == NULL_RCPTS_MAX)
		return verdict_refuse(452, "4.5.3", "too many recipients",
		    "Too many recipients of a message without sender, send the rest "
		    "again");
	c->null_rcpts[c->n_null_rcpts++] = str_dup(str_sub(rcpt, 0, PATH_KEPT));
	return verdict_continue("later");
}

/* ---- callbacks ---- */

static void *
conn_new(struct milter_session *s)
{
	struct conn *c = xcalloc(1, sizeof(*c));

	(void)s;
	pthread_mutex_lock(&worker.lock);
	c->settings = settings_ref(worker.settings);
	pthread_mutex_unlock(&worker.lock);
	return c;
}

static void
msg_clear(void *conn)
{
	struct conn *c = conn;

	for (size_t i = 0; i < c->n_null_rcpts; i++)
		free(c->null_rcpts[i]);
	c->n_null_rcpts = 0;
	c->sender_len = 0;
	c->authenticated = c->null_sender = c->header = false;
	c->outcome = (struct greylist_outcome){ .why = NULL };
	c->own_headers = 0;
}

static void
conn_free(void *conn)
{
	struct conn *c = conn;

	msg_clear(c);
	settings_unref(c->settings);
	free(c);
}

static struct verdict
on_mail(struct milter_session *s, void *conn, struct str path, const struct str *args,
    size_t n_args)
{
	struct conn *c = conn;

	(void)args, (void)n_args;
	path = str_sub(path, 0, sizeof(c->sender));
	if (path.len > 0)
		memcpy(c->sender, path.p, path.len);
	c->sender_len = path.len;
	c->null_sender = greylist_null_sender(path);
	c->authenticated = milter_client(s)->auth[0] != '\0';
	c->budget_ms = c->settings->state.budget_ms;
	return verdict_continue("greylist");
}

static struct verdict
on_rcpt(struct milter_session *s, void *conn, struct str path, const struct str *args,
    size_t n_args)
{
	struct conn *c = conn;

	(void)args, (void)n_args;
	path = str_sub(path, 0, PATH_KEPT);
	return c->null_sender ? keep_recipient(c, path) : judge_recipient(s, c, path);
}

static void
on_header(struct milter_session *s, void *conn, struct str name, struct str value)
{
	struct conn *c = conn;

	(void)s, (void)value;
	if (str_is_nocase(name, "X-Greylist"))
		c->own_headers++;
}

static struct verdict
on_eoh(struct milter_session *s, void *conn)
{
	struct conn *c = conn;

	return c->n_null_rcpts > 0 ? judge_bounce(s, c) : verdict_continue("greylist");
}

static struct verdict
on_eom(struct milter_session *s, void *conn)
{
	struct conn *c = conn;
	struct err err;
	struct buf value;

	if (!c->header || c->outcome.why == NULL || c->own_headers >= OWN_HEADERS_MAX)
		return verdict_continue("greylist");
	buf_init(&value, 900);
	greylist_header(&c->outcome, c->settings->run.host, clock_wall(), &value);
	/* A header that cannot be written is no reason to refuse mail. */
	if (milter_add_header(s, STR("X-Greylist"), buf_str(&value), &err) != 0)
		log_err("greylist_header", &err);
	buf_clear(&value);
	return verdict_continue("greylist");
}

/* ---- the process ---- */

static bool
load(const char *path, struct daemon_conf *conf, struct errs *errs)
{
	struct settings *s = settings_load(path, errs);

	if (s == NULL)
		return false;
	settings_daemon(s, "greylist", conf);
	conf->snapshot = s;
	return true;
}

static void
snapshot_unref(void *snapshot)
{
	settings_unref(snapshot);
}

static struct store *
open_store(const struct settings_state *state, struct err *err)
{
	const struct store_conf conf = settings_store(state);

	return store_open(&conf, err);
}

/* A store that cannot be opened must not stop mail: it passes, marked, until this
 * thread has opened it. */
static void *
opener_run(void *arg)
{
	struct settings *s = arg;
	struct timespec until;
	struct err err;

	pthread_mutex_lock(&worker.lock);
	while (!worker.stop && worker.store == NULL) {
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_sec += STORE_RETRY_S;
		pthread_cond_timedwait(&worker.stopping, &worker.lock, &until);
		if (worker.stop)
			break;
		pthread_mutex_unlock(&worker.lock);
		struct store *store = open_store(&s->state, &err);
		if (store != NULL)
			log_msg(LOG_LEVEL_WARN, "store_up", "the store is open");
		pthread_mutex_lock(&worker.lock);
		worker.store = store;
	}
	pthread_mutex_unlock(&worker.lock);
	settings_unref(s);
	return NULL;
}

static int
start(void *snapshot, struct err *err)
{
	struct settings *s = snapshot;

	worker.settings = s;
	worker.store = open_store(&s->state, err);
	if (worker.store != NULL)
		return 0;
	log_err("store_down", err);
	/* The settings of the start hold: those of the store are not reloaded. */
	worker.opener_runs = true;
	if (pthread_create(&worker.opener, NULL, opener_run, settings_ref(s)) == 0)
		return 0;
	worker.opener_runs = false;
	return err_set(err, "cannot start a thread");
}

static void
reload(void *snapshot, struct errs *errs)
{
	pthread_mutex_lock(&worker.lock);
	struct settings *old = worker.settings;
	settings_restart_needed(old, snapshot, errs);
	worker.settings = snapshot;
	pthread_mutex_unlock(&worker.lock);
	settings_unref(old);
}

static void
stop(void)
{
	pthread_mutex_lock(&worker.lock);
	worker.stop = true;
	pthread_cond_signal(&worker.stopping);
	pthread_mutex_unlock(&worker.lock);
	if (worker.opener_runs)
		pthread_join(worker.opener, NULL);
	store_close(worker.store);
	settings_unref(worker.settings);
}

int
main(int argc, char **argv)
{
	static const struct milter_ops milter = { .name = "postern-greylist",
		.conn_new = conn_new,
		.conn_free = conn_free,
		.msg_clear = msg_clear,
		.on_mail = on_mail,
		.on_rcpt = on_rcpt,
		.on_header = on_header,
		.on_eoh = on_eoh,
		.on_eom = on_eom,
		.changes_headers = true };
	static const struct daemon_ops ops = { .name = "postern-greylist",
		.version = "1",
		.milter = &milter,
		.load = load,
		.snapshot_unref = snapshot_unref,
		.start = start,
		.reload = reload,
		.stop = stop };

	return daemon_main(argc, argv, &ops);
}

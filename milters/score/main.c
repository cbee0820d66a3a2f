/* SPDX-License-Identifier: BSD-2-Clause */
/* postern-score: collects the beginning of a message, has the rules run over it in the
 * jail, sums up and carries out the verdict: refuse, mark, or let pass.  Fields of other
 * spam filters are taken out first, because recipients' filters would believe them. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/metrics.h"
#include "common/base/xalloc.h"
#include "common/run/daemon.h"
#include "common/run/jail.h"
#include "common/run/memfd.h"
#include "milters/score/collect.h"
#include "milters/score/score.h"
#include "policy/client_events.h"
#include "policy/greylist_judge.h"
#include "policy/policy.h"
#include "policy/settings.h"
#include "policy/settings_daemon.h"

#define RCPTS_MAX 1000 /* RFC 5321 4.5.3.1.8 asks for 100 */

#define DECISION(var, action)                                                          \
	METRIC_COUNTER(var, "postern_score_decisions_total", "action=\"" action "\"",  \
	    "Messages by what postern-score did with them")
DECISION(passed_total, "pass");
DECISION(tagged_total, "tag");
DECISION(refused_total, "refuse");
DECISION(deferred_total, "greylist");
DECISION(failed_total, "failed");
DECISION(observed_total, "observe");
METRIC_COUNTER(events_total, "postern_score_events_total", NULL,
    "Refused spam told to the other daemons");
METRIC_HISTOGRAM(jail_seconds, "postern_score_jail_seconds", NULL,
    "Time that a message's rules took, waiting included");

/* Settings and the rules that belong to them; immutable. */
struct snapshot {
	_Atomic unsigned refs;
	struct settings *settings;
	struct rules *rules;
};

static struct {
	pthread_mutex_t lock; /* guards snapshot */
	struct snapshot *snapshot;
	struct jail_client *jail;
	struct judge_env env;
} worker = { .lock = PTHREAD_MUTEX_INITIALIZER };

struct conn {
	struct snapshot *snap;
	/* Of the message. */
	char *sender; /* as typed */
	char **rcpts;
	size_t n_rcpts;
	struct policy_view view;
	struct collect message;
	struct judge_message greylist; /* of mail that is suspicious */
};

static struct snapshot *
snapshot_now(void)
{
	pthread_mutex_lock(&worker.lock);
	struct snapshot *snap = worker.snapshot;
	snap->refs++;
	pthread_mutex_unlock(&worker.lock);
	return snap;
}

static void
snapshot_unref(void *snapshot)
{
	struct snapshot *snap = snapshot;

	if (snap == NULL || --snap->refs > 0)
		return;
	rules_free(snap->rules);
	settings_unref(snap->settings);
	free(snap);
}

/* ---- the message as it comes ---- */

static void *
conn_new(struct milter_session *s)
{
	struct conn *c = xcalloc(1, sizeof(*c));

	(void)s;
	c->snap = snapshot_now();
	collect_init(&c->message);
	return c;
}

static void
msg_clear(void *conn)
{
	struct conn *c = conn;

	free(c->sender);
	c->sender = NULL;
	for (size_t i = 0; i < c->n_rcpts; i++)
		free(c->rcpts[i]);
	free(c->rcpts);
	c->rcpts = NULL;
	c->n_rcpts = 0;
	policy_view_clear(&c->view);
	collect_clear(&c->message);
	judge_clear(&c->greylist);
}

static void
conn_free(void *conn)
{
	struct conn *c = conn;

	msg_clear(c);
	snapshot_unref(c->snap);
	free(c);
}

static struct verdict
on_mail(struct milter_session *s, void *conn, struct str path, const struct str *args,
    size_t n_args)
{
	struct conn *c = conn;

	(void)args, (void)n_args;
	free(c->sender);
	c->sender = str_dup(path);
	judge_begin(&c->greylist, s, GREYLIST_SUSPICIOUS_AT_END, c->snap->settings,
	    &worker.env, path);
	return verdict_continue("score");
}

static struct verdict
on_rcpt(struct milter_session *s, void *conn, struct str path, const struct str *args,
    size_t n_args)
{
	struct conn *c = conn;

	(void)s, (void)args, (void)n_args;
	if (c->n_rcpts == RCPTS_MAX)
		return verdict_refuse(
		    452, "4.5.3", "recipients", "Too many recipients for one message");
	if ((c->n_rcpts & (c->n_rcpts - 1)) == 0)
		c->rcpts = xreallocarray(
		    c->rcpts, c->n_rcpts > 0 ? c->n_rcpts * 2 : 1, sizeof(*c->rcpts));
	c->rcpts[c->n_rcpts++] = str_dup(path);
	return verdict_continue("score");
}

static void
on_header(struct milter_session *s, void *conn, struct str name, struct str value)
{
	struct conn *c = conn;

	(void)s;
	collect_header(&c->message, name, value);
	judge_header(&c->greylist, name);
}

static struct str
bare(const char *path)
{
	struct str s = str_of(path == NULL ? "" : path);

	return s.len >= 2 && s.p[0] == '<' && s.p[s.len - 1] == '>' ? str_sub(s, 1, s.len - 1)
								   : s;
}

/* One answer for all recipients, by the merge column of each setting. */
static void
settings_for(struct milter_session *s, struct conn *c)
{
	struct policy_view *views = xcalloc(c->n_rcpts + 1, sizeof(*views));
	struct policy_facts facts = { .stage = STAGE_EOM,
		.client = milter_client(s)->ip,
		.authenticated = milter_client(s)->auth[0] != '\0',
		.sender = bare(c->sender) };
	size_t n = 0;

	do {
		facts.recipient = bare(c->n_rcpts == 0 ? NULL : c->rcpts[n]);
		policy_resolve(c->snap->settings, &facts, &views[n++]);
	} while (n < c->n_rcpts);
	policy_merge(c->snap->settings, views, n, &c->view);
	free(views);
}

/* Whether mail may have to wait for its score's sake. */
static bool
greylists(const struct conn *c)
{
	return c->view.score.scan && c->view.greylist.when == GREYLIST_SUSPICIOUS &&
	    c->n_rcpts > 0;
}

static struct verdict
on_eoh(struct milter_session *s, void *conn)
{
	struct conn *c = conn;

	settings_for(s, c);
	if (greylists(c))
		judge_ahead(&c->greylist, s, &c->view.greylist);
	collect_limit(&c->message, c->view.score.scan ? c->view.score.scan_size : 0);
	return verdict_continue("score");
}

static void
on_body(struct milter_session *s, void *conn, struct str chunk)
{
	struct conn *c = conn;

	(void)s;
	collect_body(&c->message, chunk);
}

/* ---- asking the jail ---- */

_Static_assert(COLLECT_HASH_SIZE == JAIL_HASH_SIZE, "one name for one content");

/* The message with the Received line that the MTA is about to write, which the rules of
 * the last hop look at.  -1: err. */
static int
message_memfd(struct milter_session *s, const struct conn *c, struct err *err)
{
	const struct milter_client *client = milter_client(s);
	char ip[IP_TEXT_MAX];
	struct buf received;
	int fd = memfd_new("message", err);

	if (fd < 0)
		return -1;
	const struct score_hop hop = { .helo = client->helo,
		.name = client->name,
		.ip = ip_format(&client->ip, ip),
		.host = c->snap->settings->run.host,
		.id = client->queue_id,
		.authenticated = client->auth[0] != '\0' };
	buf_init(&received, 4000);
	buf_add_cstr(&received, "Received: ");
	score_received(&hop, clock_wall(), &received);
	buf_add_char(&received, '\n');
	int rc = memfd_add(fd, buf_str(&received), err);
	if (rc == 0)
		rc = memfd_add(fd, buf_str(&c->message.head), err);
	if (rc == 0)
		rc = memfd_add(fd, STR("\n"), err);
	if (rc == 0)
		rc = memfd_add(fd, buf_str(&c->message.body), err);
	if (rc == 0)
		rc = memfd_seal(fd, err);
	buf_clear(&received);
	if (rc == 0)
		return fd;
	close(fd);
	return -1;
}

/* The jail's findings into *hits.  NULL, or why there are none. */
static const char *
ask_jail(struct milter_session *s, const struct conn *c, struct hits *hits)
{
	static const char *const reasons[] = { [JAIL_OK] = NULL, [JAIL_FAILED] = "died",
		[JAIL_BUSY] = "busy", [JAIL_GONE] = "gone" };
	int64_t began = clock_mono_us(), budget = c->view.score.budget_ms;
	uint8_t hash[JAIL_HASH_SIZE];
	const char *why;
	struct err err;
	int fd = message_memfd(s, c, &err);

	if (fd < 0) {
		log_err("score", &err);
		return "memory";
	}
	collect_hash(&c->message, hash);
	struct future *f = jail_ask(worker.jail, str_of(c->sender), fd, hash, budget);
	close(fd);
	/* two tries with their budgets, and some waiting for a free worker */
	if (milter_wait(s, f, clock_mono_ms() + budget * 3)) {
		const struct jail_answer *a = future_value(f);

		why = a->status == JAIL_FAILED && a->timed_out ? "time" : reasons[a->status];
		if (why == NULL && hits_read(a->reply, c->snap->rules, hits, &err) != 0) {
			log_err("score", &err);
			why = "answer";
		}
	} else {
		why = "late";
	}
	future_unref(f);
	metric_observe_us(&jail_seconds, clock_mono_us() - began);
	return why;
}

/* ---- what becomes of it ---- */

/* All that was found out about a message. */
struct judged {
	enum score_state state;
	const char *failure; /* NULL: none */
	struct hits hits;
	struct score score;
	struct score_decision decision;
	bool greylisted; /* the verdict is that of greylisting */
	int64_t us;
};

static void
judge(struct milter_session *s, const struct conn *c, struct judged *j)
{
	int64_t began = clock_mono_us();

	*j = (struct judged){ .state = SCORE_FAILED };
	j->failure = ask_jail(s, c, &j->hits);
	if (j->failure == NULL) {
		score_message(c->snap->rules, SCORE_SET_LOCAL, &j->hits, &j->score);
		j->state = c->message.cut || j->hits.cut || j->hits.over ? SCORE_PARTLY
									 : SCORE_DONE;
	}
	j->decision = score_decide(&c->view.score, j->state, &j->score);
	j->us = clock_mono_us() - began;
}

/* The second stage of greylisting: what is not refused but suspicious waits, unless it
 * has waited before, in whichever way. */
static void
greylist(struct milter_session *s, struct conn *c, struct judged *j)
{
	if (!greylists(c) || j->state == SCORE_FAILED ||
	    j->decision.verdict.action != ACTION_CONTINUE ||
	    j->score.points < c->view.greylist.suspicious)
		return;
	struct verdict v = judge_together(&c->greylist, s, c->rcpts, c->n_rcpts);
	j->greylisted = v.action != ACTION_CONTINUE;
	if (j->greylisted)
		j->decision.verdict = v;
}

static void
log_judged(struct milter_session *s, const struct conn *c, const struct judged *j)
{
	const struct milter_client *client = milter_client(s);
	const struct score_decision *d = &j->decision;
	struct logline l;
	struct buf text;
	char addr[IP_TEXT_MAX];

	logline_init(&l, j->failure == NULL ? LOG_LEVEL_INFO : LOG_LEVEL_WARN, "score");
	logline_cstr(&l, c->view.observe ? "would" : "action",
	    d->verdict.action == ACTION_CONTINUE && d->tag ? "tag"
							   : action_name(d->verdict.action));
	logline_cstr(&l, "qid", client->queue_id);
	logline_cstr(&l, "client", ip_format(&client->ip, addr));
	logline_str(&l, "from", bare(c->sender));
	logline_str(&l, "to", bare(c->n_rcpts == 0 ? NULL : c->rcpts[0]));
	if (c->n_rcpts > 1)
		logline_int(&l, "nrcpt", (int64_t)c->n_rcpts);
	logline_int(&l, "size", (int64_t)c->message.size);
	buf_init(&text, 800); /* a line is short: the header has all tests */
	if (j->failure == NULL) {
		score_print_points(j->score.points, &text);
		logline_str(&l, "score", buf_str(&text));
		buf_reset(&text);
		score_tests(c->snap->rules, &j->score, &text);
		logline_str(&l, "tests", buf_str(&text));
	} else {
		logline_cstr(&l, "score", "failed");
		logline_cstr(&l, "why", j->failure);
	}
	buf_clear(&text);
	if (j->greylisted)
		logline_cstr(&l, "why", d->verdict.why);
	if (j->state == SCORE_PARTLY)
		logline_cstr(&l, "partly", j->hits.over ? "time" : "size");
	if (j->hits.n_domains > 0)
		logline_int(&l, "domains", (int64_t)j->hits.n_domains);
	logline_int(&l, "us", j->us);
	logline_send(&l);
}

static void
count(const struct conn *c, const struct judged *j)
{
	if (c->view.observe)
		metric_add(&observed_total, 1);
	else if (j->failure != NULL)
		metric_add(&failed_total, 1);
	else if (j->greylisted)
		metric_add(&deferred_total, 1);
	else if (j->decision.verdict.action != ACTION_CONTINUE)
		metric_add(&refused_total, 1);
	else
		metric_add(j->decision.tag ? &tagged_total : &passed_total, 1);
}

/* Spam is told to all hosts' greylisting; mail that could not be scored is none. */
static struct verdict
refuse(struct milter_session *s, const struct conn *c, const struct judged *j)
{
	const struct milter_client *client = milter_client(s);

	if (j->state != SCORE_FAILED && !j->greylisted &&
	    client_event_add(store_opener_get(worker.env.opener), &client->ip,
		client->auth[0] != '\0', EVENT_SPAM, &c->view.greylist))
		metric_add(&events_total, 1);
	return j->decision.verdict;
}

/* Fields of other filters out, the highest index first, which the glue sees to. */
static int
remove_marks(struct milter_session *s, const struct conn *c, struct err *err)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < c->message.n_marks; i++)
		for (unsigned n = c->message.marks[i].n; rc == 0 && n > 0; n--)
			rc = milter_change_header(
			    s, n, str_of(c->message.marks[i].name), STR(""), err);
	return rc;
}

static int
tag_subject(struct milter_session *s, const struct conn *c, struct err *err)
{
	struct buf value;
	int rc;

	if (c->view.score.subject_tag[0] == '\0')
		return 0;
	buf_init(&value, COLLECT_SUBJECT_MAX + 100);
	buf_add_cstr(&value, c->view.score.subject_tag);
	if (c->message.subject != NULL) {
		buf_add_char(&value, ' ');
		buf_add_cstr(&value, c->message.subject);
		rc = milter_change_header(s, 1, STR("Subject"), buf_str(&value), err);
	} else {
		rc = milter_add_header(s, STR("Subject"), buf_str(&value), err);
	}
	buf_clear(&value);
	return rc;
}

static int
add_fields(struct milter_session *s, const struct conn *c, const struct judged *j,
    struct err *err)
{
	struct buf value;
	int rc = 0;

	buf_init(&value, 50000);
	if (j->decision.tag)
		rc = milter_add_header(s, STR("X-Spam-Flag"), STR("YES"), err);
	score_level(&j->score, &value);
	if (rc == 0 && value.len > 0)
		rc = milter_add_header(s, STR("X-Spam-Level"), buf_str(&value), err);
	buf_reset(&value);
	score_status(c->snap->rules, &c->view.score, j->state, j->decision.tag, &j->score,
	    &value);
	if (rc == 0)
		rc = milter_add_header(s, STR("X-Spam-Status"), buf_str(&value), err);
	buf_reset(&value);
	buf_addf(&value, "Postern 1 on %s", c->snap->settings->run.host);
	if (rc == 0)
		rc = milter_add_header(s, STR("X-Spam-Checker-Version"), buf_str(&value), err);
	buf_clear(&value);
	return rc;
}

/* Mail that goes on carries our fields and nobody else's. */
static struct verdict
edit(struct milter_session *s, struct conn *c, const struct judged *j)
{
	struct err err;
	int rc = remove_marks(s, c, &err);

	if (rc == 0 && j->decision.tag)
		rc = tag_subject(s, c, &err);
	if (rc == 0)
		rc = add_fields(s, c, j, &err);
	if (rc == 0) {
		judge_mark(&c->greylist, s);
		return j->decision.verdict;
	}
	log_err("score", &err);
	return verdict_refuse(451, "4.3.0", "edits",
	    "The message could not be marked, please try again later");
}

static struct verdict
on_eom(struct milter_session *s, void *conn)
{
	struct conn *c = conn;
	struct judged j;
	struct verdict v;

	if (!c->view.score.scan)
		return verdict_continue("off");
	if (c->message.too_marked && !c->view.observe)
		return verdict_refuse(554, "5.6.0", "marks",
		    "Too many X-Spam fields: remove them and send the message again");
	collect_end(&c->message);
	judge(s, c, &j);
	greylist(s, c, &j);
	log_judged(s, c, &j);
	count(c, &j);
	if (c->view.observe)
		v = verdict_continue("observed");
	else if (j.decision.verdict.action != ACTION_CONTINUE)
		v = refuse(s, c, &j);
	else
		v = edit(s, c, &j);
	hits_clear(&j.hits);
	score_clear(&j.score);
	return v;
}

/* ---- the process ---- */

static bool
load(const char *path, struct daemon_conf *conf, struct errs *errs)
{
	struct settings *s = settings_load(path, errs);
	struct rules *rules;

	if (s == NULL)
		return false;
	rules = rules_load((const char *const *)s->score.rules.list, s->score.rules.n, errs);
	if (rules == NULL) {
		settings_unref(s);
		return false;
	}
	settings_daemon(s, "score", conf);
	struct snapshot *snap = xcalloc(1, sizeof(*snap));
	snap->refs = 1;
	snap->settings = s;
	snap->rules = rules;
	conf->snapshot = snap;
	return true;
}

/* What the rule files say that is not acted on: people should not have to guess. */
static void
log_notes(const struct rules *r)
{
	for (size_t i = 0; i < r->n_notes; i++)
		log_msg(LOG_LEVEL_DEBUG, "rules", "%s: not acted on, %zu times, first in %s:%d",
		    r->notes[i].what, r->notes[i].n, r->notes[i].file, r->notes[i].line);
	if (r->n_notes > 0)
		log_msg(LOG_LEVEL_INFO, "rules",
		    "%zu kinds of statements and eval rules are not acted on; posternctl test "
		    "score -v names them",
		    r->n_notes);
}

static int
start(void *snapshot, struct err *err)
{
	worker.snapshot = snapshot;
	log_notes(worker.snapshot->rules);
	if (judge_env_open(&worker.env, worker.snapshot->settings, err) != 0)
		return -1;
	worker.jail = jail_client_new(daemon_jail_address());
	return worker.jail != NULL ? 0 : err_set(err, "cannot start the jail's client");
}

static void
reload(void *snapshot, struct errs *errs)
{
	pthread_mutex_lock(&worker.lock);
	struct snapshot *old = worker.snapshot;
	worker.snapshot = snapshot;
	settings_restart_needed(old->settings, worker.snapshot->settings, errs);
	pthread_mutex_unlock(&worker.lock);
	snapshot_unref(old);
}

static void
stop(void)
{
	jail_client_free(worker.jail);
	judge_env_close(&worker.env);
	snapshot_unref(worker.snapshot);
}

int
main(int argc, char **argv)
{
	static const struct milter_ops milter = { .name = "postern-score",
		.conn_new = conn_new,
		.conn_free = conn_free,
		.msg_clear = msg_clear,
		.on_mail = on_mail,
		.on_rcpt = on_rcpt,
		.on_header = on_header,
		.on_eoh = on_eoh,
		.on_body = on_body,
		.on_eom = on_eom,
		.changes_headers = true };
	static const struct daemon_ops ops = { .name = "postern-score",
		.version = "1",
		.milter = &milter,
		.jail = "postern-scorejail",
		.load = load,
		.snapshot_unref = snapshot_unref,
		.start = start,
		.reload = reload,
		.stop = stop };

	return daemon_main(argc, argv, &ops);
}

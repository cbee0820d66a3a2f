/* SPDX-License-Identifier: BSD-2-Clause */
/* postern-access: binds libmilter's callbacks to the engine of the access map and to the
 * checks (check.h).  Collects facts, turns results into verdicts, logs.  A client that the
 * map refuses is refused at MAIL: at connect no text could be given, and nobody can have
 * authenticated.  DISCARD and QUARANTINE are remembered and carried out at the end of the
 * message, so that later recipients are still judged. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/metrics.h"
#include "common/base/xalloc.h"
#include "common/run/daemon.h"
#include "milters/access/access_facts.h"
#include "milters/access/access_map.h"
#include "milters/access/access_maps.h"
#include "milters/access/access_store.h"
#include "milters/access/check.h"
#include "milters/access/check_table.h"
#include "policy/policy.h"
#include "policy/settings.h"
#include "policy/settings_daemon.h"

METRIC_COUNTER(refused_total, "postern_access_decisions_total", "action=\"refuse\"",
    "Decisions of postern-access by what became of mail");
METRIC_COUNTER(discarded_total, "postern_access_decisions_total", "action=\"discard\"",
    "Decisions of postern-access by what became of mail");
METRIC_COUNTER(held_total, "postern_access_decisions_total", "action=\"quarantine\"",
    "Decisions of postern-access by what became of mail");
METRIC_COUNTER(passed_total, "postern_access_decisions_total", "action=\"pass\"",
    "Decisions of postern-access by what became of mail");
METRIC_COUNTER(observed_total, "postern_access_decisions_total", "action=\"observe\"",
    "Decisions of postern-access by what became of mail");

/* What the worker holds; settings change at a reload, the rest at a restart. */
static struct {
	pthread_mutex_t lock; /* guards settings */
	struct settings *settings;
	struct resolver *resolver;
	struct access_maps *maps;
	struct access_store *store;
	struct checks *checks;
} worker = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* What hangs over a message until its end. */
struct pending {
	bool discard;
	struct verdict quarantine; /* action CONTINUE: none */
};

struct conn {
	struct access_known known;
	struct check_conn *checks;
	struct pending pending; /* of the message */
	struct access_result at_mail; /* what the map said of client and sender there */
};

static struct policy_view
view_at(
    struct milter_session *s, const struct conn *c, enum stage stage, struct str rcpt)
{
	const struct access_known *k = &c->known;
	struct policy_facts facts = { .stage = stage,
		.client = milter_client(s)->ip,
		.authenticated = k->authenticated,
		.sender = str_of(k->have_sender ? k->sender.given : ""),
		.recipient = rcpt };
	struct policy_view view;

	policy_resolve(k->settings, &facts, &view);
	return view;
}

/* ---- what became of it ---- */

static void
log_checks(struct logline *l, const struct conn *c, int64_t points, unsigned spared)
{
	struct buf text;

	buf_init(&text, 64);
	access_points_print(points, &text);
	logline_cstr(l, "points", buf_cstr(&text));
	buf_clear(&text);
	buf_init(&text, 1000);
	check_print(c->checks, spared, &text);
	logline_cstr(l, "findings", buf_cstr(&text));
	buf_clear(&text);
}

static void
log_envelope(struct logline *l, struct milter_session *s, const struct conn *c,
    struct str rcpt)
{
	const struct milter_client *client = milter_client(s);
	const struct access_known *k = &c->known;

	if (client->queue_id[0] != '\0')
		logline_cstr(l, "qid", client->queue_id);
	logline_cstr(l, "client", k->addr[0] != '\0' ? k->addr : "local");
	logline_cstr(l, "name", client->name);
	if (client->helo[0] != '\0')
		logline_cstr(l, "helo", client->helo);
	if (k->have_sender)
		logline_cstr(l, "from", k->sender.given);
	if (rcpt.p != NULL)
		logline_str(l, "to", rcpt);
}

static void
log_verdict(struct logline *l, const struct verdict *v)
{
	if (v->code != 0) {
		logline_int(l, "code", v->code);
		logline_cstr(l, "status", v->enhanced);
	}
	if (v->text[0] != '\0')
		logline_cstr(l, "text", v->text);
}

static void
log_map_result(struct milter_session *s, const struct conn *c,
    const struct access_result *r, struct str rcpt, bool observe)
{
	static const char *const words[] = { "continue", "continue", "refuse",
		"discard", "quarantine" };
	struct logline l;

	logline_init(&l, LOG_LEVEL_INFO, "access");
	logline_cstr(&l, observe ? "would" : "action",
	    r->kind == ACCESS_REFUSED ? action_name(r->verdict.action)
				      : words[r->kind]);
	log_envelope(&l, s, c, rcpt);
	logline_cstr(&l, "why", r->verdict.why);
	if (r->key[0] != '\0')
		logline_cstr(&l, "entry", r->key);
	if (r->file != NULL) {
		logline_cstr(&l, "map", r->file);
		if (r->line > 0)
			logline_int(&l, "line", r->line);
	}
	if (r->note.len > 0)
		logline_str(&l, "note", r->note);
	log_verdict(&l, &r->verdict);
	logline_send(&l);
}

/* One line for each recipient, and for a sender that was refused, with all facts that
 * judging it anew needs: `posternctl access replay` reads these. */
static void
log_case(const struct conn *c, const struct access_facts *f, struct str rcpt,
    const struct access_result *r, const struct verdict *v)
{
	const struct check_facts *k = &f->check;
	struct buf findings;
	struct logline l;

	if (!k->view->access.log_envelopes)
		return;
	logline_init(&l, LOG_LEVEL_INFO, "envelope");
	logline_cstr(&l, k->view->observe ? "would" : "action",
	    v->action != ACTION_CONTINUE ? action_name(v->action)
					 : access_result_name(r));
	log_envelope(&l, k->session, c, rcpt);
	logline_cstr(&l, "resolve", access_resolve_name(k->resolve));
	logline_cstr(&l, "mta", c->known.own_names[1]);
	if (k->rcpt_mailer != NULL)
		logline_cstr(&l, "mailer", k->rcpt_mailer);
	if (c->known.authenticated)
		logline_cstr(&l, "auth", k->auth);
	if (v->code != 0) {
		logline_int(&l, "code", v->code);
		logline_cstr(&l, "status", v->enhanced);
	}
	buf_init(&findings, 1000);
	check_print(c->checks, k->spared, &findings);
	if (findings.len > 0)
		logline_cstr(&l, "findings", buf_cstr(&findings));
	buf_clear(&findings);
	logline_send(&l);
}

/* A result of the map as this milter's verdict; refusals now, the rest at end of
 * message. */
static struct verdict
act(struct milter_session *s, struct conn *c, const struct access_result *r,
    struct str rcpt, bool observe)
{
	if (r->kind == ACCESS_NONE || r->kind == ACCESS_OK)
		return verdict_continue("access");
	log_map_result(s, c, r, rcpt, observe);
	if (observe) {
		metric_add(&observed_total, 1);
		return verdict_continue("observed");
	}
	if (r->kind == ACCESS_REFUSED) {
		metric_add(&refused_total, 1);
		return r->verdict;
	}
	if (r->kind == ACCESS_DISCARD)
		c->pending.discard = true;
	else /* the last reason stands */
		c->pending.quarantine = r->verdict;
	return verdict_continue("access");
}

static bool
decides(const struct verdict *v)
{
	return v->action != ACTION_CONTINUE;
}

/* A message that passes although something was found. */
static void
log_passed(struct conn *c, const struct access_facts *f, int64_t points)
{
	struct logline l;
	struct buf found;

	buf_init(&found, 1000);
	check_print(c->checks, f->check.spared, &found);
	bool any = found.len > 0;
	buf_clear(&found);
	if (!any)
		return;
	logline_init(&l, LOG_LEVEL_INFO, "access");
	logline_cstr(&l, "action", "continue");
	log_envelope(&l, f->check.session, c, (struct str){ 0 });
	log_checks(&l, c, points, f->check.spared);
	logline_send(&l);
}

/* What the checks come to at this phase, logged where it is or would be a refusal, and at
 * the end in any case. */
static struct verdict
run_checks(struct conn *c, enum check_phase phase, const struct access_facts *f)
{
	struct milter_session *s = f->check.session;
	struct combined sum;
	struct logline l;

	if (!check_judge(c->checks, phase, &f->check, &sum))
		return sum.verdict;
	bool observe = f->check.view->observe || !decides(&sum.verdict);
	const struct verdict *v = decides(&sum.verdict) ? &sum.verdict : &sum.would;
	if (!decides(v)) {
		if (phase == CHECK_EOM)
			log_passed(c, f, sum.points);
		return *v;
	}
	logline_init(&l, LOG_LEVEL_INFO, "access");
	logline_cstr(&l, observe ? "would" : "action", action_name(v->action));
	log_envelope(&l, s, c,
	    f->check.rcpt != NULL ? str_of(f->check.rcpt->given) : (struct str){ 0 });
	logline_cstr(&l, "why", v->why);
	log_checks(&l, c, sum.points, f->check.spared);
	log_verdict(&l, v);
	logline_send(&l);
	metric_add(observe ? &observed_total : &refused_total, 1);
	return observe ? verdict_continue("observed") : sum.verdict;
}

/* ---- callbacks ---- */

static bool
wait_in_callback(void *arg, struct future *f, int64_t deadline_ms)
{
	return milter_wait(arg, f, deadline_ms);
}

static void *
conn_new(struct milter_session *s)
{
	struct conn *c = xcalloc(1, sizeof(*c));
	struct access_known *k = &c->known;

	pthread_mutex_lock(&worker.lock);
	k->settings = settings_ref(worker.settings);
	pthread_mutex_unlock(&worker.lock);
	k->maps = access_maps_view_new(worker.maps, wait_in_callback, s);
	snprintf(k->own_names[0], sizeof(k->own_names[0]), "%s", k->settings->run.host);
	c->checks = check_conn_new(worker.checks);
	return c;
}

static void
conn_free(void *conn)
{
	struct conn *c = conn;

	check_conn_free(c->checks);
	access_maps_view_free(c->known.maps);
	settings_unref(c->known.settings);
	free(c);
}

static void
msg_clear(void *conn)
{
	struct conn *c = conn;

	check_msg_clear(c->checks);
	access_maps_view_fresh(c->known.maps);
	c->known.have_sender = c->known.authenticated = false;
	c->pending = (struct pending){ .discard = false };
	c->at_mail = (struct access_result){ .kind = ACCESS_NONE };
	memset(&c->known.sender, 0, sizeof(c->known.sender));
}

/* A phase without a say of the map: ask, and judge what is due. */
static struct verdict
checks_alone(struct milter_session *s, struct conn *c, enum check_phase phase,
    enum stage stage)
{
	struct policy_view view = view_at(s, c, stage, STR(""));
	struct access_facts f;

	access_facts_init(&f, s, &c->known, &view, NULL);
	if (phase == CHECK_CONNECT) {
		c->known.in_map = !access_want_dnsbl(&f.access);
		if (c->known.in_map)
			f.check.spared |= CHECK_SPARE_MAP;
	}
	check_ask(c->checks, phase, &f.check);
	struct verdict v = run_checks(c, phase, &f);
	if (decides(&v))
		check_told(c->checks, phase, &f.check, &v);
	else if (phase == CHECK_EOM)
		check_eom(c->checks, &f.check);
	policy_view_clear(&view);
	return v;
}

static struct verdict
on_connect(struct milter_session *s, void *conn)
{
	struct conn *c = conn;
	struct access_known *k = &c->known;
	const struct milter_client *client = milter_client(s);

	access_facts_addr(&client->ip, k->addr);
	snprintf(k->own_names[1], sizeof(k->own_names[1]), "%s", client->mta);
	return checks_alone(s, c, CHECK_CONNECT, STAGE_CONNECT);
}

static struct verdict
on_helo(struct milter_session *s, void *conn)
{
	return checks_alone(s, conn, CHECK_HELO, STAGE_CONNECT);
}

/* An address that sendmail's parser refuses before any check. */
static struct verdict
refuse_syntax(
    struct milter_session *s, struct conn *c, struct verdict v, struct str path)
{
	const struct access_result r = { .kind = ACCESS_REFUSED, .verdict = v };

	return act(s, c, &r, path, false);
}

/* The map on client and sender, unless delay_checks leaves them to the recipients. */
static struct verdict
map_on_sender(struct milter_session *s, struct conn *c, const struct access_facts *f,
    struct access_result *r)
{
	bool observe = f->check.view->observe;

	*r = (struct access_result){ .kind = ACCESS_NONE };
	if (f->rules.delay != ACCESS_AT_ONCE)
		return verdict_continue("delayed");
	struct access_result relay = access_check_relay(&f->access);
	/* As in sendmail: held for its client's sake only with delay_checks. */
	if (relay.kind == ACCESS_QUARANTINE)
		relay.kind = ACCESS_NONE;
	*r = relay;
	struct verdict v = act(s, c, &relay, (struct str){ 0 }, observe);
	if (decides(&v))
		return v;
	struct access_result mail = access_check_mail(&f->access, false);
	*r = access_result_heavier(&relay, &mail);
	return act(s, c, &mail, (struct str){ 0 }, observe);
}

static struct verdict
judge_sender(struct milter_session *s, struct conn *c, const struct policy_view *view)
{
	struct access_facts f;

	access_facts_init(&f, s, &c->known, view, NULL);
	check_ask(c->checks, CHECK_MAIL, &f.check);
	struct verdict v = map_on_sender(s, c, &f, &c->at_mail);
	if (!decides(&v))
		v = run_checks(c, CHECK_MAIL, &f);
	if (decides(&v)) {
		log_case(c, &f, (struct str){ 0 }, &c->at_mail, &v);
		check_told(c->checks, CHECK_MAIL, &f.check, &v);
	}
	return v;
}

static struct verdict
on_mail(struct milter_session *s, void *conn, struct str path, const struct str *args,
    size_t n_args)
{
	static const struct access_classes none = { .host = NULL };
	struct conn *c = conn;
	struct access_known *k = &c->known;
	struct verdict syntax;

	(void)args;
	(void)n_args;
	k->authenticated = milter_client(s)->auth[0] != '\0';
	if (access_addr_parse(&none, (struct access_routes){ false, false }, path,
		&k->sender, &syntax) != 0)
		return refuse_syntax(s, c, syntax, path);
	k->have_sender = true;
	struct policy_view view = view_at(s, c, STAGE_MAIL, STR(""));
	struct verdict v = judge_sender(s, c, &view);
	policy_view_clear(&view);
	return v;
}

static struct verdict
judge_recipient(struct milter_session *s, struct conn *c,
    const struct policy_view *view, const struct access_addr *rcpt)
{
	struct access_facts f;

	access_facts_init(&f, s, &c->known, view, rcpt);
	check_ask(c->checks, CHECK_RCPT, &f.check);
	struct access_result r = f.rules.delay == ACCESS_AT_ONCE
	    ? access_check_rcpt(&f.access, rcpt)
	    : access_check_delayed(&f.access, rcpt);
	struct verdict v = act(s, c, &r, str_of(rcpt->given), view->observe);
	if (!decides(&v))
		v = run_checks(c, CHECK_RCPT, &f);
	r = access_result_heavier(&c->at_mail, &r);
	log_case(c, &f, str_of(rcpt->given), &r, &v);
	check_told(c->checks, CHECK_RCPT, &f.check, &v);
	return v;
}

static struct verdict
on_rcpt(struct milter_session *s, void *conn, struct str path, const struct str *args,
    size_t n_args)
{
	static const struct access_classes none = { .host = NULL };
	struct conn *c = conn;
	struct access_addr rcpt;
	struct verdict v;

	(void)args;
	(void)n_args;
	if (access_addr_parse(
		&none, (struct access_routes){ false, false }, path, &rcpt, &v) != 0)
		return refuse_syntax(s, c, v, path);
	struct policy_view view = view_at(s, c, STAGE_RCPT, str_of(rcpt.given));
	v = judge_recipient(s, c, &view, &rcpt);
	policy_view_clear(&view);
	return v;
}

/* The MTA has refused it: told to those that count. */
static void
on_rcpt_refused(struct milter_session *s, void *conn, struct str path,
    struct str enhanced, struct str text)
{
	static const struct access_classes none = { .host = NULL };
	struct conn *c = conn;
	struct access_addr rcpt;
	struct access_facts f;
	struct verdict v;

	if (enhanced.len == 0 || access_addr_parse(&none,
		(struct access_routes){ false, false }, path, &rcpt, &v) != 0)
		return;
	struct policy_view view = view_at(s, c, STAGE_RCPT, str_of(rcpt.given));
	char code[12];

	(void)snprintf(code, sizeof(code), "%.*s", (int)(enhanced.len % sizeof(code)),
	    enhanced.p);
	v = verdict_refuse(code[0] == '4' ? 450 : 550, code, "mail server", "%.*s",
	    (int)(text.len < 200 ? text.len : 200), text.len > 0 ? text.p : "");
	access_facts_init(&f, s, &c->known, &view, &rcpt);
	check_told(c->checks, CHECK_RCPT, &f.check, &v);
	policy_view_clear(&view);
}

static void
on_header(struct milter_session *s, void *conn, struct str name, struct str value)
{
	struct conn *c = conn;

	(void)s;
	check_header(c->checks, name, value);
}

static struct verdict
on_eoh(struct milter_session *s, void *conn)
{
	return checks_alone(s, conn, CHECK_EOH, STAGE_MAIL);
}

static struct verdict
on_eom(struct milter_session *s, void *conn)
{
	struct conn *c = conn;

	if (c->pending.discard) {
		metric_add(&discarded_total, 1);
		return (struct verdict){ .action = ACTION_DISCARD, .why = "access" };
	}
	struct verdict v = checks_alone(s, c, CHECK_EOM, STAGE_MAIL);
	if (decides(&v))
		return v;
	if (decides(&c->pending.quarantine)) {
		metric_add(&held_total, 1);
		return c->pending.quarantine;
	}
	metric_add(&passed_total, 1);
	return verdict_continue("access");
}

/* ---- the process ---- */

static bool
load(const char *path, struct daemon_conf *conf, struct errs *errs)
{
	struct settings *s = settings_load(path, errs);

	if (s == NULL)
		return false;
	size_t before = errs->n;
	if (s->access.maps.n > ACCESS_MAPS_MAX)
		errs_add(errs, path, 0, "access: %zu maps, expected at most %d",
		    s->access.maps.n, ACCESS_MAPS_MAX);
	if (errs->n > before) {
		settings_unref(s);
		return false;
	}
	settings_daemon(s, "access", conf);
	conf->snapshot = s;
	return true;
}

static void
snapshot_unref(void *snapshot)
{
	settings_unref(snapshot);
}

static struct store *
the_store(void *arg)
{
	(void)arg;
	return access_store_get(worker.store);
}

static int
start(void *snapshot, struct err *err)
{
	struct settings *s = snapshot;
	const char *servers[RESOLVER_SERVERS_MAX];
	struct resolver_conf conf = { .servers = servers,
		.timeout_ms = s->dns.timeout_ms,
		.deadline_ms = s->dns.deadline_ms,
		.tries = (unsigned)s->dns.tries,
		.cache_entries = (size_t)s->dns.cache_entries };

	worker.settings = s;
	if (s->dns.servers.n > RESOLVER_SERVERS_MAX)
		return err_set(err, "dns: %zu servers, expected at most %d",
		    s->dns.servers.n, RESOLVER_SERVERS_MAX);
	for (; conf.n_servers < s->dns.servers.n; conf.n_servers++)
		servers[conf.n_servers] = s->dns.servers.list[conf.n_servers];
	worker.resolver = resolver_new(&conf, err);
	if (worker.resolver == NULL)
		return -1;
	worker.store = access_store_new(s, err);
	if (worker.store == NULL)
		return -1;
	worker.maps = access_maps_open(s, the_store, NULL, err);
	if (worker.maps == NULL)
		return -1;
	const struct check_shared shared = {
		.settings = s, .resolver = worker.resolver, .store = worker.store
	};
	worker.checks = checks_start(check_table, check_table_n, &shared, err);
	return worker.checks != NULL ? 0 : -1;
}

static void
reload(void *snapshot, struct errs *errs)
{
	pthread_mutex_lock(&worker.lock);
	struct settings *old = worker.settings;
	settings_restart_needed(old, snapshot, errs);
	worker.settings = snapshot;
	pthread_mutex_unlock(&worker.lock);
	const struct check_shared shared = { .settings = snapshot,
		.resolver = worker.resolver,
		.store = worker.store };
	checks_reload(worker.checks, &shared, errs);
	settings_unref(old);
	access_maps_refresh(worker.maps, errs);
}

static void
stop(void)
{
	checks_stop(worker.checks);
	access_maps_close(worker.maps);
	access_store_free(worker.store);
	resolver_free(worker.resolver);
	settings_unref(worker.settings);
}

int
main(int argc, char **argv)
{
	static const struct milter_ops milter = { .name = "postern-access",
		.conn_new = conn_new,
		.conn_free = conn_free,
		.msg_clear = msg_clear,
		.on_connect = on_connect,
		.on_helo = on_helo,
		.on_mail = on_mail,
		.on_rcpt = on_rcpt,
		.on_rcpt_refused = on_rcpt_refused,
		.on_header = on_header,
		.on_eoh = on_eoh,
		.on_eom = on_eom,
		.changes_headers = true,
		.quarantines = true };
	static const struct daemon_ops ops = { .name = "postern-access",
		.version = "1",
		.milter = &milter,
		.load = load,
		.snapshot_unref = snapshot_unref,
		.start = start,
		.reload = reload,
		.stop = stop };

	return daemon_main(argc, argv, &ops);
}

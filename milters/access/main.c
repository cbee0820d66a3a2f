/* SPDX-License-Identifier: BSD-2-Clause */
/* postern-access: binds libmilter's callbacks to the engine of the access map and to
 * the DNS lists.  Collects facts, waits for answers, turns results into verdicts, logs.
 * A client that is to be refused is refused at MAIL: at connect no text could be given,
 * and nobody can have authenticated.  DISCARD and QUARANTINE are remembered and carried
 * out at the end of the message, so that later recipients are still judged. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/metrics.h"
#include "common/base/xalloc.h"
#include "common/run/daemon.h"
#include "db/map.h"
#include "milters/access/access_lists.h"
#include "milters/access/access_map.h"
#include "milters/access/access_value.h"
#include "policy/policy.h"
#include "policy/settings.h"
#include "policy/settings_daemon.h"

#define MAPS_MAX 16

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
	struct map *maps[MAPS_MAX];
	size_t n_maps;
} worker = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* What hangs over a message until its end. */
struct pending {
	bool discard;
	struct verdict quarantine; /* action CONTINUE: none */
};

struct conn {
	struct settings *settings;
	struct map_table *tables[MAPS_MAX];
	size_t n_tables;
	struct access_lists *lists;
	char addr[64]; /* as the map's keys have it */
	char own_names[2][256]; /* class w: the host by its setting and by the MTA */
	/* Of the message. */
	bool have_sender, authenticated;
	struct access_addr sender_addr;
	struct pending pending;
};

/* ---- maps ---- */

static bool
lookup(void *arg, struct str key, struct access_entry *out)
{
	const struct conn *c = arg;

	for (size_t i = 0; i < c->n_tables; i++) {
		const struct map_entry *e = map_get(c->tables[i], key);

		if (e == NULL)
			continue;
		*out =
		    (struct access_entry){ e->value, map_path(c->tables[i]), e->line };
		return true;
	}
	return false;
}

/* ---- facts ---- */

/* sendmail's spelling: IPv6 with all groups. */
static void
write_addr(const struct ip *ip, char out[64])
{
	size_t n = 5;

	out[0] = '\0';
	if (ip->family == AF_INET) {
		ip_format(ip, out);
		return;
	}
	if (ip->family != AF_INET6)
		return;
	snprintf(out, 64, "IPv6:");
	for (int i = 0; i < 16; i += 2)
		n += (size_t)snprintf(out + n, 64 - n, i > 0 ? ":%x" : "%x",
		    (unsigned)(ip->b[i] << 8 | ip->b[i + 1]));
}

static enum access_resolve
resolve_of(struct milter_session *s)
{
	const char *said = milter_macro(s, "client_resolve");

	if (said != NULL && strcmp(said, "TEMP") == 0)
		return ACCESS_RESOLVE_TEMP;
	if (said != NULL && strcmp(said, "FORGED") == 0)
		return ACCESS_RESOLVE_FORGED;
	return milter_client(s)->name_confirmed ? ACCESS_RESOLVE_OK
						: ACCESS_RESOLVE_FAIL;
}

static enum access_delay_mode
delay_of(int setting)
{
	switch ((enum access_delay)setting) {
	case ACCESS_DELAY_OFF:
		return ACCESS_AT_ONCE;
	case ACCESS_DELAY_ON:
		return ACCESS_DELAYED;
	case ACCESS_DELAY_FRIEND:
		return ACCESS_DELAYED_FRIEND;
	case ACCESS_DELAY_HATER:
		return ACCESS_DELAYED_HATER;
	}
	return ACCESS_AT_ONCE;
}

static struct policy_view
view_at(
    struct milter_session *s, const struct conn *c, enum stage stage, struct str rcpt)
{
	struct policy_facts facts = { .stage = stage,
		.client = milter_client(s)->ip,
		.authenticated = c->authenticated,
		.sender = str_of(c->have_sender ? c->sender_addr.given : ""),
		.recipient = rcpt };
	struct policy_view view;

	policy_resolve(c->settings, &facts, &view);
	return view;
}

/* Everything that the engine wants, on the caller's stack. */
struct facts {
	struct access access;
	struct access_rules rules;
	const char *local[3];
	struct access_dnsbl dnsbl;
};

static void
facts_init(struct facts *f, struct milter_session *s, struct conn *c,
    const struct policy_view *view)
{
	const struct milter_client *client = milter_client(s);

	memset(f, 0, sizeof(*f));
	f->local[0] = c->own_names[0];
	f->local[1] = c->own_names[1];
	/* Relaying and the sender's form are the MTA's to judge: it has the facts. */
	f->rules = (struct access_rules){ .delay = delay_of(view->access.delay_checks),
		.skip = true,
		.blocklist_recipients = view->access.blocklist_recipients,
		.accept_unresolvable = true,
		.accept_unqualified = true,
		.promiscuous = true,
		.classes = { .local = { f->local, 2 }, .host = c->own_names[0] } };
	f->access = (struct access){ .rules = &f->rules,
		.lookup = lookup,
		.lookup_arg = c,
		.client = { .addr = c->addr,
		    .name = client->name,
		    .resolve = resolve_of(s),
		    .helo = client->helo,
		    .authenticated = c->authenticated },
		.dnsbl = &f->dnsbl,
		.have_sender = c->have_sender,
		.sender = c->sender_addr };
}

/* Entries for user@ count for our own domains only.  Which those are the MTA knows: it
 * names the mailer that takes the recipient. */
static void
facts_recipient(
    struct facts *f, struct milter_session *s, const struct access_addr *rcpt)
{
	static const char *const remote[] = { "smtp", "esmtp", "smtp8", "dsmtp",
		"relay", "uucp", "error", "discard" };
	const char *mailer = milter_macro(s, "rcpt_mailer");

	if (mailer == NULL || mailer[0] == '\0' || rcpt->domain[0] == '\0')
		return;
	for (size_t i = 0; i < sizeof(remote) / sizeof(remote[0]); i++)
		if (strcmp(mailer, remote[i]) == 0)
			return;
	f->local[2] = rcpt->domain;
	f->rules.classes.local.n = 3;
}

static bool
wait_in_callback(void *arg, struct future *f, int64_t deadline_ms)
{
	return milter_wait(arg, f, deadline_ms);
}

/* ---- what became of it ---- */

static void
log_result(struct milter_session *s, const struct conn *c,
    const struct access_result *r, const struct facts *f, struct str rcpt, bool observe)
{
	const struct milter_client *client = milter_client(s);
	static const char *const words[] = { "continue", "continue", "refuse",
		"discard", "quarantine" };
	struct logline l;

	logline_init(&l, LOG_LEVEL_INFO, "access");
	logline_cstr(&l, observe ? "would" : "action",
	    r->kind == ACCESS_REFUSED ? action_name(r->verdict.action)
				      : words[r->kind]);
	if (client->queue_id[0] != '\0')
		logline_cstr(&l, "qid", client->queue_id);
	logline_cstr(&l, "client", c->addr[0] != '\0' ? c->addr : "local");
	logline_cstr(&l, "name", client->name);
	if (c->have_sender)
		logline_cstr(&l, "from", c->sender_addr.given);
	if (rcpt.p != NULL)
		logline_str(&l, "to", rcpt);
	logline_cstr(&l, "why", r->verdict.why);
	if (r->key[0] != '\0')
		logline_cstr(&l, "entry", r->key);
	if (r->file != NULL) {
		logline_cstr(&l, "map", r->file);
		logline_int(&l, "line", r->line);
	}
	if (f->dnsbl.kind != ACCESS_NONE && r->verdict.why == f->dnsbl.verdict.why &&
	    access_lists_zone(c->lists) != NULL)
		logline_cstr(&l, "list", access_lists_zone(c->lists));
	if (r->kind == ACCESS_REFUSED) {
		logline_int(&l, "code", r->verdict.code);
		logline_cstr(&l, "status", r->verdict.enhanced);
	}
	if (r->verdict.text[0] != '\0')
		logline_cstr(&l, "text", r->verdict.text);
	logline_send(&l);
}

/* A result as this milter's verdict; refusals now, the rest at end of message. */
static struct verdict
act(struct milter_session *s, struct conn *c, const struct access_result *r,
    const struct facts *f, struct str rcpt, bool observe)
{
	if (r->kind == ACCESS_NONE || r->kind == ACCESS_OK)
		return verdict_continue("access");
	log_result(s, c, r, f, rcpt, observe);
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

/* ---- callbacks ---- */

static void *
conn_new(struct milter_session *s)
{
	struct conn *c = xcalloc(1, sizeof(*c));

	(void)s;
	pthread_mutex_lock(&worker.lock);
	c->settings = settings_ref(worker.settings);
	pthread_mutex_unlock(&worker.lock);
	for (; c->n_tables < worker.n_maps; c->n_tables++)
		c->tables[c->n_tables] = map_table_ref(worker.maps[c->n_tables]);
	snprintf(c->own_names[0], sizeof(c->own_names[0]), "%s", c->settings->run.host);
	return c;
}

static void
conn_free(void *conn)
{
	struct conn *c = conn;

	access_lists_free(c->lists);
	for (size_t i = 0; i < c->n_tables; i++)
		map_table_unref(c->tables[i]);
	settings_unref(c->settings);
	free(c);
}

static void
msg_clear(void *conn)
{
	struct conn *c = conn;

	c->have_sender = c->authenticated = false;
	c->pending = (struct pending){ .discard = false };
	memset(&c->sender_addr, 0, sizeof(c->sender_addr));
}

/* Nothing is decided yet, but lists are asked: answers come while SMTP goes on. */
static struct verdict
on_connect(struct milter_session *s, void *conn)
{
	struct conn *c = conn;
	const struct milter_client *client = milter_client(s);
	struct policy_view view = view_at(s, c, STAGE_CONNECT, STR(""));
	const struct settings_access *set = &view.access;
	struct facts f;

	write_addr(&client->ip, c->addr);
	snprintf(c->own_names[1], sizeof(c->own_names[1]), "%s", client->mta);
	facts_init(&f, s, c, &view);
	if (set->dnsbl && access_want_dnsbl(&f.access))
		c->lists = access_lists_ask(worker.resolver, set->dnsbl_lists.list,
		    set->dnsbl_lists.n, &client->ip,
		    clock_mono_ms() + set->dnsbl_deadline_ms);
	policy_view_clear(&view);
	return verdict_continue("access");
}

/* An address that sendmail's parser refuses before any check. */
static struct verdict
refuse_syntax(
    struct milter_session *s, struct conn *c, struct verdict v, struct str path)
{
	const struct access_result r = { .kind = ACCESS_REFUSED, .verdict = v };
	const struct facts none = { .dnsbl = { .kind = ACCESS_NONE } };

	return act(s, c, &r, &none, path, false);
}

/* Client and sender, unless delay_checks leaves them to the recipients. */
static struct verdict
judge_sender(struct milter_session *s, struct conn *c, const struct policy_view *view)
{
	struct facts f;

	facts_init(&f, s, c, view);
	if (f.rules.delay != ACCESS_AT_ONCE)
		return verdict_continue("delayed");
	if (!c->authenticated && view->access.dnsbl)
		access_lists_judge(c->lists, wait_in_callback, s, &f.dnsbl);
	struct access_result r = access_check_relay(&f.access);
	/* As in sendmail: held for its client's sake only with delay_checks. */
	if (r.kind != ACCESS_QUARANTINE) {
		struct verdict v = act(s, c, &r, &f, (struct str){ 0 }, view->observe);
		if (decides(&v))
			return v;
	}
	r = access_check_mail(&f.access, false);
	return act(s, c, &r, &f, (struct str){ 0 }, view->observe);
}

static struct verdict
on_mail(struct milter_session *s, void *conn, struct str path, const struct str *args,
    size_t n_args)
{
	static const struct access_classes none = { .host = NULL };
	struct conn *c = conn;
	struct verdict syntax;

	(void)args;
	(void)n_args;
	c->authenticated = milter_client(s)->auth[0] != '\0';
	if (access_addr_parse(&none, (struct access_routes){ false, false }, path,
		&c->sender_addr, &syntax) != 0)
		return refuse_syntax(s, c, syntax, path);
	c->have_sender = true;
	struct policy_view view = view_at(s, c, STAGE_MAIL, STR(""));
	struct verdict v = judge_sender(s, c, &view);
	policy_view_clear(&view);
	return v;
}

static struct verdict
judge_recipient(struct milter_session *s, struct conn *c,
    const struct policy_view *view, const struct access_addr *rcpt)
{
	struct access_result r;
	struct facts f;

	facts_init(&f, s, c, view);
	facts_recipient(&f, s, rcpt);
	if (f.rules.delay == ACCESS_AT_ONCE) {
		r = access_check_rcpt(&f.access, rcpt);
	} else {
		if (view->access.dnsbl && c->lists != NULL &&
		    access_needs_dnsbl(&f.access, rcpt))
			access_lists_judge(c->lists, wait_in_callback, s, &f.dnsbl);
		r = access_check_delayed(&f.access, rcpt);
	}
	return act(s, c, &r, &f, str_of(rcpt->given), view->observe);
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

static struct verdict
on_eom(struct milter_session *s, void *conn)
{
	struct conn *c = conn;

	(void)s;
	if (c->pending.discard) {
		metric_add(&discarded_total, 1);
		return (struct verdict){ .action = ACTION_DISCARD, .why = "access" };
	}
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
	if (s->access.maps.n > MAPS_MAX) {
		errs_add(errs, path, 0, "access: %zu maps, expected at most %d",
		    s->access.maps.n, MAPS_MAX);
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

static int
open_maps(const struct settings_access *set, struct err *err)
{
	struct errs errs = { 0 };

	for (size_t i = 0; i < set->maps.n; i++) {
		struct map *m = map_open(set->maps.list[i], access_line_check, &errs);

		if (m == NULL) {
			*err = errs.list[0];
			for (size_t k = 1; k < errs.n; k++)
				log_err("map", &errs.list[k]);
			errs_clear(&errs);
			return -1;
		}
		worker.maps[worker.n_maps++] = m;
	}
	errs_clear(&errs);
	return worker.n_maps == 0 ? 0 : map_watch(worker.maps, worker.n_maps, err);
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
	return open_maps(&s->access, err);
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
	for (size_t i = 0; i < worker.n_maps; i++)
		(void)map_refresh(worker.maps[i], errs);
}

static void
stop(void)
{
	for (size_t i = 0; i < worker.n_maps; i++)
		map_close(worker.maps[i]);
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
		.on_mail = on_mail,
		.on_rcpt = on_rcpt,
		.on_eom = on_eom,
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

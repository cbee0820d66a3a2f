/* SPDX-License-Identifier: BSD-2-Clause */
/* Asks who is there: the map, what this process remembers, what the store remembers,
 * the servers; the first that knows ends it.  A server's answer is remembered for all
 * hosts. Now and then a server is asked for an address that nobody can have: one that
 * takes it takes everything, and its answers say nothing. */
#include "milters/access/check_rcpt.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/metrics.h"
#include "common/base/xalloc.h"
#include "db/call_ahead.h"
#include "db/map_set.h"
#include "milters/access/access_local.h"
#include "milters/access/access_maps.h"
#include "milters/access/access_rcpt.h"
#include "milters/access/access_store.h"
#include "milters/access/rcpt_cache.h"

#define CACHE_SETS 2048u /* times 8 answers of 250 octets: 4 MB */
#define PROBE_EVERY 86400 /* seconds, for each domain */
#define PROBE_SETS 128u
#define PROBE_DEADLINE_MS 30000

METRIC_COUNTER(map_total, "postern_access_recipients_total", "from=\"map\"",
    "Recipients judged, by what knew them");
METRIC_COUNTER(remembered_total, "postern_access_recipients_total", "from=\"memory\"",
    "Recipients judged, by what knew them");
METRIC_COUNTER(server_total, "postern_access_recipients_total", "from=\"server\"",
    "Recipients judged, by what knew them");
METRIC_COUNTER(nobody_total, "postern_access_recipients_total", "from=\"nobody\"",
    "Recipients judged, by what knew them");

/* One block of the settings at work. */
struct group {
	const struct access_recipients *set;
	struct map_set *maps; /* NULL: none */
	struct call_ahead *servers; /* NULL: none */
};

struct self {
	struct settings *settings; /* of the start: these blocks are not reloaded */
	struct access_store *store;
	struct group groups[ACCESS_RECIPIENTS_MAX];
	size_t n;
	struct rcpt_cache *cache;
	struct access_local *probes; /* which domains were probed of late */
};

/* --- life --- */

static void
stop(void *self)
{
	struct self *s = self;

	for (size_t i = 0; i < s->n; i++) {
		call_ahead_free(s->groups[i].servers);
		map_set_close(s->groups[i].maps);
	}
	rcpt_cache_free(s->cache);
	access_local_free(s->probes);
	settings_unref(s->settings);
	free(s);
}

static struct store *
get_store(void *arg)
{
	return access_store_get(arg);
}

static int
open_maps(struct self *s, struct group *g, struct err *err)
{
	struct map_ldap_conf ldaps[MAP_LDAPS_MAX];
	struct errs errs = { 0 };
	const struct map_set_conf conf = { .specs =
					       (const char *const *)g->set->maps.list,
		.n = g->set->maps.n,
		.ldaps = ldaps,
		.n_ldaps = access_maps_ldaps(s->settings, ldaps),
		.store = get_store,
		.store_arg = s->store };

	g->maps = map_set_open(&conf, &errs);
	if (g->maps == NULL)
		*err = errs.list[0];
	errs_clear(&errs);
	return g->maps == NULL ? -1 : 0;
}

static int
open_servers(struct group *g, const char *host, struct err *err)
{
	const char *servers[CALL_AHEAD_SERVERS_MAX];
	struct call_ahead_conf conf = { .servers = servers,
		.n_servers = g->set->call_ahead.n,
		.host = host,
		.connections = g->set->connections };

	for (size_t i = 0; i < conf.n_servers; i++)
		servers[i] = g->set->call_ahead.list[i];
	/* So that the last server can still be asked. */
	conf.command_ms = g->set->deadline_ms / (int64_t)conf.n_servers;
	g->servers = call_ahead_new(&conf, err);
	return g->servers == NULL ? -1 : 0;
}

static int
start(const struct check_shared *shared, void **self, struct err *err)
{
	struct self *s = xcalloc(1, sizeof(*s));
	const struct access_recipient_sets *sets;
	int rc = 0;

	s->settings = settings_ref((struct settings *)(uintptr_t)shared->settings);
	s->store = shared->store;
	sets = &s->settings->access.recipient_sets;
	if (sets->n > 0) {
		s->cache = rcpt_cache_new(CACHE_SETS);
		s->probes = access_local_new(PROBE_SETS);
	}
	while (rc == 0 && s->n < sets->n) {
		struct group *g = &s->groups[s->n++];

		g->set = &sets->list[s->n - 1];
		if (g->set->maps.n > 0)
			rc = open_maps(s, g, err);
		if (rc == 0 && g->set->call_ahead.n > 0)
			rc = open_servers(g, s->settings->run.host, err);
	}
	*self = s;
	if (rc != 0)
		stop(s);
	return rc;
}

static void
reload(void *self, const struct check_shared *shared, struct errs *errs)
{
	struct self *s = self;

	(void)shared;
	for (size_t i = 0; i < s->n; i++)
		if (s->groups[i].maps != NULL)
			map_set_refresh(s->groups[i].maps, errs);
}

/* --- maps --- */

static bool
wait_for(void *arg, struct future *f, int64_t deadline_ms)
{
	return check_wait(arg, f, deadline_ms);
}

/* YES, NO, or DOWN: a map cannot be asked. */
static enum call_ahead_state
ask_maps(const struct group *g, const struct check_facts *facts)
{
	struct check_facts copy = *facts; /* the wait wants an argument to write to */
	struct map_view *view = map_view_new(g->maps, wait_for, &copy);
	enum map_found found = MAP_NONE;
	char key[RCPT_KEY_MAX];
	struct map_hit hit;
	enum call_ahead_state state = CALL_AHEAD_NO;

	for (unsigned i = 0; found == MAP_NONE &&
	     access_rcpt_key(
		 str_of(facts->rcpt->local), str_of(facts->rcpt->domain), i, key);
	     i++)
		found = map_view_get(view, str_of(key), facts->now, &hit);
	if (found == MAP_FAILED)
		state = CALL_AHEAD_DOWN;
	else if (found == MAP_FOUND && access_rcpt_value_known(hit.value))
		state = CALL_AHEAD_YES;
	map_view_free(view);
	return state;
}

/* --- memory --- */

static struct str
memory_name(
    const struct group *g, const struct access_addr *rcpt, char *out, size_t size)
{
	size_t n = (size_t)snprintf(
	    out, size, "%s|%s@%s", g->set->name, rcpt->local, rcpt->domain);

	n = n < size ? n : size - 1;
	for (size_t i = 0; i < n; i++)
		out[i] = ascii_lower(out[i]);
	return (struct str){ out, n };
}

static enum rcpt_age
recall_store(struct self *s, const struct group *g, struct str name,
    const struct check_facts *facts, struct rcpt_memory *m)
{
	struct store *store = access_store_get(s->store);
	const struct note_answer *a;
	enum rcpt_age age = RCPT_UNKNOWN;
	struct future *f;

	if (store == NULL)
		return RCPT_UNKNOWN;
	f = store_note_get(store, NOTE_RECIPIENT, name, store_now(store));
	if (check_wait(facts, f, clock_mono_ms() + facts->settings->state.budget_ms)) {
		a = future_value(f);
		if (a->state == STORE_OK && a->found &&
		    access_rcpt_note_read((struct str){ a->text, a->len }, m))
			age = access_rcpt_age(g->set, m, store_now(store));
	}
	future_unref(f);
	return age;
}

/* What is remembered of it, here or by all. */
static enum rcpt_age
recall(struct self *s, const struct group *g, struct str name,
    const struct check_facts *facts, struct rcpt_memory *m)
{
	enum rcpt_age age = RCPT_UNKNOWN;
	struct rcpt_memory shared;

	if (rcpt_cache_get(s->cache, name, m))
		age = access_rcpt_age(g->set, m, clock_wall());
	if (age == RCPT_FRESH)
		return age;
	enum rcpt_age there = recall_store(s, g, name, facts, &shared);

	if (there < age || there == RCPT_UNKNOWN)
		return age;
	*m = shared;
	rcpt_cache_put(s->cache, name, m);
	return there;
}

static void
remember(struct self *s, const struct group *g, struct str name,
    const struct call_ahead_answer *a)
{
	struct store *store = access_store_get(s->store);
	struct rcpt_memory m = { .answer = *a, .when = clock_wall() };
	struct buf text;

	rcpt_cache_put(s->cache, name, &m);
	if (store == NULL)
		return;
	m.when = store_now(store);
	buf_init(&text, STORE_NOTE_MAX);
	access_rcpt_note_write(&m, &text);
	/* Nobody waits for it. */
	future_unref(store_note_put(store, NOTE_RECIPIENT, name, buf_str(&text),
	    access_rcpt_keep(g->set, a), m.when));
	buf_clear(&text);
}

/* --- servers that take everything --- */

struct probe {
	struct future *future;
	char *domain, *block;
};

static void
on_probe(void *arg)
{
	struct probe *p = arg;
	const struct call_ahead_answer *a = future_value(p->future);

	if (a->state == CALL_AHEAD_YES)
		log_msg(LOG_LEVEL_WARN, "recipients.catch-all",
		    "recipients \"%s\": the server takes any recipient of %s, its "
		    "answers tell nothing",
		    p->block, p->domain);
	future_unref(p->future);
	free(p->domain);
	free(p->block);
	free(p);
}

static void
probe(struct self *s, const struct group *g, const char *domain)
{
	char name[400], rcpt[300];
	uint64_t random = 0;
	struct probe *p;

	(void)snprintf(name, sizeof(name), "%.64s|%.255s", g->set->name, domain);
	if (!access_local_rate(
		s->probes, str_of(name), 1, 1, 1, PROBE_EVERY, clock_wall())
		 .allowed)
		return;
	if (getrandom(&random, sizeof(random), GRND_NONBLOCK) != sizeof(random))
		random = (uint64_t)clock_mono_us();
	(void)snprintf(rcpt, sizeof(rcpt), "nobody-%016llx@%.255s",
	    (unsigned long long)random, domain);
	p = xcalloc(1, sizeof(*p));
	p->domain = xstrdup(domain);
	p->block = xstrdup(g->set->name);
	p->future = call_ahead_ask(
	    g->servers, str_of(rcpt), clock_mono_ms() + PROBE_DEADLINE_MS);
	future_notify(p->future, on_probe, p);
}

/* --- judging --- */

static void
found(struct findings *out, const struct group *g, struct verdict v, const char *by)
{
	struct finding *f = findings_add(out);

	f->refuses = true;
	f->verdict = v;
	(void)snprintf(f->detail, sizeof(f->detail), "%s %s", g->set->name, by);
	if (v.why == access_rcpt_why_unknown)
		metric_add(&nobody_total, 1);
}

static void
judge_servers(struct self *s, const struct group *g, const struct check_facts *facts,
    struct findings *out)
{
	char storage[ACCESS_ADDR_MAX * 2 + 80], address[ACCESS_ADDR_MAX * 2 + 2];
	struct str name = memory_name(g, facts->rcpt, storage, sizeof(storage));
	struct rcpt_memory m;
	enum rcpt_age age = recall(s, g, name, facts, &m);
	struct call_ahead_answer a = { .state = CALL_AHEAD_DOWN };

	if (age == RCPT_FRESH) {
		metric_add(&remembered_total, 1);
		a = m.answer;
	} else {
		int64_t deadline = clock_mono_ms() + g->set->deadline_ms;
		struct future *f;

		(void)snprintf(address, sizeof(address), "%s@%s", facts->rcpt->local,
		    facts->rcpt->domain);
		f = call_ahead_ask(g->servers, str_of(address), deadline);
		if (check_wait(facts, f, deadline))
			a = *(const struct call_ahead_answer *)future_value(f);
		future_unref(f);
		metric_add(&server_total, 1);
		if (a.state == CALL_AHEAD_YES || a.state == CALL_AHEAD_NO)
			remember(s, g, name, &a);
		if (a.state == CALL_AHEAD_YES)
			probe(s, g, facts->rcpt->domain);
	}
	struct verdict v = access_rcpt_verdict(
	    g->set, str_of(facts->rcpt->given), &a, age == RCPT_OLD ? &m : NULL);
	if (v.action != ACTION_CONTINUE)
		found(out, g, v, call_ahead_state_name(a.state));
}

static void
judge(void *self, void *conn, enum check_phase phase, const struct check_facts *facts,
    struct findings *out)
{
	struct self *s = self;
	const struct access_recipients *set;
	const struct group *g;

	(void)conn;
	if (phase != CHECK_RCPT || s->n == 0 || !facts->view->access.recipients)
		return;
	set = access_rcpt_block(
	    &s->settings->access.recipient_sets, str_of(facts->rcpt->domain));
	if (set == NULL)
		return;
	g = &s->groups[set - s->settings->access.recipient_sets.list];
	struct call_ahead_answer a = { .state = CALL_AHEAD_NO };
	if (g->maps != NULL) {
		metric_add(&map_total, 1);
		a.state = ask_maps(g, facts);
	}
	if (a.state == CALL_AHEAD_YES)
		return;
	if (g->servers != NULL) {
		judge_servers(s, g, facts, out);
		return;
	}
	struct verdict v =
	    access_rcpt_verdict(set, str_of(facts->rcpt->given), &a, NULL);

	if (v.action != ACTION_CONTINUE)
		found(out, g, v, "map");
}

const struct check_ops check_recipient = { .name = "recipients",
	.spares = CHECK_SPARE_POSTMASTER,
	.start = start,
	.reload = reload,
	.stop = stop,
	.judge = judge };

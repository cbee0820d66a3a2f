/* SPDX-License-Identifier: BSD-2-Clause */
/* What a running daemon has for each DNS list.  Which answers mean what is decided in
 * dnsbl.c, when a list is set aside in dnsbl_health.c; here are the locks, the keys, the
 * resolvers, the log and the metrics. */
#include "milters/access/access_list.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/metrics.h"
#include "common/base/xalloc.h"

#define NEAR_US 20000

enum out { OUT_CLEAN, OUT_LISTED, OUT_ERROR, OUT_DISBELIEVED };
#define OUTS 4

/* Lists and resolvers are never freed before the pool: sets of old connections use them,
 * and metrics are read until the process ends. */
struct access_list {
	struct access_list *next;
	char *zone, *servers; /* identity, with what */
	int what;
	struct resolver *resolver;
	pthread_mutex_t lock; /* guards the rest */
	struct dnsbl_health health;
	bool timed;
	int64_t took_us; /* a sliding mean */
	char key[DNSBL_KEY_MAX + 1];
	struct metric up, answers[OUTS]; /* atomics themselves */
};

struct server_set {
	struct server_set *next;
	char *servers; /* "127.0.0.1:5353 [::1]:53" */
	struct resolver *resolver;
};

struct access_list_pool {
	struct resolver *resolver;
	struct access_list *lists;
	struct server_set *servers;
	pthread_mutex_t lock; /* guards current; the rest is of the thread that loads */
	struct access_list_set *current;
};

/* ---- resolvers ---- */

static char *
join(const struct conf_strings *words)
{
	struct buf b;

	buf_init(&b, 64 << 10);
	for (size_t i = 0; i < words->n; i++)
		buf_addf(&b, "%s%s", i > 0 ? " " : "", words->list[i]);
	return buf_take(&b);
}

/* One per distinct set of servers; NULL: err says why. */
static struct resolver *
resolver_of(struct access_list_pool *p, const struct settings *s,
    const struct conf_strings *servers, struct err *err)
{
	const char *list[RESOLVER_SERVERS_MAX];
	struct resolver_conf conf = { .servers = list,
		.timeout_ms = s->dns.timeout_ms,
		.deadline_ms = s->dns.deadline_ms,
		.tries = (unsigned)s->dns.tries,
		.cache_entries = (size_t)s->dns.cache_entries };

	if (servers->n == 0)
		return p->resolver;
	char *key = join(servers);
	struct server_set *set = p->servers;
	while (set != NULL && strcmp(set->servers, key) != 0)
		set = set->next;
	if (set != NULL) {
		free(key);
		return set->resolver;
	}
	for (; conf.n_servers < servers->n && conf.n_servers < RESOLVER_SERVERS_MAX;
	     conf.n_servers++)
		list[conf.n_servers] = servers->list[conf.n_servers];
	struct resolver *r = resolver_new(&conf, err);
	if (r == NULL) {
		free(key);
		return NULL;
	}
	set = xcalloc(1, sizeof(*set));
	*set = (struct server_set){ p->servers, key, r };
	p->servers = set;
	return r;
}

/* ---- lists ---- */

static void
name_metrics(struct access_list *l)
{
	static const char *const outs[OUTS] = { "clean", "listed", "error",
		"disbelieved" };
	const char *what = l->what == DNSBL_CLIENT ? "client"
	    : l->what == DNSBL_HELO                ? "helo"
	    : l->what == DNSBL_SENDER              ? "sender"
						   : "several";

	l->up = (struct metric){ .name = "postern_access_dnsbl_up",
		.labels = xasprintf("list=\"%s\",what=\"%s\"", l->zone, what),
		.help = "DNS lists that are asked and believed",
		.gauge = true };
	for (int i = 0; i < OUTS; i++)
		l->answers[i] = (struct metric){
			.name = "postern_access_dnsbl_answers_total",
			.labels = xasprintf("list=\"%s\",what=\"%s\",answer=\"%s\"",
			    l->zone, what, outs[i]),
			.help = "Answers of DNS lists"
		};
	metric_set(&l->up, 1);
}

static struct access_list *
list_of(struct access_list_pool *p, const struct dnsbl *d, struct resolver *r)
{
	char *servers = join(&d->servers);
	struct access_list *l = p->lists;

	while (l != NULL &&
	    (strcmp(l->zone, d->zone) != 0 || l->what != d->what ||
		strcmp(l->servers, servers) != 0))
		l = l->next;
	if (l != NULL) {
		free(servers);
		return l;
	}
	l = xcalloc(1, sizeof(*l));
	l->zone = xstrdup(d->zone);
	l->servers = servers;
	l->what = d->what;
	l->resolver = r;
	pthread_mutex_init(&l->lock, NULL);
	name_metrics(l);
	l->next = p->lists;
	p->lists = l;
	return l;
}

/* The first word of the file. */
static int
key_read(const char *path, char out[DNSBL_KEY_MAX + 1], struct err *err)
{
	size_t len;
	struct str rest, word = { NULL, 0 };

	out[0] = '\0';
	if (path[0] == '\0')
		return 0;
	char *text = conf_read_file(path, &len, err);
	if (text == NULL)
		return -1;
	rest = (struct str){ text, len };
	str_cut(&rest, '\n', &word);
	word = str_trim(word);
	const char *wrong = dnsbl_key_wrong(word);
	if (wrong == NULL)
		snprintf(out, DNSBL_KEY_MAX + 1, "%.*s", STR_ARG(word));
	explicit_bzero(text, len);
	free(text);
	return wrong == NULL ? 0
			     : err_set(err, "is no key of a DNS list: expected %s", wrong);
}

static struct access_list *
list_open(struct access_list_pool *p, const struct settings *s, const struct dnsbl *d,
    struct errs *errs)
{
	char key[DNSBL_KEY_MAX + 1];
	struct err err = { 0 };

	if (key_read(d->key_file, key, &err) != 0) {
		errs_add(errs, d->key_file, 0, "%s", err.text);
		return NULL;
	}
	struct resolver *r = resolver_of(p, s, &d->servers, &err);
	if (r == NULL) {
		errs_add(errs, NULL, 0, "dnsbl %s: %s", d->zone, err.text);
		return NULL;
	}
	struct access_list *l = list_of(p, d, r);
	pthread_mutex_lock(&l->lock);
	memcpy(l->key, key, sizeof(l->key));
	pthread_mutex_unlock(&l->lock);
	explicit_bzero(key, sizeof(key));
	return l;
}

/* ---- the pool ---- */

struct access_list_pool *
access_list_pool_new(struct resolver *resolver)
{
	struct access_list_pool *p = xcalloc(1, sizeof(*p));

	p->resolver = resolver;
	pthread_mutex_init(&p->lock, NULL);
	return p;
}

bool
access_list_pool_load(
    struct access_list_pool *p, const struct settings *s, struct errs *errs)
{
	const struct access_dnsbls *lists = &s->access.dnsbl_lists;
	struct access_list_set *set = xcalloc(1, sizeof(*set));
	bool good = true;

	atomic_init(&set->refs, 1);
	/* the snapshot counts its users itself, behind a const */
	set->settings = settings_ref((struct settings *)(uintptr_t)s);
	set->lists = xcalloc(lists->n > 0 ? lists->n : 1, sizeof(struct access_list *));
	for (; set->n < lists->n; set->n++) {
		set->lists[set->n] = list_open(p, s, &lists->list[set->n], errs);
		good = good && set->lists[set->n] != NULL;
	}
	if (good) {
		pthread_mutex_lock(&p->lock);
		struct access_list_set *old = p->current;
		p->current = set;
		pthread_mutex_unlock(&p->lock);
		set = old;
	}
	access_list_set_unref(set);
	return good;
}

void
access_list_pool_free(struct access_list_pool *p)
{
	struct server_set *set;

	if (p == NULL)
		return;
	access_list_set_unref(p->current);
	while ((set = p->servers) != NULL) {
		p->servers = set->next;
		resolver_free(set->resolver);
		free(set->servers);
		free(set);
	}
	pthread_mutex_destroy(&p->lock);
	/* the lists stay: see struct access_list */
	free(p);
}

struct access_list_set *
access_list_set_ref(struct access_list_pool *p)
{
	pthread_mutex_lock(&p->lock);
	struct access_list_set *s = p->current;
	atomic_fetch_add(&s->refs, 1);
	pthread_mutex_unlock(&p->lock);
	return s;
}

void
access_list_set_unref(struct access_list_set *s)
{
	if (s == NULL || atomic_fetch_sub(&s->refs, 1) != 1)
		return;
	settings_unref(s->settings);
	free(s->lists);
	free(s);
}

/* ---- one list ---- */

const char *
access_list_key(struct access_list *l, char out[DNSBL_KEY_MAX + 1])
{
	pthread_mutex_lock(&l->lock);
	memcpy(out, l->key, sizeof(l->key));
	pthread_mutex_unlock(&l->lock);
	return out;
}

struct resolver *
access_list_resolver(const struct access_list *l)
{
	return l->resolver;
}

/* Told once per change, without the lock. */
static void
report(struct access_list *l, enum dnsbl_fault before, enum dnsbl_fault after)
{
	struct logline line;

	if (before == after)
		return;
	metric_set(&l->up, after == DNSBL_GOOD);
	logline_init(&line,
	    after == DNSBL_GOOD || after == DNSBL_SPENT ? LOG_LEVEL_WARN : LOG_LEVEL_ERR,
	    "dnsbl");
	logline_cstr(&line, "list", l->zone);
	logline_cstr(&line, "state", after == DNSBL_GOOD ? "back" : "set-aside");
	logline_cstr(&line, "why",
	    dnsbl_fault_name(after == DNSBL_GOOD ? before : after));
	logline_send(&line);
}

bool
access_list_usable(struct access_list *l)
{
	enum dnsbl_fault f = access_list_fault(l);

	return f == DNSBL_GOOD || f == DNSBL_SPENT;
}

bool
access_list_take(
    struct access_list *l, int64_t budget, unsigned n, int64_t now, int64_t now_ms)
{
	pthread_mutex_lock(&l->lock);
	enum dnsbl_fault before = l->health.fault;
	bool may = (before == DNSBL_GOOD || before == DNSBL_SPENT) &&
	    dnsbl_spend(&l->health, budget, n, now, now_ms);
	enum dnsbl_fault after = l->health.fault;
	pthread_mutex_unlock(&l->lock);
	report(l, before, after);
	return may;
}

void
access_list_answered(struct access_list *l, enum dnsbl_state state, uint64_t subject,
    int64_t now_ms)
{
	pthread_mutex_lock(&l->lock);
	enum dnsbl_fault before = l->health.fault;
	dnsbl_answered(&l->health, state, subject, now_ms);
	enum dnsbl_fault after = l->health.fault;
	pthread_mutex_unlock(&l->lock);
	metric_add(&l->answers[state == DNSBL_CLEAN ? OUT_CLEAN
			  : state == DNSBL_LISTED   ? OUT_LISTED
						    : OUT_ERROR],
	    1);
	report(l, before, after);
}

void
access_list_random(
    struct access_list *l, enum dnsbl_state state, int64_t asked_us, int64_t now_ms)
{
	pthread_mutex_lock(&l->lock);
	enum dnsbl_fault before = l->health.fault;
	dnsbl_random_answered(&l->health, state, asked_us, now_ms);
	enum dnsbl_fault after = l->health.fault;
	pthread_mutex_unlock(&l->lock);
	report(l, before, after);
}

void
access_list_took(struct access_list *l, int64_t us)
{
	pthread_mutex_lock(&l->lock);
	l->took_us = l->timed ? (l->took_us * 7 + us) / 8 : us;
	l->timed = true;
	pthread_mutex_unlock(&l->lock);
}

bool
access_list_is_near(struct access_list *l)
{
	pthread_mutex_lock(&l->lock);
	bool near = l->timed && l->took_us <= NEAR_US;
	pthread_mutex_unlock(&l->lock);
	return near;
}

enum dnsbl_belief
access_list_believe(struct access_list *l, int64_t last_us)
{
	pthread_mutex_lock(&l->lock);
	enum dnsbl_belief b = dnsbl_believe(&l->health, last_us);
	pthread_mutex_unlock(&l->lock);
	return b;
}

void
access_list_disbelieved(struct access_list *l)
{
	metric_add(&l->answers[OUT_DISBELIEVED], 1);
}

enum dnsbl_fault
access_list_fault(struct access_list *l)
{
	pthread_mutex_lock(&l->lock);
	enum dnsbl_fault f = l->health.fault;
	pthread_mutex_unlock(&l->lock);
	return f;
}

/* ---- test points ---- */

struct probe {
	struct future *listed, *unlisted, *random;
	int64_t deadline_ms;
};

static struct future *
ask_test(struct access_list *l, const struct dnsbl *d, enum dnsbl_test test)
{
	/* A list that knows both families may have the test points of one. */
	int family = (d->what & DNSBL_CLIENT) == 0 ? 0 : d->ipv4 ? AF_INET : AF_INET6;
	char key[DNSBL_KEY_MAX + 1], name[256];
	uint64_t random = (uint64_t)clock_mono_us();

	if (getrandom(&random, sizeof(random), 0) != sizeof(random))
		random *= UINT64_C(0x9e3779b97f4a7c15);
	if (dnsbl_query_test(
		d, access_list_key(l, key), family, test, random, name) != 0)
		return NULL;
	return resolver_ask_fresh(l->resolver, str_of(name), DNS_A);
}

static void
probe_ask(struct access_list *l, const struct dnsbl *d, int64_t deadline_ms,
    int64_t now, struct probe *out)
{
	int64_t now_ms = clock_mono_ms();

	out->deadline_ms = now_ms + (d->deadline_ms > 0 ? d->deadline_ms : deadline_ms);
	if (d->probe == DNSBL_PROBE_OFF)
		return;
	pthread_mutex_lock(&l->lock);
	enum dnsbl_fault before = l->health.fault;
	bool may = dnsbl_spend(&l->health, d->budget, 3, now, now_ms);
	enum dnsbl_fault after = l->health.fault;
	pthread_mutex_unlock(&l->lock);
	report(l, before, after);
	if (!may)
		return;
	if (d->probe == DNSBL_PROBE_ON)
		out->listed = ask_test(l, d, DNSBL_TEST_LISTED);
	out->unlisted = ask_test(l, d, DNSBL_TEST_UNLISTED);
	out->random = ask_test(l, d, DNSBL_TEST_RANDOM);
}

static enum dnsbl_state
await(const struct dnsbl *d, enum dnsbl_test test, struct future *f, int64_t deadline_ms)
{
	return f != NULL && future_wait(f, deadline_ms)
	    ? dnsbl_judge_test(d, test, future_value(f))
	    : DNSBL_UNKNOWN;
}

static void
probe_judge(struct access_list *l, const struct dnsbl *d, struct probe *p)
{
	if (d->probe != DNSBL_PROBE_OFF && p->unlisted == NULL)
		return; /* the budget is spent */
	enum dnsbl_state listed = await(d, DNSBL_TEST_LISTED, p->listed, p->deadline_ms);
	enum dnsbl_state unlisted =
	    await(d, DNSBL_TEST_UNLISTED, p->unlisted, p->deadline_ms);
	/* a list may know its test points and list the rest of the world */
	enum dnsbl_state random = await(d, DNSBL_TEST_RANDOM, p->random, p->deadline_ms);
	if (random == DNSBL_LISTED)
		unlisted = DNSBL_LISTED;
	pthread_mutex_lock(&l->lock);
	enum dnsbl_fault before = l->health.fault;
	dnsbl_probed(&l->health, d->probe, listed, unlisted, clock_mono_ms());
	enum dnsbl_fault after = l->health.fault;
	pthread_mutex_unlock(&l->lock);
	report(l, before, after);
	future_unref(p->listed);
	future_unref(p->unlisted);
	future_unref(p->random);
}

void
access_list_probe(struct access_list_pool *p, bool bad_only, int64_t now)
{
	struct access_list_set *set = access_list_set_ref(p);
	const struct settings_access *access = &set->settings->access;
	struct probe *probes = xcalloc(set->n > 0 ? set->n : 1, sizeof(*probes));
	bool *chosen = xcalloc(set->n > 0 ? set->n : 1, sizeof(*chosen));

	for (size_t i = 0; i < set->n; i++) {
		chosen[i] = !bad_only || access_list_fault(set->lists[i]) != DNSBL_GOOD;
		if (chosen[i])
			probe_ask(set->lists[i], &access->dnsbl_lists.list[i],
			    access->dnsbl_deadline_ms, now, &probes[i]);
	}
	for (size_t i = 0; i < set->n; i++)
		if (chosen[i])
			probe_judge(
			    set->lists[i], &access->dnsbl_lists.list[i], &probes[i]);
	free(chosen);
	free(probes);
	access_list_set_unref(set);
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* Follows a map of the store: version first, contents when it moved.  Does not decide what
 * a missing table means to mail. */
#include "db/map_shared.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include "common/base/buf.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/xalloc.h"
#include "db/map_private.h"

struct map_shared {
	char *name;
	struct map_rules rules;
	struct store *(*store)(void *arg);
	void *store_arg;
	pthread_t thread;
	pthread_mutex_t lock; /* of all below */
	pthread_cond_t stopping;
	bool stop;
	struct map_table *table; /* NULL: never read */
	int64_t version; /* that table was made from */
	bool out; /* the store does not answer */
};

/* ---- reading ---- */

struct reading {
	struct map_table *t;
	const struct map_rules *rules;
};

/* Faults of single entries are no reason to leave the others out. */
static bool
take_entry(void *arg, struct str key, struct str value)
{
	struct reading *r = arg;
	char *octets = xmalloc(key.len + value.len + 1);
	struct map_entry e = { .key = { octets, key.len } };
	struct str rest = { octets + key.len, value.len }, head;
	struct errs faults = { 0 };
	struct err err;

	for (size_t i = 0; i < key.len; i++)
		octets[i] = ascii_lower(key.p[i]);
	memcpy(octets + key.len, value.p, value.len);
	map_table_own(r->t, octets);
	if (str_starts(rest, STR("#:")) && str_cut(&rest, '\n', &head) &&
	    !map_note_parse(str_sub(head, 2, head.len), &e.expires, &e.note, &err))
		errs_add(&r->t->refused, r->t->path, 0, "%.*s: %s", STR_ARG(e.key),
		    err.text);
	e.value = rest;
	if (key.len == 0 || key.len > MAP_KEY_MAX || rest.len == 0)
		return true;
	map_table_add(r->t, &e, r->rules, &faults);
	for (size_t i = 0; i < faults.n; i++)
		errs_add(&r->t->refused, r->t->path, 0, "%s", faults.list[i].text);
	errs_clear(&faults);
	return r->t->n + r->t->n_nets < MAP_ENTRIES_MAX;
}

struct map_table *
map_shared_read(struct store *s, const char *name, const struct map_rules *rules,
    int64_t *version, struct err *err)
{
	char *path = xasprintf("shared:%s", name);
	struct reading r = { .t = map_table_new(path, NULL), .rules = rules };
	struct errs none = { 0 };

	free(path);
	if (store_map_read(s, str_of(name), version, take_entry, &r, err) != 0) {
		map_table_unref(r.t);
		return NULL;
	}
	return map_table_done(r.t, true, &none);
}

/* ---- following ---- */

static void
note_out(struct map_shared *m, const struct err *err)
{
	if (m->out)
		return;
	m->out = true;
	log_msg(LOG_LEVEL_ERR, "map_shared_out", "shared:%s: %s; %s", m->name, err->text,
	    m->table != NULL ? "what was read stays in force"
			     : "nothing was read yet: lookups are answered with a temporary failure");
}

/* 1: answered; 0: the store is out, err says so. */
static bool
ask_version(struct store *s, const char *name, int64_t *version, struct err *err)
{
	struct future *f = store_map_version(s, str_of(name));
	bool came = future_wait(f, clock_mono_ms() + 5000);
	const struct map_answer *a = came ? future_value(f) : NULL;
	bool up = a != NULL && a->state == STORE_OK;

	if (up)
		*version = a->version;
	else
		err_set(err, "the store does not answer");
	future_unref(f);
	return up;
}

static void
follow(struct map_shared *m)
{
	struct store *s = m->store(m->store_arg);
	struct map_table *fresh;
	struct err err = { .text = "" };
	int64_t version = 0;

	if (s == NULL) {
		err_set(&err, "the store is not open");
		note_out(m, &err);
		return;
	}
	if (!ask_version(s, m->name, &version, &err)) {
		note_out(m, &err);
		return;
	}
	if (m->table != NULL && version == m->version) {
		if (m->out)
			log_msg(LOG_LEVEL_WARN, "map_shared_back",
			    "shared:%s: the store answers again", m->name);
		m->out = false;
		return;
	}
	fresh = map_shared_read(s, m->name, &m->rules, &version, &err);
	if (fresh == NULL) {
		note_out(m, &err);
		return;
	}
	pthread_mutex_lock(&m->lock);
	struct map_table *old = m->table;
	m->table = fresh;
	pthread_mutex_unlock(&m->lock);
	m->version = version;
	m->out = false;
	map_table_unref(old);
	map_log_loaded(fresh);
}

static bool
sleep_a_while(struct map_shared *m)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += MAP_SHARED_POLL_MS * 1000000L;
	until.tv_sec += until.tv_nsec / 1000000000L;
	until.tv_nsec %= 1000000000L;
	pthread_mutex_lock(&m->lock);
	while (!m->stop &&
	    pthread_cond_timedwait(&m->stopping, &m->lock, &until) != ETIMEDOUT)
		continue;
	bool go_on = !m->stop;
	pthread_mutex_unlock(&m->lock);
	return go_on;
}

static void *
shared_run(void *arg)
{
	struct map_shared *m = arg;

	while (sleep_a_while(m))
		follow(m);
	return NULL;
}

struct map_shared *
map_shared_open(const char *name, const struct map_rules *rules,
    struct store *(*store)(void *arg), void *arg, struct err *err)
{
	struct map_shared *m = xcalloc(1, sizeof(*m));
	pthread_condattr_t attr;

	m->name = xstrdup(name);
	m->rules = *rules;
	m->store = store;
	m->store_arg = arg;
	pthread_mutex_init(&m->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&m->stopping, &attr);
	pthread_condattr_destroy(&attr);
	follow(m); /* where the store is up, the first message finds the map */
	int rc = pthread_create(&m->thread, NULL, shared_run, m);
	if (rc == 0)
		return m;
	errno = rc;
	err_errno(err, "shared:%s: cannot start a thread", name);
	m->stop = true;
	map_table_unref(m->table);
	free(m->name);
	free(m);
	return NULL;
}

void
map_shared_close(struct map_shared *m)
{
	if (m == NULL)
		return;
	pthread_mutex_lock(&m->lock);
	m->stop = true;
	pthread_cond_signal(&m->stopping);
	pthread_mutex_unlock(&m->lock);
	pthread_join(m->thread, NULL);
	map_table_unref(m->table);
	pthread_cond_destroy(&m->stopping);
	pthread_mutex_destroy(&m->lock);
	free(m->name);
	free(m);
}

struct map_table *
map_shared_ref(struct map_shared *m)
{
	pthread_mutex_lock(&m->lock);
	struct map_table *t = m->table;
	if (t != NULL)
		atomic_fetch_add(&t->refs, 1);
	pthread_mutex_unlock(&m->lock);
	return t;
}

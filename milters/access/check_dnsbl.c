/* SPDX-License-Identifier: BSD-2-Clause */
/* DNS lists as a check: each is asked as soon as what it lists is known, judged when the
 * verdict is due.  A listing has the points of its list, or refuses by itself as
 * FEATURE(dnsbl) of sendmail does; a list that allows takes points away, or speaks for the
 * client whatever other lists say. */
#include "milters/access/check_dnsbl.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/base/clock.h"
#include "common/base/xalloc.h"
#include "milters/access/access_lists.h"

#define BAD_PART 3 /* lists that are set aside are looked at so much more often */

struct self {
	struct access_list_pool *pool;
	pthread_t thread;
	pthread_mutex_t lock; /* guards what follows */
	pthread_cond_t changed;
	int64_t interval_ms; /* 0: no test points are looked at */
	bool stopping;
};

#define BATCHES 3 /* client, HELO, sender */

struct conn {
	struct access_list_set *set; /* as the connection found it */
	struct access_lists *lists[BATCHES];
	bool welcome; /* a list speaks for the client */
};

/* ---- test points ---- */

/* Hosts that were started together are not to ask together. */
static int64_t
with_jitter(int64_t ms)
{
	return ms - ms / 4 + (int64_t)((uint64_t)clock_mono_us() * 40503 % 1000) * ms / 2000;
}

/* Wait for a part of the interval; false: it is time to end. */
static bool
rest(struct self *s)
{
	pthread_mutex_lock(&s->lock);
	int64_t interval = s->interval_ms;
	int64_t until_ms = clock_mono_ms() + with_jitter(interval / BAD_PART) + 1;
	const struct timespec until = { .tv_sec = (time_t)(until_ms / 1000),
		.tv_nsec = (long)(until_ms % 1000) * 1000000 };

	while (!s->stopping && s->interval_ms == interval) {
		if (interval == 0)
			pthread_cond_wait(&s->changed, &s->lock);
		else if (pthread_cond_timedwait(&s->changed, &s->lock, &until) ==
		    ETIMEDOUT)
			break;
	}
	bool go_on = !s->stopping;
	pthread_mutex_unlock(&s->lock);
	return go_on;
}

static void *
probe_thread(void *arg)
{
	struct self *s = arg;
	unsigned round = 0;

	do {
		pthread_mutex_lock(&s->lock);
		bool idle = s->interval_ms == 0;
		pthread_mutex_unlock(&s->lock);
		if (!idle)
			access_list_probe(
			    s->pool, round++ % BAD_PART != 0, clock_wall());
	} while (rest(s));
	return NULL;
}

static int
thread_start(struct self *s, struct err *err)
{
	pthread_condattr_t attr;
	sigset_t all, old;

	pthread_mutex_init(&s->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&s->changed, &attr);
	pthread_condattr_destroy(&attr);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	int rc = pthread_create(&s->thread, NULL, probe_thread, s);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (rc == 0)
		return 0;
	errno = rc;
	return err_errno(err, "dnsbl: thread");
}

/* ---- the worker ---- */

static int
start(const struct check_shared *shared, void **self, struct err *err)
{
	struct self *s = xcalloc(1, sizeof(*s));
	struct errs errs = { 0 };

	s->pool = access_list_pool_new(shared->resolver);
	s->interval_ms = shared->settings->access.dnsbl_probe * 1000;
	if (!access_list_pool_load(s->pool, shared->settings, &errs)) {
		*err = errs.list[0];
		errs_clear(&errs);
		goto fail;
	}
	if (thread_start(s, err) != 0)
		goto fail;
	*self = s;
	return 0;
fail:
	access_list_pool_free(s->pool);
	free(s);
	return -1;
}

static void
reload(void *self, const struct check_shared *shared, struct errs *errs)
{
	struct self *s = self;

	if (!access_list_pool_load(s->pool, shared->settings, errs))
		return;
	pthread_mutex_lock(&s->lock);
	s->interval_ms = shared->settings->access.dnsbl_probe * 1000;
	pthread_cond_signal(&s->changed);
	pthread_mutex_unlock(&s->lock);
}

static void
stop(void *self)
{
	struct self *s = self;

	pthread_mutex_lock(&s->lock);
	s->stopping = true;
	pthread_cond_signal(&s->changed);
	pthread_mutex_unlock(&s->lock);
	pthread_join(s->thread, NULL);
	pthread_cond_destroy(&s->changed);
	pthread_mutex_destroy(&s->lock);
	access_list_pool_free(s->pool);
	free(s);
}

/* ---- a connection ---- */

static void
conn_init(void *self, void *conn)
{
	struct self *s = self;

	((struct conn *)conn)->set = access_list_set_ref(s->pool);
}

static void
drop(struct conn *c, int batch)
{
	access_lists_free(c->lists[batch]);
	c->lists[batch] = NULL;
}

static void
conn_clear(void *self, void *conn)
{
	struct conn *c = conn;

	(void)self;
	for (int i = 0; i < BATCHES; i++)
		drop(c, i);
	access_list_set_unref(c->set);
}

static void
msg_clear(void *self, void *conn)
{
	(void)self;
	drop(conn, CHECK_MAIL);
}

static void
ask(void *self, void *conn, enum check_phase phase, const struct check_facts *facts)
{
	static const enum dnsbl_what whats[BATCHES] = { DNSBL_CLIENT, DNSBL_HELO,
		DNSBL_SENDER };
	struct conn *c = conn;

	(void)self;
	if (phase >= BATCHES || !facts->view->access.dnsbl)
		return;
	drop(c, (int)phase);
	c->lists[phase] = access_lists_ask(c->set, whats[phase], &facts->ip,
	    phase == CHECK_MAIL ? str_of(facts->sender->domain) : str_of(facts->helo),
	    facts->now);
}

static bool
wait_for(void *arg, struct future *f, int64_t deadline_ms)
{
	const struct check_facts *const *facts = arg;

	return check_wait(*facts, f, deadline_ms);
}

static void
find(struct conn *c, const struct access_lists_hit *hit, struct findings *out)
{
	struct finding *f = findings_add(out);
	char code[IP_TEXT_MAX];

	snprintf(f->detail, sizeof(f->detail), "%.120s=%s", hit->list->zone,
	    ip_format(&hit->result.code, code));
	f->observe = hit->list->observe;
	f->verdict = verdict_refuse(550, "5.7.1", "dnsbl", "%s", hit->text);
	if (c->welcome)
		return; /* seen, but without weight */
	f->points = hit->result.points;
	f->refuses = hit->result.refuses && !hit->list->allow;
}

static void
judge(void *self, void *conn, enum check_phase phase, const struct check_facts *facts,
    struct findings *out)
{
	struct conn *c = conn;
	size_t n;

	(void)self;
	if (phase >= BATCHES || !facts->view->access.dnsbl)
		return;
	const struct access_lists_hit *hits =
	    access_lists_judge(c->lists[phase], wait_for, &facts, &n);
	for (size_t i = 0; i < n; i++)
		if (hits[i].list->allow && hits[i].result.refuses && !hits[i].list->observe)
			c->welcome = true;
	for (size_t i = 0; i < n; i++)
		find(c, &hits[i], out);
}

const struct check_ops check_dnsbl = { .name = "dnsbl",
	.spares = CHECK_SPARE_ALL,
	.start = start,
	.reload = reload,
	.stop = stop,
	.conn_size = sizeof(struct conn),
	.conn_init = conn_init,
	.conn_clear = conn_clear,
	.msg_clear = msg_clear,
	.ask = ask,
	.judge = judge };

static_assert(CHECK_CONNECT == 0 && CHECK_HELO == 1 && CHECK_MAIL == 2,
    "batches are found by phase");

/* SPDX-License-Identifier: BSD-2-Clause */
/* Tries to open the store until it is open, and hands it out.  It decides nothing about
 * what mail meets meanwhile. */
#include "policy/store_opener.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include "common/base/log.h"
#include "common/base/xalloc.h"

#define RETRY_S 10

struct store_opener {
	struct settings *settings;
	_Atomic(struct store *) store;
	pthread_mutex_t lock; /* of stop */
	pthread_cond_t stopping;
	bool stop, runs;
	pthread_t thread;
};

static struct store *
try_open(const struct store_opener *o, struct err *err)
{
	const struct store_conf conf = settings_store(&o->settings->state);

	return store_open(&conf, err);
}

/* false: it is to end. */
static bool
sleep_a_while(struct store_opener *o)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += RETRY_S;
	pthread_mutex_lock(&o->lock);
	while (!o->stop &&
	    pthread_cond_timedwait(&o->stopping, &o->lock, &until) != ETIMEDOUT)
		continue;
	bool go_on = !o->stop;
	pthread_mutex_unlock(&o->lock);
	return go_on;
}

static void *
opener_run(void *arg)
{
	struct store_opener *o = arg;
	struct store *store = NULL;
	struct err err;

	while (store == NULL && sleep_a_while(o))
		store = try_open(o, &err);
	if (store != NULL)
		log_msg(LOG_LEVEL_WARN, "store_up", "the store is open");
	atomic_store(&o->store, store);
	return NULL;
}

static struct store_opener *
opener_alloc(struct settings *s)
{
	struct store_opener *o = xcalloc(1, sizeof(*o));
	pthread_condattr_t attr;

	o->settings = settings_ref(s);
	pthread_mutex_init(&o->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&o->stopping, &attr);
	pthread_condattr_destroy(&attr);
	return o;
}

struct store_opener *
store_opener_new(struct settings *s, struct err *err)
{
	struct store_opener *o = opener_alloc(s);

	atomic_store(&o->store, try_open(o, err));
	if (atomic_load(&o->store) != NULL)
		return o;
	log_err("store_down", err);
	o->runs = pthread_create(&o->thread, NULL, opener_run, o) == 0;
	if (o->runs)
		return o;
	store_opener_free(o);
	err_set(err, "cannot start a thread");
	return NULL;
}

struct store *
store_opener_get(struct store_opener *o)
{
	return o == NULL ? NULL : atomic_load(&o->store);
}

void
store_opener_free(struct store_opener *o)
{
	if (o == NULL)
		return;
	pthread_mutex_lock(&o->lock);
	o->stop = true;
	pthread_cond_signal(&o->stopping);
	pthread_mutex_unlock(&o->lock);
	if (o->runs)
		pthread_join(o->thread, NULL);
	store_close(atomic_load(&o->store));
	pthread_cond_destroy(&o->stopping);
	pthread_mutex_destroy(&o->lock);
	settings_unref(o->settings);
	free(o);
}

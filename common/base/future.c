/* SPDX-License-Identifier: BSD-2-Clause */
/* One value, settled once, waited for by many. */
#include "common/base/future.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "common/base/xalloc.h"

struct future {
	pthread_mutex_t lock;
	pthread_cond_t settled;
	unsigned refs;
	bool done;
	void *value;
	void (*free_value)(void *);
	void (*notify)(void *);
	void *notify_arg;
};

struct future *
future_new(void (*free_value)(void *value))
{
	struct future *f = xcalloc(1, sizeof(*f));
	pthread_condattr_t attr;

	pthread_mutex_init(&f->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&f->settled, &attr);
	pthread_condattr_destroy(&attr);
	f->refs = 1;
	f->free_value = free_value;
	return f;
}

struct future *
future_ref(struct future *f)
{
	pthread_mutex_lock(&f->lock);
	f->refs++;
	pthread_mutex_unlock(&f->lock);
	return f;
}

void
future_unref(struct future *f)
{
	if (f == NULL)
		return;
	pthread_mutex_lock(&f->lock);
	unsigned left = --f->refs;
	pthread_mutex_unlock(&f->lock);
	if (left > 0)
		return;
	if (f->value != NULL && f->free_value != NULL)
		f->free_value(f->value);
	pthread_cond_destroy(&f->settled);
	pthread_mutex_destroy(&f->lock);
	free(f);
}

void
future_set(struct future *f, void *value)
{
	void (*cb)(void *) = NULL;
	void *arg = NULL;

	pthread_mutex_lock(&f->lock);
	bool first = !f->done;
	if (first) {
		f->done = true;
		f->value = value;
		cb = f->notify;
		arg = f->notify_arg;
	}
	pthread_mutex_unlock(&f->lock);
	/* Whom it wakes finds the lock free; f stays, by the caller's reference. */
	if (first)
		pthread_cond_broadcast(&f->settled);
	if (!first && value != NULL && f->free_value != NULL)
		f->free_value(value);
	/* Outside the lock: the callback may drop the last reference but ours. */
	if (cb != NULL)
		cb(arg);
}

bool
future_done(struct future *f)
{
	pthread_mutex_lock(&f->lock);
	bool done = f->done;
	pthread_mutex_unlock(&f->lock);
	return done;
}

bool
future_wait(struct future *f, int64_t deadline_ms)
{
	struct timespec until = { .tv_sec = (time_t)(deadline_ms / 1000),
		.tv_nsec = (long)(deadline_ms % 1000) * 1000000 };

	pthread_mutex_lock(&f->lock);
	while (!f->done)
		if (pthread_cond_timedwait(&f->settled, &f->lock, &until) != 0)
			break;
	bool done = f->done;
	pthread_mutex_unlock(&f->lock);
	return done;
}

void *
future_value(struct future *f)
{
	pthread_mutex_lock(&f->lock);
	void *value = f->value;
	pthread_mutex_unlock(&f->lock);
	return value;
}

void
future_notify(struct future *f, void (*cb)(void *arg), void *arg)
{
	pthread_mutex_lock(&f->lock);
	bool done = f->done;
	if (!done) {
		f->notify = cb;
		f->notify_arg = arg;
	}
	pthread_mutex_unlock(&f->lock);
	if (done)
		cb(arg);
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* All places that this process holds, in a table of chains by name; one thread renews
 * them.  A renewal asks without a limit: who is in stays in. */
#include "milters/access/access_holds.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

#include "common/base/clock.h"
#include "common/base/xalloc.h"

#define CHAINS 4096u
#define RENEW_S (HOLD_KEEP / 3) /* two renewals may fail */
#define BATCH 64 /* renewals that the store is asked at a time */
#define BATCH_WAIT_MS 1000

struct access_hold {
	struct access_hold *next, **at;
	char *name;
	char holder[160];
	int64_t limit, held; /* held: by this process, when it was taken */
	struct future *question;
	bool in_store; /* the store was asked for it, then or by a renewal */
};

struct access_holds {
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool stop;
	pthread_t thread;
	struct store *(*get_store)(void *arg);
	void *arg;
	char host[100];
	uint64_t last; /* holder */
	struct access_hold *chains[CHAINS];
};

static size_t
chain_of(struct str name)
{
	return (size_t)(XXH3_64bits(name.p, name.len) % CHAINS);
}

/* Asks for a place anew; the lock is held, so that no renewal comes behind its end. */
static struct future *
renew(struct store *store, struct access_hold *hold)
{
	hold->in_store = true;
	return store_hold_take(store, str_of(hold->name), str_of(hold->holder),
	    INT64_MAX, HOLD_KEEP, store_now(store));
}

/* The holds of chains from *chain on, at most BATCH and whole chains, are asked. */
static size_t
renew_some(struct access_holds *h, struct store *store, size_t *chain,
    struct future *out[BATCH])
{
	size_t n = 0;

	pthread_mutex_lock(&h->lock);
	for (; *chain < CHAINS && n < BATCH; (*chain)++)
		for (struct access_hold *p = h->chains[*chain]; p != NULL;
		     p = p->next) {
			struct future *f = renew(store, p);

			if (n < BATCH)
				out[n++] = f;
			else
				future_unref(f);
		}
	pthread_mutex_unlock(&h->lock);
	return n;
}

static void
renew_all(struct access_holds *h)
{
	struct store *store = h->get_store(h->arg);
	struct future *asked[BATCH];

	for (size_t chain = 0; store != NULL && chain < CHAINS;) {
		size_t n = renew_some(h, store, &chain, asked);
		int64_t until = clock_mono_ms() + BATCH_WAIT_MS;

		/* A store that is slow is not flooded. */
		for (size_t i = 0; i < n; i++) {
			(void)future_wait(asked[i], until);
			future_unref(asked[i]);
		}
	}
}

static void *
renewing(void *arg)
{
	struct access_holds *h = arg;
	struct timespec at;

	pthread_mutex_lock(&h->lock);
	while (!h->stop) {
		clock_gettime(CLOCK_MONOTONIC, &at);
		at.tv_sec += RENEW_S;
		while (!h->stop &&
		    pthread_cond_timedwait(&h->wake, &h->lock, &at) != ETIMEDOUT)
			;
		if (h->stop)
			break;
		pthread_mutex_unlock(&h->lock);
		renew_all(h);
		pthread_mutex_lock(&h->lock);
	}
	pthread_mutex_unlock(&h->lock);
	return NULL;
}

struct access_holds *
access_holds_new(
    const char *host, struct store *(*get_store)(void *arg), void *arg, struct err *err)
{
	struct access_holds *h = xcalloc(1, sizeof(*h));
	pthread_condattr_t attr;

	pthread_mutex_init(&h->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&h->wake, &attr);
	pthread_condattr_destroy(&attr);
	h->get_store = get_store;
	h->arg = arg;
	/* Two processes of one host, one after the other, are two holders. */
	(void)snprintf(h->host, sizeof(h->host), "%.60s|%ld|%lld", host, (long)getpid(),
	    (long long)clock_wall());
	errno = pthread_create(&h->thread, NULL, renewing, h);
	if (errno == 0)
		return h;
	(void)err_errno(err, "thread for holds");
	pthread_cond_destroy(&h->wake);
	pthread_mutex_destroy(&h->lock);
	free(h);
	return NULL;
}

void
access_holds_free(struct access_holds *h)
{
	if (h == NULL)
		return;
	pthread_mutex_lock(&h->lock);
	h->stop = true;
	pthread_cond_signal(&h->wake);
	pthread_mutex_unlock(&h->lock);
	pthread_join(h->thread, NULL);
	for (size_t i = 0; i < CHAINS; i++)
		while (h->chains[i] != NULL)
			access_hold_end(h, h->chains[i]);
	pthread_cond_destroy(&h->wake);
	pthread_mutex_destroy(&h->lock);
	free(h);
}

static int64_t
count(const struct access_hold *chain, const char *name)
{
	int64_t n = 0;

	for (const struct access_hold *p = chain; p != NULL; p = p->next)
		n += strcmp(p->name, name) == 0;
	return n;
}

struct access_hold *
access_hold_begin(struct access_holds *h, struct str name, int64_t limit)
{
	struct access_hold *hold = xcalloc(1, sizeof(*hold));
	struct access_hold **chain = &h->chains[chain_of(name)];
	struct store *store = h->get_store(h->arg);

	hold->name = str_dup(name);
	hold->limit = limit;
	pthread_mutex_lock(&h->lock);
	(void)snprintf(hold->holder, sizeof(hold->holder), "%s|%llu", h->host,
	    (unsigned long long)++h->last);
	hold->next = *chain;
	hold->at = chain;
	if (hold->next != NULL)
		hold->next->at = &hold->next;
	*chain = hold;
	hold->held = count(hold, hold->name);
	hold->in_store = store != NULL;
	if (store != NULL)
		hold->question = store_hold_take(store, name, str_of(hold->holder),
		    limit, HOLD_KEEP, store_now(store));
	pthread_mutex_unlock(&h->lock);
	return hold;
}

struct future *
access_hold_question(const struct access_hold *hold)
{
	return hold->question;
}

struct hold_verdict
access_hold_judge(const struct access_hold *hold)
{
	const struct hold_answer *a =
	    hold->question == NULL ? NULL : future_value(hold->question);
	struct hold_verdict v = { .alone = a == NULL || a->state != STORE_OK };

	if (!v.alone) {
		v.allowed = a->allowed;
		v.held = a->held;
		return v;
	}
	v.held = hold->held;
	v.allowed = v.held <= hold->limit;
	return v;
}

void
access_hold_end(struct access_holds *h, struct access_hold *hold)
{
	struct store *store;

	if (hold == NULL)
		return;
	pthread_mutex_lock(&h->lock);
	*hold->at = hold->next;
	if (hold->next != NULL)
		hold->next->at = hold->at;
	store = hold->in_store ? h->get_store(h->arg) : NULL;
	if (store != NULL)
		future_unref(store_hold_drop(
		    store, str_of(hold->name), str_of(hold->holder), store_now(store)));
	pthread_mutex_unlock(&h->lock);
	future_unref(hold->question);
	free(hold->name);
	free(hold);
}

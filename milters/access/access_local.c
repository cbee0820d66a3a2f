/* SPDX-License-Identifier: BSD-2-Clause */
/* A table of leaky buckets in sets of eight, found by a keyed hash of their name, so
 * that nobody outside can choose names that push others out. */
#include "milters/access/access_local.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/random.h>
#include <xxhash.h>

#include "common/base/clock.h"
#include "common/base/xalloc.h"
#include "db/store_step.h"

#define WAYS 8

struct bucket {
	uint64_t hash; /* 0: free */
	int64_t expires;
	struct rate_level level;
};

struct access_local {
	pthread_mutex_t lock;
	size_t sets;
	uint64_t seed;
	struct bucket *buckets;
};

struct access_local *
access_local_new(size_t sets)
{
	struct access_local *l = xcalloc(1, sizeof(*l));

	assert(sets > 0 && (sets & (sets - 1)) == 0);
	pthread_mutex_init(&l->lock, NULL);
	l->sets = sets;
	l->buckets = xcalloc(sets * WAYS, sizeof(*l->buckets));
	if (getrandom(&l->seed, sizeof(l->seed), GRND_NONBLOCK) != sizeof(l->seed))
		l->seed = (uint64_t)clock_mono_us();
	return l;
}

void
access_local_free(struct access_local *l)
{
	if (l == NULL)
		return;
	pthread_mutex_destroy(&l->lock);
	free(l->buckets);
	free(l);
}

/* Its own bucket, or else the one that is empty soonest, made new.  NULL: there is
 * none, and none is to be made. */
static struct bucket *
find(struct access_local *l, struct str name, int64_t now, bool make)
{
	uint64_t hash = XXH3_64bits_withSeed(name.p, name.len, l->seed) | 1;
	struct bucket *set = &l->buckets[(hash >> 32 & (l->sets - 1)) * WAYS];
	struct bucket *soonest = set;

	for (size_t i = 0; i < WAYS; i++) {
		if (set[i].hash == hash) {
			if (set[i].expires < now)
				set[i].level = (struct rate_level){ 0 };
			return &set[i];
		}
		if (set[i].expires < soonest->expires)
			soonest = &set[i];
	}
	if (!make)
		return NULL;
	*soonest = (struct bucket){ .hash = hash };
	return soonest;
}

struct rate_answer
access_local_rate(struct access_local *l, struct str name, int64_t n, int64_t burst,
    int64_t rate, int64_t per, int64_t now)
{
	const struct rate_args args = { n, burst, rate, per };
	struct rate_answer a;
	int64_t expires;

	pthread_mutex_lock(&l->lock);
	struct rate_level none = { 0 };
	struct bucket *b = find(l, name, now, n > 0);

	a = rate_step(b == NULL ? &none : &b->level, &args, now, &expires);
	if (b != NULL && expires > 0)
		b->expires = expires;
	pthread_mutex_unlock(&l->lock);
	return a;
}

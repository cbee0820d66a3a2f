/* SPDX-License-Identifier: BSD-2-Clause */
/* Answers in sets of eight, found by a keyed hash of the recipient, so that nobody
 * outside can choose names that push others out.  128 bits of it stand for the name. */
#include "milters/access/rcpt_cache.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/random.h>
#include <xxhash.h>

#include "common/base/clock.h"
#include "common/base/xalloc.h"

#define WAYS 8

struct entry {
	XXH128_hash_t name; /* all zero: free */
	struct rcpt_memory memory;
};

struct rcpt_cache {
	pthread_mutex_t lock;
	size_t sets;
	uint64_t seed;
	struct entry *entries;
};

struct rcpt_cache *
rcpt_cache_new(size_t sets)
{
	struct rcpt_cache *c = xcalloc(1, sizeof(*c));

	assert(sets > 0 && (sets & (sets - 1)) == 0);
	pthread_mutex_init(&c->lock, NULL);
	c->sets = sets;
	c->entries = xcalloc(sets * WAYS, sizeof(*c->entries));
	if (getrandom(&c->seed, sizeof(c->seed), GRND_NONBLOCK) != sizeof(c->seed))
		c->seed = (uint64_t)clock_mono_us();
	return c;
}

void
rcpt_cache_free(struct rcpt_cache *c)
{
	if (c == NULL)
		return;
	pthread_mutex_destroy(&c->lock);
	free(c->entries);
	free(c);
}

/* Its entry, or NULL; *oldest: the one of its set to be written over. */
static struct entry *
find(struct rcpt_cache *c, XXH128_hash_t name, struct entry **oldest)
{
	struct entry *set = &c->entries[(name.high64 & (c->sets - 1)) * WAYS];

	*oldest = set;
	for (size_t i = 0; i < WAYS; i++) {
		if (XXH128_isEqual(set[i].name, name))
			return &set[i];
		if (set[i].memory.when < (*oldest)->memory.when)
			*oldest = &set[i];
	}
	return NULL;
}

bool
rcpt_cache_get(struct rcpt_cache *c, struct str name, struct rcpt_memory *out)
{
	XXH128_hash_t hash = XXH3_128bits_withSeed(name.p, name.len, c->seed);
	struct entry *e, *oldest;

	pthread_mutex_lock(&c->lock);
	e = find(c, hash, &oldest);
	if (e != NULL)
		*out = e->memory;
	pthread_mutex_unlock(&c->lock);
	return e != NULL;
}

void
rcpt_cache_put(struct rcpt_cache *c, struct str name, const struct rcpt_memory *m)
{
	XXH128_hash_t hash = XXH3_128bits_withSeed(name.p, name.len, c->seed);
	struct entry *e, *oldest;

	pthread_mutex_lock(&c->lock);
	e = find(c, hash, &oldest);
	if (e == NULL)
		e = oldest;
	*e = (struct entry){ hash, *m };
	pthread_mutex_unlock(&c->lock);
}

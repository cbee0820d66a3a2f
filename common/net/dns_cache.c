/* SPDX-License-Identifier: BSD-2-Clause */
/* A hash table of answers with a list in order of use.  Decides how long each kind of
 * answer is kept (RFC 1035 7.4, RFC 2308 5 and 7) and which goes when it is full. */
#include "common/net/dns_cache.h"

#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <xxhash.h>

#include "common/base/xalloc.h"

struct entry {
	LIST_ENTRY(entry) bucket;
	TAILQ_ENTRY(entry) use;
	struct dns_answer *answer;
	int64_t until_ms;
	enum dns_type type;
	size_t len;
	char name[]; /* len octets */
};

LIST_HEAD(bucket, entry);
TAILQ_HEAD(uses, entry);

struct dns_cache {
	struct bucket *buckets;
	size_t n_buckets; /* a power of two */
	struct uses uses; /* the least recently used first */
	size_t n, max;
};

struct dns_cache *
dns_cache_new(size_t entries_max)
{
	struct dns_cache *c = xcalloc(1, sizeof(*c));

	c->max = entries_max > 0 ? entries_max : 1;
	c->n_buckets = 16;
	while (c->n_buckets < c->max)
		c->n_buckets *= 2;
	c->buckets = xcalloc(c->n_buckets, sizeof(*c->buckets));
	TAILQ_INIT(&c->uses);
	return c;
}

static void
drop(struct dns_cache *c, struct entry *e)
{
	LIST_REMOVE(e, bucket);
	TAILQ_REMOVE(&c->uses, e, use);
	dns_answer_unref(e->answer);
	free(e);
	c->n--;
}

void
dns_cache_free(struct dns_cache *c)
{
	if (c == NULL)
		return;
	while (!TAILQ_EMPTY(&c->uses))
		drop(c, TAILQ_FIRST(&c->uses));
	free(c->buckets);
	free(c);
}

static struct bucket *
bucket_of(struct dns_cache *c, struct str name, enum dns_type type)
{
	uint64_t h = XXH3_64bits_withSeed(name.p, name.len, (uint64_t)type);

	return &c->buckets[h & (c->n_buckets - 1)];
}

static struct entry *
find(struct dns_cache *c, struct str name, enum dns_type type)
{
	struct entry *e;

	LIST_FOREACH(e, bucket_of(c, name, type), bucket)
	if (e->type == type && e->len == name.len &&
	    memcmp(e->name, name.p, name.len) == 0)
		return e;
	return NULL;
}

struct dns_answer *
dns_cache_get(struct dns_cache *c, struct str name, enum dns_type type, int64_t now_ms)
{
	struct entry *e = find(c, name, type);

	if (e == NULL)
		return NULL;
	if (now_ms >= e->until_ms) {
		drop(c, e);
		return NULL;
	}
	TAILQ_REMOVE(&c->uses, e, use);
	TAILQ_INSERT_TAIL(&c->uses, e, use);
	return e->answer;
}

uint32_t
dns_cache_ttl(const struct dns_answer *a)
{
	switch (a->status) {
	case DNS_OK:
		return a->ttl < DNS_TTL_MAX ? a->ttl : DNS_TTL_MAX;
	case DNS_NODATA:
	case DNS_NXDOMAIN:
		return a->ttl < DNS_NEGATIVE_TTL_MAX ? a->ttl : DNS_NEGATIVE_TTL_MAX;
	case DNS_FAIL:
		return DNS_FAIL_TTL;
	case DNS_TIMEOUT: /* the next one who asks may have more luck */
	case DNS_BADNAME:
		break;
	}
	return 0;
}

void
dns_cache_put(struct dns_cache *c, struct str name, enum dns_type type,
    struct dns_answer *a, int64_t now_ms)
{
	uint32_t ttl = dns_cache_ttl(a);
	struct entry *e = find(c, name, type);

	if (e != NULL)
		drop(c, e);
	if (ttl == 0)
		return;
	if (c->n >= c->max)
		drop(c, TAILQ_FIRST(&c->uses));
	e = xmalloc(sizeof(*e) + name.len);
	e->answer = dns_answer_ref(a);
	e->until_ms = now_ms + (int64_t)ttl * 1000;
	e->type = type;
	e->len = name.len;
	memcpy(e->name, name.p, name.len);
	LIST_INSERT_HEAD(bucket_of(c, name, type), e, bucket);
	TAILQ_INSERT_TAIL(&c->uses, e, use);
	c->n++;
}

size_t
dns_cache_count(const struct dns_cache *c)
{
	return c->n;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* Answers kept for their time to live; bounded, the one not used for longest goes
 * first. Not thread-safe: the resolver's lock guards it.  Times are monotonic
 * milliseconds. */
#ifndef POSTERN_NET_DNS_CACHE_H
#define POSTERN_NET_DNS_CACHE_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/str.h"
#include "common/net/dns_answer.h"

#define DNS_TTL_MAX 86400u /* seconds an answer is kept at most */
#define DNS_NEGATIVE_TTL_MAX 3600u /* RFC 2308 5 finds 1 to 3 hours good */
#define DNS_FAIL_TTL 5u /* RFC 2308 7.1 allows up to 300 */

struct dns_cache;

struct dns_cache *dns_cache_new(size_t entries_max); /* at least 1 */
void dns_cache_free(struct dns_cache *c);

/* name: lower case.  Borrowed until the next put or free; NULL: none in force. */
struct dns_answer *dns_cache_get(
    struct dns_cache *c, struct str name, enum dns_type type, int64_t now_ms);
/* Keeps a reference, for as long as the answer's kind and TTL allow: not at all for
 * TTL 0, timeouts and bad names. */
void dns_cache_put(struct dns_cache *c, struct str name, enum dns_type type,
    struct dns_answer *a, int64_t now_ms);
size_t dns_cache_count(const struct dns_cache *c);

/* Seconds that this answer may be kept. */
uint32_t dns_cache_ttl(const struct dns_answer *a);

#endif

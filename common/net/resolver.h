/* SPDX-License-Identifier: BSD-2-Clause */
/* The one DNS resolver of a process: a thread that owns c-ares channels, a cache with
 * the records' TTLs (negative answers by SOA, SERVFAIL for 5 s), coalescing of equal
 * queries, and an absolute deadline per question.  Answers are futures.  All functions
 * may be called from any thread. */
#ifndef POSTERN_NET_RESOLVER_H
#define POSTERN_NET_RESOLVER_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/base/future.h"
#include "common/base/str.h"
#include "common/net/dns_answer.h"

struct resolver;

struct resolver_conf { /* 0 means the default */
	const char *const *servers; /* "192.0.2.53", "127.0.0.1:5353", "[::1]:53" */
	size_t n_servers; /* 0: those of /etc/resolv.conf */
	int64_t timeout_ms; /* for one try; default 2000 */
	int64_t deadline_ms; /* for a question with all tries; default 5000 */
	unsigned tries; /* default 2 */
	size_t cache_entries; /* default 50000 */
	bool fresh_ports; /* change ports even where all servers are on this host */
};

#define RESOLVER_SERVERS_MAX 16
#define RESOLVER_OPEN_MAX                                                              \
	65536 /* different questions open at once; more are DNS_FAIL */

/* Starts the thread.  conf is not kept.  NULL: err says why. */
struct resolver *resolver_new(const struct resolver_conf *conf, struct err *err);
/* Ends the thread; open questions settle as DNS_TIMEOUT.  Nobody may ask any more.
 * Accepts NULL. */
void resolver_free(struct resolver *r);

/* Ask.  The future's value is a const struct dns_answer *, owned by the future.  Never
 * NULL; a name that cannot be asked settles at once as DNS_BADNAME.  A final dot of the
 * name is dropped, case does not matter.  The answer's AD bit is told only when all
 * servers are on this host (RFC 6840 5.8: the path must be trusted). */
struct future *resolver_ask(struct resolver *r, struct str name, enum dns_type type);

/* Only what the cache has, settled; NULL: a server would have to be asked. */
struct future *resolver_known(struct resolver *r, struct str name, enum dns_type type);
/* The same, from a server in any case: no cache is read, no open question joined, and the
 * answer is not kept.  Questions of one thread go out in the order in which they were
 * asked, this kind and the other. */
struct future *resolver_ask_fresh(struct resolver *r, struct str name, enum dns_type type);

struct resolver_counts { /* since the start */
	uint64_t asked, cached, joined, sent, timeouts;
};
void resolver_counts(struct resolver *r, struct resolver_counts *out);

/* Is this a server as resolver_conf wants it?  For checks of the configuration. */
bool resolver_server_ok(struct str server);

#endif

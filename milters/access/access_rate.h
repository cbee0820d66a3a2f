/* SPDX-License-Identifier: BSD-2-Clause */
/* Rates and concurrency: under which name something is counted, when, and what is said
 * to whom exceeds it.  Pure; the store counts (store_rate_add, store_hold_take). */
#ifndef POSTERN_ACCESS_RATE_H
#define POSTERN_ACCESS_RATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/ip.h"
#include "common/base/str.h"
#include "common/base/verdict.h"
#include "db/store.h"
#include "policy/settings_limits.h"

#define RATE_KEY_MAX 700 /* octets of a name in the store, with NUL */

enum rate_when { RATE_NEVER, RATE_AT_CONNECT, RATE_AT_MAIL, RATE_AT_RCPT };

struct rate_facts {
	struct ip ip; /* family 0: local or unknown */
	/* Addresses as access_addr has them; p NULL: not known, len 0: null sender or
	 * unqualified. */
	struct str sender, sender_domain, recipient;
	const char *user; /* NULL or "": not authenticated */
};

/* When a rule counts, and when a place of at-once is taken. */
enum rate_when access_rate_when(const struct access_rate *r);
enum rate_when access_rate_at_once_when(const struct access_rate *r);

/* "rate|NAME|KEY" in lower case.  0: this is nothing that the rule counts (the null
 * sender, a client that is this host itself, nobody authenticated).  A key that does
 * not fit is represented by its beginning and a hash. */
size_t access_rate_key(
    const struct access_rate *r, const struct rate_facts *f, char out[RATE_KEY_MAX]);

/* The number, time and burst of a rule; number 0: it has none. */
struct rate_limit {
	int64_t number, seconds, burst;
	const char *unit; /* "connections", ...; static */
};
struct rate_limit access_rate_limit(const struct access_rate *r);

/* The networks that are counted together: client /32 and /64, network /24 and /48. */
struct ipnet access_rate_net(const struct ip *ip, int per);
/* The network of events: /24 or /64 (see store.h). */
struct ipnet access_event_net(const struct ip *ip);

/* Static texts: verdict.why of all that is refused for its rate or number. */
extern const char access_rate_why[], access_at_once_why[];

/* wait: seconds, 0 or less: not known.  421 where the rule counts connections. */
struct verdict access_rate_verdict(const struct access_rate *r, int64_t wait);
struct verdict access_at_once_verdict(const struct access_rate *r);

#endif

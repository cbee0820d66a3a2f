/* SPDX-License-Identifier: BSD-2-Clause */
/* From a route to addresses that can be connected to, in the order in which to try them
 * (RFC 5321 5.1, RFC 7505): MX records by preference, shuffled within one preference,
 * cut at the one that names ourselves; without MX the name's own addresses.  Used by
 * the delivery process and by a listener that hands messages on in session. */
#ifndef POSTERN_RELAY_NEXTHOP_H
#define POSTERN_RELAY_NEXTHOP_H

#include <event2/event.h>

#include "common/net/resolver.h"
#include "contrib/relay/route.h"
#include "contrib/relay/smtp_client.h"

#define NEXTHOP_TARGETS_MAX 20 /* addresses of one next hop that are tried */

enum nexthop_end {
	NEXTHOP_FOUND,
	NEXTHOP_LATER, /* the DNS did not answer */
	NEXTHOP_NEVER, /* no such host, null MX, mail loops back: refuse */
};

struct nexthop_result {
	enum nexthop_end end;
	const struct smtp_target *targets; /* borrowed for the callback */
	size_t n_targets;
	int code; /* of LATER and NEVER: 451, 5yz */
	char enhanced[12];
	char text[256];
};

/* The order in which to try MX records: out (room for n) gets their indices by
 * preference, at random within one; those not better than the one that names `own` are
 * left out. Returns how many; *loops: there were some, but only ourselves and worse. */
size_t nexthop_order(const struct dns_record *mx, size_t n, const char *own,
    uint32_t seed, size_t *out, bool *loops);

struct nexthop;
/* route: HOST or MX.  own: our name, for the loop check.  resolver may be NULL when
 * route->host is an address.  done is called exactly once from the loop, never from
 * within this call. */
struct nexthop *nexthop_start(struct event_base *base, struct resolver *resolver,
    const struct route *route, const char *own,
    void (*done)(void *arg, const struct nexthop_result *result), void *arg);
/* Only before done was called; nothing is called any more. */
void nexthop_cancel(struct nexthop *h);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* Where mail for a domain goes: mailertable with sendmail's meaning (exact domain, then
 * .parent entries from the longest, then "."), then the smarthost, then the domain's
 * own MX.  Right-hand sides:
 *
 *     esmtp:host   smtp: relay: smtp8: dsmtp: likewise    MX of host
 *     esmtp:[host]  esmtp:[192.0.2.1]  esmtp:[IPv6:2001:db8::1]    that host itself
 *     either with :port behind it
 *     error:D.S.N:550 text   error:word:450 text   error:550 D.S.N text   error:text
 *
 * "%1" stands for what .parent did not match.  A list of hosts, a user and the mailer
 * "local" are errors here: this relay has no mailboxes.  Pure; names are resolved by
 * the caller (nexthop.h). */
#ifndef POSTERN_RELAY_ROUTE_H
#define POSTERN_RELAY_ROUTE_H

#include "common/base/err.h"
#include "common/base/str.h"
#include "db/map.h"

enum route_kind {
	ROUTE_HOST, /* host is a name or address to connect to, no MX lookup */
	ROUTE_MX, /* look up MX of host, then A/AAAA */
	ROUTE_ERROR, /* text and code: refuse for ever, or with 4yz for now */
	ROUTE_NONE, /* no way known: the address has no domain */
};

struct route {
	enum route_kind kind;
	char host[256]; /* an address without brackets */
	uint16_t port;
	int code; /* of ERROR */
	char enhanced[12];
	char text[256];
};

#define ROUTE_PORT 25

/* Read one right-hand side, or the smarthost's setting, which needs no "mailer:". */
int route_parse(struct str value, struct route *out, struct err *err);
/* For map_open(): a mailertable's line. */
bool route_check(const struct map_entry *e, const char *file, struct errs *errs);
/* mailertable may be NULL; smarthost "" = none. */
void route_find(const struct map_table *mailertable, struct str smarthost,
    struct str domain, struct route *out);
/* The same for a whole address; its domain stands behind the last '@' (quoted ones are
 * in front of it), "" when it has none. */
void route_find_address(const struct map_table *mailertable, struct str smarthost,
    struct str address, struct route *out);

#endif

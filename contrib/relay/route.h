/* SPDX-License-Identifier: BSD-2-Clause */
/* Where mail for a domain goes: mailertable (exact domain, then .parent entries, then
 * ".") with values `esmtp:[host]:port`, `smtp:host`, `relay:…`, `error:D.S.N:text`, then
 * the smarthost.  Pure; names are resolved by the caller. */
#ifndef POSTERN_RELAY_ROUTE_H
#define POSTERN_RELAY_ROUTE_H

#include "common/base/err.h"
#include "common/base/str.h"
#include "db/map.h"

enum route_kind {
	ROUTE_HOST, /* host is a name or address to connect to, no MX lookup */
	ROUTE_MX, /* look up MX of host, then A/AAAA */
	ROUTE_ERROR, /* text and code: refuse for ever */
	ROUTE_NONE, /* no way known */
};

struct route {
	enum route_kind kind;
	char host[256];
	uint16_t port;
	int code; /* of ERROR */
	char enhanced[12];
	char text[256];
};

/* Read one right-hand side; also the map's line check and the smarthost's setting. */
int route_parse(struct str value, struct route *out, struct err *err);
/* mailertable may be NULL; smarthost "" = none.  -1 never: kind says. */
void route_find(const struct map_table *mailertable, struct str smarthost,
    struct str domain, struct route *out);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* The servers of a resolver as c-ares wants them.  Internal to the resolver. */
#ifndef POSTERN_NET_RESOLVER_SERVERS_H
#define POSTERN_NET_RESOLVER_SERVERS_H

#include <ares.h>
#include <stdbool.h>
#include <stddef.h>

#include "common/base/err.h"
#include "common/net/resolver.h"

struct resolver_servers {
	struct ares_addr_port_node nodes[RESOLVER_SERVERS_MAX]; /* linked */
	size_t n; /* 0: c-ares reads resolv.conf */
	bool local; /* all are on loopback */
};

/* -1: one cannot be read; err names it. */
int resolver_servers_read(
    struct resolver_servers *out, const char *const *list, size_t n, struct err *err);
/* Which servers resolv.conf names is c-ares' to know: learn whether they are local. */
void resolver_servers_learn(struct resolver_servers *out, ares_channel channel);

#endif

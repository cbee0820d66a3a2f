/* SPDX-License-Identifier: BSD-2-Clause */
/* The name of a client: its PTR record, believed only when the name's own addresses
 * (RFC 1912 2.1) lead back to the client.  Runs in the listener's loop; the resolver's
 * thread only wakes it. */
#ifndef POSTERN_RELAY_CLIENT_NAME_H
#define POSTERN_RELAY_CLIENT_NAME_H

#include <event2/event.h>

#include "common/base/err.h"
#include "common/base/ip.h"
#include "common/net/resolver.h"

struct client_names; /* all lookups of a process */
struct client_name; /* one */

/* NULL: err. */
struct client_names *client_names_new(
    struct event_base *base, struct resolver *resolver, struct err *err);
/* After the resolver was freed, and with no lookup open. */
void client_names_free(struct client_names *n);

/* done is called once from the loop, never from within.  name: confirmed, or "" ;
 * resolve: "OK", "FAIL" (none), "TEMP" (DNS trouble), "FORGED" (names that lead
 * elsewhere); static text. */
struct client_name *client_name_start(struct client_names *names, const struct ip *ip,
    void (*done)(void *arg, const char *name, const char *resolve), void *arg);
/* Only before done; nothing is called any more. */
void client_name_cancel(struct client_name *l);

#endif

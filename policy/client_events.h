/* SPDX-License-Identifier: BSD-2-Clause */
/* How a daemon tells all others, on all hosts, that a client's network did wrong. */
#ifndef POSTERN_POLICY_CLIENT_EVENTS_H
#define POSTERN_POLICY_CLIENT_EVENTS_H

#include <stdbool.h>

#include "db/store.h"
#include "policy/settings_greylist.h"

/* Whose events a client's are: its /24 or /64. */
struct ipnet client_events_network(const struct ip *client);

/* Note one event of this kind, without waiting: mail never depends on it.  Not of our
 * own users (authenticated) and hosts (a local client), who are to be talked to, nor
 * without a store (NULL).  set: those in force for the message.  true: asked for. */
bool client_event_add(struct store *store, const struct ip *client, bool authenticated,
    enum event_kind kind, const struct settings_greylist *set);

#endif

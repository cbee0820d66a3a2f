/* SPDX-License-Identifier: BSD-2-Clause */
/* Events against clients.  What they mean is greylisting's. */
#include "policy/client_events.h"

#define PREFIX4 24
#define PREFIX6 64

struct ipnet
client_events_network(const struct ip *client)
{
	return ip_mask(client, client->family == AF_INET ? PREFIX4 : PREFIX6);
}

bool
client_event_add(struct store *store, const struct ip *client, bool authenticated,
    enum event_kind kind, const struct settings_greylist *set)
{
	struct ipnet network;

	if (store == NULL || authenticated || client->family == 0 || ip_is_loopback(client))
		return false;
	network = client_events_network(client);
	/* A whitelisting that it voids would be back without it. */
	int64_t keep = set->whitelist_keep > set->block ? set->whitelist_keep : set->block;
	future_unref(
	    store_event_add(store, &network, kind, 1, keep, store_now(store)));
	return true;
}

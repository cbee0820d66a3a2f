/* SPDX-License-Identifier: BSD-2-Clause */
/* Events against clients.  What they mean is greylisting's. */
#include "policy/client_events.h"

#define PREFIX4 24
#define PREFIX6 64

bool
client_event_add(struct store *store, const struct ip *client, bool authenticated,
    enum event_kind kind, const struct settings_greylist *set)
{
	struct ipnet network;

	if (store == NULL || authenticated || client->family == 0 || ip_is_loopback(client))
		return false;
	network = ip_mask(client, client->family == AF_INET ? PREFIX4 : PREFIX6);
	/* A whitelisting that it voids would be back without it. */
	future_unref(store_event_add(
	    store, &network, kind, 1, set->whitelist_keep, store_now(store)));
	return true;
}

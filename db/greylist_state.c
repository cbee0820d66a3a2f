/* SPDX-License-Identifier: BSD-2-Clause */
/* The transition table of greylist_state.h and nothing else: no clock, no store.  Sums
 * of times saturate, because settings and clocks are not ours. */
#include "db/greylist_state.h"

#include <stddef.h>

static const char *const state_names[] = {
	[GREYLIST_NEW] = "new",
	[GREYLIST_EARLY] = "early",
	[GREYLIST_RETRIED] = "retried",
	[GREYLIST_KNOWN] = "known",
	[GREYLIST_WHITELISTED] = "whitelisted",
};
_Static_assert(sizeof(state_names) / sizeof(state_names[0]) == GREYLIST_WHITELISTED + 1,
    "a name for every state");

const char *
greylist_state_name(enum greylist_state state)
{
	return state_names[state];
}

static int64_t
later(int64_t from, int64_t seconds)
{
	int64_t sum;

	return __builtin_add_overflow(from, seconds, &sum) ? INT64_MAX : sum;
}

/* A window that ends before the delay could never be met: it then counts from the end
 * of the delay. */
static int64_t
window_end(const struct greylist_triple *triple, const struct greylist_times *times)
{
	int64_t window = times->window;

	if (window <= times->delay)
		window = later(times->delay, times->window);
	return later(triple->first, window);
}

static void
not_in_future(int64_t *when, int64_t now)
{
	if (*when > now)
		*when = now;
}

static bool
client_whitelisted(const struct greylist_client *client,
    const struct greylist_times *times, int64_t now)
{
	return client->exists && times->auto_whitelist > 0 &&
	    client->confirmed >= times->auto_whitelist &&
	    now <= later(client->last, times->whitelist_keep);
}

/* What is older than a virus or a trap hit counts for nothing, and so does what was not
 * renewed in time. */
static void
client_forget(
    struct greylist_client *client, const struct greylist_times *times, int64_t now)
{
	if (!client->exists)
		return;
	not_in_future(&client->last, now);
	not_in_future(&client->voided, now);
	if ((client->voided != 0 && client->voided >= client->last) ||
	    now > later(client->last, times->whitelist_keep))
		client->confirmed = 0;
}

static void
client_confirm(struct greylist_client *client, int64_t now)
{
	client->exists = true;
	client->confirmed = later(client->confirmed, 1);
	client->last = now;
}

static enum greylist_state
triple_state(const struct greylist_triple *triple, const struct greylist_times *times,
    int64_t now)
{
	if (!triple->exists)
		return GREYLIST_NEW;
	if (triple->known)
		return now <= later(triple->last, times->keep) ? GREYLIST_KNOWN
							       : GREYLIST_NEW;
	if (now < later(triple->first, times->delay))
		return GREYLIST_EARLY;
	return now <= window_end(triple, times) ? GREYLIST_RETRIED : GREYLIST_NEW;
}

static void
triple_move(struct greylist_triple *triple, enum greylist_state state, int64_t now)
{
	if (state == GREYLIST_NEW)
		*triple = (struct greylist_triple){ .exists = true, .first = now };
	if (state == GREYLIST_RETRIED)
		triple->known = true;
	triple->last = now;
	triple->tries = later(triple->tries, 1);
}

struct greylist_seen
greylist_try(struct greylist_triple *triple, struct greylist_client *client,
    const struct greylist_times *times, int64_t now, int64_t *expires_triple,
    int64_t *expires_client)
{
	struct greylist_seen seen = { .state = GREYLIST_WHITELISTED };

	*expires_triple = *expires_client = 0;
	not_in_future(&triple->first, now);
	not_in_future(&triple->last, now);
	if (times->voided > client->voided)
		client->voided = times->voided;
	client_forget(client, times, now);
	if (client_whitelisted(client, times, now)) {
		client->last = now;
		*expires_client = later(now, times->whitelist_keep);
		seen.first = triple->exists ? triple->first : 0;
		return seen;
	}
	seen.state = triple_state(triple, times, now);
	triple_move(triple, seen.state, now);
	if (seen.state == GREYLIST_RETRIED) {
		client_confirm(client, now);
		*expires_client = later(now, times->whitelist_keep);
	}
	*expires_triple =
	    triple->known ? later(now, times->keep) : window_end(triple, times);
	seen.first = triple->first;
	seen.tries = triple->tries;
	return seen;
}

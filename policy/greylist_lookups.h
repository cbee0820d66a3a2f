/* SPDX-License-Identifier: BSD-2-Clause */
/* The facts about a client and its message that must be fetched: SPF and DNS allowlists
 * from the DNS, events about its network from the store.  Asked once a message, all
 * together and as early as it is known that they are needed, so that the answers come
 * while SMTP goes on. */
#ifndef POSTERN_POLICY_GREYLIST_LOOKUPS_H
#define POSTERN_POLICY_GREYLIST_LOOKUPS_H

#include "common/run/milter.h"
#include "policy/greylist_env.h"
#include "policy/greylist.h"

/* Zeroed: nothing asked. */
struct lookups {
	unsigned asked; /* GREYLIST_ASK_*: have been, in this message */
	struct future *spf;
	struct future *list[GREYLIST_ALLOWLISTS_MAX];
	struct greylist_allowlists lists; /* asked; borrowed from the settings' snapshot */
	struct future *trap, *virus, *spam;
};

/* What is asked, and about whom; borrowed for the call. */
struct lookups_about {
	const struct judge_env *env;
	struct store *store; /* NULL: not open */
	const struct settings_greylist *set;
	const struct greylist_client_facts *client;
	const char *receiver; /* our host name */
	int64_t now; /* wall seconds */
	int64_t dns_deadline_ms; /* monotonic */
};

/* asks: GREYLIST_ASK_*; what has been asked is not asked again. */
void lookups_ask(struct lookups *l, const struct lookups_about *about, unsigned asks);

/* Wait for what has been asked, for DNS until dns_deadline_ms and for the store
 * *store_ms milliseconds, which are counted down.  What did not come stays zero in
 * facts. */
void lookups_wait(struct lookups *l, struct milter_session *s, int64_t dns_deadline_ms,
    int64_t *store_ms, struct greylist_facts *facts);

void lookups_clear(struct lookups *l);

#endif

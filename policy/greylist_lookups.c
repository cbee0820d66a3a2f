/* SPDX-License-Identifier: BSD-2-Clause */
/* Asking and awaiting facts.  What a fact means is policy/greylist.c's. */
#include "policy/greylist_lookups.h"

#include <string.h>

#include "common/base/clock.h"
#include "common/base/metrics.h"

METRIC_COUNTER(dns_late_total, "postern_greylist_dns_late_total", NULL,
    "Recipients judged without what the DNS was asked");

static struct future *
ask_spf(const struct lookups_about *about)
{
	const struct greylist_client_facts *c = about->client;
	char sender[ADDRESS_MAX + 1], helo[SPF_NAME_MAX];
	size_t len = greylist_address(c->sender, sender);
	struct str name = str_sub(c->helo, 0, sizeof(helo) - 1);

	/* A path with a NUL in it never comes this far: libmilter ends strings there. */
	sender[len < ADDRESS_MAX ? len : ADDRESS_MAX] = '\0';
	if (name.len > 0)
		memcpy(helo, name.p, name.len);
	helo[name.len] = '\0';
	const struct spf_question q = { .client = c->ip,
		.helo = helo,
		.sender = sender,
		.receiver = about->receiver,
		.now = about->now };

	return spf_ask(about->env->spf, &q, about->dns_deadline_ms);
}

static void
drop_lists(struct lookups *l)
{
	for (size_t i = 0; i < GREYLIST_ALLOWLISTS_MAX; i++) {
		future_unref(l->list[i]);
		l->list[i] = NULL;
	}
	l->lists = (struct greylist_allowlists){ .n = 0 };
}

/* Policies may give recipients lists of their own: the cache has what was asked. */
static void
ask_lists(struct lookups *l, const struct lookups_about *about)
{
	const struct greylist_allowlists *lists = &about->set->allowlists;
	char name[256];

	if (l->lists.list == lists->list)
		return;
	drop_lists(l);
	l->lists = *lists;
	for (size_t i = 0; i < lists->n && i < GREYLIST_ALLOWLISTS_MAX; i++)
		if (dnsbl_query(&lists->list[i], &about->client->ip, name) == 0)
			l->list[i] = resolver_ask(about->env->resolver, str_of(name), DNS_A);
}

static void
ask_events(struct lookups *l, const struct lookups_about *about)
{
	struct ipnet network = greylist_network(&about->client->ip);

	l->trap = store_event_get(about->store, &network, EVENT_TRAP, about->now);
	l->virus = store_event_get(about->store, &network, EVENT_VIRUS, about->now);
	l->spam = store_event_get(about->store, &network, EVENT_SPAM, about->now);
}

void
lookups_ask(struct lookups *l, const struct lookups_about *about, unsigned asks)
{
	unsigned fresh = asks & ~l->asked;

	if ((fresh & GREYLIST_ASK_SPF) != 0)
		l->spf = ask_spf(about);
	if ((asks & GREYLIST_ASK_ALLOWLIST) != 0)
		ask_lists(l, about);
	if ((fresh & GREYLIST_ASK_EVENTS) != 0 && about->store != NULL)
		ask_events(l, about);
	l->asked |= asks;
}

static bool
listed(struct lookups *l, size_t i, struct milter_session *s, int64_t deadline_ms)
{
	if (l->list[i] == NULL || !milter_wait(s, l->list[i], deadline_ms))
		return false;
	return dnsbl_judge(&l->lists.list[i], future_value(l->list[i]), NULL).state ==
	    DNSBL_LISTED;
}

static struct greylist_events
event_of(struct future *f, struct milter_session *s, int64_t *store_ms)
{
	int64_t began = clock_mono_ms();
	struct greylist_events out = { 0 };

	if (f == NULL || *store_ms <= 0)
		return out;
	if (milter_wait(s, f, began + *store_ms)) {
		const struct event_answer *a = future_value(f);

		if (a->state == STORE_OK)
			out = (struct greylist_events){ a->weight, a->last };
	}
	*store_ms -= clock_mono_ms() - began;
	return out;
}

void
lookups_wait(struct lookups *l, struct milter_session *s, int64_t dns_deadline_ms,
    int64_t *store_ms, struct greylist_facts *facts)
{
	bool late = false;

	facts->trap = event_of(l->trap, s, store_ms);
	facts->virus = event_of(l->virus, s, store_ms);
	facts->spam = event_of(l->spam, s, store_ms);
	if (l->spf != NULL && milter_wait(s, l->spf, dns_deadline_ms)) {
		const struct spf_answer *a = future_value(l->spf);

		facts->client.spf_pass = a->result == SPF_PASS && a->identity;
	} else if (l->spf != NULL) {
		late = true;
	}
	for (size_t i = 0; i < l->lists.n && !facts->allowlisted; i++)
		facts->allowlisted = listed(l, i, s, dns_deadline_ms);
	if (late)
		metric_add(&dns_late_total, 1);
}

void
lookups_clear(struct lookups *l)
{
	drop_lists(l);
	future_unref(l->spf);
	future_unref(l->trap);
	future_unref(l->virus);
	future_unref(l->spam);
	*l = (struct lookups){ .asked = 0 };
}

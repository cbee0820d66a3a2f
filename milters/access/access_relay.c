/* SPDX-License-Identifier: BSD-2-Clause */
/* Relaying: by recipient, by the client's address, by the sender where that is
 * configured, by the client's confirmed name - and the words for everybody else. */
#include "milters/access/access_relay.h"

#include <stdio.h>
#include <string.h>

#include "milters/access/access_search.h"

struct access_routes
access_rules_routes(const struct access_rules *rules)
{
	return (struct access_routes){ rules->uucp == ACCESS_UUCP, !rules->no_percent };
}

bool
access_client_is_loopback(const struct access *a)
{
	static const char *const own[] = { "", "0", "127.0.0.1", "::1", "IPv6:::1",
		"IPv6:0:0:0:0:0:0:0:1" };

	for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++)
		if (str_is_nocase(str_of(a->client.addr), own[i]))
			return true;
	return false;
}

typedef bool search(
    const struct access_search *s, struct str key, struct access_hit *hit);

static bool
says_relay(const struct access *a, const char *tag, search *how, const char *key)
{
	const struct access_search s = { a, tag, ACCESS_TAGGED_OR_BARE };
	struct access_hit hit;

	return how(&s, str_of(key), &hit) && hit.value.word == ACCESS_WORD_RELAY;
}

/* relay_entire_domain: everything below m. */
static bool
in_own_domain(const struct access_rules *r, struct str name)
{
	return r->entire_domain && r->classes.domain != NULL &&
	    access_is_below(name, str_of(r->classes.domain));
}

/* Is mail for this domain taken for the sake of the domain? */
static bool
domain_relays(const struct access *a, const char *domain)
{
	const struct access_rules *r = a->rules;

	return in_own_domain(r, str_of(domain)) ||
	    access_is_relayed(&r->classes, str_of(domain), r->hosts_only) ||
	    says_relay(a,
		"To:", r->hosts_only ? access_search_exact : access_search_host,
		domain);
}

int
access_relay_strip(
    const struct access *a, struct access_addr *rcpt, struct verdict *refusal)
{
	const struct access_rules *r = a->rules;
	struct access_routes routes = access_rules_routes(r);
	struct access_addr inner;

	if (r->loose)
		return 0;
	access_addr_dequote(rcpt);
	while (rcpt->domain[0] != '\0' && access_addr_is_routed(rcpt, routes) &&
	    domain_relays(a, rcpt->domain)) {
		size_t before = strlen(rcpt->local);

		if (access_addr_peel(&r->classes, routes, rcpt, &inner, refusal) != 0)
			return -1;
		access_addr_dequote(&inner);
		if (strlen(inner.local) >=
		    before) /* nothing was peeled: no endless round */
			return 0;
		*rcpt = inner;
	}
	return 0;
}

static bool
full_address_relays(const struct access *a, const struct access_addr *rcpt)
{
	const struct access_search both = { a, "To:", ACCESS_TAGGED_OR_BARE };
	const struct access_search tagged = { a, "To:", ACCESS_TAGGED };
	struct access_hit hit;
	char key[ACCESS_KEY_MAX];

	snprintf(key, sizeof(key), "%s@%s", rcpt->local, rcpt->domain);
	if (a->rules->hosts_only) {
		if (access_search_exact(&tagged, str_of(key), &hit))
			return hit.value.word == ACCESS_WORD_RELAY;
		return says_relay(a, "To:", access_search_exact, rcpt->domain);
	}
	if (access_search_full(&both, rcpt, rcpt->domain, &hit))
		return hit.value.word == ACCESS_WORD_RELAY;
	if (access_search_host(&both, str_of(rcpt->domain), &hit))
		return hit.value.word == ACCESS_WORD_RELAY;
	snprintf(key, sizeof(key), "%s@", rcpt->local);
	return says_relay(a, "To:", access_search_exact, key);
}

/* The local part has a character that is refused as a route (nouucp, nopercenthack). */
static bool
has_refused_route(const struct access_rules *r, const struct access_addr *rcpt)
{
	if (rcpt->local[0] == '"') /* what is quoted is no route */
		return false;
	return (r->uucp == ACCESS_UUCP_REJECT && strchr(rcpt->local, '!') != NULL) ||
	    (r->no_percent && strchr(rcpt->local, '%') != NULL);
}

static bool
recipient_relays(const struct access *a, const struct access_addr *rcpt)
{
	const struct access_rules *r = a->rules;
	struct str domain = str_of(rcpt->domain);

	if (has_refused_route(r, rcpt))
		return false;
	if (domain.len == 0)
		return true;
	if (in_own_domain(r, domain))
		return true;
	if (access_is_local(&r->classes, domain) ||
	    access_is_relayed(&r->classes, domain, r->hosts_only))
		return true;
	if (r->full_address)
		return full_address_relays(a, rcpt);
	return says_relay(a,
	    "To:", r->hosts_only ? access_search_exact : access_search_host,
	    rcpt->domain);
}

static bool
sender_relays(const struct access *a)
{
	const struct access_rules *r = a->rules;
	const struct access_search s = { a, "From:", ACCESS_TAGGED };
	struct access_hit hit;

	if (!a->have_sender || a->sender.null)
		return false;
	struct str domain = str_of(a->sender.domain);
	if (r->local_from && access_is_local(&r->classes, domain))
		return true;
	if (!r->mail_from || domain.len == 0)
		return false;
	if (access_search_full(&s, &a->sender, a->sender.domain, &hit))
		return hit.value.word == ACCESS_WORD_RELAY;
	if (!r->mail_from_domain)
		return false;
	bool found = r->hosts_only ? access_search_exact(&s, domain, &hit)
				   : access_search_host(&s, domain, &hit);
	return found && hit.value.word == ACCESS_WORD_RELAY;
}

static bool
address_relays(const struct access *a)
{
	struct str addr = str_of(a->client.addr);
	char literal[ACCESS_KEY_MAX];

	if (access_client_is_loopback(a) ||
	    access_addr_is_relayed(&a->rules->classes, addr) ||
	    says_relay(a, "Connect:", access_search_addr, a->client.addr))
		return true;
	snprintf(literal, sizeof(literal), "[%s]", a->client.addr);
	return access_is_local(&a->rules->classes, str_of(literal));
}

static bool
name_relays(const struct access *a)
{
	const struct access_rules *r = a->rules;
	struct str name = str_of(a->client.name);

	return access_is_local(&r->classes, name) ||
	    access_is_relayed(&r->classes, name, r->hosts_only) ||
	    in_own_domain(r, name) ||
	    says_relay(a,
		"Connect:", r->hosts_only ? access_search_exact : access_search_host,
		a->client.name);
}

static struct verdict
denied(const struct access *a)
{
	static const char why[] = "relaying denied";

	switch (a->client.resolve) {
	case ACCESS_RESOLVE_TEMP:
		return verdict_refuse(450, "4.4.0", why,
		    "Relaying temporarily denied. Cannot resolve PTR record for %s",
		    a->client.addr);
	case ACCESS_RESOLVE_FORGED:
		return verdict_refuse(550, "5.7.1", why,
		    "Relaying denied. IP name possibly forged %s", a->client.name);
	case ACCESS_RESOLVE_FAIL:
		return verdict_refuse(550, "5.7.1", why,
		    "Relaying denied. IP name lookup failed %s", a->client.name);
	case ACCESS_RESOLVE_OK:
		break;
	}
	return verdict_refuse(550, "5.7.1", why, "Relaying denied");
}

struct access_result
access_relay_check(const struct access *a, const struct access_addr *rcpt)
{
	struct access_result none = { .kind = ACCESS_NONE, .check = ACCESS_CHECK_RCPT };

	if (a->rules->promiscuous || recipient_relays(a, rcpt) || address_relays(a) ||
	    sender_relays(a))
		return none;
	if (a->client.resolve == ACCESS_RESOLVE_OK && name_relays(a))
		return none;
	return (struct access_result){ .kind = ACCESS_REFUSED,
		.check = ACCESS_CHECK_RCPT,
		.relay_denied = true,
		.verdict = denied(a) };
}

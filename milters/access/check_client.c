/* SPDX-License-Identifier: BSD-2-Clause */
/* Forward-confirmed reverse DNS.  The MTA's word counts where it knows; Postfix and others
 * that only say "unknown" leave it to our own questions: PTR at connect, the addresses of
 * its names (at most five) when the verdict is due. */
#include "milters/access/check_client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/xalloc.h"
#include "common/net/resolver.h"
#include "milters/access/access_names.h"
#include "milters/access/check_outcome.h"

#define NAMES_MAX 5

struct conn {
	struct future *ptr;
	int64_t deadline_ms;
};

static void
conn_clear(void *self, void *conn)
{
	(void)self;
	future_unref(((struct conn *)conn)->ptr);
}

static bool
is_wanted(const struct settings_access *set)
{
	return set->client_no_name.kind != OUTCOME_OFF ||
	    set->client_forged.kind != OUTCOME_OFF ||
	    set->client_generic.kind != OUTCOME_OFF;
}

static void
ask(void *self, void *conn, enum check_phase phase, const struct check_facts *facts)
{
	const struct settings_access *set = &facts->view->access;
	char reverse[64], name[80];
	struct conn *c = conn;

	if (phase != CHECK_CONNECT || c->ptr != NULL || facts->ip.family == 0 ||
	    facts->resolve != ACCESS_RESOLVE_FAIL || !is_wanted(set))
		return;
	c->deadline_ms = clock_mono_ms() + set->sender_deadline_ms;
	snprintf(name, sizeof(name), "%s.%s", ip_reverse(&facts->ip, reverse),
	    facts->ip.family == AF_INET ? "in-addr.arpa" : "ip6.arpa");
	c->ptr = resolver_ask(self, str_of(name), DNS_PTR);
}

static const struct dns_answer *
answer(const struct check_facts *facts, struct future *f, int64_t deadline_ms)
{
	return future_done(f) || check_wait(facts, f, deadline_ms) ? future_value(f)
								    : NULL;
}

static bool
has_address(const struct dns_answer *a, const struct ip *ip)
{
	for (size_t i = 0; i < a->n; i++)
		if (ip_eq(&a->records[i].ip, ip))
			return true;
	return false;
}

/* Does one of the names have the client's address?  *name: the first, or the one that does;
 * borrowed from ptr. */
static enum access_resolve
confirm(struct resolver *resolver, const struct conn *c, const struct check_facts *facts,
    const struct dns_answer *ptr, const char **name)
{
	enum dns_type type = facts->ip.family == AF_INET ? DNS_A : DNS_AAAA;
	enum access_resolve r = ACCESS_RESOLVE_FORGED;
	struct future *asked[NAMES_MAX];
	size_t n = 0;

	*name = ptr->records[0].name;
	for (; n < ptr->n && n < NAMES_MAX; n++)
		asked[n] =
		    resolver_ask(resolver, str_of(ptr->records[n].name), type);
	for (size_t i = 0; i < n; i++) {
		const struct dns_answer *a = r == ACCESS_RESOLVE_OK
		    ? NULL
		    : answer(facts, asked[i], c->deadline_ms);

		if (r == ACCESS_RESOLVE_OK)
			;
		else if (a == NULL || a->status == DNS_FAIL || a->status == DNS_TIMEOUT)
			r = ACCESS_RESOLVE_TEMP;
		else if (has_address(a, &facts->ip)) {
			r = ACCESS_RESOLVE_OK;
			*name = ptr->records[i].name;
		}
		future_unref(asked[i]);
	}
	return r;
}

/* What DNS says where the MTA only said that it has no name. */
static enum access_resolve
resolve(struct resolver *resolver, const struct conn *c, const struct check_facts *facts,
    const char **name)
{
	*name = facts->name;
	if (facts->resolve != ACCESS_RESOLVE_FAIL || c->ptr == NULL)
		return facts->resolve;
	const struct dns_answer *ptr = answer(facts, c->ptr, c->deadline_ms);
	if (ptr == NULL || ptr->status == DNS_FAIL || ptr->status == DNS_TIMEOUT)
		return ACCESS_RESOLVE_TEMP;
	if (ptr->status != DNS_OK || ptr->n == 0)
		return ACCESS_RESOLVE_FAIL;
	return confirm(resolver, c, facts, ptr, name);
}

static void
judge(void *self, void *conn, enum check_phase phase, const struct check_facts *facts,
    struct findings *out)
{
	static const struct outcome_reply no_name = { 550, "5.7.25", "client-no-name",
		"Your address %a has no name in DNS: ask whoever runs it for a PTR record" };
	static const struct outcome_reply forged = { 550, "5.7.25", "client-forged",
		"Your address' name %a has not this address: PTR and address records must "
		"agree" };
	static const struct outcome_reply generic = { 550, "5.7.1", "client-generic",
		"Your name %a is that of a dial-up or pool address: use your provider's mail "
		"server" };
	const struct settings_access *set = &facts->view->access;
	char address[IP_TEXT_MAX];
	const char *name;

	if (phase != CHECK_CONNECT || facts->ip.family == 0 || !is_wanted(set))
		return;
	switch (resolve(self, conn, facts, &name)) {
	case ACCESS_RESOLVE_OK:
		if (access_name_is_generic(name, &facts->ip))
			check_outcome(out, &set->client_generic, &generic, name);
		break;
	case ACCESS_RESOLVE_FAIL:
		check_outcome(out, &set->client_no_name, &no_name,
		    ip_format(&facts->ip, address));
		break;
	case ACCESS_RESOLVE_FORGED:
		check_outcome(out, &set->client_forged, &forged, name);
		break;
	case ACCESS_RESOLVE_TEMP: /* nothing is known: nothing follows */
		break;
	}
}

const struct check_ops check_client = { .name = "client",
	.spares = CHECK_SPARE_ALL,
	.conn_size = sizeof(struct conn),
	.conn_clear = conn_clear,
	.ask = ask,
	.judge = judge };

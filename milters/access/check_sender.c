/* SPDX-License-Identifier: BSD-2-Clause */
/* Whether mail could be sent back: the domain has an MX or an address (RFC 5321 5.1), does
 * not say that it takes no mail (RFC 7505), and its mail hosts are not all on private
 * networks.  MX, A and AAAA are asked together at MAIL; the addresses of MX hosts follow
 * only where they are judged. */
#include "milters/access/check_sender.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/xalloc.h"
#include "common/net/resolver.h"
#include "milters/access/access_names.h"
#include "milters/access/check_outcome.h"

#define HOSTS_MAX 5 /* mail hosts whose addresses are looked at */

struct conn {
	struct future *mx, *a, *aaaa;
	int64_t deadline_ms;
};

/* ---- what answers mean ---- */

static bool
failed(const struct dns_answer *a)
{
	return a == NULL || a->status == DNS_FAIL || a->status == DNS_TIMEOUT;
}

static bool
found(const struct dns_answer *a)
{
	return a != NULL && a->status == DNS_OK && a->n > 0;
}

enum sender_domain
access_sender_domain(
    const struct dns_answer *mx, const struct dns_answer *a, const struct dns_answer *aaaa)
{
	if (found(mx))
		return mx->n == 1 && mx->records[0].name[0] == '\0' ? SENDER_NULL_MX
								     : SENDER_OK;
	/* without an answer for MX an address says nothing: mail might go elsewhere */
	if (failed(mx))
		return SENDER_TEMP;
	if (found(a) || found(aaaa))
		return SENDER_OK;
	return failed(a) || failed(aaaa) ? SENDER_TEMP : SENDER_NONE;
}

/* ---- the worker ---- */

static void
msg_clear(void *self, void *conn)
{
	struct conn *c = conn;

	(void)self;
	future_unref(c->mx);
	future_unref(c->a);
	future_unref(c->aaaa);
	*c = (struct conn){ .mx = NULL };
}

/* ---- asking ---- */

static bool
has_domain(const struct access_addr *sender)
{
	return !sender->null && sender->domain[0] != '\0' && sender->domain[0] != '[';
}

static void
ask(void *self, void *conn, enum check_phase phase, const struct check_facts *facts)
{
	const struct settings_access *set = &facts->view->access;
	bool hosts = set->sender_unresolvable.kind != OUTCOME_OFF ||
	    set->sender_private_mx.kind != OUTCOME_OFF;
	struct conn *c = conn;

	if (phase != CHECK_MAIL || !has_domain(facts->sender) ||
	    (!hosts && set->sender_null_mx.kind == OUTCOME_OFF))
		return;
	msg_clear(self, conn);
	struct str domain = str_of(facts->sender->domain);
	c->deadline_ms = clock_mono_ms() + set->sender_deadline_ms;
	c->mx = resolver_ask(self, domain, DNS_MX);
	if (!hosts)
		return;
	c->a = resolver_ask(self, domain, DNS_A);
	c->aaaa = resolver_ask(self, domain, DNS_AAAA);
}

static const struct dns_answer *
answer(const struct check_facts *facts, struct future *f, int64_t deadline_ms)
{
	return f != NULL && (future_done(f) || check_wait(facts, f, deadline_ms))
	    ? future_value(f)
	    : NULL;
}

/* ---- judging ---- */

/* Adds up over many answers. */
struct reach {
	bool is_public, is_private, unknown;
};

static void
add_addresses(struct reach *r, const struct dns_answer *a)
{
	r->unknown = r->unknown || failed(a);
	for (size_t i = 0; found(a) && i < a->n; i++) {
		bool is_private = access_ip_is_private(&a->records[i].ip);

		r->is_private = r->is_private || is_private;
		r->is_public = r->is_public || !is_private;
	}
}

/* All hosts are asked together. */
static void
add_hosts(struct reach *r, struct resolver *resolver, const struct conn *c,
    const struct check_facts *facts, const struct dns_answer *mx)
{
	struct future *asked[HOSTS_MAX * 2];
	size_t n = 0;

	for (size_t i = 0; i < mx->n && i < HOSTS_MAX; i++) {
		struct str host = str_of(mx->records[i].name);

		if (str_is_nocase(host, "localhost")) {
			r->is_private = true;
			continue;
		}
		asked[n++] = resolver_ask(resolver, host, DNS_A);
		asked[n++] = resolver_ask(resolver, host, DNS_AAAA);
	}
	/* hosts that are not looked at may be public */
	r->is_public = r->is_public || mx->n > HOSTS_MAX;
	for (size_t i = 0; i < n; i++) {
		add_addresses(r, answer(facts, asked[i], c->deadline_ms));
		future_unref(asked[i]);
	}
}

static bool
is_private_only(struct resolver *resolver, const struct conn *c,
    const struct check_facts *facts, const struct dns_answer *mx)
{
	struct reach r = { false };

	if (found(mx)) {
		add_hosts(&r, resolver, c, facts, mx);
	} else {
		add_addresses(&r, answer(facts, c->a, c->deadline_ms));
		add_addresses(&r, answer(facts, c->aaaa, c->deadline_ms));
	}
	return r.is_private && !r.is_public && !r.unknown;
}

static void
judge_domain(struct resolver *resolver, const struct conn *c, const struct check_facts *facts,
    struct findings *out)
{
	static const struct outcome_reply null_mx = { 550, "5.7.27", "sender-null-mx",
		"Sender's domain %a takes no mail (null MX), so we take none from it" };
	static const struct outcome_reply none = { 553, "5.1.8", "sender-unresolvable",
		"Sender's domain %a does not exist or has no mail host" };
	static const struct outcome_reply temp = { 451, "5.1.8", "sender-temperror",
		"Sender's domain %a cannot be looked up at present" };
	static const struct outcome_reply private_mx = { 550, "5.1.8", "sender-private-mx",
		"Mail hosts of the sender's domain %a are on private networks" };
	const struct settings_access *set = &facts->view->access;
	const char *domain = facts->sender->domain;
	const struct dns_answer *mx = answer(facts, c->mx, c->deadline_ms);
	/* addresses count only where there is no MX: nobody waits for them else */
	bool more = !found(mx) && !failed(mx);
	const struct dns_answer *a = more ? answer(facts, c->a, c->deadline_ms) : NULL;
	const struct dns_answer *aaaa =
	    more && !found(a) ? answer(facts, c->aaaa, c->deadline_ms) : NULL;

	switch (access_sender_domain(mx, a, aaaa)) {
	case SENDER_NULL_MX:
		check_outcome(out, &set->sender_null_mx, &null_mx, domain);
		return;
	case SENDER_NONE:
		check_outcome(out, &set->sender_unresolvable, &none, domain);
		return;
	case SENDER_TEMP:
		if (set->sender_unresolvable.kind != OUTCOME_OFF)
			check_outcome(out, &set->sender_temperror, &temp, domain);
		return;
	case SENDER_OK:
		break;
	}
	if (set->sender_private_mx.kind != OUTCOME_OFF &&
	    is_private_only(resolver, c, facts, mx))
		check_outcome(out, &set->sender_private_mx, &private_mx, domain);
}

static void
judge(void *self, void *conn, enum check_phase phase, const struct check_facts *facts,
    struct findings *out)
{
	static const struct outcome_reply unqualified = { 553, "5.5.4",
		"sender-unqualified", "Domain name required for sender address %a" };
	const struct conn *c = conn;

	if (phase != CHECK_MAIL || facts->sender == NULL || facts->sender->null)
		return;
	if (facts->sender->domain[0] == '\0')
		check_outcome(out, &facts->view->access.sender_unqualified, &unqualified,
		    facts->sender->given);
	else if (c->mx != NULL)
		judge_domain(self, c, facts, out);
}

const struct check_ops check_sender = { .name = "sender",
	.spares = CHECK_SPARE_ALL,
	.conn_size = sizeof(struct conn),
	.conn_clear = msg_clear,
	.msg_clear = msg_clear,
	.ask = ask,
	.judge = judge };

/* SPDX-License-Identifier: BSD-2-Clause */
/* The three checks of sendmail (check_relay, check_mail, check_rcpt) and delay_checks'
 * order, over the searches of access_search.c and the values of access_value.c.  Does
 * no I/O: who calls brings what DNS said. */
#include "milters/access/access_map.h"

#include <stdio.h>
#include <string.h>

#include "common/base/ip.h"
#include "milters/access/access_relay.h"
#include "milters/access/access_search.h"
#include "milters/access/access_value.h"

static struct access_result
nothing(enum access_check check)
{
	return (struct access_result){ .kind = ACCESS_NONE, .check = check };
}

static struct access_result
refused(enum access_check check, struct verdict v)
{
	return (struct access_result){
		.kind = ACCESS_REFUSED, .check = check, .verdict = v
	};
}

static const char *
check_why(enum access_check check)
{
	switch (check) {
	case ACCESS_CHECK_RELAY:
		return "client";
	case ACCESS_CHECK_MAIL:
		return "sender";
	case ACCESS_CHECK_RCPT:
		return "recipient";
	}
	return "?";
}

static struct verdict
reject_verdict(const struct access *a, enum access_check check)
{
	const char *text = a->rules->reject_text;

	if (check == ACCESS_CHECK_RCPT)
		return verdict_refuse(550, "5.2.1", check_why(check),
		    "Mailbox disabled for this recipient");
	return access_text_refusal(
	    text != NULL ? text : "550 5.7.1 Access denied", check_why(check));
}

/* What a value that was found means to a check. */
static struct access_result
from_hit(const struct access *a, enum access_check check, const struct access_hit *hit)
{
	struct access_result r = {
		.check = check,
		.file = hit->entry.file,
		.line = hit->entry.line,
		.note = hit->entry.note
	};
	const struct access_value *v = &hit->value;

	snprintf(r.key, sizeof(r.key), "%s", hit->key);
	switch (v->word) {
	case ACCESS_WORD_OK:
	case ACCESS_WORD_RELAY:
		r.kind = ACCESS_OK;
		break;
	case ACCESS_WORD_REJECT:
		r.kind = ACCESS_REFUSED;
		r.verdict = reject_verdict(a, check);
		break;
	case ACCESS_WORD_DISCARD:
		r.kind = ACCESS_DISCARD;
		r.verdict = (struct verdict){ .action = ACTION_DISCARD,
			.why = check_why(check) };
		break;
	case ACCESS_WORD_QUARANTINE:
		r.kind = ACCESS_QUARANTINE;
		r.verdict = (struct verdict){ .action = ACTION_QUARANTINE,
			.why = check_why(check) };
		snprintf(r.verdict.text, sizeof(r.verdict.text), "%s", v->text);
		break;
	case ACCESS_WORD_TEXT:
	case ACCESS_WORD_SKIP:
	case ACCESS_WORD_FRIEND:
	case ACCESS_WORD_HATER:
	case ACCESS_WORD_SPAMFRIEND:
	case ACCESS_WORD_SPAMHATER:
		r.kind = ACCESS_REFUSED;
		r.verdict = access_value_refusal(
		    v, hit->entry.failed ? "map cannot be asked" : check_why(check));
		break;
	}
	return r;
}

/* ---- the client ---- */

static bool
find_client(const struct access *a, struct access_hit *hit)
{
	const struct access_search s = { a, "Connect:", ACCESS_TAGGED_OR_BARE };
	const char *name = a->rules->use_client_ptr && a->client.ptr != NULL
	    ? a->client.ptr
	    : a->client.name;

	return access_search_host(&s, str_of(name), hit) ||
	    access_search_addr(&s, str_of(a->client.addr), hit);
}

bool
access_want_dnsbl(const struct access *a)
{
	struct access_hit hit;

	return !find_client(a, &hit);
}

static struct access_result
check_rdns(const struct access *a)
{
	const struct access_client *c = &a->client;

	if (!a->rules->require_rdns || access_client_is_loopback(a) ||
	    access_addr_is_relayed(&a->rules->classes, str_of(c->addr)))
		return nothing(ACCESS_CHECK_RELAY);
	switch (c->resolve) {
	case ACCESS_RESOLVE_OK:
		break;
	case ACCESS_RESOLVE_FAIL:
		return refused(ACCESS_CHECK_RELAY,
		    verdict_refuse(550, "5.7.1", "no reverse name",
			"Fix reverse DNS for %s", c->addr));
	case ACCESS_RESOLVE_TEMP:
		return refused(ACCESS_CHECK_RELAY,
		    verdict_refuse(451, "4.1.8", "no reverse name",
			"Client IP address %s does not resolve", c->addr));
	case ACCESS_RESOLVE_FORGED:
		return refused(ACCESS_CHECK_RELAY,
		    verdict_refuse(451, "4.1.8", "forged reverse name",
			"Possibly forged hostname for %s", c->addr));
	}
	return nothing(ACCESS_CHECK_RELAY);
}

struct access_result
access_check_relay(const struct access *a)
{
	struct access_hit hit;

	if (find_client(a, &hit))
		return from_hit(a, ACCESS_CHECK_RELAY, &hit);
	if (a->dnsbl != NULL && a->dnsbl->kind != ACCESS_NONE)
		return (struct access_result){ .kind = a->dnsbl->kind,
			.check = ACCESS_CHECK_RELAY,
			.verdict = a->dnsbl->verdict };
	return check_rdns(a);
}

/* ---- the sender ---- */

/* localhost and its kin are nobody's sender but our own host's. */
static bool
is_unreal_domain(const struct access *a, const char *domain)
{
	static const char *const names[] = { "localhost", "[127.0.0.1]", "[IPv6:::1]",
		"[IPv6:0:0:0:0:0:0:0:1]" };
	const char *own = a->rules->classes.domain;
	struct str d = str_of(domain);

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (str_is_nocase(d, names[i]))
			return true;
	return own != NULL && d.len == strlen(own) + 10 &&
	    str_starts_nocase(d, STR("localhost.")) && str_ends_nocase(d, str_of(own));
}

static bool
find_sender(const struct access *a, struct access_hit *hit)
{
	const struct access_search s = { a, "From:", ACCESS_TAGGED_OR_BARE };
	const struct access_addr *from = &a->sender;

	if (from->domain[0] == '\0')
		return access_search_user(&s, from, hit);
	return access_search_full(&s, from, from->domain, hit) ||
	    access_search_user(&s, from, hit) ||
	    access_search_host(&s, str_of(from->domain), hit);
}

bool
access_want_sender_domain(const struct access *a)
{
	return !a->rules->accept_unresolvable && a->have_sender && !a->sender.null &&
	    a->sender.domain[0] != '\0' &&
	    (a->rules->classes.host == NULL ||
		!str_is_nocase(str_of(a->sender.domain), a->rules->classes.host));
}

/* An address as it stands in sendmail's replies: without quotes and backslashes. */
static void
spoken(const char *address, char out[ACCESS_ADDR_MAX + 1])
{
	size_t n = 0;

	for (const char *p = address; *p != '\0' && n < ACCESS_ADDR_MAX; p++) {
		if (*p == '"')
			continue;
		if (*p == '\\' && *++p == '\0')
			break;
		out[n++] = *p;
	}
	out[n] = '\0';
}

static struct access_result
check_sender_domain(const struct access *a)
{
	static const char why[] = "sender's domain";
	char given[ACCESS_ADDR_MAX + 1];

	spoken(a->sender.given, given);

	if (a->sender.domain[0] == '\0') {
		if (a->client.addr[0] == '\0' || a->rules->accept_unqualified)
			return nothing(ACCESS_CHECK_MAIL);
		return refused(ACCESS_CHECK_MAIL,
		    verdict_refuse(553, "5.5.4", why,
			"Domain name required for sender address %s", given));
	}
	if (!access_want_sender_domain(a))
		return nothing(ACCESS_CHECK_MAIL);
	switch (a->sender_domain) {
	case ACCESS_DOMAIN_OK:
		break;
	case ACCESS_DOMAIN_TEMP:
		return refused(ACCESS_CHECK_MAIL,
		    verdict_refuse(451, "4.1.8", why,
			"Domain of sender address %s does not resolve", given));
	case ACCESS_DOMAIN_NONE:
		return refused(ACCESS_CHECK_MAIL,
		    verdict_refuse(553, "5.1.8", why,
			"Domain of sender address %s does not exist", given));
	}
	return nothing(ACCESS_CHECK_MAIL);
}

struct access_result
access_check_mail(const struct access *a, bool delayed)
{
	const struct access_addr *from = &a->sender;
	struct access_hit hit;

	if (!a->have_sender || from->null)
		return nothing(ACCESS_CHECK_MAIL);
	/* After MAIL sendmail has the form with our own name, in which u@localhost is
	 * gone. */
	if (!a->rules->accept_unqualified &&
	    is_unreal_domain(a, delayed ? from->domain : from->typed_domain) &&
	    !access_is_local(&a->rules->classes, str_of(a->client.name)))
		return refused(ACCESS_CHECK_MAIL,
		    verdict_refuse(553, "5.5.4", "sender's domain",
			"Real domain name required for sender address"));
	if (find_sender(a, &hit))
		return from_hit(a, ACCESS_CHECK_MAIL, &hit);
	return check_sender_domain(a);
}

/* ---- the recipient ---- */

static bool
find_recipient(
    const struct access *a, const struct access_addr *to, struct access_hit *hit)
{
	const struct access_search s = { a, "To:", ACCESS_TAGGED_OR_BARE };

	if (to->domain[0] == '\0')
		return access_search_user(&s, to, hit);
	return access_search_full(&s, to, to->domain, hit) ||
	    (access_is_local(&a->rules->classes, str_of(to->domain)) &&
		access_search_user(&s, to, hit)) ||
	    access_search_host(&s, str_of(to->domain), hit);
}

/* Words that do not block a recipient. */
static bool
lets_recipient_pass(const struct access *a, enum access_word word)
{
	bool old_words =
	    a->rules->delay != ACCESS_AT_ONCE && !a->rules->delay_new_words;

	switch (word) {
	case ACCESS_WORD_OK:
	case ACCESS_WORD_RELAY:
		return true;
	case ACCESS_WORD_SKIP:
		return a->rules->skip;
	case ACCESS_WORD_SPAMFRIEND:
	case ACCESS_WORD_SPAMHATER:
		return old_words;
	case ACCESS_WORD_TEXT:
	case ACCESS_WORD_REJECT:
	case ACCESS_WORD_DISCARD:
	case ACCESS_WORD_QUARANTINE:
	case ACCESS_WORD_FRIEND:
	case ACCESS_WORD_HATER:
		break;
	}
	return false;
}

struct access_result
access_check_rcpt(const struct access *a, const struct access_addr *rcpt)
{
	struct access_addr to = *rcpt;
	struct access_hit hit;
	struct verdict syntax;

	if (to.null)
		return refused(ACCESS_CHECK_RCPT,
		    verdict_refuse(553, "5.0.0", "syntax", "User address required"));
	if (access_relay_strip(a, &to, &syntax) != 0)
		return refused(ACCESS_CHECK_RCPT, syntax);
	if (a->rules->blocklist_recipients && find_recipient(a, &to, &hit) &&
	    !lets_recipient_pass(a, hit.value.word))
		return from_hit(a, ACCESS_CHECK_RCPT, &hit);
	return access_relay_check(a, &to);
}

/* ---- all of them at RCPT ---- */

/* The recipient's own word about spam checks. */
static bool
find_spam(
    const struct access *a, const struct access_addr *to, struct access_hit *hit)
{
	const struct access_search s = { a, "Spam:", ACCESS_TAGGED };
	const struct access_classes *c = &a->rules->classes;
	const char *domain = to->domain[0] != '\0' ? to->domain
	    : c->host != NULL                      ? c->host
						   : "";

	/* Unlike From: and To:, the domain hides the user. */
	return access_search_full(&s, to, domain, hit) ||
	    access_search_host(&s, str_of(domain), hit) ||
	    ((to->domain[0] == '\0' || access_is_local(c, str_of(domain))) &&
		access_search_user(&s, to, hit));
}

/* Does the recipient's word end the judging?  *r: with what, where its map cannot be
 * asked. */
static bool
spares_recipient(
    const struct access *a, const struct access_addr *to, struct access_result *r)
{
	struct access_hit hit;

	if (a->rules->delay == ACCESS_AT_ONCE || a->rules->delay == ACCESS_DELAYED)
		return false;
	bool found = find_spam(a, to, &hit);
	if (found && hit.entry.failed) {
		*r = from_hit(a, ACCESS_CHECK_RCPT, &hit);
		return true;
	}
	if (a->rules->delay == ACCESS_DELAYED_FRIEND)
		return found && hit.value.word == ACCESS_WORD_FRIEND;
	return !found || hit.value.word != ACCESS_WORD_HATER;
}

static struct access_result
check_helo(const struct access *a)
{
	struct str helo = str_of(a->client.helo);
	const struct access_classes *c = &a->rules->classes;

	if (!a->rules->bad_helo || access_client_is_loopback(a) ||
	    access_addr_is_relayed(c, str_of(a->client.addr)))
		return nothing(ACCESS_CHECK_RCPT);
	ptrdiff_t dot = str_index(helo, '.');
	bool inner_dot = dot > 0 && (size_t)dot + 1 < helo.len;
	struct ip own; /* nobody else is at our loopback address */
	bool loopback =
	    helo.p[0] == '[' && ip_parse(helo, &own) && ip_is_loopback(&own);
	if (inner_dot && !loopback && !access_is_local(c, helo) &&
	    !str_starts_nocase(helo, STR("[IPv6:")))
		return nothing(ACCESS_CHECK_RCPT);
	return refused(ACCESS_CHECK_RCPT,
	    verdict_refuse(
		550, "5.7.1", "helo", "bogus HELO name used: %s", a->client.helo));
}

struct access_result
access_check_delayed(const struct access *a, const struct access_addr *rcpt)
{
	struct access_result r = access_check_rcpt(a, rcpt);

	if (r.kind != ACCESS_NONE || a->client.authenticated ||
	    spares_recipient(a, rcpt, &r))
		return r;
	r = access_check_mail(a, true);
	if (r.kind !=
	    ACCESS_NONE) /* OK too: the sender is known, the client does not count */
		return r;
	r = access_check_relay(a);
	if (r.kind == ACCESS_NONE || r.kind == ACCESS_OK) {
		struct access_result helo = check_helo(a);
		if (helo.kind != ACCESS_NONE)
			return helo;
	}
	return r;
}

bool
access_needs_dnsbl(const struct access *a, const struct access_addr *rcpt)
{
	static const char trial[] = "trial";
	const struct access_dnsbl listed = { .kind = ACCESS_REFUSED,
		.verdict = { .why = trial } };
	struct access copy = *a;

	/* As if the client were listed: would it matter? */
	copy.dnsbl = &listed;
	return access_check_delayed(&copy, rcpt).verdict.why == trial;
}

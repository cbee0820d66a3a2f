/* SPDX-License-Identifier: BSD-2-Clause */
/* Puts settings and facts of an envelope into the engine's words and asks its checks in
 * the order in which the daemon's callbacks do.  What an entry means is access_map.c's
 * business, what the daemon does about it main.c's. */
#include "milters/access/access_case.h"

#include <stdio.h>
#include <string.h>

void
access_facts_addr(const struct ip *ip, char out[64])
{
	size_t n = 5;

	out[0] = '\0';
	if (ip->family == AF_INET) {
		ip_format(ip, out);
		return;
	}
	if (ip->family != AF_INET6)
		return;
	snprintf(out, 64, "IPv6:");
	for (int i = 0; i < 16; i += 2)
		n += (size_t)snprintf(out + n, 64 - n, i > 0 ? ":%x" : "%x",
		    (unsigned)(ip->b[i] << 8 | ip->b[i + 1]));
}

static const char *const resolve_names[] = { "OK", "FAIL", "TEMP", "FORGED" };

const char *
access_resolve_name(enum access_resolve resolve)
{
	return resolve_names[resolve];
}

enum access_resolve
access_resolve_of(const char *name, bool confirmed)
{
	if (name != NULL && strcmp(name, "TEMP") == 0)
		return ACCESS_RESOLVE_TEMP;
	if (name != NULL && strcmp(name, "FORGED") == 0)
		return ACCESS_RESOLVE_FORGED;
	return confirmed ? ACCESS_RESOLVE_OK : ACCESS_RESOLVE_FAIL;
}

const char *
access_result_name(const struct access_result *r)
{
	switch (r->kind) {
	case ACCESS_NONE:
	case ACCESS_OK:
		break;
	case ACCESS_REFUSED:
		return action_name(r->verdict.action);
	case ACCESS_DISCARD:
		return "discard";
	case ACCESS_QUARANTINE:
		return "quarantine";
	}
	return "continue";
}

static enum access_delay_mode
delay_of(int setting)
{
	switch ((enum access_delay)setting) {
	case ACCESS_DELAY_OFF:
		return ACCESS_AT_ONCE;
	case ACCESS_DELAY_ON:
		return ACCESS_DELAYED;
	case ACCESS_DELAY_FRIEND:
		return ACCESS_DELAYED_FRIEND;
	case ACCESS_DELAY_HATER:
		return ACCESS_DELAYED_HATER;
	}
	return ACCESS_AT_ONCE;
}

void
access_rules_set(struct access_rules *rules, const struct settings_access *set,
    const char *const own[2], const char *local[3])
{
	local[0] = own[0];
	local[1] = own[1];
	*rules = (struct access_rules){ .delay = delay_of(set->delay_checks),
		.skip = true,
		.blocklist_recipients = set->blocklist_recipients,
		.accept_unresolvable = true,
		.accept_unqualified = true,
		.promiscuous = true,
		.classes = { .local = { local, 2 }, .host = own[0] } };
}

void
access_rules_recipient(struct access_rules *rules, const char *local[3],
    const char *mailer, const struct access_addr *rcpt)
{
	static const char *const remote[] = { "smtp", "esmtp", "smtp8", "dsmtp",
		"relay", "uucp", "error", "discard" };

	if (mailer == NULL || mailer[0] == '\0' || rcpt->domain[0] == '\0')
		return;
	for (size_t i = 0; i < sizeof(remote) / sizeof(remote[0]); i++)
		if (strcmp(mailer, remote[i]) == 0)
			return;
	local[2] = rcpt->domain;
	rules->classes.local.n = 3;
}

static bool
refuses(const struct access_result *r)
{
	return r->kind != ACCESS_NONE && r->kind != ACCESS_OK;
}

static void
set_view(const struct settings *s, const struct access_case *c, enum stage stage,
    struct access_judged *out)
{
	const struct policy_facts facts = { .stage = stage,
		.client = c->ip,
		.authenticated = c->authenticated,
		.sender = str_of(c->from != NULL ? c->from : ""),
		.recipient = str_of(stage >= STAGE_RCPT && c->to != NULL ? c->to : "") };

	policy_view_clear(&out->view);
	policy_resolve(s, &facts, &out->view);
	out->observe = out->view.observe;
	out->stage = stage;
}

/* An address that sendmail's parser refuses before any check. */
static bool
parse_path(const char *path, struct access_addr *addr, struct access_judged *out)
{
	static const struct access_classes none = { .host = NULL };

	if (access_addr_parse(&none, (struct access_routes){ false, false },
		str_of(path), addr, &out->result.verdict) == 0)
		return true;
	out->result.kind = ACCESS_REFUSED;
	return false;
}

struct access_result
access_result_heavier(
    const struct access_result *before, const struct access_result *later)
{
	if (before->kind == ACCESS_REFUSED ||
	    (refuses(before) && !refuses(later)) ||
	    (before->kind == ACCESS_DISCARD && later->kind == ACCESS_QUARANTINE))
		return *before;
	return *later;
}

static void
judge_client_and_sender(const struct access *a, struct access_judged *out)
{
	struct access_result relay = access_check_relay(a), mail;

	out->result = relay;
	if (relay.kind == ACCESS_REFUSED)
		return;
	/* As in sendmail: held for its client's sake only with delay_checks. */
	if (relay.kind == ACCESS_QUARANTINE)
		relay.kind = ACCESS_NONE;
	mail = access_check_mail(a, false);
	out->result = access_result_heavier(&relay, &mail);
}

void
access_case_judge(const struct settings *s, struct access_maps_view *view,
    const struct access_case *c, struct access_judged *out)
{
	const char *const own[2] = { s->run.host, c->mta };
	const char *local[3];
	struct access_addr rcpt;
	struct access_rules rules;
	char addr[64];
	struct access a = { .rules = &rules,
		.client = { .addr = addr,
		    .name = c->name,
		    .resolve = c->resolve,
		    .helo = c->helo,
		    .authenticated = c->authenticated } };

	memset(out, 0, sizeof(*out));
	access_facts_addr(&c->ip, addr);
	set_view(s, c, c->from == NULL ? STAGE_CONNECT : STAGE_MAIL, out);
	access_rules_set(&rules, &out->view.access, own, local);
	if (c->from != NULL) {
		if (!parse_path(c->from, &a.sender, out))
			return;
		a.have_sender = true;
	}
	access_maps_bind(view, &a, NULL);
	out->in_map = !access_want_dnsbl(&a);
	if (rules.delay == ACCESS_AT_ONCE || c->from == NULL)
		judge_client_and_sender(&a, out);
	if (out->result.kind == ACCESS_REFUSED || c->to == NULL)
		return;
	struct access_result before = out->result;
	set_view(s, c, STAGE_RCPT, out);
	access_rules_set(&rules, &out->view.access, own, local);
	if (!parse_path(c->to, &rcpt, out))
		return;
	access_rules_recipient(&rules, local, c->mailer, &rcpt);
	access_maps_bind(view, &a, &rcpt);
	out->result = rules.delay == ACCESS_AT_ONCE ? access_check_rcpt(&a, &rcpt)
						    : access_check_delayed(&a, &rcpt);
	out->result = access_result_heavier(&before, &out->result);
}

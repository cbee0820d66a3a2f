/* SPDX-License-Identifier: BSD-2-Clause */
/* From the milter session's facts to those of the map's engine and the checks: sendmail's
 * spelling of addresses, who is spared.  Decides nothing about mail. */
#include "milters/access/access_facts.h"

#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"

static enum access_resolve
resolve_of(struct milter_session *s)
{
	return access_resolve_of(
	    milter_macro(s, "client_resolve"), milter_client(s)->name_confirmed);
}

bool
access_facts_is_postmaster(const struct access_addr *rcpt)
{
	struct str local = str_of(rcpt->local);

	return str_is_nocase(local, "postmaster") || str_is_nocase(local, "abuse");
}

/* With delay_checks more entries than the client's spare the lists: a sender's OK, a
 * recipient's Spam: FRIEND. */
static unsigned
spared(const struct access_facts *f, const struct access_known *known,
    const struct policy_view *view, const struct access_addr *rcpt)
{
	const struct settings_access *set = &view->access;
	const struct ip *ip = &f->check.ip;
	unsigned out = 0;

	if (known->in_map ||
	    (rcpt != NULL && f->rules.delay != ACCESS_AT_ONCE &&
		!f->access.client.authenticated && !access_needs_dnsbl(&f->access, rcpt)))
		out |= CHECK_SPARE_MAP;
	if (known->authenticated && !set->check_authenticated)
		out |= CHECK_SPARE_AUTHENTICATED;
	if ((ip->family == 0 || ip_is_loopback(ip)) && !set->check_local)
		out |= CHECK_SPARE_LOCAL;
	if (rcpt != NULL && set->reach_postmaster && access_facts_is_postmaster(rcpt))
		out |= CHECK_SPARE_POSTMASTER;
	return out;
}

static bool
wait_in_callback(void *arg, struct future *f, int64_t deadline_ms)
{
	return milter_wait(arg, f, deadline_ms);
}

void
access_facts_init(struct access_facts *f, struct milter_session *s,
    const struct access_known *known, const struct policy_view *view,
    const struct access_addr *rcpt)
{
	const struct milter_client *client = milter_client(s);

	memset(f, 0, sizeof(*f));
	const char *const own[2] = { known->own_names[0], known->own_names[1] };
	access_rules_set(&f->rules, &view->access, own, f->local);
	f->access = (struct access){ .rules = &f->rules,
		.client = { .addr = known->addr,
		    .name = client->name,
		    .resolve = resolve_of(s),
		    .helo = client->helo,
		    .authenticated = known->authenticated },
		.have_sender = known->have_sender,
		.sender = known->sender };
	f->check = (struct check_facts){ .session = s,
		.settings = known->settings,
		.view = view,
		.ip = client->ip,
		.addr = known->addr,
		.name = client->name,
		.resolve = f->access.client.resolve,
		.own_names = { known->own_names[0], known->own_names[1] },
		.helo = client->helo,
		.auth = client->auth,
		.sender = known->have_sender ? &known->sender : NULL,
		.rcpt = rcpt,
		.rcpt_mailer = rcpt != NULL ? milter_macro(s, "rcpt_mailer") : NULL,
		.early = milter_macro(s, "early_talker") != NULL,
		.queue_id = client->queue_id,
		.access = &f->access,
		.now = clock_wall(),
		.wait = wait_in_callback,
		.wait_arg = s };
	if (rcpt != NULL)
		access_rules_recipient(
		    &f->rules, f->local, f->check.rcpt_mailer, rcpt);
	access_maps_bind(known->maps, &f->access, rcpt);
	f->check.spared = spared(f, known, view, rcpt);
}

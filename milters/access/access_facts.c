/* SPDX-License-Identifier: BSD-2-Clause */
/* From the milter session's facts to those of the map's engine and the checks: sendmail's
 * spelling of addresses, who is spared.  Decides nothing about mail. */
#include "milters/access/access_facts.h"

#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"

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

static enum access_resolve
resolve_of(struct milter_session *s)
{
	const char *said = milter_macro(s, "client_resolve");

	if (said != NULL && strcmp(said, "TEMP") == 0)
		return ACCESS_RESOLVE_TEMP;
	if (said != NULL && strcmp(said, "FORGED") == 0)
		return ACCESS_RESOLVE_FORGED;
	return milter_client(s)->name_confirmed ? ACCESS_RESOLVE_OK
						: ACCESS_RESOLVE_FAIL;
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

/* Entries for user@ count for our own domains only.  Which those are the MTA knows: it
 * names the mailer that takes the recipient. */
static void
add_recipient(
    struct access_facts *f, const char *mailer, const struct access_addr *rcpt)
{
	static const char *const remote[] = { "smtp", "esmtp", "smtp8", "dsmtp",
		"relay", "uucp", "error", "discard" };

	if (mailer == NULL || mailer[0] == '\0' || rcpt->domain[0] == '\0')
		return;
	for (size_t i = 0; i < sizeof(remote) / sizeof(remote[0]); i++)
		if (strcmp(mailer, remote[i]) == 0)
			return;
	f->local[2] = rcpt->domain;
	f->rules.classes.local.n = 3;
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
	f->local[0] = known->own_names[0];
	f->local[1] = known->own_names[1];
	/* Relaying and the sender's form are the MTA's to judge: it has the facts. */
	f->rules = (struct access_rules){ .delay = delay_of(view->access.delay_checks),
		.skip = true,
		.blocklist_recipients = view->access.blocklist_recipients,
		.accept_unresolvable = true,
		.accept_unqualified = true,
		.promiscuous = true,
		.classes = { .local = { f->local, 2 }, .host = known->own_names[0] } };
	f->access = (struct access){ .rules = &f->rules,
		.lookup = known->lookup,
		.lookup_arg = known->lookup_arg,
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
		add_recipient(f, f->check.rcpt_mailer, rcpt);
	f->check.spared = spared(f, known, view, rcpt);
}

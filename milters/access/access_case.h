/* SPDX-License-Identifier: BSD-2-Clause */
/* One envelope and what the map says of it, as the daemon judges it, without a mail
 * server: for `posternctl explain` and `posternctl access replay`. */
#ifndef POSTERN_ACCESS_CASE_H
#define POSTERN_ACCESS_CASE_H

#include "common/base/ip.h"
#include "milters/access/access_map.h"
#include "milters/access/access_maps.h"
#include "policy/policy.h"
#include "policy/settings.h"

/* The engine's rules for the settings in force.  Relaying and the sender's form are the
 * MTA's to judge: it has the facts.  own: the host by its setting and by the MTA; local:
 * storage for the class of local names, borrowed by rules. */
void access_rules_set(struct access_rules *rules, const struct settings_access *set,
    const char *const own[2], const char *local[3]);
/* Entries for user@ count for our own domains only.  Which those are the MTA knows: it
 * names the mailer that takes the recipient (NULL: it did not). */
void access_rules_recipient(struct access_rules *rules, const char *local[3],
    const char *mailer, const struct access_addr *rcpt);

/* All borrowed; "" where nothing is known. */
struct access_case {
	struct ip ip; /* family 0: local */
	const char *name; /* confirmed name, or "[192.0.2.1]" */
	enum access_resolve resolve;
	const char *helo, *mta, *mailer;
	bool authenticated;
	const char *from, *to; /* as typed; NULL: not reached */
};

/* Of two results that hang over a message: a refusal, else a discard, else the later
 * hold. */
struct access_result access_result_heavier(
    const struct access_result *before, const struct access_result *later);

struct access_judged {
	struct access_result result; /* that decided; kind NONE or OK: nothing refuses */
	enum stage stage; /* where it was given */
	bool in_map; /* the map has a word for the client: checks are spared */
	bool observe; /* policy: it would be so, and the mail passes */
	struct policy_view view; /* in force at that stage; clear it */
};
/* view: the maps to judge by. */
void access_case_judge(const struct settings *s, struct access_maps_view *view,
    const struct access_case *c, struct access_judged *out);

/* "reject", "tempfail", "discard", "quarantine", "continue" */
const char *access_result_name(const struct access_result *r);
/* sendmail's words for {client_resolve}. */
const char *access_resolve_name(enum access_resolve resolve);
enum access_resolve access_resolve_of(const char *name, bool confirmed);

/* sendmail's spelling of an address: IPv6 with all groups; "" for none. */
void access_facts_addr(const struct ip *ip, char out[64]);

#endif

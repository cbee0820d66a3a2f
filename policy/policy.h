/* SPDX-License-Identifier: BSD-2-Clause */
/* For whom which setting applies.  Policies stand in the file's order; for every setting
 * the first policy that matches and names it wins; recipients are judged one by one.
 *
 *     list "partners" { domain partner.example; network 192.0.2.0/24; file "p.txt"; }
 *     policy "partners" { sender in partners; greylist.when never; }
 *     policy "inside"   { client 10.0.0.0/8; access.dnsbl off; }
 *     policy "trial"    { recipient domain new.example; mode observe; }
 *
 * Conditions of one policy must all hold; several values of one condition: any.
 *     client    NETWORK... | in LIST | authenticated
 *     sender    ADDRESS... | domain DOMAIN... | in LIST | null
 *     recipient ADDRESS... | domain DOMAIN... | in LIST
 * `domain d` means d itself; `.d` its subdomains. */
#ifndef POSTERN_POLICY_POLICY_H
#define POSTERN_POLICY_POLICY_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/conf.h"
#include "common/base/ip.h"
#include "common/base/str.h"
#include "policy/settings.h"

/* What is known so far; unset parts match no condition about them. */
struct policy_facts {
	enum stage stage;
	struct ip client; /* family 0: unknown */
	bool authenticated;
	struct str sender; /* address without <>; with stage >= MAIL, "" is the null sender */
	struct str recipient; /* with stage >= RCPT */
};

/* The settings in force for these facts, as copies that the caller clears. */
struct policy_view {
	struct settings_greylist greylist;
	struct settings_access access;
	bool observe; /* compute, log would=..., let pass */
};
void policy_resolve(
    const struct settings *s, const struct policy_facts *facts, struct policy_view *out);
void policy_view_clear(struct policy_view *v);

/* Which policy gave a setting: its name, or NULL for the file's own block or default.
 * key: "greylist.delay". */
const char *policy_source(
    const struct settings *s, const struct policy_facts *facts, struct str key);

/* Text for people: every setting, its value, where it comes from. */
struct buf;
void policy_explain(
    const struct settings *s, const struct policy_facts *facts, struct buf *out);

bool policy_list_has_client(
    const struct settings *s, struct str list, const struct ip *client);

#endif

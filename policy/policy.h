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
 *     client    NETWORK or `authenticated` ...   | in LIST...
 *     sender    ADDRESS or `null` ... | domain DOMAIN... | in LIST...
 *     recipient ADDRESS ...           | domain DOMAIN... | in LIST...
 * `domain d` means d itself; `.d` its subdomains.  Each is known from a stage on: client
 * from CONNECT, authenticated and sender from MAIL, recipient from RCPT; a policy cannot
 * give a setting that is read earlier. */
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

/* The settings in force for these facts.  Strings and lists are borrowed from s: hold a
 * reference to the snapshot as long as the view.  Clearing only forgets them. */
struct policy_view {
	struct settings_greylist greylist;
	struct settings_access access;
	struct settings_mime mime;
	struct settings_score score;
	bool observe; /* compute, log would=..., let pass */
};
void policy_resolve(
    const struct settings *s, const struct policy_facts *facts, struct policy_view *out);
void policy_view_clear(struct policy_view *v);

/* One answer for n (at least 1) recipients of a message that must share it: every setting
 * by the merge column of its row - own: that of the first, min and max: the least and the
 * greatest (of an enumeration: the later choice), all: the value that all share, else the
 * one without policies.  Only a message that everybody watches is observed. */
void policy_merge(const struct settings *s, const struct policy_view *views, size_t n,
    struct policy_view *out);

/* Which policy gave a setting: its name, or NULL for the file's own block or default.
 * key: "greylist.delay" or "mode". */
const char *policy_source(
    const struct settings *s, const struct policy_facts *facts, struct str key);

/* Every place that gives a setting, its own block first, then the policies in order.
 * values: the struct of its section (struct settings_greylist ...) with the value there.
 * key: "greylist.when".  A default has no place. */
void policy_each_place(const struct settings *s, struct str key,
    void (*fn)(const void *values, const char *file, int line, void *arg), void *arg);

/* Every setting with its value and where it comes from, and the policies that match, in
 * the file's order.  All texts are borrowed for the call of fn. */
struct policy_item {
	const char *section; /* "" for mode */
	const char *name;
	const char *value; /* as in a file */
	const char *policy; /* that gave it; NULL: none */
	const char *file; /* where it stands; NULL: the default */
	int line;
};
void policy_each(const struct settings *s, const struct policy_facts *facts,
    void (*fn)(const struct policy_item *item, void *arg), void *arg);
void policy_each_match(const struct settings *s, const struct policy_facts *facts,
    void (*fn)(const char *name, const char *file, int line, void *arg), void *arg);

/* The same as text for people. */
struct buf;
void policy_explain(
    const struct settings *s, const struct policy_facts *facts, struct buf *out);

/* Whether a client's address stands in a list; false too when there is no such list. */
bool policy_list_has_client(
    const struct settings *s, struct str list, const struct ip *client);

#endif

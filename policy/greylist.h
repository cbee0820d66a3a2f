/* SPDX-License-Identifier: BSD-2-Clause */
/* The engine of greylisting, shared by the greylist milter (at RCPT) and the score
 * milter (at its end of message): from the facts of one recipient to the question for
 * the store, and from the store's answer to the verdict.  Pure.  An adapter does
 *
 *     asks = greylist_asks(&view.greylist, &facts);       which facts to fetch
 *     ... fill in what asks names; what cannot be had stays zero ...
 *     greylist_want(&view.greylist, &facts, now, &query);
 *     if (query.trap_hit)         store_event_add(EVENT_TRAP, &query.network)
 *     if (query.ask)              answer = store_greylist_check(&query...), without the
 *                                 network where the events are facts
 *     verdict = greylist_judge(&view.greylist, &query, answer, now);
 *
 * Who the client is: policy/greylist_identity.h; which senders are the same:
 * policy/greylist_sender.h; what the store does: db/greylist_state.h. */
#ifndef POSTERN_POLICY_GREYLIST_H
#define POSTERN_POLICY_GREYLIST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/ip.h"
#include "common/base/str.h"
#include "common/base/verdict.h"
#include "common/mail/address.h"
#include "db/store.h"
#include "policy/greylist_identity.h"
#include "policy/settings.h"

/* Who asks: the greylist milter for each recipient, or the score milter for mail whose
 * score makes it suspicious (it does not ask for other mail). */
enum greylist_moment { GREYLIST_AT_RCPT, GREYLIST_SUSPICIOUS_AT_END };

struct greylist_facts {
	enum greylist_moment moment;
	bool authenticated;
	/* ip (family 0: a local client), name, helo, sender path, suffixes */
	struct greylist_client_facts client;
	struct str recipient; /* path as typed, with or without <> */

	/* What greylist_asks() may name.  Zero where it is unknown: a service that is
	 * out never exempts and never blocks. */
	/* GREYLIST_ASK_SPF is client.spf_pass: a pass that qualifies as identity, of
	 * the sender's domain, or for the null sender of HELO. */
	bool allowlisted; /* GREYLIST_ASK_ALLOWLIST: a list of greylist.allowlists has
			     the client */
	bool correspondent; /* GREYLIST_ASK_CORRESPONDENT: NOTE_CORRESPONDENT under
			       greylist_correspondent_name(recipient, sender) */
	/* GREYLIST_ASK_EVENTS: events about greylist_network(); zero where there are
	 * none */
	struct greylist_events {
		int64_t weight, last; /* as in struct event_answer */
	} trap, virus, spam;
};

enum {
	GREYLIST_ASK_SPF = 1 << 0,
	GREYLIST_ASK_ALLOWLIST = 1 << 1,
	GREYLIST_ASK_CORRESPONDENT = 1 << 2,
	GREYLIST_ASK_EVENTS = 1 << 3,
};

/* Which facts the decision needs, from those that cost nothing: a set of
 * GREYLIST_ASK_*; 0: it is made already. */
unsigned greylist_asks(
    const struct settings_greylist *set, const struct greylist_facts *facts);

/* The network of a client whose events count: /24 or /64. */
struct ipnet greylist_network(const struct ip *client);

#define GREYLIST_CORRESPONDENT_MAX (2 * ADDRESS_MAX + 1)
/* The name of the note that our user wrote to other: both in lower case, other as
 * greylist_sender() makes it, with one blank between.  Whoever accepts mail from an
 * authenticated user puts it, for each recipient, with user = the sender.  Returns its
 * length; 0: one of them is the null sender, there is no such note. */
size_t greylist_correspondent_name(
    struct str user, struct str other, char out[GREYLIST_CORRESPONDENT_MAX]);

#define GREYLIST_CLIENT_MAX (1 + GREYLIST_IDENTITY_MAX)
#define GREYLIST_KEY_MAX (3 * 2 + GREYLIST_CLIENT_MAX + 2 * ADDRESS_MAX)

struct greylist_query {
	/* NULL: not exempt; else static text why it passes without a look:
	 *   authenticated, local       (inside: our own users and hosts)
	 *   inside                     greylist.inside (inside)
	 *   policy                     greylist.when is never
	 *   suspicious only            it is `suspicious`, and nobody knows yet
	 *   at RCPT                    it is `always`: the greylist milter's business
	 *   exempt list                greylist.exempt names client or sender
	 *   allowlist, correspondent */
	const char *exempt;
	bool inside;
	/* The recipient is a trap: tell all hosts by EVENT_TRAP.  The store is asked as
	 * for any other, so that the answer is no other, but none passes. */
	bool trap_hit;
	int64_t blocked; /* seconds for which the client is still refused; 0: is not */
	const char *block_why; /* static text: trap, virus, spam */
	struct ipnet network; /* whose events count; set unless exempt */
	struct greylist_identity identity; /* the same */
	bool ask; /* the store is to be asked; else all below is empty */
	char client[GREYLIST_CLIENT_MAX]; /* kind and name */
	size_t client_len;
	/* Identity, normalised sender, recipient, each behind its length in two
	 * octets. */
	char key[GREYLIST_KEY_MAX];
	size_t key_len;
	struct greylist_times times;
};

/* The question for one recipient by the settings in force for it. */
void greylist_want(const struct settings_greylist *set,
    const struct greylist_facts *facts, int64_t now, struct greylist_query *out);

/* What the recipient gets: an exemption, a block (451 4.7.1 or 550 5.7.1), or what
 * greylist_verdict() says of the answer. */
struct verdict greylist_judge(const struct settings_greylist *set,
    const struct greylist_query *query, const struct greylist_answer *answer,
    int64_t now);

/* answer NULL: the store did not answer in time.  A mail is deferred (451 4.7.1, with the
 * setting's text and the seconds to wait) only after the store has confirmed the record;
 * otherwise it passes.  why:
 *   greylisted        first try of a triple: waits the whole delay
 *   early             again before the delay is over: waits what is left
 *   retried, known, auto-whitelisted, no delay        passes
 *   store=down, store=full                            passes unrecorded */
struct verdict greylist_verdict(const struct settings_greylist *set,
    const struct greylist_answer *answer, int64_t now);

/* An address as it stands in a key and for policies: without <> and source route, the
 * domain in lower case.  What is no address is taken as it is.  Cut at ADDRESS_MAX octets.
 * Returns the length. */
size_t greylist_address(struct str path, char out[ADDRESS_MAX]);
bool greylist_null_sender(struct str path);

#endif

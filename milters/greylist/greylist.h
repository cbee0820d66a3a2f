/* SPDX-License-Identifier: BSD-2-Clause */
/* The engine of greylisting: from the facts of one recipient to the question for the
 * store.  Pure; the answer is judged by policy/greylist.h, the adapter (main.c) asks
 * and logs, the batch test (greylist_test.c) does the same without libmilter. */
#ifndef POSTERN_MILTERS_GREYLIST_H
#define POSTERN_MILTERS_GREYLIST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/ip.h"
#include "common/base/str.h"
#include "common/base/verdict.h"
#include "common/mail/address.h"
#include "db/store.h"
#include "policy/settings.h"

struct greylist_facts {
	struct ip client; /* family 0: a local client */
	bool authenticated;
	struct str sender; /* path as typed, with or without <>; "<>" or "": null */
	struct str recipient;
};

/* Who the client is for greylisting.  Each kind has a letter of its own in front of the
 * name, so that a domain can never be taken for a network. */
enum greylist_identity_kind { GREYLIST_BY_NETWORK = 'n' };
struct greylist_identity {
	enum greylist_identity_kind kind;
	char name[256]; /* "192.0.2.0/24" */
};
const char *greylist_identity_kind_name(enum greylist_identity_kind kind);

#define GREYLIST_CLIENT_MAX (1 + 256)
#define GREYLIST_KEY_MAX (3 * 2 + GREYLIST_CLIENT_MAX + 2 * ADDRESS_MAX)

/* What to ask the store. */
struct greylist_query {
	const char *exempt; /* nothing is asked: static text why; NULL: ask */
	bool inside; /* exempt as mail of our own users and hosts */
	struct greylist_identity identity;
	struct ipnet network; /* whose events count: /24 or /64 */
	char client[GREYLIST_CLIENT_MAX];
	size_t client_len;
	/* Identity, sender, recipient, each behind its length in two octets. */
	char key[GREYLIST_KEY_MAX];
	size_t key_len;
	struct greylist_times times;
};

/* The question for one recipient by the settings in force for it. */
void greylist_want(const struct settings_greylist *set,
    const struct greylist_facts *facts, struct greylist_query *out);

/* An address as it stands in a key: without <> and source route, the domain in lower
 * case. What is no address is taken as it is.  Cut at ADDRESS_MAX octets.  Returns the
 * length. */
size_t greylist_address(struct str path, char out[ADDRESS_MAX]);
bool greylist_null_sender(struct str path);

/* What became of a message, over its recipients: the longest delay counts, and without
 * one the first reason. */
struct greylist_outcome {
	const char *why; /* NULL: nothing yet */
	bool delayed, would; /* would: deferred but for `mode observe` */
	int64_t seconds; /* from the first try to the one that passed */
};
/* answer may be NULL. */
void greylist_outcome_add(struct greylist_outcome *o, const struct verdict *v,
    const struct greylist_answer *answer, bool observed, int64_t now);

/* The value of X-Greylist: what happened, where, how long. */
void greylist_header(
    const struct greylist_outcome *o, const char *host, int64_t now, struct buf *out);

#endif

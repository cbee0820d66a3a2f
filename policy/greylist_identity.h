/* SPDX-License-Identifier: BSD-2-Clause */
/* Who a client is for greylisting: a name that all hosts of one sender share, so that a
 * retry from another host of its pool is known, and that no botnet shares.  In this
 * order:
 *
 *   spf      the domain of the envelope sender, exactly, when SPF passed in a way that
 *            qualifies (common/auth/spf.h); it is what its owner vouches for, so
 *            subdomains, which may be somebody else's, do not count as the same
 *   helo     the null sender has no domain: the organisational domain of HELO, when
 *            SPF passed for HELO; hosts of a pool differ in the names before it
 *   name     the organisational domain of the client's forward-confirmed name, unless
 *            the name looks generated from the address (policy/client_name.h) or no
 *            domain but a public suffix is in it
 *   network  prefix4 or prefix6 bits of the address
 */
#ifndef POSTERN_POLICY_GREYLIST_IDENTITY_H
#define POSTERN_POLICY_GREYLIST_IDENTITY_H

#include <stdbool.h>

#include "common/base/ip.h"
#include "common/base/str.h"
#include "common/net/suffix.h"
#include "policy/settings_greylist.h"

struct greylist_client_facts {
	struct ip ip; /* family 0: a local client */
	struct str name; /* forward-confirmed; "", "[192.0.2.1]", "unknown": none */
	struct str helo; /* as typed; needed with the null sender only */
	struct str sender; /* path as typed, with or without <>; "<>" or "": null */
	bool spf_pass;
	const struct suffixes *suffixes; /* NULL: no organisational domains are known */
};

/* Each kind has a letter of its own in front of the name, so that a domain can never be
 * taken for a network, nor one that SPF confirmed for another. */
enum greylist_identity_kind {
	GREYLIST_BY_SPF = 's',
	GREYLIST_BY_HELO = 'h',
	GREYLIST_BY_NAME = 'd',
	GREYLIST_BY_NETWORK = 'n',
};

#define GREYLIST_IDENTITY_MAX 256
struct greylist_identity {
	enum greylist_identity_kind kind;
	char name[GREYLIST_IDENTITY_MAX]; /* "example.org", "192.0.2.0/24" */
};
const char *greylist_identity_kind_name(enum greylist_identity_kind kind);

/* The name as it counts: without a final dot; "" for what MTAs write when there is none. */
struct str greylist_client_name(struct str name);

void greylist_identify(const struct settings_greylist *set,
    const struct greylist_client_facts *facts, struct greylist_identity *out);

#endif

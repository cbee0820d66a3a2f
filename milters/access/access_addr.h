/* SPDX-License-Identifier: BSD-2-Clause */
/* Envelope addresses in the form in which sendmail looks them up: source routes
 * dropped, simple quotes removed, routed local parts of our own domains peeled, our own
 * names made one.  And the classes of names that this needs. */
#ifndef POSTERN_ACCESS_ADDR_H
#define POSTERN_ACCESS_ADDR_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/str.h"
#include "common/base/verdict.h"

#define ACCESS_ADDR_MAX 512 /* octets of an address; longer ones are refused */

struct access_names {
	const char *const *list;
	size_t n;
};

/* Names of this host and its domains, all compared without case. */
struct access_classes {
	struct access_names local; /* w: exact */
	struct access_names
	    relay; /* R: names with their subdomains, prefixes of addresses */
	const char *host; /* j */
	const char *domain; /* m */
	/* The name that DNS or the hosts file has for a domain (an alias' target), or
	 * NULL: as it is.  Borrowed for the call.  May be NULL itself. */
	const char *(*canonical)(void *arg, const char *domain);
	void *canonical_arg;
};

bool access_is_local(const struct access_classes *c, struct str domain);
/* In R by name: itself or, unless exact, below it. */
bool access_is_relayed(const struct access_classes *c, struct str domain, bool exact);
/* In R by address: an entry is the address or its front part at a border. */
bool access_addr_is_relayed(const struct access_classes *c, struct str addr);
/* name is top or ends in ".top". */
bool access_is_below(struct str name, struct str top);

struct access_addr {
	bool null; /* <> */
	char given[ACCESS_ADDR_MAX + 1]; /* without <>, for texts */
	char local[ACCESS_ADDR_MAX + 1]; /* "" with null */
	char domain[ACCESS_ADDR_MAX + 1]; /* "" = unqualified */
	/* As typed, before own names became one: localhost is told from j by it. */
	char typed_domain[ACCESS_ADDR_MAX + 1];
};

/* Which characters of a local part are routes here. */
struct access_routes {
	bool bang, percent;
};

/* path: as SMTP carried it, with or without <>.  -1: sendmail's parser refuses it
 * before any check; *refusal is its reply. */
int access_addr_parse(const struct access_classes *c, struct access_routes routes,
    struct str path, struct access_addr *out, struct verdict *refusal);

/* Remove the quotes around the local part, whatever they hold, as is done for
 * recipients. */
void access_addr_dequote(struct access_addr *a);
/* Does the local part hold a route? */
bool access_addr_is_routed(const struct access_addr *a, struct access_routes routes);
/* The address inside a routed local part; the same as parse. */
int access_addr_peel(const struct access_classes *c, struct access_routes routes,
    const struct access_addr *from, struct access_addr *out, struct verdict *refusal);

#endif

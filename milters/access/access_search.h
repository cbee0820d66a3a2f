/* SPDX-License-Identifier: BSD-2-Clause */
/* The kinds of searches that sendmail makes in its access map: a host with its parent
 * domains, an address with its prefixes, a full address, a user.  Internal to the
 * engine. */
#ifndef POSTERN_ACCESS_SEARCH_H
#define POSTERN_ACCESS_SEARCH_H

#include "milters/access/access_map.h"
#include "milters/access/access_value.h"

enum access_keys {
	ACCESS_TAGGED_OR_BARE, /* "From:x", then "x", at every step */
	ACCESS_TAGGED, /* "From:x" alone */
};

/* Where to look and with which tag ("From:"). */
struct access_search {
	const struct access *access;
	const char *tag;
	enum access_keys keys;
};

struct access_hit {
	struct access_entry entry;
	char key[ACCESS_KEY_MAX]; /* as asked */
	struct access_value value;
};

/* Each: true when an entry was found.  SKIP ends a search of host or address with
 * nothing, where the map knows SKIP. */
bool access_search_exact(
    const struct access_search *s, struct str key, struct access_hit *hit);
/* a.b.c, b.c, c; [10.1.2.3], [10.1.2], ... */
bool access_search_host(
    const struct access_search *s, struct str host, struct access_hit *hit);
/* 10.1.2.3, 10.1.2, ...; IPv6:2001:db8:..., IPv6:2001, IPv6 */
bool access_search_addr(
    const struct access_search *s, struct str addr, struct access_hit *hit);
/* u+d@dom, u+*@dom, u@dom */
bool access_search_full(const struct access_search *s, const struct access_addr *a,
    const char *domain, struct access_hit *hit);
/* u+d@, u+*@, u@ */
bool access_search_user(
    const struct access_search *s, const struct access_addr *a, struct access_hit *hit);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* Which entries a command is about: by client, sender and recipient as an administrator
 * names them.  In privacy mode a name is looked for by its hash. */
#ifndef POSTERN_CTL_GREYLIST_FILTER_H
#define POSTERN_CTL_GREYLIST_FILTER_H

#include "contrib/ctl/greylist_text.h"

#define FILTER_CLIENTS 4

struct greylist_filter {
	bool clients, sender, recipient; /* which are asked for */
	struct ip ip; /* the client was given as address; family 0: not */
	struct ipnet net; /* ... or as network; family 0: neither */
	size_t n; /* clients that are meant, as they are kept */
	char client[FILTER_CLIENTS][GREYLIST_CLIENT_MAX];
	size_t client_len[FILTER_CLIENTS];
	char from[ADDRESS_MAX], to[ADDRESS_MAX]; /* as they are kept */
	size_t from_len, to_len;
};

/* client: IP address, network, domain, or one of a kind ("spf:example.org"); from, to:
 * addresses.  NULL: any.  -1: err says why. */
int greylist_filter_read(struct greylist_filter *f, const struct store *s,
    const struct settings_greylist *set, const char *client, const char *from,
    const char *to, struct err *err);
bool greylist_filter_any(const struct greylist_filter *f); /* nothing is asked for */
bool greylist_filter_has(const struct greylist_filter *f, const struct store_entry *e);
/* The i-th client that is meant. */
struct str greylist_filter_client(const struct greylist_filter *f, size_t i);

#endif

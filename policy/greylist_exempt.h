/* SPDX-License-Identifier: BSD-2-Clause */
/* Hosts and senders that are known to fail where they are greylisted: files with one entry
 * per line, '#' comments:
 *
 *     client 192.0.2.0/24          a network, or an address
 *     client mx.example.org        a host by its forward-confirmed name
 *     client .example.org          all hosts below a domain
 *     sender example.org           a domain of envelope senders; .example.org: below it
 *     sender alerts@example.org    one sender
 *
 * A sender can be forged: the engine lets an entry count only when SPF or the client's own
 * name speaks for it. */
#ifndef POSTERN_POLICY_GREYLIST_EXEMPT_H
#define POSTERN_POLICY_GREYLIST_EXEMPT_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/conf_tree.h"
#include "common/base/ip.h"
#include "common/base/str.h"

struct greylist_exempt {
	char **paths; /* as given */
	size_t n_paths;
	struct member_set *clients, *senders; /* NULL: no file yet */
};

/* Add a file's entries; faults go to errs as file:line.  by: the word that names it, a
 * relative one is seen from by->file's folder. */
void greylist_exempt_add(
    struct greylist_exempt *e, const struct conf_word *by, struct errs *errs);
void greylist_exempt_clear(struct greylist_exempt *e);

/* name: forward-confirmed, or "". */
bool greylist_exempt_client(
    const struct greylist_exempt *e, const struct ip *ip, struct str name);
/* address: without <>. */
bool greylist_exempt_sender(const struct greylist_exempt *e, struct str address);

#endif

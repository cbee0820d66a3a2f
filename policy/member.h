/* SPDX-License-Identifier: BSD-2-Clause */
/* Who belongs to a list or a condition: addresses, domains, networks.  Asking costs one
 * hash look-up per address, per label of a domain, or per length of network in the set,
 * however many entries it has. */
#ifndef POSTERN_POLICY_MEMBER_H
#define POSTERN_POLICY_MEMBER_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/conf_tree.h"
#include "common/base/ip.h"
#include "common/base/str.h"

#define MEMBER_ENTRIES_MAX 2000000u /* of one set */
#define MEMBER_NAME_MAX 512 /* octets of an address or domain */

/* A domain name that may stand in a file: NULL, or what was expected.  No final dot, no
 * octets beyond ASCII (those are written xn--...). */
const char *member_domain_wrong(struct str domain);

struct member_set;

struct member_set *member_set_new(void);
void member_set_free(struct member_set *set); /* accepts NULL */

/* Add an entry; NULL when it is right, else what was expected.  domain: "d" is d itself,
 * ".d" its subdomains.  Case does not matter anywhere. */
const char *member_add_address(struct member_set *set, struct str address);
const char *member_add_domain(struct member_set *set, struct str domain);
const char *member_add_network(struct member_set *set, struct str network);
/* A file with one entry per line, '#' comments: with '@' an address, else a network or
 * address of a host if it reads as one, else a domain.  by: the word that names the file,
 * which is seen from the folder of by->file.  All faults go to errs as file:line. */
void member_add_file(
    struct member_set *set, const struct conf_word *by, struct errs *errs);

/* Entries that an address or a client can match. */
size_t member_names(const struct member_set *set);
size_t member_networks(const struct member_set *set);

/* An address in lower case, as member_fold() makes it. */
struct member_name {
	struct str address;
	struct str domain; /* behind the last '@'; "" without one */
	char text[MEMBER_NAME_MAX];
};
/* Longer addresses become an empty one, which belongs to nothing. */
void member_fold(struct str address, struct member_name *out);
bool member_has_name(const struct member_set *set, const struct member_name *name);
bool member_has_ip(const struct member_set *set, const struct ip *ip);

#endif

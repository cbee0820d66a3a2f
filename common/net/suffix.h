/* SPDX-License-Identifier: BSD-2-Clause */
/* Which part of a domain name belongs to one organisation: the label before the public
 * suffix (publicsuffix.org, as RFC 7489 3.2 uses it).  Private suffixes count: names below
 * compute.amazonaws.com belong to as many people as those below co.uk. */
#ifndef POSTERN_NET_SUFFIX_H
#define POSTERN_NET_SUFFIX_H

#include <stdbool.h>

#include "common/base/err.h"
#include "common/base/str.h"

/* Immutable: threads may share it. */
struct suffixes;

/* path "": the newest of the library's own list and the distribution's file; else this
 * file, as published or compiled (DAFSA), and no other.  NULL: err says why. */
struct suffixes *suffixes_open(const char *path, struct err *err);
void suffixes_close(struct suffixes *s); /* accepts NULL */

/* The organisational domain of a name in any case, with or without a final dot, U-labels
 * excepted: "mx1.mail.example.co.uk" gives "example.co.uk".  *out borrows from name and
 * has no final dot.  false: the name is none (RFC 1035 2.3.1 with underscores, at least
 * two labels, the last one not numeric), or it is a public suffix itself. */
bool suffixes_organisation(const struct suffixes *s, struct str name, struct str *out);

#endif

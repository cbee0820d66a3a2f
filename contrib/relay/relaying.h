/* SPDX-License-Identifier: BSD-2-Clause */
/* May this client send to this recipient through us?  Denied by default: either the
 * recipient's domain is ours, or the client is.  The sender's address plays no part:
 * anybody can write it. */
#ifndef POSTERN_RELAY_RELAYING_H
#define POSTERN_RELAY_RELAYING_H

#include "common/base/conf.h"
#include "common/base/err.h"
#include "common/base/ip.h"
#include "common/base/verdict.h"
#include "common/mail/address.h"

struct relaying;

/* domains: "local.example" (exactly that), ".local.example" (every name below it), or
 * an address literal; file: the same, one a line, '#' comments; NULL or "" none.
 * clients may be NULL.  NULL: errs has entries. */
struct relaying *relaying_new(const struct conf_strings *domains, const char *file,
    const struct conf_nets *clients, struct errs *errs);
void relaying_free(struct relaying *r);

/* Is the domain one of ours (any case)? */
bool relaying_domain(const struct relaying *r, struct str domain);
bool relaying_client(const struct relaying *r, const struct ip *client);

/* path: as typed with <>; rcpt: the same taken apart.  ACTION_CONTINUE or a refusal.
 * From clients that are not ours, every form that some inner host could route further
 * is refused too, whatever its domain: source routes, and '%', '!', '@' or ':' in the
 * local part, plain or quoted.  <postmaster> alone needs no domain (RFC 5321 4.5.1). */
struct verdict relaying_check(const struct relaying *r, const struct ip *client,
    struct str path, const struct address *rcpt);

#endif

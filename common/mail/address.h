/* SPDX-License-Identifier: BSD-2-Clause */
/* Envelope addresses (RFC 5321 4.1.2) as SMTP and milters carry them. */
#ifndef POSTERN_MAIL_ADDRESS_H
#define POSTERN_MAIL_ADDRESS_H

#include <stdbool.h>

#include "common/base/err.h"
#include "common/base/str.h"

#define ADDRESS_MAX 512 /* octets of a whole path; RFC 5321 4.5.3.1.3 asks for 256 */

struct address {
	struct str whole; /* without <> and without a source route */
	struct str local; /* as written, quotes included */
	struct str domain; /* "" when unqualified; "[192.0.2.1]" for a literal */
	bool null; /* <> */
	bool utf8; /* has octets above 127 (RFC 6531): only for SMTPUTF8 transactions */
};

/* Take a path apart: "<a@b>", "a@b", "<@r1,@r2:a@b>", "<>", "<postmaster>".  The domain
 * begins after the last '@' that is not quoted.  Parts borrow from in.  -1: not an
 * address by the grammar of RFC 5321 4.1.2 (control octets, unbalanced quotes, empty
 * local part, too long, bad domain); err says which.  Dots anywhere in an unquoted
 * local part are tolerated.  err never quotes the address. */
int address_parse(struct str in, struct address *out, struct err *err);

/* Domain name by RFC 5321 grammar, underscore and U-labels (RFC 6531) tolerated, no dot
 * at its end; or a literal of an IPv4 or IPv6 address. */
bool address_domain_ok(struct str domain);

/* Local part with its quotes and backslashes removed (RFC 5321 4.1.2 semantics) into
 * out (caller's, size octets).  false when it does not fit. */
bool address_local_unquote(struct str local, char *out, size_t size, size_t *len);

#endif

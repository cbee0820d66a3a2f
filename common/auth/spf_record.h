/* SPDX-License-Identifier: BSD-2-Clause */
/* The grammar of SPF records and explanations (RFC 7208 4.6.1, 5, 6, 7.1), and the
 * limits that no record may exceed here before anything else reads it.  Pure. */
#ifndef POSTERN_AUTH_SPF_RECORD_H
#define POSTERN_AUTH_SPF_RECORD_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/err.h"
#include "common/base/ip.h"
#include "common/base/str.h"

#define SPF_RECORD_MAX 2048 /* octets */
#define SPF_TERM_MAX 255 /* octets */
#define SPF_TERMS_MAX 256
#define SPF_MACROS_MAX 24 /* of one term or explanation */

enum spf_mechanism {
	SPF_MECH_ALL,
	SPF_MECH_INCLUDE,
	SPF_MECH_A,
	SPF_MECH_MX,
	SPF_MECH_PTR,
	SPF_MECH_IP4,
	SPF_MECH_IP6,
	SPF_MECH_EXISTS,
};

struct spf_term {
	enum spf_mechanism mechanism;
	char qualifier; /* '+', '-', '~', '?' */
	struct str text; /* as written, with the qualifier */
	struct str spec; /* domain-spec; empty: the current domain */
	/* Built from what the client or the sender's local part says: macros other than
	 * d and o. */
	bool foreign;
	bool uses_p;
	unsigned prefix4, prefix6; /* of a, mx, ip4, ip6 */
	struct ip ip; /* of ip4, ip6; a mapped one stays IPv6 */
};

struct spf_modifier { /* redirect, exp */
	bool given;
	bool foreign, uses_p;
	struct str spec;
};

struct spf_record {
	struct spf_term *terms; /* all text borrows from what was parsed */
	size_t n;
	struct spf_modifier redirect, exp;
};

/* Is this TXT record an SPF record (RFC 7208 4.5)? */
bool spf_record_is(struct str txt);
/* -1: err says what is wrong: permerror.  Clear it in either case. */
int spf_record_parse(struct str txt, struct spf_record *out, struct err *err);
void spf_record_clear(struct spf_record *record);

/* A macro-string (RFC 7208 7.1). */
struct spf_macros {
	bool foreign, uses_p; /* as in struct spf_term */
	size_t last_end; /* behind the last macro-expand; 0: none */
};
/* explanation: blanks, and macros c, r, t, are allowed. */
int spf_macros_check(
    struct str text, bool explanation, struct spf_macros *out, struct err *err);

#endif

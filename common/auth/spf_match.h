/* SPDX-License-Identifier: BSD-2-Clause */
/* libspf2 behind what it may be given: one mechanism of those that ask DNS, with a
 * plain name and no macros, and DNS answers that come from the caller.  It says whether
 * the mechanism matches. */
#ifndef POSTERN_AUTH_SPF_MATCH_H
#define POSTERN_AUTH_SPF_MATCH_H

#include "common/auth/spf_record.h"
#include "common/net/dns_answer.h"

struct spf_matcher; /* for one thread at a time */

struct spf_matcher *spf_matcher_new(void);
void spf_matcher_free(struct spf_matcher *m); /* accepts NULL */

/* What DNS says; borrowed for the call.  name: as libspf2 has it.  Never NULL. */
typedef const struct dns_answer *spf_lookup(
    void *arg, const char *name, enum dns_type type);

struct spf_probe {
	enum spf_mechanism mechanism; /* A, MX, PTR or EXISTS */
	const char *name; /* expanded target */
	unsigned prefix4, prefix6;
	struct ip client;
	spf_lookup *lookup;
	void *arg;
};

enum spf_match {
	SPF_MATCH_NO,
	SPF_MATCH_YES,
	SPF_MATCH_TEMPERROR, /* DNS has no answer */
	SPF_MATCH_PERMERROR, /* too many MX records, or a name that cannot be */
};

enum spf_match spf_matcher_try(struct spf_matcher *m, const struct spf_probe *probe);

#define SPF_NAMES_MAX 10 /* MX or PTR records that are looked at: RFC 7208 4.6.4 */

#endif

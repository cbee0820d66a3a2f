/* SPDX-License-Identifier: BSD-2-Clause */
/* The check of the sender's domain: can it get an answer? */
#ifndef POSTERN_ACCESS_CHECK_SENDER_H
#define POSTERN_ACCESS_CHECK_SENDER_H

#include "milters/access/check.h"

extern const struct check_ops check_sender;

/* What DNS says of a domain, without its hosts.  Pure; a NULL answer did not come. */
enum sender_domain {
	SENDER_OK, /* mail can go there */
	SENDER_NONE, /* no MX, A or AAAA */
	SENDER_NULL_MX, /* "MX 0 ." alone (RFC 7505) */
	SENDER_TEMP, /* DNS does not say */
};
struct dns_answer;
enum sender_domain access_sender_domain(
    const struct dns_answer *mx, const struct dns_answer *a, const struct dns_answer *aaaa);

#endif

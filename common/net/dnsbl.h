/* SPDX-License-Identifier: BSD-2-Clause */
/* DNS lists by address (RFC 5782).  Only configured return codes count;
 * 127.255.255.0/24, anything outside 127/8 and unknown codes are errors of the list,
 * never a listing. */
#ifndef POSTERN_NET_DNSBL_H
#define POSTERN_NET_DNSBL_H

#include <stddef.h>

#include "common/base/ip.h"
#include "common/net/resolver.h"

struct dnsbl {
	char *zone; /* "bl.example" */
	struct ipnet *codes; /* which answers count; n 0: 127.0.0.2 .. 127.0.0.255 */
	size_t n_codes;
	char *text; /* reply; %a address, %t the list's own TXT; NULL: standard text */
};

enum dnsbl_state {
	DNSBL_CLEAN,
	DNSBL_LISTED,
	DNSBL_UNKNOWN, /* no answer in time, or an error of the list: counts as not
			  listed */
};

struct dnsbl_result {
	enum dnsbl_state state;
	struct ip code; /* when LISTED: the answer that counted */
	char txt[256]; /* the list's own words, cleaned for a reply; "" when none */
};

/* Question name for a client on a list: "1.2.0.192.bl.example"; -1 when too long. */
int dnsbl_query(const struct dnsbl *list, const struct ip *client, char out[256]);

/* Pure: the A answer (NULL: none in time) and the TXT answer (may be NULL). */
struct dnsbl_result dnsbl_judge(
    const struct dnsbl *list, const struct dns_answer *a, const struct dns_answer *txt);

/* The words for a client that is listed, without reply codes. */
void dnsbl_text(const struct dnsbl *list, const struct ip *client,
    const struct dnsbl_result *result, char *out, size_t size);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* DNS lists (RFC 5782) by address or by name: the name to ask, what an answer means, the
 * words.  Only configured return codes count; 127.255.255.0/24, anything outside 127/8 and
 * unknown codes are errors of the list, never a listing.  Pure. */
#ifndef POSTERN_NET_DNSBL_H
#define POSTERN_NET_DNSBL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/conf.h"
#include "common/base/ip.h"
#include "common/net/dns_answer.h"

enum dnsbl_what { DNSBL_CLIENT = 1, DNSBL_HELO = 2, DNSBL_SENDER = 4 };

/* How far the test points of RFC 5782 5 and 7 are to be trusted. */
enum dnsbl_probe { DNSBL_PROBE_ON, DNSBL_PROBE_UNLISTED, DNSBL_PROBE_OFF };

/* One line `code NETWORK [weight N]`. */
struct dnsbl_code {
	struct ipnet net;
	bool weighted; /* else the list's weight */
	int64_t weight;
};
struct dnsbl_codes {
	struct dnsbl_code *list;
	size_t n;
};

/* As it stands in a configuration; strings are never NULL, but in what tests make. */
struct dnsbl {
	char *zone; /* "bl.example" */
	struct conf_nets codes; /* answers that count, with the list's weight */
	struct dnsbl_codes own; /* ... with their own; both empty: 127.0.0.2 .. 127.0.0.255 */
	struct dnsbl_weight {
		bool given; /* false: a listing refuses by itself */
		int64_t points; /* thousandths */
	} weight;
	bool allow; /* who stands here is welcome: points below zero */
	int what; /* enum dnsbl_what, together */
	bool ipv4, ipv6; /* ask about such clients */
	char *text; /* reply; %a address or name, %t the list's own words; "": standard */
	struct conf_strings servers; /* none: those of everything else */
	char *key_file; /* "" none */
	int64_t budget; /* questions a day; 0: as many as it takes */
	int64_t deadline_ms; /* 0: that of all lists */
	int probe; /* enum dnsbl_probe */
	bool observe;
};

#define DNSBL_KEY_MAX 63 /* one label of a name */

enum dnsbl_state {
	DNSBL_CLEAN,
	DNSBL_LISTED,
	DNSBL_UNKNOWN, /* no answer in time, or an error of the list: counts as not
			  listed */
};

struct dnsbl_result {
	enum dnsbl_state state;
	struct ip code; /* when LISTED: the answer that counted */
	bool refuses; /* when LISTED: by itself; else: */
	int64_t points; /* thousandths, below zero for `allow` */
	char txt[256]; /* the list's own words, cleaned for a reply; "" when none */
};

/* Question name for a client on a list: "1.2.0.192.bl.example", with a key (NULL and "":
 * none) "1.2.0.192.KEY.bl.example"; -1: too long, or no address. */
int dnsbl_query(const struct dnsbl *list, const struct ip *client, char out[256]);
int dnsbl_query_keyed(
    const struct dnsbl *list, const char *key, const struct ip *client, char out[256]);
/* For a domain: "d.example.bl.example"; -1: too long, or no domain that a list can know
 * (an address, one label). */
int dnsbl_query_name(
    const struct dnsbl *list, const char *key, struct str domain, char out[256]);

/* The test points: 127.0.0.2 or TEST, which must be listed, 127.0.0.1 or INVALID, which must
 * not; family AF_INET, AF_INET6 (as ::FFFF:7F00:2), 0 of a list of names.  RANDOM is a name
 * that no sane list has and nobody has asked for: deep in 127/8, or below INVALID. */
enum dnsbl_test { DNSBL_TEST_LISTED, DNSBL_TEST_UNLISTED, DNSBL_TEST_RANDOM };
int dnsbl_query_test(const struct dnsbl *list, const char *key, int family,
    enum dnsbl_test test, uint64_t random, char out[256]);

/* Whether a question for TXT is needed for the reply. */
bool dnsbl_wants_txt(const struct dnsbl *list);

/* The A answer (NULL: none in time) and the TXT answer (may be NULL).  Of several codes the
 * gravest counts: one that refuses, else the heaviest. */
struct dnsbl_result dnsbl_judge(
    const struct dnsbl *list, const struct dns_answer *a, const struct dns_answer *txt);

/* An answer about a test point.  TEST_LISTED: any code that is no error is a listing. */
enum dnsbl_state dnsbl_judge_test(
    const struct dnsbl *list, enum dnsbl_test test, const struct dns_answer *a);

/* The words for an address or domain that is listed, without reply codes.  key is taken out
 * of the list's own words; may be NULL. */
void dnsbl_text(const struct dnsbl *list, const char *key, const char *subject,
    const struct dnsbl_result *result, char *out, size_t size);

/* Why a key cannot stand in a name; NULL: it can. */
const char *dnsbl_key_wrong(struct str key);

#endif

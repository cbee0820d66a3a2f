/* SPDX-License-Identifier: BSD-2-Clause */
/* What a DNS answer says: records of the type that was asked, or the kind of failure.
 * An answer is immutable and reference-counted: the cache and many futures share it. */
#ifndef POSTERN_NET_DNS_ANSWER_H
#define POSTERN_NET_DNS_ANSWER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/base/ip.h"
#include "common/base/str.h"

enum dns_type {
	DNS_A = 1,
	DNS_NS = 2,
	DNS_CNAME = 5,
	DNS_SOA = 6,
	DNS_PTR = 12,
	DNS_MX = 15,
	DNS_TXT = 16,
	DNS_AAAA = 28,
};

enum dns_status {
	DNS_OK, /* at least one record */
	DNS_NODATA,
	DNS_NXDOMAIN,
	DNS_FAIL, /* SERVFAIL, REFUSED, malformed, no server reached */
	DNS_TIMEOUT,
	DNS_BADNAME, /* the question cannot be asked */
};

struct dns_record {
	struct ip ip; /* A, AAAA */
	uint16_t preference; /* MX */
	char *name; /* MX, PTR, NS, CNAME, SOA's server: lower case, no final dot; "" =
		       root */
	char *text; /* TXT: strings joined; may hold any octet but is NUL-terminated */
	size_t text_len;
};

#define DNS_RECORDS_MAX 100 /* of one answer; more are dropped */
#define DNS_ALIASES_MAX 16 /* CNAMEs in a row; more are a failure */

struct dns_answer {
	enum dns_status status;
	uint32_t ttl; /* seconds, when the answer came; of negative answers too */
	bool authentic; /* AD from a trusted resolver */
	/* clock_mono_us() when the question was sent, and the latest at which it can have
	 * been sent again; 0: never. */
	int64_t asked_us, asked_last_us;
	int64_t answered_us; /* ... when the answer came */
	struct dns_record *records;
	size_t n;
	atomic_uint refs; /* of answers made by dns_answer_new */
};

/* An answer without records, one reference. */
struct dns_answer *dns_answer_new(enum dns_status status);
struct dns_answer *dns_answer_ref(struct dns_answer *a);
void dns_answer_unref(struct dns_answer *a); /* accepts NULL */

/* Read a server's message.  name: lower case, as asked.  Aliases are followed within
 * the message; ttl is the least on the way, of a negative answer the SOA's (RFC 2308 5,
 * 0 without one).  Never NULL: what cannot be read is DNS_FAIL and err says why. */
struct dns_answer *dns_answer_parse(
    struct str msg, struct str name, enum dns_type type, struct err *err);

const char *dns_status_name(enum dns_status status);
/* "A", "MX", ...; "?" for what we never ask. */
const char *dns_type_name(enum dns_type type);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* The one DNS resolver of a process: a thread that owns c-ares channels, a cache with the
 * records' TTLs (negative answers by SOA, SERVFAIL for 5 s), coalescing of equal queries,
 * and an absolute deadline per question.  Answers are futures. */
#ifndef POSTERN_NET_RESOLVER_H
#define POSTERN_NET_RESOLVER_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/base/future.h"
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
	DNS_FAIL, /* SERVFAIL, REFUSED, malformed */
	DNS_TIMEOUT,
	DNS_BADNAME, /* the question cannot be asked */
};

struct dns_record {
	struct ip ip; /* A, AAAA */
	uint16_t preference; /* MX */
	char *name; /* MX, PTR, NS, CNAME: lower case, no final dot; "" = root */
	char *text; /* TXT: strings joined; may hold any octet but is NUL-terminated */
	size_t text_len;
};

#define DNS_RECORDS_MAX 100 /* of one answer; more are dropped */

struct dns_answer {
	enum dns_status status;
	uint32_t ttl; /* seconds */
	bool authentic; /* AD from a trusted resolver */
	struct dns_record *records;
	size_t n;
};

struct resolver;

struct resolver_conf {
	const char *const *servers; /* "192.0.2.53", "127.0.0.1:5353", "[::1]:53" */
	size_t n_servers; /* 0: those of /etc/resolv.conf */
	int64_t timeout_ms; /* for one try; default 2000 */
	int64_t deadline_ms; /* for a question with all tries; default 5000 */
	unsigned tries; /* default 2 */
	size_t cache_entries; /* default 50000 */
};

/* Starts the thread.  NULL: err says why. */
struct resolver *resolver_new(const struct resolver_conf *conf, struct err *err);
/* Ends the thread; open questions settle as DNS_TIMEOUT. */
void resolver_free(struct resolver *r);

/* Ask.  The future's value is a const struct dns_answer *, owned by the future.  Never
 * NULL; a name that cannot be asked settles at once as DNS_BADNAME. */
struct future *resolver_ask(struct resolver *r, struct str name, enum dns_type type);

const char *dns_status_name(enum dns_status status);

#endif

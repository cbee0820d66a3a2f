/* SPDX-License-Identifier: BSD-2-Clause */
/* Sender Policy Framework (RFC 7208): may this client use this sender's domain?  Asked
 * as a future; a small pool of threads evaluates, none of them ever waits for DNS: an
 * evaluation that lacks an answer is put aside until the resolver has it. */
#ifndef POSTERN_AUTH_SPF_H
#define POSTERN_AUTH_SPF_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/base/future.h"
#include "common/base/ip.h"
#include "common/net/resolver.h"

enum spf_result { /* RFC 7208 2.6 */
	SPF_NONE,
	SPF_NEUTRAL,
	SPF_PASS,
	SPF_FAIL,
	SPF_SOFTFAIL,
	SPF_TEMPERROR,
	SPF_PERMERROR,
};

/* "none", "neutral", ... as in RFC 8601 2.7.2. */
const char *spf_result_name(enum spf_result result);

struct spf_question { /* all strings borrowed for the call */
	struct ip client;
	const char *helo; /* as the client said it; "" when it said nothing */
	const char *sender; /* "user@domain", no brackets; "": HELO is checked */
	const char *receiver; /* our host name: macro r */
	int64_t now; /* seconds since the epoch: macro t */
};

#define SPF_TEXT_MAX 512 /* with NUL */
#define SPF_NAME_MAX 256 /* a domain name with NUL */

struct spf_answer {
	enum spf_result result;
	/* Does the pass say who the client is?  It came from ip4, ip6, a or mx,
	 * directly or by include and redirect, that covers at most a /16 (IPv6: /32),
	 * and no name on the way was built from what the client chose (macros other
	 * than d and o).  `all`, ptr and exists never do: a domain may say +all for
	 * everybody. */
	bool identity;
	bool helo; /* HELO was checked: the sender is null */
	bool explained; /* explanation holds the domain's own words (exp=) */
	unsigned lookups, voids; /* terms that asked DNS; those that found nothing */
	char domain[SPF_NAME_MAX]; /* that was checked; "" when malformed */
	/* The term that matched: in the domain's own record (or the one it redirects
	 * to), and within includes; "default" when none matched, "" without a record.
	 */
	char mechanism[SPF_NAME_MAX];
	char matched[SPF_NAME_MAX];
	char explanation[SPF_TEXT_MAX]; /* printable ASCII, for a reply; "" unless fail
					 */
	char problem[SPF_TEXT_MAX]; /* of temperror and permerror: what is wrong */
};

#define SPF_LOOKUPS_MAX 10 /* RFC 7208 4.6.4 */
#define SPF_VOIDS_MAX 2

struct spf;

/* Starts the threads (0: 2).  The resolver is borrowed until spf_free.  NULL: err says
 * why. */
struct spf *spf_new(struct resolver *resolver, unsigned threads, struct err *err);
/* Nobody may ask any more.  Open questions settle as temperror; waits for what the
 * resolver still has to settle.  Before resolver_free.  Accepts NULL. */
void spf_free(struct spf *pool);

/* Ask.  The future's value is a const struct spf_answer *, owned by the future, never
 * NULL.  An evaluation that is not through at deadline_ms (monotonic) is temperror; it
 * settles when its last DNS question does, so wait with the same deadline.  Too many
 * open evaluations: temperror at once. */
struct future *spf_ask(
    struct spf *pool, const struct spf_question *question, int64_t deadline_ms);

#define SPF_OPEN_MAX 4000 /* evaluations open at once */

/* The answer where there is no evaluation: temperror for that reason. */
void spf_answer_temperror(
    struct spf_answer *out, const struct spf_question *question, const char *problem);

#endif

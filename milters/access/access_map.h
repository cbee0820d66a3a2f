/* SPDX-License-Identifier: BSD-2-Clause */
/* sendmail's access map: what its entries decide about a client, a sender and a
 * recipient. Pure: facts, a lookup and the answers of DNS go in, a result comes out;
 * the same engine serves the daemon, `posternctl test access`, unit tests and the
 * fuzzer.
 *
 * The words: R, w, m, j are sendmail's classes and macros - relay domains, local host
 * names, own domain, own full name.  A search asks the tagged key ("From:d.example")
 * and, where the tag allows it, the same key bare. */
#ifndef POSTERN_ACCESS_MAP_H
#define POSTERN_ACCESS_MAP_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/ip.h"
#include "common/base/str.h"
#include "common/base/verdict.h"
#include "milters/access/access_addr.h"

#define ACCESS_KEY_MAX                                                                 \
	1100 /* tag, local part, domain and NUL; longer keys match nothing */

/* What a map says to a key.  All borrowed from the map's snapshot. */
struct access_entry {
	struct str value;
	const char *file; /* NULL: not from a file */
	int line;
	struct str note; /* what people noted about the entry */
	bool failed; /* the map could not be asked: value is what to say then */
};
/* Exact key, any case; the first of several maps that has it wins.  A map that cannot be
 * asked is an entry, too: one that has failed, and refuses for now. */
typedef bool access_lookup(void *arg, struct str key, struct access_entry *out);
/* The entry for the network of ip's first `bits` bits, under that tag ("Connect:", or ""). */
typedef bool access_lookup_net(void *arg, struct str tag, const struct ip *ip,
    unsigned bits, struct access_entry *out);

enum access_delay_mode { /* FEATURE(delay_checks) */
	ACCESS_AT_ONCE,
	ACCESS_DELAYED,
	ACCESS_DELAYED_FRIEND, /* who has Spam: FRIEND is spared */
	ACCESS_DELAYED_HATER, /* only who has Spam: HATER is served */
};

enum access_uucp { ACCESS_UUCP, ACCESS_UUCP_REJECT, ACCESS_UUCP_NOSPECIAL };

/* What sendmail's configuration says about its map; false is sendmail's default. */
struct access_rules {
	enum access_delay_mode delay;
	bool delay_new_words; /* second argument `n': SPAMFRIEND is not known in To: */
	bool skip; /* access_db knows SKIP */
	bool lookup_dot; /* lookupdotdomain */
	bool full_address; /* relaytofulladdress */
	bool blocklist_recipients;
	bool accept_unresolvable; /* senders' domains are not asked of DNS */
	bool accept_unqualified;
	bool use_client_ptr;
	bool require_rdns;
	bool bad_helo; /* block_bad_helo */
	/* Relaying: off in the milter, which refuses but never grants (promiscuous). */
	bool promiscuous;
	bool hosts_only, entire_domain, loose, local_from, mail_from, mail_from_domain;
	enum access_uucp uucp;
	bool no_percent; /* nopercenthack, `reject' */
	const char
	    *reject_text; /* confREJECT_MSG, "550 5.7.1 Access denied"; may be NULL */
	struct access_classes classes;
};

enum access_resolve { /* {client_resolve} */
	ACCESS_RESOLVE_OK,
	ACCESS_RESOLVE_FAIL,
	ACCESS_RESOLVE_TEMP,
	ACCESS_RESOLVE_FORGED,
};

struct access_client {
	const char *
	    addr; /* {client_addr}: "10.1.2.3", "IPv6:2001:db8:0:0:0:0:0:5"; "" local */
	const char *name; /* {client_name}: confirmed name, or "[10.1.2.3]" */
	const char *ptr; /* {client_ptr}: what DNS says, confirmed or not */
	enum access_resolve resolve;
	const char *helo;
	bool authenticated; /* delay_checks judges only the recipient then */
};

/* What DNS says of the sender's domain. */
enum access_domain { ACCESS_DOMAIN_OK, ACCESS_DOMAIN_NONE, ACCESS_DOMAIN_TEMP };

enum access_kind {
	ACCESS_NONE, /* nothing was said */
	ACCESS_OK, /* OK or RELAY was said: later checks may be spared */
	ACCESS_REFUSED, /* verdict: the reply */
	ACCESS_DISCARD,
	ACCESS_QUARANTINE, /* verdict.text: the reason */
};

/* Which of sendmail's checks spoke. */
enum access_check { ACCESS_CHECK_RELAY, ACCESS_CHECK_MAIL, ACCESS_CHECK_RCPT };

struct access_result {
	enum access_kind kind;
	enum access_check check;
	bool relay_denied; /* refused because nothing lets this client relay */
	struct verdict verdict;
	char key[ACCESS_KEY_MAX]; /* the entry that decided, as asked; "" = none */
	const char *file; /* where it stands; borrowed from the map; may be NULL */
	int line;
	struct str note; /* of that entry; borrowed likewise */
};

/* What the DNS lists said of the client: the adapter asked them. */
struct access_dnsbl {
	enum access_kind kind; /* NONE: clean, or not asked */
	struct verdict verdict;
};

/* Everything that one transaction's checks see. */
struct access {
	const struct access_rules *rules;
	access_lookup *lookup;
	access_lookup_net *lookup_net; /* NULL: keys are no networks */
	void *lookup_arg;
	struct access_client client;
	const struct access_dnsbl *dnsbl; /* NULL: none */
	bool have_sender; /* after MAIL */
	struct access_addr sender;
	enum access_domain sender_domain;
};

/* Do the lists have a say?  false when a Connect: entry settles it. */
bool access_want_dnsbl(const struct access *a);
/* Does the answer for this recipient (delay_checks) depend on the lists? */
bool access_needs_dnsbl(const struct access *a, const struct access_addr *rcpt);
/* Must DNS be asked about the sender's domain? */
bool access_want_sender_domain(const struct access *a);

/* sendmail's three checks, each alone. */
struct access_result access_check_relay(const struct access *a);
struct access_result access_check_mail(const struct access *a, bool delayed);
struct access_result access_check_rcpt(
    const struct access *a, const struct access_addr *rcpt);
/* All that delay_checks looks at when a recipient comes, in its order. */
struct access_result access_check_delayed(
    const struct access *a, const struct access_addr *rcpt);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* Block `access`.  Strings are never NULL: "" where nothing is set. */
#ifndef POSTERN_POLICY_SETTINGS_ACCESS_H
#define POSTERN_POLICY_SETTINGS_ACCESS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/conf.h"
#include "common/net/dnsbl.h"
#include "policy/settings_outcome.h"
#include "db/map_ldap.h"
#include "policy/settings_limits.h"

/* delay_checks of sendmail: off, on, on with friends, on with haters. */
enum access_delay { ACCESS_DELAY_OFF, ACCESS_DELAY_ON, ACCESS_DELAY_FRIEND,
	ACCESS_DELAY_HATER };

/* When the checks' refusals are given; the map's own follow delay_checks. */
enum access_refuse { ACCESS_REFUSE_CONNECT, ACCESS_REFUSE_MAIL, ACCESS_REFUSE_RCPT };

/* Up to which result SPF refuses. */
enum access_spf { ACCESS_SPF_OFF, ACCESS_SPF_MARK, ACCESS_SPF_FAIL, ACCESS_SPF_SOFTFAIL };
enum access_spf_temperror { ACCESS_SPF_TEMPERROR_PASS, ACCESS_SPF_TEMPERROR_TEMPFAIL };
enum access_spf_permerror { ACCESS_SPF_PERMERROR_PASS, ACCESS_SPF_PERMERROR_REJECT };

struct settings_access { /* block `access` */
	char *socket;
	int64_t socket_mode;
	char *socket_group;
	char *metrics;
	struct conf_strings maps; /* db/map_set.h; the first that has the key wins */
	bool extensions; /* networks as keys, "#:" lines */
	struct access_ldaps { /* repeated: ldap "name" { uri ...; base ...; } */
		struct map_ldap_conf *list;
		size_t n;
	} ldaps;
	int delay_checks; /* enum access_delay */
	bool blocklist_recipients;
	bool log_envelopes; /* a line for each recipient, for a replay */
	/* All checks. */
	int refuse; /* enum access_refuse */
	int64_t reject_points; /* thousandths; 0: points alone never refuse */
	bool check_authenticated, check_local; /* false: they are spared */
	bool reach_postmaster; /* mail to postmaster and abuse is spared */
	struct conf_strings observe; /* names of checks that only watch */
	struct access_dnsbls { /* repeated: dnsbl "zone" { ... }; rows: settings_dnsbl.c */
		struct dnsbl *list;
		size_t n;
	} dnsbl_lists;
	bool dnsbl; /* ask the lists at all: policies turn it off per client */
	int64_t dnsbl_deadline_ms;
	int64_t dnsbl_probe; /* seconds between looks at the lists' test points; 0: none */
	/* Of a client's name, its HELO, its sender: what follows where ... */
	struct outcome client_no_name; /* ... DNS has no name for the address */
	struct outcome client_forged; /* ... the name has not this address */
	struct outcome client_generic; /* ... the name is made of the address */
	struct outcome helo_syntax; /* ... it is neither a name nor an address literal */
	struct outcome helo_unqualified; /* ... it is one label */
	struct outcome helo_forged; /* ... it is our own */
	struct outcome sender_unqualified; /* ... it has no domain */
	struct outcome sender_unresolvable; /* ... its domain takes no mail: no MX, A, AAAA */
	struct outcome sender_temperror; /* ... DNS does not say */
	struct outcome sender_null_mx; /* ... its domain says that it takes none (RFC 7505) */
	struct outcome sender_private_mx; /* ... only private hosts take its mail */
	int64_t sender_deadline_ms; /* for names of clients as well */
	struct conf_strings own_names; /* names and addresses that nobody else has */
	int64_t greeting_pause_ms;
	/* SPF, and the fields that tell of it. */
	int spf, spf_temperror, spf_permerror; /* the enums above */
	int64_t spf_fail_points, spf_softfail_points, spf_permerror_points;
	int64_t spf_deadline_ms;
	bool auth_results, received_spf; /* write them */
	char *authserv_id; /* our name in them; "": run.host */
	struct access_rates rates; /* repeated: rate "name" { } */
	bool rate;
	struct access_penalties penalties; /* repeated: penalty harvest { } */
	bool penalty;
	struct access_recipient_sets recipient_sets; /* repeated: recipients "name" { } */
	bool recipients;
};

#define MAP_LDAPS_MAX 16
#define ACCESS_DNSBLS_MAX 32 /* each is a question per connection */

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* Block `access`.  Strings are never NULL: "" where nothing is set. */
#ifndef POSTERN_POLICY_SETTINGS_ACCESS_H
#define POSTERN_POLICY_SETTINGS_ACCESS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/conf.h"
#include "common/net/dnsbl.h"

/* delay_checks of sendmail: off, on, on with friends, on with haters. */
enum access_delay { ACCESS_DELAY_OFF, ACCESS_DELAY_ON, ACCESS_DELAY_FRIEND,
	ACCESS_DELAY_HATER };

/* When the checks' refusals are given; the map's own follow delay_checks. */
enum access_refuse { ACCESS_REFUSE_CONNECT, ACCESS_REFUSE_MAIL, ACCESS_REFUSE_RCPT };

struct settings_access { /* block `access` */
	char *socket;
	int64_t socket_mode;
	char *socket_group;
	char *metrics;
	struct conf_strings maps; /* files in order; the first that has the key wins */
	int delay_checks; /* enum access_delay */
	bool blocklist_recipients;
	/* All checks. */
	int refuse; /* enum access_refuse */
	int64_t reject_points; /* thousandths; 0: points alone never refuse */
	bool check_authenticated, check_local; /* false: they are spared */
	bool reach_postmaster; /* mail to postmaster and abuse is spared */
	struct conf_strings observe; /* names of checks that only watch */
	struct access_dnsbls { /* repeated: dnsbl "zone" { codes ...; text "..."; } */
		struct dnsbl *list;
		size_t n;
	} dnsbl_lists;
	bool dnsbl; /* ask the lists at all: policies turn it off per client */
	int64_t dnsbl_deadline_ms;
};

#define ACCESS_DNSBLS_MAX 32 /* each is a question per connection */

#endif

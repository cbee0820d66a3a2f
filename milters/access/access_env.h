/* SPDX-License-Identifier: BSD-2-Clause */
/* A folder of recorded decisions as a world for the engine: tables, classes, a DNS,
 * maps. Reads nothing outside the folder.  For `posternctl test access` and the unit
 * tests. */
#ifndef POSTERN_ACCESS_ENV_H
#define POSTERN_ACCESS_ENV_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/err.h"
#include "milters/access/access_map.h"

/* What DNS knows of a name. */
enum access_env_dns { ACCESS_ENV_NONE, ACCESS_ENV_FOUND, ACCESS_ENV_TEMP };

struct access_env;
struct access_env *access_env_read(const char *dir, struct err *err);
void access_env_free(struct access_env *e);

/* The rules of a variant (delay_checks mode and m4 features) with the folder's classes;
 * borrowed from e.  NULL: no such variant. */
struct access_variant {
	char *name;
	struct access_rules rules;
	char *reject_text; /* owned */
	char *dnsbl_zone; /* NULL: none */
	char *dnsbl_action; /* "", "quarantine", "discard" or a text */
	bool dnsbl_temp; /* trouble in DNS refuses for a while */
	bool dnsbl_enhanced;
	char *dnsbl_code; /* with enhanced: the answer that counts */
	bool compressed; /* addresses with "::" */
	long greet_pause; /* ms without an entry */
};
const struct access_variant *access_env_variant(
    const struct access_env *e, const char *name);

/* A record of that type ("A", "AAAA", "MX", "PTR"; NULL: A, AAAA or MX), aliases
 * followed; *value (may be NULL) is the first. */
enum access_env_dns access_env_find(
    const struct access_env *e, const char *name, const char *type, const char **value);

/* Name and resolution of a client, as sendmail finds them; addr in plain text.  The
 * strings lie in out. */
struct access_env_client {
	char addr[64], name[300], ptr[300];
	enum access_resolve resolve;
};
void access_env_client(const struct access_env *e, const struct access_variant *v,
    const char *addr, struct access_env_client *out);
/* What the variant's DNS list says of the client. */
struct access_dnsbl access_env_dnsbl(const struct access_env *e,
    const struct access_variant *v, const char *addr, const char *shown);
/* What DNS says of a sender's domain or literal. */
enum access_domain access_env_domain(const struct access_env *e, const char *domain);

#endif

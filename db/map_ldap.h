/* SPDX-License-Identifier: BSD-2-Clause */
/* A map in a directory, by sendmail's schema: entries of class sendmailMTAMapObject with
 * sendmailMTAKey and sendmailMTAMapValue, for one cluster or host.  Keys are asked for
 * when they are needed, many in one question, by a few threads that own a connection
 * each; answers, also "there is none", are kept for a while.  As with sendmail's `-1` a
 * key with several values is as good as none. */
#ifndef POSTERN_DB_MAP_LDAP_H
#define POSTERN_DB_MAP_LDAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/base/future.h"
#include "common/base/str.h"

#define MAP_LDAP_KEYS_MAX 512 /* in one question */

struct map_ldap_conf {
	char *name; /* as maps and logs name it */
	char *uri; /* "ldap://127.0.0.1:389"; several, separated by blanks */
	char *base;
	char *bind_dn, *password_file; /* "": anonymous */
	char *cluster, *host; /* sendmailMTACluster, sendmailMTAHost; "" is not asked for */
	char *map_name; /* sendmailMTAMapName */
	int64_t timeout_ms; /* from the question to its answer */
	int64_t keep, keep_none; /* seconds that answers are kept */
	int64_t cache_entries;
	int64_t connections;
};

struct map_ldap;
/* Starts the threads; servers that are away are no error here.  conf is copied.  NULL: the
 * password cannot be read, or no thread can be had. */
struct map_ldap *map_ldap_open(const struct map_ldap_conf *conf, struct err *err);
/* Questions that are under way are answered as failed.  Accepts NULL. */
void map_ldap_close(struct map_ldap *l);

enum map_ldap_known { MAP_LDAP_UNKNOWN, MAP_LDAP_NONE, MAP_LDAP_FOUND };
/* What is kept of this key.  FOUND: *value is malloc'd for the caller. */
enum map_ldap_known map_ldap_cached(struct map_ldap *l, struct str key, char **value);

struct map_ldap_pair {
	char *key; /* lower case */
	char *value; /* NULL: there is none */
};
struct map_ldap_answer {
	bool failed; /* no pairs then; the reason was logged */
	size_t n;
	struct map_ldap_pair *pairs; /* in the order of the question */
};
/* Ask for these keys, at most MAP_LDAP_KEYS_MAX.  Value: struct map_ldap_answer. */
struct future *map_ldap_ask(struct map_ldap *l, const struct str *keys, size_t n);
/* Milliseconds after which an answer is not worth waiting for. */
int64_t map_ldap_timeout_ms(const struct map_ldap *l);

/* The filter for these keys (RFC 4515; what is special in a key is escaped), malloc'd. */
char *map_ldap_filter(
    const struct map_ldap_conf *conf, const struct str *keys, size_t n);

#endif

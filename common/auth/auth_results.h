/* SPDX-License-Identifier: BSD-2-Clause */
/* The Authentication-Results field (RFC 8601): reading one, and telling one that bears
 * our name from others'.  Pure. */
#ifndef POSTERN_AUTH_AUTH_RESULTS_H
#define POSTERN_AUTH_AUTH_RESULTS_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/err.h"
#include "common/base/str.h"

#define AUTH_RESULTS_MAX 64 /* results of one field; more are an error */
#define AUTH_PROPERTIES_MAX 32 /* of one result */
#define AUTH_COMMENT_DEPTH 16 /* comments within comments */

struct auth_property {
	char *type, *name; /* "smtp", "mailfrom"; lower case */
	char *value; /* without quotes */
};

struct auth_result {
	char *method, *result; /* "spf", "pass"; lower case */
	unsigned version; /* of the method; 1 when not told */
	char *reason; /* NULL: none */
	struct auth_property *properties;
	size_t n;
};

struct auth_results {
	char *id; /* authserv-id, without quotes, as written */
	unsigned version; /* 1 when not told */
	struct auth_result *list; /* none: "none" was said, or nothing */
	size_t n;
};

/* value: the field's, folds as they are.  -1: err says what is wrong.  Clear it in
 * either case. */
int auth_results_parse(struct str value, struct auth_results *out, struct err *err);
void auth_results_clear(struct auth_results *r);
/* The value of a result's property; NULL: none. */
const char *auth_result_property(
    const struct auth_result *r, const char *type, const char *name);

/* Does a field claim to be written by id (RFC 8601 5)?  Read as loosely as any reader
 * might: comments, quotes, case, a final dot, words that comments part.  A field
 * without a name that can be told counts as claimed: nobody can say whose it is. */
bool auth_results_claims(struct str value, const char *id);

/* The same for Received-SPF (RFC 7208 9.1): the receiver key, or the name that the
 * first comment opens with. */
bool received_spf_claims(struct str value, const char *id);

#endif

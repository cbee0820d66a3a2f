/* SPDX-License-Identifier: BSD-2-Clause */
/* Scenarios of SPF tests in YAML, as the published suite for RFC 7208 has them: per
 * document a description, the tests, and the DNS zone that they see. */
#ifndef POSTERN_CTL_SPF_SUITE_H
#define POSTERN_CTL_SPF_SUITE_H

#include <stdio.h>

#include "common/base/err.h"
#include "common/base/str.h"
#include "common/net/dns_answer.h"

struct spf_suite; /* a file that is being read */

struct spf_case { /* borrowed until the next scenario; "" where nothing is said */
	const char *name, *helo, *host, *mailfrom;
};

/* in: borrowed until the suite is freed.  file: for errors. */
struct spf_suite *spf_suite_new(FILE *in, const char *file);
void spf_suite_free(struct spf_suite *s);

/* The next scenario.  1: there is one; 0: end of file; -1: err says file, line, fault.
 */
int spf_suite_next(struct spf_suite *s, struct err *err);
const char *spf_suite_scenario(const struct spf_suite *s);
/* Test number i of the scenario; false: no more. */
bool spf_suite_case(const struct spf_suite *s, size_t i, struct spf_case *out);

/* What the scenario's zone answers; a reference.  Never NULL. */
struct dns_answer *spf_suite_lookup(
    const struct spf_suite *s, struct str name, enum dns_type type);

#endif

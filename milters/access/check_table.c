/* SPDX-License-Identifier: BSD-2-Clause */
/* Every kind of check: a row here is all that makes it one. */
#include "milters/access/check_table.h"

#include <assert.h>

#include "milters/access/check_dnsbl.h"
#include "milters/access/check_spf.h"

const struct check_ops *const check_table[] = {
	&check_dnsbl,
	&check_spf,
};

const size_t check_table_n = sizeof(check_table) / sizeof(check_table[0]);

static_assert(sizeof(check_table) / sizeof(check_table[0]) <= CHECKS_MAX, "CHECKS_MAX");

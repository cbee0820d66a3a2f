/* SPDX-License-Identifier: BSD-2-Clause */
/* Rates and concurrency as checks: `rate "name" { }` of the settings, and the access
 * map's ClientRate: and ClientConn:. */
#ifndef POSTERN_ACCESS_CHECK_RATE_H
#define POSTERN_ACCESS_CHECK_RATE_H

#include "milters/access/check.h"

extern const struct check_ops check_rate, check_client_rate;

#endif

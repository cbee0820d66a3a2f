/* SPDX-License-Identifier: BSD-2-Clause */
/* All kinds of checks of the daemon. */
#ifndef POSTERN_ACCESS_CHECK_TABLE_H
#define POSTERN_ACCESS_CHECK_TABLE_H

#include "milters/access/check.h"

/* The order is that of findings of equal weight. */
extern const struct check_ops *const check_table[];
extern const size_t check_table_n;

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* The check of the HELO name: its form, and whether it is ours. */
#ifndef POSTERN_ACCESS_CHECK_HELO_H
#define POSTERN_ACCESS_CHECK_HELO_H

#include "milters/access/check.h"

extern const struct check_ops check_helo;

#endif

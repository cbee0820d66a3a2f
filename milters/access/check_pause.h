/* SPDX-License-Identifier: BSD-2-Clause */
/* The pause before the greeting. */
#ifndef POSTERN_ACCESS_CHECK_PAUSE_H
#define POSTERN_ACCESS_CHECK_PAUSE_H

#include "milters/access/check.h"

extern const struct check_ops check_pause;

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* The check of the sender's policy (SPF), and the fields that tell later readers what
 * it came to. */
#ifndef POSTERN_ACCESS_CHECK_SPF_H
#define POSTERN_ACCESS_CHECK_SPF_H

#include "milters/access/check.h"

extern const struct check_ops check_spf;

#endif

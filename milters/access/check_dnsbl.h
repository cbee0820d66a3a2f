/* SPDX-License-Identifier: BSD-2-Clause */
/* The check of DNS lists, by the client's address. */
#ifndef POSTERN_ACCESS_CHECK_DNSBL_H
#define POSTERN_ACCESS_CHECK_DNSBL_H

#include "milters/access/check.h"

extern const struct check_ops check_dnsbl;

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* The check of DNS lists: by the client's address, by its HELO name, by the sender's
 * domain.  A thread looks at the lists' test points. */
#ifndef POSTERN_ACCESS_CHECK_DNSBL_H
#define POSTERN_ACCESS_CHECK_DNSBL_H

#include "milters/access/check.h"

extern const struct check_ops check_dnsbl;

#endif

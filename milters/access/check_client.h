/* SPDX-License-Identifier: BSD-2-Clause */
/* The check of the client's name: that there is one, that it has the client's address, that
 * it is not made of it. */
#ifndef POSTERN_ACCESS_CHECK_CLIENT_H
#define POSTERN_ACCESS_CHECK_CLIENT_H

#include "milters/access/check.h"

extern const struct check_ops check_client;

#endif

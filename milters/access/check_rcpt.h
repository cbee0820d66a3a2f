/* SPDX-License-Identifier: BSD-2-Clause */
/* Recipients as a check: `recipients "name" { }`.  Mail to nobody is refused at RCPT,
 * so that no bounce is ever made of it. */
#ifndef POSTERN_ACCESS_CHECK_RCPT_H
#define POSTERN_ACCESS_CHECK_RCPT_H

#include "milters/access/check.h"

extern const struct check_ops check_recipient;

#endif

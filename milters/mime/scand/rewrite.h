/* SPDX-License-Identifier: BSD-2-Clause */
/* A message without some of its parts: each is replaced by a plain text that says what was
 * there and why it is gone; every other octet stays as it was. */
#ifndef POSTERN_MIME_SCAND_REWRITE_H
#define POSTERN_MIME_SCAND_REWRITE_H

#include "common/base/err.h"
#include "common/base/str.h"

/* request: pairs of u32 part index (of the plain view) and a text with a u16 length,
 * ascending by index.  The new body (what stands behind the message's header section) is
 * written to fd.  -1: err. */
int rewrite_message(struct str request, struct str message, int fd, struct err *err);

#endif

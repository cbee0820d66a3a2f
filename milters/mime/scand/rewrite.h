/* SPDX-License-Identifier: BSD-2-Clause */
/* A message without some of its parts: each is replaced by a plain text that says what was
 * there and why it is gone; every other octet stays as it was. */
#ifndef POSTERN_MIME_SCAND_REWRITE_H
#define POSTERN_MIME_SCAND_REWRITE_H

#include "common/base/buf.h"
#include "common/base/err.h"
#include "common/base/str.h"

/* request: pairs of u32 part index (of the plain view) and a text with a u16 length,
 * ascending by index.  out gets the new message; its body begins at *body.  When part 0,
 * all of it, is replaced, the header section in out has the content fields of the text
 * only: the caller changes those of the message to REWRITE_TYPE and REWRITE_ENCODING.
 * -1: err. */
#define REWRITE_TYPE "text/plain; charset=utf-8"
#define REWRITE_ENCODING "8bit"
int rewrite_message(struct str request, struct str message, struct buf *out, size_t *body,
    struct err *err);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* Text in any charset to UTF-8, in the way that spam rules expect: octets that are valid
 * UTF-8 are UTF-8 whatever was declared, then the declared charset, then windows-1252.
 * Not thread-safe: used in the jail's single-threaded workers and in tools; the handles
 * are opened beforehand because a jailed worker opens no files. */
#ifndef POSTERN_MAIL_CHARSET_H
#define POSTERN_MAIL_CHARSET_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/str.h"

/* Open a converter for every charset that mail uses.  Returns how many there are. */
size_t charset_preload(void);

/* Append in as valid UTF-8.  label "": none declared.  Octets that mean nothing in the
 * charset become U+FFFD.  false: out's maximum was reached. */
bool charset_to_utf8(struct str in, struct str label, struct buf *out);

bool utf8_valid(struct str s);
/* Append a code point (surrogates and values beyond U+10FFFF as U+FFFD). */
int utf8_add(struct buf *out, uint32_t c);
/* The code point at *at, moved behind it; malformed octets count as U+FFFD one by one. */
uint32_t utf8_next(struct str s, size_t *at);

#endif

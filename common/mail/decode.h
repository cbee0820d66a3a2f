/* SPDX-License-Identifier: BSD-2-Clause */
/* Content transfer encodings (RFC 2045 6, RFC 4648) and encoded words (RFC 2047, 2231).
 * Decoders never fail on hostile input: they return the octets that a reader would get,
 * in the way that `mode` says, and flag what was not canonical. */
#ifndef POSTERN_MAIL_DECODE_H
#define POSTERN_MAIL_DECODE_H

#include <stdbool.h>

#include "common/base/buf.h"
#include "common/base/str.h"

/* Readers disagree about base64 behind a '=': some stop, some go on with what follows. */
enum decode_mode {
	DECODE_STOP, /* the first padding ends the data */
	DECODE_RESYNC, /* padding ends a segment; the next begins on a fresh quantum */
};

/* What was found on the way; bits. */
#define DECODED_JUNK 0x1u /* octets outside the alphabet, beside line ends */
#define DECODED_AFTER_PAD 0x2u /* data behind padding */
#define DECODED_TRUNCATED 0x4u /* an incomplete last quantum */
#define DECODED_BAD_ESCAPE 0x8u /* '=' not followed by two hex digits or a line end */
#define DECODED_URLSAFE 0x10u /* '-' or '_' taken as '+' and '/' */
#define DECODED_FULL 0x20u /* out's maximum was reached: the rest is missing */

/* Append the decoded octets to out.  Returns DECODED_* bits. */
unsigned decode_base64(struct str in, enum decode_mode mode, struct buf *out);
unsigned decode_qp(struct str in, struct buf *out);
/* The same as readers do who join the lines first and leave out what is no escape. */
unsigned decode_qp_loose(struct str in, struct buf *out);
/* Blocks in a text: uuencode "begin 644 name" ... "end", its kin "begin-base64 644 name"
 * ... "====", and yEnc "=ybegin ... name=name" ... "=yend".  *at: where to look from; moved behind the
 * block.  false: no further block.  name borrows from in. */
bool decode_uu_next(struct str in, size_t *at, struct str *name, struct buf *out);

/* One encoded word "=?charset?B?text?=" at the front of in.  *used: its length; the
 * decoded octets go to out, charset borrows (an RFC 2231 "*language" is cut off). */
bool decode_word(struct str in, size_t *used, struct str *charset, struct buf *out);
/* %XX escapes of RFC 2231 extended values. */
void decode_percent(struct str in, struct buf *out);

#endif

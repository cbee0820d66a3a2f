/* SPDX-License-Identifier: BSD-2-Clause */
/* The text that follows DATA (RFC 5321 4.1.1.4, 4.5.2): taking it off the wire and
 * putting it on.  Data ends at CR LF '.' CR LF and nowhere else; the CR LF of the DATA
 * command counts as the first of them, so ".CRLF" at once is an empty message.  What
 * looks like a line end to some other server (bare LF, bare CR, NUL between) is
 * reported, never taken for one: reading those two ways is how a second message is
 * smuggled in. */
#ifndef POSTERN_MAIL_SMTP_DATA_H
#define POSTERN_MAIL_SMTP_DATA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/base/str.h"

enum smtp_data_state {
	SMTP_DATA_LINE_START,
	SMTP_DATA_LINE,
	SMTP_DATA_CR, /* a CR within a line */
	SMTP_DATA_DOT, /* a dot that opened the line; not given out */
	SMTP_DATA_DOT_CR, /* and a CR behind it, not given out yet */
	SMTP_DATA_END,
};

/* Decoder; storage of the caller.  All but state and line may be read at any time. */
struct smtp_data {
	enum smtp_data_state state;
	uint64_t
	    octets; /* given out: unstuffed, CRLF line ends counted, end mark not */
	uint64_t line; /* octets of the line under way */
	uint64_t longest; /* octets of the longest line, without its CRLF */
	bool bare_cr; /* a CR that no LF follows */
	bool bare_lf; /* an LF that no CR precedes */
	bool nul;
	bool eight_bit; /* an octet over 127 */
};

void smtp_data_init(struct smtp_data *d);

/* Decode a fragment of any size.  out: room for in.len + 1 octets (a CR may have been
 * held back); *n = octets written there.  *used = octets eaten.  MORE: all was eaten.
 * DONE: the end mark was eaten, what follows in `in` are commands.  Never ERROR; not to
 * be called again after DONE. */
enum parse smtp_data_decode(
    struct smtp_data *d, struct str in, size_t *used, char *out, size_t *n);

/* Encoder; storage of the caller. */
struct smtp_data_out {
	enum smtp_data_state state;
	bool bare_cr, bare_lf, nul; /* found in what was to be sent: do not finish */
};

void smtp_data_out_init(struct smtp_data_out *d);

/* Stuff a fragment of any size.  out: room for 2 * in.len octets.  Returns the octets
 * written there.  Only lines (behind CRLF) are stuffed, so every octet arrives as it
 * is; with bare CR, bare LF or NUL the flags tell, and the caller drops the link. */
size_t smtp_data_encode(struct smtp_data_out *d, struct str in, char *out);

#define SMTP_DATA_END_MAX 5
/* The end mark, with a CRLF in front when the last line has none (a final CR becomes
 * the one of that CRLF).  Returns its length. */
size_t smtp_data_encode_end(struct smtp_data_out *d, char out[SMTP_DATA_END_MAX]);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* SMTP replies (RFC 5321 4.2): reading those of others, writing ours. */
#ifndef POSTERN_MAIL_SMTP_REPLY_H
#define POSTERN_MAIL_SMTP_REPLY_H

#include <stdbool.h>

#include "common/base/buf.h"
#include "common/base/err.h"
#include "common/base/str.h"

#define SMTP_REPLY_LINE_MAX 2048 /* octets with CRLF that we bear; RFC 5321: 512 */
#define SMTP_REPLY_LINES_MAX 128

struct smtp_reply_line {
	int code; /* 200..559 */
	bool last;
	struct str text; /* behind "250 "; borrows from the input */
};

/* One line.  in: borrowed, any fragment of the stream.  DONE: *used = octets eaten with
 * the line end.  MORE: call again with more.  ERROR: err says why; drop the link. */
enum parse smtp_reply_line(
    struct str in, struct smtp_reply_line *line, size_t *used, struct err *err);

/* A whole reply, line by line. */
struct smtp_reply {
	int code;
	size_t n_lines;
	struct buf text; /* lines joined with LF, at most 8 kB; more is cut */
};
void smtp_reply_init(struct smtp_reply *r);
void smtp_reply_clear(struct smtp_reply *r);
/* Feed octets.  *used = octets eaten, whatever is returned: MORE eats whole lines, so
 * feed the rest again with more behind it.  DONE: the reply is whole; clear (or init)
 * before the next one.  ERROR: codes differ between lines, more than
 * SMTP_REPLY_LINES_MAX lines, or a line that smtp_reply_line() refuses. */
enum parse smtp_reply_feed(
    struct smtp_reply *r, struct str in, size_t *used, struct err *err);

/* "5.7.1" at the front of the text: RFC 3463 code of the class of `code`.  false: none.
 */
bool smtp_reply_enhanced(
    int code, struct str text, struct str *enhanced, struct str *rest);

/* Write a reply: text may have several lines (LF or CRLF between); every line gets the
 * code and, when not "", the enhanced code.  Lines longer than RFC 5321 4.5.3.1.5
 * allows are cut at a blank; at most SMTP_REPLY_LINES_MAX lines go out.  Octets outside
 * printable ASCII become '?'.  out may be too small: out->failed then. */
void smtp_reply_write(struct buf *out, int code, const char *enhanced, struct str text);

#endif

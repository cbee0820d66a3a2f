/* SPDX-License-Identifier: BSD-2-Clause */
/* A message as text, in the three shapes that spam rules look at (SpamAssassin 4's words):
 *
 *   body     the Subject as first line, then what a reader sees of all text parts, in
 *            UTF-8, HTML rendered, blanks squeezed, one paragraph a line
 *   rawbody  decoded text parts, HTML untouched
 *   uris     links out of text and HTML, each once, with its plain decoded form
 *
 * Everything is bounded; what is cut is told. */
#ifndef POSTERN_MAIL_RENDER_H
#define POSTERN_MAIL_RENDER_H

#include "common/base/buf.h"
#include "common/mail/mime.h"

#define RENDER_PART_MAX 50000 /* octets of rendered text of one part */
#define RENDER_RAW_PART_MAX 500000
#define RENDER_TOTAL_MAX (4u << 20)
#define RENDER_LINE_MAX 2048
#define RENDER_URIS_MAX 1000
#define RENDER_URI_MAX 8192 /* longer ones are no links */

struct render {
	struct buf body; /* lines, each with its LF */
	struct buf rawbody; /* chunks, each behind the other */
	struct buf uris; /* one a line, each with its LF */
	size_t n_uris;
	bool cut; /* a limit was reached */
};

void render_message(struct str message, const struct mime_view *view, struct render *out);
void render_clear(struct render *r);

/* A header field's value as a reader sees it: unfolded, trimmed, encoded words decoded to
 * UTF-8 (RFC 2047), other octets by charset_to_utf8. */
void render_header(struct str raw, struct buf *out);

/* HTML to text as in `body`, and its links to uris (may be NULL). */
void render_html(struct str html, struct buf *text, struct render *uris);

#endif

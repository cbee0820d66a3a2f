/* SPDX-License-Identifier: BSD-2-Clause */
/* The MIME structure of a message (RFC 2045, 2046) as a set of views.
 *
 * Readers disagree about malformed mail, and what one reader does not see another one
 * opens.  So a message is not given one tree: it is read once plainly, and where something
 * in it is read differently by readers in the field, once more in each of the other ways.
 * Normal mail has one view.  All offsets are octets of the message as received; nothing
 * is copied and nothing decoded.  Iterative, linear in the message per view. */
#ifndef POSTERN_MAIL_MIME_H
#define POSTERN_MAIL_MIME_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/buf.h"
#include "common/base/str.h"
#include "common/mail/decode.h"

#define MIME_PARTS_MAX 1000 /* of one view */
#define MIME_DEPTH_MAX 40
#define MIME_NAMES_MAX 12 /* candidates of one part */
#define MIME_FIELDS_MAX 500 /* of one part's header */
#define MIME_VIEWS_MAX 8

enum mime_cte { MIME_IDENTITY, MIME_BASE64, MIME_QP, MIME_UU, MIME_CTE_UNKNOWN };

struct mime_part {
	size_t head, head_end; /* its header section */
	size_t body, body_end; /* encoded content, without the line end before a delimiter */
	int parent; /* index; -1: the message itself */
	unsigned depth;
	enum mime_cte cte;
	bool multipart; /* its children are parts of this view */
	bool message; /* message/rfc822 and its kin: one child, the inner message */
	bool attachment; /* Content-Disposition says so */
	struct str type; /* "text/html", lower case; "" when there is none (then text/plain) */
	struct str charset; /* "" none */
	struct str names[MIME_NAMES_MAX]; /* every candidate for the file name */
	size_t n_names;
};

/* How a view read the message; 0 = plainly. */
#define MIME_READ_LAST 0x01u /* of duplicates the last, not the first */
#define MIME_READ_CR 0x02u /* a bare CR ends a line */
#define MIME_READ_BLANK_ENDS 0x04u /* a line of blanks ends a header section */
#define MIME_READ_JUNK_ENDS 0x08u /* a line that is no field ends it and begins the body */
#define MIME_READ_PREFIX 0x10u /* delimiter lines may have text behind the boundary */
#define MIME_READ_SNIFF 0x20u /* multipart without a usable boundary: guess it */

/* What makes a message ambiguous; also the limits that were hit. */
#define MIME_AMB_FIELD 0x0001u /* a content field more than once, not equal */
#define MIME_AMB_BOUNDARY 0x0002u /* several candidates for a boundary */
#define MIME_AMB_SYNTAX 0x0004u /* broken or commented parameters with a boundary */
#define MIME_AMB_CR 0x0008u /* bare CR */
#define MIME_AMB_HEADER_END 0x0010u /* lines of blanks or junk in a header section */
#define MIME_AMB_DELIMITER 0x0020u /* text behind a boundary */
#define MIME_AMB_CTE 0x0040u /* encoding with junk or several tokens */
#define MIME_AMB_NO_BOUNDARY 0x0080u
#define MIME_AMB_AFTER_CLOSE 0x0100u /* parts behind the closing delimiter */
#define MIME_AMB_PARTIAL 0x0200u /* message/partial: never whole here */
#define MIME_LIMIT_PARTS 0x10000u
#define MIME_LIMIT_DEPTH 0x20000u
#define MIME_LIMIT_FIELDS 0x40000u
#define MIME_LIMIT_VIEWS 0x80000u
#define MIME_LIMITS 0xff0000u

struct mime_view {
	unsigned reading; /* MIME_READ_* */
	struct mime_part *parts; /* [0] = the message */
	size_t n_parts;
};

struct mime {
	struct mime_view views[MIME_VIEWS_MAX];
	size_t n_views;
	unsigned flags; /* MIME_AMB_*, MIME_LIMIT_* */
	char **strings; /* what types, charsets and names borrow from */
	size_t n_strings;
};

/* Never fails: what cannot be read is a part of type "" and a flag.  message is borrowed
 * during the call only; strings in the views are the tree's own. */
void mime_read(struct str message, struct mime *out);
void mime_clear(struct mime *m);

/* One view, for tests and for those who know what they want. */
unsigned mime_read_view(struct str message, unsigned reading, struct mime *owner,
    struct mime_view *out);

/* Decode a part's content into out (its maximum bounds it).  mode: see decode.h.
 * Returns DECODED_* bits. */
unsigned mime_decode(struct str message, const struct mime_part *part,
    enum decode_mode mode, struct buf *out);

/* "boundary-twice,bare-cr" for logs and headers; "" for none. */
void mime_flags_print(unsigned flags, struct buf *out);

#endif

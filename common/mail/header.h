/* SPDX-License-Identifier: BSD-2-Clause */
/* The header section of a message (RFC 5322 2.2) as a list that keeps every field's
 * octets and offset, so that untouched fields leave as they came. */
#ifndef POSTERN_MAIL_HEADER_H
#define POSTERN_MAIL_HEADER_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/buf.h"
#include "common/base/err.h"
#include "common/base/str.h"

/* Of what is read. */
#define HEADER_FIELDS_MAX 2000
#define HEADER_SECTION_MAX (512u * 1024)
/* Of what edits may make of it: a message at the limit still takes our trace line and
 * what filters put in. */
#define HEADER_FIELDS_EDITED_MAX (HEADER_FIELDS_MAX + 1100)
#define HEADER_SECTION_EDITED_MAX (2 * HEADER_SECTION_MAX)
#define HEADER_NAME_MAX 998 /* octets of a name that is put in; RFC 5322 2.1.1 */

struct header_field {
	struct str raw; /* the whole field, folds and final CRLF; bare LF became CRLF */
	struct str name; /* before the colon, trailing blanks removed */
	struct str value; /* behind the colon, folds as they stand, no final CRLF */
	size_t offset; /* of raw in the section that was read; SIZE_MAX: added later */
};

struct header; /* opaque list */

struct header *header_new(void);
struct header *header_dup(const struct header *h);
void header_swap(struct header *a, struct header *b); /* exchange what they hold */
void header_free(struct header *h);

/* Read a header section: fields up to the empty line, the first line that is not a
 * field, or the end of text.  CRLF and bare LF both end a line; a bare CR stays where
 * it is. What h held before is forgotten.  *body = offset of the body (behind the empty
 * line, or of the line that is no field).  The text is copied.  -1: a limit is passed.
 */
int header_parse(struct header *h, struct str text, size_t *body, struct err *err);

size_t header_count(const struct header *h);
/* The field at i (0 = topmost); NULL beyond the end.  Borrowed until the next change.
 */
const struct header_field *header_at(const struct header *h, size_t i);
/* Position of the nth field (from 1) of that name, any case; -1 when there is none. */
ptrdiff_t header_find(const struct header *h, struct str name, size_t nth);
size_t header_count_name(const struct header *h, struct str name);

/* value as in milter edits: folds are LF or CRLF followed by a blank; line ends behind
 * it are dropped; one space is put after the colon unless lead_space (the value brings
 * its own) or the value is empty.  at: position, beyond the end appends (insert) or
 * fails (replace).  -1: name or value is not legal in a header, or a limit is passed;
 * nothing has changed then. */
int header_insert(struct header *h, size_t at, struct str name, struct str value,
    bool lead_space, struct err *err);
int header_replace(struct header *h, size_t at, struct str name, struct str value,
    bool lead_space, struct err *err);
void header_delete(struct header *h, size_t at); /* beyond the end: nothing */

/* All fields with CRLF line ends, without the empty line.  -1: out is too small; it is
 * unchanged then. */
int header_render(const struct header *h, struct buf *out);

/* Field name by RFC 5322 3.6.8: printable ASCII without colon, HEADER_NAME_MAX. */
bool header_name_ok(struct str name);

#endif

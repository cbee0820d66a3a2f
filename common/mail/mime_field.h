/* SPDX-License-Identifier: BSD-2-Clause */
/* Content-Type and Content-Disposition values (RFC 2045 5.1, 2183, 2231), read so that
 * every candidate for a parameter comes out: readers differ in which they take, so a
 * choice made here would be an evasion for somebody else. */
#ifndef POSTERN_MAIL_MIME_FIELD_H
#define POSTERN_MAIL_MIME_FIELD_H

#include <stdbool.h>

#include "common/base/buf.h"
#include "common/base/str.h"

#define MIME_PARAMS_MAX 64
#define MIME_VALUES_MAX 16

struct mime_param {
	struct str name; /* without "*0*"; as written */
	struct str value; /* quotes and escapes removed; borrows from the scratch buffer */
	int section; /* RFC 2231 continuation number, -1: none */
	bool extended; /* name*= or name*0*=: %-escapes, perhaps a charset */
};

struct mime_field {
	struct str value; /* in front of the first ';', trimmed, comments removed */
	struct mime_param params[MIME_PARAMS_MAX];
	size_t n;
	bool comments; /* there were comments */
	bool broken; /* syntax that readers mend in different ways */
	bool full; /* more parameters than are kept */
};

/* raw: the field body with its folds.  scratch: its whole maximum is reserved already, so
 * that its memory does not move while *out is in use; MIME_SCRATCH(raw.len) suffices for
 * parsing and for all values of one parameter. */
#define MIME_SCRATCH(len) ((len) * 6 + 64)
void mime_field_parse(struct str raw, struct mime_field *out, struct buf *scratch);

/* All candidates for one parameter, each appended to out as a value of its own:
 * plain occurrences in order, then the RFC 2231 reading.  Values land in scratch. */
struct mime_values {
	struct str list[MIME_VALUES_MAX];
	size_t n;
};
void mime_field_values(const struct mime_field *f, const char *name,
    struct mime_values *out, struct buf *scratch);

/* RFC 2047 words inside a value decoded (all of them, wherever they stand); blanks
 * between two words vanish.  Returns false when there was none. */
bool mime_words_decode(struct str in, struct buf *out);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* What the jailed scanner reports of a message, and how it crosses the border of the jail:
 * written there, read here as hostile input. */
#ifndef POSTERN_MIME_INSPECTION_H
#define POSTERN_MIME_INSPECTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/err.h"
#include "common/base/str.h"

#define INSPECTION_PARTS_MAX 4000
/* Names of one part; of members of archives one for each ending. */
#define INSPECTION_NAMES_MAX 200
#define INSPECTION_TEXT_MAX 1024 /* octets of one string */

enum scan_state {
	SCAN_CLEAN,
	SCAN_INFECTED, /* `virus` names it */
	SCAN_LIMIT, /* could not be read in full: too large, too deep, too slow */
	SCAN_ENCRYPTED,
	SCAN_ERROR, /* the engine failed: never taken for clean */
};

struct inspected_part {
	int top; /* part of view 0 that this is, or lies in; -1: only other views have it */
	size_t head, body, body_end; /* of `top` in the message */
	bool multipart;
	enum scan_state state;
	struct str virus; /* of INFECTED; otherwise the reason, "" none */
	struct str type; /* declared, lower case */
	struct str sniffed; /* by content: "exe", "zip", "" unknown */
	struct str names[INSPECTION_NAMES_MAX]; /* all candidates, then members */
	size_t n_names;
	size_t n_own_names; /* how many of them are the part's own */
};

struct inspection {
	uint32_t flags; /* MIME_AMB_*, MIME_LIMIT_* (common/mail/mime.h) */
	uint32_t n_views;
	struct inspected_part *parts;
	size_t n_parts;
	struct str engine; /* "ClamAV 1.4.6/1 signatures" */
};

/* Writer: the head, then part by part. */
void inspection_write_head(
    struct buf *out, uint32_t flags, uint32_t n_views, struct str engine, uint32_t n_parts);
void inspection_write_part(struct buf *out, const struct inspected_part *p);

/* Reader.  message_len: offsets beyond it are refused.  Texts borrow from in; the parts
 * are freed by inspection_clear.  -1: err. */
int inspection_read(
    struct str in, size_t message_len, struct inspection *out, struct err *err);
void inspection_clear(struct inspection *i);

const char *scan_state_name(enum scan_state state);

#endif

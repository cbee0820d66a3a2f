/* SPDX-License-Identifier: BSD-2-Clause */
/* Between mime.c (the walk over lines) and mime_part.c (what a header section means). */
#ifndef POSTERN_MAIL_MIME_PRIVATE_H
#define POSTERN_MAIL_MIME_PRIVATE_H

#include "common/mail/mime.h"

/* The content fields of one header section, as ranges of the message. */
enum mime_content_field { MIME_F_TYPE, MIME_F_CTE, MIME_F_DISPOSITION, MIME_F_KINDS };

#define MIME_FIELD_REPEATS 8

struct mime_range {
	size_t from, to; /* the body of the field with its folds */
};

struct mime_head {
	struct mime_range fields[MIME_F_KINDS][MIME_FIELD_REPEATS];
	size_t n[MIME_F_KINDS]; /* seen; kept at most MIME_FIELD_REPEATS */
	struct mime_range *open; /* what a continuation line extends; NULL: a foreign field */
	size_t n_fields;
	bool any; /* a continuation line can belong to something */
};

enum mime_head_result { MIME_HEAD_FIELD, MIME_HEAD_JUNK, MIME_HEAD_FULL };

void mime_head_reset(struct mime_head *h);
enum mime_head_result mime_head_line(
    struct mime_head *h, struct str m, size_t from, size_t to);

/* Set the part's meaning.  *boundary: for multiparts, a string of the owner's.  Returns
 * MIME_AMB_* flags. */
unsigned mime_head_apply(const struct mime_head *h, struct str m, unsigned reading,
    struct mime *owner, struct mime_part *part, struct str *boundary);

/* A boundary by its looks: the first line "--token" that a header-like line follows.
 * Empty when there is none. */
struct str mime_sniff_boundary(struct str body, struct mime *owner);

/* A copy that lives as long as the owner. */
struct str mime_keep(struct mime *owner, struct str s);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* The edits that a filter wants for one message: recorded with bounds while it is read,
 * sent in one go at its end. */
#ifndef POSTERN_RUN_MILTER_EDITS_H
#define POSTERN_RUN_MILTER_EDITS_H

#include <stddef.h>

#include "common/base/err.h"
#include "common/base/str.h"

#define MILTER_EDITS_MAX 1000 /* edits of one message */
#define MILTER_EDITS_BYTES (1u << 20) /* octets that they hold together */
#define MILTER_FIELD_MAX 60000 /* name and value: a packet carries 65535 */
#define MILTER_FIELD_LINE_MAX 998 /* RFC 5322 2.1.1 */

enum milter_edit_kind {
	MILTER_EDIT_CHANGE,
	MILTER_EDIT_INSERT,
	MILTER_EDIT_ADD,
	MILTER_EDIT_ADD_RCPT,
	MILTER_EDIT_DELETE_RCPT,
	MILTER_EDIT_FROM,
};

struct milter_edit {
	enum milter_edit_kind kind;
	unsigned index; /* of CHANGE (nth of its name, from 1) and INSERT (position) */
	char *name; /* field name, or path */
	char *value; /* NULL for envelope edits */
};

struct milter_edits {
	struct milter_edit *list;
	size_t n, cap, bytes;
	int body_fd; /* -1: the body stays */
};

void milter_edits_init(struct milter_edits *e);
/* Forget everything; usable again. */
void milter_edits_clear(struct milter_edits *e);

/* Record.  -1 (err): name, value or path is not legal on the wire or in a header, or a
 * bound is passed; nothing is recorded then. */
int milter_edits_field(struct milter_edits *e, enum milter_edit_kind kind, unsigned index,
    struct str name, struct str value, struct err *err);
int milter_edits_path(struct milter_edits *e, enum milter_edit_kind kind, struct str path,
    struct err *err);
/* fd is taken. */
void milter_edits_body(struct milter_edits *e, int fd);

/* What sends them; every member returns 0 or -1.  The real one calls libmilter. */
struct milter_edits_ops {
	int (*field)(void *to, const struct milter_edit *edit);
	int (*path)(void *to, const struct milter_edit *edit);
	int (*body)(void *to, const unsigned char *p, size_t len);
};
/* Send all in the order that both MTAs read alike: changes of fields from the highest
 * index down, insertions, additions, envelope, body.  The spool is read once in full
 * before the first packet leaves, so that a disk that fails leaves the message whole. */
int milter_edits_send(const struct milter_edits *e, const struct milter_edits_ops *ops,
    void *to, struct err *err);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* A message as the milter hands it over, kept as far as it will be looked at: header and
 * body with LF line ends, as rules expect; and what of its header will have to be edited. */
#ifndef POSTERN_SCORE_COLLECT_H
#define POSTERN_SCORE_COLLECT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/str.h"

#define COLLECT_HEAD_MAX (256u << 10) /* octets of the header that are looked at */
#define COLLECT_MARKS_MAX 64 /* different X-Spam- fields */
#define COLLECT_MARKED_MAX 500 /* such fields in all: more cannot be removed */
#define COLLECT_SUBJECT_MAX 8192

/* A field that claims to be a spam filter's, ours or another's. */
struct collect_mark {
	char *name;
	unsigned n; /* how often it stands there */
};

struct collect {
	struct buf head, body;
	size_t size; /* octets that came, kept or not */
	bool cut; /* not all of it was kept */
	bool cr; /* the body so far ends in a CR that is not written yet */
	struct collect_mark marks[COLLECT_MARKS_MAX];
	size_t n_marks;
	unsigned marked;
	bool too_marked; /* beyond a limit */
	char *subject; /* of the first Subject; NULL: none */
};

void collect_init(struct collect *c);
void collect_clear(struct collect *c); /* usable again */

/* value: folds are LF and a blank. */
void collect_header(struct collect *c, struct str name, struct str value);
/* How many octets of header and body are wanted; before the first body. */
void collect_limit(struct collect *c, size_t octets);
void collect_body(struct collect *c, struct str chunk);
/* No more comes. */
void collect_end(struct collect *c);

/* A name for the content, the same for every try of one message: what the way leaves in
 * its header (Received, X-Greylist) does not count. */
#define COLLECT_HASH_SIZE 16
void collect_hash(const struct collect *c, uint8_t out[COLLECT_HASH_SIZE]);

#endif

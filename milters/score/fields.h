/* SPDX-License-Identifier: BSD-2-Clause */
/* The header of a message in the forms that rules ask for: values decoded, raw, addresses
 * and names only, and the fields that stand for several others. */
#ifndef POSTERN_SCORE_FIELDS_H
#define POSTERN_SCORE_FIELDS_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/buf.h"
#include "common/base/str.h"
#include "milters/score/rules.h"

#define FIELDS_MAX 2000
#define FIELDS_SECTION_MAX (128u << 10) /* octets of a header that are looked at */
#define FIELDS_NAME_MAX 256
#define FIELDS_VALUE_MAX 8192 /* octets of one value */
#define FIELDS_JUNK_MAX 3 /* lines that are no field; the next one ends the header */
#define FIELDS_FORM_MAX (1u << 20) /* octets of one form */

struct field {
	struct str name;
	struct str raw; /* behind the colon, with folds and line ends */
};

struct fields {
	struct field list[FIELDS_MAX];
	size_t n;
	struct str section; /* all of it */
	bool cut; /* something was too long or too much */
};

/* Borrows from message. */
void fields_read(struct str message, struct fields *out);

/* Append what a rule sees of a field: every occurrence, each ending in LF (addresses
 * and names: LF between them).  sender: the envelope's, p NULL: not known.  false: no
 * such field. */
bool fields_form(const struct fields *f, const char *name, enum rule_part part,
    struct str sender, struct buf *out);

/* The addresses (or the names beside them) of one raw value, each ending in LF. */
void fields_addresses(struct str raw, bool names, struct buf *out);

#endif

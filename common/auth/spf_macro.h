/* SPDX-License-Identifier: BSD-2-Clause */
/* Expansion of macro-strings (RFC 7208 7).  Pure. */
#ifndef POSTERN_AUTH_SPF_MACRO_H
#define POSTERN_AUTH_SPF_MACRO_H

#include "common/base/buf.h"
#include "common/base/str.h"

struct spf_vars { /* values of the macro letters; borrowed */
	struct str value[26]; /* by letter - 'a' */
};

/* text has passed spf_macros_check.  Adds the expansion to out; -1: out is full. */
int spf_macro_expand(const struct spf_vars *vars, struct str text, struct buf *out);

#endif

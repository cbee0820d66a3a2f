/* SPDX-License-Identifier: BSD-2-Clause */
/* From a verdict to the reply text that libmilter, sendmail and Postfix all take. */
#ifndef POSTERN_RUN_MILTER_REPLY_H
#define POSTERN_RUN_MILTER_REPLY_H

#include <stdbool.h>

#include "common/base/verdict.h"

#define MILTER_REPLY_LINES 6
/* Octets of a line before percent signs are doubled.  With "550 5.7.1 " and CRLF that
 * keeps below RFC 5321 4.5.3.1.5 (512), doubled it stays below libmilter's 980. */
#define MILTER_REPLY_LINE_MAX 480

struct milter_reply {
	char code[4];
	char enhanced[12];
	char lines[MILTER_REPLY_LINES][2 * MILTER_REPLY_LINE_MAX + 1];
	unsigned n_lines;
};

/* Fill out from a REJECT or TEMPFAIL verdict.  Codes that do not fit the action are
 * replaced (550 5.7.1, 451 4.7.1), because Postfix breaks the link over a misfit; octets
 * that are not printable ASCII become '?'; '%' is doubled, because sendmail formats the
 * text and Postfix drops a single one.  false: the verdict has no reply of its own. */
bool milter_reply_make(const struct verdict *v, struct milter_reply *out);

#endif

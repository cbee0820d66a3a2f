/* SPDX-License-Identifier: BSD-2-Clause */
/* The end-of-data decoder a second time, as plainly as RFC 5321 4.5.2 can be written
 * down: the whole stream in memory, no states.  What the real one is measured against.
 */
#ifndef POSTERN_TESTS_SMTP_DATA_REF_H
#define POSTERN_TESTS_SMTP_DATA_REF_H

#include <stdbool.h>
#include <stddef.h>

struct smtp_data_ref {
	bool ended; /* the end mark was seen */
	size_t used; /* octets up to and with it; all when it was not */
	char *data; /* unstuffed, with a NUL behind; the caller frees */
	size_t len;
	bool bare_cr, bare_lf, nul; /* in data */
};

/* in: everything behind the CRLF of the DATA command.  Without an end mark, what a dot
 * or a dot and CR at the very end hold back is not in data. */
void smtp_data_ref(const char *in, size_t len, struct smtp_data_ref *out);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* See smtp_data_ref.h. */
#include "tests/lib/smtp_data_ref.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/xalloc.h"

void
smtp_data_ref(const char *in, size_t len, struct smtp_data_ref *out)
{
	char *s = xmalloc(len + 2); /* the CRLF of the command in front */
	size_t n = len + 2, end = n;

	memcpy(s, "\r\n", 2);
	if (len > 0)
		memcpy(s + 2, in, len);
	*out = (struct smtp_data_ref){ .data = xmalloc(n + 1) };
	const char *mark = memmem(s, n, "\r\n.\r\n", 5);
	out->ended = mark != NULL;
	if (mark != NULL)
		end = (size_t)(mark - s) + 2;
	out->used = mark != NULL ? end + 3 - 2 : len;
	for (size_t i = 2; i < end; i++) {
		bool stuffing = s[i] == '.' && s[i - 2] == '\r' && s[i - 1] == '\n';
		bool held = !out->ended && s[i] == '\r' && i + 1 == end && i >= 3 &&
		    s[i - 1] == '.' && s[i - 2] == '\n' && s[i - 3] == '\r';

		if (stuffing || held)
			continue;
		out->data[out->len++] = s[i];
		out->nul |= s[i] == '\0';
		out->bare_lf |= s[i] == '\n' && s[i - 1] != '\r';
		out->bare_cr |= s[i] == '\r' && i + 1 < end && s[i + 1] != '\n';
	}
	out->data[out->len] = '\0';
	free(s);
}

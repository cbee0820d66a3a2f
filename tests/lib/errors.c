/* SPDX-License-Identifier: BSD-2-Clause */
/* Renders a list of errors for comparison in unit tests. */
#include "tests/lib/errors.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/buf.h"

char *
errors_text(const struct errs *errs)
{
	struct buf b;
	char text[640];

	buf_init(&b, 1 << 20);
	for (size_t i = 0; i < errs->n; i++) {
		struct err e = errs->list[i];
		const char *slash = strrchr(e.file, '/');

		if (slash != NULL)
			memmove(e.file, slash + 1, strlen(slash + 1) + 1);
		buf_addf(
		    &b, "%s%s", i == 0 ? "" : "\n", err_str(&e, text, sizeof(text)));
	}
	return buf_take(&b);
}

void
check_errors(struct errs *errs, const char *expected)
{
	char *got = errors_text(errs);

	ck_assert_str_eq(got, expected);
	free(got);
	errs_clear(errs);
}

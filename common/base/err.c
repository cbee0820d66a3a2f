/* SPDX-License-Identifier: BSD-2-Clause */
/* Errors as values: formatted once, where they happen. */
#include "common/base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/xalloc.h"

static void
place(struct err *err, const char *file, int line)
{
	snprintf(err->file, sizeof(err->file), "%s", file == NULL ? "" : file);
	err->line = line;
}

int
err_set(struct err *err, const char *fmt, ...)
{
	va_list ap;

	if (err == NULL)
		return -1;
	place(err, NULL, 0);
	va_start(ap, fmt);
	vsnprintf(err->text, sizeof(err->text), fmt, ap);
	va_end(ap);
	return -1;
}

int
err_errno(struct err *err, const char *fmt, ...)
{
	int saved = errno;
	char reason[100];
	va_list ap;

	if (err == NULL)
		return -1;
	place(err, NULL, 0);
	va_start(ap, fmt);
	int n = vsnprintf(err->text, sizeof(err->text), fmt, ap);
	va_end(ap);
	if (n > 0 && (size_t)n < sizeof(err->text))
		snprintf(err->text + n, sizeof(err->text) - (size_t)n, ": %s",
		    strerror_r(saved, reason, sizeof(reason)));
	errno = saved;
	return -1;
}

int
err_at(struct err *err, const char *file, int line, const char *fmt, ...)
{
	va_list ap;

	if (err == NULL)
		return -1;
	place(err, file, line);
	va_start(ap, fmt);
	vsnprintf(err->text, sizeof(err->text), fmt, ap);
	va_end(ap);
	return -1;
}

const char *
err_str(const struct err *err, char *out, size_t size)
{
	if (err->file[0] == '\0')
		snprintf(out, size, "%s", err->text);
	else if (err->line == 0)
		snprintf(out, size, "%s: %s", err->file, err->text);
	else
		snprintf(out, size, "%s:%d: %s", err->file, err->line, err->text);
	return out;
}

void
errs_clear(struct errs *errs)
{
	free(errs->list);
	*errs = (struct errs){ 0 };
}

void
errs_add(struct errs *errs, const char *file, int line, const char *fmt, ...)
{
	va_list ap;

	if (errs->n == ERRS_MAX) {
		errs->dropped++;
		return;
	}
	/* Doubling at each power of two keeps no capacity field. */
	if ((errs->n & (errs->n - 1)) == 0)
		errs->list = xreallocarray(
		    errs->list, errs->n > 0 ? errs->n * 2 : 1, sizeof(*errs->list));
	struct err *err = &errs->list[errs->n++];

	place(err, file, line);
	va_start(ap, fmt);
	vsnprintf(err->text, sizeof(err->text), fmt, ap);
	va_end(ap);
}

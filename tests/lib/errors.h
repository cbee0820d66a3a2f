/* SPDX-License-Identifier: BSD-2-Clause */
/* Lists of errors compared as text. */
#ifndef POSTERN_TESTS_ERRORS_H
#define POSTERN_TESTS_ERRORS_H

#include "common/base/err.h"

/* All errors, one per line, files without their folder; the caller frees. */
char *errors_text(const struct errs *errs);
/* Check's assertion that they are exactly these; then forgets them. */
void check_errors(struct errs *errs, const char *expected);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* `posternctl test access DIR`: what the engine decides about a folder of cases.  DIR
 * holds env/ (variants, classes, DNS), maps/ and the tables cases.tsv, multi.tsv,
 * controls.tsv and lookups.tsv, of which any may be missing.  For each table a line "#
 * file", then per row the id and the result columns in the file's own order,
 * tab-separated. */
#ifndef POSTERN_ACCESS_TEST_H
#define POSTERN_ACCESS_TEST_H

#include <stdio.h>

#include "common/base/err.h"

/* 0, or -1 (err) when the folder cannot be read. */
int access_test_run(const char *dir, FILE *out, struct err *err);

/* argv[1]: DIR.  Exit status: 0, 64 usage, 66 cannot be read. */
int access_test_main(int argc, char **argv);

#endif

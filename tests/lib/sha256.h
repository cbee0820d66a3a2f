/* SPDX-License-Identifier: BSD-2-Clause */
/* SHA-256 (FIPS 180-4) for comparing test data with recorded hashes. */
#ifndef POSTERN_TESTS_SHA256_H
#define POSTERN_TESTS_SHA256_H

#include "common/base/str.h"

/* Lower-case hex with NUL. */
void sha256_hex(struct str s, char out[65]);

#endif

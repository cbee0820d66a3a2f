/* SPDX-License-Identifier: BSD-2-Clause */
/* A message's one id through all tiers: time, host tag, counter, in base32 (no vowels, so
 * no words; no characters that a file name or a header could trip over). */
#ifndef POSTERN_BASE_ID_H
#define POSTERN_BASE_ID_H

#include <stdbool.h>

#include "common/base/str.h"

#define ID_LEN 20
#define ID_SIZE (ID_LEN + 1)

/* Microseconds since the epoch (11 digits), host and process tag (5), counter (4).
 * Unique in this process; across processes by the tag, and finally by O_EXCL. */
void id_make(char out[ID_SIZE]);
bool id_ok(struct str s);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* A message's one id through all tiers: time, host tag, counter, in base32 (no vowels,
 * so no words; no characters that a file name or a header could trip over). */
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

/* The id of our copy of a message that another tier has named: the first ID_LEN
 * characters stay, so that one search finds the message in the logs of all tiers; "_"
 * and the tag and counter behind them are ours, because two copies of one message, for
 * different recipients, may lie in one queue.  seen: with or without such a tail.
 * false: it is no id. */
#define ID_ADOPTED_LEN (ID_LEN + 10)
#define ID_ADOPTED_SIZE (ID_ADOPTED_LEN + 1)
bool id_adopt(struct str seen, char out[ID_ADOPTED_SIZE]);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* The two clocks.  Deadlines are monotonic milliseconds; what is stored or shown is wall
 * time in seconds.  Engines call neither: they take `now`. */
#ifndef POSTERN_BASE_CLOCK_H
#define POSTERN_BASE_CLOCK_H

#include <stdint.h>

int64_t clock_mono_ms(void);
int64_t clock_mono_us(void);
/* Seconds since the epoch. */
int64_t clock_wall(void);
int64_t clock_wall_us(void);

#endif

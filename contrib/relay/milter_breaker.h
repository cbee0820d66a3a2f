/* SPDX-License-Identifier: BSD-2-Clause */
/* Which filters of this process can be reached.  After MILTER_BREAKER_FAILURES failures
 * to open in a row an address is tried at most once a second, so that a filter that
 * hangs at connect does not cost every client its whole time-out. */
#ifndef POSTERN_RELAY_MILTER_BREAKER_H
#define POSTERN_RELAY_MILTER_BREAKER_H

#include <stdbool.h>
#include <stdint.h>

#define MILTER_BREAKER_FAILURES 3
#define MILTER_BREAKER_PAUSE_MS 1000

/* May this address be tried?  true counts as the one try of its second.  now_ms:
 * clock_mono_ms().  Thread-safe, as are the others. */
bool milter_breaker_may_try(const char *address, int64_t now_ms);
/* How the opening (connect and negotiation) ended. */
void milter_breaker_report(const char *address, bool opened);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* What one recipient gets, from what the store knew of the triple before this try. Pure;
 * shared by the greylist milter and, at end of message, by the score milter. */
#ifndef POSTERN_POLICY_GREYLIST_H
#define POSTERN_POLICY_GREYLIST_H

#include "common/base/verdict.h"
#include "db/store.h"
#include "policy/settings.h"

/* answer NULL: the store did not answer in time.  A mail is deferred (451 4.7.1, with the
 * setting's text and the seconds to wait) only after the store has confirmed the record;
 * otherwise it passes.  why:
 *   greylisted        first try of a triple: waits the whole delay
 *   early             again before the delay is over: waits what is left
 *   retried, known, auto-whitelisted, no delay        passes
 *   store=down, store=full                            passes unrecorded */
struct verdict greylist_verdict(const struct settings_greylist *set,
    const struct greylist_answer *answer, int64_t now);

#endif

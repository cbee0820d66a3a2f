/* SPDX-License-Identifier: BSD-2-Clause */
/* What a configuration promises and its tiers cannot keep. */
#ifndef POSTERN_CTL_CHECK_TIERS_H
#define POSTERN_CTL_CHECK_TIERS_H

#include "common/base/err.h"
#include "policy/settings.h"

/* greylist.when suspicious lets postern-score tempfail mail at its end.  That reaches the
 * sender only where the relay that asks postern-score faces the client itself, or is
 * handed the mail within the client's session.  Each place that gives it is told, with
 * the relay in the same file that stands against it. */
void check_tiers(const struct settings *s, struct errs *errs);

#endif

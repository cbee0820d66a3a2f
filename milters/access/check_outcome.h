/* SPDX-License-Identifier: BSD-2-Clause */
/* From a setting `off | points | reject | tempfail` to a finding. */
#ifndef POSTERN_ACCESS_CHECK_OUTCOME_H
#define POSTERN_ACCESS_CHECK_OUTCOME_H

#include "milters/access/check.h"

/* The check's own words. */
struct outcome_reply {
	int code; /* 5yz: also when it is refused for a while, then 450 and 4.y.z */
	const char *enhanced; /* "5.7.1" */
	const char *why; /* static; the finding's detail begins with it */
	const char *text; /* %a: the subject; ASCII */
};

/* Adds nothing where the setting is off.  subject: foreign text, cleaned here. */
void check_outcome(struct findings *out, const struct outcome *setting,
    const struct outcome_reply *reply, const char *subject);

#endif

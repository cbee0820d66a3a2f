/* SPDX-License-Identifier: BSD-2-Clause */
/* What the access maps say of the envelope that explain was given. */
#ifndef POSTERN_CTL_EXPLAIN_ACCESS_H
#define POSTERN_CTL_EXPLAIN_ACCESS_H

#include "common/base/buf.h"
#include "policy/policy.h"
#include "policy/settings.h"

/* Appends a line for people ("access: ...\n"), or a JSON object.  name: the client's
 * confirmed name; NULL: none.  Nothing is appended, and false returned, when the maps
 * cannot be opened, which is told on stderr. */
bool ctl_explain_access(struct settings *s, const struct policy_facts *facts,
    const char *name, bool json, struct buf *out);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* Letting go of root. */
#ifndef POSTERN_RUN_PRIVS_H
#define POSTERN_RUN_PRIVS_H

#include "common/base/err.h"

/* Become user (NULL: stay who we are) with its groups and group (NULL: the user's own) as
 * the first; then nobody in this process tree gains privileges by exec again.  Needs root
 * only where something changes.  -1 (err): no such user or group, or not permitted. */
int privs_drop(const char *user, const char *group, struct err *err);

/* Allow as many descriptors as the hard limit permits, at most 65536: a connection idle
 * for minutes costs one. */
void privs_raise_files(void);

#endif

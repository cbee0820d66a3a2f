/* SPDX-License-Identifier: BSD-2-Clause */
/* What a jailed worker gives up before it sees the first hostile octet. */
#ifndef POSTERN_RUN_JAIL_LOCKDOWN_H
#define POSTERN_RUN_JAIL_LOCKDOWN_H

#include "common/base/err.h"
#include "common/run/jail.h"

/* Locks the calling, single-threaded process down for ever: no privileges to gain, limits,
 * Landlock (files below dir only), seccomp (an allow list; anything else fails with
 * EPERM).  -1: err, and the process must not go on. */
int jail_lockdown(const struct jail_conf *conf, const char *dir, struct err *err);

#endif

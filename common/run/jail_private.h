/* SPDX-License-Identifier: BSD-2-Clause */
/* Between the jail's master and its workers. */
#ifndef POSTERN_RUN_JAIL_PRIVATE_H
#define POSTERN_RUN_JAIL_PRIVATE_H

#include "common/run/jail.h"

/* The life of a worker behind the fork; never returns.  link_fd: to the master; dir: its
 * own directory, empty. */
void jail_worker(const struct jail_ops *ops, void *state, const struct jail_conf *conf,
    int link_fd, const char *dir) __attribute__((noreturn));

#endif

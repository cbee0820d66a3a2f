/* SPDX-License-Identifier: BSD-2-Clause */
/* The command line between a daemon's supervisor and the jail master that it starts:
 *
 *   PROGRAM --jail=LISTEN,LINK [-c FILE]
 *
 * LISTEN: the socket that clients connect to; LINK: a stream to the supervisor, on which
 * the master sends one octet JAIL_READY when it has loaded, and whose end ends it. */
#ifndef POSTERN_RUN_JAIL_PROGRAM_H
#define POSTERN_RUN_JAIL_PROGRAM_H

#include "common/run/jail.h"

#define JAIL_READY 'R' /* the same as WORKER_READY */

struct jail_start {
	int listen_fd, link_fd; /* -1: not started as a jail master */
	const char *conf_path; /* NULL: defaults */
};

/* false: the arguments are not of this form. */
bool jail_program_args(int argc, char **argv, struct jail_start *out);
/* jail_master over what the supervisor handed down. */
int jail_program_run(const struct jail_ops *ops, void *arg, const struct jail_conf *conf,
    const struct jail_start *start);

#endif

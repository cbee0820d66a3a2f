/* SPDX-License-Identifier: BSD-2-Clause */
/* The parent of the workers: starts, replaces, restarts and ends them. */
#ifndef POSTERN_RUN_SUPERVISOR_H
#define POSTERN_RUN_SUPERVISOR_H

#include <stdint.h>

#include "common/run/listen.h"

/* How often a worker that dies is started again; pure, now in ms. */
struct restart_delay {
	int64_t wait_ms; /* before the next start; 0: at once */
};
/* A worker ended that had served for `served_ms` (0: never).  Returns how long to wait. */
int64_t restart_delay_next(struct restart_delay *d, int64_t served_ms);

struct supervisor_conf {
	const char *program; /* path that exec() takes, resolved at start */
	char *conf_path; /* absolute; NULL: none */
	const char *jail_program; /* path of the jail's master; NULL: none */
	/* our own log, opened anew at HUP for the sake of rotation */
	const char *name, *log_target;
	int log_level;
	int64_t drain; /* seconds; the supervisor waits a little longer before it kills */
	int background_fd; /* gets one octet when the first worker serves; -1: none */
};

/* From now on signals wait for supervisor_run(): called before the socket can be seen,
 * because whoever sees it may already tell us to end, and expects an orderly end. */
void supervisor_hold_signals(void);

/* Runs until told to end.  Returns an exit status: 0, or what the first worker ended with
 * when none ever served. */
int supervisor_run(const struct supervisor_conf *conf, struct listener *l);

#endif

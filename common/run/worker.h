/* SPDX-License-Identifier: BSD-2-Clause */
/* The process that serves, started by the supervisor with a listening socket and a link. */
#ifndef POSTERN_RUN_WORKER_H
#define POSTERN_RUN_WORKER_H

#include "common/run/daemon.h"

/* One octet each on the link (a socket pair) between supervisor and worker. */
enum worker_word {
	WORKER_READY = 'R', /* from the worker: serves */
	WORKER_RELOADED = 'r', /* from the worker: the new configuration is in use */
	WORKER_KEPT = 'k', /* from the worker: faults in the file, the old one is kept */
	WORKER_RELOAD = 'H', /* to the worker */
	WORKER_REPLACED = 'U', /* to the worker: drain connections, then end */
	WORKER_STOP = 'T', /* to the worker, and the end of the link: drain messages, end */
};

/* How long a replaced worker keeps connections on which nothing is under way, seconds. */
#define WORKER_IDLE_MAX 600

/* Never returns to code that could run destructors: ends with _exit(). */
void worker_run(const struct daemon_ops *ops, const char *conf_path, int link_fd,
    int listen_fd, const char *jail_address) __attribute__((noreturn));

#endif

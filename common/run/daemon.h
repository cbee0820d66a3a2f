/* SPDX-License-Identifier: BSD-2-Clause */
/* A milter daemon as a process tree: a supervisor that binds the socket and owns the
 * signals, and one live worker that serves.  The supervisor restarts a dead worker at
 * once, then after 1, 2, 4 ... 30 s; a worker that served for 60 s starts that anew.
 *
 *   signal to the supervisor    what happens
 *   HUP                         reload: the worker swaps its configuration snapshot
 *   USR2                        replace: a fresh worker (from the file on disk) starts,
 *                               then the old one stops accepting and drains: it ends with
 *                               its last connection, after 10 minutes with its last
 *                               message; a fresh worker that does not come up within a
 *                               minute is ended and the old one goes on
 *   TERM, INT                   stop accepting, finish messages for at most `drain`
 *                               seconds, end; a second TERM ends at once
 *
 * A worker whose supervisor is gone does the same as at TERM. */
#ifndef POSTERN_RUN_DAEMON_H
#define POSTERN_RUN_DAEMON_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/run/milter.h"

/* What the process layer needs from the configuration; filled by load().  Strings are on
 * the heap, NULL or "" where not set.  Only log_* and drain change at a reload. */
struct daemon_conf {
	char *socket; /* "unix:/run/postern/greylist.sock", "inet:8891@127.0.0.1",
	                 "inet6:8891@[::1]" */
	unsigned socket_mode; /* of a UNIX socket; 0660 */
	char *socket_group; /* NULL: the process's */
	char *user, *group; /* NULL: stay */
	char *log_target; /* see log_open */
	int log_level;
	int64_t drain; /* seconds a message may take after the stop signal; 30 */
	char *metrics; /* UNIX socket ("/path", "unix:/path") that answers with Prometheus
	                  text; NULL: none */
	void *snapshot; /* the daemon's own: taken */
};
void daemon_conf_clear(struct daemon_conf *conf); /* not the snapshot */

struct daemon_ops {
	const char *name; /* "postern-greylist" */
	const char *version;
	const struct milter_ops *milter;
	/* Program of the jail's master, in the same folder (jail_program.h); NULL: none.  It is
	 * started before the worker, anew at HUP, and ended after the last worker. */
	const char *jail;
	/* Read the file; all faults into errs.  path NULL: defaults need no file.  conf is
	 * zeroed; what was put there is cleared by the caller in any case, the snapshot only
	 * when true is returned. */
	bool (*load)(const char *path, struct daemon_conf *conf, struct errs *errs);
	void (*snapshot_unref)(void *snapshot);
	/* In the worker, before serving: open store, resolver, maps.  Takes the snapshot. */
	int (*start)(void *snapshot, struct err *err);
	/* In the worker: make the new snapshot the current one; what cannot change without
	 * a restart is named in errs and kept.  Takes the snapshot. */
	void (*reload)(void *snapshot, struct errs *errs);
	/* In the worker, when no callback runs any more.  May be NULL. */
	void (*stop)(void);
};

/* In a worker: what jail_client_new() takes; "" without a jail. */
const char *daemon_jail_address(void);

/* ops->load and what every daemon wants of its result: a socket that can be read, "" as
 * NULL.  false: errs has an entry, conf is to be cleared. */
bool daemon_load(const struct daemon_ops *ops, const char *path, struct daemon_conf *conf,
    struct errs *errs);

/* The program: -c file, -f (stay in the foreground; the default under a supervisor of
 * services), -t (check the file and exit), -V.  Exit: 0, 64 usage, 69 socket, 71 system,
 * 78 configuration. */
int daemon_main(int argc, char **argv, const struct daemon_ops *ops);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* The socket that MTAs connect to. */
#ifndef POSTERN_RUN_LISTEN_H
#define POSTERN_RUN_LISTEN_H

#include <stdbool.h>

#include "common/base/err.h"

struct listener {
	int fd; /* -1: none */
	int lock_fd; /* of a UNIX socket: held against a second start; -1: none */
	char *path; /* of a UNIX socket that is ours to remove; NULL: not ours */
	unsigned long long dev, ino; /* of path, so that a successor's socket stays */
};

/* Is this a socket that listen_open() understands?  -1 (err): no. */
int listen_check(const char *spec, struct err *err);

/* Bind and listen.  spec: "unix:/path", "/path", "inet:port@host", "inet:port" (every
 * address), "inet6:port@[::1]", "inet6:port".  mode and group (NULL: the process's) are
 * for UNIX sockets, which appear under their name only when they are complete.  A socket
 * handed over by the service manager (LISTEN_FDS) is taken instead of a new one.  -1
 * (err): in use by another process, or the system refuses. */
int listen_open(struct listener *l, const char *spec, unsigned mode, const char *group,
    struct err *err);

/* Remove the name, where it still leads to our socket, and close. */
void listen_close(struct listener *l);

/* A listening UNIX socket at path, mode 0660, over whatever socket was there. */
int listen_unix_replace(const char *path, unsigned mode, int backlog, struct err *err);

#endif

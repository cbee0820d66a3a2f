/* SPDX-License-Identifier: BSD-2-Clause */
/* The one process that touches the spool.  It takes records from listeners, commits
 * them in batches, gives due messages to the delivery process, and closes them:
 * delivered, bounced, or in quarantine.  It may be killed at any moment and started
 * again: nothing that was acknowledged is lost, what was in flight may be delivered
 * twice. */
#ifndef POSTERN_RELAY_QUEUE_PROCESS_H
#define POSTERN_RELAY_QUEUE_PROCESS_H

#include "contrib/relay/qio.h"
#include "contrib/relay/queue_link.h" /* queue_socket() */
#include "contrib/relay/relay_conf.h"

/* The body of the queue process: returns its exit status.  listen_fd is kept open.
 * TERM ends it after the commits under way are answered. */
int queue_process(const struct relay_conf *conf, int listen_fd);
/* The same with other operations on the spool, for tests. */
int queue_process_on(
    const struct relay_conf *conf, int listen_fd, const struct qio *disk);

#endif

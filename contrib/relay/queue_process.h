/* SPDX-License-Identifier: BSD-2-Clause */
/* The one process that touches the spool.  It takes records from listeners, commits them
 * in batches, gives due messages to the delivery process, and closes them: delivered,
 * bounced, or in quarantine.  It may be killed at any moment and started again: nothing
 * that was acknowledged is lost, what was in flight may be delivered twice. */
#ifndef POSTERN_RELAY_QUEUE_PROCESS_H
#define POSTERN_RELAY_QUEUE_PROCESS_H

#include "common/base/err.h"
#include "contrib/relay/relay_conf.h"

#define QUEUE_ADDRESS_MAX 108

/* Make the listening socket (AF_UNIX, SOCK_SEQPACKET, abstract name chosen by the kernel)
 * that listeners and the delivery process connect to.  Made by the supervisor, so that
 * it outlives the queue process.  Returns the descriptor and writes its address, as hex
 * text without the leading NUL, for queue_client_new() and deliver_process(); -1: err. */
int queue_socket(char address[QUEUE_ADDRESS_MAX], struct err *err);
/* Connect to it, non-blocking; -1: err.  For queue_client and delivery. */
int queue_connect(const char *address, struct err *err);

/* The body of the queue process: returns its exit status.  listen_fd is kept open.
 * TERM ends it after the commits under way are answered. */
int queue_process(const struct relay_conf *conf, int listen_fd);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* A listener process: takes connections on sockets that others bound, and serves them
 * in one event loop.  It sees no spool: finished messages go to the queue process or to
 * the next tier. */
#ifndef POSTERN_RELAY_LISTENER_H
#define POSTERN_RELAY_LISTENER_H

#include "common/net/resolver.h"
#include "contrib/relay/relay_conf.h"

/* What a listener needs besides sockets, opened; for `-t`, too.  -1: errs. */
int listener_check(const struct relay_conf *conf, struct errs *errs);

/* The body of the process: returns its exit status.  fds: listening, non-blocking,
 * taken. TERM: no new connections; those between two mails get 421, the others finish,
 * for `drain` seconds.  USR2 (a fresh listener has taken over): no new connections,
 * those that are there are served on, for 10 minutes. */
int listener_process(const struct relay_conf *conf, const int *fds, size_t n_fds,
    const char *queue_address, const struct resolver_conf *dns, int64_t drain);

#endif

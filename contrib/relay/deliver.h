/* SPDX-License-Identifier: BSD-2-Clause */
/* The delivery process: takes messages from the queue process, finds the next hop's
 * addresses, hands the message over by SMTP and reports what became of each recipient.
 * It sees one open message file at a time, never the spool. */
#ifndef POSTERN_RELAY_DELIVER_H
#define POSTERN_RELAY_DELIVER_H

#include "common/net/resolver.h"
#include "contrib/relay/relay_conf.h"

/* The body of the process: returns its exit status.  queue_address as queue_socket()
 * made it.  TERM: takes no new message, ends when those under way are done, after 30 s
 * at the latest; the queue process then tries the rest again. */
int deliver_process(const struct relay_conf *conf, const char *queue_address,
    const struct resolver_conf *dns);

#endif

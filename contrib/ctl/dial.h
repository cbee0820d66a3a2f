/* SPDX-License-Identifier: BSD-2-Clause */
/* Connections to the daemons' sockets, with one deadline for everything. */
#ifndef POSTERN_CTL_DIAL_H
#define POSTERN_CTL_DIAL_H

#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/err.h"
#include "common/base/ip.h"
#include "common/base/str.h"

/* Connect to "unix:/path", "/path", "inet:port@address", "inet:port" (this host) or
 * their inet6 forms.  deadline_ms: by clock_mono_ms().  The descriptor, which does not
 * block; -1: err says why. */
int dial(const char *spec, int64_t deadline_ms, struct err *err);
int dial_ip(const struct ip *ip, uint16_t port, int64_t deadline_ms, struct err *err);

/* All octets, or -1. */
int dial_send(int fd, struct str octets, int64_t deadline_ms, struct err *err);
/* Add what has come to in; waits for at least one octet.  1, 0 at the end of the
 * stream, -1: err says why (in is full, too late, broken). */
int dial_receive(int fd, struct buf *in, int64_t deadline_ms, struct err *err);

#endif

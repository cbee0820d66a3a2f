/* SPDX-License-Identifier: BSD-2-Clause */
/* The metrics of this process over a UNIX socket: whoever connects gets Prometheus' text
 * format; with HTTP/1.0 headers in front when it sent a GET, else plain. */
#ifndef POSTERN_RUN_METRICS_SOCKET_H
#define POSTERN_RUN_METRICS_SOCKET_H

#include "common/base/err.h"

/* Bind over whatever socket is at path (a successor takes it over so) and start the thread
 * that answers, one client at a time and each within 2 s.  Once per process. */
int metrics_socket_start(const char *path, unsigned mode, struct err *err);

#endif

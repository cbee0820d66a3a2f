/* SPDX-License-Identifier: BSD-2-Clause */
/* The listening descriptor that libmilter polls, and the cure for its pool stall.
 *
 * libmilter's pool starts a thread only for a connection that becomes ready while no
 * thread is idle; what was marked runnable before waits for a thread, for as long as the
 * callbacks that hold them.  So while a callback waits, we send a command to ourselves:
 * each makes the pool start one thread, which then takes a waiting connection.
 *
 * To reach this very process although several workers may listen on one socket,
 * libmilter is first given a private listener; when our own connection stands, the
 * shared listener is put over the same descriptor number (dup2).  At drain the private
 * one is put back, and new clients reach other workers only. */
#ifndef POSTERN_RUN_MILTER_PING_H
#define POSTERN_RUN_MILTER_PING_H

#include <stdint.h>

#include "common/base/err.h"

/* Make the private listener.  shared_fd: listening, taken.  *number: what to hand to
 * libmilter as "fd:N".  Once per process. */
int milter_ping_init(int shared_fd, int *number, struct err *err);

/* Right before smfi_main(), on the same thread, which is the one that polls: start the
 * thread that makes the connection, opens the door to the shared listener and calls
 * ready(arg) once. */
int milter_ping_start(void (*ready)(void *arg), void *arg, struct err *err);

/* Around a wait inside a callback. */
void milter_ping_blocked(void);
void milter_ping_unblocked(void);

/* Put the private listener over the shared one and let go of the shared one. */
void milter_ping_divert(void);

/* Commands sent to ourselves since the start, for tests and metrics. */
uint64_t milter_ping_count(void);

#endif

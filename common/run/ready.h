/* SPDX-License-Identifier: BSD-2-Clause */
/* Telling the service manager how we are: sd_notify(3)'s protocol, one datagram. */
#ifndef POSTERN_RUN_READY_H
#define POSTERN_RUN_READY_H

#include <stdbool.h>
#include <stdint.h>

/* Send the lines ("READY=1\nMAINPID=12") to $NOTIFY_SOCKET (a path, or '@' and an abstract
 * name).  false: nobody asked, or it could not be sent, which is never a reason to stop. */
bool ready_notify(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* "READY=1" with our pid, for Type=notify and notify-reload. */
bool ready_up(void);
/* "RELOADING=1" with the moment that systemd's Type=notify-reload wants. */
bool ready_reloading(void);

/* Half of $WATCHDOG_USEC in ms when it is meant for this process, else 0. */
int64_t ready_watchdog_ms(void);

/* Are we run by somebody who watches us (so that going to the background is wrong)? */
bool ready_supervised(void);

#endif

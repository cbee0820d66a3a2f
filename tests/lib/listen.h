/* SPDX-License-Identifier: BSD-2-Clause */
/* TCP over IPv4 for the test tools: addresses as `127.0.0.1:2525`. */
#ifndef POSTERN_TESTS_LISTEN_H
#define POSTERN_TESTS_LISTEN_H

#include <netinet/in.h>
#include <stdbool.h>

/* "a.b.c.d:port"; false when it is not that. */
bool addr_parse(const char *text, struct sockaddr_in *out);

/* A listening, non-blocking socket; port 0 is replaced by the one that the kernel gave.
 * -1 with errno. */
int addr_listen(struct sockaddr_in *addr);

/* A non-blocking socket whose connection to addr is under way, from source when that is
 * not NULL.  -1 with errno. */
int addr_connect(const struct sockaddr_in *addr, const struct sockaddr_in *source);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* Small allocations that end the process when they fail: the supervisor restarts the
 * worker and the MTA tempfails meanwhile, which is better than going on half-made.
 * Sizes that a stranger chooses are checked against a limit before they come here. */
#ifndef POSTERN_BASE_XALLOC_H
#define POSTERN_BASE_XALLOC_H

#include <stddef.h>

/* Never NULL; the caller frees with free().  n * size is checked for overflow. */
void *xmalloc(size_t size) __attribute__((malloc, returns_nonnull));
void *xcalloc(size_t n, size_t size) __attribute__((malloc, returns_nonnull));
void *xreallocarray(void *p, size_t n, size_t size) __attribute__((returns_nonnull));
char *xstrdup(const char *s) __attribute__((malloc, returns_nonnull));

/* A copy of len octets with a NUL behind it. */
char *xmemdup0(const void *p, size_t len) __attribute__((malloc, returns_nonnull));

/* sprintf into fresh memory. */
char *xasprintf(const char *fmt, ...)
    __attribute__((malloc, returns_nonnull, format(printf, 1, 2)));

#endif

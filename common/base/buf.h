/* SPDX-License-Identifier: BSD-2-Clause */
/* Octets that grow up to a maximum given at birth, and then fail instead of growing.  A
 * failed addition adds nothing and is remembered, so that a chain of additions is
 * checked once at its end. */
#ifndef POSTERN_BASE_BUF_H
#define POSTERN_BASE_BUF_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

#include "common/base/str.h"

struct buf {
	char *p;
	size_t len;
	size_t cap;
	size_t max;
	bool failed; /* an addition did not fit since init or reset */
};

/* Storage of the caller; nothing is allocated before the first addition. */
void buf_init(struct buf *b, size_t max);
/* Free the memory; usable again with the same maximum. */
void buf_clear(struct buf *b);
/* Forget the content and the failure, keep the memory. */
void buf_reset(struct buf *b);

/* 0, or -1 when the maximum does not allow it. */
int buf_add(struct buf *b, const void *p, size_t len);
int buf_add_str(struct buf *b, struct str s);
int buf_add_cstr(struct buf *b, const char *s);
int buf_add_char(struct buf *b, char c);
int buf_addf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int buf_vaddf(struct buf *b, const char *fmt, va_list ap)
    __attribute__((format(printf, 2, 0)));
int buf_add_u16(struct buf *b, unsigned v); /* big-endian */
int buf_add_u32(struct buf *b, unsigned long v);

/* Room for len more octets behind the content; write there, then add to b->len.
 * NULL when the maximum does not allow it. */
char *buf_reserve(struct buf *b, size_t len);

/* Drop n octets from the front. */
void buf_consume(struct buf *b, size_t n);

/* The content; borrowed until the next change. */
static inline struct str
buf_str(const struct buf *b)
{
	return (struct str){ b->p, b->len };
}

/* The content with a NUL behind it (not counted); "" when empty or out of room. */
const char *buf_cstr(struct buf *b);

/* Hand the memory, with a NUL behind the content, to the caller, who frees it. */
char *buf_take(struct buf *b);

#endif

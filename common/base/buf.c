/* SPDX-License-Identifier: BSD-2-Clause */
/* Growing octets with a limit. */
#include "common/base/buf.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/base/xalloc.h"

void
buf_init(struct buf *b, size_t max)
{
	*b = (struct buf){ .max = max };
}

void
buf_clear(struct buf *b)
{
	free(b->p);
	buf_init(b, b->max);
}

void
buf_reset(struct buf *b)
{
	b->len = 0;
	b->failed = false;
}

char *
buf_reserve(struct buf *b, size_t len)
{
	size_t need, with_nul;

	if (__builtin_add_overflow(b->len, len, &need) || need > b->max ||
	    __builtin_add_overflow(need, 1, &with_nul)) {
		b->failed = true;
		return NULL;
	}
	if (with_nul > b->cap) {
		size_t cap = b->cap < 64 ? 64 : b->cap;

		while (cap < with_nul)
			cap = cap > b->max / 2 ? b->max + 1 : cap * 2;
		if (cap < with_nul)
			cap = with_nul;
		b->p = xreallocarray(b->p, cap, 1);
		b->cap = cap;
	}
	return b->p + b->len;
}

int
buf_add(struct buf *b, const void *p, size_t len)
{
	char *room = buf_reserve(b, len);

	if (room == NULL)
		return -1;
	if (len > 0)
		memcpy(room, p, len);
	b->len += len;
	return 0;
}

int
buf_add_str(struct buf *b, struct str s)
{
	return buf_add(b, s.p, s.len);
}

int
buf_add_cstr(struct buf *b, const char *s)
{
	return buf_add(b, s, strlen(s));
}

int
buf_add_char(struct buf *b, char c)
{
	return buf_add(b, &c, 1);
}

int
buf_vaddf(struct buf *b, const char *fmt, va_list ap)
{
	va_list again;

	va_copy(again, ap);
	int n = vsnprintf(NULL, 0, fmt, again);
	va_end(again);
	char *room = n < 0 ? NULL : buf_reserve(b, (size_t)n);
	if (room == NULL) {
		b->failed = true;
		return -1;
	}
	vsnprintf(room, (size_t)n + 1, fmt, ap);
	b->len += (size_t)n;
	return 0;
}

int
buf_addf(struct buf *b, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	int rc = buf_vaddf(b, fmt, ap);
	va_end(ap);
	return rc;
}

int
buf_add_u16(struct buf *b, unsigned v)
{
	unsigned char o[2] = { (unsigned char)(v >> 8), (unsigned char)v };

	return buf_add(b, o, sizeof(o));
}

int
buf_add_u32(struct buf *b, unsigned long v)
{
	unsigned char o[4] = { (unsigned char)(v >> 24), (unsigned char)(v >> 16),
		(unsigned char)(v >> 8), (unsigned char)v };

	return buf_add(b, o, sizeof(o));
}

void
buf_consume(struct buf *b, size_t n)
{
	if (n >= b->len) {
		b->len = 0;
		return;
	}
	if (n == 0)
		return;
	memmove(b->p, b->p + n, b->len - n);
	b->len -= n;
}

const char *
buf_cstr(struct buf *b)
{
	if (buf_reserve(b, 0) == NULL)
		return "";
	b->p[b->len] = '\0';
	return b->p;
}

char *
buf_take(struct buf *b)
{
	char *p = b->p;

	if (p == NULL)
		p = xmalloc(1);
	else
		buf_cstr(b);
	p[b->len] = '\0';
	buf_init(b, b->max);
	return p;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* A bit per hash of three octets says whether any word begins so: small enough to stay in
 * the nearest cache; behind it a chain of words per hash. */
#include "milters/score/prefilter.h"

#include <stdlib.h>

#include "common/base/xalloc.h"

#define BUCKETS 32768u /* a power of two; bits: 4 kB */
#define NONE UINT32_MAX

struct word {
	char p[LITERAL_LEN_MAX];
	unsigned char len;
	bool seen; /* in this text */
	uint32_t next; /* of its bucket */
	uint32_t *patterns;
	size_t n_patterns;
};

struct prefilter {
	uint64_t bits[BUCKETS / 64];
	uint32_t heads[BUCKETS];
	struct word *words;
	size_t n_words;
};

static uint32_t
bucket_of(unsigned char a, unsigned char b, unsigned char c)
{
	uint32_t h = (uint32_t)a << 16 | (uint32_t)b << 8 | c;

	return (h * 2654435761u) >> 17; /* Knuth's multiplier: the upper 15 bits */
}

struct prefilter *
prefilter_new(void)
{
	struct prefilter *p = xcalloc(1, sizeof(*p));

	for (size_t i = 0; i < BUCKETS; i++)
		p->heads[i] = NONE;
	return p;
}

void
prefilter_free(struct prefilter *p)
{
	if (p == NULL)
		return;
	for (size_t i = 0; i < p->n_words; i++)
		free(p->words[i].patterns);
	free(p->words);
	free(p);
}

static struct word *
word_of(struct prefilter *p, const char *text, size_t len)
{
	const unsigned char *u = (const unsigned char *)text;
	uint32_t b = bucket_of(u[0], u[1], u[2]);

	for (uint32_t i = p->heads[b]; i != NONE; i = p->words[i].next)
		if (p->words[i].len == len && memcmp(p->words[i].p, text, len) == 0)
			return &p->words[i];
	if ((p->n_words & (p->n_words - 1)) == 0)
		p->words = xreallocarray(
		    p->words, p->n_words == 0 ? 1 : p->n_words * 2, sizeof(*p->words));
	struct word *w = &p->words[p->n_words];
	*w = (struct word){ .len = (unsigned char)len, .next = p->heads[b] };
	memcpy(w->p, text, len);
	p->heads[b] = (uint32_t)p->n_words++;
	p->bits[b / 64] |= (uint64_t)1 << (b % 64);
	return w;
}

void
prefilter_add(struct prefilter *p, size_t pattern, const struct literals *words)
{
	for (size_t i = 0; i < words->n; i++) {
		struct word *w = word_of(p, words->list[i].p, words->list[i].len);

		w->patterns =
		    xreallocarray(w->patterns, w->n_patterns + 1, sizeof(*w->patterns));
		w->patterns[w->n_patterns++] = (uint32_t)pattern;
	}
}

static bool
stands_here(const struct word *w, struct str rest)
{
	if (w->len > rest.len)
		return false;
	for (size_t i = 0; i < w->len; i++)
		if (ascii_lower(rest.p[i]) != w->p[i])
			return false;
	return true;
}

static void
look_closer(struct prefilter *p, uint32_t bucket, struct str rest, bool *wanted)
{
	for (uint32_t i = p->heads[bucket]; i != NONE; i = p->words[i].next) {
		struct word *w = &p->words[i];

		if (w->seen || !stands_here(w, rest))
			continue;
		w->seen = true;
		for (size_t k = 0; k < w->n_patterns; k++)
			wanted[w->patterns[k]] = true;
	}
}

void
prefilter_run(struct prefilter *p, struct str text, bool *wanted)
{
	unsigned char a, b, c;

	for (size_t i = 0; i < p->n_words; i++)
		p->words[i].seen = false;
	if (text.len < LITERAL_LEN_MIN)
		return;
	a = (unsigned char)ascii_lower(text.p[0]);
	b = (unsigned char)ascii_lower(text.p[1]);
	for (size_t i = 2; i < text.len; i++) {
		c = (unsigned char)ascii_lower(text.p[i]);
		uint32_t bucket = bucket_of(a, b, c);

		if (p->bits[bucket / 64] >> (bucket % 64) & 1)
			look_closer(p, bucket, str_sub(text, i - 2, text.len), wanted);
		a = b;
		b = c;
	}
}

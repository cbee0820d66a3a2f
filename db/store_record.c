/* SPDX-License-Identifier: BSD-2-Clause */
/* The octets of store_record.h.  What is read is as foreign as mail: another version of
 * ours, a torn page, a file that somebody copied here. */
#include "db/store_record.h"

#include <assert.h>

void
be64_put(uint8_t *out, int64_t v)
{
	for (int i = 7; i >= 0; i--, v = (int64_t)((uint64_t)v >> 8))
		out[i] = (uint8_t)v;
}

int64_t
be64_get(const uint8_t *in)
{
	uint64_t v = 0;

	for (int i = 0; i < 8; i++)
		v = v << 8 | in[i];
	return (int64_t)v;
}

/* Octets between head and name; 0: no such kind. */
static size_t
body_len(unsigned kind)
{
	switch (kind) {
	case RECORD_TRIPLE:
		return 25;
	case RECORD_CLIENT:
	case RECORD_EVENT:
		return 24;
	case RECORD_RATE:
		return 16;
	}
	return 0;
}

static bool
triple_read(const uint8_t *p, struct greylist_triple *t)
{
	*t = (struct greylist_triple){ .exists = true,
		.known = p[0] == 1,
		.first = be64_get(p + 1),
		.last = be64_get(p + 9),
		.tries = be64_get(p + 17) };
	return p[0] <= 1 && t->tries > 0 && t->first <= t->last;
}

static bool
body_read(const uint8_t *p, struct record *out)
{
	int64_t a = be64_get(p), b = be64_get(p + 8);

	switch (out->kind) {
	case RECORD_TRIPLE:
		return triple_read(p, &out->triple);
	case RECORD_CLIENT:
		out->client = (struct greylist_client){ .exists = true,
			.confirmed = a,
			.last = b,
			.voided = be64_get(p + 16) };
		return a >= 0;
	case RECORD_EVENT:
		out->event = (struct event_sum){ a, b, be64_get(p + 16) };
		return a >= 0 && out->event.keep >= 0;
	case RECORD_RATE:
		out->rate = (struct rate_level){ a, b };
		return a >= 0;
	}
	return false;
}

enum record_read
record_decode(struct str in, struct record *out)
{
	const uint8_t *p = (const uint8_t *)in.p;

	*out = (struct record){ 0 };
	if (in.len < RECORD_HEAD)
		return RECORD_BAD;
	out->kind = p[1];
	out->expires = be64_get(p + 2);
	out->indexed = be64_get(p + 10);
	if (p[0] == 0 || out->indexed > out->expires)
		return RECORD_BAD;
	size_t body = body_len(p[1]);
	if (p[0] != RECORD_VERSION || body == 0)
		return RECORD_FOREIGN;
	if (in.len < RECORD_HEAD + body + 2 || !body_read(p + RECORD_HEAD, out))
		return RECORD_BAD;
	p += RECORD_HEAD + body;
	out->name_len = (size_t)p[0] << 8 | p[1];
	out->name = str_sub(in, RECORD_HEAD + body + 2, in.len);
	size_t kept =
	    out->name_len < RECORD_NAME_KEPT ? out->name_len : RECORD_NAME_KEPT;
	return out->name.len == kept ? RECORD_OK : RECORD_BAD;
}

static void
body_write(const struct record *r, uint8_t *p)
{
	switch (r->kind) {
	case RECORD_TRIPLE:
		p[0] = r->triple.known;
		be64_put(p + 1, r->triple.first);
		be64_put(p + 9, r->triple.last);
		be64_put(p + 17, r->triple.tries);
		return;
	case RECORD_CLIENT:
		be64_put(p, r->client.confirmed);
		be64_put(p + 8, r->client.last);
		be64_put(p + 16, r->client.voided);
		return;
	case RECORD_EVENT:
		be64_put(p, r->event.weight);
		be64_put(p + 8, r->event.last);
		be64_put(p + 16, r->event.keep);
		return;
	case RECORD_RATE:
		be64_put(p, r->rate.level);
		be64_put(p + 8, r->rate.stamp);
		return;
	}
}

size_t
record_encode(const struct record *r, uint8_t out[RECORD_MAX])
{
	struct str kept = str_sub(r->name, 0, RECORD_NAME_KEPT);
	size_t at = RECORD_HEAD + body_len((unsigned)r->kind);

	assert(r->name_len <= UINT16_MAX);
	out[0] = RECORD_VERSION;
	out[1] = (uint8_t)r->kind;
	be64_put(out + 2, r->expires);
	be64_put(out + 10, r->indexed);
	body_write(r, out + RECORD_HEAD);
	out[at++] = (uint8_t)(r->name_len >> 8);
	out[at++] = (uint8_t)r->name_len;
	if (kept.len > 0)
		memcpy(out + at, kept.p, kept.len);
	return at + kept.len;
}

bool
record_is(const struct record *r, struct str name)
{
	return r->name_len == name.len &&
	    str_eq(r->name, str_sub(name, 0, RECORD_NAME_KEPT));
}

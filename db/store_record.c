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

/* Least octets between head and name; 0: no such kind. */
static size_t
body_min(unsigned kind)
{
	switch (kind) {
	case RECORD_NOTE:
		return 10;
	case RECORD_HOLD:
		return 2;
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

static size_t
be16_get(const uint8_t *p)
{
	return (size_t)p[0] << 8 | p[1];
}

static void
be16_put(uint8_t *p, size_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static bool
note_read(const uint8_t *p, size_t len, struct note *out)
{
	*out = (struct note){ .exists = true, .since = be64_get(p) };
	out->len = be16_get(p + 8);
	if (out->len > RECORD_NOTE_MAX || len < 10 + out->len)
		return false;
	memcpy(out->text, p + 10, out->len);
	return true;
}

static bool
places_read(const uint8_t *p, size_t len, struct hold *out)
{
	*out = (struct hold){ be16_get(p), p + 2 };
	return out->n <= RECORD_PLACES_MAX && len >= 2 + out->n * RECORD_PLACE;
}

static size_t
body_len(const struct record *r)
{
	return body_min(r->kind) +
	    (r->kind == RECORD_NOTE	  ? r->note.len
		    : r->kind == RECORD_HOLD ? r->hold.n * RECORD_PLACE
					     : 0);
}

/* len: of what is left of the record, body_min() at least. */
static bool
body_read(const uint8_t *p, size_t len, struct record *out)
{
	int64_t a = 0, b = 0;

	if (body_min(out->kind) >= 16) {
		a = be64_get(p);
		b = be64_get(p + 8);
	}
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
	case RECORD_NOTE:
		return note_read(p, len, &out->note);
	case RECORD_HOLD:
		return places_read(p, len, &out->hold);
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
	size_t body = body_min(p[1]);
	if (p[0] != RECORD_VERSION || body == 0)
		return RECORD_FOREIGN;
	if (in.len < RECORD_HEAD + body ||
	    !body_read(p + RECORD_HEAD, in.len - RECORD_HEAD, out))
		return RECORD_BAD;
	body = body_len(out);
	if (in.len < RECORD_HEAD + body + 2)
		return RECORD_BAD;
	p += RECORD_HEAD + body;
	out->name_len = be16_get(p);
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
	case RECORD_NOTE:
		be64_put(p, r->note.since);
		be16_put(p + 8, r->note.len);
		memcpy(p + 10, r->note.text, r->note.len);
		return;
	case RECORD_HOLD:
		assert(r->hold.n <= RECORD_PLACES_MAX);
		be16_put(p, r->hold.n);
		if (r->hold.n > 0)
			memcpy(p + 2, r->hold.places, r->hold.n * RECORD_PLACE);
		return;
	}
}

size_t
record_encode(const struct record *r, uint8_t out[RECORD_MAX])
{
	struct str kept = str_sub(r->name, 0, RECORD_NAME_KEPT);
	size_t at = RECORD_HEAD + body_len(r);

	assert(r->name_len <= UINT16_MAX);
	out[0] = RECORD_VERSION;
	out[1] = (uint8_t)r->kind;
	be64_put(out + 2, r->expires);
	be64_put(out + 10, r->indexed);
	body_write(r, out + RECORD_HEAD);
	be16_put(out + at, r->name_len);
	at += 2;
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

/* SPDX-License-Identifier: BSD-2-Clause */
/* The border of the jail: numbers big-endian, strings with a length in front.  The reader
 * trusts nothing: a worker may have been taken over by the message that it read. */
#include "milters/mime/inspection.h"

#include <stdlib.h>

#include "common/base/xalloc.h"

#define INSPECTION_MAGIC 0x50694e31u /* "PiN1": changes with the layout */

const char *
scan_state_name(enum scan_state state)
{
	static const char *const names[] = { "clean", "infected", "limit", "encrypted",
		"error" };

	return names[state];
}

static void
write_text(struct buf *out, struct str s)
{
	if (s.len > INSPECTION_TEXT_MAX)
		s.len = INSPECTION_TEXT_MAX;
	buf_add_u16(out, (unsigned)s.len);
	buf_add_str(out, s);
}

void
inspection_write_head(
    struct buf *out, uint32_t flags, uint32_t n_views, struct str engine, uint32_t n_parts)
{
	buf_add_u32(out, INSPECTION_MAGIC);
	buf_add_u32(out, flags);
	buf_add_u32(out, n_views);
	write_text(out, engine);
	buf_add_u32(out, n_parts);
}

void
inspection_write_part(struct buf *out, const struct inspected_part *p)
{
	buf_add_u32(out, (uint32_t)p->top);
	buf_add_u32(out, (uint32_t)p->head);
	buf_add_u32(out, (uint32_t)p->body);
	buf_add_u32(out, (uint32_t)p->body_end);
	buf_add_char(out, p->multipart);
	buf_add_char(out, (char)p->state);
	write_text(out, p->virus);
	write_text(out, p->type);
	write_text(out, p->sniffed);
	buf_add_u16(out, (unsigned)p->n_own_names);
	buf_add_u16(out, (unsigned)p->n_names);
	for (size_t i = 0; i < p->n_names; i++)
		write_text(out, p->names[i]);
}

/* A cursor that remembers its first failure. */
struct in {
	struct str s;
	bool bad;
};

static uint32_t
read_number(struct in *in, size_t octets)
{
	uint32_t v = 0;

	if (in->s.len < octets) {
		in->bad = true;
		return 0;
	}
	for (size_t i = 0; i < octets; i++)
		v = v << 8 | (unsigned char)in->s.p[i];
	in->s = str_sub(in->s, octets, in->s.len);
	return v;
}

static struct str
read_text(struct in *in)
{
	uint32_t len = read_number(in, 2);

	if (len > INSPECTION_TEXT_MAX || len > in->s.len) {
		in->bad = true;
		return (struct str){ "", 0 };
	}
	struct str text = str_sub(in->s, 0, len);
	in->s = str_sub(in->s, len, in->s.len);
	return text;
}

static void
read_part(struct in *in, size_t message_len, struct inspected_part *p)
{
	*p = (struct inspected_part){ .top = (int)read_number(in, 4) };
	p->head = read_number(in, 4);
	p->body = read_number(in, 4);
	p->body_end = read_number(in, 4);
	p->multipart = read_number(in, 1) != 0;
	uint32_t state = read_number(in, 1);
	p->virus = read_text(in);
	p->type = read_text(in);
	p->sniffed = read_text(in);
	p->n_own_names = read_number(in, 2);
	p->n_names = read_number(in, 2);
	if (p->top < -1 || p->head > p->body || p->body > p->body_end ||
	    p->body_end > message_len || state > SCAN_ERROR ||
	    p->n_names > INSPECTION_NAMES_MAX || p->n_own_names > p->n_names) {
		in->bad = true;
		p->n_names = p->n_own_names = 0;
		return;
	}
	p->state = (enum scan_state)state;
	for (size_t i = 0; i < p->n_names; i++)
		p->names[i] = read_text(in);
}

int
inspection_read(
    struct str raw, size_t message_len, struct inspection *out, struct err *err)
{
	struct in in = { .s = raw };

	*out = (struct inspection){ 0 };
	if (read_number(&in, 4) != INSPECTION_MAGIC)
		return err_set(err, "the scanner's answer has another layout");
	out->flags = read_number(&in, 4);
	out->n_views = read_number(&in, 4);
	out->engine = read_text(&in);
	uint32_t n = read_number(&in, 4);
	/* The message as a whole is always one of them. */
	if (in.bad || n == 0 || n > INSPECTION_PARTS_MAX)
		return err_set(err, "the scanner's answer is malformed");
	out->parts = xcalloc(n, sizeof(*out->parts));
	for (out->n_parts = 0; out->n_parts < n && !in.bad; out->n_parts++)
		read_part(&in, message_len, &out->parts[out->n_parts]);
	if (!in.bad && in.s.len == 0)
		return 0;
	inspection_clear(out);
	return err_set(err, "the scanner's answer is malformed");
}

void
inspection_clear(struct inspection *i)
{
	free(i->parts);
	*i = (struct inspection){ 0 };
}

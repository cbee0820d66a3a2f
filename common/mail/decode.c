/* SPDX-License-Identifier: BSD-2-Clause */
/* Transfer encodings read as mail readers read them: junk is skipped, broken escapes stay
 * literal.  What to do about an encoding that readers take differently is decided by the
 * caller, who decodes in both modes and compares. */
#include "common/mail/decode.h"

#include <stdint.h>

#define B64_JUNK 64
#define B64_PAD 65
#define B64_SPACE 66

static uint8_t
b64_value(char c)
{
	if (c >= 'A' && c <= 'Z')
		return (uint8_t)(c - 'A');
	if (c >= 'a' && c <= 'z')
		return (uint8_t)(c - 'a' + 26);
	if (c >= '0' && c <= '9')
		return (uint8_t)(c - '0' + 52);
	switch (c) {
	case '+':
	case '-':
		return 62;
	case '/':
	case '_':
		return 63;
	case '=':
		return B64_PAD;
	case '\r':
	case '\n':
	case ' ':
	case '\t':
		return B64_SPACE;
	}
	return B64_JUNK;
}

/* A quantum in the making. */
struct quantum {
	uint32_t bits;
	unsigned n; /* characters in it, 0 to 3 */
};

static bool
put_octets(struct quantum *q, struct buf *out, unsigned *seen)
{
	unsigned octets = q->n == 4 ? 3 : q->n > 1 ? q->n - 1 : 0;
	uint32_t bits = q->bits << (6 * (4 - q->n));
	char o[3] = { (char)(bits >> 16), (char)(bits >> 8), (char)bits };

	*q = (struct quantum){ 0 };
	if (buf_add(out, o, octets) == 0)
		return true;
	*seen |= DECODED_FULL;
	return false;
}

unsigned
decode_base64(struct str in, enum decode_mode mode, struct buf *out)
{
	struct quantum q = { 0 };
	unsigned seen = 0;
	bool padded = false;

	for (size_t i = 0; i < in.len; i++) {
		uint8_t v = b64_value(in.p[i]);

		if (v == B64_SPACE)
			continue;
		if (v == B64_JUNK) {
			seen |= DECODED_JUNK;
			continue;
		}
		if (v == B64_PAD) {
			/* A '=' before any data is skipped by those who read on at all. */
			if (q.n > 1 && !put_octets(&q, out, &seen))
				return seen;
			padded = padded || out->len > 0;
			q.n = 0;
			continue;
		}
		if (padded) {
			seen |= DECODED_AFTER_PAD;
			if (mode == DECODE_STOP)
				return seen;
			padded = false;
		}
		if (in.p[i] == '-' || in.p[i] == '_')
			seen |= DECODED_URLSAFE;
		q.bits = q.bits << 6 | v;
		if (++q.n == 4 && !put_octets(&q, out, &seen))
			return seen;
	}
	if (q.n > 0) {
		seen |= DECODED_TRUNCATED;
		put_octets(&q, out, &seen);
	}
	return seen;
}

static int
hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = ascii_lower(c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool
hex_pair(struct str in, size_t at, char *out)
{
	if (at + 1 >= in.len)
		return false;
	int high = hex_value(in.p[at]), low = hex_value(in.p[at + 1]);

	if (high < 0 || low < 0)
		return false;
	*out = (char)(high << 4 | low);
	return true;
}

/* Behind a '=': blanks and a line end make a soft break (RFC 2045 6.7 rule 5).  Returns
 * how many octets belong to it, 0 when it is none. */
static size_t
soft_break(struct str in, size_t at)
{
	size_t i = at;

	while (i < in.len && ascii_blank(in.p[i]))
		i++;
	if (i == in.len)
		return i - at; /* '=' at the very end */
	if (in.p[i] == '\n')
		return i + 1 - at;
	if (in.p[i] != '\r')
		return 0;
	i++;
	if (i < in.len && in.p[i] == '\n')
		i++;
	return i - at;
}

unsigned
decode_qp(struct str in, struct buf *out)
{
	unsigned seen = 0;
	size_t i = 0;

	while (i < in.len) {
		char c = in.p[i++];

		if (c == '=') {
			size_t gap = soft_break(in, i);

			if (gap > 0 || i == in.len) {
				i += gap;
				continue;
			}
			if (hex_pair(in, i, &c))
				i += 2;
			else
				seen |= DECODED_BAD_ESCAPE;
		} else if (ascii_blank(c)) {
			/* Blanks before a line end were added in transit (rule 3). */
			size_t j = i;

			while (j < in.len && ascii_blank(in.p[j]))
				j++;
			if (j < in.len && (in.p[j] == '\r' || in.p[j] == '\n')) {
				i = j;
				continue;
			}
		}
		if (buf_add_char(out, c) != 0)
			return seen | DECODED_FULL;
	}
	return seen;
}

unsigned
decode_qp_loose(struct str in, struct buf *out)
{
	unsigned seen = 0;
	struct buf joined;

	buf_init(&joined, in.len);
	for (size_t i = 0; i < in.len; i++) {
		size_t gap = in.p[i] == '=' ? soft_break(in, i + 1) : 0;

		if (gap == 0)
			buf_add_char(&joined, in.p[i]);
		i += gap;
	}
	struct str s = buf_str(&joined);
	for (size_t i = 0; i < s.len && seen == 0; i++) {
		char c = s.p[i];

		if (c == '=' && !hex_pair(s, i + 1, &c)) {
			i++;
			continue;
		}
		i += s.p[i] == '=' ? 2 : 0;
		if (buf_add_char(out, c) != 0)
			seen = DECODED_FULL;
	}
	buf_clear(&joined);
	return seen;
}

static struct str
next_line(struct str in, size_t *at)
{
	struct str rest = str_sub(in, *at, in.len);
	ptrdiff_t lf = str_index(rest, '\n');
	size_t len = lf < 0 ? rest.len : (size_t)lf;

	*at += lf < 0 ? rest.len : len + 1;
	if (len > 0 && rest.p[len - 1] == '\r')
		len--;
	return str_sub(rest, 0, len);
}

enum block { BLOCK_NONE, BLOCK_UU, BLOCK_BASE64, BLOCK_YENC };

/* "begin 644 name": mode of three or four octal digits. */
static bool
uu_begin(struct str line, struct str *name)
{
	struct str word;

	if (!str_word(&line, &word) || word.len < 3 || word.len > 4)
		return false;
	for (size_t i = 0; i < word.len; i++)
		if (word.p[i] < '0' || word.p[i] > '7')
			return false;
	*name = str_trim(line);
	return name->len > 0;
}

static enum block
block_begin(struct str line, struct str *name)
{
	static const struct str key = STR(" name=");

	if (str_starts(line, STR("begin ")))
		return uu_begin(str_sub(line, 6, line.len), name) ? BLOCK_UU : BLOCK_NONE;
	if (str_starts(line, STR("begin-base64 ")))
		return uu_begin(str_sub(line, 13, line.len), name) ? BLOCK_BASE64 : BLOCK_NONE;
	if (!str_starts(line, STR("=ybegin ")))
		return BLOCK_NONE;
	for (size_t i = 8; i + key.len <= line.len; i++)
		if (str_starts(str_sub(line, i, line.len), key)) {
			*name = str_trim(str_sub(line, i + key.len, line.len));
			return BLOCK_YENC;
		}
	return BLOCK_NONE;
}

static bool
uu_line(struct str line, struct buf *out)
{
	size_t want = (size_t)((line.p[0] - 32) & 63), at = 1;

	while (want > 0) {
		uint32_t bits = 0;

		for (size_t i = 0; i < 4; i++, at++)
			bits = bits << 6 |
			    (at < line.len ? (uint32_t)(line.p[at] - 32) & 63 : 0);
		char o[3] = { (char)(bits >> 16), (char)(bits >> 8), (char)bits };
		size_t n = want < 3 ? want : 3;

		if (buf_add(out, o, n) != 0)
			return false;
		want -= n;
	}
	return true;
}

/* Octets are moved by 42; '=' escapes one that is moved by 64 more. */
static bool
yenc_line(struct str line, struct buf *out)
{
	if (str_starts(line, STR("=y")))
		return true; /* "=ypart" */
	for (size_t i = 0; i < line.len; i++) {
		unsigned c = (unsigned char)line.p[i];

		if (c == '=' && i + 1 < line.len)
			c = (unsigned)(unsigned char)line.p[++i] - 64;
		if (buf_add_char(out, (char)(unsigned char)(c - 42)) != 0)
			return false;
	}
	return true;
}

static bool
block_line(enum block kind, struct str line, struct buf *out)
{
	switch (kind) {
	case BLOCK_UU:
		return uu_line(line, out);
	case BLOCK_BASE64:
		return (decode_base64(line, DECODE_RESYNC, out) & DECODED_FULL) == 0;
	case BLOCK_YENC:
		return yenc_line(line, out);
	case BLOCK_NONE:
		break;
	}
	return false;
}

static bool
block_end(enum block kind, struct str line)
{
	return kind == BLOCK_UU ? str_is(line, "end")
	    : kind == BLOCK_BASE64 ? str_is(line, "====")
				   : str_starts(line, STR("=yend"));
}

bool
decode_uu_next(struct str in, size_t *at, struct str *name, struct buf *out)
{
	while (*at < in.len) {
		enum block kind = block_begin(next_line(in, at), name);

		if (kind == BLOCK_NONE)
			continue;
		while (*at < in.len) {
			struct str line = next_line(in, at);

			if (block_end(kind, line))
				break;
			if (line.len > 0 && !block_line(kind, line, out))
				break;
		}
		return true;
	}
	return false;
}

void
decode_percent(struct str in, struct buf *out)
{
	for (size_t i = 0; i < in.len; i++) {
		char c = in.p[i];

		if (c == '%' && hex_pair(in, i + 1, &c))
			i += 2;
		if (buf_add_char(out, c) != 0)
			return;
	}
}

/* RFC 2047 4.2: quoted-printable with '_' for a space. */
static void
decode_q(struct str in, struct buf *out)
{
	for (size_t i = 0; i < in.len; i++) {
		char c = in.p[i];

		if (c == '_')
			c = ' ';
		else if (c == '=' && hex_pair(in, i + 1, &c))
			i += 2;
		if (buf_add_char(out, c) != 0)
			return;
	}
}

/* Longer than RFC 2047's 75, because readers take longer ones too. */
#define WORD_MAX 4096

bool
decode_word(struct str in, size_t *used, struct str *charset, struct buf *out)
{
	struct str rest, encoding, text;
	size_t end;

	if (!str_starts(in, STR("=?")))
		return false;
	rest = str_sub(in, 2, in.len < WORD_MAX ? in.len : WORD_MAX);
	if (!str_has(rest, '?') || !str_cut(&rest, '?', charset) || charset->len == 0 ||
	    !str_has(rest, '?') || !str_cut(&rest, '?', &encoding) || encoding.len != 1)
		return false;
	for (end = 0; end + 1 < rest.len; end++) {
		if (rest.p[end] == '?' && rest.p[end + 1] == '=')
			break;
		if (rest.p[end] == '\r' || rest.p[end] == '\n')
			return false;
	}
	if (end + 1 >= rest.len)
		return false;
	text = str_sub(rest, 0, end);
	if (ascii_lower(encoding.p[0]) == 'b')
		decode_base64(text, DECODE_RESYNC, out);
	else if (ascii_lower(encoding.p[0]) == 'q')
		decode_q(text, out);
	else
		return false;
	*used = (size_t)(rest.p + end + 2 - in.p);
	ptrdiff_t star = str_index(*charset, '*');
	if (star >= 0)
		charset->len = (size_t)star;
	return true;
}

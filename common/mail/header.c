/* SPDX-License-Identifier: BSD-2-Clause */
/* The header section of RFC 5322 2.2 as a list of fields.  A field that nobody edits
 * leaves with the octets it came with (signatures cover them); a field that is put in
 * can neither end the section nor begin another field.  What fields mean is read
 * elsewhere. */
#include "common/mail/header.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/xalloc.h"

struct header {
	struct header_field *fields; /* raw.p of each is memory of its own */
	size_t n, cap;
	size_t size; /* octets of all raws */
};

struct header *
header_new(void)
{
	return xcalloc(1, sizeof(struct header));
}

static void
field_free(struct header_field *f)
{
	/* raw borrows for everybody but us. */
	free((void *)(uintptr_t)f->raw.p);
}

static void
header_empty(struct header *h)
{
	for (size_t i = 0; i < h->n; i++)
		field_free(&h->fields[i]);
	h->n = h->size = 0;
}

void
header_free(struct header *h)
{
	if (h == NULL)
		return;
	header_empty(h);
	free(h->fields);
	free(h);
}

/* Length of the field name at the front of a line, blanks behind it and the colon in
 * *value = offset behind the colon.  0: the line is no field. */
static size_t
name_len(struct str line, size_t *value)
{
	size_t len = 0;

	while (len < line.len && line.p[len] > ' ' && line.p[len] < 127 &&
	    line.p[len] != ':')
		len++;
	size_t colon = len;

	/* "Subject : x" is obsolete syntax (RFC 5322 4.5) and still sent. */
	while (colon < line.len && ascii_blank(line.p[colon]))
		colon++;
	if (len == 0 || colon == line.len || line.p[colon] != ':')
		return 0;
	*value = colon + 1;
	return len;
}

bool
header_name_ok(struct str name)
{
	for (size_t i = 0; i < name.len; i++) {
		if (name.p[i] <= ' ' || name.p[i] >= 127 || name.p[i] == ':')
			return false;
	}
	return name.len > 0 && name.len <= HEADER_NAME_MAX;
}

/* Point name and value of f into raw, which ends in CRLF and begins with a name. */
static void
field_split(struct header_field *f)
{
	size_t value = 0;
	size_t len = name_len(f->raw, &value);

	f->name = str_sub(f->raw, 0, len);
	f->value = str_sub(f->raw, value, f->raw.len - 2);
}

/* Put a field at position at; raw->p is kept.  The caller has looked at the limits. */
static void
field_take(struct header *h, size_t at, char *raw, size_t len, size_t offset)
{
	if (h->n == h->cap) {
		h->cap = h->cap == 0 ? 32 : h->cap * 2;
		h->fields = xreallocarray(h->fields, h->cap, sizeof(*h->fields));
	}
	if (at > h->n)
		at = h->n;
	memmove(&h->fields[at + 1], &h->fields[at], (h->n - at) * sizeof(*h->fields));
	h->fields[at] = (struct header_field){ .raw = { raw, len }, .offset = offset };
	field_split(&h->fields[at]);
	h->n++;
	h->size += len;
}

/* A copy of lines in which every one ends in CRLF; a bare CR is left as it is.  *len:
 * octets of the copy. */
static char *
with_crlf(struct str lines, size_t *len)
{
	size_t lfs = 0;

	for (size_t i = 0; i < lines.len; i++)
		lfs += lines.p[i] == '\n';
	char *out = xmalloc(lines.len + lfs + 2);

	*len = 0;
	for (size_t i = 0; i < lines.len; i++) {
		if (lines.p[i] == '\n' && (i == 0 || lines.p[i - 1] != '\r'))
			out[(*len)++] = '\r';
		out[(*len)++] = lines.p[i];
	}
	if (*len == 0 || out[*len - 1] != '\n') {
		if (*len > 0 && out[*len - 1] == '\r')
			(*len)--;
		out[(*len)++] = '\r';
		out[(*len)++] = '\n';
	}
	return out;
}

/* Offset behind the line that begins at `at`, with its line end. */
static size_t
line_end(struct str text, size_t at)
{
	const char *lf =
	    at == text.len ? NULL : memchr(text.p + at, '\n', text.len - at);

	return lf == NULL ? text.len : (size_t)(lf - text.p) + 1;
}

static int
read_limits(const struct header *h, size_t octets, struct err *err)
{
	if (h->n == HEADER_FIELDS_MAX)
		return err_set(err, "more than %d header fields", HEADER_FIELDS_MAX);
	if (octets > HEADER_SECTION_MAX || h->size + octets > HEADER_SECTION_MAX)
		return err_set(
		    err, "header section over %u octets", HEADER_SECTION_MAX);
	return 0;
}

static int
edit_limits(const struct header *h, size_t fields, size_t octets, struct err *err)
{
	if (h->n + fields > HEADER_FIELDS_EDITED_MAX)
		return err_set(
		    err, "more than %d header fields", HEADER_FIELDS_EDITED_MAX);
	if (h->size + octets > HEADER_SECTION_EDITED_MAX)
		return err_set(
		    err, "header section over %u octets", HEADER_SECTION_EDITED_MAX);
	return 0;
}

/* One field with its folds; *at moves behind it. */
static int
parse_field(struct header *h, struct str text, size_t *at, struct err *err)
{
	size_t begin = *at, len;

	do {
		*at = line_end(text, *at);
		if (read_limits(h, *at - begin, err) != 0)
			return -1;
	} while (*at < text.len && ascii_blank(text.p[*at]));

	char *raw = with_crlf(str_sub(text, begin, *at), &len);

	if (read_limits(h, len, err) != 0) {
		free(raw);
		return -1;
	}
	field_take(h, h->n, raw, len, begin);
	return 0;
}

int
header_parse(struct header *h, struct str text, size_t *body, struct err *err)
{
	size_t at = 0, value;

	header_empty(h);
	for (;;) {
		struct str line = str_sub(text, at, line_end(text, at));

		if (str_eq(line, STR("\n")) || str_eq(line, STR("\r\n"))) {
			at += line.len;
			break;
		}
		if (name_len(line, &value) == 0)
			break; /* the first bad line begins the body, as in both MTAs */
		if (parse_field(h, text, &at, err) != 0)
			return -1;
	}
	*body = at;
	return 0;
}

struct header *
header_dup(const struct header *h)
{
	struct header *copy = header_new();

	for (size_t i = 0; i < h->n; i++) {
		const struct header_field *f = &h->fields[i];

		field_take(
		    copy, i, xmemdup0(f->raw.p, f->raw.len), f->raw.len, f->offset);
	}
	return copy;
}

void
header_swap(struct header *a, struct header *b)
{
	struct header keep = *a;

	*a = *b;
	*b = keep;
}

size_t
header_count(const struct header *h)
{
	return h->n;
}

const struct header_field *
header_at(const struct header *h, size_t i)
{
	return i < h->n ? &h->fields[i] : NULL;
}

ptrdiff_t
header_find(const struct header *h, struct str name, size_t nth)
{
	for (size_t i = 0; i < h->n; i++) {
		if (str_eq_nocase(h->fields[i].name, name) && nth-- == 1)
			return (ptrdiff_t)i;
	}
	return -1;
}

size_t
header_count_name(const struct header *h, struct str name)
{
	size_t n = 0;

	for (size_t i = 0; i < h->n; i++)
		n += str_eq_nocase(h->fields[i].name, name);
	return n;
}

/* A value may be folded, but must not hold what ends a field or is no line end. */
static int
value_check(struct str value, struct err *err)
{
	for (size_t i = 0; i < value.len; i++) {
		char c = value.p[i];
		char next = i + 1 < value.len ? value.p[i + 1] : '\0';

		if (c == '\0')
			return err_set(err, "header value with NUL");
		if (c == '\r' && next != '\n')
			return err_set(err, "header value with CR that ends no line");
		if (c == '\n' && !ascii_blank(next))
			return err_set(err,
			    "header value whose next line does not begin "
			    "with a blank");
	}
	return 0;
}

/* The whole field from its parts, line ends as CRLF; NULL with err set. */
static char *
build(struct str name, struct str value, bool lead_space, size_t *len, struct err *err)
{
	struct buf b;

	/* A line end behind the value is the filter's habit, not a fold. */
	while (value.len > 0 &&
	    (value.p[value.len - 1] == '\n' || value.p[value.len - 1] == '\r'))
		value.len--;
	if (!header_name_ok(name)) {
		err_set(err,
		    "header field name that is not printable ASCII without colon, "
		    "1 to %d octets",
		    HEADER_NAME_MAX);
		return NULL;
	}
	if (value_check(value, err) != 0)
		return NULL;
	if (value.len > HEADER_SECTION_MAX) {
		err_set(err, "header value over %u octets", HEADER_SECTION_MAX);
		return NULL;
	}
	buf_init(&b, HEADER_SECTION_MAX + HEADER_NAME_MAX + 2);
	buf_add_str(&b, name);
	buf_add_char(&b, ':');
	if (!lead_space && value.len > 0)
		buf_add_char(&b, ' ');
	buf_add_str(&b, value);
	char *raw = with_crlf(buf_str(&b), len);

	buf_clear(&b);
	return raw;
}

int
header_insert(struct header *h, size_t at, struct str name, struct str value,
    bool lead_space, struct err *err)
{
	size_t len;
	char *raw = build(name, value, lead_space, &len, err);

	if (raw == NULL || edit_limits(h, 1, len, err) != 0) {
		free(raw);
		return -1;
	}
	field_take(h, at, raw, len, SIZE_MAX);
	return 0;
}

int
header_replace(struct header *h, size_t at, struct str name, struct str value,
    bool lead_space, struct err *err)
{
	size_t len;

	if (at >= h->n)
		return err_set(err, "no header field at %zu", at);
	/* The old size still counts, so a replacement near the limit may be refused. */
	char *raw = build(name, value, lead_space, &len, err);

	if (raw == NULL || edit_limits(h, 0, len, err) != 0) {
		free(raw);
		return -1;
	}
	header_delete(h, at);
	field_take(h, at, raw, len, SIZE_MAX);
	return 0;
}

void
header_delete(struct header *h, size_t at)
{
	if (at >= h->n)
		return;
	h->size -= h->fields[at].raw.len;
	field_free(&h->fields[at]);
	h->n--;
	memmove(&h->fields[at], &h->fields[at + 1], (h->n - at) * sizeof(*h->fields));
}

int
header_render(const struct header *h, struct buf *out)
{
	if (buf_reserve(out, h->size) == NULL)
		return -1;
	for (size_t i = 0; i < h->n; i++)
		buf_add_str(out, h->fields[i].raw);
	return 0;
}

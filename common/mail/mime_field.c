/* SPDX-License-Identifier: BSD-2-Clause */
/* Structured field bodies, leniently: quotes that do not close, comments in odd places and
 * missing semicolons are read as most readers do, and flagged. */
#include "common/mail/mime_field.h"

#include "common/mail/decode.h"


#define COMMENT_DEPTH_MAX 32

static bool
is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == '\0';
}

/* at stands on '('; returns the offset behind the matching ')', or the end. */
static size_t
skip_comment(struct str in, size_t at, bool *broken)
{
	unsigned depth = 0;

	for (; at < in.len; at++) {
		if (in.p[at] == '\\')
			at++;
		else if (in.p[at] == '(' && depth < COMMENT_DEPTH_MAX)
			depth++;
		else if (in.p[at] == ')' && --depth == 0)
			return at + 1;
	}
	*broken = true;
	return in.len;
}

/* at stands on '"'; the content goes to scratch. */
static size_t
read_quoted(struct str in, size_t at, struct buf *scratch, bool *broken)
{
	for (at++; at < in.len; at++) {
		char c = in.p[at];

		if (c == '"')
			return at + 1;
		if (c == '\r' || c == '\n')
			continue; /* a fold */
		if (c == '\\' && at + 1 < in.len)
			c = in.p[++at];
		buf_add_char(scratch, c);
	}
	*broken = true;
	return in.len;
}

/* A value up to ';': tokens and quoted strings, glued. */
static size_t
read_value(struct str in, size_t at, struct mime_field *f, struct buf *scratch)
{
	bool quoted = false;
	size_t start = scratch->len;

	while (at < in.len && is_blank(in.p[at]))
		at++;
	while (at < in.len && in.p[at] != ';') {
		char c = in.p[at];

		if (c == '"') {
			f->broken = f->broken || quoted || scratch->len > start;
			quoted = true;
			at = read_quoted(in, at, scratch, &f->broken);
		} else if (c == '(') {
			f->comments = true;
			at = skip_comment(in, at, &f->broken);
		} else {
			if (quoted && !is_blank(c))
				f->broken = true;
			if (!is_blank(c) || !quoted)
				buf_add_char(scratch, is_blank(c) ? ' ' : c);
			at++;
		}
	}
	/* Blanks at the end of an unquoted value are not part of it. */
	while (!quoted && scratch->len > start && scratch->p[scratch->len - 1] == ' ')
		scratch->len--;
	return at;
}

/* "filename*0*" into name, section and extended. */
static void
read_name(struct str name, struct mime_param *p)
{
	uint64_t section;

	p->section = -1;
	p->extended = false;
	if (name.len > 0 && name.p[name.len - 1] == '*') {
		p->extended = true;
		name.len--;
	}
	ptrdiff_t star = str_rindex(name, '*');
	if (star >= 0 && str_to_uint(str_sub(name, (size_t)star + 1, name.len), 0, 999, &section)) {
		p->section = (int)section;
		name.len = (size_t)star;
	}
	p->name = name;
}

static struct str
read_param_name(struct str in, size_t *at, struct mime_field *f)
{
	size_t from;

	while (*at < in.len && (is_blank(in.p[*at]) || in.p[*at] == ';' || in.p[*at] == '(')) {
		if (in.p[*at] == '(') {
			f->comments = true;
			*at = skip_comment(in, *at, &f->broken);
		} else {
			(*at)++;
		}
	}
	from = *at;
	while (*at < in.len && in.p[*at] != '=' && in.p[*at] != ';' && in.p[*at] != '(')
		(*at)++;
	struct str name = str_trim(str_sub(in, from, *at));
	while (*at < in.len && in.p[*at] == '(') {
		f->comments = true;
		*at = skip_comment(in, *at, &f->broken);
	}
	while (*at < in.len && is_blank(in.p[*at]))
		(*at)++;
	return name;
}

void
mime_field_parse(struct str raw, struct mime_field *out, struct buf *scratch)
{
	size_t at, start = scratch->len;

	*out = (struct mime_field){ 0 };
	at = read_value(raw, 0, out, scratch);
	out->value = str_trim(
	    (struct str){ scratch->p == NULL ? "" : scratch->p + start, scratch->len - start });
	while (at < raw.len) {
		struct mime_param p = { 0 };
		struct str name = read_param_name(raw, &at, out);

		if (at >= raw.len || raw.p[at] != '=') {
			out->broken = out->broken || name.len > 0;
			continue;
		}
		start = scratch->len;
		at = read_value(raw, at + 1, out, scratch);
		p.value = (struct str){ scratch->p + start, scratch->len - start };
		read_name(name, &p);
		if (out->n == MIME_PARAMS_MAX) {
			out->full = true;
			return;
		}
		out->params[out->n++] = p;
	}
}

static void
add_value(struct mime_values *out, struct str value)
{
	for (size_t i = 0; i < out->n; i++)
		if (str_eq(out->list[i], value))
			return;
	if (out->n < MIME_VALUES_MAX)
		out->list[out->n++] = value;
}

static struct str
since(const struct buf *scratch, size_t start)
{
	return (struct str){ scratch->p == NULL ? "" : scratch->p + start, scratch->len - start };
}

/* utf-8'en'text: what stands behind the second quote. */
static struct str
without_charset(struct str value)
{
	struct str rest = value, head;

	if (!str_cut(&rest, '\'', &head) || rest.p == NULL || !str_has(rest, '\''))
		return value;
	str_cut(&rest, '\'', &head);
	return rest;
}

/* The continuation sections 0, 1, 2 ... in order, wherever they stand. */
static void
add_sections(const struct mime_field *f, const char *name, struct mime_values *out,
    struct buf *scratch)
{
	size_t start = scratch->len;
	bool any = false;

	for (int section = 0; section < (int)MIME_PARAMS_MAX; section++)
		for (size_t i = 0; i < f->n; i++) {
			const struct mime_param *p = &f->params[i];

			if (p->section != section || !str_is_nocase(p->name, name))
				continue;
			any = true;
			if (p->extended)
				decode_percent(
				    section == 0 ? without_charset(p->value) : p->value, scratch);
			else
				buf_add_str(scratch, p->value);
		}
	if (any)
		add_value(out, since(scratch, start));
}

void
mime_field_values(const struct mime_field *f, const char *name, struct mime_values *out,
    struct buf *scratch)
{
	for (size_t i = 0; i < f->n; i++) {
		const struct mime_param *p = &f->params[i];

		if (p->section >= 0 || p->extended || !str_is_nocase(p->name, name))
			continue;
		add_value(out, p->value);
		size_t start = scratch->len;
		if (mime_words_decode(p->value, scratch))
			add_value(out, since(scratch, start));
	}
	for (size_t i = 0; i < f->n; i++) {
		const struct mime_param *p = &f->params[i];

		if (p->section >= 0 || !p->extended || !str_is_nocase(p->name, name))
			continue;
		size_t start = scratch->len;
		decode_percent(without_charset(p->value), scratch);
		add_value(out, since(scratch, start));
		add_value(out, p->value);
	}
	add_sections(f, name, out, scratch);
}

bool
mime_words_decode(struct str in, struct buf *out)
{
	bool any = false;
	size_t i = 0;

	while (i < in.len) {
		struct str charset;
		size_t used;

		if (in.p[i] == '=' && decode_word(str_sub(in, i, in.len), &used, &charset, out)) {
			any = true;
			i += used;
			/* Blanks between two words are not shown: look ahead. */
			size_t next = i;

			while (next < in.len && is_blank(in.p[next]))
				next++;
			if (str_starts(str_sub(in, next, in.len), STR("=?")))
				i = next;
			continue;
		}
		buf_add_char(out, in.p[i++]);
	}
	return any;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* One pass over the lines of a message per view: a stack of open multiparts, and for
 * every line the question whether it is a delimiter of one of them (RFC 2046 5.1.1).
 * What a header section says is kept by mime_part.c.  Which further views are worth
 * reading follows from the flags of the plain one. */
#include "common/mail/mime.h"

#include <stdlib.h>

#include "common/base/xalloc.h"
#include "common/mail/mime_private.h"

struct level {
	int part; /* the multipart */
	struct str boundary; /* the owner's string */
	bool closed; /* its closing delimiter was seen */
};

struct reader {
	struct str m;
	unsigned reading, flags;
	struct mime *owner;
	struct mime_view *view;
	struct level stack[MIME_DEPTH_MAX];
	size_t depth;
	int current; /* the part whose header or content is being read */
	bool in_header;
	struct mime_head head; /* fields of the header section being read */
	size_t line, line_end, next; /* the line: [line, line_end), then the next begins */
	size_t before_eol; /* where the line before this one ended, without its line end */
};

static struct mime_part *
current(struct reader *r)
{
	return &r->view->parts[r->current];
}

static int
new_part(struct reader *r, int parent, size_t at)
{
	struct mime_view *v = r->view;

	if (v->n_parts == MIME_PARTS_MAX) {
		r->flags |= MIME_LIMIT_PARTS;
		return -1;
	}
	if ((v->n_parts & (v->n_parts - 1)) == 0)
		v->parts = xreallocarray(
		    v->parts, v->n_parts > 0 ? v->n_parts * 2 : 1, sizeof(*v->parts));
	struct mime_part *p = &v->parts[v->n_parts];
	*p = (struct mime_part){ .head = at,
		.head_end = at,
		.body = at,
		.body_end = at,
		.parent = parent,
		.depth = parent < 0 ? 0 : v->parts[parent].depth + 1 };
	r->current = (int)v->n_parts++;
	r->in_header = true;
	mime_head_reset(&r->head);
	return r->current;
}

/* The line that begins at `at`. */
static void
find_line(struct reader *r, size_t at)
{
	size_t i = at;

	r->line = at;
	if ((r->reading & MIME_READ_CR) != 0) {
		while (i < r->m.len && r->m.p[i] != '\n' && r->m.p[i] != '\r')
			i++;
	} else {
		ptrdiff_t lf = str_index(str_sub(r->m, at, r->m.len), '\n');

		i = lf < 0 ? r->m.len : at + (size_t)lf;
	}
	r->line_end = i;
	r->next = i < r->m.len ? i + 1 : i;
	if (i < r->m.len && r->m.p[i] == '\r' && r->next < r->m.len &&
	    r->m.p[r->next] == '\n')
		r->next++;
	/* CRLF, and the CRCRLF that some relays make of it. */
	while (r->line_end > at && r->m.p[r->line_end - 1] == '\r')
		r->line_end--;
}

static struct str
line_text(const struct reader *r)
{
	return str_sub(r->m, r->line, r->line_end);
}

/* How a line stands to a boundary. */
enum delimiter { DELIM_NONE, DELIM_OPEN, DELIM_CLOSE };

static enum delimiter
match_boundary(struct reader *r, struct str line, struct str boundary)
{
	struct str rest;
	bool close;

	if (boundary.len == 0 || !str_starts(str_sub(line, 2, line.len), boundary))
		return DELIM_NONE;
	rest = str_sub(line, 2 + boundary.len, line.len);
	close = str_starts(rest, STR("--"));
	if (close)
		rest = str_sub(rest, 2, rest.len);
	if (str_trim(rest).len > 0) {
		r->flags |= MIME_AMB_DELIMITER;
		if ((r->reading & MIME_READ_PREFIX) == 0)
			return DELIM_NONE;
	}
	return close ? DELIM_CLOSE : DELIM_OPEN;
}

/* The line as a delimiter of an open multipart, innermost first; *level its index.  A
 * longer boundary that begins with a shorter one wins by standing further in or by
 * matching to its end. */
static enum delimiter
find_delimiter(struct reader *r, size_t *level)
{
	struct str line = line_text(r);

	if (!str_starts(line, STR("--")))
		return DELIM_NONE;
	for (size_t i = r->depth; i-- > 0;) {
		enum delimiter d = match_boundary(r, line, r->stack[i].boundary);

		if (d != DELIM_NONE) {
			*level = i;
			return d;
		}
	}
	return DELIM_NONE;
}

static void
end_content(struct reader *r)
{
	struct mime_part *p = current(r);
	size_t end = r->before_eol < p->body ? p->body : r->before_eol;

	/* Everything that is still open ends here, up through the enclosing messages. */
	for (int i = r->current; i >= 0; i = r->view->parts[i].parent) {
		p = &r->view->parts[i];
		p->body_end = end < p->body ? p->body : end;
	}
}

/* An inner message begins where a message/rfc822 part's content begins. */
static void
open_message(struct reader *r, size_t at)
{
	if (current(r)->depth + 1 >= MIME_DEPTH_MAX) {
		r->flags |= MIME_LIMIT_DEPTH;
		return;
	}
	new_part(r, r->current, at);
}

static void
open_multipart(struct reader *r, struct str boundary)
{
	if (r->depth == MIME_DEPTH_MAX || current(r)->depth + 1 >= MIME_DEPTH_MAX) {
		r->flags |= MIME_LIMIT_DEPTH;
		return;
	}
	r->stack[r->depth++] = (struct level){ .part = r->current, .boundary = boundary };
}

/* The header section is over; content begins at `at`. */
static void
end_header(struct reader *r, size_t head_end, size_t at)
{
	struct str boundary = { NULL, 0 };
	struct mime_part *p = current(r);

	p->head_end = head_end;
	p->body = p->body_end = at;
	r->in_header = false;
	r->flags |= mime_head_apply(&r->head, r->m, r->reading, r->owner, p, &boundary);
	if (p->multipart && boundary.len == 0 && (r->reading & MIME_READ_SNIFF) != 0)
		boundary = mime_sniff_boundary(str_sub(r->m, at, r->m.len), r->owner);
	if (p->multipart && boundary.len > 0)
		open_multipart(r, boundary);
	else if (p->multipart)
		r->flags |= MIME_AMB_NO_BOUNDARY;
	else if (p->message && (p->cte == MIME_IDENTITY || p->cte == MIME_CTE_UNKNOWN))
		open_message(r, at);
}

/* A line of a header section. */
static void
header_line(struct reader *r)
{
	struct str line = line_text(r);

	if (line.len == 0) {
		end_header(r, r->line, r->next);
		return;
	}
	if (str_trim(line).len == 0) {
		r->flags |= MIME_AMB_HEADER_END;
		if ((r->reading & MIME_READ_BLANK_ENDS) != 0) {
			end_header(r, r->line, r->next);
			return;
		}
	}
	switch (mime_head_line(&r->head, r->m, r->line, r->line_end)) {
	case MIME_HEAD_FIELD:
		return;
	case MIME_HEAD_FULL:
		r->flags |= MIME_LIMIT_FIELDS;
		return;
	case MIME_HEAD_JUNK:
		/* An envelope line in front of everything is no junk. */
		if (r->line == 0 && str_starts(line, STR("From ")))
			return;
		r->flags |= MIME_AMB_HEADER_END;
		if ((r->reading & MIME_READ_JUNK_ENDS) != 0)
			end_header(r, r->line, r->line);
		return;
	}
}

static void
at_delimiter(struct reader *r, enum delimiter d, size_t level)
{
	struct level *l = &r->stack[level];

	if (r->in_header)
		end_header(r, r->line, r->line);
	end_content(r);
	/* end_header may have opened a level or an inner message that ends at once. */
	r->depth = level + 1;
	r->in_header = false;
	if (d == DELIM_CLOSE) {
		l->closed = true;
		r->current = l->part;
		return;
	}
	/* Many readers go on past a closing delimiter, so every view does. */
	if (l->closed)
		r->flags |= MIME_AMB_AFTER_CLOSE;
	if (new_part(r, l->part, r->next) < 0)
		r->current = l->part;
}

static void
read_lines(struct reader *r)
{
	size_t level;

	for (size_t at = 0; at < r->m.len; at = r->next) {
		find_line(r, at);
		enum delimiter d = r->depth == 0 ? DELIM_NONE : find_delimiter(r, &level);

		if (d != DELIM_NONE)
			at_delimiter(r, d, level);
		else if (r->in_header)
			header_line(r);
		r->before_eol = r->line_end;
	}
}

unsigned
mime_read_view(
    struct str message, unsigned reading, struct mime *owner, struct mime_view *out)
{
	struct reader *r = xcalloc(1, sizeof(*r));

	*out = (struct mime_view){ .reading = reading };
	*r = (struct reader){
		.m = message, .reading = reading, .owner = owner, .view = out
	};
	new_part(r, -1, 0);
	read_lines(r);
	if (r->in_header)
		end_header(r, message.len, message.len);
	/* At the end of the message nothing is cut off before a delimiter. */
	r->before_eol = message.len;
	end_content(r);
	unsigned flags = r->flags;
	free(r);
	return flags;
}

static bool
same_part(const struct mime_part *a, const struct mime_part *b)
{
	if (a->head != b->head || a->body != b->body || a->body_end != b->body_end ||
	    a->cte != b->cte || a->multipart != b->multipart || a->message != b->message ||
	    a->n_names != b->n_names || !str_eq(a->type, b->type))
		return false;
	for (size_t i = 0; i < a->n_names; i++)
		if (!str_eq(a->names[i], b->names[i]))
			return false;
	return true;
}

static bool
same_view(const struct mime_view *a, const struct mime_view *b)
{
	if (a->n_parts != b->n_parts)
		return false;
	for (size_t i = 0; i < a->n_parts; i++)
		if (!same_part(&a->parts[i], &b->parts[i]))
			return false;
	return true;
}

/* Which other readings the plain view's flags call for.  Flags that one more view finds
 * can call for further ones, so the list is walked until nothing new comes. */
static const struct {
	unsigned flags, reading;
} readings[] = {
	{ MIME_AMB_FIELD | MIME_AMB_BOUNDARY | MIME_AMB_SYNTAX | MIME_AMB_CTE,
	    MIME_READ_LAST },
	{ MIME_AMB_CR, MIME_READ_CR },
	{ MIME_AMB_HEADER_END, MIME_READ_BLANK_ENDS | MIME_READ_JUNK_ENDS },
	{ MIME_AMB_DELIMITER, MIME_READ_PREFIX },
	{ MIME_AMB_NO_BOUNDARY, MIME_READ_SNIFF },
};

static void
add_view(struct mime *m, struct str message, unsigned reading)
{
	struct mime_view v;

	for (size_t i = 0; i < m->n_views; i++)
		if (m->views[i].reading == reading)
			return;
	if (m->n_views == MIME_VIEWS_MAX) {
		m->flags |= MIME_LIMIT_VIEWS;
		return;
	}
	m->flags |= mime_read_view(message, reading, m, &v);
	for (size_t i = 0; i < m->n_views; i++)
		if (same_view(&m->views[i], &v)) {
			free(v.parts);
			return;
		}
	m->views[m->n_views++] = v;
}

static bool
has_bare_cr(struct str m)
{
	for (size_t at = 0; at < m.len;) {
		ptrdiff_t cr = str_index(str_sub(m, at, m.len), '\r');

		if (cr < 0)
			return false;
		at += (size_t)cr + 1;
		if (at == m.len || m.p[at] != '\n')
			return true;
	}
	return false;
}

void
mime_read(struct str message, struct mime *out)
{
	unsigned all = 0;

	*out = (struct mime){ 0 };
	if (has_bare_cr(message))
		out->flags |= MIME_AMB_CR;
	add_view(out, message, 0);
	for (size_t i = 0; i < sizeof(readings) / sizeof(readings[0]); i++)
		if ((out->flags & readings[i].flags) != 0) {
			add_view(out, message, readings[i].reading);
			all |= readings[i].reading;
		}
	/* Tricks are combined by those who know readers that combine their habits. */
	if (all != 0)
		add_view(out, message, all);
	if ((all & MIME_READ_LAST) != 0 && all != MIME_READ_LAST)
		add_view(out, message, all & ~MIME_READ_LAST);
}

void
mime_clear(struct mime *m)
{
	for (size_t i = 0; i < m->n_views; i++)
		free(m->views[i].parts);
	for (size_t i = 0; i < m->n_strings; i++)
		free(m->strings[i]);
	free(m->strings);
	*m = (struct mime){ 0 };
}

unsigned
mime_decode(struct str message, const struct mime_part *part, enum decode_mode mode,
    struct buf *out)
{
	struct str in = str_sub(message, part->body, part->body_end);
	struct str name;
	size_t at = 0;

	switch (part->cte) {
	case MIME_BASE64:
		return decode_base64(in, mode, out);
	case MIME_QP:
		return mode == DECODE_RESYNC ? decode_qp_loose(in, out) : decode_qp(in, out);
	case MIME_UU:
		decode_uu_next(in, &at, &name, out);
		return 0;
	case MIME_IDENTITY:
	case MIME_CTE_UNKNOWN:
		break;
	}
	return buf_add_str(out, in) == 0 ? 0 : DECODED_FULL;
}

static const struct {
	unsigned flag;
	const char *name;
} flag_names[] = {
	{ MIME_AMB_FIELD, "field-twice" },
	{ MIME_AMB_BOUNDARY, "boundary-twice" },
	{ MIME_AMB_SYNTAX, "syntax" },
	{ MIME_AMB_CR, "bare-cr" },
	{ MIME_AMB_HEADER_END, "header-end" },
	{ MIME_AMB_DELIMITER, "delimiter" },
	{ MIME_AMB_CTE, "encoding" },
	{ MIME_AMB_NO_BOUNDARY, "no-boundary" },
	{ MIME_AMB_AFTER_CLOSE, "after-close" },
	{ MIME_AMB_PARTIAL, "partial" },
	{ MIME_LIMIT_PARTS, "limit-parts" },
	{ MIME_LIMIT_DEPTH, "limit-depth" },
	{ MIME_LIMIT_FIELDS, "limit-fields" },
	{ MIME_LIMIT_VIEWS, "limit-views" },
};

void
mime_flags_print(unsigned flags, struct buf *out)
{
	const char *comma = "";

	for (size_t i = 0; i < sizeof(flag_names) / sizeof(flag_names[0]); i++)
		if ((flags & flag_names[i].flag) != 0) {
			buf_addf(out, "%s%s", comma, flag_names[i].name);
			comma = ",";
		}
}

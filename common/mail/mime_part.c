/* SPDX-License-Identifier: BSD-2-Clause */
/* What the header section of a part says about its content: type, encoding, boundary and
 * every candidate for a file name.  Where it says a thing twice, the reading decides which
 * one counts, and a flag tells that there was a choice. */
#include "common/mail/mime_private.h"

#include <stdlib.h>

#include "common/base/xalloc.h"
#include "common/mail/mime_field.h"

#define FIELD_RAW_MAX 65536 /* octets of one field that are read for their meaning */

static const char *const field_names[MIME_F_KINDS] = {
	[MIME_F_TYPE] = "content-type",
	[MIME_F_CTE] = "content-transfer-encoding",
	[MIME_F_DISPOSITION] = "content-disposition",
};

struct str
mime_keep(struct mime *owner, struct str s)
{
	if ((owner->n_strings & (owner->n_strings - 1)) == 0)
		owner->strings = xreallocarray(owner->strings,
		    owner->n_strings > 0 ? owner->n_strings * 2 : 1, sizeof(char *));
	char *copy = str_dup(s);

	owner->strings[owner->n_strings++] = copy;
	return (struct str){ copy, s.len };
}

static struct str
keep_lower(struct mime *owner, struct str s)
{
	struct str kept = mime_keep(owner, s);
	char *p = owner->strings[owner->n_strings - 1];

	for (size_t i = 0; i < kept.len; i++)
		p[i] = ascii_lower(p[i]);
	return kept;
}

void
mime_head_reset(struct mime_head *h)
{
	*h = (struct mime_head){ 0 };
}

/* Readers strip blanks and NUL from both ends of a field name. */
static struct str
strip_name(struct str s)
{
	while (s.len > 0 && (s.p[s.len - 1] == '\0' || ascii_blank(s.p[s.len - 1])))
		s.len--;
	while (s.len > 0 && s.p[0] == '\0')
		s = str_sub(s, 1, s.len);
	return s;
}

static bool
is_field_name(struct str name)
{
	if (name.len == 0)
		return false;
	for (size_t i = 0; i < name.len; i++)
		if ((unsigned char)name.p[i] <= ' ' || name.p[i] == 0x7f)
			return false;
	return true;
}

enum mime_head_result
mime_head_line(struct mime_head *h, struct str m, size_t from, size_t to)
{
	struct str line = str_sub(m, from, to);

	if (line.len > 0 && ascii_blank(line.p[0])) {
		if (!h->any)
			return MIME_HEAD_JUNK;
		if (h->open != NULL)
			h->open->to = to;
		return MIME_HEAD_FIELD;
	}
	ptrdiff_t colon = str_index(line, ':');
	struct str name = strip_name(str_sub(line, 0, colon < 0 ? 0 : (size_t)colon));

	if (colon < 0 || !is_field_name(name))
		return MIME_HEAD_JUNK;
	h->any = true;
	h->open = NULL;
	if (h->n_fields++ >= MIME_FIELDS_MAX)
		return MIME_HEAD_FULL;
	for (int kind = 0; kind < MIME_F_KINDS; kind++) {
		if (!str_is_nocase(name, field_names[kind]))
			continue;
		if (h->n[kind] == MIME_FIELD_REPEATS)
			return MIME_HEAD_FULL;
		h->open = &h->fields[kind][h->n[kind]++];
		*h->open = (struct mime_range){ from + (size_t)colon + 1, to };
	}
	return MIME_HEAD_FIELD;
}

/* The one of several equal fields that this reading takes; flags when they differ. */
static bool
pick(const struct mime_head *h, enum mime_content_field kind, struct str m,
    unsigned reading, struct str *raw, unsigned *flags)
{
	size_t n = h->n[kind];

	if (n == 0)
		return false;
	const struct mime_range *first = &h->fields[kind][0];
	const struct mime_range *last = &h->fields[kind][n - 1];
	const struct mime_range *take = (reading & MIME_READ_LAST) != 0 ? last : first;

	for (size_t i = 1; i < n; i++)
		if (!str_eq(str_trim(str_sub(m, first->from, first->to)),
			str_trim(str_sub(m, h->fields[kind][i].from, h->fields[kind][i].to))))
			*flags |= MIME_AMB_FIELD;
	*raw = str_sub(m, take->from, take->to);
	if (raw->len > FIELD_RAW_MAX) {
		raw->len = FIELD_RAW_MAX;
		*flags |= MIME_LIMIT_FIELDS;
	}
	return true;
}

static void
add_names(struct mime *owner, struct mime_part *part, const struct mime_values *values,
    unsigned *flags)
{
	for (size_t i = 0; i < values->n; i++) {
		bool known = values->list[i].len == 0;

		for (size_t j = 0; j < part->n_names; j++)
			known = known || str_eq(part->names[j], values->list[i]);
		if (known)
			continue;
		if (part->n_names == MIME_NAMES_MAX) {
			*flags |= MIME_LIMIT_FIELDS;
			return;
		}
		part->names[part->n_names++] = mime_keep(owner, values->list[i]);
	}
}

/* `name` and `filename` are taken from both fields: some reader does. */
static void
read_names(const struct mime_field *f, struct mime *owner, struct mime_part *part,
    struct buf *scratch, unsigned *flags)
{
	struct mime_values values = { .n = 0 };

	mime_field_values(f, "filename", &values, scratch);
	mime_field_values(f, "name", &values, scratch);
	add_names(owner, part, &values, flags);
}

static void
read_boundary(const struct mime_field *f, unsigned reading, struct mime *owner,
    struct buf *scratch, struct str *boundary, unsigned *flags)
{
	struct mime_values values = { .n = 0 };

	mime_field_values(f, "boundary", &values, scratch);
	if (values.n > 1)
		*flags |= MIME_AMB_BOUNDARY;
	if (f->broken || f->comments)
		*flags |= MIME_AMB_SYNTAX;
	if (values.n == 0)
		return;
	size_t take = (reading & MIME_READ_LAST) != 0 ? values.n - 1 : 0;
	struct str value = values.list[take];

	/* A trailing blank cannot be told from transport's (RFC 2046 5.1.1). */
	while (value.len > 0 && ascii_blank(value.p[value.len - 1]))
		value.len--;
	*boundary = mime_keep(owner, value);
}

static bool
is_message_type(struct str type)
{
	return str_is(type, "message/rfc822") || str_is(type, "message/global") ||
	    str_is(type, "message/news");
}

/* scratch for one raw field, at its whole size so that it never moves. */
static void
scratch_init(struct buf *scratch, struct str raw)
{
	buf_init(scratch, MIME_SCRATCH(raw.len));
	buf_reserve(scratch, scratch->max);
}

static void
apply_type(struct str raw, unsigned reading, struct mime *owner, struct mime_part *part,
    struct str *boundary, unsigned *flags)
{
	struct mime_values charsets = { .n = 0 };
	struct mime_field f;
	struct buf scratch;

	scratch_init(&scratch, raw);
	mime_field_parse(raw, &f, &scratch);
	if (f.full)
		*flags |= MIME_LIMIT_FIELDS;
	part->type = keep_lower(owner, f.value);
	part->multipart = str_starts(part->type, STR("multipart/"));
	part->message = is_message_type(part->type);
	if (str_is(part->type, "message/partial"))
		*flags |= MIME_AMB_PARTIAL;
	mime_field_values(&f, "charset", &charsets, &scratch);
	if (charsets.n > 0)
		part->charset = keep_lower(owner, charsets.list[0]);
	if (part->multipart)
		read_boundary(&f, reading, owner, &scratch, boundary, flags);
	read_names(&f, owner, part, &scratch, flags);
	buf_clear(&scratch);
}

static enum mime_cte
cte_of(struct str token)
{
	static const struct {
		const char *name;
		enum mime_cte cte;
	} names[] = {
		{ "base64", MIME_BASE64 },
		{ "quoted-printable", MIME_QP },
		{ "7bit", MIME_IDENTITY },
		{ "8bit", MIME_IDENTITY },
		{ "binary", MIME_IDENTITY },
		{ "x-uuencode", MIME_UU },
		{ "x-uue", MIME_UU },
		{ "uuencode", MIME_UU },
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (str_is_nocase(token, names[i].name))
			return names[i].cte;
	return MIME_CTE_UNKNOWN;
}

static bool
token_octet(char c)
{
	return ascii_alnum(c) || c == '-';
}

/* All tokens of the field that name an encoding; anything beside exactly one is ambiguous. */
static enum mime_cte
read_cte(struct str raw, unsigned reading, unsigned *flags)
{
	enum mime_cte first = MIME_CTE_UNKNOWN, last = MIME_CTE_UNKNOWN;
	size_t at = 0, tokens = 0;

	while (at < raw.len) {
		size_t from = at;

		while (at < raw.len && token_octet(raw.p[at]))
			at++;
		if (at > from) {
			enum mime_cte cte = cte_of(str_sub(raw, from, at));

			tokens++;
			if (cte != MIME_CTE_UNKNOWN) {
				first = first == MIME_CTE_UNKNOWN ? cte : first;
				last = cte;
			}
		} else {
			at++;
		}
	}
	if (cte_of(str_trim(raw)) == MIME_CTE_UNKNOWN && tokens > 0)
		*flags |= MIME_AMB_CTE;
	return (reading & MIME_READ_LAST) != 0 ? last : first;
}

unsigned
mime_head_apply(const struct mime_head *h, struct str m, unsigned reading,
    struct mime *owner, struct mime_part *part, struct str *boundary)
{
	unsigned flags = 0;
	struct str raw;

	if (pick(h, MIME_F_TYPE, m, reading, &raw, &flags))
		apply_type(raw, reading, owner, part, boundary, &flags);
	if (pick(h, MIME_F_CTE, m, reading, &raw, &flags))
		part->cte = read_cte(raw, reading, &flags);
	/* Names of every disposition count, whichever reading this is. */
	for (size_t i = 0; i < h->n[MIME_F_DISPOSITION]; i++) {
		struct mime_range range = h->fields[MIME_F_DISPOSITION][i];
		struct mime_field f;
		struct buf scratch;

		raw = str_sub(m, range.from, range.to);
		if (raw.len > FIELD_RAW_MAX) {
			raw.len = FIELD_RAW_MAX;
			flags |= MIME_LIMIT_FIELDS;
		}
		scratch_init(&scratch, raw);
		mime_field_parse(raw, &f, &scratch);
		part->attachment = part->attachment || str_is_nocase(f.value, "attachment");
		read_names(&f, owner, part, &scratch, &flags);
		buf_clear(&scratch);
	}
	return flags;
}

static bool
header_like(struct str text)
{
	ptrdiff_t lf = str_index(text, '\n');
	struct str line = str_sub(text, 0, lf < 0 ? text.len : (size_t)lf);
	ptrdiff_t colon = str_index(line, ':');

	return colon > 0 && is_field_name(strip_name(str_sub(line, 0, (size_t)colon)));
}

struct str
mime_sniff_boundary(struct str body, struct mime *owner)
{
	size_t at = 0;

	while (at < body.len) {
		struct str rest = str_sub(body, at, body.len);
		ptrdiff_t lf = str_index(rest, '\n');
		size_t len = lf < 0 ? rest.len : (size_t)lf;
		struct str line = str_trim(str_sub(rest, 0, len));

		at += lf < 0 ? len : len + 1;
		if (line.len > 2 && line.len < 1000 && str_starts(line, STR("--")) &&
		    header_like(str_sub(body, at, body.len)))
			return mime_keep(owner, str_sub(line, 2, line.len));
	}
	return (struct str){ NULL, 0 };
}

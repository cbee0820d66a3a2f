/* SPDX-License-Identifier: BSD-2-Clause */
/* Reads a header forgivingly: what is no field is passed over, as readers do.  Meaning of
 * pseudo fields follows SpamAssassin 4. */
#include "milters/score/fields.h"

#include <stdlib.h>

#include "common/mail/render.h"

/* A line with its LF. */
static struct str
take_line(struct str *rest)
{
	const char *lf = rest->len == 0 ? NULL : memchr(rest->p, '\n', rest->len);
	size_t len = lf == NULL ? rest->len : (size_t)(lf - rest->p) + 1;
	struct str line = str_sub(*rest, 0, len);

	*rest = str_sub(*rest, len, rest->len);
	return line;
}

static bool
is_blank_line(struct str line)
{
	return line.len == 0 || line.p[0] == '\n' ||
	    (line.len > 1 && line.p[0] == '\r' && line.p[1] == '\n');
}

/* Length of a field's name, without blanks before the colon; 0: the line is no field. */
static size_t
name_length(struct str line)
{
	ptrdiff_t colon = str_index(line, ':');
	size_t len = colon <= 0 ? 0 : (size_t)colon;

	while (len > 0 && ascii_blank(line.p[len - 1]))
		len--;
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)line.p[i] <= ' ' || line.p[i] == 0x7f)
			return 0;
	return len;
}

static void
add_field(struct fields *out, struct str line, size_t name)
{
	size_t colon = (size_t)str_index(line, ':');

	if (out->n == FIELDS_MAX || name > FIELDS_NAME_MAX) {
		out->cut = true;
		return;
	}
	out->list[out->n++] =
	    (struct field){ str_sub(line, 0, name), str_sub(line, colon + 1, line.len) };
}

void
fields_read(struct str message, struct fields *out)
{
	struct str rest = str_sub(message, 0, FIELDS_SECTION_MAX);
	bool open = false; /* a continuation line belongs to the last field */
	unsigned junk = 0;

	out->n = 0;
	out->cut = false;
	if (str_starts(rest, STR("From ")))
		take_line(&rest);
	const char *begin = rest.p;
	while (rest.len > 0) {
		struct str before = rest, line = take_line(&rest);
		size_t name;

		if (is_blank_line(line)) {
			rest = before;
			break;
		}
		if (ascii_blank(line.p[0])) {
			if (open)
				out->list[out->n - 1].raw.len += line.len;
			continue;
		}
		name = name_length(line);
		if (name == 0 && ++junk > FIELDS_JUNK_MAX) {
			rest = before;
			break;
		}
		size_t had = out->n;
		if (name > 0)
			add_field(out, line, name);
		open = out->n > had;
	}
	out->section =
	    (struct str){ begin, begin == NULL ? 0 : (size_t)(rest.p - begin) };
	out->cut = out->cut || (rest.len == 0 && message.len > FIELDS_SECTION_MAX);
}

/* ---- addresses ---- */

struct mailbox {
	char addr[1024], word[1024], comment[1024];
	size_t n_addr, n_word, n_comment;
	bool angle; /* addr was inside <> */
};

static void
put(char *to, size_t *n, char c)
{
	if (*n < 1024)
		to[(*n)++] = c;
}

/* Names: encoded words decoded, blanks squeezed, without quotes around. */
static void
add_name(struct str raw, struct buf *out)
{
	struct buf text;
	struct str word, rest;
	bool first = true;

	raw = str_trim(raw);
	if (raw.len > 1 && raw.p[0] == '\'' && raw.p[raw.len - 1] == '\'')
		raw = str_sub(raw, 1, raw.len - 1);
	buf_init(&text, 8192);
	render_header(raw, &text);
	rest = buf_str(&text);
	while (str_word(&rest, &word)) {
		if (!first)
			buf_add_char(out, ' ');
		first = false;
		buf_add_str(out, word);
	}
	if (!first)
		buf_add_char(out, '\n');
	buf_clear(&text);
}

static void
add_mailbox(struct mailbox *m, bool names, struct buf *out)
{
	struct str addr = { m->angle ? m->addr : m->word, m->angle ? m->n_addr : m->n_word };

	addr = str_trim(addr);
	if (names) {
		bool words = m->angle && str_trim((struct str){ m->word, m->n_word }).len > 0;

		add_name((struct str){ words ? m->word : m->comment,
			     words ? m->n_word : m->n_comment },
		    out);
	} else if (str_has(addr, '@')) {
		/* without <> the address is the word with the '@' */
		struct str word, rest = addr;

		while (str_word(&rest, &word) && !str_has(word, '@'))
			;
		buf_add_str(out, m->angle ? addr : word);
		buf_add_char(out, '\n');
	}
	*m = (struct mailbox){ .n_addr = 0 };
}

void
fields_addresses(struct str raw, bool names, struct buf *out)
{
	struct mailbox *m = calloc(1, sizeof(*m));
	bool quoted = false, inside = false;
	unsigned comments = 0;

	for (size_t i = 0; m != NULL && i < raw.len; i++) {
		char c = raw.p[i];

		if (c == '\\' && i + 1 < raw.len && (quoted || comments > 0)) {
			c = raw.p[++i];
		} else if (c == '"' && comments == 0) {
			quoted = !quoted;
			continue;
		} else if (!quoted && c == '(') {
			comments++;
			continue;
		} else if (!quoted && c == ')' && comments > 0) {
			comments--;
			continue;
		} else if (!quoted && comments == 0 && c == '<') {
			m->n_addr = 0;
			m->angle = inside = true;
			continue;
		} else if (!quoted && comments == 0 && c == '>') {
			inside = false;
			continue;
		} else if (!quoted && comments == 0 && !inside && (c == ',' || c == ';')) {
			add_mailbox(m, names, out);
			continue;
		}
		if (comments > 0)
			put(m->comment, &m->n_comment, c);
		else if (inside)
			put(m->addr, &m->n_addr, c);
		else
			put(m->word, &m->n_word, c);
	}
	if (m != NULL)
		add_mailbox(m, names, out);
	free(m);
}

/* ---- forms ---- */

static struct str
without_final_lf(struct str raw)
{
	while (raw.len > 0 && (raw.p[raw.len - 1] == '\n' || raw.p[raw.len - 1] == '\r'))
		raw.len--;
	return raw;
}

/* With LF line ends, whatever the message has. */
static void
add_lines(struct str s, struct buf *out)
{
	for (size_t i = 0; i < s.len; i++)
		if (s.p[i] != '\r' || i + 1 == s.len || s.p[i + 1] != '\n')
			buf_add_char(out, s.p[i]);
}

static void
add_value(const struct field *f, enum rule_part part, struct buf *out)
{
	struct str raw = str_sub(without_final_lf(f->raw), 0, FIELDS_VALUE_MAX);

	switch (part) {
	case RULE_VALUE:
		render_header(raw, out);
		buf_add_char(out, '\n');
		break;
	case RULE_RAW:
		add_lines(raw, out);
		buf_add_char(out, '\n');
		break;
	case RULE_ADDR:
	case RULE_NAME:
		fields_addresses(raw, part == RULE_NAME, out);
		break;
	}
}

static bool
add_named(const struct fields *f, const char *name, enum rule_part part, struct buf *out)
{
	bool found = false;

	for (size_t i = 0; i < f->n; i++) {
		if (!str_is_nocase(f->list[i].name, name))
			continue;
		found = true;
		add_value(&f->list[i], part, out);
	}
	return found;
}

static void
add_all(const struct fields *f, enum rule_part part, struct buf *out)
{
	if (part == RULE_RAW) {
		buf_add_str(out, f->section);
		return;
	}
	for (size_t i = 0; i < f->n; i++) {
		buf_add_str(out, f->list[i].name);
		buf_add_cstr(out, ": ");
		add_value(&f->list[i], RULE_VALUE, out);
	}
}

/* Where the MTA did not tell the sender: fields that it writes at delivery, unless a
 * Received line above says that they came from elsewhere. */
static bool
add_sender(const struct fields *f, struct str sender, struct buf *out)
{
	static const char *const names[] = { "X-Envelope-From", "Envelope-Sender",
		"Return-Path" };

	if (sender.p != NULL) {
		if (sender.len > 1 && sender.p[0] == '<' && sender.p[sender.len - 1] == '>')
			sender = str_sub(sender, 1, sender.len - 1);
		buf_add_str(out, sender);
		buf_add_char(out, '\n');
		return true;
	}
	for (size_t i = 0; i < f->n; i++) {
		if (str_is_nocase(f->list[i].name, "Received"))
			return false;
		for (size_t k = 0; k < 3; k++) {
			if (str_is_nocase(f->list[i].name, names[k])) {
				fields_addresses(f->list[i].raw, false, out);
				return true;
			}
		}
	}
	return false;
}

bool
fields_form(const struct fields *f, const char *name, enum rule_part part,
    struct str sender, struct buf *out)
{
	static const char *const ids[] = { "X-Message-Id", "Resent-Message-Id",
		"X-Original-Message-ID", "Message-Id" };
	size_t before = out->len;
	bool found = false;

	if (strcmp(name, "ALL") == 0) {
		add_all(f, part, out);
		found = true;
	} else if (strcmp(name, "ToCc") == 0) {
		found = add_named(f, "To", part, out);
		found = add_named(f, "Cc", part, out) || found;
	} else if (strcmp(name, "MESSAGEID") == 0) {
		for (size_t i = 0; i < 4; i++)
			found = add_named(f, ids[i], part, out) || found;
	} else if (strcmp(name, "EnvelopeFrom") == 0) {
		found = add_sender(f, sender, out);
	} else {
		found = add_named(f, name, part, out);
	}
	/* addresses stand between line ends, not before them */
	if ((part == RULE_ADDR || part == RULE_NAME) && out->len > before &&
	    out->p[out->len - 1] == '\n')
		out->len--;
	return found;
}

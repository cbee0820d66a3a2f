/* SPDX-License-Identifier: BSD-2-Clause */
/* Input: edits, an empty line, a message.  One edit a line: kind, position (a digit),
 * name, ':', value, in which '|' stands for LF and '^' for CR.  Untouched fields leave
 * octet for octet; whatever the edits, what is written is read again as the same
 * fields, and holds no line end but CRLF unless the message brought it. */
#include <stdlib.h>

#include "common/mail/header.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
must(bool ok)
{
	if (!ok)
		abort();
}

/* Is there a CR or LF that is no half of a CRLF? */
static bool
bare_line_end(struct str s)
{
	for (size_t i = 0; i < s.len; i++) {
		if (s.p[i] == '\r' && (i + 1 == s.len || s.p[i + 1] != '\n'))
			return true;
		if (s.p[i] == '\n' && (i == 0 || s.p[i - 1] != '\r'))
			return true;
	}
	return false;
}

static void
edit(struct header *h, struct str line)
{
	struct str name;
	struct buf value;

	if (line.len < 2)
		return;
	char kind = line.p[0];
	size_t at = (unsigned char)line.p[1] - (size_t)'0';

	line = str_sub(line, 2, line.len);
	if (!str_cut(&line, ':', &name))
		name = line;
	buf_init(&value, 100000);
	for (size_t i = 0; i < line.len; i++)
		buf_add_char(&value,
		    line.p[i] == '|'       ? '\n'
			: line.p[i] == '^' ? '\r'
					   : line.p[i]);
	if (kind == 'i' || kind == 'I')
		(void)header_insert(h, at, name, buf_str(&value), kind == 'I', NULL);
	else if (kind == 'r' || kind == 'R')
		(void)header_replace(h, at, name, buf_str(&value), kind == 'R', NULL);
	else if (kind == 'd')
		header_delete(h, at);
	buf_clear(&value);
}

static void
untouched(const struct header *h, struct str message, size_t body)
{
	struct buf out;

	buf_init(&out, HEADER_SECTION_EDITED_MAX);
	must(header_render(h, &out) == 0);
	struct str section = str_sub(message, 0, body);

	for (size_t i = 0; i < header_count(h); i++) {
		const struct header_field *f = header_at(h, i);

		must(header_name_ok(f->name) || f->name.len > HEADER_NAME_MAX);
		must(f->offset < body);
		if (!bare_line_end(section) && f->offset + f->raw.len <= section.len)
			must(str_eq(f->raw,
			    str_sub(section, f->offset, f->offset + f->raw.len)));
	}
	must(bare_line_end(section) || !bare_line_end(buf_str(&out)));
	if (!bare_line_end(section) && str_ends_nocase(section, STR("\n")))
		must(str_starts(section, buf_str(&out)));
	buf_clear(&out);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str in = { (const char *)data, size }, line, edits = in;
	struct header *h = header_new(), *again = header_new();
	struct buf out;
	size_t body;

	buf_init(&out, HEADER_SECTION_EDITED_MAX);
	while (str_cut(&in, '\n', &line) && line.len > 0)
		;
	edits.len -= in.len;
	if (header_parse(h, in, &body, NULL) != 0)
		goto done;
	must(body <= in.len);
	untouched(h, in, body);
	bool dirty = bare_line_end(str_sub(in, 0, body));

	while (str_cut(&edits, '\n', &line))
		edit(h, line);
	must(header_render(h, &out) == 0);
	must(dirty || !bare_line_end(buf_str(&out)));
	if (header_count(h) > HEADER_FIELDS_MAX || out.len > HEADER_SECTION_MAX)
		goto done; /* more than is read again */
	must(header_parse(again, buf_str(&out), &body, NULL) == 0);
	must(body == out.len && header_count(again) == header_count(h));
	for (size_t i = 0; i < header_count(h); i++)
		must(str_eq(header_at(h, i)->raw, header_at(again, i)->raw) &&
		    str_eq(header_at(h, i)->name, header_at(again, i)->name) &&
		    str_eq(header_at(h, i)->value, header_at(again, i)->value));
done:
	buf_clear(&out);
	header_free(h);
	header_free(again);
	return 0;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* Reply texts are foreign octets as soon as a map or a DNS record supplies them, and
 * both MTAs punish what they do not understand with the loss of the text or of the
 * link.  So everything is checked and cut here; nothing here knows libmilter. */
#include "common/run/milter_reply.h"

#include <stdio.h>
#include <string.h>

#include "common/base/str.h"

/* class "." subject "." detail (RFC 3463 2), at most three digits each */
static bool
enhanced_fits(const char *text, char class)
{
	struct str rest = str_of(text), part;
	uint64_t number;
	int parts = 0;

	if (rest.len < 5 || rest.p[0] != class)
		return false;
	while (str_cut(&rest, '.', &part)) {
		if (part.len > 3 || !str_to_uint(part, 0, 999, &number))
			return false;
		parts++;
	}
	return parts == 3 && text[1] == '.' && text[strlen(text) - 1] != '.';
}

/* Where a line of text that begins at p ends: at the last blank that fits, or hard. */
static size_t
line_length(const char *p)
{
	size_t len = strnlen(p, MILTER_REPLY_LINE_MAX + 1);

	if (len <= MILTER_REPLY_LINE_MAX)
		return len;
	for (size_t cut = MILTER_REPLY_LINE_MAX; cut > MILTER_REPLY_LINE_MAX / 2; cut--)
		if (p[cut] == ' ')
			return cut;
	return MILTER_REPLY_LINE_MAX;
}

static void
put_line(const char *p, size_t len, char *out)
{
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)p[i];

		if (c < 0x20 || c > 0x7e)
			c = '?';
		*out++ = (char)c;
		if (c == '%')
			*out++ = '%';
	}
	*out = '\0';
}

bool
milter_reply_make(const struct verdict *v, struct milter_reply *out)
{
	char class = v->action == ACTION_REJECT ? '5' : '4';
	const char *text = v->text;

	out->n_lines = 0;
	if (v->action != ACTION_REJECT && v->action != ACTION_TEMPFAIL)
		return false;
	if (v->code == 0)
		return false;
	int code = v->code;
	if (code < 400 || code > 599 || code / 100 != class - '0')
		code = class == '5' ? 550 : 451;
	snprintf(out->code, sizeof(out->code), "%d", code % 1000);
	if (enhanced_fits(v->enhanced, class))
		snprintf(out->enhanced, sizeof(out->enhanced), "%s", v->enhanced);
	else
		snprintf(out->enhanced, sizeof(out->enhanced), "%c.7.1", class);
	if (text[0] == '\0')
		text = class == '5' ? "refused" : "try again later";
	while (*text != '\0' && out->n_lines < MILTER_REPLY_LINES) {
		size_t len = line_length(text);

		put_line(text, len, out->lines[out->n_lines++]);
		text += len;
		while (*text == ' ')
			text++;
	}
	return true;
}

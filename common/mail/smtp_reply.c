/* SPDX-License-Identifier: BSD-2-Clause */
/* SMTP replies (RFC 5321 4.2): octets in, meaning out.  What a code means for a message
 * is decided by the callers.  A reply of ours is cut into lines that every client bears
 * and never carries a control octet. */
#include "common/mail/smtp_reply.h"

#include <string.h>

#define REPLY_TEXT_MAX 8192 /* octets of a reply that are kept */
#define REPLY_LINE_OUT 510 /* without CRLF: RFC 5321 4.5.3.1.5 */

/* Three digits, 200 to 599 with a second digit of 0 to 5 (RFC 5321 4.2). */
static bool
reply_code(const char *p, int *code)
{
	if (p[0] < '2' || p[0] > '5' || p[1] < '0' || p[1] > '5' || !ascii_digit(p[2]))
		return false;
	*code = (p[0] - '0') * 100 + (p[1] - '0') * 10 + (p[2] - '0');
	return true;
}

enum parse
smtp_reply_line(
    struct str in, struct smtp_reply_line *line, size_t *used, struct err *err)
{
	size_t seen = in.len < SMTP_REPLY_LINE_MAX ? in.len : SMTP_REPLY_LINE_MAX;
	const char *lf = seen == 0 ? NULL : memchr(in.p, '\n', seen);

	if (lf == NULL && in.len < SMTP_REPLY_LINE_MAX)
		return PARSE_MORE;
	if (lf == NULL)
		return err_set(err, "reply line over %d octets", SMTP_REPLY_LINE_MAX);

	size_t len = (size_t)(lf - in.p);

	*used = len + 1;
	if (len > 0 && in.p[len - 1] == '\r')
		len--;
	if (len < 3 || !reply_code(in.p, &line->code))
		return err_set(err, "reply does not start with a code 200 to 559");
	if (len > 3 && in.p[3] != ' ' && in.p[3] != '-')
		return err_set(err, "reply code not followed by space or '-'");
	line->last = len == 3 || in.p[3] == ' ';
	line->text = (struct str){ in.p + (len > 3 ? 4 : 3), len > 3 ? len - 4 : 0 };
	return PARSE_DONE;
}

void
smtp_reply_init(struct smtp_reply *r)
{
	*r = (struct smtp_reply){ 0 };
	buf_init(&r->text, REPLY_TEXT_MAX);
}

void
smtp_reply_clear(struct smtp_reply *r)
{
	r->code = 0;
	r->n_lines = 0;
	buf_clear(&r->text);
}

/* Keep as much of the text as there is room for: it is for people. */
static void
keep_text(struct buf *text, struct str line, bool first)
{
	if (!first && buf_add_char(text, '\n') != 0)
		return;
	buf_add_str(text, str_sub(line, 0, text->max - text->len));
}

enum parse
smtp_reply_feed(struct smtp_reply *r, struct str in, size_t *used, struct err *err)
{
	struct smtp_reply_line line;
	size_t len;

	*used = 0;
	for (;;) {
		enum parse p =
		    smtp_reply_line(str_sub(in, *used, in.len), &line, &len, err);

		if (p != PARSE_DONE)
			return p;
		*used += len;
		if (r->n_lines == SMTP_REPLY_LINES_MAX)
			return err_set(
			    err, "reply of more than %d lines", SMTP_REPLY_LINES_MAX);
		if (r->n_lines > 0 && line.code != r->code)
			return err_set(err, "reply of several codes, %d and %d",
			    r->code, line.code);
		r->code = line.code;
		keep_text(&r->text, line.text, r->n_lines == 0);
		r->n_lines++;
		if (line.last)
			return PARSE_DONE;
	}
}

bool
smtp_reply_enhanced(int code, struct str text, struct str *enhanced, struct str *rest)
{
	size_t i = 1;

	if (text.len < 5 || text.p[0] - '0' != code / 100)
		return false;
	for (int part = 0; part < 2; part++) {
		if (i == text.len || text.p[i] != '.')
			return false;
		size_t start = ++i;

		while (i < text.len && i - start < 3 && ascii_digit(text.p[i]))
			i++;
		if (i == start)
			return false;
	}
	if (i < text.len && !ascii_blank(text.p[i]))
		return false;
	*enhanced = str_sub(text, 0, i);
	while (i < text.len && ascii_blank(text.p[i]))
		i++;
	*rest = str_sub(text, i, text.len);
	return true;
}

/* How much of line goes out in one reply line of room octets: all, or up to the last
 * blank that fits, or room. */
static size_t
piece_len(struct str line, size_t room)
{
	if (line.len <= room)
		return line.len;
	ptrdiff_t blank = str_rindex(str_sub(line, 0, room + 1), ' ');

	return blank > 0 ? (size_t)blank : room;
}

/* The next piece of *text for one line of ours; *text = what stays. */
static struct str
next_piece(struct str *text, size_t room)
{
	ptrdiff_t lf = str_index(*text, '\n');
	struct str line = lf < 0 ? *text : str_sub(*text, 0, (size_t)lf);

	if (lf >= 0 && line.len > 0 && line.p[line.len - 1] == '\r')
		line.len--;
	struct str piece = str_sub(line, 0, piece_len(line, room));

	if (piece.len == line.len)
		*text = str_sub(*text, lf < 0 ? text->len : (size_t)lf + 1, text->len);
	else
		*text = str_sub(
		    *text, piece.len + (text->p[piece.len] == ' ' ? 1 : 0), text->len);
	return piece;
}

void
smtp_reply_write(struct buf *out, int code, const char *enhanced, struct str text)
{
	size_t room =
	    REPLY_LINE_OUT - 4 - (enhanced[0] == '\0' ? 0 : strlen(enhanced) + 1);
	int n = 0;

	for (;;) {
		struct str piece = next_piece(&text, room);
		bool last = text.len == 0 || ++n == SMTP_REPLY_LINES_MAX;

		buf_addf(out, "%03d%c", code, last ? ' ' : '-');
		if (enhanced[0] != '\0')
			buf_addf(out, "%s%s", enhanced, piece.len > 0 ? " " : "");
		for (size_t i = 0; i < piece.len; i++)
			buf_add_char(out,
			    piece.p[i] >= ' ' && piece.p[i] <= '~' ? piece.p[i] : '?');
		buf_add_cstr(out, "\r\n");
		if (last)
			return;
	}
}

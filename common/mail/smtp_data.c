/* SPDX-License-Identifier: BSD-2-Clause */
/* End of data and dot-stuffing, RFC 5321 4.5.2, octet by octet with runs of plain text
 * copied at once.  Decides only where data ends and which octets are data; what is to
 * be done about bare CR, bare LF, NUL or long lines is the session's policy. */
#include "common/mail/smtp_data.h"

#include <assert.h>
#include <string.h>

void
smtp_data_init(struct smtp_data *d)
{
	*d = (struct smtp_data){ .state = SMTP_DATA_LINE_START };
}

/* How many octets from the front neither end a line nor are NUL. */
static size_t
plain_run(struct str in, bool *eight_bit)
{
	unsigned char seen = 0;
	size_t i;

	for (i = 0; i < in.len; i++) {
		unsigned char c = (unsigned char)in.p[i];

		if (c == '\r' || c == '\n' || c == '\0')
			break;
		seen |= c;
	}
	*eight_bit |= (seen & 0x80) != 0;
	return i;
}

static void
line_ends(struct smtp_data *d)
{
	d->line = 0;
	d->state = SMTP_DATA_LINE_START;
}

static void
line_grows(struct smtp_data *d, size_t n)
{
	d->line += n;
	if (d->line > d->longest)
		d->longest = d->line;
}

/* One of CR, LF, NUL where data stands (not behind a dot that may end it).  Returns the
 * octets written. */
static size_t
special(struct smtp_data *d, char c, char *out)
{
	out[0] = c;
	if (c == '\n' && d->state == SMTP_DATA_CR) {
		line_ends(d);
		return 1;
	}
	if (d->state == SMTP_DATA_CR) {
		/* The CR before was no line end, so it is an octet of the line. */
		d->bare_cr = true;
		line_grows(d, 1);
	}
	if (c == '\r') {
		d->state = SMTP_DATA_CR;
		return 1;
	}
	d->bare_lf |= c == '\n';
	d->nul |= c == '\0';
	line_grows(d, 1);
	d->state = SMTP_DATA_LINE;
	return 1;
}

/* Behind ".": one octet decides whether the dot was stuffing.  Returns octets written;
 * *eaten false: the octet is ordinary data. */
static size_t
behind_dot(struct smtp_data *d, char c, char *out, bool *eaten)
{
	*eaten = true;
	if (d->state == SMTP_DATA_DOT && c == '\r') {
		d->state = SMTP_DATA_DOT_CR;
		return 0;
	}
	if (d->state == SMTP_DATA_DOT_CR && c == '\n') {
		d->state = SMTP_DATA_END;
		return 0;
	}
	*eaten = false;
	if (d->state == SMTP_DATA_DOT) {
		d->state = SMTP_DATA_LINE;
		return 0;
	}
	out[0] = '\r';
	d->state = SMTP_DATA_CR;
	return 1;
}

/* Ordinary octets from the front of in, or one special one.  Returns octets eaten, as
 * many as written. */
static size_t
ordinary(struct smtp_data *d, struct str in, char *out)
{
	size_t run = plain_run(in, &d->eight_bit);

	if (run == 0)
		return special(d, in.p[0], out);
	if (d->state == SMTP_DATA_CR) {
		d->bare_cr = true;
		line_grows(d, 1);
	}
	memcpy(out, in.p, run);
	line_grows(d, run);
	d->state = SMTP_DATA_LINE;
	return run;
}

enum parse
smtp_data_decode(struct smtp_data *d, struct str in, size_t *used, char *out, size_t *n)
{
	size_t at = 0, to = 0;

	assert(d->state != SMTP_DATA_END);
	while (at < in.len && d->state != SMTP_DATA_END) {
		bool eaten = false;

		if (d->state == SMTP_DATA_LINE_START && in.p[at] == '.') {
			d->state = SMTP_DATA_DOT;
			eaten = true;
		} else if (d->state == SMTP_DATA_DOT || d->state == SMTP_DATA_DOT_CR) {
			to += behind_dot(d, in.p[at], out + to, &eaten);
		}
		if (eaten) {
			at++;
			continue;
		}
		size_t run = ordinary(d, str_sub(in, at, in.len), out + to);

		at += run;
		to += run;
	}
	*used = at;
	*n = to;
	d->octets += to;
	return d->state == SMTP_DATA_END ? PARSE_DONE : PARSE_MORE;
}

void
smtp_data_out_init(struct smtp_data_out *d)
{
	*d = (struct smtp_data_out){ .state = SMTP_DATA_LINE_START };
}

/* CR, LF or NUL on the way out. */
static void
out_special(struct smtp_data_out *d, char c)
{
	if (c == '\n' && d->state == SMTP_DATA_CR) {
		d->state = SMTP_DATA_LINE_START;
		return;
	}
	d->bare_cr |= d->state == SMTP_DATA_CR;
	d->bare_lf |= c == '\n';
	d->nul |= c == '\0';
	d->state = c == '\r' ? SMTP_DATA_CR : SMTP_DATA_LINE;
}

size_t
smtp_data_encode(struct smtp_data_out *d, struct str in, char *out)
{
	size_t at = 0, to = 0;
	bool ignored = false;

	while (at < in.len) {
		size_t run = plain_run(str_sub(in, at, in.len), &ignored);

		if (run == 0) {
			out_special(d, in.p[at]);
			out[to++] = in.p[at++];
			continue;
		}
		if (d->state == SMTP_DATA_LINE_START && in.p[at] == '.')
			out[to++] = '.';
		d->bare_cr |= d->state == SMTP_DATA_CR;
		memcpy(out + to, in.p + at, run);
		at += run;
		to += run;
		d->state = SMTP_DATA_LINE;
	}
	return to;
}

size_t
smtp_data_encode_end(struct smtp_data_out *d, char out[SMTP_DATA_END_MAX])
{
	struct str mark = STR("\r\n.\r\n");

	if (d->state == SMTP_DATA_LINE_START)
		mark = STR(".\r\n");
	else if (d->state == SMTP_DATA_CR)
		mark = STR("\n.\r\n");
	memcpy(out, mark.p, mark.len);
	d->state = SMTP_DATA_END;
	return mark.len;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* SMTP command lines.  Reading only: no verb is known here and no address judged, but
 * nothing that could be read in two ways gets through. */
#include "common/mail/smtp_command.h"

int
smtp_command_read(struct str line, struct smtp_command *out, struct err *err)
{
	size_t n = 0;

	for (size_t i = 0; i < line.len; i++) {
		if (line.p[i] == '\0')
			return err_set(err, "NUL in a command");
		if (line.p[i] == '\r' || line.p[i] == '\n')
			return err_set(err, "bare %s in a command, lines end in CRLF",
			    line.p[i] == '\r' ? "CR" : "LF");
	}
	while (n < line.len && ascii_alnum(line.p[n]))
		n++;
	if (n == 0 || (n < line.len && !ascii_blank(line.p[n])))
		return err_set(err, "expected a command word");
	out->verb = str_sub(line, 0, n);
	out->args = str_trim(str_sub(line, n, line.len));
	return 0;
}

/* The path up to its '>', which may stand in a quoted string (RFC 5321 4.1.2). */
static int
path_end(struct str s, size_t *end, struct err *err)
{
	bool quoted = false;

	if (s.len == 0 || s.p[0] != '<')
		return err_set(err, "expected an address in <>");
	for (size_t i = 1; i < s.len; i++) {
		if (quoted && s.p[i] == '\\')
			i++;
		else if (s.p[i] == '"')
			quoted = !quoted;
		else if (s.p[i] == '>' && !quoted) {
			*end = i + 1;
			return 0;
		}
	}
	return err_set(err, "the address has no closing '>'");
}

/* esmtp-keyword ["=" esmtp-value] (RFC 5321 4.1.2) */
static int
param_read(struct str text, struct smtp_param *out, struct err *err)
{
	struct str rest = text;

	out->text = text;
	out->has_value = str_has(text, '=');
	(void)str_cut(&rest, '=', &out->key);
	out->value = out->has_value ? rest : (struct str){ "", 0 };
	if (out->key.len == 0 || !ascii_alnum(out->key.p[0]))
		return err_set(err, "expected a parameter, KEYWORD or KEYWORD=value");
	for (size_t i = 0; i < out->key.len; i++)
		if (!ascii_alnum(out->key.p[i]) && out->key.p[i] != '-')
			return err_set(err, "bad octet in a parameter's keyword");
	if (out->has_value && out->value.len == 0)
		return err_set(err, "parameter with '=' but without a value");
	for (size_t i = 0; i < out->value.len; i++)
		if (out->value.p[i] < 33 || out->value.p[i] > 126 ||
		    out->value.p[i] == '=')
			return err_set(err, "bad octet in a parameter's value");
	return 0;
}

int
smtp_path_read(struct str args, struct str word, struct smtp_path *out, struct err *err)
{
	struct str rest, text;
	size_t end = 0;

	*out = (struct smtp_path){ .n_params = 0 };
	if (!str_starts_nocase(args, word))
		return err_set(err, "expected %.*s<address>", STR_ARG(word));
	rest = str_sub(args, word.len, args.len);
	while (rest.len > 0 && ascii_blank(rest.p[0]))
		rest = str_sub(rest, 1, rest.len);
	if (path_end(rest, &end, err) < 0)
		return -1;
	out->path = str_sub(rest, 0, end);
	rest = str_sub(rest, end, rest.len);
	if (rest.len > 0 && !ascii_blank(rest.p[0]))
		return err_set(err, "expected a blank behind the address");
	while (str_word(&rest, &text)) {
		if (out->n_params == SMTP_PARAMS_MAX)
			return err_set(err, "more than %d parameters", SMTP_PARAMS_MAX);
		if (param_read(text, &out->params[out->n_params], err) < 0)
			return -1;
		out->n_params++;
	}
	return 0;
}

/* Upper case only, as RFC 3461 4 has it. */
static int
hex_digit(char c)
{
	if (ascii_digit(c))
		return c - '0';
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

int
smtp_xtext_decode(struct str in, struct buf *out, struct err *err)
{
	for (size_t i = 0; i < in.len; i++) {
		int c = (unsigned char)in.p[i];

		if (c == '=' || c < 33 || c > 126)
			return err_set(err, "octet that xtext does not allow");
		if (c == '+') {
			bool both = in.len - i > 2;
			int hi = both ? hex_digit(in.p[i + 1]) : -1;
			int lo = both ? hex_digit(in.p[i + 2]) : -1;

			if (hi < 0 || lo < 0)
				return err_set(
				    err, "'+' without two upper-case hex digits");
			c = hi * 16 + lo;
			i += 2;
			if (c < 32 || c == 127)
				return err_set(err, "encoded control octet");
		}
		if (buf_add_char(out, (char)c) < 0)
			return err_set(err, "value too long");
	}
	return 0;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* Cuts a configuration file into words and marks: one pass, no copies, every fault told
 * with its line.  A string ends on the line where it began, so that a forgotten quote
 * costs one line and not the rest of the file. */
#include "common/base/conf_lex.h"

void
conf_lex_init(
    struct conf_lex *lex, const char *file, char *text, size_t len, struct errs *errs)
{
	*lex = (struct conf_lex){
		.file = file, .p = text, .end = text + len, .line = 1, .errs = errs
	};
	/* editors of other systems put a byte order mark in front */
	if (len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0)
		lex->p += 3;
}

static bool
is_control(char c)
{
	return ((unsigned char)c < 0x20 && c != '\t') || c == 0x7f;
}

static bool
is_mark(char c)
{
	return c == ';' || c == '{' || c == '}';
}

static bool
ends_word(char c)
{
	return c == '\n' || c == '\r' || ascii_blank(c) || is_mark(c) || c == '"' ||
	    c == '#';
}

/* Blanks, line ends and comments. */
static void
skip_space(struct conf_lex *lex)
{
	for (; lex->p < lex->end; lex->p++) {
		if (*lex->p == '#') {
			char *lf = memchr(lex->p, '\n', (size_t)(lex->end - lex->p));

			lex->p = lf == NULL ? lex->end : lf;
			if (lf == NULL)
				return;
		}
		if (*lex->p == '\n')
			lex->line++;
		else if (!ascii_blank(*lex->p) && *lex->p != '\r')
			return;
	}
}

static void
control_error(struct conf_lex *lex, char c)
{
	errs_add(lex->errs, lex->file, lex->line,
	    "octet 0x%02x is not text: expected printable characters",
	    (unsigned)(unsigned char)c);
}

/* Behind the opening quote.  Escapes shrink the text, so it is rewritten where it is.
 */
static struct str
read_string(struct conf_lex *lex)
{
	char *start = lex->p, *to = lex->p;

	for (; lex->p < lex->end && *lex->p != '\n'; lex->p++) {
		char c = *lex->p;

		if (c == '"') {
			lex->p++;
			return (struct str){ start, (size_t)(to - start) };
		}
		if (c == '\\' && lex->p + 1 < lex->end && lex->p[1] != '\n') {
			c = *++lex->p;
			if (c != '"' && c != '\\')
				errs_add(lex->errs, lex->file, lex->line,
				    "\\%c is not an escape in a string: expected \\\" "
				    "or \\\\",
				    is_control(c) ? '?' : c);
		} else if (is_control(c) && c != '\r') {
			control_error(lex, c);
		}
		*to++ = c;
	}
	errs_add(lex->errs, lex->file, lex->line,
	    "string has no end: expected \" before the end of the line");
	return (struct str){ start, (size_t)(to - start) };
}

static struct str
read_word(struct conf_lex *lex)
{
	char *start = lex->p;
	bool told = false;

	for (; lex->p < lex->end && !ends_word(*lex->p); lex->p++) {
		if (is_control(*lex->p) && !told) {
			control_error(lex, *lex->p);
			told = true;
		}
	}
	return (struct str){ start, (size_t)(lex->p - start) };
}

enum conf_token
conf_lex_next(struct conf_lex *lex, struct conf_word *word)
{
	skip_space(lex);
	if (lex->p == lex->end)
		return CONF_TOKEN_END;
	if (is_mark(*lex->p)) {
		char mark = *lex->p++;

		return mark == ';' ? CONF_TOKEN_SEMICOLON
		    : mark == '{'  ? CONF_TOKEN_OPEN
				   : CONF_TOKEN_CLOSE;
	}
	*word = (struct conf_word){ .file = lex->file, .line = lex->line };
	word->quoted = *lex->p == '"';
	if (word->quoted) {
		lex->p++;
		word->text = read_string(lex);
	} else {
		word->text = read_word(lex);
	}
	/* "a"b and a"b" are slips of the hand, not concatenations */
	if (lex->p < lex->end &&
	    (*lex->p == '"' || (word->quoted && !ends_word(*lex->p))))
		errs_add(lex->errs, lex->file, lex->line,
		    "quote in the middle of a word: expected a blank between words");
	return CONF_TOKEN_WORD;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* Words and marks of a configuration file.  Knows of one file's octets only; statements
 * and includes are conf_tree.c's.
 *
 *     mark   = ";" | "{" | "}"
 *     word   = 1*(any octet but blanks, controls, ; { } " #)
 *     string = DQUOTE *(any but controls, DQUOTE and "\" | "\" DQUOTE | "\\") DQUOTE
 *     "#" begins a comment up to the end of the line, but not inside a string.
 */
#ifndef POSTERN_BASE_CONF_LEX_H
#define POSTERN_BASE_CONF_LEX_H

#include "common/base/conf_tree.h"

enum conf_token {
	CONF_TOKEN_END,
	CONF_TOKEN_WORD,
	CONF_TOKEN_OPEN,
	CONF_TOKEN_CLOSE,
	CONF_TOKEN_SEMICOLON,
};

struct conf_lex {
	const char *file; /* borrowed, names the place in errors */
	char *p, *end; /* what is left; strings are unescaped in place */
	int line;
	struct errs *errs;
};

/* text: borrowed and changed; words borrow from it. */
void conf_lex_init(
    struct conf_lex *lex, const char *file, char *text, size_t len, struct errs *errs);

/* The next token; *word is set for a word.  Faulty words are told in errs and returned
 * as well as they can be read, so that the statement around them keeps its shape. */
enum conf_token conf_lex_next(struct conf_lex *lex, struct conf_word *word);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* What went wrong, for a person: the text says what is wrong and what was expected; file
 * and line where the cause stands in a file.  The caller owns the struct (on its stack)
 * and decides whether it is logged: low layers never log and return. */
#ifndef POSTERN_BASE_ERR_H
#define POSTERN_BASE_ERR_H

#include <stddef.h>

struct err {
	char text[400]; /* longer texts are cut: they are for people */
	char file[200]; /* empty: not about a file */
	int line; /* from 1; 0: the file as a whole */
};

/* What parsers of input in pieces return. */
enum parse { PARSE_ERROR = -1, PARSE_MORE = 0, PARSE_DONE = 1 };

/* Fill err (which may be NULL) and return -1, so that `return err_set(...)` is one line. */
int err_set(struct err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The same with ": strerror(errno)" behind the text. */
int err_errno(struct err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Name the place.  Returns -1. */
int err_at(struct err *err, const char *file, int line, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* "file:line: text" or "text"; out holds at least 640 octets.  Returns out. */
const char *err_str(const struct err *err, char *out, size_t size);

/* A list of errors, so that a file's faults are all told in one run. */
#define ERRS_MAX 200 /* a file with more is not worth reading further */
struct errs {
	struct err *list;
	size_t n; /* kept; at most ERRS_MAX */
	size_t dropped; /* counted beyond that */
};

void errs_clear(struct errs *errs);
void errs_add(struct errs *errs, const char *file, int line, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

#endif

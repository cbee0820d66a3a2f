/* SPDX-License-Identifier: BSD-2-Clause */
/* Postern's configuration grammar:
 *
 *     file      = { statement }
 *     statement = name { value } ( ";" | "{" { statement } "}" )
 *     value     = bare word | "quoted \"string\""        # comment to end of line
 *     include "conf.d/<pattern>.conf";                  (relative to this file)
 *
 * A ";" may be left out before "}".  The tree keeps file:line of every word, and all
 * faults of a file are collected.  What the names mean: conf.h. */
#ifndef POSTERN_BASE_CONF_TREE_H
#define POSTERN_BASE_CONF_TREE_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/err.h"
#include "common/base/str.h"

#define CONF_FILE_MAX (4u << 20) /* octets of one file */
#define CONF_TOTAL_MAX (16u << 20) /* octets of all files together */
#define CONF_WORDS_MAX 1000000u /* words of all files together: bounds the memory */
#define CONF_DEPTH_MAX 8 /* blocks within blocks; includes within includes */
#define CONF_FILES_MAX 200 /* files of one configuration, includes counted */

struct conf_word {
	struct str text; /* without quotes, no NUL inside; borrowed from the tree */
	const char *file;
	int line;
	bool quoted;
};

struct conf_node {
	struct conf_word name;
	struct conf_word *values;
	size_t n_values;
	struct conf_node *children; /* first statement of the block */
	struct conf_node *next;
	bool block;
};

struct conf_tree; /* owns all text */

/* Read a file with its includes.  NULL when it cannot be read or is malformed; errs
 * then has at least one entry more.  conf_parse_text: the same from memory, file only
 * names it and the folder of its includes; without a name (NULL) an include is an
 * error. */
struct conf_tree *conf_parse_file(const char *path, struct errs *errs);
struct conf_tree *conf_parse_text(struct str text, const char *file, struct errs *errs);
/* The same, but what could be read of a malformed file is returned with the errors, so
 * that its other faults can be told in the same run.  Never NULL. */
struct conf_tree *conf_parse_file_all(const char *path, struct errs *errs);
struct conf_tree *conf_parse_text_all(
    struct str text, const char *file, struct errs *errs);
const struct conf_node *conf_root(const struct conf_tree *tree); /* first statement */
void conf_free(struct conf_tree *tree); /* accepts NULL */

/* Read a whole regular file of at most CONF_FILE_MAX octets into fresh memory with a
 * NUL behind it; the caller frees.  NULL: err says why, without the file's name. */
char *conf_read_file(const char *path, size_t *len, struct err *err);
/* name as seen from the folder of `from`; the caller frees. */
char *conf_relative(const char *from, struct str name);

#endif

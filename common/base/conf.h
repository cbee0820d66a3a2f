/* SPDX-License-Identifier: BSD-2-Clause */
/* Postern's configuration grammar and the tables that give it meaning.
 *
 *     file    = { statement }
 *     statement = name { value } ( ";" | "{" { statement } "}" )
 *     value   = bare word | "quoted \"string\""        # comment to end of line
 *     include "conf.d/ *.conf";                          (relative to this file)
 *
 * A ";" may be left out before "}".  The tree keeps file:line of every word.  All faults
 * of a file are collected; a table row is all that a setting needs: parsing, range,
 * default, `posternctl check`, manual test, the stage that reads it and how recipients
 * of one message merge. */
#ifndef POSTERN_BASE_CONF_H
#define POSTERN_BASE_CONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/base/str.h"

#define CONF_FILE_MAX (4u << 20) /* octets of one file */
#define CONF_DEPTH_MAX 8 /* blocks within blocks */
#define CONF_FILES_MAX 200 /* files of one configuration, includes counted */

struct conf_word {
	struct str text; /* without quotes; borrowed from the tree */
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

/* Read a file with its includes.  NULL when it cannot be read or is malformed; errs then
 * has at least one entry.  conf_parse_text: the same from memory, file only names it. */
struct conf_tree *conf_parse_file(const char *path, struct errs *errs);
struct conf_tree *conf_parse_text(struct str text, const char *file, struct errs *errs);
const struct conf_node *conf_root(const struct conf_tree *tree); /* first statement */
void conf_free(struct conf_tree *tree);

enum conf_type {
	CONF_BOOL, /* bool: on off yes no true false */
	CONF_INT, /* int64_t */
	CONF_TIME, /* int64_t, seconds */
	CONF_TIME_MS, /* int64_t, milliseconds */
	CONF_SIZE, /* uint64_t, bytes */
	CONF_STRING, /* char *, one value, owned by the struct */
	CONF_LIST, /* struct conf_strings, one or more values; repeated lines add up */
	CONF_ENUM, /* int; names in `choices`, in order, separated by '|' */
	CONF_NET_LIST, /* struct conf_nets */
	CONF_CUSTOM, /* parse() below */
};

/* The moment of an SMTP transaction at which a setting is read: a policy's condition that
 * is known only later is an error. */
enum stage {
	STAGE_START, /* when the program starts; cannot be changed by a policy nor reload */
	STAGE_CONNECT,
	STAGE_MAIL,
	STAGE_RCPT,
	STAGE_EOM,
};

/* How recipients that differ settle on one answer after DATA. */
enum merge { MERGE_OWN, MERGE_MIN, MERGE_MAX, MERGE_ALL };

struct conf_strings {
	char **list;
	size_t n;
};

struct ipnet;
struct conf_nets {
	struct ipnet *list;
	size_t n;
};

struct conf_setting {
	const char *name; /* "delay" */
	enum conf_type type;
	size_t offset; /* in the section's struct */
	const char *def; /* default, written as in the file; NULL: zero/empty */
	int64_t min, max; /* of INT, TIME, TIME_MS, SIZE */
	const char *choices; /* of ENUM */
	enum stage stage;
	enum merge merge;
	const char *help; /* a phrase for `posternctl explain` and hints */
	/* CUSTOM: read node into the field; errors go to errs. */
	void (*parse)(const struct conf_node *node, void *field, struct errs *errs);
	void (*clear)(void *field); /* of CUSTOM, may be NULL */
};

struct conf_table {
	const char *section; /* "greylist" */
	const struct conf_setting *settings;
	size_t n;
	size_t size; /* of the struct */
};

/* Fill *out (caller's storage of table->size, zeroed here) with the defaults. */
void conf_defaults(const struct conf_table *table, void *out);
/* Apply the statements of one block over it.  Unknown keys get the nearest known name as
 * a hint.  Returns false when errs grew. */
bool conf_apply(const struct conf_table *table, const struct conf_node *block, void *out,
    struct errs *errs);
/* One setting from words; used for policies' overrides too. */
bool conf_set(const struct conf_setting *setting, const struct conf_node *node, void *out,
    struct errs *errs);
/* Release what the settings own inside *out. */
void conf_clear(const struct conf_table *table, void *out);
/* A deep copy, so that policies can override a copy.  dst is zeroed storage. */
void conf_copy(const struct conf_table *table, const void *src, void *dst);
const struct conf_setting *conf_find(const struct conf_table *table, struct str name);
/* The value as it would be written in a file. */
struct buf;
void conf_print(const struct conf_setting *setting, const void *from, struct buf *out);

/* The nearest of n names to word (edit distance at most 2), or NULL. */
const char *conf_nearest(struct str word, const char *const *names, size_t n);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* The tables that give meaning to postern.conf (its grammar: conf_tree.h).  A row is
 * all that a setting needs: parsing, range, default, `posternctl check`, manual test,
 * the stage that reads it and how recipients of one message merge. */
#ifndef POSTERN_BASE_CONF_H
#define POSTERN_BASE_CONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/conf_tree.h"
#include "common/base/err.h"
#include "common/base/str.h"

struct buf;

enum conf_type {
	CONF_BOOL, /* bool: on off yes no true false */
	CONF_INT, /* int64_t */
	CONF_TIME, /* int64_t, seconds */
	CONF_TIME_MS, /* int64_t, milliseconds */
	CONF_SIZE, /* uint64_t, bytes */
	CONF_DECIMAL, /* int64_t, thousandths: "7.5" is 7500 */
	CONF_STRING, /* char *, one value, owned by the struct; never NULL, "" when
			empty */
	CONF_LIST, /* struct conf_strings, one or more values; repeated lines add up */
	CONF_ENUM, /* int; names in `choices`, in order, separated by '|' */
	CONF_NET_LIST, /* struct conf_nets */
	CONF_CUSTOM, /* parse() below */
};

/* The moment of an SMTP transaction at which a setting is read: a policy's condition
 * that is known only later is an error. */
enum stage {
	STAGE_START, /* when the program starts; cannot be changed by a policy nor
			reload */
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
	const char *name; /* "delay"; unique among rows of the same `block` */
	enum conf_type type;
	size_t offset; /* in the section's struct */
	const char *def; /* default, written as in the file; NULL: zero/empty */
	int64_t min,
	    max; /* of INT, TIME, TIME_MS, SIZE, DECIMAL, in the field's unit; 0 and 0: any */
	const char *choices; /* of ENUM */
	enum stage stage;
	enum merge merge;
	const char *help; /* a phrase for `posternctl explain` and hints */
	/* CUSTOM: read node into the field, adding to what it holds (a scalar is zeroed
	 * before); errors go to errs and leave the field fit for clear(). */
	void (*parse)(const struct conf_node *node, void *field, struct errs *errs);
	void (*clear)(void *field); /* of CUSTOM, may be NULL */
	void (*print)(const void *field, struct buf *out); /* of CUSTOM */
	size_t size; /* of CUSTOM: octets of the field */
	/* of STRING and each value of LIST: NULL when right, else what was expected */
	const char *(*check)(struct str value);
	bool repeat; /* of CUSTOM: may stand several times, lines add up */
	bool block; /* of CUSTOM: written `name "label" { ... }`, may be repeated */
};

/* A row in one line; rarer fields follow by name: .check = path_wrong. */
#define CONF_ROW(name_, type_, offset_, def_, min_, max_, choices_, stage_, merge_, help_, \
    ...) \
	{ .name = name_, .type = type_, .offset = offset_, .def = def_, .min = min_, \
		.max = max_, .choices = choices_, .stage = stage_, .merge = merge_, \
		.help = help_, __VA_ARGS__ }

struct conf_table {
	const char *section; /* "greylist" */
	const struct conf_setting *settings;
	size_t n;
	size_t size; /* of the struct */
};

/* Fill *out (caller's storage of table->size, zeroed here) with the defaults. */
void conf_defaults(const struct conf_table *table, void *out);
/* Apply the statements of one block over it.  A scalar that stands twice is an error
 * naming the first line; the first line of a list replaces the default, further ones
 * add to it.  Unknown keys get the nearest known name as a hint.  false when errs grew.
 */
bool conf_apply(const struct conf_table *table, const struct conf_node *block,
    void *out, struct errs *errs);
/* The same for one statement.  seen: table->n pointers, NULL at first, that remember
 * the first statement of each row, so that a section may stand in several blocks. */
bool conf_apply_node(const struct conf_table *table, const struct conf_node *node,
    void *out, const struct conf_node **seen, struct errs *errs);
/* One setting from the values of node, whatever its name; replaces what *out held. */
bool conf_set(const struct conf_setting *setting, const struct conf_node *node,
    void *out, struct errs *errs);
/* Release what the settings own inside *out, and zero it. */
void conf_clear(const struct conf_table *table, void *out);
/* The row written `name value`, or NULL.  conf_find_block: the row written with a
 * block. */
const struct conf_setting *conf_find(const struct conf_table *table, struct str name);
const struct conf_setting *conf_find_block(
    const struct conf_table *table, struct str name);
/* Octets that the field of this row takes in the struct. */
size_t conf_field_size(const struct conf_setting *setting);
/* The value as it would be written in a file; "" for an empty list. */
void conf_print(const struct conf_setting *setting, const void *from, struct buf *out);
/* A word in the shortest spelling that reads back as the same: quoted where needed. */
void conf_print_word(struct str word, struct buf *out);

/* The error of a name that nobody knows, with the nearest of n known ones as a hint.
 * what: "setting of greylist". */
void conf_unknown(const struct conf_word *word, const char *what,
    const char *const *names, size_t n, struct errs *errs);
/* The nearest of n names to word (edit distance at most 2), or NULL. */
const char *conf_nearest(struct str word, const char *const *names, size_t n);

#endif

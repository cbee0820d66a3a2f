/* SPDX-License-Identifier: BSD-2-Clause */
/* What other greylists wrote out, as entries of ours, line by line.  Pure.
 *
 *   table            what `posternctl greylist export` writes: greylist_text.h
 *   milter-greylist  its dump file: address, sender, recipient and a time, separated by
 *                    blanks; the time is when mail may pass, or, with AUTO behind it, until
 *                    when the triple is known.  From # on it is a comment.
 *   postgrey         its databases as db_dump writes them, with or without -p: triples
 *                    "client/sender/recipient" with "first,last", clients with
 *                    "count,last"
 *   spamdb           what OpenBSD's spamdb prints: GREY, WHITE, TRAPPED, SPAMTRAP
 *
 * Others know a client by its address: here it is the network of that, which no client has
 * whose name or SPF says who it is. */
#ifndef POSTERN_CTL_GREYLIST_IMPORT_H
#define POSTERN_CTL_GREYLIST_IMPORT_H

#include "contrib/ctl/greylist_text.h"

enum import_format {
	IMPORT_TABLE,
	IMPORT_MILTER_GREYLIST,
	IMPORT_POSTGREY,
	IMPORT_SPAMDB,
	IMPORT_FORMATS,
};
const char *import_format_name(enum import_format format);

#define IMPORT_LINE_MAX 4096 /* octets; longer lines are errors */

struct import {
	enum import_format format;
	int64_t now; /* wall seconds */
	const struct settings_greylist *set;
	/* own */
	enum { IMPORT_HEAD, IMPORT_KEY, IMPORT_VALUE, IMPORT_END } at;
	bool bytes; /* postgrey: octets as hexadecimal digits */
	char key[IMPORT_LINE_MAX];
	size_t key_len;
};

void import_init(struct import *i, enum import_format format,
    const struct settings_greylist *set, int64_t now);

enum import_result {
	IMPORT_BAD, /* err says why */
	IMPORT_NOTHING, /* a comment, a part of something */
	IMPORT_ENTRY, /* *out */
	IMPORT_OVER, /* its time is over */
	IMPORT_FOREIGN, /* nothing that a store keeps: err says what */
};
/* line: without its end. */
enum import_result import_line(struct import *i, struct str line,
    struct greylist_entry *out, struct err *err);
/* At the end of the file; false: something is missing, err says what. */
bool import_complete(const struct import *i, struct err *err);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* Spam rules in SpamAssassin's syntax (.cf files), as data.
 *
 * Read by the daemon, which knows names, scores and metas, and by the jail's master,
 * which compiles the patterns.  Conditions are answered as SpamAssassin 4.0.1 with
 * its default plugins would.  What Postern cannot run - eval rules, fields of the relay
 * parser, statements of plugins - is no error: it is counted by name in notes, and
 * such a rule's value is unknown to metas. */
#ifndef POSTERN_SCORE_RULES_H
#define POSTERN_SCORE_RULES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/err.h"
#include "common/base/str.h"
#include "milters/score/meta.h"

#define RULES_MAX 20000
#define RULES_FILES_MAX 500
#define RULES_LINE_MAX 65536 /* octets of a line, and so of a pattern */
#define RULES_PATTERN_MAX (512u << 10) /* with its tags expanded */
#define RULES_INCLUDE_MAX 10 /* files inside files */
#define RULES_TAGS_MAX 2000
#define RULES_NOTES_MAX 300
#define RULES_HITS_MAX 1000000u /* a rule's value never passes this */

enum rule_type {
	RULE_NONE, /* scored or described, but never defined */
	RULE_EMPTY, /* `meta X` of a plugin, or a name without a test */
	RULE_HEADER,
	RULE_BODY,
	RULE_RAWBODY,
	RULE_URI,
	RULE_FULL,
	RULE_META,
	RULE_EVAL,
	RULE_TYPES
};
const char *rule_type_name(enum rule_type type);

/* Which form of a field's value is looked at. */
enum rule_part { RULE_VALUE, RULE_RAW, RULE_ADDR, RULE_NAME };

#define RULE_CASELESS 0x1u
#define RULE_MULTILINE 0x2u
#define RULE_DOTALL 0x4u
#define RULE_EXTENDED 0x8u

#define RULE_NICE 0x1u
#define RULE_MULTIPLE 0x2u
#define RULE_NET 0x4u
#define RULE_LEARN 0x8u
#define RULE_NOSUBJECT 0x10u

#define RULE_SETS 4 /* local; with network tests; with Bayes; with both */

struct rule {
	char *name;
	enum rule_type type;
	const char *file; /* of the definition; borrowed from the set */
	int line;
	char *field; /* HEADER: its name; pseudo fields as SpamAssassin spells them */
	enum rule_part part;
	bool exists, negated;
	char *if_unset; /* NULL: none */
	char *pattern; /* as in the file, without delimiters and the hash's backslash */
	unsigned flags; /* RULE_CASELESS ... */
	bool tagged; /* replace tags stand in the pattern */
	struct meta *meta;
	size_t *uses; /* META: the rule of each of meta->names; SIZE_MAX: no such rule */
	double score[RULE_SETS];
	bool scored;
	unsigned tflags; /* RULE_NICE ... */
	uint32_t maxhits; /* 0: no limit */
	char *describe; /* NULL: none */
	const char *unsupported; /* why it cannot run here; static text; NULL: it can */
};

struct rules_tag {
	char *name, *text;
};
enum rules_tags { RULES_TAG, RULES_PRE, RULES_INTER, RULES_POST, RULES_TAG_KINDS };

/* Something that was read but is not acted on. */
struct rules_note {
	char *what; /* "statement urirhssub", "eval check_rbl", "required_score" */
	size_t n;
	const char *file; /* the first */
	int line;
};

struct rules {
	struct rule *list;
	size_t n;
	uint32_t *slots; /* hash table by name: index + 1 */
	size_t n_slots;
	size_t *metas; /* indices of metas, each behind those that it uses */
	size_t n_metas;
	struct rules_tag *tags[RULES_TAG_KINDS];
	size_t n_tags[RULES_TAG_KINDS];
	struct rules_note *notes;
	size_t n_notes;
	char **files;
	size_t n_files;
};

/* Read files; a folder stands for its *.pre and then its *.cf in the order of their
 * names.  NULL when errs has an entry: all faults are told as file:line.  The built-in
 * test rule GTUBE is always there. */
struct rules *rules_load(const char *const *paths, size_t n, struct errs *errs);
/* The same from memory; name stands for the file. */
struct rules *rules_from_text(struct str text, const char *name, struct errs *errs);
void rules_free(struct rules *r); /* accepts NULL */

/* Index or SIZE_MAX. */
size_t rules_find(const struct rules *r, struct str name);

/* "__NAME": no score of its own. */
bool rule_is_sub(const struct rule *rule);
/* Its score in a set: as given, else 1 (nice: -1, T_NAME: 0.01), sub-rules 0. */
double rule_score(const struct rule *rule, size_t set);
/* Whether it takes part at all: sub-rules do, others unless their score is 0. */
bool rule_enabled(const struct rule *rule, size_t set);

/* The pattern with its replace tags put in.  -1: over RULES_PATTERN_MAX. */
int rules_expand(const struct rules *r, const struct rule *rule, struct buf *out);
/* The same with each tag as a subroutine of a DEFINE group: much shorter.  -1: the
 * pattern's own groups would be numbered anew, or no tag stands in it. */
int rules_expand_define(const struct rules *r, const struct rule *rule, struct buf *out);

#endif

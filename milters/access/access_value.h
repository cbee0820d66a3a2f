/* SPDX-License-Identifier: BSD-2-Clause */
/* Right-hand sides of an access map: keywords, and texts with their reply codes.
 * sendmail reads an unquoted value as address tokens and joins them again; so do we,
 * because that decides which blanks a refused sender sees and which values are
 * keywords. */
#ifndef POSTERN_ACCESS_VALUE_H
#define POSTERN_ACCESS_VALUE_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/err.h"
#include "common/base/str.h"
#include "common/base/verdict.h"
#include "db/map.h"

#define ACCESS_VALUE_MAX 480 /* octets of a value after %0 is put in; more is cut */

enum access_word {
	ACCESS_WORD_TEXT, /* a refusal: text, code, enhanced */
	ACCESS_WORD_OK,
	ACCESS_WORD_RELAY,
	ACCESS_WORD_REJECT,
	ACCESS_WORD_DISCARD,
	ACCESS_WORD_SKIP,
	ACCESS_WORD_QUARANTINE, /* text: the reason */
	ACCESS_WORD_FRIEND,
	ACCESS_WORD_HATER,
	ACCESS_WORD_SPAMFRIEND,
	ACCESS_WORD_SPAMHATER,
};

struct access_value {
	enum access_word word;
	char text[ACCESS_VALUE_MAX +
	    1]; /* the value joined again; of QUARANTINE the reason */
	int code; /* of the value read as an error text */
	char enhanced[12];
	char reply[ACCESS_VALUE_MAX + 1]; /* the words shown with code */
};

/* key: as looked up, for %0.  Every value has a meaning. */
void access_value_read(struct str value, struct str key, struct access_value *out);
/* The value as a refusal: its code, enhanced code and words.  why: static text. */
struct verdict access_value_refusal(const struct access_value *v, const char *why);
/* A text with codes ("550 5.7.1 Access denied") as a refusal. */
struct verdict access_text_refusal(const char *text, const char *why);

/* May this line stand in a map?  -1: sendmail would garble the dialogue (a code that is
 * neither 4yz nor 5yz), hold nothing (QUARANTINE: without a reason), or say nothing. */
int access_value_check(struct str value, struct err *err);
/* Would sendmail garble the dialogue?  err says with which code. */
bool access_value_garbles(struct str value, struct err *err);
/* Tags that belong to the MTA: "TLS_Clt:", "AuthInfo:", ...  *tag: up to its colon. */
bool access_key_is_foreign(struct str key, struct str *tag);

/* What an access map's reader wants: lines of the MTA's tags are left out and named once
 * for each tag, values that would garble the dialogue are left out and named; other
 * faults refuse the file. */
struct map_rules access_map_rules(bool extensions);
/* For shared maps, where entries come one by one: every fault leaves its entry out. */
struct map_rules access_map_rules_shared(void);

#endif

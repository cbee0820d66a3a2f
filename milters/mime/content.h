/* SPDX-License-Identifier: BSD-2-Clause */
/* What becomes of a message, from what the scanner found in it and the settings of its
 * recipients.  Pure. */
#ifndef POSTERN_MIME_CONTENT_H
#define POSTERN_MIME_CONTENT_H

#include "common/base/verdict.h"
#include "milters/mime/inspection.h"
#include "policy/settings.h"

/* More parts than these are not cut out one by one, the message is refused: all their
 * explanations stand in one request to the jail (JAIL_REQUEST_MAX). */
#define CONTENT_STRIPS_MAX 64
#define CONTENT_EXPLAIN_MAX 150 /* octets of a name or a detail in an explanation */

struct content_strip {
	int part; /* of the plain view */
	struct str name; /* what the explanation calls it; borrows from the inspection */
	const char *why; /* static: "forbidden-name", "forbidden-type", "infected" */
	struct str detail; /* the name's ending, the virus, ... */
};

struct content_decision {
	struct verdict verdict; /* CONTINUE with n_strips 0: untouched */
	bool quarantine; /* a copy must lie in quarantine before the verdict is given */
	bool notify; /* tell the postmaster */
	struct content_strip strips[CONTENT_STRIPS_MAX];
	size_t n_strips;
	struct str detail; /* the virus, the name, ...: for log and quarantine */
};

void content_decide(const struct settings_mime *set, const struct inspection *found,
    struct content_decision *out);

/* The explanation that takes a part's place, UTF-8 with LF line ends. */
void content_explain(const struct content_strip *strip, const char *host, struct buf *out);

/* The forbidden ending of a name, as a mail reader or a file system would see the name;
 * empty when there is none.  Every dot-ending from the right two is tested, after format
 * characters, control octets and what means nothing at a name's end are gone, and again
 * without what stands behind a colon. */
struct str content_forbidden_ending(const struct conf_strings *endings, struct str name);

#endif

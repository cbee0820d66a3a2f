/* SPDX-License-Identifier: BSD-2-Clause */
/* HTML cut into text and tags as browsers cut it (the tokenizer of the WHATWG standard,
 * without tree building): `<a/href=x>`, unclosed quotes and comments that end early are
 * read as a browser reads them.  Linear, no recursion, no allocation per tag. */
#ifndef POSTERN_MAIL_HTML_H
#define POSTERN_MAIL_HTML_H

#include <stdbool.h>

#include "common/base/buf.h"
#include "common/base/str.h"

#define HTML_ATTRS_MAX 32

struct html_attr {
	struct str name; /* as written */
	struct str value; /* as written: entities not decoded */
};

struct html_tag {
	struct str name; /* as written: compare without case */
	bool end; /* </name> */
	struct html_attr attrs[HTML_ATTRS_MAX]; /* of duplicates only the first */
	size_t n_attrs;
};

struct html_events {
	/* Text between tags as written; raw true: inside script, style and their kin. */
	void (*text)(void *arg, struct str text, bool raw);
	void (*tag)(void *arg, const struct html_tag *tag);
};

/* Everything borrows from in for the time of the callback. */
void html_read(struct str in, const struct html_events *events, void *arg);

/* Character references (&amp; &#65; &#x41; also without ';') resolved to UTF-8. */
void html_decode(struct str in, struct buf *out);

/* The value of an attribute, or an empty string. */
struct str html_attr(const struct html_tag *tag, const char *name);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* libpsl behind a borrowed-octets interface: it wants lower case and a final NUL, and
 * answers with a pointer into that copy. */
#include "common/net/suffix.h"

#include <libpsl.h>
#include <stdlib.h>

#include "common/base/xalloc.h"

#define NAME_MAX_OCTETS 253 /* RFC 1035 2.3.4, without the root's dot */
#define LABEL_MAX_OCTETS 63

struct suffixes {
	psl_ctx_t *psl;
};

struct suffixes *
suffixes_open(const char *path, struct err *err)
{
	psl_ctx_t *psl = path[0] == '\0' ? psl_latest(NULL) : psl_load_file(path);

	/* an empty file loads as a list without rules, by which "uk" is one's own */
	if (psl != NULL && psl_is_public_suffix2(psl, "co.uk",
			       PSL_TYPE_ICANN | PSL_TYPE_NO_STAR_RULE) == 0) {
		psl_free(psl);
		psl = NULL;
	}
	if (psl == NULL) {
		err_set(err, "%s%scannot be read as a public suffix list", path,
		    path[0] == '\0' ? "the library's list " : " ");
		return NULL;
	}
	struct suffixes *s = xmalloc(sizeof(*s));
	s->psl = psl;
	return s;
}

void
suffixes_close(struct suffixes *s)
{
	if (s == NULL)
		return;
	psl_free(s->psl);
	free(s);
}

/* Lower case into out with a NUL behind it; false: no host name. */
static bool
fold(struct str name, char out[NAME_MAX_OCTETS + 1])
{
	size_t label = 0, labels = 1;
	bool alpha = false; /* of the last label: 192.0.2.1 is no name */

	if (name.len == 0 || name.len > NAME_MAX_OCTETS)
		return false;
	for (size_t i = 0; i < name.len; i++) {
		char c = ascii_lower(name.p[i]);

		out[i] = c;
		if (c == '.') {
			if (label == 0)
				return false;
			label = 0;
			labels++;
			alpha = false;
			continue;
		}
		if (!ascii_alnum(c) && c != '-' && c != '_')
			return false;
		alpha = alpha || ascii_alpha(c);
		if (++label > LABEL_MAX_OCTETS)
			return false;
	}
	out[name.len] = '\0';
	return label > 0 && labels > 1 && alpha;
}

bool
suffixes_organisation(const struct suffixes *s, struct str name, struct str *out)
{
	char text[NAME_MAX_OCTETS + 1];

	if (name.len > 0 && name.p[name.len - 1] == '.')
		name.len--;
	if (!fold(name, text))
		return false;
	const char *at = psl_registrable_domain(s->psl, text);
	if (at == NULL)
		return false;
	*out = str_sub(name, (size_t)(at - text), name.len);
	return true;
}

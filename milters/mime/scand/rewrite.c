/* SPDX-License-Identifier: BSD-2-Clause */
/* Copying what stays and writing fresh parts for what goes.  A new part has one header
 * section of our own, so nothing malformed is carried over. */
#include "milters/mime/scand/rewrite.h"

#include "common/mail/mime.h"

struct edit {
	uint32_t part;
	struct str text;
};

static int
next_edit(struct str *request, struct edit *e)
{
	const unsigned char *p = (const unsigned char *)request->p;

	if (request->len < 6)
		return -1;
	e->part = (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
	size_t len = (size_t)p[4] << 8 | p[5];
	if (request->len - 6 < len)
		return -1;
	e->text = str_sub(*request, 6, 6 + len);
	*request = str_sub(*request, 6 + len, request->len);
	return 0;
}

/* Line ends as CRLF, whatever the text has. */
static void
add_text(struct buf *out, struct str text)
{
	struct str line;

	while (text.len > 0 && str_cut(&text, '\n', &line)) {
		if (line.len > 0 && line.p[line.len - 1] == '\r')
			line.len--;
		buf_add_str(out, line);
		buf_add_cstr(out, "\r\n");
	}
}

#define HEAD                                                                           \
	"Content-Type: " REWRITE_TYPE "\r\nContent-Transfer-Encoding: " REWRITE_ENCODING     \
	"\r\nContent-Disposition: inline\r\n\r\n"

static bool
first_is_root(struct str request)
{
	struct edit e;

	return next_edit(&request, &e) == 0 && e.part == 0;
}

int
rewrite_message(struct str request, struct str message, struct buf *out, size_t *body,
    struct err *err)
{
	struct mime owner = { 0 };
	struct mime_view view;
	struct edit e;
	int rc = -1;

	mime_read_view(message, 0, &owner, &view);
	owner.views[owner.n_views++] = view;
	size_t at = view.parts[0].body;
	buf_add_str(out, first_is_root(request) ? STR(HEAD) : str_sub(message, 0, at));
	*body = out->len;
	while (request.len > 0) {
		if (next_edit(&request, &e) != 0 || e.part >= view.n_parts) {
			err_set(err, "a malformed request to rewrite");
			goto out;
		}
		const struct mime_part *p = &view.parts[e.part];
		size_t from = e.part == 0 ? p->body : p->head;

		if (from < at)
			continue; /* lies in a part that is gone already */
		buf_add_str(out, str_sub(message, at, from));
		if (e.part != 0)
			buf_add_str(out, STR(HEAD));
		add_text(out, e.text);
		at = p->body_end;
	}
	buf_add_str(out, str_sub(message, at, message.len));
	rc = out->failed ? err_set(err, "the rewritten message is too large") : 0;
out:
	mime_clear(&owner);
	return rc;
}

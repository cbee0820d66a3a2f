/* SPDX-License-Identifier: BSD-2-Clause */
/* Copying what stays and writing fresh parts for what goes.  A new part has one header
 * section of our own, so nothing malformed is carried over. */
#include "milters/mime/scand/rewrite.h"

#include "common/mail/mime.h"
#include "common/run/memfd.h"

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
static int
add_text(int fd, struct str text, struct err *err)
{
	struct str line;

	while (text.len > 0 && str_cut(&text, '\n', &line)) {
		if (line.len > 0 && line.p[line.len - 1] == '\r')
			line.len--;
		if (memfd_add(fd, line, err) != 0 || memfd_add(fd, STR("\r\n"), err) != 0)
			return -1;
	}
	return 0;
}

int
rewrite_message(struct str request, struct str message, int fd, struct err *err)
{
	static const char head[] = "Content-Type: text/plain; charset=utf-8\r\n"
				   "Content-Transfer-Encoding: 8bit\r\n"
				   "Content-Disposition: inline\r\n\r\n";
	struct mime owner = { 0 };
	struct mime_view view;
	struct edit e;
	int rc = -1;

	mime_read_view(message, 0, &owner, &view);
	owner.views[owner.n_views++] = view;
	size_t at = view.parts[0].body;
	while (request.len > 0) {
		if (next_edit(&request, &e) != 0 || e.part >= view.n_parts) {
			err_set(err, "a malformed request to rewrite");
			goto out;
		}
		const struct mime_part *p = &view.parts[e.part];
		size_t from = e.part == 0 ? p->body : p->head;

		if (from < at && e.part != 0)
			continue; /* lies in a part that is gone already */
		if (memfd_add(fd, str_sub(message, at, from), err) != 0 ||
		    (e.part != 0 && memfd_add(fd, str_of(head), err) != 0) ||
		    add_text(fd, e.text, err) != 0)
			goto out;
		at = p->body_end;
	}
	rc = memfd_add(fd, str_sub(message, at, message.len), err);
out:
	mime_clear(&owner);
	return rc;
}

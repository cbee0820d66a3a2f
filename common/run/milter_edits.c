/* SPDX-License-Identifier: BSD-2-Clause */
/* Decides whether an edit is legal, how much may be recorded, and in which order it is
 * sent.  Sendmail does not renumber after the deletion of a field and Postfix does, so
 * changes run from the highest index down; Postfix fails the message when any other
 * edit comes between two body packets, so the body is last. */
#include "common/run/milter_edits.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/xalloc.h"

void
milter_edits_init(struct milter_edits *e)
{
	*e = (struct milter_edits){ .body_fd = -1 };
}

void
milter_edits_clear(struct milter_edits *e)
{
	for (size_t i = 0; i < e->n; i++) {
		free(e->list[i].name);
		free(e->list[i].value);
	}
	free(e->list);
	if (e->body_fd >= 0)
		close(e->body_fd);
	milter_edits_init(e);
}

static int
check_name(struct str name, struct err *err)
{
	if (name.len == 0 || name.len > 200)
		return err_set(
		    err, "header name of %zu octets, expected 1 to 200", name.len);
	for (size_t i = 0; i < name.len; i++)
		if (name.p[i] <= ' ' || name.p[i] > '~' || name.p[i] == ':')
			return err_set(err,
			    "octet %d in a header name (RFC 5322 3.6.8)",
			    (unsigned char)name.p[i]);
	return 0;
}

static int
check_value(size_t name_len, struct str value, struct err *err)
{
	size_t line = name_len + 2;

	if (value.len + name_len > MILTER_FIELD_MAX)
		return err_set(err, "header of more than %d octets", MILTER_FIELD_MAX);
	for (size_t i = 0; i < value.len; i++) {
		unsigned char c = (unsigned char)value.p[i];

		if (c == '\n') {
			if (i + 1 == value.len || !ascii_blank(value.p[i + 1]))
				return err_set(
				    err, "line end without fold in a header value");
			line = 0;
			continue;
		}
		if ((c < 0x20 && c != '\t') || c == 0x7f)
			return err_set(err, "octet %d in a header value", c);
		if (++line > MILTER_FIELD_LINE_MAX)
			return err_set(err,
			    "header line of more than %d octets (RFC 5322 2.1.1)",
			    MILTER_FIELD_LINE_MAX);
	}
	return 0;
}

static int
add(struct milter_edits *e, struct milter_edit edit, size_t bytes, struct err *err)
{
	if (e->n >= MILTER_EDITS_MAX)
		return err_set(
		    err, "more than %d edits of one message", MILTER_EDITS_MAX);
	if (e->bytes + bytes > MILTER_EDITS_BYTES)
		return err_set(err, "edits of one message hold more than %u octets",
		    MILTER_EDITS_BYTES);
	if (e->n == e->cap) {
		e->cap = e->cap == 0 ? 4 : e->cap * 2;
		e->list = xreallocarray(e->list, e->cap, sizeof(*e->list));
	}
	e->bytes += bytes;
	e->list[e->n++] = edit;
	return 0;
}

/* A field that was changed before: the later wish counts. */
static struct milter_edit *
find_change(struct milter_edits *e, unsigned index, struct str name)
{
	for (size_t i = 0; i < e->n; i++)
		if (e->list[i].kind == MILTER_EDIT_CHANGE &&
		    e->list[i].index == index && str_is_nocase(name, e->list[i].name))
			return &e->list[i];
	return NULL;
}

int
milter_edits_field(struct milter_edits *e, enum milter_edit_kind kind, unsigned index,
    struct str name, struct str value, struct err *err)
{
	struct milter_edit edit = { .kind = kind, .index = index };

	if (check_name(name, err) < 0 || check_value(name.len, value, err) < 0)
		return -1;
	if (kind == MILTER_EDIT_CHANGE && index == 0)
		return err_set(err, "fields of a name are counted from 1");
	/* libmilter carries the index as an int. */
	if (index > 100000)
		return err_set(err, "header position %u", index);
	struct milter_edit *before =
	    kind == MILTER_EDIT_CHANGE ? find_change(e, index, name) : NULL;
	edit.name = str_dup(name);
	edit.value = str_dup(value);
	if (before != NULL && e->bytes + value.len <= MILTER_EDITS_BYTES) {
		e->bytes += value.len;
		free(before->name);
		free(before->value);
		*before = edit;
		return 0;
	}
	if (add(e, edit, name.len + value.len, err) == 0)
		return 0;
	free(edit.name);
	free(edit.value);
	return -1;
}

int
milter_edits_path(struct milter_edits *e, enum milter_edit_kind kind, struct str path,
    struct err *err)
{
	struct milter_edit edit = { .kind = kind };

	if (path.len == 0 || path.len > 514)
		return err_set(err, "path of %zu octets, expected 1 to 514", path.len);
	for (size_t i = 0; i < path.len; i++)
		if ((unsigned char)path.p[i] < 0x20 || path.p[i] == 0x7f)
			return err_set(
			    err, "octet %d in a path", (unsigned char)path.p[i]);
	edit.name = str_dup(path);
	if (add(e, edit, path.len, err) == 0)
		return 0;
	free(edit.name);
	return -1;
}

void
milter_edits_body(struct milter_edits *e, int fd)
{
	if (e->body_fd >= 0)
		close(e->body_fd);
	e->body_fd = fd;
}

/* Calls step(chunk) for all of the spool; the size is what fstat told, so that a file
 * that somebody cuts short is an error and not a shorter mail. */
static int
read_body(int fd, const struct milter_edits_ops *ops, void *to, struct err *err)
{
	unsigned char *chunk = NULL;
	struct stat st;
	off_t at = 0;
	int r = -1;

	if (fstat(fd, &st) < 0)
		return err_errno(err, "spool of the new body");
	if (st.st_size == 0 && ops != NULL)
		return ops->body(to, (const unsigned char *)"", 0);
	chunk = xmalloc(60000);
	while (at < st.st_size) {
		ssize_t n = pread(fd, chunk, 60000, at);

		if (n < 0)
			err_errno(err, "reading the spool of the new body");
		if (n == 0)
			err_set(err, "the spool of the new body was cut short");
		if (n <= 0)
			goto out;
		if (ops != NULL && ops->body(to, chunk, (size_t)n) < 0) {
			err_set(err, "the MTA did not take the new body");
			goto out;
		}
		at += n;
	}
	r = 0;
out:
	free(chunk);
	return r;
}

static int
by_index_down(const void *a, const void *b)
{
	const struct milter_edit *const *x = a, *const *y = b;

	return (*x)->index < (*y)->index ? 1 : (*x)->index > (*y)->index ? -1 : 0;
}

static int
send_changes(const struct milter_edits *e, const struct milter_edits_ops *ops, void *to)
{
	const struct milter_edit **order =
	    xcalloc(e->n + 1, sizeof(struct milter_edit *));
	size_t n = 0;
	int r = 0;

	for (size_t i = 0; i < e->n; i++)
		if (e->list[i].kind == MILTER_EDIT_CHANGE)
			order[n++] = &e->list[i];
	qsort(order, n, sizeof(struct milter_edit *), by_index_down);
	for (size_t i = 0; i < n && r == 0; i++)
		r = ops->field(to, order[i]);
	free(order);
	return r;
}

static int
send_kind(const struct milter_edits *e, enum milter_edit_kind from,
    enum milter_edit_kind to_kind, const struct milter_edits_ops *ops, void *to)
{
	for (size_t i = 0; i < e->n; i++) {
		const struct milter_edit *edit = &e->list[i];

		if (edit->kind < from || edit->kind > to_kind)
			continue;
		if ((edit->value != NULL ? ops->field : ops->path)(to, edit) < 0)
			return -1;
	}
	return 0;
}

int
milter_edits_send(const struct milter_edits *e, const struct milter_edits_ops *ops,
    void *to, struct err *err)
{
	if (e->body_fd >= 0 && read_body(e->body_fd, NULL, NULL, err) < 0)
		return -1;
	if (send_changes(e, ops, to) < 0 ||
	    send_kind(e, MILTER_EDIT_INSERT, MILTER_EDIT_INSERT, ops, to) < 0 ||
	    send_kind(e, MILTER_EDIT_ADD, MILTER_EDIT_ADD, ops, to) < 0 ||
	    send_kind(e, MILTER_EDIT_ADD_RCPT, MILTER_EDIT_FROM, ops, to) < 0)
		return err_set(err, "the MTA did not take an edit");
	if (e->body_fd < 0)
		return 0;
	return read_body(e->body_fd, ops, to, err);
}

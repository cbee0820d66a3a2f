/* SPDX-License-Identifier: BSD-2-Clause */
/* Edits of one filter on copies of header list and envelope and on a second body file.
 * The copies are made at the first edit of their kind: most filters edit little. */
#include "contrib/relay/milter_edit.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/base/xalloc.h"
#include "common/mail/address.h"

enum mark { MARK_SHOWN, MARK_OWN, MARK_ADDED, MARK_DELETED };

struct milter_edit {
	const struct chain_message *m;
	ptrdiff_t own;
	bool lead_space;
	size_t n_header, n_envelope, n_body;
	struct header *header; /* NULL: untouched */
	unsigned char
	    marks[HEADER_FIELDS_EDITED_MAX]; /* enum mark, beside the fields of header */
	bool envelope_copied;
	struct envelope envelope;
	int body_fd; /* -1: untouched */
	uint64_t body_len, body_max;
	bool cr; /* the body so far ends in a CR that waits for its LF */
	bool line_open; /* octets behind the last line end */
	char *hold;
};

struct milter_edit *
milter_edit_new(const struct chain_message *m, ptrdiff_t own, bool lead_space)
{
	struct milter_edit *e = xcalloc(1, sizeof(*e));

	e->m = m;
	e->own = own;
	e->lead_space = lead_space;
	e->body_fd = -1;
	e->body_max = m->body_max > 0 ? m->body_max : CHAIN_BODY_MAX;
	return e;
}

void
milter_edit_free(struct milter_edit *e)
{
	if (e == NULL)
		return;
	header_free(e->header);
	if (e->envelope_copied)
		envelope_clear(&e->envelope);
	if (e->body_fd >= 0)
		close(e->body_fd);
	free(e->hold);
	free(e);
}

bool
milter_edit_is(char cmd)
{
	return cmd != '\0' && strchr("+-2behimq", cmd) != NULL;
}

const char *
milter_edit_hold(const struct milter_edit *e)
{
	return e->hold;
}

static void
header_begin(struct milter_edit *e)
{
	if (e->header != NULL)
		return;
	e->header = header_dup(e->m->header);
	if (e->own >= 0)
		e->marks[e->own] = MARK_OWN;
}

/* Put a field in and its mark beside it. */
static int
put_in(struct milter_edit *e, size_t at, struct str name, struct str value,
    struct err *err)
{
	size_t n = header_count(e->header);

	if (at > n)
		at = n;
	if (header_insert(e->header, at, name, value, e->lead_space, err) != 0)
		return -1;
	memmove(&e->marks[at + 1], &e->marks[at], n - at);
	e->marks[at] = MARK_ADDED;
	return 0;
}

/* Where index of the outgoing list is in ours, which still holds the deleted ones. */
static size_t
outgoing_position(const struct milter_edit *e, uint32_t index)
{
	size_t at = 0, n = header_count(e->header);

	while (at < n && (e->marks[at] == MARK_DELETED || index > 0)) {
		if (e->marks[at] != MARK_DELETED)
			index--;
		at++;
	}
	return at;
}

/* The field that m means; -1: there is none. */
static ptrdiff_t
instance(const struct milter_edit *e, struct str name, uint32_t index)
{
	size_t n = header_count(e->header);
	uint32_t left = index == 0 ? 1 : index;

	for (int added = 0; added < 2; added++) {
		for (size_t i = 0; i < n; i++) {
			bool counts = added
			    ? e->marks[i] == MARK_ADDED
			    : e->marks[i] == MARK_SHOWN || e->marks[i] == MARK_DELETED;

			if (counts &&
			    str_eq_nocase(header_at(e->header, i)->name, name) &&
			    left-- == 1)
				return (ptrdiff_t)i;
		}
	}
	return -1;
}

static void
take_out(struct milter_edit *e, size_t at)
{
	if (e->marks[at] != MARK_ADDED) {
		e->marks[at] = MARK_DELETED; /* keeps its number */
		return;
	}
	header_delete(e->header, at);
	memmove(&e->marks[at], &e->marks[at + 1], header_count(e->header) - at);
}

static int
change(struct milter_edit *e, uint32_t index, struct str name, struct str value,
    struct err *err)
{
	ptrdiff_t at = instance(e, name, index);

	if (!header_name_ok(name))
		return err_set(err, "change of a header field with a bad name");
	if (at < 0)
		return value.len == 0 ? 0 : put_in(e, SIZE_MAX, name, value, err);
	if (value.len == 0) {
		take_out(e, (size_t)at);
		return 0;
	}
	if (header_replace(e->header, (size_t)at, name, value, e->lead_space, err) != 0)
		return -1;
	if (e->marks[at] == MARK_DELETED)
		e->marks[at] = MARK_SHOWN;
	return 0;
}

static int
take_header(struct milter_edit *e, char cmd, struct str payload, struct err *err)
{
	struct str name, value;
	uint32_t index = 0;

	if (++e->n_header > EDIT_HEADERS_MAX)
		return err_set(err, "more than %d header edits", EDIT_HEADERS_MAX);
	if ((cmd != MILTER_R_ADDHEADER && milter_u32(&payload, &index) != 0) ||
	    milter_string(&payload, &name) != 0 || milter_string(&payload, &value) != 0)
		return err_set(err, "header edit that is not whole");
	header_begin(e);
	if (cmd == MILTER_R_CHGHEADER)
		return change(e, index, name, value, err);
	return put_in(e,
	    cmd == MILTER_R_INSHEADER ? outgoing_position(e, index) : SIZE_MAX, name,
	    value, err);
}

/* The address of an envelope edit as our envelope keeps it, without <>; NULL with err.
 */
static char *
envelope_address(struct str payload, bool null_ok, struct err *err)
{
	struct address a;
	struct str text;

	if (milter_string(&payload, &text) != 0) {
		err_set(err, "envelope edit that is not whole");
		return NULL;
	}
	if (null_ok && text.len == 0)
		return xstrdup("");
	if (address_parse(text, &a, err) != 0)
		return NULL;
	if (a.utf8 || (a.null && !null_ok)) {
		err_set(err, "envelope edit with an address that cannot stand there");
		return NULL;
	}
	return str_dup(a.whole);
}

static int
take_envelope(struct milter_edit *e, char cmd, struct str payload, struct err *err)
{
	int rc = 0;

	if (++e->n_envelope > EDIT_ENVELOPE_MAX)
		return err_set(err, "more than %d envelope edits", EDIT_ENVELOPE_MAX);
	char *address = envelope_address(payload, cmd == MILTER_R_CHGFROM, err);

	if (address == NULL)
		return -1;
	if (!e->envelope_copied) {
		envelope_copy(&e->envelope, e->m->envelope);
		e->envelope_copied = true;
	}
	if (cmd == MILTER_R_CHGFROM) {
		envelope_set(&e->envelope.sender, str_of(address));
	} else {
		/* Adding one that is there already leaves one. */
		(void)envelope_delete_rcpt(&e->envelope, address);
		if (cmd != MILTER_R_DELRCPT &&
		    envelope_add_rcpt(&e->envelope, address) != 0)
			rc =
			    err_set(err, "more than %d recipients", ENVELOPE_RCPTS_MAX);
	}
	free(address);
	return rc;
}

static int
write_all(int fd, struct str s, struct err *err)
{
	while (s.len > 0) {
		ssize_t n = write(fd, s.p, s.len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return err_errno(err, "writing the new body");
		s = str_sub(s, (size_t)n, s.len);
	}
	return 0;
}

/* Append one octet of the new body to out as it will be sent. */
static void
body_octet(struct milter_edit *e, struct buf *out, char c)
{
	if (e->cr && c != '\n')
		buf_add_char(out, ' '); /* as Postfix does with a bare CR */
	e->cr = c == '\r';
	e->line_open = c != '\n';
	if (c == '\n')
		buf_add(out, "\r\n", 2);
	else if (c != '\r')
		buf_add_char(out, c == '\0' ? ' ' : c);
}

static int
body_write(struct milter_edit *e, struct buf *out, struct err *err)
{
	if (out->failed || e->body_len + out->len > e->body_max)
		return err_set(
		    err, "new body over %llu octets", (unsigned long long)e->body_max);
	e->body_len += out->len;
	return write_all(e->body_fd, buf_str(out), err);
}

static int
take_body(struct milter_edit *e, struct str payload, struct err *err)
{
	struct buf out;

	if (++e->n_body > EDIT_BODY_PACKETS_MAX)
		return err_set(
		    err, "new body in over %d packets", EDIT_BODY_PACKETS_MAX);
	if (e->body_fd < 0)
		e->body_fd = memfd_create("postern-body", MFD_CLOEXEC);
	if (e->body_fd < 0)
		return err_errno(err, "file for the new body");
	buf_init(&out, 2 * payload.len + 1);
	for (size_t i = 0; i < payload.len; i++)
		body_octet(e, &out, payload.p[i]);
	int rc = body_write(e, &out, err);

	buf_clear(&out);
	return rc;
}

static int
take_hold(struct milter_edit *e, struct str payload, struct err *err)
{
	struct str reason;

	if (milter_string(&payload, &reason) != 0)
		return err_set(err, "quarantine without the NUL behind its reason");
	free(e->hold);
	e->hold = str_dup(reason);
	return 0;
}

int
milter_edit_take(
    struct milter_edit *e, const struct milter_packet *packet, struct err *err)
{
	switch (packet->cmd) {
	case MILTER_R_ADDHEADER:
	case MILTER_R_INSHEADER:
	case MILTER_R_CHGHEADER:
		return take_header(e, packet->cmd, packet->payload, err);
	case MILTER_R_CHGFROM:
	case MILTER_R_ADDRCPT:
	case MILTER_R_ADDRCPT_PAR:
	case MILTER_R_DELRCPT:
		return take_envelope(e, packet->cmd, packet->payload, err);
	case MILTER_R_REPLBODY:
		return take_body(e, packet->payload, err);
	case MILTER_R_QUARANTINE:
		return take_hold(e, packet->payload, err);
	default:
		return err_set(
		    err, "reply 0x%02x is no edit", (unsigned char)packet->cmd);
	}
}

static void
finish_header(struct milter_edit *e, struct header *header, ptrdiff_t *own)
{
	for (size_t i = header_count(e->header); i-- > 0;) {
		if (e->marks[i] != MARK_DELETED)
			continue;
		header_delete(e->header, i);
		memmove(&e->marks[i], &e->marks[i + 1], header_count(e->header) - i);
	}
	*own = -1;
	for (size_t i = 0; i < header_count(e->header); i++) {
		if (e->marks[i] == MARK_OWN)
			*own = (ptrdiff_t)i;
	}
	header_swap(header, e->header);
}

static int
finish_body(struct milter_edit *e, struct err *err)
{
	struct buf out;

	if (e->body_fd < 0 || !e->line_open)
		return 0;
	buf_init(&out, 2);
	e->cr = false; /* a CR at the very end gets its LF */
	body_octet(e, &out, '\n');
	int rc = body_write(e, &out, err);

	buf_clear(&out);
	return rc;
}

int
milter_edit_finish(
    struct milter_edit *e, struct chain_message *m, ptrdiff_t *own, struct err *err)
{
	if (finish_body(e, err) != 0)
		return -1;
	if (e->header != NULL)
		finish_header(e, m->header, own);
	if (e->envelope_copied) {
		struct envelope old = *m->envelope;

		*m->envelope = e->envelope;
		e->envelope = old;
	}
	if (e->body_fd >= 0) {
		close(m->body_fd);
		m->body_fd = e->body_fd;
		m->body_offset = 0;
		m->body_len = e->body_len;
		e->body_fd = -1;
	}
	return 0;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* Delivery status notifications: three parts, for a person, for a program, and the
 * original's header section (RFC 3462).  No part of the original body goes back: what a
 * recipient refused must not reach a third party through us. */
#include "contrib/relay/bounce.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/base/id.h"
#include "common/base/xalloc.h"
#include "contrib/relay/received.h"

#define BOUNCE_MAX (4u << 20) /* a thousand recipients and their texts */

enum bounce_way
bounce_way(const struct envelope *e, bool quarantine_configured)
{
	if (e->sender[0] == '\0' || e->no_bounce || quarantine_configured)
		return BOUNCE_QUARANTINE;
	return BOUNCE_SEND;
}

/* Foreign text in a line of ours: no octet that could end it or start another field. */
static void
add_text(struct buf *out, const char *text)
{
	for (const char *p = text; *p != '\0'; p++)
		buf_add_char(out, *p >= ' ' && *p <= '~' ? *p : '?');
}

/* RFC 3463; made from the reply's class where the server gave none. */
static const char *
status_of(const struct bounce_rcpt *r)
{
	/* Action: failed goes with class 5; a 4yz that we gave up on became final. */
	if (r->enhanced[0] == '5')
		return r->enhanced;
	return "5.0.0";
}

static void
add_head(struct buf *out, const struct bounce_source *s, const char *id)
{
	char date[40];

	received_date(s->now, date);
	buf_addf(out, "Date: %s\r\nFrom: Mail delivery <postmaster@%s>\r\nTo: <", date,
	    s->host);
	add_text(out, s->record->envelope.sender);
	buf_addf(out,
	    ">\r\nSubject: Your message could not be delivered\r\n"
	    "Message-ID: <%s@%s>\r\nAuto-Submitted: auto-replied\r\nMIME-Version: "
	    "1.0\r\n"
	    "Content-Type: multipart/report; report-type=delivery-status;\r\n"
	    "\tboundary=\"=_%s\"\r\n\r\n",
	    id, s->host, id);
}

static void
add_notice(struct buf *out, const struct bounce_source *s,
    const struct bounce_rcpt *list, size_t n, const char *id)
{
	const struct envelope *e = &s->record->envelope;

	buf_addf(out,
	    "--=_%s\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n"
	    "This is the mail relay %s.\r\n\r\n"
	    "The message whose header follows could not be delivered to:\r\n",
	    id, s->host);
	for (size_t i = 0; i < n; i++) {
		buf_add_cstr(out, "\r\n  <");
		add_text(out, e->rcpts[list[i].rcpt].address);
		buf_add_cstr(out, ">\r\n    ");
		if (list[i].remote[0] != '\0') {
			add_text(out, list[i].remote);
			buf_add_cstr(out, " said: ");
		}
		if (list[i].code != 0)
			buf_addf(out, "%d ", list[i].code);
		if (list[i].enhanced[0] != '\0')
			buf_addf(out, "%s ", list[i].enhanced);
		add_text(out, list[i].text);
		buf_add_cstr(out, "\r\n");
	}
	buf_addf(out,
	    "\r\nIt will not be tried again. For help write to postmaster@%s and\r\n"
	    "name the message's id, %s.\r\n\r\n",
	    s->host, e->id);
}

static void
add_status(struct buf *out, const struct bounce_source *s,
    const struct bounce_rcpt *list, size_t n, const char *id)
{
	const struct envelope *e = &s->record->envelope;
	char date[40];

	received_date(e->received, date);
	buf_addf(out,
	    "--=_%s\r\nContent-Type: message/delivery-status\r\n\r\n"
	    "Reporting-MTA: dns; %s\r\nX-Postern-Id: %s\r\nArrival-Date: %s\r\n",
	    id, s->host, e->id, date);
	for (size_t i = 0; i < n; i++) {
		buf_add_cstr(out, "\r\nFinal-Recipient: rfc822; ");
		add_text(out, e->rcpts[list[i].rcpt].address);
		buf_addf(
		    out, "\r\nAction: failed\r\nStatus: %s\r\n", status_of(&list[i]));
		if (list[i].remote[0] != '\0') {
			buf_add_cstr(out, "Remote-MTA: dns; ");
			add_text(out, list[i].remote);
			buf_add_cstr(out, "\r\n");
		}
		buf_add_cstr(out, "Diagnostic-Code: ");
		if (list[i].code != 0)
			buf_addf(out, "smtp; %d ", list[i].code);
		else
			buf_add_cstr(out, "X-Postern; ");
		if (list[i].enhanced[0] != '\0')
			buf_addf(out, "%s ", list[i].enhanced);
		add_text(out, list[i].text);
		buf_add_cstr(out, "\r\n");
	}
	buf_add_cstr(out, "\r\n");
}

static bool
has_8bit(struct str s)
{
	for (size_t i = 0; i < s.len; i++)
		if ((s.p[i] & 0x80) != 0)
			return true;
	return false;
}

int
bounce_render(struct buf *out, const struct bounce_source *s, struct str original,
    const struct bounce_rcpt *list, size_t n, const char *id, bool *eight_bit)
{
	*eight_bit = has_8bit(original);
	add_head(out, s, id);
	add_notice(out, s, list, n, id);
	add_status(out, s, list, n, id);
	buf_addf(out, "--=_%s\r\nContent-Type: text/rfc822-headers\r\n%s\r\n", id,
	    *eight_bit ? "Content-Transfer-Encoding: 8bit\r\n" : "");
	buf_add_str(out, original);
	buf_addf(out, "\r\n--=_%s--\r\n", id);
	return out->failed ? -1 : 0;
}

/* The header section at the front of the message, at most max octets and whole lines.
 */
static struct str
header_section(struct str s)
{
	const char *end = s.len == 0 ? NULL : memmem(s.p, s.len, "\r\n\r\n", 4);

	if (str_starts(s, STR("\r\n")))
		return STR("");
	if (end != NULL)
		return str_sub(s, 0, (size_t)(end - s.p) + 2);
	ptrdiff_t lf = str_rindex(s, '\n');
	return lf < 0 ? STR("") : str_sub(s, 0, (size_t)lf + 1);
}

static int
notice_record(const struct bounce_source *s, const struct bounce_rcpt *list, size_t n,
    struct envelope *e, int fd, struct err *err)
{
	const struct record *r = s->record;
	uint64_t len =
	    r->message_len < BOUNCE_HEADER_MAX ? r->message_len : BOUNCE_HEADER_MAX;
	char *front = xmalloc((size_t)len);
	struct buf out;
	int rc = -1;

	buf_init(&out, BOUNCE_MAX);
	if (qio_read(s->q, s->fd, front, (size_t)len, r->message_offset) != 0) {
		err_errno(err, "cannot read the message's header");
		goto out;
	}
	struct str original = header_section((struct str){ front, (size_t)len });
	if (bounce_render(&out, s, original, list, n, e->id, &e->body_8bit) != 0) {
		err_set(err, "bounce over %u octets", BOUNCE_MAX);
		goto out;
	}
	envelope_add_rcpt(e, r->envelope.sender);
	rc = record_write(fd, e, buf_str(&out), -1, 0, 0, err);
out:
	buf_clear(&out);
	free(front);
	return rc;
}

static int
copy_record(const struct bounce_source *s, const struct bounce_rcpt *list, size_t n,
    struct envelope *e, int fd, struct err *err)
{
	const struct record *r = s->record;
	char reason[600];

	snprintf(
	    reason, sizeof(reason), "%s failed: %.500s", r->envelope.id, list[0].text);
	envelope_set(&e->hold, str_of(reason));
	for (size_t i = 0; i < n; i++)
		envelope_add_rcpt(e, r->envelope.rcpts[list[i].rcpt].address);
	return record_write_from(
	    fd, e, STR(""), s->q, s->fd, r->message_offset, r->message_len, err);
}

int
bounce_record(const struct bounce_source *s, const struct bounce_rcpt *list, size_t n,
    char id[MESSAGE_ID_MAX], struct err *err)
{
	struct envelope e;
	char fresh[ID_SIZE];
	int rc;
	int fd = memfd_create("bounce", MFD_CLOEXEC);

	if (fd < 0)
		return err_errno(err, "cannot make a file for the bounce");
	id_make(fresh);
	if (s->way == BOUNCE_SEND) {
		envelope_init(&e);
		e.received = s->now;
		envelope_set(&e.proto, STR("local"));
	} else {
		envelope_copy(&e, &s->record->envelope);
		while (e.n_rcpts > 0)
			envelope_delete_rcpt(&e, e.rcpts[0].address);
	}
	snprintf(e.id, sizeof(e.id), "%s", fresh);
	snprintf(id, MESSAGE_ID_MAX, "%s", fresh);
	rc = s->way == BOUNCE_SEND ? notice_record(s, list, n, &e, fd, err)
				   : copy_record(s, list, n, &e, fd, err);
	envelope_clear(&e);
	if (rc != 0)
		close(fd);
	return rc == 0 ? fd : -1;
}

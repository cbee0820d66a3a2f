/* SPDX-License-Identifier: BSD-2-Clause */
/* What a filter sees of a message.  Date and Message-Id are shown when the client sent
 * them; our own Received is not (both as sendmail does). */
#include "contrib/relay/milter_feed.h"

#include <errno.h>
#include <unistd.h>

#include "common/mail/milter_wire.h"

/* Move to the first packet from here on that this filter wants. */
static void
settle_next(struct milter_feed *f)
{
	if (f->next == MILTER_HEADER) {
		if ((ptrdiff_t)f->field == f->own)
			f->field++;
		if (!milter_step_sent(f->protocol, MILTER_HEADER) ||
		    header_at(f->m->header, f->field) == NULL)
			f->next = MILTER_EOH;
	}
	if (f->next == MILTER_EOH && !milter_step_sent(f->protocol, MILTER_EOH))
		f->next = MILTER_BODY;
	if (f->next == MILTER_BODY &&
	    (!milter_step_sent(f->protocol, MILTER_BODY) || f->body == f->m->body_len))
		f->next = MILTER_EOM;
}

void
milter_feed_init(struct milter_feed *f, const struct chain_message *m, ptrdiff_t own,
    uint32_t protocol)
{
	*f = (struct milter_feed){
		.m = m, .own = own, .protocol = protocol, .next = MILTER_HEADER
	};
	settle_next(f);
}

void
milter_feed_skip(struct milter_feed *f, char cmd)
{
	if (cmd == MILTER_HEADER && f->next == MILTER_HEADER)
		f->next = MILTER_EOH;
	if (cmd == MILTER_BODY && f->next == MILTER_BODY)
		f->next = MILTER_EOM;
	settle_next(f);
}

static void
write_field(struct milter_feed *f, struct buf *out)
{
	const struct header_field *field = header_at(f->m->header, f->field);
	struct str value = field->value;
	struct str name = str_sub(field->name, 0, HEADER_NAME_MAX);
	struct buf payload;

	if ((f->protocol & MILTER_P_HDR_LEADSPC) == 0 && value.len > 0 &&
	    value.p[0] == ' ')
		value = str_sub(value, 1, value.len);
	buf_init(&payload, MILTER_CHUNK_MAX);
	buf_add_str(&payload, name);
	buf_add_char(&payload, '\0');
	for (size_t i = 0; i < value.len && payload.len < payload.max - 1; i++) {
		char c = value.p[i];

		if (c == '\r' && i + 1 < value.len && value.p[i + 1] == '\n')
			continue;
		buf_add_char(&payload, c == '\0' ? '?' : c);
	}
	buf_add_char(&payload, '\0');
	milter_packet_write(out, MILTER_HEADER, buf_str(&payload));
	buf_clear(&payload);
}

static int
write_body(struct milter_feed *f, struct buf *out, struct err *err)
{
	uint64_t left = f->m->body_len - f->body;
	size_t len = left < MILTER_CHUNK_MAX ? (size_t)left : MILTER_CHUNK_MAX;

	buf_add_u32(out, (unsigned long)len + 1);
	buf_add_char(out, MILTER_BODY);
	while (len > 0) {
		char *room = buf_reserve(out, len);
		ssize_t n = room == NULL ? -1
					 : pread(f->m->body_fd, room, len,
					       (off_t)(f->m->body_offset + f->body));

		if (n < 0 && room != NULL && errno == EINTR)
			continue;
		if (n < 0)
			return err_errno(err, "reading the message body");
		if (n == 0)
			return err_set(err, "message body ends before its length");
		out->len += (size_t)n;
		f->body += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

int
milter_feed_write(struct milter_feed *f, struct buf *out, struct err *err)
{
	int rc = 0;

	switch (f->next) {
	case MILTER_HEADER:
		write_field(f, out);
		f->field++;
		break;
	case MILTER_BODY:
		rc = write_body(f, out, err);
		break;
	default:
		milter_packet_write(out, f->next, STR(""));
		f->next = f->next == MILTER_EOH ? MILTER_BODY : '\0';
		break;
	}
	settle_next(f);
	return rc;
}

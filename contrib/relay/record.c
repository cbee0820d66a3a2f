/* SPDX-License-Identifier: BSD-2-Clause */
/* Writing and reading the file of one message.  The reader trusts nothing: lengths are
 * added with overflow checks and must fill the file exactly, every envelope record must
 * fit its kind, slots are known letters, END and CRC stand where they belong. */
#include "contrib/relay/record.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/buf.h"
#include "common/base/xalloc.h"
#include "contrib/relay/crc32c.h"

static const char magic[8] = { 'P', 'S', 'T', 'R', 'N', 'Q', '\r', '\n' };
static const char end_mark[4] = { 'E', 'N', 'D', '\n' };

enum { VERSION = 1, HEAD_CRC = 32, CHUNK = 128 * 1024 };

void
record_clear(struct record *r)
{
	envelope_clear(&r->envelope);
	free(r->slots);
	*r = (struct record){ 0 };
}

size_t
record_open(const struct record *r)
{
	size_t open = 0;

	for (size_t i = 0; i < r->envelope.n_rcpts; i++)
		open += r->slots[i] == SLOT_OPEN;
	return open;
}

static void
put_u64(char *to, uint64_t v)
{
	for (int i = 7; i >= 0; i--, v >>= 8)
		to[i] = (char)(v & 0xff);
}

static void
put_u32(char *to, uint32_t v)
{
	for (int i = 3; i >= 0; i--, v >>= 8)
		to[i] = (char)(v & 0xff);
}

static uint64_t
get_u64(const char *from)
{
	uint64_t v = 0;

	for (int i = 0; i < 8; i++)
		v = v << 8 | (unsigned char)from[i];
	return v;
}

static uint32_t
get_u32(const char *from)
{
	return (uint32_t)(get_u64(
	    (char[8]){ 0, 0, 0, 0, from[0], from[1], from[2], from[3] }));
}

/* The text fields of an envelope and their letters. */
static const struct field {
	char letter;
	size_t offset;
	size_t max;
} fields[] = {
	{ 'S', offsetof(struct envelope, sender), 1024 },
	{ 'N', offsetof(struct envelope, client_name), 1024 },
	{ 'H', offsetof(struct envelope, helo), 1024 },
	{ 'T', offsetof(struct envelope, proto), 64 },
	{ 'A', offsetof(struct envelope, auth), 1024 },
	{ 'Q', offsetof(struct envelope, hold), 1024 },
};
enum { FIELDS = sizeof(fields) / sizeof(fields[0]), RCPT_TEXT_MAX = 1024 };

static char **
field_at(struct envelope *e, const struct field *f)
{
	return (char **)(void *)((char *)e + f->offset);
}

static void
add_record(struct buf *b, char letter, struct str value)
{
	buf_add_char(b, letter);
	buf_add_u32(b, value.len);
	buf_add_str(b, value);
}

static void
add_number(struct buf *b, char letter, uint64_t v)
{
	char octets[8];

	put_u64(octets, v);
	add_record(b, letter, (struct str){ octets, sizeof(octets) });
}

static bool
text_ok(struct str s, size_t max)
{
	return s.len <= max && !str_has(s, '\0') && !str_has(s, '\r') &&
	    !str_has(s, '\n');
}

static int
render_envelope(const struct envelope *e, struct buf *b, struct err *err)
{
	struct envelope texts = *e; /* shallow, to reach the fields by offset */
	char ip[IP_TEXT_MAX];

	add_record(b, 'I', str_of(e->id));
	for (size_t i = 0; i < FIELDS; i++) {
		struct str value = str_of(*field_at(&texts, &fields[i]));

		if (!text_ok(value, fields[i].max))
			return err_set(err,
			    "envelope field %c is longer than %zu octets or has CR, LF",
			    fields[i].letter, fields[i].max);
		add_record(b, fields[i].letter, value);
	}
	add_record(b, 'C', str_of(ip_format(&e->client, ip)));
	add_number(b, 'P', e->client_port);
	add_number(b, 'W', (uint64_t)e->received);
	add_number(b, 'F', (e->body_8bit ? 1u : 0u) | (e->no_bounce ? 2u : 0u));
	for (size_t i = 0; i < e->n_rcpts; i++) {
		struct str address = str_of(e->rcpts[i].address);

		if (address.len == 0 || !text_ok(address, RCPT_TEXT_MAX))
			return err_set(
			    err, "recipient %zu is empty, too long or has CR, LF", i);
		add_record(b, 'R', address);
	}
	if (e->n_rcpts == 0 || b->failed)
		return err_set(err,
		    b->failed ? "envelope over %u octets"
			      : "envelope without recipients (at most %u octets)",
		    RECORD_ENVELOPE_MAX);
	return 0;
}

/* Where a record grows. */
struct writer {
	int fd;
	uint64_t at;
	uint32_t crc;
};

static int
put(struct writer *w, struct str s, struct err *err)
{
	if (qio_write(&qio_real, w->fd, s.p, s.len, w->at) != 0)
		return err_errno(err, "cannot write the record");
	w->crc = crc32c(w->crc, s.p, s.len);
	w->at += s.len;
	return 0;
}

static int
put_message(struct writer *w, const struct qio *q, int fd, uint64_t at, uint64_t len,
    struct err *err)
{
	char *chunk = xmalloc(CHUNK);
	int rc = 0;

	while (rc == 0 && len > 0) {
		size_t n = len < CHUNK ? (size_t)len : CHUNK;

		if (qio_read(q, fd, chunk, n, at) != 0)
			rc = err_errno(err, "cannot read the message");
		else
			rc = put(w, (struct str){ chunk, n }, err);
		at += n;
		len -= n;
	}
	free(chunk);
	return rc;
}

static int
put_slots_and_end(struct writer *w, size_t n_rcpts, struct err *err)
{
	uint32_t crc = w->crc;
	char *tail = xmalloc(n_rcpts + RECORD_TAIL);

	memset(tail, SLOT_OPEN, n_rcpts);
	memcpy(tail + n_rcpts, end_mark, sizeof(end_mark));
	put_u32(tail + n_rcpts + 4, crc);
	int rc = put(w, (struct str){ tail, n_rcpts + RECORD_TAIL }, err);
	free(tail);
	return rc;
}

int
record_write_from(int fd, const struct envelope *e, struct str header,
    const struct qio *q, int message_fd, uint64_t message_offset, uint64_t message_len,
    struct err *err)
{
	char head[RECORD_HEAD] = { 0 };
	struct writer w = { .fd = fd, .at = RECORD_HEAD };
	struct buf b;
	uint64_t whole;
	int rc = -1;

	buf_init(&b, RECORD_ENVELOPE_MAX);
	if (render_envelope(e, &b, err) != 0)
		goto out;
	if (__builtin_add_overflow(message_len, header.len, &whole) ||
	    whole > RECORD_MESSAGE_MAX) {
		err_set(err, "message over %llu octets", RECORD_MESSAGE_MAX);
		goto out;
	}
	memcpy(head, magic, sizeof(magic));
	put_u32(head + 8, VERSION);
	put_u32(head + 12, (uint32_t)b.len);
	put_u64(head + 16, whole);
	put_u32(head + 24, (uint32_t)e->n_rcpts);
	if (qio_write(&qio_real, fd, head, sizeof(head), 0) != 0) {
		err_errno(err, "cannot write the record");
		goto out;
	}
	w.crc = crc32c(0, head, HEAD_CRC);
	if (put(&w, buf_str(&b), err) == 0 && put(&w, header, err) == 0 &&
	    put_message(&w, q, message_fd, message_offset, message_len, err) == 0)
		rc = put_slots_and_end(&w, e->n_rcpts, err);
out:
	buf_clear(&b);
	return rc;
}

int
record_write(int fd, const struct envelope *e, struct str header, int message_fd,
    uint64_t message_offset, uint64_t message_len, struct err *err)
{
	return record_write_from(
	    fd, e, header, &qio_real, message_fd, message_offset, message_len, err);
}

/* The numbers of a head, checked against the file's size. */
struct shape {
	uint32_t envelope_len, n_rcpts;
	uint64_t message_len;
};

static int
bad(struct err *err, const char *what)
{
	err_set(err, "no whole record: %s", what);
	errno = EBADMSG;
	return -1;
}

static int
read_shape(
    const char head[RECORD_HEAD], uint64_t size, struct shape *s, struct err *err)
{
	uint64_t sum = RECORD_HEAD + RECORD_TAIL;

	if (memcmp(head, magic, sizeof(magic)) != 0)
		return bad(err, "the file does not begin like one");
	if (get_u32(head + 8) != VERSION || get_u32(head + 28) != 0)
		return bad(err, "a version that is not known");
	*s = (struct shape){ get_u32(head + 12), get_u32(head + 24),
		get_u64(head + 16) };
	if (s->envelope_len > RECORD_ENVELOPE_MAX ||
	    s->message_len > RECORD_MESSAGE_MAX || s->n_rcpts == 0 ||
	    s->n_rcpts > ENVELOPE_RCPTS_MAX)
		return bad(err, "lengths beyond the limits");
	/* No overflow: each part was just bounded. */
	sum += (uint64_t)s->envelope_len + s->message_len + s->n_rcpts;
	if (sum != size)
		return bad(err, "the lengths do not fill the file");
	return 0;
}

static bool
take_number(struct str value, uint64_t max, uint64_t *out)
{
	if (value.len != 8)
		return false;
	*out = get_u64(value.p);
	return *out <= max;
}

/* A record with a number, or the client's address. */
static bool
take_fact(char letter, struct str value, struct envelope *e)
{
	uint64_t v = 0;

	switch (letter) {
	case 'I':
		if (value.len == 0 || value.len >= MESSAGE_ID_MAX ||
		    !text_ok(value, value.len))
			return false;
		memcpy(e->id, value.p, value.len);
		e->id[value.len] = '\0';
		return true;
	case 'C':
		return value.len == 0 || ip_parse(value, &e->client);
	case 'P':
		if (!take_number(value, UINT16_MAX, &v))
			return false;
		e->client_port = (uint16_t)v;
		return true;
	case 'W':
		if (!take_number(value, UINT64_MAX, &v))
			return false;
		e->received = (int64_t)v;
		return true;
	case 'F':
		if (!take_number(value, 3, &v))
			return false;
		e->body_8bit = (v & 1) != 0;
		e->no_bounce = (v & 2) != 0;
		return true;
	default:
		return false;
	}
}

static bool
take_record(char letter, struct str value, struct envelope *e)
{
	for (size_t i = 0; i < FIELDS; i++) {
		if (fields[i].letter != letter)
			continue;
		if (!text_ok(value, fields[i].max))
			return false;
		envelope_set(field_at(e, &fields[i]), value);
		return true;
	}
	if (letter != 'R')
		return take_fact(letter, value, e);
	if (value.len == 0 || !text_ok(value, RCPT_TEXT_MAX))
		return false;
	char *address = str_dup(value);
	int rc = envelope_add_rcpt(e, address);
	free(address);
	return rc == 0;
}

static int
parse_envelope(struct str s, struct envelope *e, struct err *err)
{
	while (s.len > 0) {
		if (s.len < 5)
			return bad(err, "the envelope ends within a record");
		uint32_t len = get_u32(s.p + 1);
		if (len > s.len - 5)
			return bad(
			    err, "an envelope record is longer than the envelope");
		if (!take_record(s.p[0], str_sub(s, 5, 5 + (size_t)len), e))
			return bad(err, "an envelope record is not known or malformed");
		s = str_sub(s, 5 + (size_t)len, s.len);
	}
	if (e->id[0] == '\0')
		return bad(err, "the envelope has no id");
	return 0;
}

static int
check_crc_of(const struct qio *q, int fd, uint32_t crc, const struct record *r,
    uint32_t expected, struct err *err)
{
	char *chunk = xmalloc(CHUNK);
	uint64_t left = r->message_len, at = r->message_offset;
	int rc = 0;

	while (rc == 0 && left > 0) {
		size_t n = left < CHUNK ? (size_t)left : CHUNK;

		if (qio_read(q, fd, chunk, n, at) != 0)
			rc = err_errno(err, "cannot read the record");
		else
			crc = crc32c(crc, chunk, n);
		at += n;
		left -= n;
	}
	int saved = errno;
	free(chunk);
	errno = saved;
	if (rc == 0 && crc != expected)
		return bad(err, "the checksum does not fit");
	return rc;
}

static int
read_slots(const struct qio *q, int fd, struct record *r, uint32_t n, uint32_t *crc,
    struct err *err)
{
	char tail[RECORD_TAIL];

	r->slots = xmalloc(n);
	if (qio_read(q, fd, r->slots, n, r->slots_offset) != 0 ||
	    qio_read(q, fd, tail, sizeof(tail), r->slots_offset + n) != 0)
		return err_errno(err, "cannot read the record");
	if (memcmp(tail, end_mark, sizeof(end_mark)) != 0)
		return bad(err, "no END");
	for (uint32_t i = 0; i < n; i++)
		if (r->slots[i] != SLOT_OPEN && r->slots[i] != SLOT_DELIVERED &&
		    r->slots[i] != SLOT_FAILED)
			return bad(err, "a slot that is not known");
	*crc = get_u32(tail + 4);
	return 0;
}

static int
load_parts(const struct qio *q, int fd, bool check_crc, char *head, char *envelope,
    const struct shape *s, struct record *r, struct err *err)
{
	uint32_t expected = 0;

	if (qio_read(q, fd, envelope, s->envelope_len, RECORD_HEAD) != 0)
		return err_errno(err, "cannot read the record");
	r->message_offset = RECORD_HEAD + s->envelope_len;
	r->message_len = s->message_len;
	r->slots_offset = r->message_offset + s->message_len;
	if (parse_envelope(
		(struct str){ envelope, s->envelope_len }, &r->envelope, err) != 0)
		return -1;
	if (r->envelope.n_rcpts != s->n_rcpts)
		return bad(err, "the number of recipients does not fit");
	if (read_slots(q, fd, r, s->n_rcpts, &expected, err) != 0)
		return -1;
	r->next_try = (int64_t)get_u64(head + 32);
	r->tries = get_u32(head + 40);
	r->envelope.size = r->message_len;
	r->crc = expected;
	if (!check_crc)
		return 0;
	uint32_t crc = crc32c(crc32c(0, head, HEAD_CRC), envelope, s->envelope_len);
	return check_crc_of(q, fd, crc, r, expected, err);
}

int
record_load(
    const struct qio *q, int fd, bool check_crc, struct record *out, struct err *err)
{
	char head[RECORD_HEAD];
	struct shape shape = { 0 };
	uint64_t size;

	*out = (struct record){ 0 };
	if (q->size(q->ctx, fd, &size) != 0)
		return err_errno(err, "cannot read the record's size");
	if (size < RECORD_HEAD + RECORD_TAIL)
		return bad(err, "too short");
	if (qio_read(q, fd, head, sizeof(head), 0) != 0)
		return err_errno(err, "cannot read the record");
	if (read_shape(head, size, &shape, err) != 0)
		return -1;
	char *envelope = xmalloc(shape.envelope_len);
	envelope_init(&out->envelope);
	int rc = load_parts(q, fd, check_crc, head, envelope, &shape, out, err);
	int saved = errno;
	free(envelope);
	if (rc != 0)
		record_clear(out);
	errno = saved;
	return rc;
}

int
record_read(int fd, bool check_crc, struct record *out, struct err *err)
{
	return record_load(&qio_real, fd, check_crc, out, err);
}

int
record_set_slot(const struct qio *q, int fd, struct record *r, size_t rcpt,
    enum record_slot slot, struct err *err)
{
	char octet = (char)slot;

	if (qio_write(q, fd, &octet, 1, r->slots_offset + rcpt) != 0)
		return err_errno(err, "cannot close a recipient's slot");
	r->slots[rcpt] = octet;
	return 0;
}

int
record_set_retry(const struct qio *q, int fd, struct record *r, int64_t next_try,
    uint32_t tries, struct err *err)
{
	char octets[12];

	put_u64(octets, (uint64_t)next_try);
	put_u32(octets + 8, tries);
	if (qio_write(q, fd, octets, sizeof(octets), 32) != 0)
		return err_errno(err, "cannot note the next try");
	r->next_try = next_try;
	r->tries = tries;
	return 0;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* Reading and writing of DNS messages (RFC 1035 4.1).  Decides what is well formed;
 * what an answer means is dns_answer.c's business. */
#include "common/net/dns_packet.h"

#include <stdio.h>

#define JUMPS_MAX 16u

static int
need(const struct dns_reader *r, size_t len, struct err *err)
{
	if (r->at > r->msg.len || r->msg.len - r->at < len)
		return err_set(err, "DNS message ends at octet %zu, expected %zu more",
		    r->msg.len, len);
	return 0;
}

static uint8_t
octet(const struct dns_reader *r, size_t at)
{
	return (uint8_t)r->msg.p[at];
}

int
dns_read_u16(struct dns_reader *r, uint16_t *out, struct err *err)
{
	if (need(r, 2, err) != 0)
		return -1;
	*out = (uint16_t)(octet(r, r->at) << 8 | octet(r, r->at + 1));
	r->at += 2;
	return 0;
}

int
dns_read_u32(struct dns_reader *r, uint32_t *out, struct err *err)
{
	uint16_t high, low;

	if (need(r, 4, err) != 0)
		return -1;
	(void)dns_read_u16(r, &high, err);
	(void)dns_read_u16(r, &low, err);
	*out = (uint32_t)high << 16 | low;
	return 0;
}

int
dns_read_header(struct dns_reader *r, struct dns_header *out, struct err *err)
{
	if (need(r, DNS_HEADER_LEN, err) != 0)
		return -1;
	(void)dns_read_u16(r, &out->id, err);
	(void)dns_read_u16(r, &out->flags, err);
	(void)dns_read_u16(r, &out->n_questions, err);
	(void)dns_read_u16(r, &out->n_answers, err);
	(void)dns_read_u16(r, &out->n_authority, err);
	(void)dns_read_u16(r, &out->n_additional, err);
	return 0;
}

/* One label as text.  A wire name of at most 255 octets cannot outgrow the text. */
static size_t
label_text(const struct dns_reader *r, size_t at, size_t len, char *out)
{
	size_t n = 0;

	for (size_t i = at; i < at + len; i++) {
		char c = (char)octet(r, i);

		if (c == '.' || c == '\\') {
			out[n++] = '\\';
			out[n++] = c;
		} else if (c > ' ' && c < 0x7f) {
			out[n++] = ascii_lower(c);
		} else {
			n += (size_t)snprintf(out + n, 5, "\\%03u", octet(r, i));
		}
	}
	return n;
}

int
dns_read_name(struct dns_reader *r, char out[DNS_NAME_TEXT], struct err *err)
{
	size_t at = r->at, wire = 0, n = 0;
	size_t before = at; /* pointers must lead in front of this: no loops */
	unsigned jumps = 0;

	for (;;) {
		if (at >= r->msg.len)
			return err_set(
			    err, "DNS name runs behind the end of the message");
		size_t len = octet(r, at);
		if (len >= 0xc0) {
			if (at + 1 >= r->msg.len)
				return err_set(err, "DNS name pointer is cut off");
			size_t to = (len & 0x3f) << 8 | octet(r, at + 1);
			if (to >= before)
				return err_set(
				    err, "DNS name pointer does not lead backwards");
			if (jumps == 0)
				r->at = at + 2;
			/* Each jump costs two octets: without a limit a message of
			 * nothing else would keep a reader busy for minutes. */
			if (++jumps > JUMPS_MAX)
				return err_set(
				    err, "over %u pointers in a DNS name", JUMPS_MAX);
			before = at = to;
			continue;
		}
		if (len >= 0x40)
			return err_set(err, "DNS label of unknown kind 0x%02zx", len);
		wire += len + 1;
		if (wire > 255)
			return err_set(err, "DNS name over 255 octets");
		if (len == 0)
			break;
		if (r->msg.len - at - 1 < len)
			return err_set(
			    err, "DNS label runs behind the end of the message");
		if (n > 0)
			out[n++] = '.';
		n += label_text(r, at + 1, len, out + n);
		at += len + 1;
	}
	if (jumps == 0)
		r->at = at + 1;
	out[n] = '\0';
	return 0;
}

int
dns_read_question(struct dns_reader *r, struct dns_question *out, struct err *err)
{
	if (dns_read_name(r, out->name, err) != 0 ||
	    dns_read_u16(r, &out->type, err) != 0 ||
	    dns_read_u16(r, &out->class, err) != 0)
		return -1;
	return 0;
}

int
dns_read_rr(struct dns_reader *r, struct dns_rr *out, struct err *err)
{
	uint16_t len;

	if (dns_read_name(r, out->name, err) != 0 ||
	    dns_read_u16(r, &out->type, err) != 0 ||
	    dns_read_u16(r, &out->class, err) != 0 ||
	    dns_read_u32(r, &out->ttl, err) != 0 || dns_read_u16(r, &len, err) != 0 ||
	    need(r, len, err) != 0)
		return -1;
	if (out->ttl > INT32_MAX)
		out->ttl = 0;
	out->data = r->at;
	out->data_len = len;
	r->at += len;
	return 0;
}

bool
dns_name_ok(struct str name)
{
	struct str rest = name, label;

	if (name.len == 0 || name.len > DNS_NAME_MAX || name.p[name.len - 1] == '.')
		return false;
	while (str_cut(&rest, '.', &label)) {
		if (label.len == 0 || label.len > 63)
			return false;
		for (size_t i = 0; i < label.len; i++)
			if (label.p[i] <= ' ' || label.p[i] >= 0x7f ||
			    label.p[i] == '\\')
				return false;
	}
	return true;
}

int
dns_write_header(struct buf *out, const struct dns_header *h)
{
	const uint16_t words[] = { h->id, h->flags, h->n_questions, h->n_answers,
		h->n_authority, h->n_additional };

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (buf_add_u16(out, words[i]) != 0)
			return -1;
	return 0;
}

int
dns_write_name(struct buf *out, struct str name)
{
	struct str label;

	if (name.len > 0 && name.p[name.len - 1] == '.')
		name.len--;
	if (name.len > 0 && !dns_name_ok(name))
		return -1;
	while (name.len > 0 && str_cut(&name, '.', &label))
		if (buf_add_char(out, (char)label.len) != 0 ||
		    buf_add_str(out, label) != 0)
			return -1;
	return buf_add_char(out, '\0');
}

int
dns_write_question(struct buf *out, struct str name, unsigned type)
{
	if (dns_write_name(out, name) != 0 || buf_add_u16(out, type) != 0)
		return -1;
	return buf_add_u16(out, DNS_CLASS_IN);
}

int
dns_write_rr(
    struct buf *out, struct str name, unsigned type, uint32_t ttl, size_t data_len)
{
	if (data_len > UINT16_MAX || dns_write_question(out, name, type) != 0 ||
	    buf_add_u32(out, ttl) != 0)
		return -1;
	return buf_add_u16(out, (unsigned)data_len);
}

int
dns_write_query(struct buf *out, uint16_t id, struct str name, unsigned type, bool ad)
{
	struct dns_header h = { .id = id,
		.flags = (uint16_t)(DNS_FLAG_RD | (ad ? DNS_FLAG_AD : 0u)),
		.n_questions = 1,
		.n_additional = 1 };

	if (!dns_name_ok(name) || dns_write_header(out, &h) != 0 ||
	    dns_write_question(out, name, type) != 0)
		return -1;
	/* OPT stands last: c-ares cuts it off when a server answers FORMERR. */
	if (buf_add_char(out, '\0') != 0 || buf_add_u16(out, DNS_TYPE_OPT) != 0 ||
	    buf_add_u16(out, DNS_UDP_SIZE) != 0 || buf_add_u32(out, 0) != 0)
		return -1;
	return buf_add_u16(out, 0);
}

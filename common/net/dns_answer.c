/* SPDX-License-Identifier: BSD-2-Clause */
/* From the octets of an answer to its meaning: follows aliases, keeps the records that
 * were asked for, tells "no such name" from "no such record" (RFC 2308), and treats
 * everything that does not parse as a failure of the server. */
#include "common/net/dns_answer.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/xalloc.h"
#include "common/net/dns_packet.h"

struct dns_answer *
dns_answer_new(enum dns_status status)
{
	struct dns_answer *a = xcalloc(1, sizeof(*a));

	a->status = status;
	atomic_init(&a->refs, 1);
	return a;
}

struct dns_answer *
dns_answer_ref(struct dns_answer *a)
{
	atomic_fetch_add_explicit(&a->refs, 1, memory_order_relaxed);
	return a;
}

void
dns_answer_unref(struct dns_answer *a)
{
	if (a == NULL ||
	    atomic_fetch_sub_explicit(&a->refs, 1, memory_order_acq_rel) != 1)
		return;
	for (size_t i = 0; i < a->n; i++) {
		free(a->records[i].name);
		free(a->records[i].text);
	}
	free(a->records);
	free(a);
}

/* TXT: character strings, each with its length in front (RFC 1035 3.3.14). */
static int
read_text(struct str data, struct dns_record *out, struct err *err)
{
	size_t at = 0, n = 0;

	out->text = xmalloc(data.len + 1);
	while (at < data.len) {
		size_t len = (uint8_t)data.p[at++];
		if (len > data.len - at)
			return err_set(
			    err, "TXT string of %zu octets in %zu", len, data.len - at);
		memcpy(out->text + n, data.p + at, len);
		n += len;
		at += len;
	}
	out->text[n] = '\0';
	out->text_len = n;
	return 0;
}

/* A name inside RDATA must end where the RDATA ends (tail: octets that follow it). */
static int
read_data_name(struct dns_reader *r, const struct dns_rr *rr, size_t tail, char **out,
    struct err *err)
{
	char name[DNS_NAME_TEXT];

	if (dns_read_name(r, name, err) != 0)
		return -1;
	if (tail == 0 && r->at != rr->data + rr->data_len)
		return err_set(err, "name in a record ends elsewhere than the record");
	if (r->at > rr->data + rr->data_len)
		return err_set(err, "name runs out of its record");
	*out = xstrdup(name);
	return 0;
}

static int
read_ip(struct str data, int family, size_t len, struct ip *out, struct err *err)
{
	if (data.len != len)
		return err_set(
		    err, "address record of %zu octets, expected %zu", data.len, len);
	out->family = family;
	memcpy(out->b, data.p, len);
	return 0;
}

static int
read_data(struct dns_reader r, const struct dns_rr *rr, struct dns_record *out,
    struct err *err)
{
	struct str data = { r.msg.p + rr->data, rr->data_len };

	r.at = rr->data;
	switch ((enum dns_type)rr->type) {
	case DNS_A:
		return read_ip(data, AF_INET, 4, &out->ip, err);
	case DNS_AAAA:
		return read_ip(data, AF_INET6, 16, &out->ip, err);
	case DNS_TXT:
		return read_text(data, out, err);
	case DNS_MX:
		if (data.len < 3)
			return err_set(err, "MX record of %zu octets", data.len);
		if (dns_read_u16(&r, &out->preference, err) != 0)
			return -1;
		return read_data_name(&r, rr, 0, &out->name, err);
	case DNS_NS:
	case DNS_CNAME:
	case DNS_PTR:
		return read_data_name(&r, rr, 0, &out->name, err);
	case DNS_SOA:
		return read_data_name(&r, rr, 1, &out->name, err);
	}
	return err_set(err, "record of type %u", rr->type);
}

static void
add_record(struct dns_answer *a, const struct dns_record *rec)
{
	if (a->n % 8 == 0)
		a->records = xreallocarray(a->records, a->n + 8, sizeof(*a->records));
	a->records[a->n++] = *rec;
}

/* Walk the answer section once: keep what owner has of the type, and its alias. */
static int
collect(struct dns_reader r, unsigned n_answers, const char *owner, enum dns_type type,
    struct dns_answer *a, char alias[DNS_NAME_TEXT], struct err *err)
{
	struct dns_rr rr;

	alias[0] = '\0';
	for (unsigned i = 0; i < n_answers; i++) {
		if (dns_read_rr(&r, &rr, err) != 0)
			return -1;
		if (rr.class != DNS_CLASS_IN || strcmp(rr.name, owner) != 0)
			continue;
		if (rr.type == DNS_CNAME && type != DNS_CNAME) {
			struct dns_reader at = { r.msg, rr.data };
			if (dns_read_name(&at, alias, err) != 0)
				return -1;
		} else if (rr.type != (unsigned)type || a->n == DNS_RECORDS_MAX) {
			continue;
		} else {
			struct dns_record rec = { 0 };
			if (read_data(r, &rr, &rec, err) != 0) {
				free(rec.name);
				free(rec.text);
				return -1;
			}
			add_record(a, &rec);
		}
		if (rr.ttl < a->ttl)
			a->ttl = rr.ttl;
	}
	return 0;
}

/* How long "there is none" holds (RFC 2308 5): lesser of SOA's TTL and minimum. */
static uint32_t
negative_ttl(struct dns_reader r, const struct dns_header *h, uint32_t ttl)
{
	struct dns_rr rr;
	char name[DNS_NAME_TEXT];

	for (unsigned i = 0; i < h->n_answers; i++)
		if (dns_read_rr(&r, &rr, NULL) != 0)
			return 0;
	for (unsigned i = 0; i < h->n_authority; i++) {
		uint32_t field = 0;
		struct dns_reader at = { r.msg, 0 };

		if (dns_read_rr(&r, &rr, NULL) != 0)
			return 0;
		if (rr.type != DNS_SOA || rr.class != DNS_CLASS_IN)
			continue;
		at.at = rr.data;
		if (dns_read_name(&at, name, NULL) != 0 ||
		    dns_read_name(&at, name, NULL) != 0)
			return 0;
		/* serial, refresh, retry, expire, minimum */
		for (int f = 0; f < 5; f++)
			if (dns_read_u32(&at, &field, NULL) != 0)
				return 0;
		if (at.at > rr.data + rr.data_len || field > INT32_MAX)
			return 0;
		ttl = rr.ttl < ttl ? rr.ttl : ttl;
		return field < ttl ? field : ttl;
	}
	return 0;
}

static int
parse(struct str msg, struct str name, enum dns_type type, struct dns_answer *a,
    struct err *err)
{
	struct dns_reader r = { msg, 0 };
	struct dns_header h;
	struct dns_question q;
	char owner[DNS_NAME_TEXT], alias[DNS_NAME_TEXT];

	assert(name.len <= DNS_NAME_MAX);
	memcpy(owner, name.p, name.len);
	owner[name.len] = '\0';
	if (dns_read_header(&r, &h, err) != 0)
		return -1;
	if ((h.flags & DNS_FLAG_QR) == 0)
		return err_set(err, "DNS message is a question, expected an answer");
	unsigned rcode = DNS_RCODE(h.flags);
	if (rcode != DNS_RCODE_OK && rcode != DNS_RCODE_NXDOMAIN)
		return err_set(err, "DNS server answers with code %u", rcode);
	for (unsigned i = 0; i < h.n_questions; i++)
		if (dns_read_question(&r, &q, err) != 0)
			return -1;
	a->ttl = INT32_MAX;
	for (int links = 0;; links++) {
		if (links > DNS_ALIASES_MAX)
			return err_set(
			    err, "over %d aliases in a row", DNS_ALIASES_MAX);
		if (collect(r, h.n_answers, owner, type, a, alias, err) != 0)
			return -1;
		if (a->n > 0 || alias[0] == '\0')
			break;
		memcpy(owner, alias, sizeof(owner));
	}
	a->authentic = (h.flags & DNS_FLAG_AD) != 0;
	if (a->n > 0 && rcode == DNS_RCODE_OK)
		return 0;
	a->status = rcode == DNS_RCODE_NXDOMAIN ? DNS_NXDOMAIN : DNS_NODATA;
	a->ttl = negative_ttl(r, &h, a->ttl);
	return 0;
}

struct dns_answer *
dns_answer_parse(struct str msg, struct str name, enum dns_type type, struct err *err)
{
	struct dns_answer *a = dns_answer_new(DNS_OK);

	if (parse(msg, name, type, a, err) != 0) {
		dns_answer_unref(a);
		return dns_answer_new(DNS_FAIL);
	}
	if (a->status != DNS_OK &&
	    a->n > 0) { /* records beside NXDOMAIN mean nothing */
		struct dns_answer *bare = dns_answer_new(a->status);
		bare->ttl = a->ttl;
		bare->authentic = a->authentic;
		dns_answer_unref(a);
		a = bare;
	}
	return a;
}

const char *
dns_status_name(enum dns_status status)
{
	static const char *const names[] = { "ok", "nodata", "nxdomain", "fail",
		"timeout", "badname" };

	static_assert(
	    sizeof(names) / sizeof(names[0]) == DNS_BADNAME + 1, "one per status");
	return names[status];
}

const char *
dns_type_name(enum dns_type type)
{
	switch (type) {
	case DNS_A:
		return "A";
	case DNS_NS:
		return "NS";
	case DNS_CNAME:
		return "CNAME";
	case DNS_SOA:
		return "SOA";
	case DNS_PTR:
		return "PTR";
	case DNS_MX:
		return "MX";
	case DNS_TXT:
		return "TXT";
	case DNS_AAAA:
		return "AAAA";
	}
	return "?";
}

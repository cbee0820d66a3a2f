/* SPDX-License-Identifier: BSD-2-Clause */
/* The zone of the tests' DNS server: reads the lines, finds records by name, wildcard
 * and alias, tells NXDOMAIN from no data, and writes answers.  No sockets. */
#include "tests/lib/dnsd_zone.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/ip.h"
#include "common/base/xalloc.h"
#include "common/net/dns_answer.h"

struct record {
	char *name; /* lower case */
	unsigned type;
	uint32_t ttl;
	char *data; /* RDATA */
	size_t len;
};

struct fault {
	char *name;
	struct dnsd_fault what;
	unsigned times; /* left; UINT32_MAX: always */
};

struct dnsd_zone {
	struct record *records;
	size_t n;
	struct fault *faults;
	size_t n_faults;
};

static const struct {
	const char *name;
	unsigned type;
} types[] = {
	{ "A", DNS_A },
	{ "AAAA", DNS_AAAA },
	{ "MX", DNS_MX },
	{ "TXT", DNS_TXT },
	{ "PTR", DNS_PTR },
	{ "NS", DNS_NS },
	{ "CNAME", DNS_CNAME },
	{ "SOA", DNS_SOA },
};

static unsigned
type_of(struct str word)
{
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		if (str_is_nocase(word, types[i].name))
			return types[i].type;
	return 0;
}

static char *
name_of(struct str word)
{
	if (word.len > 0 && word.p[word.len - 1] == '.')
		word.len--;
	return str_dup_lower(word);
}

static int
data_ip(struct str rest, int family, size_t len, struct buf *out, struct err *err)
{
	struct ip ip;

	if (!ip_parse(str_trim(rest), &ip) || ip.family != family)
		return err_set(err, "expected an address, not \"%.*s\"", STR_ARG(rest));
	return buf_add(out, ip.b, len);
}

static int
data_name(struct str word, struct buf *out, struct err *err)
{
	if (dns_write_name(out, word) != 0)
		return err_set(err, "expected a name, not \"%.*s\"", STR_ARG(word));
	return 0;
}

/* Character strings of at most 255 octets. */
static void
add_strings(struct str text, struct buf *out)
{
	do {
		struct str part = str_sub(text, 0, 255);
		buf_add_char(out, (char)part.len);
		buf_add_str(out, part);
		text = str_sub(text, part.len, text.len);
	} while (text.len > 0);
}

static int
data_text(struct str rest, struct buf *out, struct err *err)
{
	rest = str_trim(rest);
	if (rest.len == 0 || rest.p[0] != '"') {
		add_strings(rest, out);
		return 0;
	}
	while (rest.len > 0) {
		ptrdiff_t end = str_index(str_sub(rest, 1, rest.len), '"');

		if (rest.p[0] != '"' || end < 0)
			return err_set(err, "expected \"strings\" in TXT");
		add_strings(str_sub(rest, 1, (size_t)end + 1), out);
		rest = str_trim(str_sub(rest, (size_t)end + 2, rest.len));
	}
	return 0;
}

static int
data_soa(struct str rest, struct buf *out, struct err *err)
{
	struct str server, minimum;
	uint64_t ttl;

	if (!str_word(&rest, &server) || !str_word(&rest, &minimum) ||
	    !str_to_uint(minimum, 0, UINT32_MAX, &ttl))
		return err_set(err, "expected SOA SERVER MINIMUM");
	if (data_name(server, out, err) != 0 ||
	    data_name(STR("hostmaster.test"), out, err) != 0)
		return -1;
	for (int i = 0; i < 4; i++)
		buf_add_u32(out, 3600);
	return buf_add_u32(out, (unsigned long)ttl);
}

static int
data_mx(struct str rest, struct buf *out, struct err *err)
{
	struct str number, name;
	uint64_t preference;

	if (!str_word(&rest, &number) || !str_to_uint(number, 0, 65535, &preference) ||
	    !str_word(&rest, &name))
		return err_set(err, "expected MX PREFERENCE NAME");
	buf_add_u16(out, (unsigned)preference);
	if (str_is(name, "."))
		return buf_add_char(out, '\0');
	return data_name(name, out, err);
}

static int
write_data(unsigned type, struct str rest, struct buf *out, struct err *err)
{
	switch (type) {
	case DNS_A:
		return data_ip(rest, AF_INET, 4, out, err);
	case DNS_AAAA:
		return data_ip(rest, AF_INET6, 16, out, err);
	case DNS_MX:
		return data_mx(rest, out, err);
	case DNS_TXT:
		return data_text(rest, out, err);
	case DNS_SOA:
		return data_soa(rest, out, err);
	}
	return data_name(str_trim(rest), out, err);
}

static int
read_record(struct dnsd_zone *z, struct str name, struct str type, struct str rest,
    struct err *err)
{
	struct record r = { .type = type_of(type), .ttl = 300 };
	struct str after = rest, word;
	struct buf data;
	uint64_t ttl;

	if (r.type == 0)
		return err_set(err, "unknown type \"%.*s\"", STR_ARG(type));
	/* MX has a number of its own first: two numbers mean TTL and preference. */
	if (str_word(&after, &word) && str_to_uint(word, 0, UINT32_MAX, &ttl)) {
		struct str next = after, second;
		uint64_t n;
		if (r.type != DNS_MX ||
		    (str_word(&next, &second) && str_to_uint(second, 0, 65535, &n))) {
			r.ttl = (uint32_t)ttl;
			rest = after;
		}
	}
	buf_init(&data, UINT16_MAX);
	if (write_data(r.type, rest, &data, err) != 0 || data.failed) {
		buf_clear(&data);
		return -1;
	}
	r.len = data.len;
	r.data = buf_take(&data);
	r.name = name_of(name);
	z->records = xreallocarray(z->records, z->n + 1, sizeof(*z->records));
	z->records[z->n++] = r;
	return 0;
}

static int
read_fault_kind(struct str rest, struct dnsd_fault *f, struct err *err)
{
	struct str kind, number;
	uint64_t ms;

	while (str_word(&rest, &kind)) {
		if (str_is(kind, "drop"))
			f->drop = true;
		else if (str_is(kind, "tc"))
			f->tc = true;
		else if (str_is(kind, "wrongid"))
			f->wrongid = true;
		else if (str_is(kind, "short"))
			f->shorten = true;
		else if (str_is(kind, "garbage"))
			f->garbage = true;
		else if (str_is(kind, "ad"))
			f->ad = true;
		else if (str_is(kind, "servfail"))
			f->rcode = DNS_RCODE_SERVFAIL;
		else if (str_is(kind, "refused"))
			f->rcode = DNS_RCODE_REFUSED;
		else if (str_is(kind, "nxdomain"))
			f->rcode = DNS_RCODE_NXDOMAIN;
		else if (str_is(kind, "delay") && str_word(&rest, &number) &&
		    str_to_uint(number, 0, 600000, &ms))
			f->delay_ms = (unsigned)ms;
		else
			return err_set(err, "unknown fault \"%.*s\"", STR_ARG(kind));
	}
	return 0;
}

static int
read_fault(struct dnsd_zone *z, struct str name, struct str rest, struct err *err)
{
	struct fault f = { .times = UINT32_MAX };
	struct str after = rest, word;
	uint64_t n;

	if (str_word(&after, &word) && str_is(word, "times")) {
		if (!str_word(&after, &word) ||
		    !str_to_uint(word, 0, UINT32_MAX - 1, &n))
			return err_set(err, "expected a number behind \"times\"");
		f.times = (unsigned)n;
		rest = after;
	}
	if (read_fault_kind(rest, &f.what, err) != 0)
		return -1;
	f.name = name_of(name);
	z->faults = xreallocarray(z->faults, z->n_faults + 1, sizeof(*z->faults));
	z->faults[z->n_faults++] = f;
	return 0;
}

static int
read_line(struct dnsd_zone *z, struct str line, struct err *err)
{
	struct str name, type;

	if (!str_word(&line, &name) || name.p[0] == '#' || name.p[0] == ';')
		return 0;
	if (!str_word(&line, &type))
		return err_set(err, "expected NAME TYPE DATA");
	if (str_is(type, "fault"))
		return read_fault(z, name, line, err);
	return read_record(z, name, type, line, err);
}

struct dnsd_zone *
dnsd_zone_parse(struct str text, struct err *err)
{
	struct dnsd_zone *z = xcalloc(1, sizeof(*z));
	struct str line;

	for (int n = 1; str_cut(&text, '\n', &line); n++) {
		struct err why;
		if (read_line(z, line, &why) == 0)
			continue;
		err_at(err, "zone", n, "%s", why.text);
		dnsd_zone_free(z);
		return NULL;
	}
	return z;
}

void
dnsd_zone_free(struct dnsd_zone *z)
{
	if (z == NULL)
		return;
	for (size_t i = 0; i < z->n; i++) {
		free(z->records[i].name);
		free(z->records[i].data);
	}
	for (size_t i = 0; i < z->n_faults; i++)
		free(z->faults[i].name);
	free(z->records);
	free(z->faults);
	free(z);
}

struct dnsd_fault
dnsd_zone_fault(struct dnsd_zone *z, const char *name)
{
	for (size_t i = 0; i < z->n_faults; i++) {
		struct fault *f = &z->faults[i];
		if ((strcmp(f->name, name) != 0 && strcmp(f->name, "*") != 0) ||
		    f->times == 0)
			continue;
		if (f->times != UINT32_MAX)
			f->times--;
		return f->what;
	}
	return (struct dnsd_fault){ 0 };
}

/* "x.d.example" lies below "d.example". */
static bool
below(const char *name, const char *top)
{
	size_t n = strlen(name), t = strlen(top);

	return n > t + 1 && name[n - t - 1] == '.' && strcmp(name + n - t, top) == 0;
}

static bool
exists(const struct dnsd_zone *z, const char *name)
{
	for (size_t i = 0; i < z->n; i++)
		if (strcmp(z->records[i].name, name) == 0 ||
		    below(z->records[i].name, name))
			return true;
	return false;
}

/* The name whose records answer for name: itself, or the closest wildcard above. */
static const char *
source_of(const struct dnsd_zone *z, const char *name)
{
	const char *best = NULL;

	if (exists(z, name))
		return name;
	for (size_t i = 0; i < z->n; i++) {
		const char *w = z->records[i].name;
		if (strncmp(w, "*.", 2) == 0 && below(name, w + 2) &&
		    (best == NULL || strlen(w) > strlen(best)))
			best = w;
	}
	return best;
}

static const struct record *
soa_of(const struct dnsd_zone *z, const char *name)
{
	const struct record *best = NULL;

	for (size_t i = 0; i < z->n; i++) {
		const struct record *r = &z->records[i];
		if (r->type == DNS_SOA &&
		    (strcmp(name, r->name) == 0 || below(name, r->name)) &&
		    (best == NULL || strlen(r->name) > strlen(best->name)))
			best = r;
	}
	return best;
}

/* Records of the type under a name, through one alias at a time.  *next: the alias'
 * target, "" when there is none. */
static unsigned
add_records(const struct dnsd_zone *z, const char *owner, const char *source,
    unsigned type, struct buf *out, char next[DNS_NAME_TEXT])
{
	unsigned n = 0;

	next[0] = '\0';
	for (size_t i = 0; i < z->n; i++) {
		const struct record *r = &z->records[i];
		if (strcmp(r->name, source) != 0 ||
		    (r->type != type && r->type != DNS_CNAME))
			continue;
		if (dns_write_rr(out, str_of(owner), r->type, r->ttl, r->len) != 0 ||
		    buf_add(out, r->data, r->len) != 0)
			return n;
		n++;
		if (r->type == DNS_CNAME && type != DNS_CNAME) {
			struct dns_reader at = { { r->data, r->len }, 0 };
			(void)dns_read_name(&at, next, NULL);
		}
	}
	return n;
}

void
dnsd_zone_answer(const struct dnsd_zone *z, uint16_t id, const struct dns_question *q,
    const struct dnsd_fault *fault, struct buf *out)
{
	struct dns_header h = { .id = id,
		.flags = (uint16_t)(DNS_FLAG_QR | DNS_FLAG_RD | DNS_FLAG_RA |
		    (fault->ad ? DNS_FLAG_AD : 0u)),
		.n_questions = 1 };
	char name[DNS_NAME_TEXT], next[DNS_NAME_TEXT];
	struct buf body;

	buf_init(&body, UINT16_MAX);
	memcpy(name, q->name, sizeof(name));
	unsigned rcode = fault->rcode, found = 0;
	for (int links = 0; rcode == 0 && links < 20; links++) {
		const char *source = source_of(z, name);
		if (source == NULL) {
			rcode = DNS_RCODE_NXDOMAIN;
			break;
		}
		found = add_records(z, name, source, q->type, &body, next);
		h.n_answers = (uint16_t)(h.n_answers + found);
		if (next[0] == '\0')
			break;
		memcpy(name, next, sizeof(name));
	}
	const struct record *soa = soa_of(z, name);
	if (soa != NULL &&
	    (rcode == DNS_RCODE_NXDOMAIN || (rcode == 0 && found == 0))) {
		dns_write_rr(&body, str_of(soa->name), DNS_SOA, soa->ttl, soa->len);
		buf_add(&body, soa->data, soa->len);
		h.n_authority = 1;
	}
	h.flags = (uint16_t)(h.flags | rcode);
	dns_write_header(out, &h);
	dns_write_name(out, str_of(q->name));
	buf_add_u16(out, q->type);
	buf_add_u16(out, q->class);
	buf_add_str(out, buf_str(&body));
	buf_clear(&body);
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* Writer and reader of the jail's answer.  The reader is the border: every length, name
 * and count is checked before it is used. */
#include "milters/score/hits.h"

#include <stdlib.h>

#include "common/base/xalloc.h"

#define MAGIC "PSH1"
#define FLAG_CUT 1u
#define FLAG_OVER 2u

void
hits_init(struct hits *h, const struct rules *r)
{
	*h = (struct hits){ .n = r->n };
	h->hits = xcalloc(r->n + 1, sizeof(*h->hits));
	buf_init(&h->domains, HITS_DOMAINS_MAX * (HITS_DOMAIN_MAX + 1));
}

void
hits_clear(struct hits *h)
{
	free(h->hits);
	buf_clear(&h->domains);
	*h = (struct hits){ 0 };
}

bool
hits_domain_ok(struct str s)
{
	if (s.len == 0 || s.len > HITS_DOMAIN_MAX || !str_has(s, '.'))
		return false;
	for (size_t i = 0; i < s.len; i++)
		if (!ascii_alnum(s.p[i]) && s.p[i] != '.' && s.p[i] != '-' && s.p[i] != '_')
			return false;
	return true;
}

void
hits_add_domain(struct hits *h, struct str domain)
{
	struct str known = buf_str(&h->domains), line;

	if (h->n_domains == HITS_DOMAINS_MAX || !hits_domain_ok(domain))
		return;
	while (known.len > 0 && str_cut(&known, '\n', &line))
		if (str_eq_nocase(line, domain))
			return;
	for (size_t i = 0; i < domain.len; i++)
		buf_add_char(&h->domains, ascii_lower(domain.p[i]));
	buf_add_char(&h->domains, '\n');
	h->n_domains++;
}

/* ---- writing ---- */

static void
write_name(struct str name, struct buf *out)
{
	buf_add_char(out, (char)(unsigned char)name.len); /* META_NAME_MAX, HITS_DOMAIN_MAX */
	buf_add_str(out, name);
}

static void
write_rules(const struct hits *h, const struct rules *r, bool unknown, struct buf *out)
{
	unsigned long count = 0;

	for (size_t i = 0; i < h->n; i++)
		count += h->hits[i] != 0 && (h->hits[i] == HITS_UNKNOWN) == unknown;
	buf_add_u32(out, count);
	for (size_t i = 0; i < h->n; i++) {
		if (h->hits[i] == 0 || (h->hits[i] == HITS_UNKNOWN) != unknown)
			continue;
		write_name(str_of(r->list[i].name), out);
		if (!unknown)
			buf_add_u32(out, h->hits[i]);
	}
}

void
hits_write(const struct hits *h, const struct rules *r, struct buf *out)
{
	struct str rest = buf_str(&h->domains), domain;

	buf_add_cstr(out, MAGIC);
	buf_add_u32(out, (h->cut ? FLAG_CUT : 0) | (h->over ? FLAG_OVER : 0));
	write_rules(h, r, false, out);
	write_rules(h, r, true, out);
	buf_add_u32(out, (unsigned long)h->n_domains);
	for (size_t i = 0; i < h->n_domains && str_cut(&rest, '\n', &domain); i++)
		write_name(domain, out);
}

/* ---- reading ---- */

struct reader {
	struct str rest;
	struct err *err;
};

static int
take(struct reader *rd, size_t len, struct str *out)
{
	if (rd->rest.len < len)
		return err_set(rd->err, "the jail's answer ends too early");
	*out = str_sub(rd->rest, 0, len);
	rd->rest = str_sub(rd->rest, len, rd->rest.len);
	return 0;
}

static int
take_u32(struct reader *rd, uint32_t *out)
{
	struct str s;

	if (take(rd, 4, &s) != 0)
		return -1;
	*out = 0;
	for (size_t i = 0; i < 4; i++)
		*out = *out << 8 | (unsigned char)s.p[i];
	return 0;
}

static int
take_name(struct reader *rd, struct str *out)
{
	struct str len;

	if (take(rd, 1, &len) != 0)
		return -1;
	return take(rd, (unsigned char)len.p[0], out);
}

static bool
comes_from_jail(const struct rule *rule)
{
	return rule->type == RULE_HEADER || rule->type == RULE_BODY ||
	    rule->type == RULE_RAWBODY || rule->type == RULE_URI || rule->type == RULE_FULL;
}

/* The list's length first: no more than there can be rules. */
static int
read_rules(struct reader *rd, const struct rules *r, bool unknown, struct hits *h)
{
	uint32_t n, count = HITS_UNKNOWN;

	if (take_u32(rd, &n) != 0)
		return -1;
	if (n > RULES_MAX)
		return err_set(rd->err, "the jail's answer names too many rules");
	while (n-- > 0) {
		struct str name;

		if (take_name(rd, &name) != 0 || (!unknown && take_u32(rd, &count) != 0))
			return -1;
		if (!unknown && (count == 0 || count > RULES_HITS_MAX))
			return err_set(rd->err, "the jail's answer has an impossible count");
		size_t i = rules_find(r, name);
		if (i == SIZE_MAX || !comes_from_jail(&r->list[i]))
			h->foreign++;
		else if (h->hits[i] != 0)
			return err_set(rd->err, "the jail's answer names a rule twice");
		else
			h->hits[i] = count;
	}
	return 0;
}

static int
read_domains(struct reader *rd, struct hits *h)
{
	uint32_t n;

	if (take_u32(rd, &n) != 0)
		return -1;
	if (n > HITS_DOMAINS_MAX)
		return err_set(rd->err, "the jail's answer names too many domains");
	while (n-- > 0) {
		struct str domain;

		if (take_name(rd, &domain) != 0)
			return -1;
		if (!hits_domain_ok(domain))
			return err_set(rd->err, "the jail's answer names a domain that is none");
		hits_add_domain(h, domain);
	}
	return 0;
}

static int
read_all(struct reader *rd, const struct rules *r, struct hits *h)
{
	struct str magic;
	uint32_t flags;

	if (take(rd, 4, &magic) != 0 || take_u32(rd, &flags) != 0)
		return -1;
	if (!str_is(magic, MAGIC) || (flags & ~(FLAG_CUT | FLAG_OVER)) != 0)
		return err_set(rd->err, "the jail's answer is of another kind");
	h->cut = (flags & FLAG_CUT) != 0;
	h->over = (flags & FLAG_OVER) != 0;
	if (read_rules(rd, r, false, h) != 0 || read_rules(rd, r, true, h) != 0 ||
	    read_domains(rd, h) != 0)
		return -1;
	return rd->rest.len == 0
	    ? 0
	    : err_set(rd->err, "the jail's answer has octets behind its end");
}

int
hits_read(struct str in, const struct rules *r, struct hits *h, struct err *err)
{
	struct reader rd = { in, err };

	hits_init(h, r);
	if (read_all(&rd, r, h) == 0)
		return 0;
	hits_clear(h);
	return -1;
}

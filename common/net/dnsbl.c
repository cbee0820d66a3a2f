/* SPDX-License-Identifier: BSD-2-Clause */
/* DNS lists (RFC 5782): the name to ask, what an answer means, the words for who is
 * refused.  Asks nothing itself.  A list that is broken, refuses us or answers in codes
 * that nobody configured must never refuse mail. */
#include "common/net/dnsbl.h"

#include <stdio.h>
#include <string.h>

#include "common/base/buf.h"
#include "common/net/dns_packet.h"

static int
name_of(const struct dnsbl *list, const char *key, const char *front, char out[256])
{
	bool keyed = key != NULL && key[0] != '\0';
	int n = snprintf(out, 256, "%s.%s%s%s", front, keyed ? key : "", keyed ? "." : "",
	    list->zone);

	return n > 0 && n <= DNS_NAME_MAX ? 0 : -1;
}

int
dnsbl_query(const struct dnsbl *list, const struct ip *client, char out[256])
{
	return dnsbl_query_keyed(list, NULL, client, out);
}

int
dnsbl_query_keyed(
    const struct dnsbl *list, const char *key, const struct ip *client, char out[256])
{
	char reverse[64];

	if (client->family == 0)
		return -1;
	return name_of(list, key, ip_reverse(client, reverse), out);
}

int
dnsbl_query_name(
    const struct dnsbl *list, const char *key, struct str domain, char out[256])
{
	char front[DNS_NAME_MAX + 1];
	struct ip ip;

	if (domain.len > 0 && domain.p[domain.len - 1] == '.')
		domain.len--;
	if (domain.len == 0 || domain.len >= sizeof(front) || !str_has(domain, '.') ||
	    !dns_name_ok(domain) || ip_parse(domain, &ip))
		return -1;
	for (size_t i = 0; i < domain.len; i++)
		if (!ascii_alnum(domain.p[i]) && domain.p[i] != '-' && domain.p[i] != '.' &&
		    domain.p[i] != '_')
			return -1;
	memcpy(front, domain.p, domain.len);
	front[domain.len] = '\0';
	return name_of(list, key, front, out);
}

int
dnsbl_query_test(const struct dnsbl *list, const char *key, int family,
    enum dnsbl_test test, uint64_t random, char out[256])
{
	/* 127.64 to 127.191 and a random rest: far from all codes and test points */
	const uint8_t far[3] = { (uint8_t)(64 + (random & 127)), (uint8_t)(random >> 8),
		(uint8_t)(random >> 16) };
	struct ip ip = { .family = family };
	uint8_t *at = family == AF_INET ? ip.b : ip.b + 12;
	char front[64];

	if (family == 0) {
		static const char *const names[] = { "test", "invalid" };
		if (test != DNSBL_TEST_RANDOM)
			return name_of(list, key, names[test], out);
		snprintf(front, sizeof(front), "x%016llx.invalid",
		    (unsigned long long)random);
		return name_of(list, key, front, out);
	}
	if (family == AF_INET6)
		ip.b[10] = ip.b[11] = 0xff;
	at[0] = 127;
	if (test == DNSBL_TEST_RANDOM)
		memcpy(at + 1, far, sizeof(far));
	else
		at[3] = test == DNSBL_TEST_LISTED ? 2 : 1;
	return name_of(list, key, ip_reverse(&ip, front), out);
}

const char *
dnsbl_key_wrong(struct str key)
{
	if (key.len == 0 || key.len > DNSBL_KEY_MAX)
		return "1 to 63 letters, digits and '-'";
	for (size_t i = 0; i < key.len; i++)
		if (!ascii_alnum(key.p[i]) && key.p[i] != '-')
			return "1 to 63 letters, digits and '-'";
	return NULL;
}

bool
dnsbl_wants_txt(const struct dnsbl *list)
{
	const char *p = list->text;

	if (p == NULL || p[0] == '\0')
		return !list->allow;
	for (; *p != '\0'; p++)
		if (p[0] == '%' && p[1] != '\0' && *++p == 't')
			return true;
	return false;
}

/* Never a listing: outside 127/8 (somebody answers every name), or 127.255.255.0/24, in
 * which lists tell that they refuse us. */
static bool
is_error_code(const struct ip *ip)
{
	return ip->family != AF_INET || ip->b[0] != 127 ||
	    (ip->b[1] == 255 && ip->b[2] == 255);
}

/* What one answer comes to. */
static bool
counts(const struct dnsbl *list, const struct ip *ip, bool *refuses, int64_t *points)
{
	*refuses = !list->weight.given;
	*points = list->weight.points;
	for (size_t i = 0; i < list->own.n; i++) {
		const struct dnsbl_code *c = &list->own.list[i];

		if (!ipnet_contains(&c->net, ip))
			continue;
		if (c->weighted) {
			*refuses = false;
			*points = c->weight;
		}
		return true;
	}
	for (size_t i = 0; i < list->codes.n; i++)
		if (ipnet_contains(&list->codes.list[i], ip))
			return true;
	/* RFC 5782 5: 127.0.0.1 must not stand for a listing */
	return list->codes.n == 0 && list->own.n == 0 && ip->b[1] == 0 && ip->b[2] == 0 &&
	    ip->b[3] >= 2;
}

/* The gravest of the answers. */
static void
judge_codes(
    const struct dnsbl *list, const struct dns_answer *a, struct dnsbl_result *r)
{
	for (size_t i = 0; i < a->n; i++) {
		bool refuses;
		int64_t points;

		if (!counts(list, &a->records[i].ip, &refuses, &points))
			continue;
		if (r->state == DNSBL_LISTED &&
		    (r->refuses || (!refuses && points <= r->points)))
			continue;
		r->state = DNSBL_LISTED;
		r->code = a->records[i].ip;
		r->refuses = refuses;
		r->points = refuses ? 0 : points;
	}
	if (list->allow)
		r->points = -r->points;
}

/* Foreign words on their way into our reply: one line of plain ASCII. */
static void
clean(const struct dns_answer *txt, char *out, size_t size)
{
	size_t n = 0;

	if (txt == NULL || txt->status != DNS_OK || txt->n == 0)
		return;
	struct str text =
	    str_trim((struct str){ txt->records[0].text, txt->records[0].text_len });
	for (size_t i = 0; i < text.len && n + 1 < size; i++) {
		char c = text.p[i];
		if (c >= 0x7f || c < 0)
			c = '?';
		else if (c < ' ')
			c = ' ';
		out[n++] = c;
	}
	out[n] = '\0';
}

struct dnsbl_result
dnsbl_judge(
    const struct dnsbl *list, const struct dns_answer *a, const struct dns_answer *txt)
{
	struct dnsbl_result r = { .state = DNSBL_UNKNOWN };

	if (a == NULL)
		return r;
	if (a->status == DNS_NXDOMAIN || a->status == DNS_NODATA) {
		r.state = DNSBL_CLEAN;
		return r;
	}
	if (a->status != DNS_OK)
		return r;
	for (size_t i = 0; i < a->n; i++)
		if (is_error_code(&a->records[i].ip))
			return r;
	judge_codes(list, a, &r);
	if (r.state == DNSBL_LISTED)
		clean(txt, r.txt, sizeof(r.txt));
	return r;
}

enum dnsbl_state
dnsbl_judge_test(
    const struct dnsbl *list, enum dnsbl_test test, const struct dns_answer *a)
{
	enum dnsbl_state state = dnsbl_judge(list, a, NULL).state;

	if (test != DNSBL_TEST_LISTED || a == NULL || a->status != DNS_OK)
		return state;
	for (size_t i = 0; i < a->n; i++)
		if (is_error_code(&a->records[i].ip))
			return DNSBL_UNKNOWN;
	return DNSBL_LISTED;
}

static void
expand(const struct dnsbl *list, const char *subject, const char *txt, struct buf *out)
{
	for (const char *p = list->text; *p != '\0'; p++) {
		if (p[0] != '%' || p[1] == '\0') {
			buf_add_char(out, *p);
			continue;
		}
		p++;
		if (*p == 'a')
			buf_add_cstr(out, subject);
		else if (*p == 't' && txt[0] != '\0')
			buf_add_cstr(out, txt);
		else if (*p == 't')
			buf_addf(out, "listed at %s", list->zone);
		else if (*p == '%')
			buf_add_char(out, '%');
		else
			buf_addf(out, "%%%c", *p);
	}
}

/* The list may name the key back to us: strangers are not to read it. */
static void
hide(char *text, const char *key)
{
	size_t len = key != NULL ? strlen(key) : 0;

	for (char *at = text; len > 0 && (at = strcasestr(at, key)) != NULL; at += len)
		memset(at, '*', len);
}

void
dnsbl_text(const struct dnsbl *list, const char *key, const char *subject,
    const struct dnsbl_result *result, char *out, size_t size)
{
	struct buf text;
	char txt[sizeof(result->txt)];

	snprintf(txt, sizeof(txt), "%s", result->txt);
	hide(txt, key);
	buf_init(&text, 4096);
	if (list->text != NULL && list->text[0] != '\0')
		expand(list, subject, txt, &text);
	else
		buf_addf(&text, "Rejected: %s listed at %s%s%s", subject, list->zone,
		    txt[0] != '\0' ? ": " : "", txt);
	snprintf(out, size, "%s", buf_cstr(&text));
	buf_clear(&text);
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* DNS lists by address (RFC 5782): the name to ask, what an answer means, the words for
 * the refused client.  Asks nothing itself.  A list that is broken, refuses us or
 * answers in codes that nobody configured must never refuse mail. */
#include "common/net/dnsbl.h"

#include <stdio.h>
#include <string.h>

#include "common/base/buf.h"
#include "common/net/dns_packet.h"

int
dnsbl_query(const struct dnsbl *list, const struct ip *client, char out[256])
{
	char reverse[64];

	if (client->family == 0)
		return -1;
	int n = snprintf(out, 256, "%s.%s", ip_reverse(client, reverse), list->zone);
	return n > 0 && n <= DNS_NAME_MAX ? 0 : -1;
}

/* Never a listing: outside 127/8 (somebody answers every name), or 127.255.255.0/24, in
 * which lists tell that they refuse us. */
static bool
is_error_code(const struct ip *ip)
{
	return ip->family != AF_INET || ip->b[0] != 127 ||
	    (ip->b[1] == 255 && ip->b[2] == 255);
}

static bool
counts(const struct dnsbl *list, const struct ip *ip)
{
	for (size_t i = 0; i < list->n_codes; i++)
		if (ipnet_contains(&list->codes[i], ip))
			return true;
	/* RFC 5782 5: 127.0.0.1 must not stand for a listing */
	return list->n_codes == 0 && ip->b[1] == 0 && ip->b[2] == 0 && ip->b[3] >= 2;
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
	for (size_t i = 0; i < a->n; i++) {
		if (!counts(list, &a->records[i].ip))
			continue;
		r.state = DNSBL_LISTED;
		r.code = a->records[i].ip;
		clean(txt, r.txt, sizeof(r.txt));
		break;
	}
	return r;
}

static void
expand(const struct dnsbl *list, const char *address, const char *txt, struct buf *out)
{
	for (const char *p = list->text; *p != '\0'; p++) {
		if (p[0] != '%' || p[1] == '\0') {
			buf_add_char(out, *p);
			continue;
		}
		p++;
		if (*p == 'a')
			buf_add_cstr(out, address);
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

void
dnsbl_text(const struct dnsbl *list, const struct ip *client,
    const struct dnsbl_result *result, char *out, size_t size)
{
	char address[IP_TEXT_MAX];
	struct buf text;

	buf_init(&text, 4096);
	ip_format(client, address);
	if (list->text != NULL)
		expand(list, address, result->txt, &text);
	else
		buf_addf(&text, "Rejected: %s listed at %s%s%s", address, list->zone,
		    result->txt[0] != '\0' ? ": " : "", result->txt);
	snprintf(out, size, "%s", buf_cstr(&text));
	buf_clear(&text);
}

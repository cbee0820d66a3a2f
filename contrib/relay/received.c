/* SPDX-License-Identifier: BSD-2-Clause */
/* The Received: line.  What the client told of itself goes in only as far as it cannot
 * be read as structure; the day's and month's names do not depend on the locale. */
#include "contrib/relay/received.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

/* Letters, digits and what domains, literals and addresses are made of; '?' for all
 * else, and at most 255 octets. */
static void
add_plain(struct buf *out, const char *text)
{
	for (size_t i = 0; text[i] != '\0' && i < 255; i++) {
		char c = text[i];

		(void)buf_add_char(out,
		    ascii_alnum(c) || strchr(".-_:[]@+=/'*%!#$&^`{|}~", c) ? c : '?');
	}
}

void
received_date(int64_t now, char out[40])
{
	static const char days[] = "SunMonTueWedThuFriSat";
	static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
	time_t t = (time_t)now;
	struct tm tm;

	if (gmtime_r(&t, &tm) == NULL)
		tm = (struct tm){ .tm_mday = 1, .tm_year = 70, .tm_wday = 4 };
	(void)snprintf(out, 40, "%.3s, %d %.3s %d %02d:%02d:%02d +0000",
	    days + 3 * (tm.tm_wday % 7), tm.tm_mday, months + 3 * (tm.tm_mon % 12),
	    tm.tm_year % 10000 + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec);
}

int
received_write(struct buf *out, const struct received *r)
{
	char ip[IP_TEXT_MAX], date[40];

	(void)buf_add_cstr(out, "from ");
	add_plain(out, r->helo[0] == '\0' ? "unknown" : r->helo);
	(void)buf_add_cstr(out, " (");
	add_plain(out, r->name[0] == '\0' || r->name[0] == '[' ? "unknown" : r->name);
	if (r->client.family != 0)
		(void)buf_addf(out, " [%s%s]",
		    r->client.family == AF_INET6 ? "IPv6:" : "",
		    ip_format(&r->client, ip));
	(void)buf_add_cstr(out, ")\r\n\tby ");
	add_plain(out, r->host);
	(void)buf_addf(out, " (Postern) with %s id %s", r->proto, r->id);
	/* One alone: the others must not learn of each other (RFC 5321 7.2). */
	if (r->rcpt != NULL) {
		(void)buf_add_cstr(out, "\r\n\tfor <");
		add_plain(out, r->rcpt);
		(void)buf_add_cstr(out, ">");
	}
	received_date(r->now, date);
	return buf_addf(out, ";\r\n\t%s", date) < 0 || out->failed ? -1 : 0;
}

size_t
received_count(const struct header *h)
{
	return header_count_name(h, STR("Received"));
}

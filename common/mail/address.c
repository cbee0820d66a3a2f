/* SPDX-License-Identifier: BSD-2-Clause */
/* Envelope addresses by the grammar of RFC 5321 4.1.2 and, for octets above 127, RFC
 * 6531 3.3.  Looser in one point: dots may stand anywhere in an unquoted local part,
 * because mobile carriers have given out such addresses ("a..b.@carrier") and their
 * owners keep writing mail.  Whether an address exists or may be relayed to is decided
 * elsewhere. */
#include "common/mail/address.h"

#include <string.h>

#include "common/base/ip.h"

#define DOMAIN_MAX 255 /* RFC 5321 4.5.3.1.2 */
#define LABEL_MAX 63 /* RFC 1035 2.3.4 */

/* Octets of the UTF-8 sequence at the front of s (RFC 3629 4), 0: none. */
static size_t
utf8_len(struct str s)
{
	unsigned char c = (unsigned char)s.p[0];
	size_t n = c < 0x80 ? 1
	    : c < 0xc2      ? 0
	    : c < 0xe0      ? 2
	    : c < 0xf0      ? 3
	    : c < 0xf5      ? 4
			    : 0;

	if (n == 0 || n > s.len)
		return 0;
	for (size_t i = 1; i < n; i++) {
		if (((unsigned char)s.p[i] & 0xc0) != 0x80)
			return 0;
	}
	unsigned char d = n > 2 ? (unsigned char)s.p[1] : 0x80;

	/* overlong forms, surrogates, beyond U+10FFFF */
	if ((c == 0xe0 && d < 0xa0) || (c == 0xed && d > 0x9f) ||
	    (c == 0xf0 && d < 0x90) || (c == 0xf4 && d > 0x8f))
		return 0;
	return n;
}

/* Control octets and broken UTF-8 are nowhere in an address. */
static bool
octets_ok(struct str s, bool *utf8)
{
	while (s.len > 0) {
		size_t n = utf8_len(s);

		if (n == 0 || (unsigned char)s.p[0] < ' ' || s.p[0] == 127)
			return false;
		*utf8 = *utf8 || n > 1;
		s = str_sub(s, n, s.len);
	}
	return true;
}

/* atext of RFC 5322 3.2.3, or part of a UTF-8 sequence that was checked before. */
static bool
is_atext(char c)
{
	return ascii_alnum(c) || (unsigned char)c >= 0x80 ||
	    (c != '\0' && strchr("!#$%&'*+-/=?^_`{|}~", c) != NULL);
}

/* Let-dig, or part of a U-label. */
static bool
is_let_dig(char c)
{
	return ascii_alnum(c) || (unsigned char)c >= 0x80;
}

static bool
label_ok(struct str label)
{
	if (label.len == 0 || label.len > LABEL_MAX || label.p[0] == '-' ||
	    label.p[label.len - 1] == '-')
		return false;
	for (size_t i = 0; i < label.len; i++) {
		if (!is_let_dig(label.p[i]) && label.p[i] != '-' && label.p[i] != '_')
			return false;
	}
	return true;
}

/* "[192.0.2.1]" or "[IPv6:2001:db8::1]" (RFC 5321 4.1.3); no other tag is registered.
 */
static bool
literal_ok(struct str domain)
{
	struct str inside = str_sub(domain, 1, domain.len - 1);
	struct str tag = STR("IPv6:");
	bool v6 = str_starts_nocase(inside, tag);
	struct ip ip;

	if (v6)
		inside = str_sub(inside, tag.len, inside.len);
	/* ip_parse() would take more tags and brackets than one of each. */
	for (size_t i = 0; i < inside.len; i++) {
		char c = ascii_lower(inside.p[i]);

		if (!ascii_digit(c) && !(c >= 'a' && c <= 'f') && c != '.' && c != ':')
			return false;
	}
	return ip_parse(inside, &ip) && str_has(inside, ':') == v6;
}

bool
address_domain_ok(struct str domain)
{
	struct str label, rest = domain;
	bool utf8 = false;

	if (domain.len == 0 || domain.len > DOMAIN_MAX || !octets_ok(domain, &utf8))
		return false;
	if (domain.p[0] == '[')
		return domain.len > 2 && domain.p[domain.len - 1] == ']' &&
		    literal_ok(domain);
	if (domain.p[domain.len - 1] == '.')
		return false;
	while (str_cut(&rest, '.', &label)) {
		if (!label_ok(label))
			return false;
	}
	return true;
}

/* The octet behind the quoted string that in begins with, 0: its end is missing. */
static size_t
quoted_end(struct str in)
{
	for (size_t i = 1; i < in.len; i++) {
		if (in.p[i] == '\\')
			i++;
		else if (in.p[i] == '"')
			return i + 1;
	}
	return 0;
}

/* Local part at the front of in; its length, 0 with err set. */
static size_t
local_len(struct str in, struct err *err)
{
	size_t i = 0;

	if (in.len > 0 && in.p[0] == '"') {
		i = quoted_end(in);
		if (i == 0)
			err_set(err, "address with an unbalanced quote");
		else if (i == 2) {
			err_set(err, "address with an empty local part");
			i = 0;
		}
		return i;
	}
	while (i < in.len && (is_atext(in.p[i]) || in.p[i] == '.'))
		i++;
	if (i == 0)
		err_set(err, "address with an empty local part");
	return i;
}

/* Mailbox = Local-part [ "@" Domain ], nothing behind. */
static int
parse_mailbox(struct str in, struct address *out, struct err *err)
{
	size_t len = local_len(in, err);

	if (len == 0)
		return -1;
	out->whole = in;
	out->local = str_sub(in, 0, len);
	out->domain = str_sub(in, len, len);
	if (len == in.len)
		return 0;
	if (in.p[len] != '@')
		return err_set(err,
		    "address with octet 0x%02x, expected '@' or the end",
		    (unsigned char)in.p[len]);
	out->domain = str_sub(in, len + 1, in.len);
	if (!address_domain_ok(out->domain))
		return err_set(err, "address with a bad domain");
	return 0;
}

/* A source route "@a,@b:" is to be ignored (RFC 5321 4.1.1.3, appendix C). */
static int
skip_route(struct str *in, struct err *err)
{
	ptrdiff_t colon = 0;
	struct str route, hop;

	if (in->len == 0 || in->p[0] != '@')
		return 0;
	bool literal = false; /* the colons of [IPv6:...] end no route */

	for (size_t i = 0; i < in->len && colon == 0; i++) {
		if (in->p[i] == '[' || in->p[i] == ']')
			literal = in->p[i] == '[';
		else if (in->p[i] == ':' && !literal)
			colon = (ptrdiff_t)i;
	}
	if (colon == 0)
		return err_set(err, "source route without ':'");
	route = str_sub(*in, 0, (size_t)colon);
	*in = str_sub(*in, (size_t)colon + 1, in->len);
	while (str_cut(&route, ',', &hop)) {
		if (hop.len < 2 || hop.p[0] != '@' ||
		    !address_domain_ok(str_sub(hop, 1, hop.len)))
			return err_set(err, "source route with a bad domain");
	}
	return 0;
}

int
address_parse(struct str in, struct address *out, struct err *err)
{
	*out = (struct address){ 0 };
	if (in.len > ADDRESS_MAX)
		return err_set(err, "address over %d octets", ADDRESS_MAX);
	if (in.len == 0)
		return err_set(err, "no address, expected <local@domain>");
	if (!octets_ok(in, &out->utf8))
		return err_set(err, "address with control octets or broken UTF-8");
	if (in.p[0] == '<') {
		if (in.len < 2 || in.p[in.len - 1] != '>')
			return err_set(
			    err, "address begins with '<' but does not end in '>'");
		in = str_sub(in, 1, in.len - 1);
		if (in.len == 0) {
			out->null = true;
			out->whole = out->local = out->domain = in;
			return 0;
		}
	}
	if (skip_route(&in, err) != 0)
		return -1;
	out->utf8 = false; /* that of the route does not count */
	(void)octets_ok(in, &out->utf8);
	return parse_mailbox(in, out, err);
}

bool
address_local_unquote(struct str local, char *out, size_t size, size_t *len)
{
	bool quoted = local.len >= 2 && local.p[0] == '"';
	size_t end = quoted ? local.len - 1 : local.len;

	*len = 0;
	for (size_t i = quoted ? 1 : 0; i < end; i++) {
		if (quoted && local.p[i] == '\\' && i + 1 < end)
			i++;
		if (*len == size)
			return false;
		out[(*len)++] = local.p[i];
	}
	return true;
}

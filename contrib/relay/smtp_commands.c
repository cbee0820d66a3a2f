/* SPDX-License-Identifier: BSD-2-Clause */
/* EHLO keywords (RFC 5321 4.1.1.1) read, commands written.  XFORWARD as Postfix'
 * document XFORWARD_README has it: values in xtext, [UNAVAILABLE] for what is not
 * known. */
#include "contrib/relay/smtp_commands.h"

#include <stdio.h>

#define XFORWARD_VALUE_MAX 255 /* octets of a value before xtext */

static const struct attribute {
	const char *name;
	unsigned bit;
	int part;
} attributes[] = {
	{ "NAME", XFORWARD_NAME, 0 },
	{ "ADDR", XFORWARD_ADDR, 0 },
	{ "PORT", XFORWARD_PORT, 0 },
	{ "PROTO", XFORWARD_PROTO, 1 },
	{ "HELO", XFORWARD_HELO, 1 },
	{ "IDENT", XFORWARD_IDENT, 1 },
	{ "SOURCE", XFORWARD_SOURCE, 1 },
};
enum { ATTRIBUTES = sizeof(attributes) / sizeof(attributes[0]) };

static unsigned
read_attributes(struct str rest)
{
	struct str word;
	unsigned bits = 0;

	while (str_word(&rest, &word))
		for (size_t i = 0; i < ATTRIBUTES; i++)
			if (str_is_nocase(word, attributes[i].name))
				bits |= attributes[i].bit;
	return bits;
}

void
smtp_offer_read(struct str text, struct smtp_offer *out)
{
	struct str line, word;

	*out = (struct smtp_offer){ 0 };
	if (!str_cut(&text, '\n', &line))
		return;
	while (str_cut(&text, '\n', &line)) {
		if (!str_word(&line, &word))
			continue;
		if (str_is_nocase(word, "PIPELINING")) {
			out->pipelining = true;
		} else if (str_is_nocase(word, "8BITMIME")) {
			out->eight_bit = true;
		} else if (str_is_nocase(word, "SIZE")) {
			out->size = true;
			if (!str_word(&line, &word) ||
			    !str_to_uint(word, 0, UINT64_MAX, &out->size_max))
				out->size_max = 0;
		} else if (str_is_nocase(word, "XFORWARD")) {
			out->xforward |= read_attributes(line);
		}
	}
}

void
smtp_xtext(struct buf *out, struct str value)
{
	for (size_t i = 0; i < value.len; i++) {
		unsigned char c = (unsigned char)value.p[i];

		if (c <= ' ' || c > '~' || c == '+' || c == '=')
			buf_addf(out, "+%02X", c);
		else
			buf_add_char(out, (char)c);
	}
}

void
smtp_mail_command(struct buf *out, const struct envelope *e,
    const struct smtp_offer *offer, uint64_t size)
{
	buf_addf(out, "MAIL FROM:<%s>", e->sender);
	if (offer->size)
		buf_addf(out, " SIZE=%llu", (unsigned long long)size);
	if (offer->eight_bit && e->body_8bit)
		buf_add_cstr(out, " BODY=8BITMIME");
	buf_add_cstr(out, "\r\n");
}

void
smtp_rcpt_command(struct buf *out, const char *address)
{
	buf_addf(out, "RCPT TO:<%s>\r\n", address);
}

static struct str
attribute_value(const struct envelope *e, unsigned bit, char *scratch, size_t size)
{
	char ip[IP_TEXT_MAX];
	struct str value = STR("");

	switch ((enum smtp_xforward)bit) {
	case XFORWARD_NAME:
		/* "[192.0.2.1]" is our notation for a client without a name. */
		value = str_of(e->client_name);
		return value.len > 0 && value.p[0] == '[' ? STR("") : value;
	case XFORWARD_ADDR:
		snprintf(scratch, size, "%s%s",
		    e->client.family == AF_INET6 ? "IPV6:" : "",
		    ip_format(&e->client, ip));
		return e->client.family == 0 ? STR("") : str_of(scratch);
	case XFORWARD_PORT:
		snprintf(scratch, size, "%u", e->client_port);
		return e->client_port == 0 ? STR("") : str_of(scratch);
	case XFORWARD_PROTO:
		return str_of(e->proto);
	case XFORWARD_HELO:
		return str_of(e->helo);
	case XFORWARD_IDENT:
		return str_of(e->id);
	case XFORWARD_SOURCE:
		return ip_is_loopback(&e->client) ? STR("LOCAL") : STR("REMOTE");
	}
	return value;
}

bool
smtp_xforward_command(
    struct buf *out, const struct envelope *e, unsigned offered, int part)
{
	char scratch[64];
	bool any = false;

	for (size_t i = 0; i < ATTRIBUTES; i++) {
		if (attributes[i].part != part || (offered & attributes[i].bit) == 0)
			continue;
		struct str value =
		    attribute_value(e, attributes[i].bit, scratch, sizeof(scratch));

		buf_addf(out, "%s%s=", any ? " " : "XFORWARD ", attributes[i].name);
		if (value.len == 0 || value.len > XFORWARD_VALUE_MAX)
			buf_add_cstr(out, "[UNAVAILABLE]");
		else
			smtp_xtext(out, value);
		any = true;
	}
	if (any)
		buf_add_cstr(out, "\r\n");
	return any;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* Packets of the milter protocol.  The protocol has no RFC; what stands here was
 * measured on sendmail 8.17 and Postfix 3.7 (tests/vectors/milter).  Reading never
 * trusts a length or a NUL of the peer; which packet is allowed when is the business of
 * the callers. */
#include "common/mail/milter_wire.h"

#include <string.h>

#define PACKET_HEAD 4 /* the length word; it counts the command octet too */

static uint32_t
u32_of(const char *p)
{
	const unsigned char *u = (const unsigned char *)p;

	return (uint32_t)u[0] << 24 | (uint32_t)u[1] << 16 | (uint32_t)u[2] << 8 | u[3];
}

enum parse
milter_packet_read(struct str in, uint32_t max, struct milter_packet *packet,
    size_t *used, struct err *err)
{
	if (in.len < PACKET_HEAD)
		return PARSE_MORE;
	uint32_t len = u32_of(in.p);

	if (len == 0)
		return err_set(
		    err, "milter packet of length 0, expected a command octet");
	if (len > max)
		return err_set(
		    err, "milter packet of %u octets, expected at most %u", len, max);
	if (in.len - PACKET_HEAD < len)
		return PARSE_MORE;
	packet->cmd = in.p[PACKET_HEAD];
	packet->payload = (struct str){ in.p + PACKET_HEAD + 1, len - 1 };
	*used = PACKET_HEAD + (size_t)len;
	return PARSE_DONE;
}

/* Head of a packet whose payload of len octets follows; makes room for all of it, so
 * that a packet goes in whole or not at all. */
static int
packet_begin(struct buf *out, char cmd, size_t len)
{
	if (len >= UINT32_MAX || buf_reserve(out, PACKET_HEAD + 1 + len) == NULL) {
		out->failed = true;
		return -1;
	}
	buf_add_u32(out, (unsigned long)len + 1);
	return buf_add_char(out, cmd);
}

int
milter_packet_write(struct buf *out, char cmd, struct str payload)
{
	if (packet_begin(out, cmd, payload.len) != 0)
		return -1;
	return buf_add_str(out, payload);
}

int
milter_string(struct str *payload, struct str *out)
{
	const char *nul =
	    payload->len == 0 ? NULL : memchr(payload->p, '\0', payload->len);

	if (nul == NULL)
		return -1;
	*out = (struct str){ payload->p, (size_t)(nul - payload->p) };
	*payload = str_sub(*payload, out->len + 1, payload->len);
	return 0;
}

int
milter_u32(struct str *payload, uint32_t *out)
{
	if (payload->len < 4)
		return -1;
	*out = u32_of(payload->p);
	*payload = str_sub(*payload, 4, payload->len);
	return 0;
}

int
milter_optneg_read(struct str payload, struct milter_optneg *o, struct err *err)
{
	*o = (struct milter_optneg){ 0 };
	if (milter_u32(&payload, &o->version) != 0 ||
	    milter_u32(&payload, &o->actions) != 0 ||
	    milter_u32(&payload, &o->protocol) != 0)
		return err_set(err, "negotiation answer is shorter than 12 octets");
	while (payload.len > 0) {
		uint32_t stage;
		struct str names;

		if (milter_u32(&payload, &stage) != 0)
			return err_set(err, "macro list without a stage number");
		if (stage >= MILTER_STAGES)
			return err_set(err, "macro list for stage %u, expected 0 to %d",
			    stage, MILTER_STAGES - 1);
		if (milter_string(&payload, &names) != 0)
			return err_set(
			    err, "macro list for stage %u does not end in NUL", stage);
		o->has_list[stage] = true;
		o->macros[stage] = names;
	}
	return 0;
}

int
milter_optneg_write(struct buf *out, const struct milter_optneg *o)
{
	size_t len = 12;

	for (unsigned s = 0; s < MILTER_STAGES; s++) {
		if (o->has_list[s])
			len += 4 + o->macros[s].len + 1;
	}
	if (packet_begin(out, MILTER_OPTNEG, len) != 0)
		return -1;
	buf_add_u32(out, o->version);
	buf_add_u32(out, o->actions);
	buf_add_u32(out, o->protocol);
	for (unsigned s = 0; s < MILTER_STAGES; s++) {
		if (!o->has_list[s])
			continue;
		buf_add_u32(out, s);
		buf_add_str(out, o->macros[s]);
		buf_add_char(out, '\0');
	}
	return 0;
}

int
milter_connect_write(
    struct buf *out, struct str host, const struct ip *ip, uint16_t port)
{
	char text[IP_TEXT_MAX] = "";
	char family = 'U';

	if (str_has(host, '\0'))
		return -1;
	if (ip != NULL && ip->family != 0) {
		/* IPv6 goes out as Postfix writes it; libmilter reads it with and
		 * without sendmail's "IPv6:". */
		ip_format(ip, text);
		family = ip->family == AF_INET6 ? '6' : '4';
	}
	size_t address = family == 'U' ? 0 : 2 + strlen(text) + 1;

	if (packet_begin(out, MILTER_CONNECT, host.len + 2 + address) != 0)
		return -1;
	buf_add_str(out, host);
	buf_add_char(out, '\0');
	buf_add_char(out, family);
	if (family != 'U') {
		buf_add_u16(out, port);
		buf_add(out, text, strlen(text) + 1);
	}
	return 0;
}

int
milter_connect_read(struct str payload, struct milter_connect *c, struct err *err)
{
	*c = (struct milter_connect){ 0 };
	if (milter_string(&payload, &c->host) != 0)
		return err_set(err, "connect packet without a host name");
	if (payload.len == 0)
		return err_set(err, "connect packet without a family");
	c->family = payload.p[0];
	payload = str_sub(payload, 1, payload.len);
	if (c->family == 'U')
		return 0;
	if (c->family != '4' && c->family != '6' && c->family != 'L')
		return err_set(err,
		    "connect packet of family 0x%02x, expected 4, 6, L or U",
		    (unsigned char)c->family);
	if (payload.len < 2)
		return err_set(err, "connect packet without a port");
	c->port =
	    (uint16_t)((unsigned char)payload.p[0] << 8 | (unsigned char)payload.p[1]);
	payload = str_sub(payload, 2, payload.len);
	if (milter_string(&payload, &c->address) != 0)
		return err_set(err, "connect packet whose address does not end in NUL");
	return 0;
}

/* Octets of n strings with their NULs; -1 when one of them holds a NUL itself, because
 * the peer would read it as two. */
static int
strings_len(const struct str *strings, size_t n, size_t *len)
{
	for (size_t i = 0; i < n; i++) {
		if (str_has(strings[i], '\0') ||
		    __builtin_add_overflow(*len, strings[i].len + 1, len))
			return -1;
	}
	return 0;
}

static void
strings_add(struct buf *out, const struct str *strings, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		buf_add_str(out, strings[i]);
		buf_add_char(out, '\0');
	}
}

int
milter_strings_write(struct buf *out, char cmd, const struct str *strings, size_t n)
{
	size_t len = 0;

	if (strings_len(strings, n, &len) != 0 || packet_begin(out, cmd, len) != 0)
		return -1;
	strings_add(out, strings, n);
	return 0;
}

int
milter_header_write(
    struct buf *out, char cmd, uint32_t index, struct str name, struct str value)
{
	const struct str strings[] = { name, value };
	size_t len = 4;

	if (strings_len(strings, 2, &len) != 0 || packet_begin(out, cmd, len) != 0)
		return -1;
	buf_add_u32(out, index);
	strings_add(out, strings, 2);
	return 0;
}

int
milter_macros_write(struct buf *out, char cmd, const struct str *pairs, size_t n)
{
	size_t len = 1;

	if (strings_len(pairs, 2 * n, &len) != 0 ||
	    packet_begin(out, MILTER_MACRO, len) != 0)
		return -1;
	buf_add_char(out, cmd);
	strings_add(out, pairs, 2 * n);
	return 0;
}

/* "x.yyy.zzz" (RFC 3463 2) at the front of s, ended by a blank or the end; its length
 * or 0. */
static size_t
enhanced_len(struct str s)
{
	size_t i = 0;

	for (int part = 0; part < 3; part++) {
		size_t start = i;

		while (i < s.len && i - start < 3 && ascii_digit(s.p[i]))
			i++;
		if (i == start || (part == 0 && i != 1))
			return 0;
		if (part < 2 && (i == s.len || s.p[i++] != '.'))
			return 0;
	}
	return i == s.len || s.p[i] == ' ' ? i : 0;
}

/* "ddd" with d = 4 or 5 in front, then a blank, a dash or the end. */
static bool
reply_code(struct str line, int *code)
{
	if (line.len < 3 || (line.p[0] != '4' && line.p[0] != '5') ||
	    !ascii_digit(line.p[1]) || !ascii_digit(line.p[2]))
		return false;
	*code = (line.p[0] - '0') * 100 + (line.p[1] - '0') * 10 + (line.p[2] - '0');
	return line.len == 3 || line.p[3] == ' ' || line.p[3] == '-';
}

/* sendmail expands macros in this text, so filters write "%%" for a percent sign; a
 * single one is dropped, as Postfix does. */
static void
add_undoubled(struct buf *text, struct str line)
{
	for (size_t i = 0; i < line.len; i++) {
		if (line.p[i] == '%' && (++i == line.len || line.p[i] != '%'))
			i--;
		else
			buf_add_char(text, line.p[i]);
	}
}

int
milter_replycode_read(
    struct str payload, int *code, char enhanced[12], struct buf *text, struct err *err)
{
	struct str all = payload, line;
	bool first = true;

	if (milter_string(&payload, &all) != 0)
		all = payload; /* both MTAs take it without its NUL */
	if (!reply_code(all, code))
		return err_set(err, "reply text does not start with a code 400 to 599");
	enhanced[0] = '\0';
	for (struct str rest = all; str_cut(&rest, '\n', &line); first = false) {
		int again;

		if (line.len > 0 && line.p[line.len - 1] == '\r')
			line.len--;
		if (reply_code(line, &again) && again == *code)
			line = str_sub(line, 4, line.len);
		size_t len = enhanced_len(line);

		if (len > 0 && len < 12 && first) {
			if (line.p[0] - '0' != *code / 100)
				return err_set(err,
				    "reply %d with an enhanced code of another class",
				    *code);
			memcpy(enhanced, line.p, len);
			enhanced[len] = '\0';
		}
		if (len > 0 && str_eq(str_sub(line, 0, len), str_of(enhanced)))
			line = str_sub(line, len + 1, line.len);
		if (!first)
			buf_add_char(text, '\n');
		add_undoubled(text, line);
	}
	return 0;
}

/* One row per step: the bit that leaves it out, the bit that leaves it unanswered. */
static const struct step {
	char cmd;
	uint32_t no, nr;
} steps[] = {
	{ MILTER_CONNECT, MILTER_P_NOCONNECT, MILTER_P_NR_CONN },
	{ MILTER_HELO, MILTER_P_NOHELO, MILTER_P_NR_HELO },
	{ MILTER_MAIL, MILTER_P_NOMAIL, MILTER_P_NR_MAIL },
	{ MILTER_RCPT, MILTER_P_NORCPT, MILTER_P_NR_RCPT },
	{ MILTER_DATA, MILTER_P_NODATA, MILTER_P_NR_DATA },
	{ MILTER_HEADER, MILTER_P_NOHDRS, MILTER_P_NR_HDR },
	{ MILTER_EOH, MILTER_P_NOEOH, MILTER_P_NR_EOH },
	{ MILTER_BODY, MILTER_P_NOBODY, MILTER_P_NR_BODY },
	{ MILTER_UNKNOWN, MILTER_P_NOUNKNOWN, MILTER_P_NR_UNKN },
	{ MILTER_OPTNEG, 0, 0 },
	{ MILTER_EOM, 0, 0 },
};

static const struct step *
step_of(char cmd)
{
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		if (steps[i].cmd == cmd)
			return &steps[i];
	}
	return NULL;
}

bool
milter_step_sent(uint32_t protocol, char cmd)
{
	const struct step *step = step_of(cmd);

	return step == NULL || (protocol & step->no) == 0;
}

bool
milter_step_answered(uint32_t protocol, char cmd)
{
	const struct step *step = step_of(cmd);

	return step != NULL && (protocol & step->nr) == 0;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* Judges names and addresses by their looks; asks nobody. */
#include "milters/access/access_names.h"

#include <stdio.h>
#include <string.h>

#define LABEL_MAX 63
#define NAME_MAX_ 255

static bool
is_host_name(struct str name)
{
	struct str label = { NULL, 0 };
	bool digits = false;

	if (name.len > 0 && name.p[name.len - 1] == '.')
		name.len--;
	if (name.len == 0 || name.len > NAME_MAX_)
		return false;
	while (name.p != NULL) {
		str_cut(&name, '.', &label);
		if (label.len == 0 || label.len > LABEL_MAX || label.p[0] == '-' ||
		    label.p[label.len - 1] == '-')
			return false;
		digits = true;
		for (size_t i = 0; i < label.len; i++) {
			char c = label.p[i];

			/* the underscore is not right, but common */
			if (!ascii_alnum(c) && c != '-' && c != '_')
				return false;
			digits = digits && ascii_digit(c);
		}
	}
	return !digits; /* an address without brackets, or a number */
}

/* [192.0.2.1] or [IPv6:2001:db8::1] */
static bool
is_literal(struct str helo, struct ip *ip)
{
	if (helo.len < 3 || helo.p[0] != '[' || helo.p[helo.len - 1] != ']')
		return false;
	struct str inner = str_sub(helo, 1, helo.len - 1);
	bool six = str_starts_nocase(inner, STR("IPv6:"));
	if (six)
		inner = str_sub(inner, 5, inner.len);
	return str_has(inner, ':') == six && ip_parse(inner, ip);
}

static bool
is_own_name(struct str name, const struct helo_own *own)
{
	if (name.len > 0 && name.p[name.len - 1] == '.')
		name.len--;
	for (size_t i = 0; i < own->n_names; i++)
		if (own->names[i][0] != '\0' && str_is_nocase(name, own->names[i]))
			return true;
	return false;
}

static bool
is_own_ip(const struct ip *ip, const struct helo_own *own)
{
	struct ip word;

	if (ip_is_loopback(ip))
		return true; /* nobody else is at our loopback address */
	for (size_t i = 0; i < own->n_ips; i++)
		if (ip_eq(ip, &own->ips[i]))
			return true;
	for (size_t i = 0; i < own->n_names; i++)
		if (ip_parse(str_of(own->names[i]), &word) && ip_eq(ip, &word))
			return true;
	return false;
}

enum helo_fault
access_helo(struct str helo, const struct helo_own *own, const char *confirmed)
{
	struct ip ip;

	/* an address without brackets may be ours as well */
	bool literal = is_literal(helo, &ip);
	if (literal || ip_parse(helo, &ip)) {
		if (is_own_ip(&ip, own))
			return HELO_FORGED;
		return literal ? HELO_GOOD : HELO_SYNTAX;
	}
	if (!is_host_name(helo))
		return HELO_SYNTAX;
	if (is_own_name(helo, own) && !str_is_nocase(helo, confirmed))
		return HELO_FORGED;
	ptrdiff_t dot = str_index(helo, '.');
	return dot < 0 || (size_t)dot + 1 == helo.len ? HELO_UNQUALIFIED : HELO_GOOD;
}

/* ---- names made of addresses ---- */

/* The numbers of the name in a row: are four of them these octets? */
static bool
has_octets(const char *name, const uint8_t octets[4])
{
	unsigned run[4] = { 1000, 1000, 1000, 1000 };

	for (const char *p = name; *p != '\0';) {
		unsigned n = 0;
		size_t digits = 0;

		for (; ascii_digit(*p); p++, digits++)
			n = n > 999 ? 1000 : n * 10 + (unsigned)(*p - '0');
		if (digits == 0) {
			p++;
			continue;
		}
		memmove(run, run + 1, 3 * sizeof(run[0]));
		run[3] = n;
		if (run[0] == octets[0] && run[1] == octets[1] && run[2] == octets[2] &&
		    run[3] == octets[3])
			return true;
	}
	return false;
}

static bool
holds(const char *name, const char *part)
{
	return strcasestr(name, part) != NULL;
}

static bool
is_generic4(const char *name, const uint8_t b[4])
{
	const uint8_t back[4] = { b[3], b[2], b[1], b[0] };
	char text[16];

	if (has_octets(name, b) || has_octets(name, back))
		return true;
	snprintf(text, sizeof(text), "%03u%03u%03u%03u", b[0], b[1], b[2], b[3]);
	if (holds(name, text))
		return true;
	snprintf(text, sizeof(text), "%03u%03u%03u%03u", b[3], b[2], b[1], b[0]);
	if (holds(name, text))
		return true;
	snprintf(text, sizeof(text), "%02x%02x%02x%02x", b[0], b[1], b[2], b[3]);
	return holds(name, text);
}

/* The lower half, its groups with or without leading zeros and marks between. */
static bool
is_generic6(const char *name, const uint8_t b[16])
{
	char digits[300], want[17];
	size_t n = 0;
	char groups[40];

	for (const char *p = name; *p != '\0' && n + 1 < sizeof(digits); p++)
		if (*p != '-' && *p != '.' && *p != '_')
			digits[n++] = *p;
	digits[n] = '\0';
	for (int i = 0; i < 8; i++)
		snprintf(want + 2 * i, 3, "%02x", b[8 + i]);
	snprintf(groups, sizeof(groups), "%x-%x-%x-%x", (unsigned)(b[8] << 8 | b[9]),
	    (unsigned)(b[10] << 8 | b[11]), (unsigned)(b[12] << 8 | b[13]),
	    (unsigned)(b[14] << 8 | b[15]));
	return holds(digits, want) || holds(name, groups);
}

bool
access_name_is_generic(const char *name, const struct ip *ip)
{
	if (name[0] == '\0' || name[0] == '[')
		return false;
	if (ip->family == AF_INET)
		return is_generic4(name, ip->b);
	return ip->family == AF_INET6 && is_generic6(name, ip->b);
}

/* ---- addresses ---- */

bool
access_ip_is_private(const struct ip *ip)
{
	static const char *const nets[] = { "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10",
		"127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16",
		"224.0.0.0/4", "240.0.0.0/4", "::/128", "::1/128", "fc00::/7",
		"fe80::/10", "ff00::/8" };
	struct ipnet net;

	for (size_t i = 0; i < sizeof(nets) / sizeof(nets[0]); i++)
		if (ipnet_parse(str_of(nets[i]), &net) && ipnet_contains(&net, ip))
			return true;
	return false;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* Judges names and addresses by their looks; asks nobody. */
#include "milters/access/access_names.h"

#include "policy/client_name.h"

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

bool
access_name_is_generic(const char *name, const struct ip *ip)
{
	return name[0] != '[' && client_name_has_address(str_of(name), ip);
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

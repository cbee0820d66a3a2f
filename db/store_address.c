/* SPDX-License-Identifier: BSD-2-Clause */
/* The words by which settings name a Redis server and its keys.  Apart from the engine,
 * so that a program can read settings without linking what connects. */
#include "db/store_address.h"

#include <stdio.h>

#include "common/base/ip.h"

#define PORT_DEFAULT 6379

bool
store_address_parse(struct str s, struct store_address *out)
{
	struct store_address a = { .port = PORT_DEFAULT };
	ptrdiff_t colon = str_rindex(s, ':');
	uint64_t port;
	struct ip ip;

	if (str_starts(s, STR("unix:")))
		s = str_sub(s, 5, s.len);
	if (s.len > 0 && s.p[0] == '/') {
		if (s.len < 2 || s.len >= sizeof(a.path) || str_has(s, '\0'))
			return false;
		memcpy(a.path, s.p, s.len);
	} else if (ip_parse(s, &ip)) {
		ip_format(&ip, a.ip);
	} else if (colon > 0 && ip_parse(str_sub(s, 0, (size_t)colon), &ip) &&
	    (ip.family == AF_INET || s.p[0] == '[') &&
	    str_to_uint(str_sub(s, (size_t)colon + 1, s.len), 1, 65535, &port)) {
		ip_format(&ip, a.ip);
		a.port = (uint16_t)port;
	} else {
		return false;
	}
	if (out != NULL)
		*out = a;
	return true;
}

bool
store_address_of(struct str ip_text, struct str port_text, struct store_address *out)
{
	struct store_address a = { .port = 0 };
	uint64_t port;
	struct ip ip;

	if (!ip_parse(ip_text, &ip) || !str_to_uint(port_text, 1, 65535, &port))
		return false;
	ip_format(&ip, a.ip);
	a.port = (uint16_t)port;
	*out = a;
	return true;
}

bool
store_address_same(const struct store_address *a, const struct store_address *b)
{
	return strcmp(a->path, b->path) == 0 && strcmp(a->ip, b->ip) == 0 &&
	    a->port == b->port;
}

const char *
store_address_format(const struct store_address *a, char text[STORE_ADDRESS_TEXT])
{
	if (a->path[0] != '\0')
		snprintf(text, STORE_ADDRESS_TEXT, "%s", a->path);
	else
		snprintf(text, STORE_ADDRESS_TEXT,
		    strchr(a->ip, ':') != NULL ? "[%s]:%u" : "%s:%u", a->ip, a->port);
	return text;
}

bool
store_prefix_good(struct str s)
{
	for (size_t i = 0; i < s.len; i++)
		if (!ascii_alnum(s.p[i]) && strchr("._-", s.p[i]) == NULL)
			return false;
	return s.len > 0 && s.len <= STORE_PREFIX_MAX && !str_has(s, '\0');
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* IP addresses and networks: text, sockets, masks. */
#include "common/base/ip.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>

static const uint8_t mapped[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };

static void
set_v6(struct ip *ip, const void *octets)
{
	*ip = (struct ip){ .family = AF_INET6 };
	memcpy(ip->b, octets, 16);
	if (memcmp(ip->b, mapped, sizeof(mapped)) == 0) {
		uint8_t v4[4];

		memcpy(v4, ip->b + 12, 4);
		*ip = (struct ip){ .family = AF_INET };
		memcpy(ip->b, v4, 4);
	}
}

bool
ip_parse(struct str s, struct ip *ip)
{
	char text[IP_TEXT_MAX];
	uint8_t octets[16];

	if (s.len >= 2 && s.p[0] == '[' && s.p[s.len - 1] == ']')
		s = str_sub(s, 1, s.len - 1);
	if (str_starts_nocase(s, STR("IPv6:")))
		s = str_sub(s, 5, s.len);
	if (s.len == 0 || s.len >= sizeof(text) || str_has(s, '\0'))
		return false;
	memcpy(text, s.p, s.len);
	text[s.len] = '\0';
	if (inet_pton(AF_INET, text, octets) == 1) {
		*ip = (struct ip){ .family = AF_INET };
		memcpy(ip->b, octets, 4);
		return true;
	}
	if (inet_pton(AF_INET6, text, octets) != 1)
		return false;
	set_v6(ip, octets);
	return true;
}

bool
ip_from_sockaddr(const struct sockaddr *sa, struct ip *ip, uint16_t *port)
{
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;

	if (sa == NULL)
		return false;
	if (sa->sa_family == AF_INET) {
		memcpy(&v4, sa, sizeof(v4));
		*ip = (struct ip){ .family = AF_INET };
		memcpy(ip->b, &v4.sin_addr, 4);
		*port = ntohs(v4.sin_port);
		return true;
	}
	if (sa->sa_family == AF_INET6) {
		memcpy(&v6, sa, sizeof(v6));
		set_v6(ip, &v6.sin6_addr);
		*port = ntohs(v6.sin6_port);
		return true;
	}
	return false;
}

socklen_t
ip_to_sockaddr(const struct ip *ip, uint16_t port, struct sockaddr_storage *sa)
{
	memset(sa, 0, sizeof(*sa));
	if (ip->family == AF_INET) {
		struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons(port) };

		memcpy(&v4.sin_addr, ip->b, 4);
		memcpy(sa, &v4, sizeof(v4));
		return sizeof(v4);
	}
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = htons(port) };

	memcpy(&v6.sin6_addr, ip->b, 16);
	memcpy(sa, &v6, sizeof(v6));
	return sizeof(v6);
}

const char *
ip_format(const struct ip *ip, char out[IP_TEXT_MAX])
{
	if (ip->family == 0 || inet_ntop(ip->family, ip->b, out, IP_TEXT_MAX) == NULL)
		out[0] = '\0';
	return out;
}

static unsigned
width(const struct ip *ip)
{
	return ip->family == AF_INET6 ? 128 : 32;
}

bool
ip_eq(const struct ip *a, const struct ip *b)
{
	return a->family == b->family && memcmp(a->b, b->b, width(a) / 8) == 0;
}

struct ipnet
ip_mask(const struct ip *ip, unsigned prefix)
{
	struct ipnet net = { .ip = *ip, .prefix = prefix };

	if (net.prefix > width(ip))
		net.prefix = width(ip);
	for (unsigned bit = net.prefix; bit < 128; bit++)
		net.ip.b[bit / 8] &= (uint8_t) ~(0x80u >> (bit % 8));
	return net;
}

bool
ipnet_parse(struct str s, struct ipnet *net)
{
	struct ip ip;
	uint64_t prefix;
	ptrdiff_t slash = str_rindex(s, '/');

	if (slash < 0) {
		if (!ip_parse(s, &ip))
			return false;
		*net = ip_mask(&ip, 128);
		return true;
	}
	if (!ip_parse(str_sub(s, 0, (size_t)slash), &ip) ||
	    !str_to_uint(str_sub(s, (size_t)slash + 1, s.len), 0, width(&ip), &prefix))
		return false;
	*net = ip_mask(&ip, (unsigned)prefix);
	return ip_eq(&net->ip, &ip);
}

bool
ipnet_contains(const struct ipnet *net, const struct ip *ip)
{
	if (net->ip.family != ip->family)
		return false;
	struct ipnet masked = ip_mask(ip, net->prefix);

	return ip_eq(&masked.ip, &net->ip);
}

const char *
ipnet_format(const struct ipnet *net, char out[IP_TEXT_MAX + 4])
{
	char text[IP_TEXT_MAX];

	snprintf(out, IP_TEXT_MAX + 4, "%s/%u", ip_format(&net->ip, text), net->prefix);
	return out;
}

bool
ip_is_loopback(const struct ip *ip)
{
	static const uint8_t one[16] = { [15] = 1 };

	if (ip->family == AF_INET)
		return ip->b[0] == 127;
	return ip->family == AF_INET6 && memcmp(ip->b, one, 16) == 0;
}

const char *
ip_reverse(const struct ip *ip, char out[64])
{
	static const char hex[] = "0123456789abcdef";
	size_t at = 0;

	if (ip->family == AF_INET) {
		snprintf(out, 64, "%u.%u.%u.%u", ip->b[3], ip->b[2], ip->b[1], ip->b[0]);
		return out;
	}
	for (int i = 15; i >= 0; i--) {
		out[at++] = hex[ip->b[i] & 15];
		out[at++] = '.';
		out[at++] = hex[ip->b[i] >> 4];
		out[at++] = '.';
	}
	out[at - 1] = '\0';
	return out;
}

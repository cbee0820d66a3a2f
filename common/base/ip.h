/* SPDX-License-Identifier: BSD-2-Clause */
/* IP addresses and networks.  An IPv4-mapped IPv6 address (::ffff:a.b.c.d) is the IPv4
 * address, everywhere, because a dual-stack socket reports clients so. */
#ifndef POSTERN_BASE_IP_H
#define POSTERN_BASE_IP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "common/base/str.h"

#define IP_TEXT_MAX 46 /* with NUL */

struct ip {
	int family; /* AF_INET, AF_INET6; 0: none known */
	uint8_t b[16]; /* network order; IPv4 in the first four */
};

struct ipnet {
	struct ip ip; /* host bits are zero */
	unsigned prefix;
};

/* "192.0.2.1", "2001:db8::1", "[...]" around either, and SMTP's "IPv6:" in front. */
bool ip_parse(struct str s, struct ip *ip);
bool ip_from_sockaddr(const struct sockaddr *sa, struct ip *ip, uint16_t *port);
/* Returns the length for bind() and connect(). */
socklen_t ip_to_sockaddr(const struct ip *ip, uint16_t port, struct sockaddr_storage *sa);
/* Canonical text (RFC 5952); returns out.  "" when family is 0. */
const char *ip_format(const struct ip *ip, char out[IP_TEXT_MAX]);
bool ip_eq(const struct ip *a, const struct ip *b);

/* The network of the first prefix bits. */
struct ipnet ip_mask(const struct ip *ip, unsigned prefix);

/* "192.0.2.0/24", "2001:db8::/32", or an address (its own /32 or /128).  Host bits that
 * are set are an error: the writer meant something else. */
bool ipnet_parse(struct str s, struct ipnet *net);
bool ipnet_contains(const struct ipnet *net, const struct ip *ip);
const char *ipnet_format(const struct ipnet *net, char out[IP_TEXT_MAX + 4]);

/* 127/8, ::1 */
bool ip_is_loopback(const struct ip *ip);
/* Name for a lookup by address (RFC 5782 2.1, 2.4): "1.2.0.192" or 32 nibbles, without a
 * trailing dot.  out holds 64 octets. */
const char *ip_reverse(const struct ip *ip, char out[64]);

#endif

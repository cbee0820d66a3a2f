/* SPDX-License-Identifier: BSD-2-Clause */
/* What a name or an address tells by itself: HELO names, names made of addresses, addresses
 * that no mail on the Internet can go to.  Pure. */
#ifndef POSTERN_ACCESS_NAMES_H
#define POSTERN_ACCESS_NAMES_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/ip.h"
#include "common/base/str.h"

enum helo_fault {
	HELO_GOOD,
	HELO_SYNTAX, /* neither a host name nor [192.0.2.1], [IPv6:2001:db8::1]
	                (RFC 5321 4.1.2, 4.1.3) */
	HELO_UNQUALIFIED, /* one label */
	HELO_FORGED, /* our own name or address */
};

/* Names and addresses that only we have; words are either. */
struct helo_own {
	const char *const *names;
	size_t n_names;
	const struct ip *ips;
	size_t n_ips;
};

/* confirmed: the client's confirmed name, "" without; whoever has our name by DNS has it
 * by right. */
enum helo_fault access_helo(
    struct str helo, const struct helo_own *own, const char *confirmed);

/* Does the name hold the whole address, in any of the ways of policy/client_name.h? */
bool access_name_is_generic(const char *name, const struct ip *ip);

/* Unspecified, loopback, private (RFC 1918, 6598, 4193), link-local, multicast, reserved. */
bool access_ip_is_private(const struct ip *ip);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* Which DNS servers are asked: reads addresses with ports, and tells whether all of
 * them are on this host - their AD bit counts then, and nobody on a path can guess
 * ports. */
#include "common/net/resolver_servers.h"

#include <string.h>

#include "common/base/ip.h"
#include "common/net/resolver.h"

static bool
server_parse(struct str s, struct ip *ip, uint16_t *port)
{
	uint64_t n = 53;
	ptrdiff_t colon = str_rindex(s, ':');
	/* A lone colon, or one behind a bracket, begins a port. */
	bool with_port =
	    colon > 0 && (str_index(s, ':') == colon || s.p[colon - 1] == ']');

	if (with_port) {
		if (!str_to_uint(str_sub(s, (size_t)colon + 1, s.len), 1, 65535, &n))
			return false;
		s.len = (size_t)colon;
	}
	*port = (uint16_t)n;
	return ip_parse(s, ip);
}

bool
resolver_server_ok(struct str server)
{
	struct ip ip;
	uint16_t port;

	return server_parse(server, &ip, &port);
}

int
resolver_servers_read(
    struct resolver_servers *out, const char *const *list, size_t n, struct err *err)
{
	if (n > RESOLVER_SERVERS_MAX)
		return err_set(err, "%zu DNS servers, expected at most %d", n,
		    RESOLVER_SERVERS_MAX);
	out->local = true;
	for (size_t i = 0; i < n; i++) {
		struct ares_addr_port_node *node = &out->nodes[i];
		struct ip ip;
		uint16_t port;

		if (!server_parse(str_of(list[i]), &ip, &port))
			return err_set(err,
			    "DNS server \"%s\": expected an address, with a port as "
			    "192.0.2.53:53 or [2001:db8::53]:53",
			    list[i]);
		node->family = ip.family;
		memcpy(&node->addr, ip.b, ip.family == AF_INET ? 4 : 16);
		node->udp_port = node->tcp_port = port;
		node->next = i + 1 < n ? node + 1 : NULL;
		out->local = out->local && ip_is_loopback(&ip);
	}
	out->n = n;
	return 0;
}

void
resolver_servers_learn(struct resolver_servers *out, ares_channel channel)
{
	struct ares_addr_port_node *list = NULL;

	if (out->n > 0 || ares_get_servers_ports(channel, &list) != ARES_SUCCESS)
		return;
	for (const struct ares_addr_port_node *s = list; s != NULL; s = s->next) {
		struct ip ip = { .family = s->family };
		memcpy(ip.b, &s->addr, s->family == AF_INET ? 4 : 16);
		out->local = out->local && ip_is_loopback(&ip);
	}
	ares_free_data(list);
}

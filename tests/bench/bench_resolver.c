/* SPDX-License-Identifier: BSD-2-Clause */
/* The resolver: questions per second to a server on this host, with 1 and 64 open at a
 * time, from the cache, and joined; the C library's own resolver asks the same server
 * in the same run as the measure of the machine. */
#include <arpa/nameser.h>
#include <netinet/in.h>
#include <resolv.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/base/clock.h"
#include "common/net/resolver.h"
#include "tests/lib/dnsd.h"

#define RUN_MS 2000
#define NAMES 500
#define OPEN_MAX_AT_ONCE 64

static struct resolver *resolver;

static void
name_of(unsigned i, const char *zone, char out[64])
{
	snprintf(out, 64, "n%u.%s", i % NAMES, zone);
}

static void
settle(struct future *f)
{
	if (!future_wait(f, clock_mono_ms() + 10000) ||
	    ((const struct dns_answer *)future_value(f))->status != DNS_OK)
		exit(1);
	future_unref(f);
}

/* zone "fresh" has TTL 0: every question goes to the server. */
static double
rate(const char *zone, unsigned open, bool same)
{
	struct future *f[OPEN_MAX_AT_ONCE];
	char name[64];
	unsigned n = 0;
	int64_t begin = clock_mono_ms(), now = begin;

	while (now - begin < RUN_MS) {
		for (unsigned i = 0; i < open; i++) {
			name_of(same ? n / open : n + i, zone, name);
			f[i] = resolver_ask(resolver, str_of(name), DNS_A);
		}
		for (unsigned i = 0; i < open; i++)
			settle(f[i]);
		n += open;
		now = clock_mono_ms();
	}
	return n * 1000.0 / (double)(now - begin);
}

static double
libc_rate(uint16_t port)
{
	struct __res_state state = { 0 };
	unsigned char answer[512];
	char name[64];
	unsigned n = 0;

	if (res_ninit(&state) != 0)
		exit(1);
	state.nscount = 1;
	state.nsaddr_list[0] = (struct sockaddr_in){ .sin_family = AF_INET,
		.sin_port = htons(port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int64_t begin = clock_mono_ms(), now = begin;
	while (now - begin < RUN_MS) {
		name_of(n++, "fresh", name);
		if (res_nquery(&state, name, ns_c_in, ns_t_a, answer, sizeof(answer)) <=
		    0)
			exit(1);
		now = clock_mono_ms();
	}
	res_nclose(&state);
	return n * 1000.0 / (double)(now - begin);
}

int
main(void)
{
	char server[32];
	const char *const servers[] = { server };
	struct resolver_conf conf = { .servers = servers, .n_servers = 1 };
	struct err err = { 0 };
	struct dnsd *d = dnsd_start(
	    STR("*.fresh A 0 192.0.2.1\n*.kept A 3600 192.0.2.1\n"), 0, &err);

	if (d == NULL)
		return 1;
	snprintf(server, sizeof(server), "127.0.0.1:%u", dnsd_port(d));
	resolver = resolver_new(&conf, &err);
	if (resolver == NULL)
		return 1;
	double libc = libc_rate(dnsd_port(d));
	const struct {
		const char *what;
		double rate;
	} rows[] = {
		{ "one at a time", rate("fresh", 1, false) },
		{ "64 open", rate("fresh", 64, false) },
		{ "64 equal, joined", rate("fresh", 64, true) },
		{ "from the cache", rate("kept", 1, false) },
	};

	printf("C library, one at a time   %9.0f questions/s\n", libc);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		printf("%-26s %9.0f questions/s  %6.2f\n", rows[i].what, rows[i].rate,
		    rows[i].rate / libc);
	resolver_free(resolver);
	dnsd_stop(d);
	return 0;
}

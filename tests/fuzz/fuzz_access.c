/* SPDX-License-Identifier: BSD-2-Clause */
/* A map and an envelope, both foreign, through the whole engine.  The input is lines:
 * modes, client address, client name, sender, recipient, then the map. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/xalloc.h"
#include "milters/access/access_control.h"
#include "milters/access/access_map.h"
#include "milters/access/access_relay.h"
#include "milters/access/access_table.h"
#include "milters/access/access_value.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char *
next_line(struct str *rest)
{
	struct str line = { "", 0 };

	(void)str_cut(rest, '\n', &line);
	return xmemdup0(line.p, line.len);
}

/* Bits of the first line's octets switch the rules. */
static struct access_rules
rules_of(const char *modes)
{
	unsigned m = 0;

	for (unsigned i = 0; i < 24 && modes[i] != '\0'; i++)
		m |= (unsigned)(modes[i] == '1') << i;
	return (struct access_rules){ .delay = (enum access_delay_mode)(m & 3),
		.skip = m >> 2 & 1,
		.lookup_dot = m >> 3 & 1,
		.full_address = m >> 4 & 1,
		.blocklist_recipients = m >> 5 & 1,
		.accept_unresolvable = m >> 6 & 1,
		.accept_unqualified = m >> 7 & 1,
		.require_rdns = m >> 8 & 1,
		.bad_helo = m >> 9 & 1,
		.promiscuous = m >> 10 & 1,
		.hosts_only = m >> 11 & 1,
		.loose = m >> 12 & 1,
		.mail_from = m >> 13 & 1,
		.mail_from_domain = m >> 14 & 1,
		.uucp = (enum access_uucp)((m >> 15 & 3) % 3),
		.no_percent = m >> 17 & 1 };
}

static void
check_result(const struct access_result *r)
{
	if (r->kind != ACCESS_REFUSED)
		return;
	assert(r->verdict.code >= 400 && r->verdict.code <= 599);
	assert(
	    r->verdict.action == ACTION_REJECT || r->verdict.action == ACTION_TEMPFAIL);
	assert(r->verdict.enhanced[0] != '\0' && r->verdict.why != NULL);
	for (const char *p = r->verdict.text; *p != '\0'; p++)
		assert((unsigned char)*p >= ' ' && *p != 0x7f);
}

static void
check_all(struct access *a, const char *sender, const char *recipient)
{
	struct access_routes routes = access_rules_routes(a->rules);
	const struct access_classes *c = &a->rules->classes;
	struct access_addr to;
	struct verdict v;

	struct access_result r = access_check_relay(a);
	check_result(&r);
	a->have_sender =
	    access_addr_parse(c, routes, str_of(sender), &a->sender, &v) == 0;
	a->sender_domain = ACCESS_DOMAIN_NONE;
	r = access_check_mail(a, false);
	check_result(&r);
	if (access_addr_parse(c, routes, str_of(recipient), &to, &v) != 0)
		return;
	r = access_check_rcpt(a, &to);
	check_result(&r);
	r = access_check_delayed(a, &to);
	check_result(&r);
	(void)access_needs_dnsbl(a, &to);
	r = access_check_limit(a, ACCESS_LIMIT_RATE, 3);
	check_result(&r);
	assert(access_greet_pause(a, 0) >= 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const local[] = { "home.test", "[192.0.2.1]" };
	static const char *const relay[] = { "relayed.test", "198.51.100" };
	struct str rest = { (const char *)data, size };
	char *lines[5];

	for (int i = 0; i < 5; i++)
		lines[i] = next_line(&rest);
	char *text = xmemdup0(rest.p, rest.len);
	struct access_textmap *map = access_textmap_of(text);
	struct access_rules rules = rules_of(lines[0]);
	rules.classes = (struct access_classes){ .local = { local, 2 },
		.relay = { relay, 2 },
		.host = "mx.home.test",
		.domain = "home.test" };
	struct access a = { .rules = &rules,
		.lookup = access_textmap_lookup,
		.lookup_arg = map,
		.client = { .addr = lines[1],
		    .name = lines[2],
		    .ptr = lines[2],
		    .helo = lines[2] } };
	check_all(&a, lines[3], lines[4]);
	struct str value = rest;
	struct err err;
	(void)access_value_check(value, &err);
	access_textmap_free(map);
	free(text);
	for (int i = 0; i < 5; i++)
		free(lines[i]);
	return 0;
}

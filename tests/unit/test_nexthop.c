/* SPDX-License-Identifier: BSD-2-Clause */
/* From routes to addresses, against the tests' DNS server. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "contrib/relay/nexthop.h"
#include "tests/lib/dnsd.h"

static const char zone[] = "two.example MX 20 mx2.example\n"
			   "two.example MX 10 mx1.example\n"
			   "mx1.example A 192.0.2.1\n"
			   "mx1.example AAAA 2001:db8::1\n"
			   "mx2.example A 192.0.2.2\n"
			   "plain.example A 192.0.2.3\n"
			   "null.example MX 0 .\n"
			   "backup.example MX 10 mx1.example\n"
			   "backup.example MX 20 me.example\n"
			   "backup.example MX 30 mx2.example\n"
			   "loop.example MX 10 ME.example\n"
			   "loop.example MX 10 mx1.example\n"
			   "dead.example MX 10 gone.example\n"
			   "half.example MX 10 gone.example\n"
			   "half.example MX 20 mx2.example\n"
			   "broken.example fault servfail\n"
			   "later.example MX 10 broken.example\n"
			   "me.example A 127.0.0.1\n"
			   "example SOA 60 ns.example 30\n";

static const struct row {
	const char *name;
	enum route_kind kind;
	const char *host;
	enum nexthop_end end;
	int code;
	const char *enhanced;
	const char *targets;
} rows[] = {
	{ "by preference", ROUTE_MX, "two.example", NEXTHOP_FOUND, 0, "",
	    "192.0.2.1 2001:db8::1 192.0.2.2 " },
	{ "no MX", ROUTE_MX, "plain.example", NEXTHOP_FOUND, 0, "", "192.0.2.3 " },
	{ "null MX", ROUTE_MX, "null.example", NEXTHOP_NEVER, 556, "5.1.10", "" },
	{ "we are a backup", ROUTE_MX, "backup.example", NEXTHOP_FOUND, 0, "",
	    "192.0.2.1 2001:db8::1 " },
	{ "we are the best", ROUTE_MX, "loop.example", NEXTHOP_NEVER, 554, "5.4.6",
	    "" },
	{ "no such domain", ROUTE_MX, "nosuch.example", NEXTHOP_NEVER, 550, "5.1.2",
	    "" },
	{ "MX without address", ROUTE_MX, "dead.example", NEXTHOP_NEVER, 550, "5.4.4",
	    "" },
	{ "one MX without address", ROUTE_MX, "half.example", NEXTHOP_FOUND, 0, "",
	    "192.0.2.2 " },
	{ "MX: SERVFAIL", ROUTE_MX, "broken.example", NEXTHOP_LATER, 451, "4.4.3", "" },
	{ "address: SERVFAIL", ROUTE_MX, "later.example", NEXTHOP_LATER, 451, "4.4.3",
	    "" },
	{ "host", ROUTE_HOST, "mx1.example", NEXTHOP_FOUND, 0, "",
	    "192.0.2.1 2001:db8::1 " },
	{ "host, not its MX", ROUTE_HOST, "two.example", NEXTHOP_LATER, 451, "4.4.4",
	    "" },
	{ "host that does not exist", ROUTE_HOST, "nosuch.example", NEXTHOP_LATER, 451,
	    "4.4.4", "" },
	{ "address", ROUTE_HOST, "192.0.2.9", NEXTHOP_FOUND, 0, "", "192.0.2.9 " },
	{ "IPv6 address", ROUTE_HOST, "2001:db8::9", NEXTHOP_FOUND, 0, "",
	    "2001:db8::9 " },
	{ "not a name", ROUTE_MX, "a..b", NEXTHOP_NEVER, 550, "5.1.2", "" },
};

struct answer {
	struct event_base *base;
	int calls, code;
	enum nexthop_end end;
	char enhanced[12], targets[200];
};

static void
on_done(void *arg, const struct nexthop_result *r)
{
	struct answer *a = arg;

	a->calls++;
	a->end = r->end;
	a->code = r->code;
	snprintf(a->enhanced, sizeof(a->enhanced), "%s", r->enhanced);
	for (size_t i = 0; i < r->n_targets; i++) {
		char ip[IP_TEXT_MAX];
		size_t n = strlen(a->targets);

		ck_assert_uint_eq(r->targets[i].port, 2525);
		snprintf(a->targets + n, sizeof(a->targets) - n, "%s ",
		    ip_format(&r->targets[i].ip, ip));
	}
	event_base_loopbreak(a->base);
}

static struct resolver *
resolver_at(uint16_t port)
{
	struct err err;
	char server[32];
	const char *servers[1] = { server };

	snprintf(server, sizeof(server), "127.0.0.1:%u", port);
	struct resolver *r = resolver_new(
	    &(struct resolver_conf){ .servers = servers, .n_servers = 1 }, &err);
	ck_assert_msg(r != NULL, "%s", err.text);
	return r;
}

START_TEST(finds)
{
	const struct row *row = &rows[_i];
	struct err err;
	struct dnsd *d = dnsd_start(str_of(zone), 0, &err);
	struct event_base *base = event_base_new();
	struct answer a = { .base = base };
	struct route route = { .kind = row->kind, .port = 2525 };

	ck_assert_msg(d != NULL, "%s", err.text);
	struct resolver *r = resolver_at(dnsd_port(d));
	snprintf(route.host, sizeof(route.host), "%s", row->host);
	nexthop_start(base, r, &route, "me.example", on_done, &a);
	ck_assert_int_eq(a.calls, 0);
	event_base_dispatch(base);
	ck_assert_int_eq(a.calls, 1);
	ck_assert_msg(a.end == row->end, "%s: end %d", row->name, a.end);
	ck_assert_int_eq(a.code, row->code);
	ck_assert_str_eq(a.enhanced, row->enhanced);
	ck_assert_str_eq(a.targets, row->targets);
	resolver_free(r);
	dnsd_stop(d);
	event_base_free(base);
}
END_TEST

START_TEST(without_resolver)
{
	struct event_base *base = event_base_new();
	struct answer a = { .base = base };
	struct route route = {
		.kind = ROUTE_HOST, .host = "mx1.example", .port = 2525
	};

	nexthop_start(base, NULL, &route, "me.example", on_done, &a);
	event_base_dispatch(base);
	ck_assert_int_eq(a.end, NEXTHOP_LATER);
	event_base_free(base);
}
END_TEST

/* The answer comes after nobody waits any more. */
START_TEST(cancelled)
{
	struct err err;
	struct dnsd *d = dnsd_start(STR("slow.example fault delay 100\n"), 0, &err);
	struct event_base *base = event_base_new();
	struct answer a = { .base = base };
	struct route route = { .kind = ROUTE_MX, .host = "slow.example", .port = 2525 };
	struct resolver *r = resolver_at(dnsd_port(d));

	struct nexthop *h = nexthop_start(base, r, &route, "me.example", on_done, &a);
	event_base_loop(base, EVLOOP_NONBLOCK);
	nexthop_cancel(h);
	resolver_free(r);
	event_base_dispatch(base);
	ck_assert_int_eq(a.calls, 0);
	dnsd_stop(d);
	event_base_free(base);
}
END_TEST

/* Within one preference each host is first now and then; across them never. */
START_TEST(order)
{
	char a[] = "a.example", b[] = "b.example", c[] = "c.example",
	     own[] = "me.example";
	struct dns_record mx[] = { { .preference = 20, .name = c },
		{ .preference = 10, .name = a }, { .preference = 10, .name = b },
		{ .preference = 30, .name = own } };
	size_t out[4], first[4] = { 0 };
	bool loops;

	for (uint32_t seed = 1; seed < 200; seed++) {
		ck_assert_uint_eq(
		    nexthop_order(mx, 4, "ME.example", seed, out, &loops), 3);
		ck_assert(!loops);
		ck_assert_uint_eq(out[2], 0);
		first[out[0]]++;
	}
	ck_assert_uint_gt(first[1], 20);
	ck_assert_uint_gt(first[2], 20);
	ck_assert_uint_eq(nexthop_order(mx + 3, 1, "me.example", 1, out, &loops), 0);
	ck_assert(loops);
}
END_TEST

#define COUNT(a) ((int)(sizeof(a) / sizeof((a)[0])))

int
main(void)
{
	Suite *s = suite_create("nexthop");
	TCase *t = tcase_create("nexthop");

	tcase_set_timeout(t, 20);
	tcase_add_loop_test(t, finds, 0, COUNT(rows));
	tcase_add_test(t, without_resolver);
	tcase_add_test(t, cancelled);
	tcase_add_test(t, order);
	suite_add_tcase(s, t);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}

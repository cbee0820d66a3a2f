/* SPDX-License-Identifier: BSD-2-Clause */
/* Several DNS lists at once: who decides, and how long it takes with a slow and a
 * silent list among them. */
#include <check.h>
#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/net/resolver.h"
#include "milters/access/access_lists.h"
#include "tests/lib/dnsd.h"

#define CLIENT "203.0.113.9"
#define REVERSED "9.113.0.203"

static struct dnsd *dnsd;
static struct resolver *resolver;

static void
setup(void)
{
	char server[32];
	const char *const servers[] = { server };
	struct resolver_conf conf = {
		.servers = servers, .n_servers = 1, .timeout_ms = 1000
	};
	struct err err = { 0 };

	dnsd = dnsd_start(STR("z SOA 60 ns.z 30\n"), 0, &err);
	ck_assert_msg(dnsd != NULL, "%s", err.text);
	snprintf(server, sizeof(server), "127.0.0.1:%u", dnsd_port(dnsd));
	resolver = resolver_new(&conf, &err);
	ck_assert_msg(resolver != NULL, "%s", err.text);
}

static void
teardown(void)
{
	resolver_free(resolver);
	dnsd_stop(dnsd);
}

static bool
wait_plainly(void *arg, struct future *f, int64_t deadline_ms)
{
	(void)arg;
	return future_wait(f, deadline_ms);
}

struct outcome {
	struct access_dnsbl result;
	char zone[32];
	int64_t took_ms;
};

/* Ask n lists "l0.z", "l1.z", ... of the zone. */
static struct outcome
ask(const char *zone_text, size_t n, int64_t deadline_ms)
{
	char zones[8][32];
	struct dnsbl lists[8] = { 0 };
	struct ip client;
	struct err err = { 0 };
	struct outcome o = { .zone = "" };

	ck_assert_int_eq(dnsd_zone(dnsd, str_of(zone_text), &err), 0);
	ck_assert(ip_parse(STR(CLIENT), &client));
	for (size_t i = 0; i < n; i++) {
		snprintf(zones[i], sizeof(zones[i]), "l%zu.z", i);
		lists[i].zone = zones[i];
	}
	int64_t begin = clock_mono_ms();
	struct access_lists *l =
	    access_lists_ask(resolver, lists, n, &client, begin + deadline_ms);
	ck_assert_ptr_nonnull(l);
	access_lists_judge(l, wait_plainly, NULL, &o.result);
	o.took_ms = clock_mono_ms() - begin;
	if (access_lists_zone(l) != NULL)
		snprintf(o.zone, sizeof(o.zone), "%s", access_lists_zone(l));
	struct access_dnsbl again;
	access_lists_judge(l, wait_plainly, NULL, &again);
	ck_assert_int_eq(again.kind, o.result.kind);
	access_lists_free(l);
	return o;
}

static const struct {
	const char *what, *zone;
	const char *list; /* that refuses; NULL: none does */
	const char *text;
} rows[] = {
	{ "nobody lists it", "z SOA 60 ns.z 30\n", NULL, NULL },
	{ "one lists it", "z SOA 60 ns.z 30\n" REVERSED ".l2.z A 127.0.0.2\n", "l2.z",
	    "Rejected: " CLIENT " listed at l2.z" },
	{ "with words",
	    "z SOA 60 ns.z 30\n" REVERSED ".l2.z A 127.0.0.2\n" REVERSED
	    ".l2.z TXT \"why not\"\n",
	    "l2.z", "Rejected: " CLIENT " listed at l2.z: why not" },
	{ "the first of two counts",
	    "z SOA 60 ns.z 30\n" REVERSED ".l3.z A 127.0.0.2\n" REVERSED
	    ".l1.z A 127.0.0.3\n",
	    "l1.z", "Rejected: " CLIENT " listed at l1.z" },
	{ "a broken list and one that refuses us",
	    "z SOA 60 ns.z 30\n" REVERSED ".l0.z fault servfail\n" REVERSED
	    ".l1.z A 127.255.255.254\n",
	    NULL, NULL },
	{ "behind a broken one",
	    "z SOA 60 ns.z 30\n" REVERSED ".l0.z fault servfail\n" REVERSED
	    ".l1.z A 127.0.0.2\n",
	    "l1.z", "Rejected: " CLIENT " listed at l1.z" },
};

START_TEST(who_decides)
{
	struct outcome o = ask(rows[_i].zone, 4, 5000);

	ck_assert_msg((o.result.kind == ACCESS_REFUSED) == (rows[_i].list != NULL),
	    "%s", rows[_i].what);
	if (rows[_i].list == NULL)
		return;
	ck_assert_str_eq(o.zone, rows[_i].list);
	ck_assert_str_eq(o.result.verdict.text, rows[_i].text);
	ck_assert_int_eq(o.result.verdict.code, 550);
}
END_TEST

/* Eight lists, one slow, one silent: the time is the deadline's, never a sum. */
START_TEST(slow_and_silent)
{
	struct outcome o =
	    ask("z SOA 60 ns.z 30\n" REVERSED ".l2.z fault delay 400\n" REVERSED
		".l5.z fault drop\n" REVERSED ".l7.z A 127.0.0.2\n",
		8, 700);

	ck_assert_int_eq(o.result.kind, ACCESS_REFUSED);
	ck_assert_str_eq(o.zone, "l7.z");
	ck_assert_msg(
	    o.took_ms >= 400 && o.took_ms < 3000, "%lld ms", (long long)o.took_ms);
}
END_TEST

START_TEST(all_silent)
{
	struct outcome o = ask("* fault drop\n", 8, 300);

	ck_assert_int_eq(o.result.kind, ACCESS_NONE);
	ck_assert_msg(
	    o.took_ms >= 299 && o.took_ms < 2300, "%lld ms", (long long)o.took_ms);
}
END_TEST

START_TEST(nobody_to_ask)
{
	char zone[] = "l0.z";
	const struct dnsbl list = { .zone = zone };
	struct ip client, none = { 0 };
	struct access_dnsbl result;

	ck_assert(ip_parse(STR("127.0.0.1"), &client));
	ck_assert_ptr_null(access_lists_ask(resolver, &list, 1, &client, 0));
	ck_assert_ptr_null(access_lists_ask(resolver, &list, 1, &none, 0));
	ck_assert_ptr_null(access_lists_ask(resolver, NULL, 0, &client, 0));
	access_lists_judge(NULL, wait_plainly, NULL, &result);
	ck_assert_int_eq(result.kind, ACCESS_NONE);
	ck_assert_uint_eq(dnsd_seen(dnsd, NULL, 0), 0);
}
END_TEST

/* The client hangs up before anybody waited. */
START_TEST(freed_early)
{
	char zone[] = "l0.z";
	const struct dnsbl list = { .zone = zone };
	struct ip client;

	ck_assert(ip_parse(STR(CLIENT), &client));
	access_lists_free(access_lists_ask(resolver, &list, 1, &client, 0));
	access_lists_free(NULL);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("access_lists");
	TCase *t = tcase_create("access_lists");

	tcase_set_timeout(t, 60);
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_loop_test(t, who_decides, 0, (int)(sizeof(rows) / sizeof(rows[0])));
	tcase_add_test(t, slow_and_silent);
	tcase_add_test(t, all_silent);
	tcase_add_test(t, nobody_to_ask);
	tcase_add_test(t, freed_early);
	suite_add_tcase(s, t);
	SRunner *runner = srunner_create(s);
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? 0 : 1;
}

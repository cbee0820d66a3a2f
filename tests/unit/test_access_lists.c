/* SPDX-License-Identifier: BSD-2-Clause */
/* Several DNS lists at once against a real server: who decides, how long it takes with a
 * slow and a silent list among them, lists that begin to list the world, keys, budgets,
 * servers of their own, a thousand clients at once. */
#include <check.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/buf.h"
#include "common/base/clock.h"
#include "milters/access/access_lists.h"
#include "tests/lib/dnsd.h"

#define CLIENT "203.0.113.9"
#define REVERSED "9.113.0.203"
#define SOA "z SOA 60 ns.z 30\n"

static struct dnsd *dnsd;
static struct resolver *resolver;
static struct access_list_pool *pool;
static struct access_list_set *set;

static void
zone(const char *text)
{
	struct err err = { 0 };

	ck_assert_msg(dnsd_zone(dnsd, str_of(text), &err) == 0, "%s", err.text);
}

static void
setup(void)
{
	char server[32];
	const char *const servers[] = { server };
	/* the lists have deadlines of their own: nothing is tried again in a slow test */
	struct resolver_conf conf = { .servers = servers,
		.n_servers = 1,
		.timeout_ms = 10000,
		.deadline_ms = 60000 };
	struct err err = { 0 };

	dnsd = dnsd_start(STR(SOA), 0, &err);
	ck_assert_msg(dnsd != NULL, "%s", err.text);
	snprintf(server, sizeof(server), "127.0.0.1:%u", dnsd_port(dnsd));
	resolver = resolver_new(&conf, &err);
	ck_assert_msg(resolver != NULL, "%s", err.text);
	pool = access_list_pool_new(resolver);
}

static void
teardown(void)
{
	access_list_set_unref(set);
	set = NULL; /* the next test may run in this process */
	access_list_pool_free(pool);
	resolver_free(resolver);
	dnsd_stop(dnsd);
}

/* The lists of `access { TEXT }` are the current ones; false: errs. */
static bool
configure(const char *text, struct errs *errs)
{
	struct buf b;

	buf_init(&b, 1 << 16);
	buf_addf(&b, "access { %s }", text);
	struct settings *s = settings_from_text(buf_str(&b), "t", errs);
	buf_clear(&b);
	ck_assert_msg(s != NULL, "%s", errs->n > 0 ? errs->list[0].text : "");
	bool good = access_list_pool_load(pool, s, errs);
	settings_unref(s);
	access_list_set_unref(set);
	set = access_list_set_ref(pool);
	return good;
}

static void
lists(const char *text)
{
	struct errs errs = { 0 };

	ck_assert_msg(configure(text, &errs), "%s", errs.n > 0 ? errs.list[0].text : "");
}

static bool
wait_plainly(void *arg, struct future *f, int64_t deadline_ms)
{
	(void)arg;
	return future_wait(f, deadline_ms);
}

struct answer {
	char hits[400]; /* "l1.z=2.5 l2.z=R", in order */
	char text[400]; /* of the first */
	int64_t took_ms;
};

static struct answer
ask_about(enum dnsbl_what what, const char *subject)
{
	struct answer o = { .hits = "" };
	struct ip client = { 0 };
	size_t n, len = 0;

	if (what == DNSBL_CLIENT)
		ck_assert(ip_parse(str_of(subject), &client));
	int64_t begin = clock_mono_ms();
	struct access_lists *l = access_lists_ask(
	    set, what, &client, str_of(subject), clock_wall());
	const struct access_lists_hit *hits = access_lists_judge(l, wait_plainly, NULL, &n);
	o.took_ms = clock_mono_ms() - begin;
	for (size_t i = 0; i < n; i++) {
		char points[32];

		snprintf(points, sizeof(points), "%g", (double)hits[i].result.points / 1000);
		len += (size_t)snprintf(o.hits + len, sizeof(o.hits) - len, "%s%s=%s",
		    i > 0 ? " " : "", hits[i].list->zone,
		    hits[i].result.refuses ? "R" : points);
	}
	if (n > 0)
		snprintf(o.text, sizeof(o.text), "%s", hits[0].text);
	size_t again;
	ck_assert_ptr_eq(access_lists_judge(l, wait_plainly, NULL, &again), hits);
	ck_assert_uint_eq(again, n);
	access_lists_free(l);
	return o;
}

static struct answer
ask(void)
{
	return ask_about(DNSBL_CLIENT, CLIENT);
}

#define FOUR "dnsbl l0.z { } dnsbl l1.z { } dnsbl l2.z { } dnsbl l3.z { } "

static const struct {
	const char *what, *lists, *zone;
	const char *hits, *text;
} rows[] = {
	{ "nobody lists it", FOUR, SOA, "", "" },
	{ "one lists it", FOUR, SOA REVERSED ".l2.z A 127.0.0.2\n", "l2.z=R",
	    "Rejected: " CLIENT " listed at l2.z" },
	{ "with words", FOUR,
	    SOA REVERSED ".l2.z A 127.0.0.2\n" REVERSED ".l2.z TXT \"why not\"\n",
	    "l2.z=R", "Rejected: " CLIENT " listed at l2.z: why not" },
	{ "a broken list and one that refuses us", FOUR,
	    SOA REVERSED ".l0.z fault servfail\n" REVERSED ".l1.z A 127.255.255.254\n",
	    "", "" },
	{ "behind a broken one", FOUR,
	    SOA REVERSED ".l0.z fault servfail\n" REVERSED ".l1.z A 127.0.0.2\n",
	    "l1.z=R", "Rejected: " CLIENT " listed at l1.z" },
	{ "weights, and a code of its own",
	    "dnsbl l0.z { weight 2.5 } dnsbl l1.z { weight 1; code 127.0.0.4 weight 3 } "
	    "dnsbl l2.z { weight 1; codes 127.0.0.9 }",
	    SOA REVERSED ".l0.z A 127.0.0.2\n" REVERSED ".l1.z A 127.0.0.4\n" REVERSED
			 ".l2.z A 127.0.0.2\n",
	    "l0.z=2.5 l1.z=3", "Rejected: " CLIENT " listed at l0.z" },
	{ "welcome", "dnsbl l0.z { weight 2.5 } dnsbl l1.z { weight 4; allow on }",
	    SOA REVERSED ".l0.z A 127.0.0.2\n" REVERSED ".l1.z A 127.0.0.2\n",
	    "l0.z=2.5 l1.z=-4", "Rejected: " CLIENT " listed at l0.z" },
	{ "a welcome by itself is waited for", "dnsbl l0.z { } dnsbl l1.z { allow on }",
	    SOA REVERSED ".l0.z A 127.0.0.2\n" REVERSED ".l1.z A 127.0.0.2\n" REVERSED
			 ".l1.z fault delay 200\n",
	    "l0.z=R l1.z=R", "Rejected: " CLIENT " listed at l0.z" },
	{ "not for IPv4", "dnsbl l0.z { ipv4 off }", SOA REVERSED ".l0.z A 127.0.0.2\n",
	    "", "" },
	{ "names only", "dnsbl l0.z { what helo sender }",
	    SOA REVERSED ".l0.z A 127.0.0.2\n", "", "" },
	{ "own text", "dnsbl l0.z { text \"no: %a\" }",
	    SOA REVERSED ".l0.z A 127.0.0.2\n", "l0.z=R", "no: " CLIENT },
	/* the world */
	{ "every name is listed", FOUR, SOA "*.l1.z A 127.0.0.2\n", "", "" },
	{ "every name, beside a good list", "dnsbl l1.z { weight 2 } dnsbl l2.z { weight 3 }",
	    SOA "*.l1.z A 127.0.0.2\n" REVERSED ".l2.z A 127.0.0.2\n", "l2.z=3",
	    "Rejected: " CLIENT " listed at l2.z" },
	{ "every name, with a code that does not count", "dnsbl l1.z { codes 127.0.0.4 }",
	    SOA "*.l1.z A 127.0.0.2\n" REVERSED ".l1.z A 127.0.0.4\n", "", "" },
};

START_TEST(who_decides)
{
	zone(rows[_i].zone);
	lists(rows[_i].lists);
	struct answer o = ask();
	ck_assert_msg(strcmp(o.hits, rows[_i].hits) == 0, "%s: %s", rows[_i].what, o.hits);
	ck_assert_str_eq(o.text, rows[_i].text);
	/* and from the cache */
	o = ask();
	ck_assert_msg(strcmp(o.hits, rows[_i].hits) == 0, "%s: %s", rows[_i].what, o.hits);
	ck_assert_str_eq(o.text, rows[_i].text);
}
END_TEST

START_TEST(by_name)
{
	zone(SOA "bad.example.l0.z A 127.0.0.2\nbad.example.l1.z A 127.0.0.2\n"
		 "*.l3.z A 127.0.0.2\n");
	lists("dnsbl l0.z { what helo sender; weight 2 } dnsbl l1.z { what sender; weight 3 } "
	      "dnsbl l2.z { } dnsbl l3.z { what helo sender }");
	ck_assert_str_eq(ask_about(DNSBL_HELO, "bad.example").hits, "l0.z=2");
	struct answer o = ask_about(DNSBL_SENDER, "Bad.Example");
	ck_assert_str_eq(o.hits, "l0.z=2 l1.z=3");
	ck_assert_str_eq(o.text, "Rejected: Bad.Example listed at l0.z");
	ck_assert_str_eq(ask_about(DNSBL_SENDER, "good.example").hits, "");
	ck_assert_str_eq(ask_about(DNSBL_HELO, "[192.0.2.1]").hits, "");
	ck_assert_str_eq(ask_about(DNSBL_HELO, "localhost").hits, "");
	ck_assert_str_eq(ask_about(DNSBL_SENDER, "").hits, "");
}
END_TEST

START_TEST(ipv6)
{
	static const char six[] =
	    "5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2";
	char text[300];

	snprintf(text, sizeof(text), SOA "%s.l0.z A 127.0.0.2\n%s.l1.z A 127.0.0.2\n", six,
	    six);
	zone(text);
	lists("dnsbl l0.z { weight 1 } dnsbl l1.z { ipv6 off }");
	ck_assert_str_eq(ask_about(DNSBL_CLIENT, "2001:db8::5").hits, "l0.z=1");
}
END_TEST

/* Eight lists, one slow, one silent: the time is the deadline's, never a sum. */
#define EIGHT FOUR "dnsbl l4.z { } dnsbl l5.z { } dnsbl l6.z { } dnsbl l7.z { weight 2 } "
START_TEST(slow_and_silent)
{
	zone(SOA REVERSED ".l2.z fault delay 400\n" REVERSED ".l5.z fault drop\n" REVERSED
			  ".l7.z A 127.0.0.2\n");
	lists("dnsbl-deadline 600ms; " EIGHT);
	struct answer o = ask();
	ck_assert_str_eq(o.hits, "l7.z=2");
	printf("eight lists, one of 400 ms, one silent, deadline 600 ms: %lld ms\n",
	    (long long)o.took_ms);
	ck_assert_msg(
	    o.took_ms >= 599 && o.took_ms < 2600, "%lld ms", (long long)o.took_ms);
}
END_TEST

START_TEST(slow_without_silent)
{
	zone(SOA REVERSED ".l2.z fault delay 400\n" REVERSED ".l2.z A 127.0.0.2\n");
	lists("dnsbl-deadline 5s; " EIGHT);
	struct answer o = ask();
	ck_assert_str_eq(o.hits, "l2.z=R");
	printf("eight lists, one of 400 ms that lists: %lld ms\n", (long long)o.took_ms);
	ck_assert_msg(
	    o.took_ms >= 399 && o.took_ms < 2400, "%lld ms", (long long)o.took_ms);
}
END_TEST

/* A refusal that is known is not kept waiting by the others. */
START_TEST(decided_early)
{
	zone(SOA REVERSED ".l0.z fault drop\n" REVERSED ".l1.z A 127.0.0.2\n");
	lists("dnsbl-deadline 20s; dnsbl l1.z { } dnsbl l0.z { }");
	struct answer o = ask();
	ck_assert_str_eq(o.hits, "l1.z=R");
	ck_assert_msg(o.took_ms < 5000, "%lld ms", (long long)o.took_ms);
}
END_TEST

/* The question for the words is on its way when the client is already judged. */
static void
wait_seen(const char *name)
{
	int64_t until = clock_mono_ms() + 10000;

	while (dnsd_seen(dnsd, name, DNS_TXT) == 0 && clock_mono_ms() < until)
		usleep(1000);
	ck_assert_uint_eq(dnsd_seen(dnsd, name, DNS_TXT), 1);
}

/* A list that is known to be near is asked for what it lists, and for the rest only where
 * it lists somebody. */
START_TEST(near_and_far)
{
	zone(SOA REVERSED ".l0.z A 127.0.0.2\n" REVERSED ".l0.z TXT \"near\"\n"
		 "8.113.0.203.l0.z A 127.0.0.2\n8.113.0.203.l0.z TXT \"far\"\n"
		 "8.113.0.203.l0.z fault delay 300\n");
	lists("dnsbl l0.z { weight 1 }");
	ask_about(DNSBL_CLIENT, "203.0.113.1");
	wait_seen("1.113.0.203.l0.z");
	ask_about(DNSBL_CLIENT, "203.0.113.2");
	ck_assert_uint_eq(dnsd_seen(dnsd, "2.113.0.203.l0.z", DNS_A), 1);
	ck_assert_uint_eq(dnsd_seen(dnsd, "2.113.0.203.l0.z", DNS_TXT), 0);
	struct answer o = ask();
	ck_assert_str_eq(o.hits, "l0.z=1");
	ck_assert_str_eq(o.text, "Rejected: " CLIENT " listed at l0.z: near");
	/* one slow answer, and it is far: everything goes together again */
	o = ask_about(DNSBL_CLIENT, "203.0.113.8");
	ck_assert_str_eq(o.hits, "l0.z=1");
	ask_about(DNSBL_CLIENT, "203.0.113.3");
	wait_seen("3.113.0.203.l0.z");
}
END_TEST

START_TEST(own_deadline)
{
	zone("* fault drop\n");
	lists("dnsbl-deadline 20s; dnsbl l0.z { deadline 100ms } dnsbl l1.z { deadline 200ms }");
	struct answer o = ask();
	ck_assert_str_eq(o.hits, "");
	ck_assert_msg(
	    o.took_ms >= 199 && o.took_ms < 2300, "%lld ms", (long long)o.took_ms);
}
END_TEST

static enum dnsbl_fault
fault_of(size_t i)
{
	return access_list_fault(set->lists[i]);
}

static void
look(void)
{
	access_list_probe(pool, false, clock_wall());
}

#define GOOD SOA "2.0.0.127.l0.z A 127.0.0.2\n" REVERSED ".l0.z A 1 127.0.0.2\n"
/* The zone changes while clients come: nobody is refused by it; afterwards it counts. */
START_TEST(begins_to_list_the_world)
{
	char client[32];

	zone(GOOD);
	lists("dnsbl l0.z { }");
	look();
	ck_assert_int_eq(fault_of(0), DNSBL_GOOD);
	ck_assert_str_eq(ask().hits, "l0.z=R");
	zone(SOA "*.l0.z A 127.0.0.2\n");
	for (int i = 0; i < 50; i++) {
		snprintf(client, sizeof(client), "198.51.100.%d", i + 1);
		ck_assert_str_eq(ask_about(DNSBL_CLIENT, client).hits, "");
	}
	ck_assert_int_eq(fault_of(0), DNSBL_LISTS_ALL);
	/* set aside: not asked any more */
	ck_assert_str_eq(ask_about(DNSBL_CLIENT, "198.51.100.200").hits, "");
	ck_assert_uint_eq(dnsd_seen(dnsd, "200.100.51.198.l0.z", 0), 0);
	look();
	ck_assert_int_eq(fault_of(0), DNSBL_LISTS_ALL);
	zone(GOOD "77.100.51.198.l0.z A 127.0.0.2\n");
	look();
	ck_assert_int_eq(fault_of(0), DNSBL_LISTS_ALL);
	access_list_probe(pool, true, clock_wall());
	ck_assert_int_eq(fault_of(0), DNSBL_GOOD);
	for (int64_t back = clock_mono_ms(); clock_mono_ms() == back;)
		continue; /* what was asked in the same millisecond is not believed */
	ck_assert_str_eq(ask_about(DNSBL_CLIENT, "198.51.100.77").hits, "l0.z=R");
	/* a lie that was cached meanwhile is not believed now */
	ck_assert_str_eq(ask_about(DNSBL_CLIENT, "198.51.100.1").hits, "");
}
END_TEST

/* A proof that was lost is asked for again; without one the listing does not count. */
START_TEST(unproven)
{
	zone(SOA REVERSED ".l0.z A 127.0.0.2\n" REVERSED
			  ".l0.z fault delay 1\n* fault drop\n");
	lists("dnsbl-deadline 300ms; dnsbl l0.z { text \"no\" }");
	struct answer o = ask();
	ck_assert_str_eq(o.hits, "");
	zone(SOA REVERSED ".l0.z A 127.0.0.2\n");
	o = ask();
	ck_assert_str_eq(o.hits, "l0.z=R");
}
END_TEST

START_TEST(test_points)
{
	zone(SOA "2.0.0.127.l0.z A 127.0.0.2\n2.0.0.127.l2.z A 127.0.0.2\n"
		 "1.0.0.127.l2.z A 127.0.0.2\ntest.l3.z A 127.0.0.2\n");
	lists("dnsbl l0.z { } dnsbl l1.z { } dnsbl l2.z { } dnsbl l3.z { what sender } "
	      "dnsbl l4.z { probe unlisted } dnsbl l5.z { probe off }");
	for (int i = 0; i < 3; i++)
		look();
	ck_assert_int_eq(fault_of(0), DNSBL_GOOD);
	ck_assert_int_eq(fault_of(1), DNSBL_LISTS_NONE);
	ck_assert_int_eq(fault_of(2), DNSBL_LISTS_ALL);
	ck_assert_int_eq(fault_of(3), DNSBL_GOOD);
	ck_assert_int_eq(fault_of(4), DNSBL_GOOD);
	ck_assert_int_eq(fault_of(5), DNSBL_GOOD);
	ck_assert_uint_eq(dnsd_seen(dnsd, "2.0.0.127.l4.z", 0), 0);
	ck_assert_uint_eq(dnsd_seen(dnsd, "1.0.0.127.l4.z", 0), 3);
	ck_assert_uint_eq(dnsd_seen(dnsd, "1.0.0.127.l5.z", 0), 0);
}
END_TEST

START_TEST(a_dead_list_is_left_alone)
{
	char client[32];

	zone("* fault drop\n");
	lists("dnsbl l0.z { deadline 50ms }");
	for (int i = 1; i <= 20; i++) {
		snprintf(client, sizeof(client), "198.51.100.%d", i);
		ck_assert_str_eq(ask_about(DNSBL_CLIENT, client).hits, "");
	}
	ck_assert_int_eq(fault_of(0), DNSBL_FAILING);
	struct answer o = ask();
	ck_assert_msg(o.took_ms < 50, "%lld ms", (long long)o.took_ms);
	/* what is kept over a reload is the list's state */
	lists("dnsbl l0.z { deadline 60ms } dnsbl l1.z { }");
	ck_assert_int_eq(fault_of(0), DNSBL_FAILING);
	ck_assert_int_eq(fault_of(1), DNSBL_GOOD);
}
END_TEST

START_TEST(budget)
{
	char client[32];

	zone(SOA REVERSED ".l0.z A 127.0.0.2\n");
	lists("dnsbl l0.z { budget 7 }"); /* the first client costs three, then one */
	ck_assert_str_eq(ask().hits, "l0.z=R");
	for (int i = 0; i < 5; i++) /* cached: costs nothing */
		ck_assert_str_eq(ask().hits, "l0.z=R");
	for (int i = 10; i < 16; i++) {
		snprintf(client, sizeof(client), "203.0.113.%d", i);
		ask_about(DNSBL_CLIENT, client);
	}
	ck_assert_uint_eq(dnsd_seen(dnsd, "10.113.0.203.l0.z", 0), 1);
	ck_assert_uint_eq(dnsd_seen(dnsd, "15.113.0.203.l0.z", 0), 0);
	ck_assert_int_eq(fault_of(0), DNSBL_SPENT);
	/* what is cached may still be used */
	ck_assert_str_eq(ask().hits, "l0.z=R");
}
END_TEST

START_TEST(key)
{
	char path[] = "/tmp/postern-key-XXXXXX", text[200];
	struct errs errs = { 0 };
	int fd = mkstemp(path);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, " s3cret \nmore\n", 14), 14);
	snprintf(text, sizeof(text), "dnsbl l0.z { key-file %s }", path);
	zone(SOA REVERSED ".s3cret.l0.z A 127.0.0.2\n" REVERSED
			  ".s3cret.l0.z TXT \"query s3cret\"\n"
			  "2.0.0.127.s3cret.l0.z A 127.0.0.2\n");
	lists(text);
	struct answer o = ask();
	ck_assert_str_eq(o.hits, "l0.z=R");
	ck_assert_str_eq(o.text, "Rejected: " CLIENT " listed at l0.z: query ******");
	look();
	ck_assert_int_eq(fault_of(0), DNSBL_GOOD);
	/* a bad key changes nothing */
	ck_assert_int_eq(pwrite(fd, "a.b", 3, 0), 3);
	ck_assert(!configure(text, &errs));
	ck_assert_str_eq(errs.list[0].file, path);
	ck_assert_ptr_null(strstr(errs.list[0].text, "a.b"));
	errs_clear(&errs);
	ck_assert_str_eq(ask().hits, "l0.z=R");
	close(fd);
	unlink(path);
	ck_assert(!configure(text, &errs));
	errs_clear(&errs);
}
END_TEST

START_TEST(servers_of_its_own)
{
	struct err err = { 0 };
	char text[200];
	struct dnsd *other =
	    dnsd_start(STR(SOA REVERSED ".l1.z A 127.0.0.2\n"), 0, &err);

	ck_assert_ptr_nonnull(other);
	zone(SOA REVERSED ".l0.z A 127.0.0.2\n");
	snprintf(text, sizeof(text),
	    "dnsbl l0.z { weight 1 } dnsbl l1.z { weight 1; servers 127.0.0.1:%u } "
	    "dnsbl l2.z { servers 127.0.0.1:%u }",
	    dnsd_port(other), dnsd_port(other));
	lists(text);
	ck_assert_str_eq(ask().hits, "l0.z=1 l1.z=1");
	ck_assert_uint_eq(dnsd_seen(other, REVERSED ".l0.z", 0), 0);
	ck_assert_uint_eq(dnsd_seen(dnsd, REVERSED ".l1.z", 0), 0);
	ck_assert_ptr_eq(
	    access_list_resolver(set->lists[1]), access_list_resolver(set->lists[2]));
	access_list_set_unref(set);
	set = NULL;
	access_list_pool_free(pool);
	pool = access_list_pool_new(resolver);
	lists("");
	dnsd_stop(other);
}
END_TEST

/* ---- many at once ---- */

/* A sanitizer makes the server so slow that its socket overflows. */
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define CLIENTS 100
#else
#define CLIENTS 1000
#endif
static struct answer many[CLIENTS];

static void *
one_client(void *arg)
{
	struct answer *o = arg;
	char client[32];
	int i = (int)(o - many);

	snprintf(client, sizeof(client), "198.18.%d.%d", i / 250, i % 250 + 1);
	*o = ask_about(DNSBL_CLIENT, client);
	return NULL;
}

START_TEST(a_thousand_at_once)
{
	static pthread_t threads[CLIENTS];
	pthread_attr_t attr;
	struct buf text;

	buf_init(&text, 1 << 20);
	buf_add_cstr(&text, SOA);
	for (int i = 0; i < CLIENTS; i += 2)
		buf_addf(&text, "%d.%d.18.198.l%d.z A 127.0.0.2\n", i % 250 + 1, i / 250,
		    i / 2 % 8);
	zone(buf_cstr(&text));
	buf_clear(&text);
	lists("dnsbl-deadline 1m; " EIGHT);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 256 << 10);
	int64_t begin = clock_mono_ms();
	for (int i = 0; i < CLIENTS; i++)
		ck_assert_int_eq(
		    pthread_create(&threads[i], &attr, one_client, &many[i]), 0);
	for (int i = 0; i < CLIENTS; i++)
		pthread_join(threads[i], NULL);
	printf("%d clients, 8 lists: %lld ms\n", CLIENTS,
	    (long long)(clock_mono_ms() - begin));
	for (int i = 0; i < CLIENTS; i++) {
		char want[20];
		int list = i / 2 % 8;

		snprintf(want, sizeof(want), "l%d.z=%s", list, list == 7 ? "2" : "R");
		ck_assert_msg(strcmp(many[i].hits, i % 2 == 0 ? want : "") == 0,
		    "client %d: \"%s\" after %lld ms", i, many[i].hits,
		    (long long)many[i].took_ms);
	}
	pthread_attr_destroy(&attr);
}
END_TEST

START_TEST(nobody_to_ask)
{
	struct ip client, none = { 0 };
	size_t n;

	lists("dnsbl l0.z { }");
	ck_assert(ip_parse(STR("127.0.0.1"), &client));
	ck_assert_ptr_null(access_lists_ask(set, DNSBL_CLIENT, &client, STR(""), 0));
	ck_assert_ptr_null(access_lists_ask(set, DNSBL_CLIENT, &none, STR(""), 0));
	ck_assert_ptr_null(access_lists_judge(NULL, wait_plainly, NULL, &n));
	ck_assert_uint_eq(n, 0);
	lists("");
	ck_assert(ip_parse(STR(CLIENT), &client));
	ck_assert_ptr_null(access_lists_ask(set, DNSBL_CLIENT, &client, STR(""), 0));
	ck_assert_uint_eq(dnsd_seen(dnsd, NULL, 0), 0);
}
END_TEST

/* The client hangs up before anybody waited; an old connection holds an old set. */
START_TEST(freed_early)
{
	struct ip client;

	lists("dnsbl l0.z { }");
	ck_assert(ip_parse(STR(CLIENT), &client));
	struct access_list_set *old = access_list_set_ref(pool);
	struct access_lists *l = access_lists_ask(old, DNSBL_CLIENT, &client, STR(""), 0);
	lists("");
	access_lists_free(l);
	access_lists_free(NULL);
	access_list_set_unref(old);
	access_list_set_unref(NULL);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("access_lists");
	TCase *t = tcase_create("access_lists");

	tcase_set_timeout(t, 120);
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_loop_test(t, who_decides, 0, (int)(sizeof(rows) / sizeof(rows[0])));
	tcase_add_test(t, by_name);
	tcase_add_test(t, ipv6);
	tcase_add_test(t, slow_and_silent);
	tcase_add_test(t, slow_without_silent);
	tcase_add_test(t, decided_early);
	tcase_add_test(t, near_and_far);
	tcase_add_test(t, own_deadline);
	tcase_add_test(t, begins_to_list_the_world);
	tcase_add_test(t, unproven);
	tcase_add_test(t, test_points);
	tcase_add_test(t, a_dead_list_is_left_alone);
	tcase_add_test(t, budget);
	tcase_add_test(t, key);
	tcase_add_test(t, servers_of_its_own);
	tcase_add_test(t, a_thousand_at_once);
	tcase_add_test(t, nobody_to_ask);
	tcase_add_test(t, freed_early);
	suite_add_tcase(s, t);
	SRunner *runner = srunner_create(s);
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? 0 : 1;
}

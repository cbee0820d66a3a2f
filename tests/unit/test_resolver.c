/* SPDX-License-Identifier: BSD-2-Clause */
/* The resolver against a server with faults: every kind of answer, deadlines,
 * coalescing and the cache counted at the server, a thousand questions at once, an
 * early end. */
#include <check.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/buf.h"
#include "common/base/clock.h"
#include "common/base/xalloc.h"
#include "common/net/resolver.h"
#include "tests/lib/dnsd.h"

static const char zone[] = "example SOA 60 ns.example 30\n"
			   "host.example A 60 192.0.2.1\n"
			   "host.example A 192.0.2.2\n"
			   "host.example AAAA 2001:db8::1\n"
			   "mail.example MX 10 MX1.example.\n"
			   "mail.example MX 20 mx2.example\n"
			   "null.example MX 0 .\n"
			   "txt.example TXT \"v=spf1\" \" -all\"\n"
			   "alias.example CNAME alias2.example\n"
			   "alias2.example CNAME host.example\n"
			   "loop.example CNAME loop2.example\n"
			   "loop2.example CNAME loop.example\n"
			   "dangling.example CNAME nowhere.example\n"
			   "1.2.0.192.in-addr.arpa PTR host.example\n"
			   "*.wild.example A 127.0.0.2\n"
			   "nottl.example A 0 192.0.2.9\n"
			   "under.sub.example A 192.0.2.10\n"
			   "drop.example fault drop\n"
			   "once.example A 192.0.2.3\n"
			   "once.example fault times 1 drop\n"
			   "slow.example A 192.0.2.4\n"
			   "slow.example fault delay 300\n"
			   "servfail.example fault servfail\n"
			   "refused.example fault refused\n"
			   "cut.example TXT cut\n"
			   "cut.example fault tc\n"
			   "cutslow.example TXT cut\n"
			   "cutslow.example fault tc delay 50\n"
			   "wrongid.example A 192.0.2.5\n"
			   "wrongid.example fault wrongid\n"
			   "short.example A 192.0.2.6\n"
			   "short.example fault short\n"
			   "garbage.example fault garbage\n"
			   "secure.example A 192.0.2.7\n"
			   "secure.example fault ad\n";

static struct dnsd *dnsd;
static struct resolver *resolver;

static struct resolver *
new_resolver(int64_t timeout_ms, int64_t deadline_ms, size_t entries)
{
	char server[32];
	const char *const servers[] = { server };
	struct resolver_conf conf = { .servers = servers,
		.n_servers = 1,
		.timeout_ms = timeout_ms,
		.deadline_ms = deadline_ms,
		.cache_entries = entries };
	struct err err = { 0 };

	snprintf(server, sizeof(server), "127.0.0.1:%u", dnsd_port(dnsd));
	struct resolver *r = resolver_new(&conf, &err);
	ck_assert_msg(r != NULL, "%s", err.text);
	return r;
}

/* Checked: it runs in the forked test, where its thread can live. */
static void
setup(void)
{
	struct err err = { 0 };

	dnsd = dnsd_start(str_of(zone), 0, &err);
	ck_assert_msg(dnsd != NULL, "%s:%d: %s", err.file, err.line, err.text);
	resolver = new_resolver(150, 2000, 0);
}

static void
teardown(void)
{
	resolver_free(resolver);
	dnsd_stop(dnsd);
}

static struct future *
ask(const char *name, enum dns_type type)
{
	return resolver_ask(resolver, str_of(name), type);
}

/* Wait far longer than the resolver may take. */
static const struct dns_answer *
answer(struct future *f)
{
	ck_assert(future_wait(f, clock_mono_ms() + 20000));
	return future_value(f);
}

/* Records as text: "192.0.2.1", "10 mx.example", names and texts as they are. */
static void
render(const struct dns_answer *a, enum dns_type type, char out[512])
{
	size_t n = 0;
	char ip[IP_TEXT_MAX];

	out[0] = '\0';
	for (size_t i = 0; i < a->n && n < 400; i++) {
		const struct dns_record *r = &a->records[i];
		if (i > 0)
			n += (size_t)snprintf(out + n, 512 - n, " ");
		if (type == DNS_MX)
			n += (size_t)snprintf(out + n, 512 - n, "%u:%s",
			    (unsigned)r->preference, r->name);
		else if (type == DNS_A || type == DNS_AAAA)
			n += (size_t)snprintf(
			    out + n, 512 - n, "%s", ip_format(&r->ip, ip));
		else
			n += (size_t)snprintf(out + n, 512 - n, "%s",
			    type == DNS_TXT ? r->text : r->name);
	}
}

static const struct {
	const char *what, *name;
	enum dns_type type;
	enum dns_status status;
	const char *records;
	int ttl; /* -1: any */
} answers[] = {
	{ "two addresses, least TTL", "host.example", DNS_A, DNS_OK,
	    "192.0.2.1 192.0.2.2", 60 },
	{ "case does not matter", "HOST.Example", DNS_A, DNS_OK, "192.0.2.1 192.0.2.2",
	    60 },
	{ "final dot", "host.example.", DNS_A, DNS_OK, "192.0.2.1 192.0.2.2", 60 },
	{ "IPv6", "host.example", DNS_AAAA, DNS_OK, "2001:db8::1", 300 },
	{ "MX in lower case", "mail.example", DNS_MX, DNS_OK,
	    "10:mx1.example 20:mx2.example", 300 },
	{ "null MX", "null.example", DNS_MX, DNS_OK, "0:", 300 },
	{ "strings of a TXT are joined", "txt.example", DNS_TXT, DNS_OK, "v=spf1 -all",
	    300 },
	{ "PTR", "1.2.0.192.in-addr.arpa", DNS_PTR, DNS_OK, "host.example", 300 },
	{ "SOA", "example", DNS_SOA, DNS_OK, "ns.example", 60 },
	{ "aliases are followed", "alias.example", DNS_A, DNS_OK, "192.0.2.1 192.0.2.2",
	    60 },
	{ "the alias itself", "alias.example", DNS_CNAME, DNS_OK, "alias2.example",
	    300 },
	{ "aliases in a circle", "loop.example", DNS_A, DNS_FAIL, "", -1 },
	{ "alias to nowhere", "dangling.example", DNS_A, DNS_NXDOMAIN, "", 30 },
	{ "wildcard", "x.y.wild.example", DNS_A, DNS_OK, "127.0.0.2", 300 },
	{ "no such name, TTL of the SOA's minimum", "none.example", DNS_A, DNS_NXDOMAIN,
	    "", 30 },
	{ "no such record", "host.example", DNS_MX, DNS_NODATA, "", 30 },
	{ "empty non-terminal", "sub.example", DNS_A, DNS_NODATA, "", 30 },
	{ "no SOA, no TTL", "none.other", DNS_A, DNS_NXDOMAIN, "", 0 },
	{ "server failure", "servfail.example", DNS_A, DNS_FAIL, "", -1 },
	{ "server refuses", "refused.example", DNS_A, DNS_FAIL, "", -1 },
	{ "garbage", "garbage.example", DNS_A, DNS_FAIL, "", -1 },
	{ "silence", "drop.example", DNS_A, DNS_TIMEOUT, "", -1 },
	{ "second try", "once.example", DNS_A, DNS_OK, "192.0.2.3", 300 },
	{ "slow, over one try", "slow.example", DNS_A, DNS_OK, "192.0.2.4", 300 },
	{ "cut over UDP, whole over TCP", "cut.example", DNS_TXT, DNS_OK, "cut", 300 },
	{ "answers with a wrong id do not count", "wrongid.example", DNS_A, DNS_TIMEOUT,
	    "", -1 },
	{ "short packets do not count", "short.example", DNS_A, DNS_TIMEOUT, "", -1 },
	{ "empty name", "", DNS_A, DNS_BADNAME, "", -1 },
	{ "root", ".", DNS_A, DNS_BADNAME, "", -1 },
	{ "empty label", "a..example", DNS_A, DNS_BADNAME, "", -1 },
	{ "blank in a name", "a b.example", DNS_A, DNS_BADNAME, "", -1 },
	{ "label of 64",
	    "0123456789012345678901234567890123456789012345678901234567890123.example",
	    DNS_A, DNS_BADNAME, "", -1 },
	{ "high octets", "gr\xc3\xbc\xc3\x9f.example", DNS_A, DNS_BADNAME, "", -1 },
};

START_TEST(answers_row)
{
	struct future *f = ask(answers[_i].name, answers[_i].type);
	const struct dns_answer *a = answer(f);
	char got[512];

	render(a, answers[_i].type, got);
	ck_assert_msg(a->status == answers[_i].status, "%s: %s", answers[_i].what,
	    dns_status_name(a->status));
	ck_assert_msg(
	    strcmp(got, answers[_i].records) == 0, "%s: %s", answers[_i].what, got);
	ck_assert_msg(answers[_i].ttl < 0 || a->ttl == (uint32_t)answers[_i].ttl,
	    "%s: ttl %u", answers[_i].what, a->ttl);
	ck_assert(!a->authentic);
	future_unref(f);
}
END_TEST

START_TEST(ad_bit)
{
	struct future *f = ask("secure.example", DNS_A);

	ck_assert(answer(f)->authentic);
	future_unref(f);
}
END_TEST

START_TEST(tcp_after_truncation)
{
	struct future *f = ask("cutslow.example", DNS_TXT);

	ck_assert_int_eq(answer(f)->status, DNS_OK);
	ck_assert_uint_eq(dnsd_seen(dnsd, "cutslow.example", DNS_TXT), 2);
	ck_assert_uint_eq(dnsd_seen_tcp(dnsd), 1);
	future_unref(f);
}
END_TEST

/* A big answer is cut by size, not by a planted fault: 60 records do not fit 1232. */
START_TEST(big_answer)
{
	struct buf text;
	struct err err = { 0 };

	buf_init(&text, 1 << 16);
	for (int i = 0; i < 60; i++)
		buf_addf(&text, "big.example TXT record-number-%d-with-some-text\n", i);
	ck_assert_int_eq(dnsd_zone(dnsd, buf_str(&text), &err), 0);
	struct future *f = ask("big.example", DNS_TXT);
	const struct dns_answer *a = answer(f);
	ck_assert_int_eq(a->status, DNS_OK);
	ck_assert_uint_eq(a->n, 60);
	ck_assert_str_eq(a->records[59].text, "record-number-59-with-some-text");
	ck_assert_uint_eq(dnsd_seen_tcp(dnsd), 1);
	future_unref(f);
	buf_clear(&text);
}
END_TEST

static const struct {
	const char *what, *name;
	enum dns_type type;
	unsigned seen; /* at the server, after asking twice */
} cached[] = {
	{ "positive", "host.example", DNS_A, 1 },
	{ "negative with SOA", "none.example", DNS_A, 1 },
	{ "no data with SOA", "host.example", DNS_MX, 1 },
	{ "negative without SOA", "none.other", DNS_A, 2 },
	{ "TTL 0", "nottl.example", DNS_A, 2 },
	{ "server failure: two tries, once", "servfail.example", DNS_A, 2 },
};

START_TEST(cache_row)
{
	for (int i = 0; i < 2; i++) {
		struct future *f = ask(cached[_i].name, cached[_i].type);
		answer(f);
		future_unref(f);
	}
	ck_assert_uint_eq(
	    dnsd_seen(dnsd, cached[_i].name, cached[_i].type), cached[_i].seen);
}
END_TEST

START_TEST(cache_evicts)
{
	struct resolver *small = new_resolver(1000, 5000, 2);
	static const char *const names[] = { "a.wild.example", "b.wild.example",
		"c.wild.example", "c.wild.example", "a.wild.example" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		struct future *f = resolver_ask(small, str_of(names[i]), DNS_A);
		answer(f);
		future_unref(f);
	}
	ck_assert_uint_eq(dnsd_seen(dnsd, "a.wild.example", DNS_A), 2);
	ck_assert_uint_eq(dnsd_seen(dnsd, "c.wild.example", DNS_A), 1);
	resolver_free(small);
}
END_TEST

START_TEST(coalesces)
{
	struct future *f[50];
	struct resolver_counts counts;

	for (int i = 0; i < 50; i++)
		f[i] = ask(i % 2 == 0 ? "slow.example" : "SLOW.example.", DNS_A);
	for (int i = 0; i < 50; i++) {
		ck_assert_int_eq(answer(f[i])->status, DNS_OK);
		future_unref(f[i]);
	}
	resolver_counts(resolver, &counts);
	ck_assert_uint_eq(counts.asked, 50);
	ck_assert_uint_eq(counts.joined, 49);
	ck_assert_uint_eq(counts.sent, 1);
	/* one question, tried again while the server was slow */
	ck_assert_uint_le(dnsd_seen(dnsd, "slow.example", DNS_A), 3);
}
END_TEST

/* Known only: nobody is asked.  Fresh: neither cache nor open questions help, and nothing
 * is kept. */
START_TEST(known_and_fresh)
{
	ck_assert_ptr_null(resolver_known(resolver, STR("host.example"), DNS_A));
	int64_t before = clock_mono_us();
	struct future *f = resolver_ask_fresh(resolver, STR("Host.Example."), DNS_A);
	const struct dns_answer *a = answer(f);
	ck_assert_int_eq(a->status, DNS_OK);
	ck_assert_int_ge(a->asked_us, before);
	ck_assert_int_ge(a->answered_us, a->asked_us);
	ck_assert_int_eq(a->asked_last_us, a->asked_us);
	future_unref(f);
	ck_assert_ptr_null(resolver_known(resolver, STR("host.example"), DNS_A));
	f = ask("host.example", DNS_A);
	answer(f);
	future_unref(f);
	ck_assert_uint_eq(dnsd_seen(dnsd, "host.example", DNS_A), 2);
	f = resolver_known(resolver, STR("HOST.example"), DNS_A);
	ck_assert_ptr_nonnull(f);
	ck_assert(future_done(f));
	ck_assert_int_eq(answer(f)->status, DNS_OK);
	future_unref(f);
	f = resolver_ask_fresh(resolver, STR("host.example"), DNS_A);
	answer(f);
	future_unref(f);
	ck_assert_uint_eq(dnsd_seen(dnsd, "host.example", DNS_A), 3);
	/* two fresh ones and a common one are three questions */
	struct future *same[3] = { ask("slow.example", DNS_A),
		resolver_ask_fresh(resolver, STR("slow.example"), DNS_A),
		resolver_ask_fresh(resolver, STR("slow.example"), DNS_A) };
	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(answer(same[i])->status, DNS_OK);
		future_unref(same[i]);
	}
	struct resolver_counts counts;
	resolver_counts(resolver, &counts);
	ck_assert_uint_eq(counts.joined, 0);
}
END_TEST

/* Asked again after a loss: nobody knows which time was answered. */
START_TEST(asked_again)
{
	struct future *f = ask("once.example", DNS_A);
	const struct dns_answer *a = answer(f);

	ck_assert_int_eq(a->status, DNS_OK);
	ck_assert_int_gt(a->asked_last_us, a->asked_us);
	future_unref(f);
}
END_TEST

START_TEST(deadline)
{
	struct resolver *r = new_resolver(5000, 100, 0);
	int64_t begin = clock_mono_ms();
	struct future *f = resolver_ask(r, STR("drop.example"), DNS_A);

	ck_assert_int_eq(answer(f)->status, DNS_TIMEOUT);
	int64_t took = clock_mono_ms() - begin;
	ck_assert_msg(took >= 99 && took < 2500, "%lld ms", (long long)took);
	future_unref(f);
	resolver_free(r);
}
END_TEST

/* The answer that came too late for its asker serves the next one. */
START_TEST(late_answer_is_kept)
{
	struct resolver *r = new_resolver(5000, 100, 0);
	struct future *f = resolver_ask(r, STR("slow.example"), DNS_A);

	ck_assert_int_eq(answer(f)->status, DNS_TIMEOUT);
	future_unref(f);
	enum dns_status status = DNS_TIMEOUT;
	for (int i = 0; i < 100 && status != DNS_OK; i++) {
		f = resolver_ask(r, STR("slow.example"), DNS_A);
		status = answer(f)->status;
		future_unref(f);
	}
	ck_assert_int_eq(status, DNS_OK);
	ck_assert_uint_eq(dnsd_seen(dnsd, "slow.example", DNS_A), 1);
	resolver_free(r);
}
END_TEST

START_TEST(thousand_at_once)
{
	struct future *f[1000];
	struct resolver *r = new_resolver(2000, 10000, 0);
	char name[64];
	struct resolver_counts counts;

	for (int i = 0; i < 1000; i++) {
		snprintf(name, sizeof(name), "n%d.wild.example", i);
		f[i] = resolver_ask(r, str_of(name), DNS_A);
	}
	for (int i = 0; i < 1000; i++) {
		ck_assert_int_eq(answer(f[i])->status, DNS_OK);
		future_unref(f[i]);
	}
	resolver_counts(r, &counts);
	ck_assert_uint_eq(counts.sent, 1000);
	ck_assert_uint_eq(counts.timeouts, 0);
	resolver_free(r);
}
END_TEST

/* As with servers that are not on this host: channels come and go under load. */
START_TEST(fresh_ports)
{
	char server[32], name[64];
	const char *const list[] = { server };
	struct resolver_conf conf = { .servers = list,
		.n_servers = 1,
		.deadline_ms = 10000,
		.fresh_ports = true };
	struct err err = { 0 };
	struct future *f[600];

	snprintf(server, sizeof(server), "127.0.0.1:%u", dnsd_port(dnsd));
	struct resolver *r = resolver_new(&conf, &err);
	ck_assert_msg(r != NULL, "%s", err.text);
	struct future *slow = resolver_ask(r, STR("slow.example"), DNS_A);
	for (int i = 0; i < 600; i++) {
		snprintf(name, sizeof(name), "p%d.wild.example", i);
		f[i] = resolver_ask(r, str_of(name), DNS_A);
		if (i % 100 == 99) /* let some channels become idle in between */
			answer(f[i]);
	}
	for (int i = 0; i < 600; i++) {
		ck_assert_int_eq(answer(f[i])->status, DNS_OK);
		future_unref(f[i]);
	}
	ck_assert_int_eq(answer(slow)->status, DNS_OK);
	future_unref(slow);
	ck_assert_uint_ge(dnsd_ports(dnsd), 4);
	resolver_free(r);
}
END_TEST

/* Slow names must not keep others waiting: far more of them than go out at once. */
START_TEST(slow_names_do_not_block)
{
	struct future *slow[1000];
	struct resolver *r = new_resolver(3000, 6000, 0);
	struct err err = { 0 };
	struct buf text;
	char name[64];

	buf_init(&text, 1 << 20);
	buf_addf(&text, "fast.example A 192.0.2.1\n");
	for (int i = 0; i < 1000; i++)
		buf_addf(&text, "s%d.example fault drop\n", i);
	ck_assert_int_eq(dnsd_zone(dnsd, buf_str(&text), &err), 0);
	buf_clear(&text);
	for (int i = 0; i < 1000; i++) {
		snprintf(name, sizeof(name), "s%d.example", i);
		slow[i] = resolver_ask(r, str_of(name), DNS_A);
	}
	struct future *f = resolver_ask(r, STR("fast.example"), DNS_A);
	int64_t begin = clock_mono_ms();
	ck_assert_int_eq(answer(f)->status, DNS_OK);
	ck_assert_int_lt(clock_mono_ms() - begin, 2500);
	future_unref(f);
	for (int i = 0; i < 1000; i++)
		future_unref(slow[i]);
	resolver_free(r);
}
END_TEST

START_TEST(free_with_open_questions)
{
	struct resolver *r = new_resolver(5000, 30000, 0);
	struct future *f[300];
	char name[64];

	for (int i = 0; i < 300; i++) {
		snprintf(name, sizeof(name),
		    i % 2 == 0 ? "drop.example" : "d%d.wild.example", i);
		f[i] = resolver_ask(r, str_of(name), DNS_A);
	}
	resolver_free(r);
	for (int i = 0; i < 300; i++) {
		const struct dns_answer *a = answer(f[i]);
		ck_assert(
		    a->status == DNS_TIMEOUT || (i % 2 == 1 && a->status == DNS_OK));
		future_unref(f[i]);
	}
}
END_TEST

static void *
ask_many(void *arg)
{
	struct resolver *r = arg;
	char name[64];

	for (int i = 0; i < 200; i++) {
		snprintf(name, sizeof(name), "t%d.wild.example", i % 50);
		struct future *f = resolver_ask(r, str_of(name), DNS_A);
		if (i % 3 == 0)
			answer(f);
		future_unref(f);
	}
	return NULL;
}

START_TEST(many_threads)
{
	pthread_t threads[8];
	struct resolver_counts counts;

	for (int i = 0; i < 8; i++)
		ck_assert_int_eq(
		    pthread_create(&threads[i], NULL, ask_many, resolver), 0);
	for (int i = 0; i < 8; i++)
		pthread_join(threads[i], NULL);
	resolver_counts(resolver, &counts);
	ck_assert_uint_eq(counts.asked, 1600);
	ck_assert_uint_eq(counts.cached + counts.joined + counts.sent, 1600);
	ck_assert_uint_eq(dnsd_seen(dnsd, NULL, 0), counts.sent);
}
END_TEST

static void
ask_again(void *arg)
{
	struct future **second = arg;

	*second = ask("host.example", DNS_AAAA);
}

START_TEST(callback_may_ask)
{
	struct future *second = NULL, *first = ask("slow.example", DNS_A);

	future_notify(first, ask_again, &second);
	answer(first);
	/* The callback runs in the resolver's thread, behind the settling: ending the
	 * thread waits for it. */
	resolver_free(resolver);
	resolver = NULL;
	ck_assert_ptr_nonnull(second);
	answer(second);
	future_unref(first);
	future_unref(second);
}
END_TEST

START_TEST(dead_server)
{
	struct resolver_conf conf = {
		.n_servers = 1, .timeout_ms = 100, .deadline_ms = 1000
	};
	char server[32];
	const char *const servers[] = { server };

	snprintf(server, sizeof(server), "127.0.0.1:%u", dnsd_port(dnsd));
	dnsd_stop(dnsd); /* nobody listens there now */
	dnsd = NULL;
	conf.servers = servers;
	struct resolver *r = resolver_new(&conf, NULL);
	struct future *f = resolver_ask(r, STR("host.example"), DNS_A);
	const struct dns_answer *a = answer(f);
	ck_assert(a->status == DNS_FAIL || a->status == DNS_TIMEOUT);
	future_unref(f);
	resolver_free(r);
}
END_TEST

/* The first server is silent: the second answers within the deadline. */
START_TEST(second_server)
{
	struct err err = { 0 };
	struct dnsd *mute = dnsd_start(STR("* fault drop\n"), 0, &err);
	char one[32], two[32];
	const char *const servers[] = { one, two };
	struct resolver_conf conf = {
		.servers = servers, .n_servers = 2, .timeout_ms = 100
	};

	ck_assert_ptr_nonnull(mute);
	snprintf(one, sizeof(one), "127.0.0.1:%u", dnsd_port(mute));
	snprintf(two, sizeof(two), "127.0.0.1:%u", dnsd_port(dnsd));
	struct resolver *r = resolver_new(&conf, &err);
	struct future *f = resolver_ask(r, STR("host.example"), DNS_A);
	ck_assert_int_eq(answer(f)->status, DNS_OK);
	ck_assert_uint_ge(dnsd_seen(mute, "host.example", DNS_A), 1);
	future_unref(f);
	resolver_free(r);
	dnsd_stop(mute);
}
END_TEST

static const struct {
	const char *server;
	bool ok;
} servers[] = {
	{ "192.0.2.53", true },
	{ "192.0.2.53:5353", true },
	{ "[2001:db8::53]:53", true },
	{ "2001:db8::53", true },
	{ "[2001:db8::53]", true },
	{ "", false },
	{ "ns.example", false },
	{ "192.0.2.53:", false },
	{ "192.0.2.53:0", false },
	{ "192.0.2.53:65536", false },
	{ "192.0.2.53:53x", false },
	{ "[2001:db8::53]:x", false },
	{ "192.0.2", false },
};

START_TEST(server_row)
{
	const char *const one[] = { servers[_i].server };
	struct resolver_conf conf = { .servers = one, .n_servers = 1 };
	struct err err = { 0 };

	ck_assert_int_eq(
	    resolver_server_ok(str_of(servers[_i].server)), servers[_i].ok);
	struct resolver *r = resolver_new(&conf, &err);
	ck_assert_int_eq(r != NULL, servers[_i].ok);
	ck_assert(r != NULL || strstr(err.text, servers[_i].server) != NULL);
	resolver_free(r);
}
END_TEST

#define ROWS(table) (int)(sizeof(table) / sizeof((table)[0]))

int
main(void)
{
	Suite *s = suite_create("resolver");
	TCase *t = tcase_create("resolver");

	tcase_set_timeout(t, 60);
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_loop_test(t, answers_row, 0, ROWS(answers));
	tcase_add_test(t, ad_bit);
	tcase_add_test(t, tcp_after_truncation);
	tcase_add_test(t, big_answer);
	tcase_add_loop_test(t, cache_row, 0, ROWS(cached));
	tcase_add_test(t, cache_evicts);
	tcase_add_test(t, coalesces);
	tcase_add_test(t, known_and_fresh);
	tcase_add_test(t, asked_again);
	tcase_add_test(t, deadline);
	tcase_add_test(t, late_answer_is_kept);
	tcase_add_test(t, thousand_at_once);
	tcase_add_test(t, fresh_ports);
	tcase_add_test(t, slow_names_do_not_block);
	tcase_add_test(t, free_with_open_questions);
	tcase_add_test(t, many_threads);
	tcase_add_test(t, callback_may_ask);
	tcase_add_test(t, dead_server);
	tcase_add_test(t, second_server);
	tcase_add_loop_test(t, server_row, 0, ROWS(servers));
	suite_add_tcase(s, t);
	SRunner *runner = srunner_create(s);
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? 0 : 1;
}

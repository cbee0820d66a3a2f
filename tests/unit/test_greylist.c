/* SPDX-License-Identifier: BSD-2-Clause */
/* The greylist engine: who is exempt, who the client is, which triples are the same,
 * what the header says; and the batch test on files of events. */
#include "milters/greylist/greylist.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <check.h>

#include "common/base/xalloc.h"
#include "milters/greylist/greylist_test.h"

#define N(a) ((int)(sizeof(a) / sizeof((a)[0])))
#define T0 INT64_C(1800000000)

static struct settings_greylist
usual(void)
{
	return (struct settings_greylist){ .when = GREYLIST_ALWAYS,
		.delay = 300,
		.window = 172800,
		.keep = 3024000,
		.auto_whitelist = 5,
		.whitelist_keep = 3024000,
		.prefix4 = 24,
		.prefix6 = 64 };
}

static struct greylist_facts
facts_of(const char *client, const char *sender, const char *recipient)
{
	struct greylist_facts f = { .client.sender = str_of(sender),
		.recipient = str_of(recipient) };

	ck_assert(client[0] == '\0' || ip_parse(str_of(client), &f.client.ip));
	return f;
}

static const struct exempt_row {
	const char *client;
	bool authenticated;
	int when;
	const char *exempt;
	bool inside;
} exempts[] = {
	{ "192.0.2.1", false, GREYLIST_ALWAYS, NULL, false },
	{ "2001:db8::1", false, GREYLIST_ALWAYS, NULL, false },
	{ "192.0.2.1", true, GREYLIST_ALWAYS, "authenticated", true },
	{ "127.0.0.1", false, GREYLIST_ALWAYS, "local", true },
	{ "127.9.9.9", false, GREYLIST_ALWAYS, "local", true },
	{ "::1", false, GREYLIST_ALWAYS, "local", true },
	{ "::ffff:127.0.0.1", false, GREYLIST_ALWAYS, "local", true },
	{ "", false, GREYLIST_ALWAYS, "local", true },
	{ "192.0.2.1", false, GREYLIST_NEVER, "policy", false },
	{ "10.0.0.1", false, GREYLIST_ALWAYS, NULL, false },
};

START_TEST(exempt)
{
	const struct exempt_row *r = &exempts[_i];
	struct settings_greylist set = usual();
	struct greylist_facts f = facts_of(r->client, "<a@b.example>", "<c@d.example>");
	struct greylist_query q;

	f.authenticated = r->authenticated;
	set.when = r->when;
	greylist_want(&set, &f, T0, &q);
	ck_assert_int_eq(q.exempt == NULL, r->exempt == NULL);
	if (r->exempt != NULL)
		ck_assert_str_eq(q.exempt, r->exempt);
	ck_assert_int_eq(q.inside, r->inside);
	ck_assert_int_eq(q.key_len > 0, r->exempt == NULL);
}
END_TEST

static const struct identity_row {
	const char *client;
	int64_t prefix4, prefix6;
	const char *name, *network;
} identities[] = {
	{ "192.0.2.77", 24, 64, "192.0.2.0/24", "192.0.2.0/24" },
	{ "192.0.2.77", 32, 64, "192.0.2.77/32", "192.0.2.0/24" },
	{ "192.0.2.77", 16, 64, "192.0.0.0/16", "192.0.2.0/24" },
	{ "::ffff:192.0.2.77", 24, 64, "192.0.2.0/24", "192.0.2.0/24" },
	{ "2001:db8:1:2:3:4:5:6", 24, 64, "2001:db8:1:2::/64", "2001:db8:1:2::/64" },
	{ "2001:db8:1:2:3:4:5:6", 24, 128, "2001:db8:1:2:3:4:5:6/128",
	    "2001:db8:1:2::/64" },
	{ "2001:db8:1:2:3:4:5:6", 24, 48, "2001:db8:1::/48", "2001:db8:1:2::/64" },
};

START_TEST(identity)
{
	const struct identity_row *r = &identities[_i];
	struct settings_greylist set = usual();
	struct greylist_facts f = facts_of(r->client, "<a@b.example>", "<c@d.example>");
	struct greylist_query q;
	char net[IP_TEXT_MAX + 4];

	set.prefix4 = r->prefix4;
	set.prefix6 = r->prefix6;
	greylist_want(&set, &f, T0, &q);
	ck_assert_str_eq(q.identity.name, r->name);
	ck_assert_int_eq(q.client[0], 'n');
	ck_assert_mem_eq(q.client + 1, r->name, strlen(r->name));
	ck_assert_str_eq(ipnet_format(&q.network, net), r->network);
	ck_assert_str_eq(greylist_identity_kind_name(q.identity.kind), "network");
	ck_assert_int_eq(q.times.delay, 300);
	ck_assert_int_eq(q.times.whitelist_keep, 3024000);
}
END_TEST

static const struct pair_row {
	const char *name;
	const char *a[3], *b[3]; /* client, sender, recipient */
	bool same;
} pairs[] = {
	{ "the same", { "192.0.2.1", "<a@b.example>", "<c@d.example>" },
	    { "192.0.2.1", "<a@b.example>", "<c@d.example>" }, true },
	{ "same network", { "192.0.2.1", "<a@b.example>", "<c@d.example>" },
	    { "192.0.2.254", "<a@b.example>", "<c@d.example>" }, true },
	{ "other network", { "192.0.2.1", "<a@b.example>", "<c@d.example>" },
	    { "192.0.3.1", "<a@b.example>", "<c@d.example>" }, false },
	{ "case of domains", { "192.0.2.1", "<a@B.Example>", "<c@D.EXAMPLE>" },
	    { "192.0.2.1", "<a@b.example>", "<c@d.example>" }, true },
	{ "case of local parts", { "192.0.2.1", "<A@b.example>", "<c@d.example>" },
	    { "192.0.2.1", "<a@b.example>", "<c@d.example>" }, false },
	{ "brackets or none", { "192.0.2.1", "a@b.example", "c@d.example" },
	    { "192.0.2.1", "<a@b.example>", "<c@d.example>" }, true },
	{ "source route", { "192.0.2.1", "<@r.example:a@b.example>", "<c@d.example>" },
	    { "192.0.2.1", "<a@b.example>", "<c@d.example>" }, true },
	{ "null senders", { "192.0.2.1", "<>", "<c@d.example>" },
	    { "192.0.2.1", "", "<c@d.example>" }, true },
	{ "null sender and one", { "192.0.2.1", "<>", "<c@d.example>" },
	    { "192.0.2.1", "<a@b.example>", "<c@d.example>" }, false },
	{ "sender and recipient swapped",
	    { "192.0.2.1", "<a@b.example>", "<c@d.example>" },
	    { "192.0.2.1", "<c@d.example>", "<a@b.example>" }, false },
	{ "parts that meet elsewhere", { "192.0.2.1", "<a@b.ex>", "<ample@d.example>" },
	    { "192.0.2.1", "<a@b.example>", "<@d.example>" }, false },
	{ "no address at all", { "192.0.2.1", "<a b", "<c@d.example>" },
	    { "192.0.2.1", "<a b", "<c@d.example>" }, true },
	{ "postmaster without domain", { "192.0.2.1", "<a@b.example>", "<postmaster>" },
	    { "192.0.2.1", "<a@b.example>", "<Postmaster>" }, false },
};

static void
key_of(const char *const part[3], struct greylist_query *q)
{
	struct settings_greylist set = usual();
	struct greylist_facts f = facts_of(part[0], part[1], part[2]);

	greylist_want(&set, &f, T0, q);
	ck_assert_uint_gt(q->key_len, 6);
}

START_TEST(triples)
{
	const struct pair_row *r = &pairs[_i];
	struct greylist_query a, b;

	key_of(r->a, &a);
	key_of(r->b, &b);
	bool same = a.key_len == b.key_len && memcmp(a.key, b.key, a.key_len) == 0;
	ck_assert_msg(same == r->same, "%s", r->name);
}
END_TEST

/* Addresses as long as a stranger likes: the key stays in its bounds. */
START_TEST(endless_addresses)
{
	struct settings_greylist set = usual();
	struct greylist_facts f =
	    facts_of("2001:db8:1111:2222:3333:4444:5555:6666", "", "");
	struct greylist_query q;
	char *text = xmalloc(100000);

	set.prefix6 = 128;
	memset(text, 'x', 100000);
	memcpy(text + 90, "@b.example", 10);
	for (size_t len = 1; len < 100000; len += len < 2000 ? 1 : 9973) {
		f.client.sender = f.recipient = (struct str){ text, len };
		greylist_want(&set, &f, T0, &q);
		ck_assert_uint_le(q.key_len, sizeof(q.key));
		ck_assert_uint_le(q.key_len, STORE_NAME_MAX);
	}
	free(text);
}
END_TEST

START_TEST(outcomes)
{
	struct greylist_outcome o = { .why = NULL };
	struct verdict known = verdict_continue("known"),
		       retried = verdict_continue("retried"),
		       down = verdict_continue("store=down"),
		       later = verdict_refuse(451, "4.7.1", "greylisted", "wait");
	struct greylist_answer seen = { .state = STORE_OK,
		.seen = { GREYLIST_RETRIED, T0, 2 } };

	greylist_outcome_add(&o, &later, NULL, false, T0);
	ck_assert(o.why == NULL); /* refused: not part of the message */
	greylist_outcome_add(&o, &known, NULL, false, T0);
	greylist_outcome_add(&o, &down, NULL, false, T0);
	ck_assert_str_eq(o.why, "known");
	greylist_outcome_add(&o, &retried, &seen, false, T0 + 400);
	seen.seen.first = T0 + 100;
	greylist_outcome_add(&o, &retried, &seen, false, T0 + 400);
	ck_assert(o.delayed);
	ck_assert_int_eq(o.seconds, 400);
	seen.seen.first = T0 + 900; /* a clock that stepped back */
	o = (struct greylist_outcome){ .why = NULL };
	greylist_outcome_add(&o, &retried, &seen, false, T0);
	ck_assert_int_eq(o.seconds, 0);
	o = (struct greylist_outcome){ .why = NULL };
	greylist_outcome_add(&o, &later, NULL, true, T0);
	ck_assert(o.would);
}
END_TEST

static const struct header_row {
	struct greylist_outcome outcome;
	int64_t now;
	const char *value;
} headers[] = {
	{ { "retried", true, false, 312 }, T0,
	    "delayed 312 seconds by mx.example (postern-greylist); "
	    "Fri, 15 Jan 2027 08:00:00 +0000" },
	{ { "known", false, false, 0 }, 0,
	    "not delayed by mx.example (postern-greylist): known; "
	    "Thu, 1 Jan 1970 00:00:00 +0000" },
	{ { "store=down", false, false, 0 }, INT64_C(2147483648),
	    "not delayed by mx.example (postern-greylist): store=down; "
	    "Tue, 19 Jan 2038 03:14:08 +0000" },
	{ { "greylisted", false, true, 0 }, T0,
	    "not delayed by mx.example (postern-greylist): observing, would be "
	    "greylisted; "
	    "Fri, 15 Jan 2027 08:00:00 +0000" },
};

START_TEST(header)
{
	struct buf out;

	buf_init(&out, 900);
	greylist_header(&headers[_i].outcome, "mx.example", headers[_i].now, &out);
	ck_assert_str_eq(buf_cstr(&out), headers[_i].value);
	buf_clear(&out);
}
END_TEST

/* --- the batch test --- */

#define HEAD "time\tclient_ip\tclient_name\thelo\tsender\trecipient\tspf"
#define HEAD_OUT HEAD "\taction\tcode\tenhanced\treason\twait_s\n"
#define EVENT(t, ip, from, to)                                                         \
#t "\t" ip "\t[" ip "]\thelo.test\t<" from ">\t<" to ">\tnone"
#define DEFERRED(why, wait) "\ttempfail\t451\t4.7.1\t" why "\t" #wait "\n"
#define PASSED(why) "\tcontinue\t250\t2.1.5\t" why "\t0\n"

#define E1 EVENT(1000, "192.0.2.1", "a@b.test", "c@d.test")
#define E2 EVENT(1100, "192.0.2.9", "a@b.test", "c@d.test")
#define E3 EVENT(1300, "192.0.2.1", "a@b.test", "c@d.test")
#define E4 EVENT(1301, "192.0.2.1", "a@b.test", "c@d.test")
#define E5 EVENT(1302, "192.0.2.1", "", "c@d.test")
#define E6 EVENT(1302, "127.0.0.1", "a@b.test", "c@d.test")

static const struct batch_row {
	const char *name, *conf, *in, *out;
	int status;
} batches[] = {
	{ "life of a triple", NULL, HEAD "\n" E1 "\n" E2 "\n" E3 "\n" E4 "\n",
	    HEAD_OUT E1 DEFERRED("greylisted", 300) E2 DEFERRED("early", 200)
		E3 PASSED("retried") E4 PASSED("known"),
	    0 },
	{ "null sender, local client", NULL, HEAD "\n" E5 "\n" E6 "\n",
	    HEAD_OUT E5 DEFERRED("greylisted", 300) E6 PASSED("local"), 0 },
	{ "line ends and empty lines", NULL, "\n" HEAD "\r\n\n" E1 "\r\n\r\n",
	    HEAD_OUT E1 DEFERRED("greylisted", 300), 0 },
	{ "columns in another order, one more", NULL,
	    "spf\trecipient\tsender\thelo\tclient_name\tclient_ip\ttime\tx\n"
	    "none\t<c@d.test>\t<a@b.test>\th\t[192.0.2.1]\t192.0.2.1\t5.75\ty",
	    "spf\trecipient\tsender\thelo\tclient_name\tclient_ip\ttime\tx"
	    "\taction\tcode\tenhanced\treason\twait_s\n"
	    "none\t<c@d.test>\t<a@b.test>\th\t[192.0.2.1]\t192.0.2.1\t5.75\ty" DEFERRED(
		"greylisted", 300),
	    0 },
	{ "settings and policies",
	    "greylist { delay 60; text \"%w\" }\n"
	    "policy \"p\" { recipient c@d.test; greylist.when never; }\n"
	    "policy \"o\" { recipient o@d.test; mode observe; }\n",
	    HEAD "\n" E1 "\n" EVENT(5, "192.0.2.1", "a@b.test", "x@d.test") "\n" EVENT(
		6, "192.0.2.1", "a@b.test", "o@d.test"),
	    HEAD_OUT E1 PASSED("policy") EVENT(5, "192.0.2.1", "a@b.test", "x@d.test")
		DEFERRED("greylisted", 60) EVENT(6, "192.0.2.1", "a@b.test", "o@d.test")
		    PASSED("observed"),
	    0 },
	{ "bad settings", "greylist { delay soon }\n", HEAD "\n", "", 78 },
	{ "no head", NULL, "", "", 65 },
	{ "a column is missing", NULL, "time\tclient_ip\n", "", 65 },
	{ "a field is missing", NULL, HEAD "\n1\t192.0.2.1\n", HEAD_OUT, 65 },
	{ "bad time", NULL, HEAD "\n" EVENT(soon, "192.0.2.1", "a@b.test", "c@d.test"),
	    HEAD_OUT, 65 },
	{ "bad address", NULL, HEAD "\n" EVENT(1, "192.0.2", "a@b.test", "c@d.test"),
	    HEAD_OUT, 65 },
};

static char *
temp_file(const char *text)
{
	const char *tmp = getenv("TMPDIR");
	char *name = xasprintf("%s/postern-events-XXXXXX", tmp != NULL ? tmp : "/tmp");
	int fd = mkstemp(name);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
	return name;
}

START_TEST(batch)
{
	const struct batch_row *r = &batches[_i];
	char *conf = r->conf == NULL ? NULL : temp_file(r->conf), *got = NULL;
	size_t len = 0;
	FILE *in = tmpfile(), *out = open_memstream(&got, &len);

	ck_assert(in != NULL && out != NULL);
	ck_assert_int_ge(fputs(r->in, in), 0);
	rewind(in);
	int status = greylist_test_run(conf, in, out);
	fclose(in);
	fclose(out);
	ck_assert_msg(status == r->status, "%s: status %d", r->name, status);
	ck_assert_str_eq(got, r->out);
	if (conf != NULL)
		unlink(conf);
	free(got);
	free(conf);
}
END_TEST

START_TEST(batch_usage)
{
	char name[] = "greylist", option[] = "-x", word[] = "events.tsv";
	char *bad_option[] = { name, option, NULL }, *bad_word[] = { name, word, NULL };

	ck_assert_int_eq(greylist_test_main(2, bad_option), 64);
	ck_assert_int_eq(greylist_test_main(2, bad_word), 64);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("greylist");
	TCase *engine = tcase_create("engine"), *batch_tests = tcase_create("batch");

	tcase_add_loop_test(engine, exempt, 0, N(exempts));
	tcase_add_loop_test(engine, identity, 0, N(identities));
	tcase_add_loop_test(engine, triples, 0, N(pairs));
	tcase_add_test(engine, endless_addresses);
	tcase_add_test(engine, outcomes);
	tcase_add_loop_test(engine, header, 0, N(headers));
	tcase_add_loop_test(batch_tests, batch, 0, N(batches));
	tcase_add_test(batch_tests, batch_usage);
	tcase_set_timeout(batch_tests, 30);
	suite_add_tcase(suite, engine);
	suite_add_tcase(suite, batch_tests);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int ran = srunner_ntests_run(runner), failed = srunner_ntests_failed(runner);
	int expected =
	    N(exempts) + N(identities) + N(pairs) + N(headers) + N(batches) + 3;
	srunner_free(runner);
	return ran == expected && failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

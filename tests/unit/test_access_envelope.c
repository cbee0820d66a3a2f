/* SPDX-License-Identifier: BSD-2-Clause */
/* The checks of client, HELO and sender against a DNS server: what they find, in which
 * order of settings, and with which words. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/xalloc.h"
#include "common/net/resolver.h"
#include "milters/access/check_client.h"
#include "milters/access/check_helo.h"
#include "milters/access/check_pause.h"
#include "milters/access/check_sender.h"
#include "tests/lib/dnsd.h"

static const char zone[] = "example SOA 60 ns.example 30\n"
			   "113.0.203.in-addr.arpa SOA 60 ns.example 30\n"
			   "mx.example MX 10 in.mx.example\nin.mx.example A 192.0.2.1\n"
			   "a.example A 192.0.2.2\naaaa.example AAAA 2001:db8::1\n"
			   "null.example MX 0 .\nnull2.example MX 0 .\n"
			   "null2.example MX 10 in.mx.example\n"
			   "txt.example TXT x\n"
			   "fail.example fault servfail\n"
			   "priv.example MX 10 in.priv.example\n"
			   "in.priv.example A 10.0.0.1\n"
			   "half.example MX 10 in.priv.example\n"
			   "half.example MX 20 in.mx.example\n"
			   "lost.example MX 10 in.priv.example\n"
			   "lost.example MX 20 fail.example\n"
			   "home.example MX 10 localhost\n"
			   "loop.example A 127.0.0.1\n"
			   "gone.example MX 10 nowhere.example\n"
			   "1.113.0.203.in-addr.arpa PTR good.example\n"
			   "good.example A 203.0.113.1\n"
			   "2.113.0.203.in-addr.arpa PTR liar.example\n"
			   "liar.example A 192.0.2.9\n"
			   "3.113.0.203.in-addr.arpa fault servfail\n"
			   "4.113.0.203.in-addr.arpa PTR fail.example\n"
			   "5.113.0.203.in-addr.arpa PTR 203-0-113-5.pool.example\n"
			   "203-0-113-5.pool.example A 203.0.113.5\n"
			   "6.113.0.203.in-addr.arpa PTR liar.example\n"
			   "6.113.0.203.in-addr.arpa PTR six.example\n"
			   "six.example A 203.0.113.6\n"
			   "slow.example fault drop\n";

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

	dnsd = dnsd_start(str_of(zone), 0, &err);
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

struct session {
	const char *conf;
	const char *client; /* address */
	const char *name; /* confirmed; NULL: none */
	enum access_resolve resolve;
	const char *helo, *sender;
};

/* What the check finds in all phases: "detail(points|reject 550 5.7.1)"; text: the reply
 * of the last. */
static void
find(const struct check_ops *ops, const struct session *in, char out[300], char text[600])
{
	static const struct access_classes none = { .host = NULL };
	char conf[500];
	struct errs errs = { 0 };
	struct err err = { 0 };
	struct access_addr sender;
	struct verdict refusal;
	struct policy_view view;
	struct findings found = { 0 };
	void *self = resolver, *conn = xcalloc(1, ops->conn_size + 1);
	struct buf b;

	snprintf(conf, sizeof(conf), "access { sender-deadline 300ms; %s }", in->conf);
	struct settings *s = settings_from_text(str_of(conf), "t", &errs);
	ck_assert_msg(s != NULL, "%s", errs.n > 0 ? errs.list[0].text : "");
	const struct policy_facts pf = { .stage = STAGE_CONNECT };
	policy_resolve(s, &pf, &view);
	ck_assert_int_eq(access_addr_parse(&none, (struct access_routes){ false, false },
			     str_of(in->sender), &sender, &refusal),
	    0);
	struct check_facts facts = { .settings = s,
		.view = &view,
		.name = in->name != NULL ? in->name : "[x]",
		.resolve = in->resolve,
		.own_names = { "gate.example", "gate.example" },
		.helo = in->helo,
		.sender = &sender,
		.wait = wait_plainly };
	ck_assert(ip_parse(str_of(in->client), &facts.ip));
	const struct check_shared shared = { .settings = s, .resolver = resolver };
	if (ops->start != NULL)
		ck_assert_int_eq(ops->start(&shared, &self, &err), 0);
	if (ops->conn_init != NULL)
		ops->conn_init(self, conn);
	for (int p = CHECK_CONNECT; p <= CHECK_RCPT; p++)
		if (ops->ask != NULL)
			ops->ask(self, conn, (enum check_phase)p, &facts);
	for (int p = CHECK_CONNECT; p <= CHECK_RCPT; p++)
		ops->judge(self, conn, (enum check_phase)p, &facts, &found);
	buf_init(&b, 299);
	text[0] = '\0';
	for (size_t i = 0; i < found.n; i++) {
		const struct finding *f = &found.list[i];

		buf_addf(&b, "%s%s(", i > 0 ? " " : "", f->detail);
		if (f->refuses)
			buf_addf(&b, "%s %d %s", action_name(f->verdict.action),
			    f->verdict.code, f->verdict.enhanced);
		else
			access_points_print(f->points, &b);
		buf_add_char(&b, ')');
		snprintf(text, 600, "%s", f->verdict.text);
	}
	snprintf(out, 300, "%s", buf_cstr(&b));
	buf_clear(&b);
	findings_clear(&found);
	if (ops->msg_clear != NULL)
		ops->msg_clear(self, conn);
	if (ops->conn_clear != NULL)
		ops->conn_clear(self, conn);
	free(conn);
	if (ops->stop != NULL)
		ops->stop(self);
	settings_unref(s);
}

#define ALL                                                                            \
	"sender-unqualified reject; sender-unresolvable reject; sender-private-mx 2.5"
static const struct {
	const char *what, *conf, *sender, *found;
} senders[] = {
	{ "an MX", ALL, "<u@mx.example>", "" },
	{ "an address", ALL, "<u@a.example>", "" },
	{ "an IPv6 address", ALL, "<u@aaaa.example>", "" },
	{ "the null sender", ALL, "<>", "" },
	{ "an address literal", ALL, "<u@[192.0.2.1]>", "" },
	{ "a null MX", "", "<u@null.example>",
	    "sender-null-mx=null.example(reject 550 5.7.27)" },
	{ "a null MX, in points", "sender-null-mx 4", "<u@null.example>",
	    "sender-null-mx=null.example(4)" },
	{ "a null MX, not looked at", "sender-null-mx off", "<u@null.example>", "" },
	{ "a null MX beside another", ALL, "<u@null2.example>", "" },
	{ "neither MX nor address", ALL, "<u@txt.example>",
	    "sender-unresolvable=txt.example(reject 553 5.1.8)" },
	{ "no such domain", ALL, "<u@none.example>",
	    "sender-unresolvable=none.example(reject 553 5.1.8)" },
	{ "for a while", "sender-unresolvable tempfail", "<u@none.example>",
	    "sender-unresolvable=none.example(tempfail 450 4.1.8)" },
	{ "no such domain, not looked at", "", "<u@none.example>", "" },
	{ "DNS fails", ALL, "<u@fail.example>",
	    "sender-temperror=fail.example(tempfail 451 4.1.8)" },
	{ "DNS fails, and nobody minds", ALL "; sender-temperror off", "<u@fail.example>",
	    "" },
	{ "DNS fails, only null MX is looked at", "", "<u@fail.example>", "" },
	{ "DNS is silent", ALL, "<u@slow.example>",
	    "sender-temperror=slow.example(tempfail 451 4.1.8)" },
	{ "private MX", ALL, "<u@priv.example>", "sender-private-mx=priv.example(2.5)" },
	{ "private MX, not looked at", "sender-unresolvable reject", "<u@priv.example>",
	    "" },
	{ "private and public", ALL, "<u@half.example>", "" },
	{ "private and unknown", ALL, "<u@lost.example>", "" },
	{ "localhost", ALL, "<u@home.example>", "sender-private-mx=home.example(2.5)" },
	{ "loopback without MX", ALL, "<u@loop.example>",
	    "sender-private-mx=loop.example(2.5)" },
	{ "MX without an address", ALL, "<u@gone.example>", "" },
	{ "no domain", ALL, "<root>", "sender-unqualified=root(reject 553 5.5.4)" },
	{ "no domain, not looked at", "", "<root>", "" },
};

START_TEST(sender_row)
{
	const struct session in = { senders[_i].conf, "203.0.113.1", NULL,
		ACCESS_RESOLVE_FAIL, "mx.example", senders[_i].sender };
	char found[300], text[600];

	find(&check_sender, &in, found, text);
	ck_assert_msg(strcmp(found, senders[_i].found) == 0, "%s: %s", senders[_i].what,
	    found);
}
END_TEST

#define NAMES "client-no-name 1; client-forged 2; client-generic 3"
static const struct {
	const char *what, *conf, *client, *name;
	enum access_resolve resolve;
	const char *found;
} clients[] = {
	{ "the MTA knows the name", NAMES, "203.0.113.9", "x.example", ACCESS_RESOLVE_OK,
	    "" },
	{ "the MTA knows it is generic", NAMES, "203.0.113.9", "203-0-113-9.example",
	    ACCESS_RESOLVE_OK, "client-generic=203-0-113-9.example(3)" },
	{ "the MTA knows it is forged", NAMES, "203.0.113.9", "x.example",
	    ACCESS_RESOLVE_FORGED, "client-forged=x.example(2)" },
	{ "the MTA could not ask", NAMES, "203.0.113.9", NULL, ACCESS_RESOLVE_TEMP, "" },
	{ "we find it good", NAMES, "203.0.113.1", NULL, ACCESS_RESOLVE_FAIL, "" },
	{ "we find it forged", NAMES, "203.0.113.2", NULL, ACCESS_RESOLVE_FAIL,
	    "client-forged=liar.example(2)" },
	{ "PTR fails", NAMES, "203.0.113.3", NULL, ACCESS_RESOLVE_FAIL, "" },
	{ "the name's address fails", NAMES, "203.0.113.4", NULL, ACCESS_RESOLVE_FAIL,
	    "" },
	{ "we find it generic", NAMES, "203.0.113.5", NULL, ACCESS_RESOLVE_FAIL,
	    "client-generic=203-0-113-5.pool.example(3)" },
	{ "the second name is good", NAMES, "203.0.113.6", NULL, ACCESS_RESOLVE_FAIL, "" },
	{ "no name", NAMES, "203.0.113.77", NULL, ACCESS_RESOLVE_FAIL,
	    "client-no-name=203.0.113.77(1)" },
	{ "no name of IPv6", NAMES, "2001:db8::5", NULL, ACCESS_RESOLVE_FAIL,
	    "client-no-name=2001:db8::5(1)" },
	{ "no name, not looked at", "client-forged 2", "203.0.113.77", NULL,
	    ACCESS_RESOLVE_FAIL, "" },
	{ "nothing is looked at", "", "203.0.113.2", NULL, ACCESS_RESOLVE_FAIL, "" },
};

START_TEST(client_row)
{
	const struct session in = { clients[_i].conf, clients[_i].client,
		clients[_i].name, clients[_i].resolve, "mx.example", "<>" };
	char found[300], text[600];

	find(&check_client, &in, found, text);
	ck_assert_msg(strcmp(found, clients[_i].found) == 0, "%s: %s", clients[_i].what,
	    found);
}
END_TEST

#define HELO "helo-syntax 1; helo-unqualified 2; helo-forged reject"
static const struct {
	const char *conf, *helo, *found, *text;
} helos[] = {
	{ HELO, "mx.example", "", "" },
	{ HELO, "a b", "helo-syntax=a?b(1)",
	    "HELO must be a host name or an address in brackets, not a?b" },
	{ HELO, "pc", "helo-unqualified=pc(2)",
	    "HELO pc: a fully-qualified host name is needed" },
	{ HELO, "gate.example", "helo-forged=gate.example(reject 550 5.7.1)",
	    "HELO gate.example is our own name or address, not yours" },
	{ HELO, "[127.0.0.1]", "helo-forged=[127.0.0.1](reject 550 5.7.1)",
	    "HELO [127.0.0.1] is our own name or address, not yours" },
	{ HELO "; own-names our.example 192.0.2.9", "our.example",
	    "helo-forged=our.example(reject 550 5.7.1)",
	    "HELO our.example is our own name or address, not yours" },
	{ HELO "; own-names our.example 192.0.2.9", "[192.0.2.9]",
	    "helo-forged=[192.0.2.9](reject 550 5.7.1)",
	    "HELO [192.0.2.9] is our own name or address, not yours" },
	{ "helo-forged reject \"not %a, 100%%\"", "gate.example",
	    "helo-forged=gate.example(reject 550 5.7.1)", "not gate.example, 100%" },
	{ "", "gate.example", "", "" },
	{ HELO, "", "", "" },
};

START_TEST(helo_row)
{
	const struct session in = { helos[_i].conf, "203.0.113.1", NULL,
		ACCESS_RESOLVE_FAIL, helos[_i].helo, "<>" };
	char found[300], text[600];

	find(&check_helo, &in, found, text);
	ck_assert_str_eq(found, helos[_i].found);
	ck_assert_str_eq(text, helos[_i].text);
}
END_TEST

/* MX failed: an address says nothing.  An answer that did not come is a failure. */
START_TEST(what_dns_says)
{
	char name[] = "mx.example", root[] = "";
	struct dns_record rec = { .name = name }, null = { .name = root };
	const struct dns_answer yes = { .status = DNS_OK, .records = &rec, .n = 1 };
	const struct dns_answer null_mx = { .status = DNS_OK, .records = &null, .n = 1 };
	const struct dns_answer no = { .status = DNS_NODATA };
	const struct dns_answer fail = { .status = DNS_FAIL };

	ck_assert_int_eq(access_sender_domain(&yes, NULL, NULL), SENDER_OK);
	ck_assert_int_eq(access_sender_domain(&null_mx, &yes, NULL), SENDER_NULL_MX);
	ck_assert_int_eq(access_sender_domain(&fail, &yes, &yes), SENDER_TEMP);
	ck_assert_int_eq(access_sender_domain(NULL, &yes, &yes), SENDER_TEMP);
	ck_assert_int_eq(access_sender_domain(&no, &yes, NULL), SENDER_OK);
	ck_assert_int_eq(access_sender_domain(&no, &fail, &yes), SENDER_OK);
	ck_assert_int_eq(access_sender_domain(&no, &no, &fail), SENDER_TEMP);
	ck_assert_int_eq(access_sender_domain(&no, &no, &no), SENDER_NONE);
}
END_TEST

static bool
no_entry(void *arg, struct str key, struct access_entry *out)
{
	const char *want = arg;

	if (want == NULL || !str_is(key, want))
		return false;
	*out = (struct access_entry){ .value = STR("70") };
	return true;
}

/* The setting, and the map's entry before it. */
START_TEST(pause_before_the_greeting)
{
	static char entry[] = "GreetPause:203.0.113.1";
	const struct access_rules rules = { .skip = true };
	struct access access = { .rules = &rules,
		.lookup = no_entry,
		.client = { .addr = "203.0.113.1", .name = "x.example", .helo = "" } };
	struct policy_view view = { .access = { .greeting_pause_ms = 150 } };
	const struct check_facts facts = { .view = &view,
		.access = &access,
		.wait = wait_plainly };

	int64_t begin = clock_mono_ms();
	check_pause.ask(NULL, NULL, CHECK_HELO, &facts);
	check_pause.ask(NULL, NULL, CHECK_CONNECT, &facts);
	int64_t took = clock_mono_ms() - begin;
	ck_assert_msg(took >= 150 && took < 2000, "%lld ms", (long long)took);
	access.lookup_arg = entry;
	view.access.greeting_pause_ms = 20000;
	begin = clock_mono_ms();
	check_pause.ask(NULL, NULL, CHECK_CONNECT, &facts);
	took = clock_mono_ms() - begin;
	ck_assert_msg(took >= 70 && took < 10000, "%lld ms", (long long)took);
	view.access.greeting_pause_ms = 0;
	access.lookup_arg = NULL;
	begin = clock_mono_ms();
	check_pause.ask(NULL, NULL, CHECK_CONNECT, &facts);
	ck_assert_int_lt(clock_mono_ms() - begin, 10000);
}
END_TEST

#define ROWS(table) (int)(sizeof(table) / sizeof((table)[0]))

int
main(void)
{
	Suite *s = suite_create("access_envelope");
	TCase *t = tcase_create("access_envelope");

	tcase_set_timeout(t, 60);
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_loop_test(t, sender_row, 0, ROWS(senders));
	tcase_add_loop_test(t, client_row, 0, ROWS(clients));
	tcase_add_loop_test(t, helo_row, 0, ROWS(helos));
	tcase_add_test(t, what_dns_says);
	tcase_add_test(t, pause_before_the_greeting);
	suite_add_tcase(s, t);
	SRunner *runner = srunner_create(s);
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? 0 : 1;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* SPF: the grammar, macros, evaluations over a zone of our own, what counts as
 * identity, and the pool against a name server with faults. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/auth/spf.h"
#include "common/auth/spf_eval.h"
#include "common/auth/spf_macro.h"
#include "common/auth/spf_record.h"
#include "common/base/clock.h"
#include "common/base/xalloc.h"
#include "tests/lib/dnsd.h"

#define ROWS(table) (int)(sizeof(table) / sizeof((table)[0]))

/* ---- grammar ---- */

static const char *const good_records[] = {
	"v=spf1",
	"V=SPF1 -ALL",
	"v=spf1   a  mx   -all  ",
	"v=spf1 ip4:192.0.2.0/24 ip4:192.0.2.1 ip6:2001:db8::/32 ip6:::1 ~all",
	"v=spf1 a:mail.example a/24 a//64 a/24//64 a:mail.example/0//0 ?all",
	"v=spf1 mx:%{d} mx:%{d}/24 ptr ptr:mail.example exists:%{ir}.%{v}._spf.%{d2} "
	"-all",
	"v=spf1 exists:%{l1r-}.%{o}.example include:_spf.mail.example. "
	"redirect=a.example",
	"v=spf1 exists:%{S12R.-+,/_=}.example -all exp=why.%{d}",
	"v=spf1 a:foo:bar/baz.mail.example a:a.1-2.x-y -all",
	"v=spf1 unknown=anything/at:all%%%_%- x.y-z_1=%{h}%{c} -all",
};

START_TEST(record_good)
{
	struct spf_record r;
	struct err err = { 0 };
	struct str text = str_of(good_records[_i]);

	ck_assert(spf_record_is(text));
	ck_assert_msg(
	    spf_record_parse(text, &r, &err) == 0, "%s: %s", text.p, err.text);
	spf_record_clear(&r);
}
END_TEST

static const struct {
	const char *text, *why; /* why: a part of the error */
} bad_records[] = {
	{ "v=spf1 +", "no such mechanism" },
	{ "v=spf1 foo", "no such mechanism" },
	{ "v=spf1 all:x.example", "takes no value" },
	{ "v=spf1 all.", "no such mechanism" },
	{ "v=spf1 ip4", "expected \":\"" },
	{ "v=spf1 ip4:", "no network" },
	{ "v=spf1 ip4:192.0.2", "no network" },
	{ "v=spf1 ip4:192.0.2.1/33", "prefix length" },
	{ "v=spf1 ip4:192.0.2.1/08", "prefix length" },
	{ "v=spf1 ip4:192.0.2.1/", "no network" },
	{ "v=spf1 ip4:192.0.2.1//32", "no network" },
	{ "v=spf1 ip4:2001:db8::1", "no network" },
	{ "v=spf1 ip4:[192.0.2.1]", "no network" },
	{ "v=spf1 ip6:192.0.2.1", "no network" },
	{ "v=spf1 ip6:2001:db8::1/129", "prefix length" },
	{ "v=spf1 ip6:IPv6:2001:db8::1", "no network" },
	{ "v=spf1 a:", "empty domain" },
	{ "v=spf1 a/33", "prefix length" },
	{ "v=spf1 a/24/64", "prefix length" },
	{ "v=spf1 a//129", "prefix length" },
	{ "v=spf1 ax", "no such mechanism" },
	{ "v=spf1 a:museum", "does not end in a domain" },
	{ "v=spf1 a:museum.", "does not end in a domain" },
	{ "v=spf1 a:192.0.2.1", "does not end in a domain" },
	{ "v=spf1 a:mail.-x", "does not end in a domain" },
	{ "v=spf1 a:mail..", "does not end in a domain" },
	{ "v=spf1 a:%{d}mail", "does not end in a domain" },
	{ "v=spf1 ptr/24", "expected \":\"" },
	{ "v=spf1 include", "expected \":\"" },
	{ "v=spf1 include:a.example/24", "does not end in a domain" },
	{ "v=spf1 exists:%{c}.example", "starts no macro" },
	{ "v=spf1 exists:%{d0}.example", "starts no macro" },
	{ "v=spf1 exists:%{d129}.example", "starts no macro" },
	{ "v=spf1 exists:%{d99999999999999999999}.example", "starts no macro" },
	{ "v=spf1 exists:%{d", "starts no macro" },
	{ "v=spf1 exists:%{d.example", "starts no macro" },
	{ "v=spf1 exists:%{", "starts no macro" },
	{ "v=spf1 exists:%", "starts no macro" },
	{ "v=spf1 exists:%d.example", "starts no macro" },
	{ "v=spf1 x=%(d)", "starts no macro" },
	{ "v=spf1 -redirect=a.example", "no such mechanism" },
	{ "v=spf1 redirect=", "empty domain" },
	{ "v=spf1 redirect=a.example redirect=b.example", "twice" },
	{ "v=spf1 exp=a.example exp=a.example", "twice" },
	{ "v=spf1 =x", "no such mechanism" },
	{ "v=spf1 1x=y", "no such mechanism" },
	{ "v=spf1 a\tmx", "0x09" },
	{ "v=spf1 a:m\xc3\xa4il.example", "0xc3" },
	{ "v=spf1 -all moo", "no such mechanism" },
	{ "v=spf1 exists:%{d}%{d}%{d}%{d}%{d}%{d}%{d}%{d}%{d}%{d}%{d}%{d}%{d}%{d}%{d}"
	  "%{d}%{d}%{d}%{d}%{d}%{d}%{d}%{d}%{d}%{d}",
	    "more than 24 macros" },
};

START_TEST(record_bad)
{
	struct spf_record r;
	struct err err = { 0 };

	ck_assert_int_eq(spf_record_parse(str_of(bad_records[_i].text), &r, &err), -1);
	spf_record_clear(&r);
	ck_assert_msg(strstr(err.text, bad_records[_i].why) != NULL, "%s: %s",
	    bad_records[_i].text, err.text);
}
END_TEST

START_TEST(record_limits)
{
	struct spf_record r;
	struct err err = { 0 };
	struct buf text;

	buf_init(&text, 8192);
	buf_add_cstr(&text, "v=spf1 a:");
	for (int i = 0; i < 60; i++)
		buf_add_cstr(&text, "abcd.");
	buf_add_cstr(&text, "example");
	ck_assert_int_eq(spf_record_parse(buf_str(&text), &r, &err), -1);
	spf_record_clear(&r);
	ck_assert(strstr(err.text, "at most 255") != NULL);
	buf_reset(&text);
	buf_add_cstr(&text, "v=spf1");
	for (int i = 0; i < 257; i++)
		buf_add_cstr(&text, " mx");
	ck_assert_int_eq(spf_record_parse(buf_str(&text), &r, &err), -1);
	spf_record_clear(&r);
	ck_assert(strstr(err.text, "more than 256 terms") != NULL);
	for (int i = 0; i < 500; i++)
		buf_add_cstr(&text, " mx");
	ck_assert_int_eq(spf_record_parse(buf_str(&text), &r, &err), -1);
	spf_record_clear(&r);
	ck_assert(strstr(err.text, "at most 2048") != NULL);
	ck_assert(!spf_record_is(STR("v=spf10 -all")));
	ck_assert(!spf_record_is(STR("v=spf1\0 -all")));
	ck_assert(!spf_record_is(STR("")));
	buf_clear(&text);
}
END_TEST

static const struct {
	const char *text, *out;
} macros[] = {
	{ "", "" },
	{ "plain", "plain" },
	{ "%%%_%-x", "% %20x" },
	{ "%{s}", "strong-bad@email.example.com" },
	{ "%{o}", "email.example.com" },
	{ "%{d}", "email.example.com" },
	{ "%{d4}", "email.example.com" },
	{ "%{d2}", "example.com" },
	{ "%{d1}", "com" },
	{ "%{dr}", "com.example.email" },
	{ "%{d2r}", "example.email" },
	{ "%{l}", "strong-bad" },
	{ "%{l-}", "strong.bad" },
	{ "%{lr}", "strong-bad" },
	{ "%{lr-}", "bad.strong" },
	{ "%{l1r-}", "strong" },
	{ "%{ir}.%{v}._spf.%{d2}", "3.2.0.192.in-addr._spf.example.com" },
	{ "%{S}", "strong-bad%40email.example.com" },
	{ "%{LR-}", "bad.strong" },
	{ "%{d2-.}", "example.com" },
	{ "%{h}", "" },
	{ "%{hr}", "" },
	{ "%{h3r.-}", "" },
	{ "%{t}", "a,b/c=d_e" },
	{ "%{tr,/=_}", "e.d.c.b.a" },
	{ "%{t2,/=_}", "d.e" },
	{ "%{r}", "...." },
	{ "%{r2}", "." },
};

START_TEST(macro_row)
{
	struct spf_vars vars = { 0 };
	struct spf_macros m;
	struct buf out;

	vars.value['s' - 'a'] = STR("strong-bad@email.example.com");
	vars.value['l' - 'a'] = STR("strong-bad");
	vars.value['o' - 'a'] = vars.value['d' - 'a'] = STR("email.example.com");
	vars.value['i' - 'a'] = STR("192.0.2.3");
	vars.value['v' - 'a'] = STR("in-addr");
	vars.value['h' - 'a'] = STR("");
	vars.value['t' - 'a'] = STR("a,b/c=d_e");
	vars.value['r' - 'a'] = STR("....");
	buf_init(&out, 4096);
	ck_assert_int_eq(spf_macros_check(str_of(macros[_i].text), true, &m, NULL), 0);
	ck_assert_int_eq(spf_macro_expand(&vars, str_of(macros[_i].text), &out), 0);
	ck_assert_str_eq(buf_cstr(&out), macros[_i].out);
	buf_clear(&out);
}
END_TEST

/* ---- evaluation ---- */

/* name, type, data; "!" fails.  TXT unless another type is named. */
static const struct zone_row {
	const char *name;
	enum dns_type type;
	const char *data;
} zone[] = {
	{ "ip.example", DNS_TXT, "v=spf1 ip4:192.0.2.0/24 ip6:2001:db8::/32 -all" },
	{ "wide.example", DNS_TXT, "v=spf1 ip4:192.0.0.0/15 ip6:2001:db8::/31 -all" },
	{ "edge.example", DNS_TXT, "v=spf1 ip4:192.0.0.0/16 -all" },
	{ "open.example", DNS_TXT, "v=spf1 +all" },
	{ "ptr.example", DNS_TXT, "v=spf1 ptr:host.example -all" },
	{ "exists.example", DNS_TXT, "v=spf1 exists:%{ir}.list.example -all" },
	{ "1.2.0.192.list.example", DNS_A, "127.0.0.2" },
	{ "1.2.0.192.in-addr.arpa", DNS_PTR, "gone.host.example" },
	{ "1.2.0.192.in-addr.arpa", DNS_PTR, "mail.host.example" },
	{ "gone.host.example", DNS_A, "!" },
	{ "mail.host.example", DNS_A, "192.0.2.1" },
	{ "mail.host.example", DNS_AAAA, "2001:db8::1" },
	{ "a.example", DNS_TXT, "v=spf1 a:mail.host.example mx -all" },
	{ "a0.example", DNS_TXT, "v=spf1 a:mail.host.example/0//0 -all" },
	{ "a15.example", DNS_TXT, "v=spf1 a:mail.host.example/15 -all" },
	{ "mx.example", DNS_TXT, "v=spf1 mx:mail.example/24 -all" },
	{ "mail.example", DNS_MX, "mail.host.example" },
	{ "mail.example", DNS_MX, "other.host.example" },
	{ "inc.example", DNS_TXT, "v=spf1 include:ip.example -all" },
	{ "incinc.example", DNS_TXT, "v=spf1 include:inc.example -all" },
	{ "incopen.example", DNS_TXT,
	    "v=spf1 include:open.example ip4:192.0.2.1 -all" },
	{ "incptr.example", DNS_TXT, "v=spf1 include:ptr.example -all" },
	{ "incwide.example", DNS_TXT, "v=spf1 include:wide.example -all" },
	{ "redir.example", DNS_TXT, "v=spf1 redirect=ip.example exp=never.example" },
	{ "rediropen.example", DNS_TXT, "v=spf1 redirect=open.example" },
	{ "own.example", DNS_TXT, "v=spf1 a:%{i}.own.example -all" },
	{ "192.0.2.1.own.example", DNS_A, "192.0.2.1" },
	{ "owninc.example", DNS_TXT, "v=spf1 include:%{l}.own.example -all" },
	{ "joe.own.example", DNS_TXT, "v=spf1 ip4:192.0.2.1 -all" },
	{ "dom.example", DNS_TXT, "v=spf1 include:_spf.%{d} -all" },
	{ "_spf.dom.example", DNS_TXT, "v=spf1 ip4:192.0.2.1 -all" },
	{ "mapped.example", DNS_TXT, "v=spf1 ip6:::ffff:192.0.2.1/0 -all" },
	{ "soft.example", DNS_TXT, "v=spf1 ip4:198.51.100.1 ~all" },
	{ "neutral.example", DNS_TXT, "v=spf1 ip4:198.51.100.1" },
	{ "exp.example", DNS_TXT, "v=spf1 -all exp=why.%{d}" },
	{ "why.exp.example", DNS_TXT,
	    "%{c} is not of %{d}; ask %{r} about %{S}, 100%%" },
	{ "exp2.example", DNS_TXT, "v=spf1 -all exp=two.example" },
	{ "two.example", DNS_TXT, "one" },
	{ "two.example", DNS_TXT, "two" },
	{ "expdead.example", DNS_TXT, "v=spf1 -all exp=dead.example" },
	{ "expbad.example", DNS_TXT, "v=spf1 -all exp=badwords.example" },
	{ "badwords.example", DNS_TXT, "line\r\nRCPT TO:<x>" },
	{ "dead.example", DNS_TXT, "!" },
	{ "dead.example", DNS_A, "!" },
	{ "incdead.example", DNS_TXT, "v=spf1 include:dead.example -all" },
	{ "adead.example", DNS_TXT, "v=spf1 a:dead.example -all" },
	{ "incnone.example", DNS_TXT, "v=spf1 include:nothing.example -all" },
	{ "two.records.example", DNS_TXT, "v=spf1 -all" },
	{ "two.records.example", DNS_TXT, "v=spf1" },
	{ "other.txt.example", DNS_TXT, "v=spf1x" },
	{ "other.txt.example", DNS_TXT, "\xff\xfe" },
	{ "other.txt.example", DNS_TXT, "v=spf1 ip4:192.0.2.1" },
	{ "syntax.example", DNS_TXT, "v=spf1 +all moo" },
	{ "voids.example", DNS_TXT, "v=spf1 a:v1.example a:v2.example ?all" },
	{ "voids3.example", DNS_TXT,
	    "v=spf1 a:v1.example mx:v2.example exists:v3.example +all" },
	{ "ten.example", DNS_TXT, "v=spf1 a a a a a a a a a a +all" },
	{ "ten.example", DNS_A, "198.51.100.1" },
	{ "eleven.example", DNS_TXT, "v=spf1 a a a a a a a a a a a +all" },
	{ "eleven.example", DNS_A, "198.51.100.1" },
	{ "early.example", DNS_TXT, "v=spf1 ip4:192.0.2.1 a a a a a a a a a a a -all" },
	{ "loop.example", DNS_TXT, "v=spf1 include:loop.example -all" },
	{ "loop2.example", DNS_TXT, "v=spf1 redirect=loop3.example" },
	{ "loop3.example", DNS_TXT, "v=spf1 redirect=loop2.example" },
	{ "manymx.example", DNS_TXT, "v=spf1 mx -all" },
	{ "manymx.example", DNS_MX, "mail.host.example*" },
	{ "p.example", DNS_TXT, "v=spf1 exists:%{p}.ok.example -all" },
	{ "mail.host.example.ok.example", DNS_A, "127.0.0.1" },
	{ "odd.example", DNS_TXT, "v=spf1 exists:%{l}.odd.example -all" },
	{ "a%b c/24.odd.example", DNS_A, "127.0.0.1" },
	{ "local.example", DNS_TXT, "v=spf1 -all" },
};

static void
add_row(struct dns_answer *a, const struct zone_row *row)
{
	const char *star = strchr(row->data, '*');
	int times = star != NULL && row->type == DNS_MX ? 11 : 1;
	struct str data = str_of(row->data);

	if (star != NULL && row->type == DNS_MX)
		data.len = (size_t)(star - row->data);
	for (int i = 0; i < times; i++) {
		struct dns_record r = { .text_len = data.len };
		if (row->type == DNS_TXT)
			r.text = str_dup(data);
		else if (row->type == DNS_MX || row->type == DNS_PTR)
			r.name = str_dup(data);
		else
			ck_assert(ip_parse(data, &r.ip));
		a->records = xreallocarray(a->records, a->n + 1, sizeof(*a->records));
		a->records[a->n++] = r;
	}
	a->status = DNS_OK;
}

static struct dns_answer *
zone_answer(const struct spf_fact *f)
{
	struct dns_answer *a = dns_answer_new(DNS_NXDOMAIN);

	for (size_t i = 0; i < sizeof(zone) / sizeof(zone[0]); i++) {
		if (strcmp(zone[i].name, f->name) != 0)
			continue;
		if (a->n == 0)
			a->status = DNS_NODATA;
		if (zone[i].type != f->type)
			continue;
		if (zone[i].data[0] == '!') {
			a->status = DNS_FAIL;
			break;
		}
		add_row(a, &zone[i]);
	}
	return a;
}

static void
evaluate(
    const char *client, const char *helo, const char *sender, struct spf_answer *out)
{
	struct spf_matcher *matcher = spf_matcher_new();
	struct spf_question q = { .helo = helo,
		.sender = sender,
		.receiver = "mx.receiver.example",
		.now = 1 };
	struct spf_facts facts = { .n = 0 };
	int rounds = 0;

	ck_assert(ip_parse(str_of(client), &q.client));
	while (!spf_eval(matcher, &q, &facts, out)) {
		ck_assert_int_lt(rounds++, SPF_FACTS_MAX);
		for (size_t i = 0; i < facts.n; i++)
			if (facts.list[i].answer == NULL)
				facts.list[i].answer = zone_answer(&facts.list[i]);
	}
	spf_facts_clear(&facts);
	spf_matcher_free(matcher);
}

#define V4 "192.0.2.1"
#define V6 "2001:db8::1"

static const struct {
	const char *client, *sender;
	enum spf_result result;
	bool identity;
	const char *mechanism, *matched; /* NULL: not looked at */
} verdicts[] = {
	{ V4, "u@ip.example", SPF_PASS, true, "ip4:192.0.2.0/24", "ip4:192.0.2.0/24" },
	{ "::ffff:192.0.2.1", "u@ip.example", SPF_PASS, true, NULL, NULL },
	{ V6, "u@ip.example", SPF_PASS, true, "ip6:2001:db8::/32", NULL },
	{ "203.0.113.1", "u@ip.example", SPF_FAIL, false, "-all", "-all" },
	{ V4, "u@IP.Example.", SPF_PASS, true, NULL, NULL },
	{ V4, "u@wide.example", SPF_PASS, false, NULL, NULL },
	{ V6, "u@wide.example", SPF_PASS, false, NULL, NULL },
	{ V4, "u@edge.example", SPF_PASS, true, NULL, NULL },
	{ V4, "u@open.example", SPF_PASS, false, "+all", "+all" },
	{ V4, "u@ptr.example", SPF_PASS, false, "ptr:host.example", NULL },
	{ V4, "u@exists.example", SPF_PASS, false, NULL, NULL },
	{ V4, "u@a.example", SPF_PASS, true, "a:mail.host.example", NULL },
	{ V6, "u@a.example", SPF_PASS, true, NULL, NULL },
	{ V4, "u@a0.example", SPF_PASS, false, NULL, NULL },
	{ "203.0.113.9", "u@a0.example", SPF_PASS, false, NULL, NULL },
	{ "2001:db8:f::9", "u@a0.example", SPF_PASS, false, NULL, NULL },
	{ V4, "u@a15.example", SPF_PASS, false, NULL, NULL },
	{ "192.0.2.77", "u@mx.example", SPF_PASS, true, "mx:mail.example/24", NULL },
	{ "192.0.3.77", "u@mx.example", SPF_FAIL, false, NULL, NULL },
	{ V4, "u@inc.example", SPF_PASS, true, "include:ip.example",
	    "ip4:192.0.2.0/24" },
	{ V4, "u@incinc.example", SPF_PASS, true, "include:inc.example",
	    "ip4:192.0.2.0/24" },
	{ V4, "u@incopen.example", SPF_PASS, false, "include:open.example", "+all" },
	{ V4, "u@incptr.example", SPF_PASS, false, NULL, "ptr:host.example" },
	{ V4, "u@incwide.example", SPF_PASS, false, NULL, NULL },
	{ V4, "u@redir.example", SPF_PASS, true, "ip4:192.0.2.0/24", NULL },
	{ V4, "u@rediropen.example", SPF_PASS, false, NULL, NULL },
	/* names that the client had a part in: a zone can answer them for everybody */
	{ V4, "u@own.example", SPF_PASS, false, NULL, NULL },
	{ V4, "joe@owninc.example", SPF_PASS, false, NULL, NULL },
	{ V4, "u@dom.example", SPF_PASS, true, NULL, NULL },
	{ V6, "u@mapped.example", SPF_PASS, false, NULL, NULL },
	{ V4, "u@mapped.example", SPF_FAIL, false, NULL, NULL },
	{ V4, "u@soft.example", SPF_SOFTFAIL, false, "~all", NULL },
	{ V4, "u@neutral.example", SPF_NEUTRAL, false, "default", NULL },
	{ V4, "u@nothing.example", SPF_NONE, false, "", "" },
	{ V4, "u@[192.0.2.1]", SPF_NONE, false, "", NULL },
	{ V4, "u@example", SPF_NONE, false, "", NULL },
	{ V4, "u@a..example", SPF_NONE, false, "", NULL },
	{ V4, "u@m\xc3\xa4il.example", SPF_NONE, false, "", NULL },
	{ V4, "u", SPF_NONE, false, "", NULL },
	{ V4, "u@dead.example", SPF_TEMPERROR, false, NULL, NULL },
	{ V4, "u@incdead.example", SPF_TEMPERROR, false, NULL, NULL },
	{ V4, "u@adead.example", SPF_TEMPERROR, false, NULL, NULL },
	{ V4, "u@incnone.example", SPF_PERMERROR, false, NULL, NULL },
	{ V4, "u@two.records.example", SPF_PERMERROR, false, NULL, NULL },
	{ V4, "u@other.txt.example", SPF_PASS, true, NULL, NULL },
	{ V4, "u@syntax.example", SPF_PERMERROR, false, NULL, NULL },
	{ V4, "u@voids.example", SPF_NEUTRAL, false, NULL, NULL },
	{ V4, "u@voids3.example", SPF_PERMERROR, false, NULL, NULL },
	{ V4, "u@ten.example", SPF_PASS, false, NULL, NULL },
	{ V4, "u@eleven.example", SPF_PERMERROR, false, NULL, NULL },
	{ V4, "u@early.example", SPF_PASS, true, NULL, NULL },
	{ V4, "u@loop.example", SPF_PERMERROR, false, NULL, NULL },
	{ V4, "u@loop2.example", SPF_PERMERROR, false, NULL, NULL },
	{ V4, "u@manymx.example", SPF_PERMERROR, false, NULL, NULL },
	{ V4, "u@p.example", SPF_PASS, false, NULL, NULL },
	{ V4, "a%b c/24@odd.example", SPF_PASS, false, NULL, NULL },
	{ V4, "", SPF_PASS, true, NULL, NULL }, /* HELO ip.example */
	/* libspf2 would let the host itself pass unasked */
	{ "127.0.0.1", "u@local.example", SPF_FAIL, false, NULL, NULL },
	{ "::1", "u@local.example", SPF_FAIL, false, NULL, NULL },
};

START_TEST(verdict_row)
{
	struct spf_answer a;

	evaluate(verdicts[_i].client, "ip.example", verdicts[_i].sender, &a);
	ck_assert_msg(a.result == verdicts[_i].result, "%s: %s (%s)",
	    verdicts[_i].sender, spf_result_name(a.result), a.problem);
	ck_assert_msg(a.identity == verdicts[_i].identity, "%s", verdicts[_i].sender);
	ck_assert_int_eq(a.helo, verdicts[_i].sender[0] == '\0');
	ck_assert_int_eq(a.problem[0] != '\0',
	    a.result == SPF_TEMPERROR || a.result == SPF_PERMERROR);
	if (verdicts[_i].mechanism != NULL)
		ck_assert_str_eq(a.mechanism, verdicts[_i].mechanism);
	if (verdicts[_i].matched != NULL)
		ck_assert_str_eq(a.matched, verdicts[_i].matched);
}
END_TEST

static const struct {
	const char *sender, *explanation; /* NULL: the domain has none */
} explanations[] = {
	{ "joe=x@exp.example",
	    "192.0.2.1 is not of exp.example; ask mx.receiver.example about "
	    "joe%3Dx%40exp.example, 100%" },
	{ "u@ip.example", NULL },
	{ "u@redir.example", NULL },
	{ "u@exp2.example", NULL },
	{ "u@expdead.example", NULL },
	{ "u@expbad.example", NULL },
};

START_TEST(explanation_row)
{
	const char *words = explanations[_i].explanation;
	struct spf_answer a;

	evaluate(_i == 0 ? "192.0.2.1" : "203.0.113.1", "h.example",
	    explanations[_i].sender, &a);
	ck_assert_int_eq(a.result, SPF_FAIL);
	ck_assert_int_eq(a.explained, words != NULL);
	ck_assert_str_eq(a.explanation, words != NULL ? words : "");
	ck_assert_str_eq(a.problem, "");
}
END_TEST

START_TEST(counts)
{
	struct spf_answer a;

	evaluate("192.0.2.1", "", "u@voids.example", &a);
	ck_assert_uint_eq(a.lookups, 2);
	ck_assert_uint_eq(a.voids, 2);
	evaluate("192.0.2.1", "", "u@incinc.example", &a);
	ck_assert_uint_eq(a.lookups, 2);
	ck_assert_uint_eq(a.voids, 0);
	ck_assert_str_eq(a.domain, "incinc.example");
}
END_TEST

/* ---- the pool ---- */

static const char served[] =
    "example SOA 60 ns.example 30\n"
    "ip.example TXT \"v=spf1 \" \"include:_spf.ip.example -all\"\n"
    "_spf.ip.example TXT \"v=spf1 mx:mail.example ~all\"\n"
    "mail.example MX 10 mx1.example\n"
    "mail.example MX 20 mx2.example\n"
    "mx1.example A 198.51.100.1\n"
    "mx2.example A 192.0.2.1\n"
    "lost.example TXT \"v=spf1 a:drop.example -all\"\n"
    "drop.example fault drop\n"
    "fail.example fault servfail\n"
    "slow.example TXT \"v=spf1 ip4:192.0.2.1 -all\"\n"
    "slow.example fault delay 400\n";

static struct dnsd *dnsd;
static struct resolver *resolver;
static struct spf *pool;

static void
setup(void)
{
	char server[32];
	const char *const servers[] = { server };
	struct resolver_conf conf = { .servers = servers,
		.n_servers = 1,
		.timeout_ms = 500,
		.deadline_ms = 1000,
		.cache_entries = 1000 };
	struct err err = { 0 };

	dnsd = dnsd_start(str_of(served), 0, &err);
	ck_assert_msg(dnsd != NULL, "%s", err.text);
	snprintf(server, sizeof(server), "127.0.0.1:%u", dnsd_port(dnsd));
	resolver = resolver_new(&conf, &err);
	ck_assert_msg(resolver != NULL, "%s", err.text);
	pool = spf_new(resolver, 2, &err);
	ck_assert_msg(pool != NULL, "%s", err.text);
}

static void
teardown(void)
{
	spf_free(pool);
	resolver_free(resolver);
	dnsd_stop(dnsd);
}

static struct future *
ask(const char *sender, int64_t deadline_ms)
{
	struct spf_question q = { .client = { AF_INET, { 192, 0, 2, 1 } },
		.helo = "h.example",
		.sender = sender,
		.receiver = "mx.example" };

	return spf_ask(pool, &q, deadline_ms);
}

static enum spf_result
result_of(struct future *f)
{
	ck_assert(future_wait(f, clock_mono_ms() + 10000));
	const struct spf_answer *a = future_value(f);
	enum spf_result r = a->result;
	future_unref(f);
	return r;
}

START_TEST(pool_answers)
{
	int64_t deadline = clock_mono_ms() + 5000;
	struct future *f = ask("u@ip.example", deadline);

	ck_assert(future_wait(f, deadline));
	const struct spf_answer *a = future_value(f);
	ck_assert_int_eq(a->result, SPF_PASS);
	ck_assert(a->identity);
	ck_assert_str_eq(a->matched, "mx:mail.example");
	future_unref(f);
	ck_assert_int_eq(result_of(ask("u@none.example", deadline)), SPF_NONE);
	ck_assert_int_eq(result_of(ask("u@fail.example", deadline)), SPF_TEMPERROR);
	/* MX hosts are asked together, everything once: the cache has it then. */
	ck_assert_int_eq(result_of(ask("v@ip.example", deadline)), SPF_PASS);
	ck_assert_uint_eq(dnsd_seen(dnsd, "mx2.example", DNS_A), 1);
	ck_assert_uint_eq(dnsd_seen(dnsd, "ip.example", DNS_TXT), 1);
	ck_assert_uint_eq(dnsd_seen(dnsd, "ip.example", 99), 0);
}
END_TEST

START_TEST(pool_deadline)
{
	int64_t begin = clock_mono_ms();

	ck_assert_int_eq(result_of(ask("u@lost.example", begin + 100)), SPF_TEMPERROR);
	ck_assert_int_lt(clock_mono_ms() - begin, 5000);
	ck_assert_int_eq(result_of(ask("u@ip.example", begin - 1)), SPF_TEMPERROR);
}
END_TEST

/* Hundreds that hang in DNS leave the two threads to others. */
START_TEST(pool_slow_ones_hold_nobody)
{
	struct future *hanging[300];
	int64_t deadline = clock_mono_ms() + 5000;

	ck_assert_int_eq(result_of(ask("u@ip.example", deadline)), SPF_PASS);
	for (int i = 0; i < 300; i++)
		hanging[i] = ask("u@lost.example", deadline);
	ck_assert_int_eq(result_of(ask("w@ip.example", deadline)), SPF_PASS);
	ck_assert(!future_done(hanging[299]));
	for (int i = 0; i < 300; i++)
		ck_assert_int_eq(result_of(hanging[i]), SPF_TEMPERROR);
	ck_assert_int_eq(result_of(ask("u@slow.example", deadline)), SPF_PASS);
}
END_TEST

START_TEST(pool_full_and_freed)
{
	int64_t deadline = clock_mono_ms() + 60000;
	struct future **open = xcalloc(SPF_OPEN_MAX, sizeof(*open));

	for (int i = 0; i < SPF_OPEN_MAX; i++)
		open[i] = ask("u@lost.example", deadline);
	struct future *more = ask("u@lost.example", deadline);
	ck_assert(future_done(more));
	ck_assert_int_eq(result_of(more), SPF_TEMPERROR);
	spf_free(pool);
	pool = NULL;
	for (int i = 0; i < SPF_OPEN_MAX; i++)
		ck_assert_int_eq(result_of(open[i]), SPF_TEMPERROR);
	free(open);
}
END_TEST

static Suite *
spf_suite(void)
{
	Suite *s = suite_create("spf");
	TCase *grammar = tcase_create("grammar");
	TCase *eval = tcase_create("evaluation");
	TCase *threads = tcase_create("pool");

	tcase_add_loop_test(grammar, record_good, 0, ROWS(good_records));
	tcase_add_loop_test(grammar, record_bad, 0, ROWS(bad_records));
	tcase_add_test(grammar, record_limits);
	tcase_add_loop_test(grammar, macro_row, 0, ROWS(macros));
	suite_add_tcase(s, grammar);
	tcase_add_loop_test(eval, verdict_row, 0, ROWS(verdicts));
	tcase_add_loop_test(eval, explanation_row, 0, ROWS(explanations));
	tcase_add_test(eval, counts);
	suite_add_tcase(s, eval);
	tcase_add_checked_fixture(threads, setup, teardown);
	tcase_set_timeout(threads, 30);
	tcase_add_test(threads, pool_answers);
	tcase_add_test(threads, pool_deadline);
	tcase_add_test(threads, pool_slow_ones_hold_nobody);
	tcase_add_test(threads, pool_full_and_freed);
	suite_add_tcase(s, threads);
	return s;
}

int
main(void)
{
	SRunner *runner = srunner_create(spf_suite());

	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

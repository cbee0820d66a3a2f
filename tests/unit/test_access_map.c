/* SPDX-License-Identifier: BSD-2-Clause */
/* The access map's parts by tables: values, addresses, keys, and what the three checks
 * and delay_checks make of them.  test_access_vectors.c compares with the real
 * sendmail; here stands what the milter itself relies on. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "milters/access/access_control.h"
#include "milters/access/access_map.h"
#include "milters/access/access_table.h"
#include "milters/access/access_value.h"

/* ---- values ---- */

static const struct {
	const char *value;
	enum access_word word;
	int code; /* of TEXT */
	const char *enhanced, *text; /* of TEXT the words, of QUARANTINE the reason */
} values[] = {
	{ "OK", ACCESS_WORD_OK, 0, "", "" },
	{ "ok", ACCESS_WORD_OK, 0, "", "" },
	{ "Relay", ACCESS_WORD_RELAY, 0, "", "" },
	{ "REJECT", ACCESS_WORD_REJECT, 0, "", "" },
	{ "DISCARD", ACCESS_WORD_DISCARD, 0, "", "" },
	{ "SKIP", ACCESS_WORD_SKIP, 0, "", "" },
	{ "FRIEND", ACCESS_WORD_FRIEND, 0, "", "" },
	{ "HATER", ACCESS_WORD_HATER, 0, "", "" },
	{ "SPAMFRIEND", ACCESS_WORD_SPAMFRIEND, 0, "", "" },
	{ "OK (for now)", ACCESS_WORD_OK, 0, "", "" },
	{ "OK extra", ACCESS_WORD_TEXT, 553, "5.3.0", "OK extra" },
	{ "\"OK\"", ACCESS_WORD_TEXT, 553, "5.3.0", "OK" },
	{ "QUARANTINE:why", ACCESS_WORD_QUARANTINE, 0, "", "why" },
	{ "quarantine: a : b", ACCESS_WORD_QUARANTINE, 0, "", "a:b" },
	{ "QUARANTINE:\"a: b\"", ACCESS_WORD_QUARANTINE, 0, "", "\"a: b\"" },
	{ "QUARANTINE", ACCESS_WORD_TEXT, 553, "5.3.0", "QUARANTINE" },
	{ "ERROR:550 go away", ACCESS_WORD_TEXT, 550, "5.0.0", "go away" },
	{ "error:550 go away", ACCESS_WORD_TEXT, 550, "5.0.0", "go away" },
	{ "ERROR:550 5.7.1 go away", ACCESS_WORD_TEXT, 550, "5.7.1", "go away" },
	{ "ERROR:5.7.1:550 go away", ACCESS_WORD_TEXT, 550, "5.7.1", "go away" },
	{ "ERROR:4.2.1:450 later", ACCESS_WORD_TEXT, 450, "4.2.1", "later" },
	{ "ERROR:450 later", ACCESS_WORD_TEXT, 450, "4.0.0", "later" },
	{ "ERROR:9.9.9:550 x", ACCESS_WORD_TEXT, 550, "5.0.0", "x" },
	{ "ERROR:5.7.1:go away", ACCESS_WORD_TEXT, 553, "5.3.0", "go away" },
	{ "ERROR:go away", ACCESS_WORD_TEXT, 553, "5.3.0", "go away" },
	{ "ERROR:", ACCESS_WORD_TEXT, 553, "5.3.0", "ERROR:" },
	{ "550 bare", ACCESS_WORD_TEXT, 550, "5.0.0", "bare" },
	{ "5501 long", ACCESS_WORD_TEXT, 553, "5.3.0", "5501 long" },
	{ "ERROR:550 a, b . c", ACCESS_WORD_TEXT, 550, "5.0.0", "a,b.c" },
	{ "ERROR:\"550 a, b . c\"", ACCESS_WORD_TEXT, 550, "5.0.0", "a, b . c" },
	{ "ERROR:550 \"a, b\"", ACCESS_WORD_TEXT, 553, "5.3.0", "550a, b" },
	{ "ERROR:550   many\t\tblanks ", ACCESS_WORD_TEXT, 550, "5.0.0",
	    "many blanks" },
	{ "ERROR:550 a (b (c) d) e", ACCESS_WORD_TEXT, 550, "5.0.0", "a e" },
	{ "ERROR:550 a (b", ACCESS_WORD_TEXT, 550, "5.0.0", "a" },
	{ "ERROR:550 a <b> c", ACCESS_WORD_TEXT, 550, "5.0.0", "a<b" },
	{ "ERROR:550 a > b", ACCESS_WORD_TEXT, 550, "5.0.0", "a b" },
	{ "ERROR:550 a)b", ACCESS_WORD_TEXT, 550, "5.0.0", "ab" },
	{ "ERROR:550 a\\, b\\ c, d \\", ACCESS_WORD_TEXT, 550, "5.0.0",
	    "a, b c,d" },
	{ "ERROR:550 a\\b \\\\ \"c\\\"d\\e\"", ACCESS_WORD_TEXT, 550, "5.0.0",
	    "ab \\c\"de" },
	{ "ERROR:550 a (b \\) c) d", ACCESS_WORD_TEXT, 550, "5.0.0", "a d" },
	{ "ERROR:550 a \"b", ACCESS_WORD_TEXT, 550, "5.0.0", "ab" },
	{ "ERROR:550 key %0", ACCESS_WORD_TEXT, 550, "5.0.0", "key From:k" },
	{ "ERROR:550 a%1b%%c", ACCESS_WORD_TEXT, 550, "5.0.0", "ab%c" },
	{ "ERROR:550 gr\xc3\xbc\xdf", ACCESS_WORD_TEXT, 550, "5.0.0", "grC<_" },
	{ "", ACCESS_WORD_TEXT, 553, "5.3.0", "" },
	{ "\"", ACCESS_WORD_TEXT, 553, "5.3.0", "" },
};

START_TEST(value_row)
{
	struct access_value v;

	access_value_read(str_of(values[_i].value), STR("From:k"), &v);
	ck_assert_msg(
	    v.word == values[_i].word, "%s: word %d", values[_i].value, v.word);
	if (v.word == ACCESS_WORD_QUARANTINE)
		ck_assert_str_eq(v.text, values[_i].text);
	if (v.word != ACCESS_WORD_TEXT)
		return;
	ck_assert_int_eq(v.code, values[_i].code);
	ck_assert_str_eq(v.enhanced, values[_i].enhanced);
	ck_assert_str_eq(v.reply, values[_i].text);
}
END_TEST

static const struct {
	const char *value, *wrong; /* part of the error; NULL: may stand in a map */
} lines[] = {
	{ "OK", NULL },
	{ "SKIP", NULL },
	{ "any words", NULL },
	{ "ERROR:421 4.7.0 closing", NULL },
	{ "ERROR:599 x", NULL },
	{ "ERROR:250 fine", "reply code 250" },
	{ "354 go on", "reply code 354" },
	{ "ERROR:900 x", "reply code 900" },
	{ "ERROR:000 x", "reply code 0" },
	{ "QUARANTINE:", "without a reason" },
	{ "quarantine: (nothing)", "without a reason" },
	{ "(comment)", "without words" },
	{ "ERROR:", "without words" },
	{ "ERROR:5.1.1: (x)", "without words" },
	{ "ERROR:a.b.c:", "without words" },
	{ "ERROR:5.1.1: x", NULL },
	{ "ERROR:a.b:", NULL },
	{ "error: (x)", "without words" },
	{ "<x", NULL },
};

START_TEST(line_row)
{
	struct err err = { 0 };

	int rc = access_value_check(str_of(lines[_i].value), &err);
	ck_assert_int_eq(rc, lines[_i].wrong == NULL ? 0 : -1);
	if (rc != 0)
		ck_assert_msg(
		    strstr(err.text, lines[_i].wrong) != NULL, "%s", err.text);
}
END_TEST

/* A key of any length in a text of any length: cut, never over the end. */
START_TEST(long_values)
{
	char value[2000], key[1000];
	struct access_value v;

	memset(key, 'k', sizeof(key));
	for (size_t len = 0; len < sizeof(value); len += 7) {
		memset(value, 'x', sizeof(value));
		memcpy(value, "550 %0", 6);
		access_value_read(
		    (struct str){ value, len }, (struct str){ key, sizeof(key) }, &v);
		ck_assert_uint_le(strlen(v.reply), ACCESS_VALUE_MAX);
	}
	memset(value, '.', sizeof(value)); /* more tokens than are kept */
	access_value_read((struct str){ value, sizeof(value) }, STR(""), &v);
	ck_assert_uint_gt(strlen(v.reply), 0);
}
END_TEST

static const struct {
	const char *key;
	bool foreign;
} keys[] = {
	{ "TLS_Srv:mx.example", true },
	{ "tls_rcpt:u@d.example", true },
	{ "AuthInfo:", true },
	{ "Try_TLS:broken.example", true },
	{ "TLS_Clt:192.0.2.1", true },
	{ "TLS_Srv_Features:x", true },
	{ "TLS_Clt_Features:x", true },
	{ "Srv_Features:10.1", true },
	{ "Clt_Features:x", true },
	{ "CertIssuer:/C=XX", true },
	{ "CERTSubject:/C=XX", true },
	{ "GreetPause:10.1", false },
	{ "Spam:u@d.example", false },
	{ "From:tls_srv", false },
	{ "tls_srv", false },
};

START_TEST(key_row)
{
	struct str tag;

	ck_assert_int_eq(
	    access_key_is_foreign(str_of(keys[_i].key), &tag), keys[_i].foreign);
	if (keys[_i].foreign)
		ck_assert(str_starts_nocase(str_of(keys[_i].key), tag));
}
END_TEST

/* ---- addresses ---- */

static const char *const local_names[] = { "home.test", "mx.home.test",
	"[192.0.2.25]" };
static const char *const relay_names[] = { "relayed.test", "198.51.100",
	"IPv6:2001:db8:7" };
static const struct access_classes classes = { .local = { local_names, 3 },
	.relay = { relay_names, 3 },
	.host = "mx.home.test",
	.domain = "home.test" };

static const struct {
	const char *path, *local, *domain;
	const char *refused; /* enhanced code and text of the parser's refusal */
} addresses[] = {
	{ "<a@d.test>", "a", "d.test", NULL },
	{ "a@d.test", "a", "d.test", NULL },
	{ "<A@D.Test.>", "A", "D.Test", NULL },
	{ "<a>", "a", "", NULL },
	{ "<\"x\"@d.test>", "x", "d.test", NULL },
	{ "<\"x y\"@d.test>", "\"x y\"", "d.test", NULL },
	{ "<\"x@y\"@d.test>", "\"x@y\"", "d.test", NULL },
	{ "<\"x@y.test\"@home.test>", "x", "y.test", NULL },
	{ "<@r.test:a@d.test>", "a", "d.test", NULL },
	{ "<@r.test,@s.test:a@d.test>", "a", "d.test", NULL },
	{ "<a%d.test@home.test>", "a", "d.test", NULL },
	{ "<a%b%d.test@home.test>", "a%b", "d.test", NULL },
	{ "<d.test!a@home.test>", "a", "d.test", NULL },
	{ "<d.test!a>", "a", "d.test", NULL },
	{ "<host!a>", "a", "host.uucp", NULL },
	{ "<a%d.test>", "a", "d.test", NULL },
	{ "<a%d.test@e.test>", "a%d.test", "e.test", NULL },
	{ "<a@localhost>", "a", "mx.home.test", NULL },
	{ "<a@LOCALHOST.home.test>", "a", "mx.home.test", NULL },
	{ "<a@[192.0.2.25]>", "a", "mx.home.test", NULL },
	{ "<a@[192.0.2.26]>", "a", "[192.0.2.26]", NULL },
	{ "<a@[IPv6:2001:db8::1]>", "a", "[IPv6:2001:db8::1]", NULL },
	{ "<a+b@d.test>", "a+b", "d.test", NULL },
	{ "<%@home.test>", "%", "", NULL },
	{ "<!@home.test>", "!", "", NULL },
	{ "<\"\"@d.test>", "\"\"", "d.test", NULL },
	{ "<u@>", NULL, NULL, "5.1.3 Hostname required" },
	{ "<@d.test>", NULL, NULL, "5.1.3 User address required" },
	{ "<@>", NULL, NULL, "5.1.3 List:; syntax illegal for recipient addresses" },
	{ "<a@b@d.test>", NULL, NULL, "5.1.3 Invalid route address" },
	{ "<a@.d.test>", NULL, NULL, "5.1.2 Invalid host name" },
	{ "<a@d..test>", NULL, NULL, "5.1.2 Invalid host name" },
	{ "<a@.>", NULL, NULL, "5.1.2 Invalid host name" },
};

START_TEST(address_row)
{
	struct access_addr a;
	struct verdict v = { 0 };
	char refused[600];
	int rc = access_addr_parse(&classes, (struct access_routes){ true, true },
	    str_of(addresses[_i].path), &a, &v);

	ck_assert_int_eq(rc, addresses[_i].refused == NULL ? 0 : -1);
	if (rc == 0) {
		ck_assert_str_eq(a.local, addresses[_i].local);
		ck_assert_str_eq(a.domain, addresses[_i].domain);
		ck_assert(!a.null);
		return;
	}
	snprintf(refused, sizeof(refused), "%s %s", v.enhanced, v.text);
	ck_assert_str_eq(refused, addresses[_i].refused);
	ck_assert_int_eq(v.code, 553);
}
END_TEST

START_TEST(odd_addresses)
{
	struct access_addr a;
	struct verdict v = { 0 };
	struct access_routes routes = { true, true };
	char path[2000];

	ck_assert_int_eq(access_addr_parse(&classes, routes, STR("<>"), &a, &v), 0);
	ck_assert(a.null);
	ck_assert_int_eq(
	    access_addr_parse(&classes, routes, STR("<a\0b@d.test>"), &a, &v), -1);
	for (size_t len = 3; len < sizeof(path);
	     len += 13) { /* peeled to the last, or refused */
		memset(path, '%', len);
		memcpy(path + len - 3, "@x>", 3);
		path[0] = '<';
		(void)access_addr_parse(
		    &classes, routes, (struct str){ path, len }, &a, &v);
		memcpy(path, "<a%b%c%d%e%f%g%h%i", len < 18 ? len : 18);
		(void)access_addr_parse(
		    &classes, routes, (struct str){ path, len }, &a, &v);
	}
}
END_TEST

static const struct {
	const char *name;
	bool local, relayed, exactly, addr;
} members[] = {
	{ "home.test", true, false, false, false },
	{ "HOME.TEST", true, false, false, false },
	{ "x.home.test", false, false, false, false },
	{ "relayed.test", false, true, true, true },
	{ "x.relayed.test", false, true, false, false },
	{ "xrelayed.test", false, false, false, false },
	{ "198.51.100.7", false, false, false, true },
	{ "198.51.1007", false, false, false, false },
	{ "198.51.10.7", false, false, false, false },
	{ "IPv6:2001:db8:7:0:0:0:0:1", false, false, false, true },
	{ "IPv6:2001:db8:70:0:0:0:0:1", false, false, false, false },
};

START_TEST(member_row)
{
	struct str name = str_of(members[_i].name);

	ck_assert_int_eq(access_is_local(&classes, name), members[_i].local);
	ck_assert_int_eq(access_is_relayed(&classes, name, false), members[_i].relayed);
	ck_assert_int_eq(access_is_relayed(&classes, name, true), members[_i].exactly);
	ck_assert_int_eq(access_addr_is_relayed(&classes, name), members[_i].addr);
}
END_TEST

/* ---- the checks as the milter uses them ---- */

#define MILTER                                                                         \
	{                                                                              \
		.skip = true, .blocklist_recipients = true,                            \
		.accept_unresolvable = true, .accept_unqualified = true,               \
		.promiscuous = true                                                    \
	}

static const char site[] = "From:bad.test REJECT\n"
			   "From:ok@bad.test OK\n"
			   "From:part.bad.test SKIP\n"
			   "From:held.test QUARANTINE:hold it\n"
			   "bare.test REJECT\n"
			   "Connect:10.1 ERROR:5.7.1:550 not you\n"
			   "Connect:10.1.2.3 OK\n"
			   "Connect:pc.good.test OK\n"
			   "Connect:IPv6:2001:db8:0:5 REJECT\n"
			   "To:no@home.test ERROR:5.1.1:550 nobody\n"
			   "To:gone@ REJECT\n"
			   "To:half.test 450 later\n"
			   "Spam:friend@home.test FRIEND\n"
			   "Spam:hater@home.test HATER\n";

/* refused: "code enhanced text", "" when let pass, "Q reason" when held */
static const struct {
	const char *what;
	enum access_delay_mode mode;
	const char *addr, *name;
	bool listed, auth;
	const char *from, *to, *result, *key;
} checks[] = {
	{ "nothing said", ACCESS_AT_ONCE, "10.9.9.9", "[10.9.9.9]", false, false,
	    "<a@x.test>", "<u@home.test>", "", "" },
	{ "sender's parent domain", ACCESS_AT_ONCE, "10.9.9.9", "[10.9.9.9]", false,
	    false, "<a@deep.bad.test>", "<u@home.test>", "550 5.7.1 Access denied",
	    "From:bad.test" },
	{ "address before domain", ACCESS_AT_ONCE, "10.9.9.9", "[10.9.9.9]", false,
	    false, "<ok@bad.test>", "<u@home.test>", "", "" },
	{ "SKIP spares the parents", ACCESS_AT_ONCE, "10.9.9.9", "[10.9.9.9]", false,
	    false, "<a@x.part.bad.test>", "<u@home.test>", "", "" },
	{ "held", ACCESS_AT_ONCE, "10.9.9.9", "[10.9.9.9]", false, false,
	    "<a@held.test>", "<u@home.test>", "Q hold it", "From:held.test" },
	{ "bare key for a sender", ACCESS_AT_ONCE, "10.9.9.9", "[10.9.9.9]", false,
	    false, "<a@bare.test>", "<u@home.test>", "550 5.7.1 Access denied",
	    "bare.test" },
	{ "bare key for a recipient", ACCESS_AT_ONCE, "10.9.9.9", "[10.9.9.9]", false,
	    false, "<a@x.test>", "<u@bare.test>",
	    "550 5.2.1 Mailbox disabled for this recipient", "bare.test" },
	{ "client's network", ACCESS_AT_ONCE, "10.1.9.9", "[10.1.9.9]", false, false,
	    "<a@x.test>", "<u@home.test>", "550 5.7.1 not you", "Connect:10.1" },
	{ "10.1 is not 10.10", ACCESS_AT_ONCE, "10.10.9.9", "[10.10.9.9]", false, false,
	    "<a@x.test>", "<u@home.test>", "", "" },
	{ "client's address", ACCESS_AT_ONCE, "10.1.2.3", "[10.1.2.3]", true, false,
	    "<a@x.test>", "<u@home.test>", "", "" },
	{ "client's name before its address", ACCESS_AT_ONCE, "10.1.2.4",
	    "pc.good.test", false, false, "<a@x.test>", "<u@home.test>", "", "" },
	{ "IPv6 network", ACCESS_AT_ONCE, "IPv6:2001:db8:0:5:0:0:0:1",
	    "[IPv6:2001:db8:0:5:0:0:0:1]", false, false, "<a@x.test>", "<u@home.test>",
	    "550 5.7.1 Access denied", "Connect:IPv6:2001:db8:0:5" },
	{ "listed", ACCESS_AT_ONCE, "10.9.9.9", "[10.9.9.9]", true, false, "<a@x.test>",
	    "<u@home.test>", "550 5.7.1 listed", "" },
	{ "recipient", ACCESS_AT_ONCE, "10.9.9.9", "[10.9.9.9]", false, false,
	    "<a@x.test>", "<no@home.test>", "550 5.1.1 nobody", "To:no@home.test" },
	{ "detail of a recipient", ACCESS_AT_ONCE, "10.9.9.9", "[10.9.9.9]", false,
	    false, "<a@x.test>", "<no+x@home.test>", "550 5.1.1 nobody",
	    "To:no@home.test" },
	{ "user@ of a local domain", ACCESS_AT_ONCE, "10.9.9.9", "[10.9.9.9]", false,
	    false, "<a@x.test>", "<gone@home.test>",
	    "550 5.2.1 Mailbox disabled for this recipient", "To:gone@" },
	{ "user@ elsewhere", ACCESS_AT_ONCE, "10.9.9.9", "[10.9.9.9]", false, false,
	    "<a@x.test>", "<gone@far.test>", "", "" },
	{ "recipient's domain", ACCESS_AT_ONCE, "10.9.9.9", "[10.9.9.9]", false, false,
	    "<a@x.test>", "<u@half.test>", "450 4.0.0 later", "To:half.test" },
	{ "null sender", ACCESS_AT_ONCE, "10.9.9.9", "[10.9.9.9]", false, false, "<>",
	    "<u@home.test>", "", "" },
	{ "delayed: sender", ACCESS_DELAYED, "10.9.9.9", "[10.9.9.9]", false, false,
	    "<a@bad.test>", "<u@home.test>", "550 5.7.1 Access denied",
	    "From:bad.test" },
	{ "delayed: recipient first", ACCESS_DELAYED, "10.9.9.9", "[10.9.9.9]", false,
	    false, "<a@bad.test>", "<no@home.test>", "550 5.1.1 nobody",
	    "To:no@home.test" },
	{ "delayed: sender before client", ACCESS_DELAYED, "10.1.9.9", "[10.1.9.9]",
	    false, false, "<a@bad.test>", "<u@home.test>", "550 5.7.1 Access denied",
	    "From:bad.test" },
	{ "delayed: sender's OK spares the client", ACCESS_DELAYED, "10.1.9.9",
	    "[10.1.9.9]", true, false, "<ok@bad.test>", "<u@home.test>", "",
	    "From:ok@bad.test" },
	{ "delayed: authenticated", ACCESS_DELAYED, "10.1.9.9", "[10.1.9.9]", true,
	    true, "<a@bad.test>", "<u@home.test>", "", "" },
	{ "delayed: authenticated, recipient", ACCESS_DELAYED, "10.1.9.9", "[10.1.9.9]",
	    true, true, "<a@bad.test>", "<no@home.test>", "550 5.1.1 nobody",
	    "To:no@home.test" },
	{ "friend takes all", ACCESS_DELAYED_FRIEND, "10.1.9.9", "[10.1.9.9]", true,
	    false, "<a@bad.test>", "<friend@home.test>", "", "" },
	{ "friend: others do not", ACCESS_DELAYED_FRIEND, "10.9.9.9", "[10.9.9.9]",
	    true, false, "<a@x.test>", "<hater@home.test>", "550 5.7.1 listed", "" },
	{ "hater is served", ACCESS_DELAYED_HATER, "10.9.9.9", "[10.9.9.9]", true,
	    false, "<a@x.test>", "<hater@home.test>", "550 5.7.1 listed", "" },
	{ "hater: others take all", ACCESS_DELAYED_HATER, "10.9.9.9", "[10.9.9.9]",
	    true, false, "<a@bad.test>", "<u@home.test>", "", "" },
};

/* The first of the three that says something, as SMTP would meet them. */
static struct access_result
judge(const struct access *a, const struct access_addr *to)
{
	if (a->rules->delay != ACCESS_AT_ONCE)
		return access_check_delayed(a, to);
	struct access_result r = access_check_relay(a);
	if (r.kind != ACCESS_NONE && r.kind != ACCESS_OK)
		return r;
	r = access_check_mail(a, false);
	if (r.kind != ACCESS_NONE && r.kind != ACCESS_OK)
		return r;
	return access_check_rcpt(a, to);
}

START_TEST(check_row)
{
	struct access_rules rules = MILTER;
	struct access_textmap *map = access_textmap_of(site);
	const struct access_dnsbl dnsbl = { .kind = checks[_i].listed ? ACCESS_REFUSED
								      : ACCESS_NONE,
		.verdict = verdict_refuse(550, "5.7.1", "dnsbl", "listed") };
	struct access a = { .rules = &rules,
		.lookup = access_textmap_lookup,
		.lookup_arg = map,
		.client = { .addr = checks[_i].addr,
		    .name = checks[_i].name,
		    .helo = "x",
		    .authenticated = checks[_i].auth },
		.dnsbl = &dnsbl,
		.have_sender = true };
	struct access_routes routes = { false, false };
	struct access_addr to;
	struct verdict v;
	char got[700] = "";

	rules.delay = checks[_i].mode;
	rules.classes = classes;
	ck_assert_int_eq(
	    access_addr_parse(&classes, routes, str_of(checks[_i].from), &a.sender, &v),
	    0);
	ck_assert_int_eq(
	    access_addr_parse(&classes, routes, str_of(checks[_i].to), &to, &v), 0);
	struct access_result r = judge(&a, &to);
	if (r.kind == ACCESS_REFUSED)
		snprintf(got, sizeof(got), "%d %s %s", r.verdict.code,
		    r.verdict.enhanced, r.verdict.text);
	else if (r.kind == ACCESS_QUARANTINE)
		snprintf(got, sizeof(got), "Q %s", r.verdict.text);
	ck_assert_msg(
	    strcmp(got, checks[_i].result) == 0, "%s: \"%s\"", checks[_i].what, got);
	ck_assert_msg(strcmp(r.key, checks[_i].key) == 0, "%s: key \"%s\"",
	    checks[_i].what, r.key);
	access_textmap_free(map);
}
END_TEST

/* Whether the lists are waited for is decided without them, and rightly: exactly when a
 * listing would change the answer. */
START_TEST(needs_dnsbl_row)
{
	struct access_rules rules = MILTER;
	struct access_textmap *map = access_textmap_of(site);
	const struct access_dnsbl clean = { .kind = ACCESS_NONE };
	const struct access_dnsbl listed = { .kind = ACCESS_REFUSED,
		.verdict = verdict_refuse(550, "5.7.1", "dnsbl", "listed") };
	struct access a = { .rules = &rules,
		.lookup = access_textmap_lookup,
		.lookup_arg = map,
		.client = { .addr = checks[_i].addr,
		    .name = checks[_i].name,
		    .helo = "x",
		    .authenticated = checks[_i].auth },
		.have_sender = true };
	struct access_routes routes = { false, false };
	struct access_addr to;
	struct verdict v;

	if (checks[_i].mode == ACCESS_AT_ONCE)
		rules.delay = ACCESS_DELAYED;
	else
		rules.delay = checks[_i].mode;
	rules.classes = classes;
	ck_assert_int_eq(
	    access_addr_parse(&classes, routes, str_of(checks[_i].from), &a.sender, &v),
	    0);
	ck_assert_int_eq(
	    access_addr_parse(&classes, routes, str_of(checks[_i].to), &to, &v), 0);
	a.dnsbl = &clean;
	struct access_result without = access_check_delayed(&a, &to);
	a.dnsbl = &listed;
	struct access_result with = access_check_delayed(&a, &to);
	bool matters = strcmp(without.verdict.text, with.verdict.text) != 0;
	a.dnsbl = &clean;
	ck_assert_int_eq(access_needs_dnsbl(&a, &to), matters);
	access_textmap_free(map);
}
END_TEST

/* ---- relaying, found by comparing random maps with the real program ---- */

static const struct {
	const char *what, *map, *to;
	struct access_rules rules;
	const char *result; /* "" = taken */
} relays[] = {
	{ "a quoted route is a route", "", "<\"a%far.test\"@relayed.test>",
	    { .skip = true }, "550 5.7.1 Relaying denied" },
	{ "... also below our own domain", "To:home.test DISCARD\n",
	    "<\"a%far.test\"@x.home.test>",
	    { .entire_domain = true, .blocklist_recipients = true },
	    "550 5.7.1 Relaying denied" },
	{ "... but not with loose_relay_check", "", "<\"a%far.test\"@relayed.test>",
	    { .loose = true, .no_percent = true }, "" },
	{ "routes are followed where everybody may relay",
	    "To:d.test RELAY\n"
	    "To:a@e.test ERROR:5.1.1:550 nobody\n",
	    "<\"a@e.test\"@d.test>",
	    { .promiscuous = true, .blocklist_recipients = true }, "550 5.1.1 nobody" },
	{ "full address: the domain's entry ends the search",
	    "To:test OK\nTo:b@ RELAY\n", "<b@far.test>", { .full_address = true },
	    "550 5.7.1 Relaying denied" },
	{ "the sender's own entry ends the search",
	    "From:a@d.test OK\nFrom:d.test RELAY\n", "<b@far.test>",
	    { .mail_from = true, .mail_from_domain = true },
	    "550 5.7.1 Relaying denied" },
	{ "the sender's domain", "From:d.test RELAY\n", "<b@far.test>",
	    { .mail_from = true, .mail_from_domain = true }, "" },
	{ "full address: the user's entry", "To:b@ RELAY\n", "<b@far.test>",
	    { .full_address = true }, "" },
	{ "full address: the address' entry ends the search",
	    "To:b@far.test OK\nTo:far.test RELAY\n", "<b@far.test>",
	    { .full_address = true }, "550 5.7.1 Relaying denied" },
};

START_TEST(relay_row)
{
	struct access_rules rules = relays[_i].rules;
	struct access_textmap *map = access_textmap_of(relays[_i].map);
	struct access a = { .rules = &rules,
		.lookup = access_textmap_lookup,
		.lookup_arg = map,
		.client = {
		    .addr = "10.9.9.9", .name = "pc.client.test", .helo = "x" } };
	struct access_addr to;
	struct verdict v;
	char got[700] = "";

	rules.classes = classes;
	a.have_sender = true;
	ck_assert_int_eq(
	    access_addr_parse(&classes, (struct access_routes){ true, true },
		STR("<a@d.test>"), &a.sender, &v),
	    0);
	ck_assert_int_eq(access_addr_parse(&classes,
			     (struct access_routes){ true, !rules.no_percent },
			     str_of(relays[_i].to), &to, &v),
	    0);
	struct access_result r = access_check_rcpt(&a, &to);
	if (r.kind == ACCESS_REFUSED)
		snprintf(got, sizeof(got), "%d %s %s", r.verdict.code,
		    r.verdict.enhanced, r.verdict.text);
	ck_assert_msg(
	    strcmp(got, relays[_i].result) == 0, "%s: \"%s\"", relays[_i].what, got);
	access_textmap_free(map);
}
END_TEST

/* ---- limits ---- */

static const struct {
	const char *addr;
	unsigned long count;
	bool refused, no_skip; /* sendmail was not told of SKIP */
} limits[] = {
	{ "10.1.1.1", 2, false, false }, { "10.1.1.1", 3, true, false },
	{ "10.2.1.1", 1000000, false, false }, /* 0: no limit */
	{ "10.3.1.1", 1, true, false }, /* no number limits to nothing */
	{ "10.4.1.1", 5, false, false }, /* the default */
	{ "10.4.1.1", 6, true, false }, { "10.5.1.1", 6, true, false }, /* SKIP: the default */
	{ "10.5.1.1", 5, false, false }, { "10.5.1.1", 1, true, true },
};

START_TEST(limit_row)
{
	const struct access_rules rules = { .skip = !limits[_i].no_skip };
	struct access_textmap *map =
	    access_textmap_of("ClientRate:10.1 2\nClientRate:10.2 0\nClientRate:10.3 "
			      "many\nClientRate: 5\n"
			      "ClientRate:10.5 SKIP\n10.4 1\n");
	struct access a = { .rules = &rules,
		.lookup = access_textmap_lookup,
		.lookup_arg = map,
		.client = { .addr = limits[_i].addr, .name = "" } };

	struct access_result r =
	    access_check_limit(&a, ACCESS_LIMIT_RATE, limits[_i].count);
	ck_assert_int_eq(r.kind == ACCESS_REFUSED, limits[_i].refused);
	ck_assert(r.kind != ACCESS_REFUSED || r.verdict.code == 452);
	access_textmap_free(map);
}
END_TEST

#define ROWS(table) (int)(sizeof(table) / sizeof((table)[0]))

int
main(void)
{
	Suite *s = suite_create("access_map");
	TCase *t = tcase_create("access_map");

	tcase_add_loop_test(t, value_row, 0, ROWS(values));
	tcase_add_loop_test(t, line_row, 0, ROWS(lines));
	tcase_add_test(t, long_values);
	tcase_add_loop_test(t, key_row, 0, ROWS(keys));
	tcase_add_loop_test(t, address_row, 0, ROWS(addresses));
	tcase_add_test(t, odd_addresses);
	tcase_add_loop_test(t, member_row, 0, ROWS(members));
	tcase_add_loop_test(t, check_row, 0, ROWS(checks));
	tcase_add_loop_test(t, needs_dnsbl_row, 0, ROWS(checks));
	tcase_add_loop_test(t, relay_row, 0, ROWS(relays));
	tcase_add_loop_test(t, limit_row, 0, ROWS(limits));
	suite_add_tcase(s, t);
	SRunner *runner = srunner_create(s);
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? 0 : 1;
}

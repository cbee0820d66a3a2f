/* SPDX-License-Identifier: BSD-2-Clause */
/* Policies: who matches, which policy gives a setting, what may not be asked that
 * early, how recipients merge, and every fault of lists and policies with its line. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/base/buf.h"
#include "common/base/clock.h"
#include "common/base/xalloc.h"
#include "policy/member.h"
#include "policy/policy.h"
#include "policy/policy_set.h"
#include "tests/lib/errors.h"

static struct settings *
right(const char *text)
{
	struct errs errs = { 0 };
	struct settings *s = settings_from_text(str_of(text), "t", &errs);

	check_errors(&errs, "");
	ck_assert_ptr_nonnull(s);
	return s;
}

static struct policy_facts
facts_of(
    enum stage stage, const char *client, const char *sender, const char *recipient)
{
	struct policy_facts f = { .stage = stage };

	if (client != NULL)
		ck_assert(ip_parse(str_of(client), &f.client));
	if (stage >= STAGE_MAIL && sender != NULL)
		f.sender = str_of(sender);
	if (stage >= STAGE_RCPT && recipient != NULL)
		f.recipient = str_of(recipient);
	return f;
}

/* --- who matches --- */

/* One policy each; the setting tells which matched. */
static const struct {
	const char *condition;
	enum stage stage;
	const char *client, *sender, *recipient;
	bool authenticated, matches;
} conditions[] = {
	{ "", STAGE_CONNECT, NULL, NULL, NULL, false, true },
	/* client */
	{ "client 10.0.0.0/8;", STAGE_CONNECT, "10.1.2.3", NULL, NULL, false, true },
	{ "client 10.0.0.0/8;", STAGE_CONNECT, "11.1.2.3", NULL, NULL, false, false },
	{ "client 10.0.0.0/8;", STAGE_CONNECT, NULL, NULL, NULL, false, false },
	{ "client 0.0.0.0/0;", STAGE_CONNECT, "192.0.2.1", NULL, NULL, false, true },
	{ "client 0.0.0.0/0;", STAGE_CONNECT, "2001:db8::1", NULL, NULL, false, false },
	{ "client ::/0;", STAGE_CONNECT, "2001:db8::1", NULL, NULL, false, true },
	{ "client 192.0.2.1;", STAGE_CONNECT, "192.0.2.1", NULL, NULL, false, true },
	{ "client 192.0.2.1;", STAGE_CONNECT, "192.0.2.2", NULL, NULL, false, false },
	{ "client 2001:db8::/33;", STAGE_CONNECT, "2001:db8:7fff::1", NULL, NULL, false,
	    true },
	{ "client 2001:db8::/33;", STAGE_CONNECT, "2001:db8:8000::1", NULL, NULL, false,
	    false },
	{ "client 192.0.2.0/24;", STAGE_CONNECT, "::ffff:192.0.2.9", NULL, NULL, false,
	    true },
	{ "client 1.0.0.0/8 192.0.2.0/25 192.0.2.128/26;", STAGE_CONNECT, "192.0.2.191",
	    NULL, NULL, false, true },
	{ "client 1.0.0.0/8 192.0.2.0/25 192.0.2.128/26;", STAGE_CONNECT, "192.0.2.192",
	    NULL, NULL, false, false },
	{ "client 10.0.0.0/8; client 11.0.0.0/8;", STAGE_CONNECT, "11.1.1.1", NULL,
	    NULL, false, true },
	{ "client authenticated;", STAGE_MAIL, "10.1.1.1", "a@b.example", NULL, true,
	    true },
	{ "client authenticated;", STAGE_MAIL, "10.1.1.1", "a@b.example", NULL, false,
	    false },
	{ "client authenticated; client 10.0.0.0/8;", STAGE_MAIL, "10.1.1.1",
	    "a@b.example", NULL, false, true },
	{ "client 11.0.0.0/8 authenticated;", STAGE_MAIL, "10.1.1.1", "a@b.example",
	    NULL, true, true },
	{ "client in nets;", STAGE_CONNECT, "192.0.2.77", NULL, NULL, false, true },
	{ "client in nets;", STAGE_CONNECT, "192.0.3.77", NULL, NULL, false, false },
	{ "client in names2 nets;", STAGE_CONNECT, "192.0.2.77", NULL, NULL, false,
	    true },
	/* sender */
	{ "sender a@b.example;", STAGE_MAIL, NULL, "a@b.example", NULL, false, true },
	{ "sender a@b.example;", STAGE_MAIL, NULL, "A@B.Example", NULL, false, true },
	{ "sender a@b.example;", STAGE_MAIL, NULL, "aa@b.example", NULL, false, false },
	{ "sender a@b.example;", STAGE_MAIL, NULL, "a@b.example.", NULL, false, true },
	{ "sender a@b.example;", STAGE_MAIL, NULL, "a@c.b.example", NULL, false,
	    false },
	{ "sender a@b.example;", STAGE_CONNECT, NULL, NULL, NULL, false, false },
	{ "sender a@b.example c@d.example;", STAGE_RCPT, NULL, "c@d.example",
	    "x@y.example", false, true },
	{ "sender domain b.example;", STAGE_MAIL, NULL, "x@b.example", NULL, false,
	    true },
	{ "sender domain b.example;", STAGE_MAIL, NULL, "x@c.b.example", NULL, false,
	    false },
	{ "sender domain b.example;", STAGE_MAIL, NULL, "x@ab.example", NULL, false,
	    false },
	{ "sender domain .b.example;", STAGE_MAIL, NULL, "x@b.example", NULL, false,
	    false },
	{ "sender domain .b.example;", STAGE_MAIL, NULL, "x@c.b.example", NULL, false,
	    true },
	{ "sender domain .b.example;", STAGE_MAIL, NULL, "x@d.c.b.example", NULL, false,
	    true },
	{ "sender domain .b.example;", STAGE_MAIL, NULL, "x@cb.example", NULL, false,
	    false },
	{ "sender domain .b.example;", STAGE_MAIL, NULL, "x@.b.example", NULL, false,
	    true },
	{ "sender domain b.example;", STAGE_MAIL, NULL, "b.example", NULL, false,
	    false },
	{ "sender domain b.example;", STAGE_MAIL, NULL, "\"x@b.example\"@c.example",
	    NULL, false, false },
	{ "sender domain c.example;", STAGE_MAIL, NULL, "\"x@b.example\"@c.example",
	    NULL, false, true },
	{ "sender null;", STAGE_MAIL, NULL, "", NULL, false, true },
	{ "sender null;", STAGE_MAIL, NULL, "a@b.example", NULL, false, false },
	{ "sender null;", STAGE_CONNECT, NULL, NULL, NULL, false, false },
	{ "sender null; sender domain b.example;", STAGE_MAIL, NULL, "a@b.example",
	    NULL, false, true },
	{ "sender x@y.example null;", STAGE_MAIL, NULL, "", NULL, false, true },
	{ "sender domain b.example;", STAGE_MAIL, NULL, "", NULL, false, false },
	{ "sender in names;", STAGE_MAIL, NULL, "boss@other.example", NULL, false,
	    true },
	{ "sender in names;", STAGE_MAIL, NULL, "clerk@other.example", NULL, false,
	    false },
	{ "sender in names;", STAGE_MAIL, NULL, "x@a.partner.example", NULL, false,
	    true },
	{ "sender in \"names\" names2;", STAGE_MAIL, NULL, "x@two.example", NULL, false,
	    true },
	/* recipient */
	{ "recipient a@b.example;", STAGE_RCPT, NULL, "", "a@b.example", false, true },
	{ "recipient a@b.example;", STAGE_EOM, NULL, "", "a@b.example", false, true },
	{ "recipient a@b.example;", STAGE_MAIL, NULL, "", NULL, false, false },
	{ "recipient a@b.example;", STAGE_RCPT, NULL, "a@b.example", "c@b.example",
	    false, false },
	{ "recipient domain b.example;", STAGE_EOM, NULL, "", "x@b.example", false,
	    true },
	{ "recipient domain b.example;", STAGE_EOM, NULL, "", "", false, false },
	/* several kinds: all */
	{ "client 10.0.0.0/8; sender domain b.example; recipient domain c.example;",
	    STAGE_RCPT, "10.0.0.1", "x@b.example", "y@c.example", false, true },
	{ "client 10.0.0.0/8; sender domain b.example; recipient domain c.example;",
	    STAGE_RCPT, "10.0.0.1", "x@b.example", "y@d.example", false, false },
	{ "client 10.0.0.0/8; sender domain b.example; recipient domain c.example;",
	    STAGE_RCPT, "11.0.0.1", "x@b.example", "y@c.example", false, false },
	{ "client 10.0.0.0/8; sender domain b.example; recipient domain c.example;",
	    STAGE_MAIL, "10.0.0.1", "x@b.example", NULL, false, false },
};

static const char lists[] =
    "list names { domain .partner.example; address Boss@Other.example }\n"
    "list nets { network 192.0.2.0/24 }\n"
    "list names2 { domain two.example; network 198.51.100.1 }\n";

START_TEST(condition)
{
	char *text = xasprintf(
	    "%spolicy p { %s greylist.text found }", lists, conditions[_i].condition);
	struct settings *s = right(text);
	struct policy_facts f = facts_of(conditions[_i].stage, conditions[_i].client,
	    conditions[_i].sender, conditions[_i].recipient);
	struct policy_view v;

	f.authenticated = conditions[_i].authenticated;
	policy_resolve(s, &f, &v);
	ck_assert_msg((strcmp(v.greylist.text, "found") == 0) == conditions[_i].matches,
	    "%s", conditions[_i].condition);
	const char *source = policy_source(s, &f, STR("greylist.text"));
	ck_assert_msg((source != NULL) == conditions[_i].matches, "source");
	policy_view_clear(&v);
	settings_unref(s);
	free(text);
}
END_TEST

/* --- what is in force --- */

static const char many[] =
    "greylist { delay 10m; keep 9d }\n"
    "access { maps /m; dnsbl a.example { } }\n"
    "policy one { client 10.0.0.0/8; greylist.delay 1m; greylist.when never }\n"
    "policy two { sender domain b.example; greylist.delay 2m; greylist.keep 2d; mode "
    "observe }\n"
    "policy three { recipient domain c.example; greylist.delay 3m; greylist.text hold "
    "}\n"
    "policy four { client 10.9.0.0/16; access.dnsbl off; access.delay-checks hater }\n"
    "policy five { mode enforce; greylist.prefix4 32 }\n";

static const struct {
	const char *client, *sender, *recipient, *key, *source;
} sources[] = {
	{ "10.1.1.1", "a@b.example", "x@c.example", "greylist.delay", "one" },
	{ "11.1.1.1", "a@b.example", "x@c.example", "greylist.delay", "two" },
	{ "11.1.1.1", "a@z.example", "x@c.example", "greylist.delay", "three" },
	{ "11.1.1.1", "a@z.example", "x@z.example", "greylist.delay", NULL },
	{ "10.1.1.1", "a@b.example", "x@c.example", "greylist.keep", "two" },
	{ "10.1.1.1", "a@b.example", "x@c.example", "greylist.text", "three" },
	{ "10.1.1.1", "a@b.example", "x@c.example", "greylist.when", "one" },
	{ "10.1.1.1", "a@b.example", "x@c.example", "greylist.prefix4", "five" },
	{ "10.1.1.1", "a@b.example", "x@c.example", "greylist.window", NULL },
	{ "10.1.1.1", "a@b.example", "x@c.example", "mode", "two" },
	{ "10.1.1.1", "a@z.example", "x@c.example", "mode", "five" },
	{ "10.9.1.1", "a@b.example", "x@c.example", "access.dnsbl", "four" },
	{ "10.9.1.1", "a@b.example", "x@c.example", "access.maps", NULL },
	{ "10.9.1.1", "a@b.example", "x@c.example", "run.log", NULL },
	{ "10.9.1.1", "a@b.example", "x@c.example", "nonsense", NULL },
	{ "10.9.1.1", "a@b.example", "x@c.example", "greylist.", NULL },
};

START_TEST(source)
{
	struct settings *s = right(many);
	struct policy_facts f = facts_of(
	    STAGE_EOM, sources[_i].client, sources[_i].sender, sources[_i].recipient);
	const char *got = policy_source(s, &f, str_of(sources[_i].key));

	if (sources[_i].source == NULL)
		ck_assert_ptr_null(got);
	else
		ck_assert_str_eq(got, sources[_i].source);
	settings_unref(s);
}
END_TEST

START_TEST(resolve)
{
	struct settings *s = right(many);
	struct policy_facts f =
	    facts_of(STAGE_EOM, "10.9.1.1", "a@b.example", "x@c.example");
	struct policy_view v;

	policy_resolve(s, &f, &v);
	ck_assert_int_eq(v.greylist.delay, 60);
	ck_assert_int_eq(v.greylist.keep, 2 * 86400);
	ck_assert_int_eq(v.greylist.when, GREYLIST_NEVER);
	ck_assert_str_eq(v.greylist.text, "hold");
	ck_assert_int_eq(v.greylist.prefix4, 32);
	ck_assert_int_eq(v.greylist.prefix6, 64);
	ck_assert(!v.access.dnsbl);
	ck_assert_int_eq(v.access.delay_checks, ACCESS_DELAY_HATER);
	ck_assert_uint_eq(v.access.maps.n, 1);
	ck_assert_uint_eq(v.access.dnsbl_lists.n, 1);
	ck_assert(v.observe);
	policy_view_clear(&v);
	/* at CONNECT only the client is known */
	f = facts_of(STAGE_CONNECT, "11.0.0.1", NULL, NULL);
	policy_resolve(s, &f, &v);
	ck_assert_int_eq(v.greylist.delay, 600);
	ck_assert_int_eq(v.greylist.keep, 9 * 86400);
	ck_assert(v.access.dnsbl && !v.observe);
	settings_unref(s);
}
END_TEST

START_TEST(resolve_without_a_file)
{
	struct errs errs = { 0 };
	struct settings *s = settings_load(NULL, &errs);
	struct policy_facts f = facts_of(STAGE_EOM, "10.0.0.1", "", "x@c.example");
	struct policy_view v;

	policy_resolve(s, &f, &v);
	ck_assert_int_eq(v.greylist.delay, 300);
	ck_assert_str_eq(v.access.socket, "unix:/run/postern/access.sock");
	ck_assert(!v.observe);
	settings_unref(s);
}
END_TEST

/* Addresses are a stranger's: any octets, any length. */
START_TEST(hostile_addresses)
{
	struct settings *s =
	    right("policy a { sender domain .b.example; greylist.delay 1m }\n"
		  "policy n { sender null; greylist.delay 2m }");
	size_t len = 1 << 20;
	char *text = xmalloc(len);
	struct policy_facts f = { .stage = STAGE_EOM, .recipient = STR("x") };
	struct policy_view v;
	static const struct {
		char fill;
		size_t len;
	} cases[] = { { '@', 512 }, { '.', 512 }, { '\0', 512 }, { '\xff', 512 },
		{ 'a', 513 }, { '.', 1 << 20 }, { '@', 1 }, { '.', 1 }, { '\0', 1 } };

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		memset(text, cases[i].fill, cases[i].len);
		f.sender = (struct str){ text, cases[i].len };
		policy_resolve(s, &f, &v);
		ck_assert_int_eq(v.greylist.delay, 300);
	}
	memset(text, '.', 512);
	text[0] = '@';
	memcpy(text + 512 - 10, ".b.example", 10);
	f.sender = (struct str){ text, 512 };
	policy_resolve(s, &f, &v);
	ck_assert_int_eq(v.greylist.delay, 60); /* below b.example by its letters */
	settings_unref(s);
	free(text);
}
END_TEST

/* --- lists --- */

static char dir[64];

static void
dir_make(void)
{
	const char *tmp = getenv("TMPDIR");

	snprintf(dir, sizeof(dir), "%s/pol.XXXXXX",
	    tmp == NULL || strlen(tmp) > 40 ? "/tmp" : tmp);
	ck_assert_ptr_nonnull(mkdtemp(dir));
}

static void
dir_remove(void)
{
	char *command = xasprintf("rm -rf '%s'", dir);

	ck_assert_int_eq(system(command), 0);
	free(command);
}

static void
put(const char *name, const char *text)
{
	char *path = xasprintf("%s/%s", dir, name);
	FILE *f = fopen(path, "w");

	ck_assert_ptr_nonnull(f);
	ck_assert_int_ge(fputs(text, f), 0);
	ck_assert_int_eq(fclose(f), 0);
	free(path);
}

static struct settings *
load(struct errs *errs)
{
	char *path = xasprintf("%s/main", dir);
	struct settings *s = settings_load(path, errs);

	free(path);
	return s;
}

START_TEST(list_file)
{
	struct errs errs = { 0 };
	struct ip ip;

	put("main",
	    "list l { file \"l.txt\"; network 198.51.100.0/24 }\n"
	    "policy p { sender in l; greylist.delay 1m }");
	put("l.txt",
	    "# friends\n\n a@b.example # boss\r\n.c.example\nd.example\n192.0.2.0/24\n"
	    "2001:db8::/32\n192.0.3.1");
	struct settings *s = load(&errs);
	check_errors(&errs, "");
	static const struct {
		const char *sender;
		int64_t delay;
	} senders[] = { { "A@b.example", 60 }, { "b@b.example", 300 },
		{ "x@y.c.example", 60 }, { "x@c.example", 300 }, { "x@d.example", 60 },
		{ "x@192.0.3.1", 300 } };
	for (size_t i = 0; i < sizeof(senders) / sizeof(senders[0]); i++) {
		struct policy_facts f =
		    facts_of(STAGE_MAIL, NULL, senders[i].sender, NULL);
		struct policy_view v;

		policy_resolve(s, &f, &v);
		ck_assert_int_eq(v.greylist.delay, senders[i].delay);
	}
	static const struct {
		const char *client;
		bool in;
	} clients[] = { { "192.0.2.255", true }, { "192.0.3.1", true },
		{ "192.0.3.2", false }, { "2001:db8:ffff::", true },
		{ "198.51.100.7", true }, { "::1", false } };
	for (size_t i = 0; i < sizeof(clients) / sizeof(clients[0]); i++) {
		ck_assert(ip_parse(str_of(clients[i].client), &ip));
		ck_assert_msg(policy_list_has_client(s, STR("l"), &ip) == clients[i].in,
		    "%s", clients[i].client);
		ck_assert(!policy_list_has_client(s, STR("m"), &ip));
	}
	settings_unref(s);
}
END_TEST

START_TEST(list_file_errors)
{
	struct errs errs = { 0 };
	char *expected =
	    xasprintf("l.txt:2: \"192.0.2.1/24\" cannot be read: expected an "
		      "address or network like 192.0.2.0/24, host bits zero\n"
		      "l.txt:4: \"a b\" cannot be read: expected a domain name like "
		      "example.org\n"
		      "l.txt:5: \"<a@b.example>\" cannot be read: expected an address "
		      "like user@example.org, without <>\n"
		      "l.txt:6: \"@b.example\" cannot be read: expected an address "
		      "like user@example.org\n"
		      "main:2: file \"%s/none\" cannot be opened: No such file or "
		      "directory",
		dir);

	put("main", "list l { file l.txt }\nlist m { file none }\n");
	put("l.txt", "ok.example\n192.0.2.1/24\n# x\na b\n<a@b.example>\n@b.example\n");
	ck_assert_ptr_null(load(&errs));
	check_errors(&errs, expected);
	free(expected);
}
END_TEST

/* A list of any length costs the same to ask: a few hundred thousand entries are common
 * where a site loads a public list. */
START_TEST(list_large)
{
	enum { ENTRIES = 200000, ASKED = 20000 };
	struct errs errs = { 0 };
	struct buf b;

	buf_init(&b, CONF_FILE_MAX);
	for (int i = 0; i < ENTRIES; i++)
		buf_addf(&b, "d%d.example\n", i);
	ck_assert(!b.failed);
	put("l.txt", buf_cstr(&b));
	buf_clear(&b);
	put("main",
	    "list l { file l.txt; domain .sub.example }\n"
	    "policy p { sender in l; greylist.delay 1m }");
	struct settings *s = load(&errs);
	check_errors(&errs, "");
	int64_t begin = clock_mono_us();
	for (int i = 0; i < ASKED; i++) {
		char sender[60];
		struct policy_view v;

		snprintf(sender, sizeof(sender), "x@d%d.example", i * 20);
		struct policy_facts f = facts_of(STAGE_MAIL, "192.0.2.1", sender, NULL);
		policy_resolve(s, &f, &v);
		ck_assert_int_eq(v.greylist.delay, i * 20 < ENTRIES ? 60 : 300);
	}
	int64_t us = clock_mono_us() - begin;
	/* measured 0.4 us each; a walk over the list would take 100 us and more */
	ck_assert_msg(us < ASKED * 50, "%d us each", (int)(us / ASKED));
	settings_unref(s);
}
END_TEST

/* --- merging --- */

static const char differing[] =
    "greylist { delay 10m; text all }\n"
    "policy a { recipient a@c.example; greylist.delay 2m; greylist.window 1h; mode "
    "observe;\n"
    "           greylist.header off; greylist.auto-whitelist 9; greylist.text hold }\n"
    "policy b { recipient b@c.example; greylist.delay 4m; greylist.window 3h; mode "
    "observe;\n"
    "           greylist.when never; access.blocklist-recipients on; greylist.text "
    "hold }\n"
    "policy c { recipient c@c.example; greylist.text other }\n";

static struct policy_view
merged(const struct settings *s, const char *recipients)
{
	struct policy_view views[3], out;
	size_t n = 0;

	for (; recipients[n] != '\0'; n++) {
		char address[20];

		snprintf(address, sizeof(address), "%c@c.example", recipients[n]);
		struct policy_facts f = facts_of(STAGE_EOM, NULL, "", address);
		policy_resolve(s, &f, &views[n]);
	}
	policy_merge(s, views, n, &out);
	return out;
}

START_TEST(merge)
{
	struct settings *s = right(differing);
	struct policy_view v = merged(s, "ab");

	ck_assert_int_eq(v.greylist.delay, 120); /* min */
	ck_assert_int_eq(v.greylist.window, 3 * 3600); /* max */
	ck_assert_int_eq(v.greylist.when, GREYLIST_NEVER); /* max of an enumeration */
	ck_assert(v.greylist.header); /* max of a switch */
	ck_assert_int_eq(v.greylist.auto_whitelist, 5); /* min */
	ck_assert(!v.access.blocklist_recipients); /* own: that of the first */
	ck_assert_str_eq(v.greylist.text, "hold"); /* all agree */
	ck_assert(v.observe); /* both */
	ck_assert_uint_eq(v.access.maps.n, 0);

	v = merged(s, "ba");
	ck_assert_int_eq(v.greylist.delay, 120);
	ck_assert(v.access.blocklist_recipients);
	v = merged(s, "abc");
	ck_assert_str_eq(v.greylist.text, "all"); /* they differ: that of the file */
	ck_assert(!v.observe);
	ck_assert_int_eq(v.greylist.delay, 120);
	v = merged(s, "c");
	ck_assert_str_eq(v.greylist.text, "other");
	ck_assert_int_eq(v.greylist.delay, 600);
	settings_unref(s);
}
END_TEST

/* Only types with an order can have a least or greatest; masks have 64 bits. */
START_TEST(tables_can_merge)
{
	for (enum policy_section i = 0; i < POLICY_SECTIONS; i++) {
		const struct conf_table *t = policy_table(i);

		ck_assert_uint_le(t->n, 64);
		for (size_t j = 0; j < t->n; j++) {
			const struct conf_setting *row = &t->settings[j];

			if (row->merge == MERGE_MIN || row->merge == MERGE_MAX)
				ck_assert_msg(row->type != CONF_STRING &&
					row->type != CONF_LIST &&
					row->type != CONF_NET_LIST &&
					row->type != CONF_CUSTOM,
				    "%s.%s", t->section, row->name);
		}
	}
}
END_TEST

/* --- explain --- */

START_TEST(explain)
{
	struct settings *s = right(many);
	struct policy_facts f =
	    facts_of(STAGE_EOM, "10.9.1.1", "a@b.example", "x@c.example");
	struct buf out;
	static const char *const lines[] = {
		"policy \"one\" matches (t:3)\npolicy \"two\" matches (t:4)\n",
		"\nmode                         observe                              "
		"policy \"two\" "
		"(t:4)\n",
		"\ngreylist.delay               1m                                   "
		"policy \"one\" "
		"(t:3)\n",
		"\ngreylist.window              2d                                   "
		"default\n",
		"\ngreylist.keep                2d                                   "
		"policy \"two\" "
		"(t:4)\n",
		"\naccess.maps                  /m                                   "
		"t:2\n",
		"\naccess.dnsbl                 a.example { }                        "
		"t:2\n",
		"\naccess.dnsbl                 off                                  "
		"policy \"four\" "
		"(t:6)\n",
		"\nrun.log                      syslog                               "
		"default\n",
	};

	buf_init(&out, 1 << 20);
	policy_explain(s, &f, &out);
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		ck_assert_msg(strstr(buf_cstr(&out), lines[i]) != NULL,
		    "no\n%s\nin\n%s", lines[i], buf_cstr(&out));
	buf_reset(&out);
	settings_unref(s);
	s = right("");
	policy_explain(s, &f, &out);
	ck_assert(str_starts(buf_str(&out), STR("no policy matches\n")));
	settings_unref(s);
	buf_clear(&out);
}
END_TEST

#define ADD_ROWS(tcase, test, rows)                                                    \
	tcase_add_loop_test(tcase, test, 0, (int)(sizeof(rows) / sizeof((rows)[0])))

int
main(void)
{
	Suite *suite = suite_create("policy");
	TCase *match = tcase_create("match"), *files = tcase_create("files");

	ADD_ROWS(match, condition, conditions);
	ADD_ROWS(match, source, sources);
	tcase_add_test(match, resolve);
	tcase_add_test(match, resolve_without_a_file);
	tcase_add_test(match, hostile_addresses);
	tcase_add_test(match, merge);
	tcase_add_test(match, tables_can_merge);
	tcase_add_test(match, explain);
	tcase_add_checked_fixture(files, dir_make, dir_remove);
	tcase_set_timeout(files, 30);
	tcase_add_test(files, list_file);
	tcase_add_test(files, list_file_errors);
	tcase_add_test(files, list_large);
	suite_add_tcase(suite, match);
	suite_add_tcase(suite, files);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? 0 : 1;
}

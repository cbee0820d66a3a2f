/* SPDX-License-Identifier: BSD-2-Clause */
/* The greylist engine: who is exempt, who the client is, which triples are the same,
 * what the header says; and the batch test on files of events. */
#include "policy/greylist_outcome.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <check.h>

#include "common/base/xalloc.h"
#include "milters/greylist/greylist_test.h"
#include "policy/member.h"

#define N(a) ((int)(sizeof(a) / sizeof((a)[0])))
#define T0 INT64_C(1800000000)

static struct suffixes *suffixes;

static void
open_suffixes(void)
{
	struct err err;

	suffixes = suffixes_open("", &err);
	ck_assert_msg(suffixes != NULL, "%s", err.text);
}

static void
close_suffixes(void)
{
	suffixes_close(suffixes);
}

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
		.client.suffixes = suffixes,
		.recipient = str_of(recipient) };

	ck_assert(client[0] == '\0' || ip_parse(str_of(client), &f.client.ip));
	return f;
}

/* Settings with lists: one host, one network, one sender. */
static struct settings_greylist
with_lists(void)
{
	struct settings_greylist set = usual();
	static struct dnsbl zone;

	set.exempt.clients = member_set_new();
	set.exempt.senders = member_set_new();
	ck_assert_ptr_null(member_add_domain(set.exempt.clients, STR(".listed.example")));
	ck_assert_ptr_null(member_add_network(set.exempt.clients, STR("192.0.2.8/32")));
	ck_assert_ptr_null(member_add_domain(set.exempt.senders, STR("late.example")));
	set.allowlists.list = &zone;
	set.allowlists.n = 1;
	set.correspondents = true;
	set.block = 3600;
	set.block_spam = 3;
	return set;
}

static void
lists_clear(struct settings_greylist *set)
{
	member_set_free(set->exempt.clients);
	member_set_free(set->exempt.senders);
}

#define ALL_ASKS                                                                       \
	(GREYLIST_ASK_SPF | GREYLIST_ASK_ALLOWLIST | GREYLIST_ASK_CORRESPONDENT |      \
	    GREYLIST_ASK_EVENTS)

/* What is fetched and who is exempt. */
static const struct exempt_row {
	const char *name, *client, *host, *sender;
	bool authenticated, spf, allowlisted, correspondent;
	int when, moment;
	const char *exempt;
	bool inside;
	unsigned asks;
} exempts[] = {
	{ .name = "nobody", .client = "192.0.2.1", .asks = ALL_ASKS },
	{ .name = "nobody, v6", .client = "2001:db8::1", .asks = ALL_ASKS },
	{ .name = "private", .client = "10.0.0.1", .asks = ALL_ASKS },
	{ .name = "user", .client = "192.0.2.1", .authenticated = true,
	    .exempt = "authenticated", .inside = true },
	{ .name = "loopback", .client = "127.0.0.1", .exempt = "local", .inside = true },
	{ .name = "loopback 9", .client = "127.9.9.9", .exempt = "local",
	    .inside = true },
	{ .name = "loopback 6", .client = "::1", .exempt = "local", .inside = true },
	{ .name = "mapped", .client = "::ffff:127.0.0.1", .exempt = "local",
	    .inside = true },
	{ .name = "no address", .client = "", .exempt = "local", .inside = true },
	{ .name = "never", .client = "192.0.2.1", .when = GREYLIST_NEVER,
	    .exempt = "policy" },
	{ .name = "suspicious, at RCPT", .client = "192.0.2.1",
	    .when = GREYLIST_SUSPICIOUS, .exempt = "suspicious only",
	    .asks = ALL_ASKS },
	{ .name = "suspicious, at the end", .client = "192.0.2.1",
	    .when = GREYLIST_SUSPICIOUS, .moment = GREYLIST_SUSPICIOUS_AT_END,
	    .asks = ALL_ASKS },
	{ .name = "always, at the end", .client = "192.0.2.1",
	    .moment = GREYLIST_SUSPICIOUS_AT_END, .exempt = "at RCPT" },
	{ .name = "never, at the end", .client = "192.0.2.1", .when = GREYLIST_NEVER,
	    .moment = GREYLIST_SUSPICIOUS_AT_END, .exempt = "policy" },
	{ .name = "user, at the end", .client = "192.0.2.1", .authenticated = true,
	    .when = GREYLIST_SUSPICIOUS, .moment = GREYLIST_SUSPICIOUS_AT_END,
	    .exempt = "authenticated", .inside = true },
	{ .name = "listed address", .client = "192.0.2.8", .exempt = "exempt list" },
	{ .name = "listed name", .client = "192.0.2.1", .host = "mx.Listed.example.",
	    .exempt = "exempt list" },
	{ .name = "not below", .client = "192.0.2.1", .host = "listed.example",
	    .asks = ALL_ASKS },
	{ .name = "a name in brackets", .client = "192.0.2.1",
	    .host = "[mx.listed.example]", .asks = ALL_ASKS },
	{ .name = "listed sender, forged", .client = "192.0.2.1",
	    .sender = "<a@late.example>", .asks = ALL_ASKS },
	{ .name = "listed sender, by SPF", .client = "192.0.2.1",
	    .sender = "<a@late.example>", .spf = true, .exempt = "exempt list",
	    .asks = ALL_ASKS },
	{ .name = "listed sender, by its own host", .client = "192.0.2.1",
	    .host = "out1.mx.late.example", .sender = "<a@late.example>",
	    .exempt = "exempt list", .asks = ALL_ASKS },
	{ .name = "listed sender, by another's host", .client = "192.0.2.1",
	    .host = "mx.late.example.org", .sender = "<a@late.example>",
	    .asks = ALL_ASKS },
	{ .name = "allowlist", .client = "192.0.2.1", .allowlisted = true,
	    .exempt = "allowlist", .asks = ALL_ASKS },
	{ .name = "correspondent", .client = "192.0.2.1", .correspondent = true,
	    .exempt = "correspondent", .asks = ALL_ASKS },
	{ .name = "bounces have no correspondent", .client = "192.0.2.1",
	    .sender = "<>",
	    .asks = ALL_ASKS & ~(unsigned)GREYLIST_ASK_CORRESPONDENT },
};

START_TEST(exempt)
{
	const struct exempt_row *r = &exempts[_i];
	struct settings_greylist set = with_lists();
	struct greylist_facts f = facts_of(r->client,
	    r->sender == NULL ? "<a@b.example>" : r->sender, "<c@d.example>");
	struct greylist_query q;

	f.authenticated = r->authenticated;
	f.moment = (enum greylist_moment)r->moment;
	f.allowlisted = r->allowlisted;
	f.correspondent = r->correspondent;
	f.client.spf_pass = r->spf;
	f.client.name = str_of(r->host);
	set.when = r->when;
	ck_assert_msg(greylist_asks(&set, &f) == r->asks, "%s: asks %x", r->name,
	    greylist_asks(&set, &f));
	greylist_want(&set, &f, T0, &q);
	ck_assert_msg((q.exempt == NULL) == (r->exempt == NULL), "%s: %s", r->name,
	    q.exempt);
	if (r->exempt != NULL)
		ck_assert_str_eq(q.exempt, r->exempt);
	ck_assert_int_eq(q.inside, r->inside);
	ck_assert_int_eq(q.key_len > 0, r->exempt == NULL);
	ck_assert_int_eq(q.ask, r->exempt == NULL);
	struct verdict v = greylist_judge(&set, &q, NULL, T0);
	ck_assert_int_eq(v.action, ACTION_CONTINUE);
	ck_assert_str_eq(v.why, r->exempt == NULL ? "store=down" : r->exempt);
	lists_clear(&set);
}
END_TEST

/* What is not set is not fetched; events take whitelisting away even where they do not
 * block. */
START_TEST(asks_little)
{
	const unsigned least = GREYLIST_ASK_SPF | GREYLIST_ASK_EVENTS;
	struct settings_greylist set = usual();
	struct greylist_facts f =
	    facts_of("192.0.2.1", "<a@b.example>", "<c@d.example>");

	ck_assert_uint_eq(greylist_asks(&set, &f), least);
	set.when = GREYLIST_SUSPICIOUS;
	ck_assert_uint_eq(greylist_asks(&set, &f), 0);
	f.moment = GREYLIST_SUSPICIOUS_AT_END;
	ck_assert_uint_eq(greylist_asks(&set, &f), least);
	/* a fact about what is switched off counts for nothing */
	struct greylist_query q;
	f.allowlisted = f.correspondent = true;
	f.trap = (struct greylist_events){ 1, T0 };
	greylist_want(&set, &f, T0, &q);
	ck_assert_ptr_null(q.exempt);
	ck_assert(q.ask && q.blocked == 0);
}
END_TEST

static const struct block_row {
	const char *name, *host, *sender;
	struct greylist_events trap, virus, spam;
	bool trap_setting, spf, correspondent;
	int when, action;
	int64_t block;
	int64_t blocked;
	const char *why;
	bool trap_hit;
} blocks[] = {
	{ .name = "nothing", .block = 3600 },
	{ .name = "trap", .trap = { 1, T0 - 600 }, .block = 3600, .blocked = 3000,
	    .why = "trap" },
	{ .name = "virus", .virus = { 2, T0 }, .block = 3600, .blocked = 3600,
	    .why = "virus" },
	{ .name = "spam", .spam = { 3, T0 - 1 }, .block = 3600, .blocked = 3599,
	    .why = "spam" },
	{ .name = "little spam", .spam = { 2, T0 - 1 }, .block = 3600 },
	{ .name = "the longest", .trap = { 1, T0 - 600 }, .virus = { 1, T0 - 60 },
	    .block = 3600, .blocked = 3540, .why = "virus" },
	{ .name = "over", .trap = { 9, T0 - 3600 }, .block = 3600 },
	{ .name = "a second left", .trap = { 9, T0 - 3599 }, .block = 3600,
	    .blocked = 1, .why = "trap" },
	{ .name = "switched off", .trap = { 1, T0 }, .block = 0 },
	{ .name = "a clock ahead", .trap = { 1, T0 + 99999 }, .block = 3600,
	    .blocked = 3600, .why = "trap" },
	{ .name = "overflow", .trap = { 1, INT64_MAX }, .block = INT64_MAX },
	{ .name = "reject", .trap = { 1, T0 }, .block = 60, .blocked = 60,
	    .why = "trap", .action = GREYLIST_BLOCK_REJECT },
	{ .name = "while suspicious", .trap = { 1, T0 }, .block = 60, .blocked = 60,
	    .why = "trap", .when = GREYLIST_SUSPICIOUS },
	{ .name = "a provider is not shut out for one user's virus",
	    .virus = { 1, T0 }, .spam = { 99, T0 }, .host = "mx.b.example",
	    .block = 3600 },
	{ .name = "nor what SPF speaks for", .virus = { 1, T0 }, .spf = true,
	    .block = 3600 },
	{ .name = "but for a trap", .trap = { 1, T0 }, .host = "mx.b.example",
	    .block = 3600, .blocked = 3600, .why = "trap" },
	{ .name = "a generated name is nobody's", .virus = { 1, T0 },
	    .host = "192-0-2-1.b.example", .block = 3600, .blocked = 3600,
	    .why = "virus" },
	{ .name = "exempt is exempt", .trap = { 1, T0 }, .correspondent = true,
	    .block = 3600 },
	{ .name = "the trap itself", .trap_setting = true, .block = 3600,
	    .trap_hit = true },
	{ .name = "the trap again", .trap_setting = true, .trap = { 1, T0 - 900 },
	    .block = 3600, .blocked = 2700, .why = "trap", .trap_hit = true },
	{ .name = "a trap that does not block", .trap_setting = true, .block = 0,
	    .trap_hit = true },
	{ .name = "backscatter to a trap", .trap_setting = true, .block = 3600,
	    .sender = "<>" },
};

START_TEST(blocked)
{
	const struct block_row *r = &blocks[_i];
	struct settings_greylist set = usual();
	struct greylist_facts f = facts_of("192.0.2.1",
	    r->sender == NULL ? "<a@b.example>" : r->sender, "<c@d.example>");
	struct greylist_query q;

	set.block = r->block;
	set.block_spam = 3;
	set.block_action = r->action;
	set.trap = r->trap_setting;
	set.when = r->when;
	set.correspondents = true;
	f.client.name = str_of(r->host);
	f.client.spf_pass = r->spf;
	f.trap = r->trap;
	f.virus = r->virus;
	f.spam = r->spam;
	f.correspondent = r->correspondent;
	greylist_want(&set, &f, T0, &q);
	ck_assert_msg(q.blocked == r->blocked, "%s: %lld", r->name,
	    (long long)q.blocked);
	ck_assert_int_eq(q.trap_hit, r->trap_hit);
	ck_assert_int_eq(q.ask, r->blocked == 0 && !r->correspondent);
	struct verdict v = greylist_judge(&set, &q, NULL, T0);
	if (r->blocked == 0) {
		ck_assert_int_eq(v.action, ACTION_CONTINUE);
		return;
	}
	bool reject = r->action == GREYLIST_BLOCK_REJECT;
	ck_assert_str_eq(v.why, r->why);
	ck_assert_int_eq(v.action, reject ? ACTION_REJECT : ACTION_TEMPFAIL);
	ck_assert_int_eq(v.code, reject ? 550 : 451);
	ck_assert_str_eq(v.enhanced, reject ? "5.7.1" : "4.7.1");
	ck_assert_int_eq(v.wait, r->blocked);
}
END_TEST

static const struct identity_row {
	const char *client, *host, *helo, *sender;
	bool spf;
	int kind;
	const char *name, *network;
} identities[] = {
	/* the network */
	{ .client = "192.0.2.77", .kind = 'n', .name = "192.0.2.0/24",
	    .network = "192.0.2.0/24" },
	{ .client = "::ffff:192.0.2.77", .kind = 'n', .name = "192.0.2.0/24",
	    .network = "192.0.2.0/24" },
	{ .client = "2001:db8:1:2:3:4:5:6", .kind = 'n', .name = "2001:db8:1:2::/64",
	    .network = "2001:db8:1:2::/64" },
	{ .client = "10.1.2.3", .kind = 'n', .name = "10.1.2.0/24",
	    .network = "10.1.2.0/24" },
	/* the name */
	{ .client = "192.0.2.77", .host = "mx3.out.Provider.example", .kind = 'd',
	    .name = "provider.example" },
	{ .client = "192.0.2.77", .host = "provider.example.", .kind = 'd',
	    .name = "provider.example" },
	{ .client = "192.0.2.77", .host = "mx.company.co.uk", .kind = 'd',
	    .name = "company.co.uk" },
	{ .client = "2001:db8::1", .host = "mx.provider.example", .kind = 'd',
	    .name = "provider.example" },
	{ .client = "192.0.2.77", .host = "co.uk", .kind = 'n',
	    .name = "192.0.2.0/24" },
	{ .client = "192.0.2.77", .host = "x.compute-1.amazonaws.com", .kind = 'n',
	    .name = "192.0.2.0/24" },
	{ .client = "192.0.2.77", .host = "mx.tenant.github.io", .kind = 'd',
	    .name = "tenant.github.io" },
	{ .client = "192.0.2.77", .host = "dsl-192-0-2-77.provider.example",
	    .kind = 'n', .name = "192.0.2.0/24" },
	{ .client = "192.0.2.77", .host = "[192.0.2.77]", .kind = 'n',
	    .name = "192.0.2.0/24" },
	{ .client = "2001:db8::1", .host = "[IPv6:2001:db8::1]", .kind = 'n',
	    .name = "2001:db8::/64" },
	{ .client = "192.0.2.77", .host = "unknown", .kind = 'n',
	    .name = "192.0.2.0/24" },
	{ .client = "192.0.2.77", .host = "localhost", .kind = 'n',
	    .name = "192.0.2.0/24" },
	{ .client = "192.0.2.77", .host = "192.0.2.77", .kind = 'n',
	    .name = "192.0.2.0/24" },
	{ .client = "192.0.2.77", .helo = "mx.provider.example", .kind = 'n',
	    .name = "192.0.2.0/24" },
	/* SPF */
	{ .client = "192.0.2.77", .host = "mx.provider.example", .spf = true,
	    .sender = "<a@News.Shop.example>", .kind = 's',
	    .name = "news.shop.example" },
	{ .client = "192.0.2.77", .host = "dsl-192-0-2-77.provider.example",
	    .spf = true, .sender = "<a@shop.example>", .kind = 's',
	    .name = "shop.example" },
	{ .client = "192.0.2.77", .host = "mx.provider.example",
	    .sender = "<a@shop.example>", .kind = 'd', .name = "provider.example" },
	{ .client = "192.0.2.77", .spf = true, .sender = "<a>", .kind = 'n',
	    .name = "192.0.2.0/24" },
	{ .client = "192.0.2.77", .spf = true, .sender = "<a@[192.0.2.1]>",
	    .kind = 'n', .name = "192.0.2.0/24" },
	{ .client = "192.0.2.77", .spf = true, .sender = "<a b", .kind = 'n',
	    .name = "192.0.2.0/24" },
	{ .client = "192.0.2.77", .spf = true,
	    .sender = "<SRS0=HHH=TT=orig.example=a@fwd.example>", .kind = 's',
	    .name = "fwd.example" },
	/* HELO, for bounces */
	{ .client = "192.0.2.77", .spf = true, .sender = "<>",
	    .helo = "MX7.out.shop.example", .kind = 'h', .name = "shop.example" },
	{ .client = "192.0.2.77", .spf = true, .sender = "", .helo = "shop.example",
	    .host = "mx.provider.example", .kind = 'h', .name = "shop.example" },
	{ .client = "192.0.2.77", .spf = true, .sender = "<>",
	    .helo = "dsl-192-0-2-77.provider.example",
	    .host = "mx.provider.example", .kind = 'd', .name = "provider.example" },
	{ .client = "192.0.2.77", .spf = true, .sender = "<>", .helo = "[192.0.2.77]",
	    .kind = 'n', .name = "192.0.2.0/24" },
	{ .client = "192.0.2.77", .sender = "<>", .helo = "mx.shop.example",
	    .kind = 'n', .name = "192.0.2.0/24" },
};

START_TEST(identity)
{
	const struct identity_row *r = &identities[_i];
	struct settings_greylist set = usual();
	struct greylist_facts f = facts_of(r->client,
	    r->sender == NULL ? "<a@b.example>" : r->sender, "<c@d.example>");
	struct greylist_query q;
	char net[IP_TEXT_MAX + 4];

	f.client.name = str_of(r->host);
	f.client.helo = str_of(r->helo);
	f.client.spf_pass = r->spf;
	greylist_want(&set, &f, T0, &q);
	ck_assert_str_eq(q.identity.name, r->name);
	ck_assert_int_eq(q.client[0], r->kind);
	ck_assert_int_eq(q.identity.kind, r->kind);
	ck_assert_mem_eq(q.client + 1, r->name, strlen(r->name));
	if (r->network != NULL)
		ck_assert_str_eq(ipnet_format(&q.network, net), r->network);
	ck_assert_int_eq(q.times.delay, 300);
	ck_assert_int_eq(q.times.whitelist_keep, 3024000);
}
END_TEST

static const struct prefix_row {
	const char *client;
	int64_t prefix4, prefix6;
	const char *name, *network;
} prefixes[] = {
	{ "192.0.2.77", 32, 64, "192.0.2.77/32", "192.0.2.0/24" },
	{ "192.0.2.77", 16, 64, "192.0.0.0/16", "192.0.2.0/24" },
	{ "2001:db8:1:2:3:4:5:6", 24, 128, "2001:db8:1:2:3:4:5:6/128",
	    "2001:db8:1:2::/64" },
	{ "2001:db8:1:2:3:4:5:6", 24, 48, "2001:db8:1::/48", "2001:db8:1:2::/64" },
};

START_TEST(prefix)
{
	const struct prefix_row *r = &prefixes[_i];
	struct settings_greylist set = usual();
	struct greylist_facts f = facts_of(r->client, "<a@b.example>", "<c@d.example>");
	struct greylist_query q;
	char net[IP_TEXT_MAX + 4];

	set.prefix4 = r->prefix4;
	set.prefix6 = r->prefix6;
	greylist_want(&set, &f, T0, &q);
	ck_assert_str_eq(q.identity.name, r->name);
	ck_assert_str_eq(ipnet_format(&q.network, net), r->network);
	/* without a list there are no organisations: the network remains */
	f.client.suffixes = NULL;
	f.client.name = STR("mx.provider.example");
	greylist_want(&set, &f, T0, &q);
	ck_assert_str_eq(q.identity.name, r->name);
}
END_TEST

START_TEST(kind_names)
{
	ck_assert_str_eq(greylist_identity_kind_name(GREYLIST_BY_SPF), "spf");
	ck_assert_str_eq(greylist_identity_kind_name(GREYLIST_BY_HELO), "helo");
	ck_assert_str_eq(greylist_identity_kind_name(GREYLIST_BY_NAME), "name");
	ck_assert_str_eq(greylist_identity_kind_name(GREYLIST_BY_NETWORK), "network");
}
END_TEST

static const struct correspondent_row {
	const char *user, *other, *name;
} correspondents[] = {
	{ "<Anna@Our.example>", "<Bob@Far.example>", "anna@our.example bob@far.example" },
	{ "anna@our.example", "bob+shop@far.example",
	    "anna@our.example bob@far.example" },
	{ "<anna@our.example>", "<prvs=123456abcd=bob@far.example>",
	    "anna@our.example bob@far.example" },
	{ "<>", "<bob@far.example>", "" },
	{ "<anna@our.example>", "<>", "" },
};

START_TEST(correspondent)
{
	const struct correspondent_row *r = &correspondents[_i];
	char name[GREYLIST_CORRESPONDENT_MAX];
	size_t len = greylist_correspondent_name(str_of(r->user), str_of(r->other), name);

	ck_assert_msg(str_is((struct str){ name, len }, r->name), "%.*s", (int)len, name);
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
	{ "case of a sender", { "192.0.2.1", "<A@b.example>", "<c@d.example>" },
	    { "192.0.2.1", "<a@b.example>", "<c@d.example>" }, true },
	{ "case of a recipient", { "192.0.2.1", "<a@b.example>", "<C@d.example>" },
	    { "192.0.2.1", "<a@b.example>", "<c@d.example>" }, false },
	{ "detail of a recipient", { "192.0.2.1", "<a@b.example>", "<c+x@d.example>" },
	    { "192.0.2.1", "<a@b.example>", "<c@d.example>" }, false },
	{ "messages of a list",
	    { "192.0.2.1", "<l-bounces-7-c=d.example@b.example>", "<c@d.example>" },
	    { "192.0.2.9", "<l-bounces-88-c=d.example@b.example>", "<c@d.example>" },
	    true },
	{ "two people", { "192.0.2.1", "<a1@b.example>", "<c@d.example>" },
	    { "192.0.2.1", "<a2@b.example>", "<c@d.example>" }, false },
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
#define S(t, to, ip, host, spf)                                                          \
#t "\t" ip "\t" host "\thelo.test\t<a@b.test>\t<" to "@d.test>\t" spf
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
	{ "a pool by SPF, another by its name, a botnet not", NULL,
	    HEAD "\n" S(1000, "a", "192.0.2.1", "[192.0.2.1]", "pass") "\n"
		S(1300, "a", "198.51.100.1", "[198.51.100.1]", "Pass") "\n"
		S(2000, "b", "192.0.2.1", "mx1.out.pool.test", "softfail") "\n"
		S(2300, "b", "198.51.100.1", "mx9.pool.test", "none") "\n"
		S(3000, "c", "192.0.2.1", "dsl-192-0-2-1.isp.test", "none") "\n"
		S(3300, "c", "198.51.100.1", "dsl-198-51-100-1.isp.test", "none"),
	    HEAD_OUT S(1000, "a", "192.0.2.1", "[192.0.2.1]", "pass")
		DEFERRED("greylisted", 300)
		S(1300, "a", "198.51.100.1", "[198.51.100.1]", "Pass") PASSED("retried")
		S(2000, "b", "192.0.2.1", "mx1.out.pool.test", "softfail")
		DEFERRED("greylisted", 300)
		S(2300, "b", "198.51.100.1", "mx9.pool.test", "none") PASSED("retried")
		S(3000, "c", "192.0.2.1", "dsl-192-0-2-1.isp.test", "none")
		DEFERRED("greylisted", 300)
		S(3300, "c", "198.51.100.1", "dsl-198-51-100-1.isp.test", "none")
		DEFERRED("greylisted", 300),
	    0 },
	{ "a trap blocks the network and voids its whitelisting",
	    "greylist { auto-whitelist 1; block 1h }\n"
	    "policy \"t\" { recipient trap@d.test; greylist.trap on; }\n",
	    HEAD "\n" E1 "\n" E3 "\n" E4 "\n"
		EVENT(1400, "192.0.2.1", "a@b.test", "trap@d.test") "\n"
		EVENT(1500, "192.0.2.200", "x@b.test", "c@d.test") "\n"
		EVENT(5000, "192.0.2.1", "new@b.test", "c@d.test"),
	    HEAD_OUT E1 DEFERRED("greylisted", 300) E3 PASSED("retried")
		E4 PASSED("auto-whitelisted")
		EVENT(1400, "192.0.2.1", "a@b.test", "trap@d.test")
		DEFERRED("greylisted", 300)
		EVENT(1500, "192.0.2.200", "x@b.test", "c@d.test")
		DEFERRED("trap", 3500)
		EVENT(5000, "192.0.2.1", "new@b.test", "c@d.test")
		DEFERRED("greylisted", 300),
	    0 },
	{ "suspicious mail waits for its score", "greylist { when suspicious }\n",
	    HEAD "\n" E1, HEAD_OUT E1 PASSED("suspicious only"), 0 },
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

	tcase_add_unchecked_fixture(engine, open_suffixes, close_suffixes);
	tcase_add_loop_test(engine, exempt, 0, N(exempts));
	tcase_add_test(engine, asks_little);
	tcase_add_loop_test(engine, blocked, 0, N(blocks));
	tcase_add_loop_test(engine, prefix, 0, N(prefixes));
	tcase_add_test(engine, kind_names);
	tcase_add_loop_test(engine, correspondent, 0, N(correspondents));
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
	    N(exempts) + N(identities) + N(pairs) + N(headers) + N(batches) +
	    N(blocks) + N(prefixes) + N(correspondents) + 5;
	srunner_free(runner);
	return ran == expected && failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

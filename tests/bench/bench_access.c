/* SPDX-License-Identifier: BSD-2-Clause */
/* The access map's own time for one envelope - client, sender, recipient, as the milter
 * asks with delay_checks - in a map of 100,000 entries.  The same number of bare
 * look-ups in the same map is the measure of the machine.  Then the checks' own time for an
 * envelope: eight DNS lists, the client's name, HELO, the sender's domain, all answers of
 * DNS known (budget: 200 us); once for clients that nobody lists, once for listed ones. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/base/buf.h"
#include "common/base/clock.h"
#include "common/net/resolver.h"
#include "db/map.h"
#include "milters/access/access_map.h"
#include "milters/access/check_client.h"
#include "milters/access/check_dnsbl.h"
#include "milters/access/check_helo.h"
#include "milters/access/check_sender.h"
#include "tests/lib/dnsd.h"

#define ENTRIES 100000
#define ENVELOPES 200000

static struct map_table *table;
static unsigned long lookups;

static bool
lookup(void *arg, struct str key, struct access_entry *out)
{
	const struct map_entry *e = map_get(table, key);

	(void)arg;
	lookups++;
	if (e == NULL)
		return false;
	*out = (struct access_entry){
		.value = e->value, .file = map_path(table), .line = e->line
	};
	return true;
}

static int
write_map(const char *path)
{
	FILE *f = fopen(path, "we");

	if (f == NULL)
		return -1;
	for (int i = 0; i < ENTRIES; i += 4)
		fprintf(f,
		    "From:s%d.example\tREJECT\nConnect:10.%d.%d.%d\tERROR:5.7.1:550 "
		    "no\n"
		    "To:u%d@local.example\tOK\nSpam:f%d@local.example\tFRIEND\n",
		    i, i >> 16 & 255, i >> 8 & 255, i & 255, i, i);
	return fclose(f);
}

static double
bare_ns(unsigned long n)
{
	char key[64];
	int64_t begin = clock_mono_us();
	unsigned long found = 0;

	for (unsigned long i = 0; i < n; i++) {
		int len = snprintf(key, sizeof(key), "From:s%lu.example", i % ENTRIES);
		found += map_get(table, (struct str){ key, (size_t)len }) != NULL;
	}
	if (found == 0)
		exit(1);
	return (double)(clock_mono_us() - begin) * 1000 / (double)n;
}

static double
envelope_ns(void)
{
	static const char *const own[] = { "local.example" };
	const struct access_rules rules = { .delay = ACCESS_DELAYED_FRIEND,
		.skip = true,
		.blocklist_recipients = true,
		.accept_unresolvable = true,
		.accept_unqualified = true,
		.promiscuous = true,
		.classes = { .local = { own, 1 }, .host = "gate.example" } };
	const struct access_routes routes = { false, false };
	char sender[64], rcpt[64], addr[32], name[40];
	unsigned long refused = 0;
	int64_t begin = clock_mono_us();

	for (int i = 0; i < ENVELOPES; i++) {
		struct access a = { .rules = &rules,
			.lookup = lookup,
			.client = { .addr = addr, .name = name, .helo = "mx.example" },
			.have_sender = true };
		struct access_addr to;
		struct verdict v;

		snprintf(sender, sizeof(sender), "<someone+x@mail.s%d.example>", i);
		snprintf(rcpt, sizeof(rcpt), "<u%d@local.example>", i);
		snprintf(addr, sizeof(addr), "11.%d.%d.%d", i >> 16 & 255, i >> 8 & 255,
		    i & 255);
		snprintf(name, sizeof(name), "[%s]", addr);
		if (access_addr_parse(
			&rules.classes, routes, str_of(sender), &a.sender, &v) != 0 ||
		    access_addr_parse(&rules.classes, routes, str_of(rcpt), &to, &v) !=
			0)
			exit(1);
		refused += access_check_delayed(&a, &to).kind == ACCESS_REFUSED;
	}
	if (refused == 0 || refused == ENVELOPES)
		exit(1);
	return (double)(clock_mono_us() - begin) * 1000 / ENVELOPES;
}

/* ---- the checks ---- */

#define CHECKED 20000
#define CLIENTS 200
#define LISTS 8

static bool
wait_plainly(void *arg, struct future *f, int64_t deadline_ms)
{
	(void)arg;
	return future_wait(f, deadline_ms);
}

static struct dnsd *
serve(void)
{
	struct err err = { 0 };
	struct buf zone;

	buf_init(&zone, 4 << 20);
	buf_add_cstr(&zone, "example SOA 3600 ns.example 3600\narpa SOA 3600 ns.example 3600\n"
			    "s.example MX 3600 10 mx.example\n");
	for (int i = 0; i < CLIENTS; i++) {
		buf_addf(&zone, "%d.100.51.198.in-addr.arpa PTR 3600 h%d.example\n", i, i);
		buf_addf(&zone, "h%d.example A 3600 198.51.100.%d\n", i, i);
		for (int l = 0; l < LISTS; l += 4)
			buf_addf(&zone, "%d.113.0.203.l%d.example A 3600 127.0.0.2\n", i, l);
	}
	struct dnsd *d = dnsd_start(buf_str(&zone), 0, &err);
	buf_clear(&zone);
	if (d == NULL)
		fprintf(stderr, "bench_access: %s\n", err.text);
	return d;
}

/* One envelope as main.c takes it through the checks; true: refused. */
static bool
judge_one(struct checks *checks, struct check_facts *facts, const char *client)
{
	struct combined out;

	if (!ip_parse(str_of(client), &facts->ip))
		exit(1);
	struct check_conn *c = check_conn_new(checks);
	for (int p = CHECK_CONNECT; p <= CHECK_RCPT; p++)
		check_ask(c, (enum check_phase)p, facts);
	(void)check_judge(c, CHECK_RCPT, facts, &out);
	check_conn_free(c);
	return out.verdict.action != ACTION_CONTINUE;
}

static double
checks_us(struct checks *checks, struct check_facts *facts, const char *net, int n,
    int *refused)
{
	int64_t begin = clock_mono_us();
	char client[32];

	*refused = 0;
	for (int i = 0; i < n; i++) {
		snprintf(client, sizeof(client), "%s.%d", net, i % CLIENTS);
		*refused += judge_one(checks, facts, client);
	}
	return (double)(clock_mono_us() - begin) / n;
}

static struct settings *
settings_make(void)
{
	struct errs errs = { 0 };
	struct buf text;

	buf_init(&text, 1 << 16);
	buf_add_cstr(&text, "access { dnsbl-probe 0; client-no-name 1; client-forged 1; "
			    "client-generic 1; helo-syntax 1; helo-forged reject; "
			    "sender-unresolvable reject; ");
	for (int i = 0; i < LISTS; i++)
		buf_addf(&text, "dnsbl l%d.example { weight 2.5 } ", i);
	buf_add_char(&text, '}');
	struct settings *s = settings_from_text(buf_str(&text), "bench", &errs);
	buf_clear(&text);
	return s;
}

static void
measure_checks(struct settings *s, struct checks *checks)
{
	static const struct access_classes none = { .host = NULL };
	const struct policy_facts pf = { .stage = STAGE_CONNECT };
	struct access_addr sender, rcpt;
	struct policy_view view;
	struct verdict v;
	int refused;

	if (access_addr_parse(&none, (struct access_routes){ false, false },
		STR("<u@s.example>"), &sender, &v) != 0 ||
	    access_addr_parse(&none, (struct access_routes){ false, false },
		STR("<u@local.example>"), &rcpt, &v) != 0)
		exit(1);
	policy_resolve(s, &pf, &view);
	struct check_facts facts = { .settings = s,
		.view = &view,
		.name = "[x]",
		.resolve = ACCESS_RESOLVE_FAIL,
		.own_names = { "gate.example", "" },
		.helo = "mx.example",
		.auth = "",
		.sender = &sender,
		.rcpt = &rcpt,
		.now = clock_wall(),
		.wait = wait_plainly };
	for (int net = 0; net < 2; net++) {
		const char *name = net == 0 ? "198.51.100" : "203.0.113";

		(void)checks_us(checks, &facts, name, CLIENTS * 2, &refused);
		double us = checks_us(checks, &facts, name, CHECKED, &refused);
		printf("checks, %s        %8.1f us an envelope, %d%% refused\n",
		    net == 0 ? "not listed" : "listed    ", us, refused * 100 / CHECKED);
	}
}

static int
bench_checks(void)
{
	static const struct check_ops *const all[] = { &check_dnsbl, &check_client,
		&check_helo, &check_sender };
	struct dnsd *dnsd = serve();
	struct err err = { 0 };
	char server[32];
	const char *const servers[] = { server };
	struct resolver_conf conf = { .servers = servers, .n_servers = 1 };

	if (dnsd == NULL)
		return 1;
	snprintf(server, sizeof(server), "127.0.0.1:%u", dnsd_port(dnsd));
	struct resolver *r = resolver_new(&conf, &err);
	struct settings *s = settings_make();
	const struct check_shared shared = { .settings = s, .resolver = r };
	struct checks *checks =
	    r != NULL && s != NULL ? checks_start(all, 4, &shared, &err) : NULL;
	if (checks == NULL)
		return 1;
	measure_checks(s, checks);
	checks_stop(checks);
	settings_unref(s);
	resolver_free(r);
	dnsd_stop(dnsd);
	return 0;
}

int
main(void)
{
	char path[] = "/tmp/postern-bench-XXXXXX";
	struct errs errs = { 0 };
	int fd = mkstemp(path);

	if (fd < 0 || write_map(path) != 0)
		return 1;
	close(fd);
	int64_t begin = clock_mono_ms();
	struct map *m = map_open(path, NULL, &errs);
	unlink(path);
	if (m == NULL)
		return 1;
	printf("load of %d entries      %8lld ms\n", ENTRIES,
	    (long long)(clock_mono_ms() - begin));
	table = map_table_ref(m);
	double envelope = envelope_ns();
	double per = (double)lookups / ENVELOPES;
	double bare = bare_ns(lookups);
	printf("one envelope               %8.0f ns, %.1f look-ups\n", envelope, per);
	printf("bare look-ups of these     %8.0f ns\n", bare * per);
	printf("engine / bare look-ups     %8.2f\n", envelope / (bare * per));
	map_table_unref(table);
	map_close(m);
	return bench_checks();
}

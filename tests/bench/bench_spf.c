/* SPDX-License-Identifier: BSD-2-Clause */
/* SPF: evaluations per second with everything in the resolver's cache, as one thread
 * computes them and as the pool delivers them, one at a time and many; and as libspf2
 * alone evaluates the same records from memory, the measure of the machine. */
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <spf2/spf.h>

#include "common/auth/spf.h"
#include "common/auth/spf_eval.h"
#include "common/base/clock.h"
#include "tests/lib/dnsd.h"

#define RUN_MS 1500
#define OPEN 256

static const char zone[] =
    "example SOA 60 ns.example 30\n"
    "ip.example TXT \"v=spf1 ip4:198.51.100.0/24 ip4:192.0.2.0/24 -all\"\n"
    "deep.example TXT \"v=spf1 include:_a.deep.example include:_b.deep.example -all\"\n"
    "_a.deep.example TXT \"v=spf1 ip4:198.51.100.0/25 ip6:2001:db8::/32 ~all\"\n"
    "_b.deep.example TXT \"v=spf1 a:mail.deep.example mx:deep.example ~all\"\n"
    "mail.deep.example A 198.51.100.9\n"
    "deep.example MX 10 mx1.deep.example\n"
    "deep.example MX 20 mx2.deep.example\n"
    "mx1.deep.example A 198.51.100.10\n"
    "mx2.deep.example A 192.0.2.1\n";

static const struct {
	const char *what, *sender;
} cases[] = {
	{ "one record of addresses", "u@ip.example" },
	{ "two includes, a, mx", "u@deep.example" },
};

static struct resolver *resolver;
static struct spf *pool;

static struct spf_question
question(const char *sender)
{
	return (struct spf_question){ .client = { AF_INET, { 192, 0, 2, 1 } },
		.helo = "mx.example",
		.sender = sender,
		.receiver = "gate.example" };
}

static struct dns_answer *
resolve(const char *name, enum dns_type type)
{
	struct future *f = resolver_ask(resolver, str_of(name), type);

	if (!future_wait(f, clock_mono_ms() + 5000))
		exit(1);
	struct dns_answer *a = dns_answer_ref(future_value(f));
	future_unref(f);
	return a;
}

static double
computed(const char *sender)
{
	struct spf_matcher *matcher = spf_matcher_new();
	struct spf_question q = question(sender);
	struct spf_facts facts = { .n = 0 };
	struct spf_answer answer;
	int64_t begin = 0, now = 0;
	unsigned n = 0;

	while (!spf_eval(matcher, &q, &facts, &answer))
		for (size_t i = 0; i < facts.n; i++)
			if (facts.list[i].answer == NULL)
				facts.list[i].answer =
				    resolve(facts.list[i].name, facts.list[i].type);
	for (begin = now = clock_mono_ms(); now - begin < RUN_MS; now = clock_mono_ms())
		for (int i = 0; i < 100; i++, n++)
			if (!spf_eval(matcher, &q, &facts, &answer) ||
			    answer.result != SPF_PASS)
				exit(1);
	spf_facts_clear(&facts);
	spf_matcher_free(matcher);
	return n * 1000.0 / (double)(now - begin);
}

static double
pooled(const char *sender, unsigned open)
{
	struct spf_question q = question(sender);
	struct future *f[OPEN];
	int64_t begin = clock_mono_ms(), now = begin;
	unsigned n = 0;

	while (now - begin < RUN_MS) {
		for (unsigned i = 0; i < open; i++)
			f[i] = spf_ask(pool, &q, now + 5000);
		for (unsigned i = 0; i < open; i++) {
			if (!future_wait(f[i], now + 5000) ||
			    ((const struct spf_answer *)future_value(f[i]))->result !=
				SPF_PASS)
				exit(1);
			future_unref(f[i]);
		}
		n += open;
		now = clock_mono_ms();
	}
	return n * 1000.0 / (double)(now - begin);
}

/* ---- libspf2 alone ---- */

static struct known {
	char name[64];
	enum dns_type type;
	struct dns_answer *answer;
} known[64];
static size_t n_known;

static const struct dns_answer *
remembered(const char *name, enum dns_type type)
{
	for (size_t i = 0; i < n_known; i++)
		if (known[i].type == type && strcmp(known[i].name, name) == 0)
			return known[i].answer;
	if (n_known == sizeof(known) / sizeof(known[0]))
		exit(1);
	struct known *k = &known[n_known++];
	snprintf(k->name, sizeof(k->name), "%s", name);
	k->type = type;
	k->answer = resolve(name, type);
	return k->answer;
}

static SPF_dns_rr_t *
lookup(SPF_dns_server_t *dns, const char *name, ns_type type, int should_cache)
{
	static const struct dns_answer none = { .status = DNS_NODATA };
	const struct dns_answer *a =
	    type == 99 ? &none : remembered(name, (enum dns_type)type);
	SPF_dns_rr_t *rr = SPF_dns_rr_new_init(
	    dns, name, type, 300, a->n > 0 ? NETDB_SUCCESS : NO_DATA);

	(void)should_cache;
	for (size_t i = 0; i < a->n; i++) {
		const struct dns_record *r = &a->records[i];
		const char *text = type == ns_t_txt ? r->text : r->name;
		size_t len = type == ns_t_a ? 4 : strlen(text) + 1;

		if (SPF_dns_rr_buf_realloc(rr, (int)i, len < 16 ? 16 : len) != 0)
			exit(1);
		memcpy(
		    rr->rr[i]->txt, type == ns_t_a ? (const char *)r->ip.b : text, len);
	}
	rr->num_rr = (int)a->n;
	return rr;
}

static double
libspf2_alone(const char *sender)
{
	SPF_dns_server_t dns = { .lookup = lookup, .name = "memory" };
	SPF_server_t *server = SPF_server_new_dns(&dns, 0);
	int64_t begin = clock_mono_ms(), now = begin;
	unsigned n = 0;

	for (; now - begin < RUN_MS; now = clock_mono_ms())
		for (int i = 0; i < 100; i++, n++) {
			SPF_request_t *request = SPF_request_new(server);
			SPF_response_t *response = NULL;

			SPF_request_set_ipv4_str(request, "192.0.2.1");
			SPF_request_set_helo_dom(request, "mx.example");
			SPF_request_set_env_from(request, sender);
			SPF_request_query_mailfrom(request, &response);
			if (SPF_response_result(response) != SPF_RESULT_PASS)
				exit(1);
			SPF_response_free(response);
			SPF_request_free(request);
		}
	SPF_server_free(server);
	return n * 1000.0 / (double)(now - begin);
}

int
main(void)
{
	struct err err = { 0 };
	struct dnsd *dnsd = dnsd_start(str_of(zone), 0, &err);
	char server[32];
	const char *const servers[] = { server };
	struct resolver_conf conf = { .servers = servers, .n_servers = 1 };

	if (dnsd == NULL)
		return 1;
	snprintf(server, sizeof(server), "127.0.0.1:%u", dnsd_port(dnsd));
	resolver = resolver_new(&conf, &err);
	pool = resolver != NULL ? spf_new(resolver, 2, &err) : NULL;
	if (pool == NULL) {
		fprintf(stderr, "%s\n", err.text);
		return 1;
	}
	printf("SPF, evaluations/s, DNS cached\n");
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		double alone = libspf2_alone(cases[i].sender);
		double one = computed(cases[i].sender);
		double single = pooled(cases[i].sender, 1);
		double many = pooled(cases[i].sender, OPEN);

		printf("  %-24s computed %7.0f (%.2f of libspf2 alone, %.0f)  pool, 1 "
		       "open "
		       "%6.0f (%.0f us)  pool, %d open %6.0f\n",
		    cases[i].what, one, one / alone, alone, single, 1e6 / single, OPEN,
		    many);
	}
	spf_free(pool);
	resolver_free(resolver);
	dnsd_stop(dnsd);
	for (size_t i = 0; i < n_known; i++)
		dns_answer_unref(known[i].answer);
	return 0;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* The greylist engine alone: how many recipients it turns into questions and answers into
 * verdicts per second, by the kind of client; one hash of the same octets in the same run is
 * the measure of the machine.  Lines: name, decisions/s, nanoseconds each. */
#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

#include "common/base/clock.h"
#include "policy/greylist.h"

#define RUN_MS 1000
#define BATCH 500

static const struct row {
	const char *what, *client, *name, *sender;
	bool spf;
} rows[] = {
	{ "network", "192.0.2.77", "[192.0.2.77]", "<anna@b.example>", false },
	{ "spf", "192.0.2.77", "mx1.out.provider.example", "<anna@b.example>", true },
	{ "name", "192.0.2.77", "mx1.out.provider.example", "<anna@b.example>", false },
	{ "generated name", "81.2.69.142", "dsl-81-2-69-142.dyn.isp.example",
	    "<anna@b.example>", false },
	{ "name, IPv6", "2001:db8:1:2::77", "mail-wm1-x334.out.provider.example",
	    "<anna@b.example>", false },
	{ "list's sender", "192.0.2.77", "[192.0.2.77]",
	    "<SRS0=HHH=TT=o.example=bounce-12345-anna=b.example@lists.b.example>", false },
};

static volatile unsigned long long sink; /* keeps the work from being left out */

static double
decisions(const struct row *r, const struct suffixes *suffixes)
{
	static struct greylist_query q;
	char text[] = "wait %w seconds";
	struct settings_greylist set = { .delay = 300, .window = 172800, .keep = 3024000,
		.auto_whitelist = 5, .whitelist_keep = 3024000, .prefix4 = 24,
		.prefix6 = 64, .block = 3600, .block_spam = 3, .text = text };
	struct greylist_facts f = { .client = { .name = str_of(r->name),
					.helo = STR("mx1.provider.example"),
					.sender = str_of(r->sender),
					.spf_pass = r->spf,
					.suffixes = suffixes },
		.recipient = STR("<recipient@our.example>") };
	const struct greylist_answer answer = { .state = STORE_OK,
		.seen = { GREYLIST_EARLY, 1000, 2 } };
	unsigned long n = 0;

	if (!ip_parse(str_of(r->client), &f.client.ip))
		exit(1);
	int64_t begin = clock_mono_ms(), now = begin;
	while (now - begin < RUN_MS) {
		for (int i = 0; i < BATCH; i++) {
			sink += greylist_asks(&set, &f);
			greylist_want(&set, &f, 1100, &q);
			struct verdict v = greylist_judge(&set, &q, &answer, 1100);
			sink += q.key_len + (unsigned long long)v.wait;
		}
		n += BATCH;
		now = clock_mono_ms();
	}
	return (double)n * 1000.0 / (double)(now - begin);
}

static double
hashes(void)
{
	static const char key[] = "n192.0.2.0/24 anna@b.example recipient@our.example";
	unsigned long n = 0;
	int64_t begin = clock_mono_ms(), now = begin;

	while (now - begin < RUN_MS) {
		for (int i = 0; i < BATCH; i++)
			sink += XXH3_64bits(key, sizeof(key) - 1 - (sink & 1));
		n += BATCH;
		now = clock_mono_ms();
	}
	return (double)n * 1000.0 / (double)(now - begin);
}

int
main(void)
{
	struct err err;
	struct suffixes *suffixes = suffixes_open("", &err);

	if (suffixes == NULL) {
		fprintf(stderr, "%s\n", err.text);
		return 1;
	}
	printf("greylist: one hash of a key\t%.0f\t%.0f ns\n", hashes(), 1e9 / hashes());
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		double rate = decisions(&rows[i], suffixes);

		printf("greylist: decision, %s\t%.0f\t%.0f ns\n", rows[i].what, rate,
		    1e9 / rate);
	}
	suffixes_close(suffixes);
	return 0;
}

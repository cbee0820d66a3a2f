/* SPDX-License-Identifier: BSD-2-Clause */
/* The access map's own time for one envelope - client, sender, recipient, as the milter
 * asks with delay_checks - in a map of 100,000 entries.  The same number of bare
 * look-ups in the same map is the measure of the machine. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "db/map.h"
#include "milters/access/access_map.h"

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
	return 0;
}

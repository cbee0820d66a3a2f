/* SPDX-License-Identifier: BSD-2-Clause */
/* Lists the events of the store that are penalties, and lifts them.  What makes a
 * penalty is decided by postern-access. */
#include "contrib/ctl/penalty.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/base/clock.h"
#include "common/base/future.h"
#include "common/base/xalloc.h"
#include "contrib/ctl/command.h"
#include "contrib/ctl/common.h"
#include "db/store.h"

#define WAIT_MS 5000
#define LIST_MAX 1000000u /* events that are sorted in memory */

struct event {
	struct ipnet network;
	enum event_kind kind;
	int64_t weight, last, expires;
};

struct events {
	struct event *list;
	size_t n, size;
	const struct ipnet *only; /* NULL: all */
};

/* Which events are penalties of postern-access; the others are greylisting's. */
static bool
is_penalty(enum event_kind kind)
{
	return kind == EVENT_HARVEST || kind == EVENT_FLOOD || kind == EVENT_TRAP ||
	    kind == EVENT_EARLY;
}

static bool
overlap(const struct ipnet *a, const struct ipnet *b)
{
	return ipnet_contains(a, &b->ip) || ipnet_contains(b, &a->ip);
}

static bool
add(void *arg, const struct store_entry *e)
{
	struct events *all = arg;

	if (!is_penalty(e->event) ||
	    (all->only != NULL && !overlap(all->only, &e->network)))
		return true;
	if (all->n == all->size) {
		all->size = all->size == 0 ? 64 : 2 * all->size;
		all->list = xreallocarray(all->list, all->size, sizeof(*all->list));
	}
	all->list[all->n++] = (struct event){ e->network, e->event, e->sum.weight,
		e->sum.last, e->sum.last + e->sum.keep };
	return all->n < LIST_MAX;
}

static int
newest_first(const void *a, const void *b)
{
	const struct event *x = a, *y = b;

	return x->last < y->last ? 1 : x->last > y->last ? -1 : 0;
}

static void
print_time(struct buf *out, int64_t at)
{
	time_t when = (time_t)at;
	char text[32];
	struct tm tm;

	(void)strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&when, &tm));
	(void)buf_add_cstr(out, text);
}

static void
print_event(struct buf *out, const struct event *e, bool json)
{
	char net[IP_TEXT_MAX + 4];

	(void)ipnet_format(&e->network, net);
	if (json)
		(void)buf_addf(out, "{\"network\":\"%s\",\"kind\":\"%s\",\"since\":\"",
		    net, event_kind_name(e->kind));
	else
		(void)buf_addf(out, "%s\t%s\tsince ", net, event_kind_name(e->kind));
	print_time(out, e->last);
	(void)buf_add_cstr(out, json ? "\",\"until\":\"" : "\tuntil ");
	print_time(out, e->expires);
	if (json)
		(void)buf_addf(out, "\",\"weight\":%lld}", (long long)e->weight);
	else
		(void)buf_addf(out, "\tweight %lld\n", (long long)e->weight);
}

static int
print_all(const struct events *all, bool json)
{
	struct buf out;

	buf_init(&out, CTL_OUTPUT_MAX);
	(void)buf_add_cstr(&out, json ? "[" : "");
	for (size_t i = 0; i < all->n; i++) {
		(void)buf_add_cstr(&out, json && i > 0 ? "," : "");
		print_event(&out, &all->list[i], json);
	}
	(void)buf_add_cstr(&out, json ? "]\n" : "");
	return ctl_output(&out);
}

/* 1: lifted, 0: it was gone, -1: the store does not answer. */
static int
lift(struct store *store, const struct event *e)
{
	const struct store_entry entry = {
		.kind = STORE_EVENT, .network = e->network, .event = e->kind
	};
	struct future *f = store_entry_delete(store, &entry);
	int found = -1;

	if (future_wait(f, clock_mono_ms() + WAIT_MS)) {
		const struct delete_answer *a = future_value(f);

		if (a->state == STORE_OK)
			found = a->found;
	}
	future_unref(f);
	return found;
}

static int
lift_all(struct store *store, const struct events *all)
{
	int lifted = 0;

	for (size_t i = 0; i < all->n; i++) {
		int one = lift(store, &all->list[i]);

		if (one < 0) {
			fprintf(
			    stderr, "posternctl penalty: the store does not answer\n");
			return EX_TEMPFAIL;
		}
		lifted += one;
	}
	return lifted > 0 ? EX_OK : EX_NOTFOUND;
}

static int
run(const struct ctl_common *common, bool clear, const struct ipnet *only)
{
	struct settings *settings = ctl_settings(common);
	struct events all = { .only = only };
	struct err err = { .text = "" };
	struct store *store;
	int status = EX_TEMPFAIL;

	if (settings == NULL)
		return EX_CONFIG;
	const struct store_conf conf = settings_store(&settings->state);

	store = store_open(&conf, &err);
	if (store != NULL &&
	    store_scan(store, STORE_EVENT, store_now(store), add, &all, &err) == 0) {
		if (all.n > 0)
			qsort(all.list, all.n, sizeof(*all.list), newest_first);
		status = clear ? lift_all(store, &all) : print_all(&all, common->json);
	} else {
		fprintf(stderr, "posternctl penalty: %s\n", err.text);
	}
	free(all.list);
	if (store != NULL)
		store_close(store);
	settings_unref(settings);
	return status;
}

int
ctl_penalty(int argc, char **argv)
{
	struct ctl_common common = { .file = NULL };
	struct ipnet only;
	bool list, clear;

	if (ctl_options(&argc, argv, &common, NULL, 0) != 0)
		return EX_USAGE;
	list = argc >= 2 && strcmp(argv[1], "list") == 0;
	clear = argc == 3 && strcmp(argv[1], "clear") == 0;
	if ((!list && !clear) || argc > 3)
		return ctl_usage("penalty", "expected list or clear NETWORK");
	if (argc == 3 && !ipnet_parse(str_of(argv[2]), &only))
		return ctl_usage(
		    "penalty", "%s: expected an address or network", argv[2]);
	return run(&common, clear, argc == 3 ? &only : NULL);
}

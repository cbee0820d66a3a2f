/* SPDX-License-Identifier: BSD-2-Clause */
/* The state of greylisting for an administrator: list, show, pass, delete, trap, export,
 * import, stats.  It asks the store as the daemons do, so it works while they run; what
 * an entry is called and how it is printed is greylist_text.c's and greylist_print.c's. */
#include "contrib/ctl/greylist.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "contrib/ctl/command.h"
#include "contrib/ctl/common.h"
#include "contrib/ctl/greylist_filter.h"
#include "contrib/ctl/greylist_import.h"
#include "contrib/ctl/greylist_print.h"
#include "policy/client_events.h"

#define NOTHING_FOUND 1
#define ASK_MS 5000 /* for one answer of the store */
#define IN_FLIGHT 256 /* entries on their way to the store */
#define FLUSH (1u << 16)

struct greylist {
	struct ctl_common common;
	const char *client, *from, *to, *kind, *lasts;
	bool dry_run, undo;
	const char *argument; /* behind the action; NULL: none */
	struct settings *settings;
	const struct settings_greylist *set;
	struct store *store;
	int64_t now;
	struct greylist_filter filter;
	struct buf out;
};

static int
refuse(const char *what, const char *expected)
{
	return ctl_usage("greylist", "%s: expected %s", what, expected);
}

static int
down(const struct err *err)
{
	fprintf(stderr, "posternctl greylist: %s\n", err->text);
	return EX_TEMPFAIL;
}

/* --- asking --- */

/* What is on its way. */
struct flight {
	struct future *f[IN_FLIGHT];
	size_t n;
	uint64_t done, failed;
};

static void
flight_land(struct flight *a)
{
	for (size_t i = 0; i < a->n; i++) {
		bool good = future_wait(a->f[i], clock_mono_ms() + ASK_MS) &&
		    *(const enum store_state *)future_value(a->f[i]) == STORE_OK;

		a->done += good;
		a->failed += !good;
		future_unref(a->f[i]);
	}
	a->n = 0;
}

static void
flight_add(struct flight *a, struct future *f)
{
	a->f[a->n++] = f;
	if (a->n == IN_FLIGHT)
		flight_land(a);
}

/* EX_OK, or after telling that some failed. */
static int
flight_end(struct flight *a)
{
	flight_land(a);
	if (a->failed == 0)
		return EX_OK;
	fprintf(stderr,
	    "posternctl greylist: the store did not take %" PRIu64 " of %" PRIu64
	    " entries\n",
	    a->failed, a->failed + a->done);
	return EX_TEMPFAIL;
}

static void
flush(struct buf *out)
{
	fwrite(out->p, 1, out->len, stdout);
	buf_reset(out);
}

static int
finish(struct greylist *g, int status)
{
	flush(&g->out);
	if (fflush(stdout) == 0 && !ferror(stdout))
		return status;
	fprintf(stderr, "posternctl: cannot write: %s\n", strerror(errno));
	return EX_IOERR;
}

/* --- list, show --- */

struct walk {
	struct greylist *g;
	struct greylist_print print;
	uint64_t n, left_out;
	struct flight flight; /* delete, pass */
};

static unsigned
kinds_of(const struct greylist *g)
{
	if (g->kind == NULL)
		return STORE_TRIPLE | STORE_CLIENT | STORE_EVENT;
	return strcmp(g->kind, "triple") == 0 ? STORE_TRIPLE
	    : strcmp(g->kind, "client") == 0  ? STORE_CLIENT
	    : strcmp(g->kind, "event") == 0   ? STORE_EVENT
					      : 0;
}

static bool
print_one(void *arg, const struct store_entry *e)
{
	struct walk *w = arg;

	if (!greylist_filter_has(&w->g->filter, e))
		return true;
	greylist_print_entry(&w->g->out, &w->print, e, w->n++);
	if (w->g->out.len > FLUSH)
		flush(&w->g->out);
	return !ferror(stdout);
}

static int
print_all(struct greylist *g, bool whole)
{
	struct walk w = { .g = g,
		.print = { g->set, g->now, g->common.json, whole } };
	struct err err;

	greylist_print_head(&g->out, &w.print);
	if (store_scan(g->store, kinds_of(g), g->now, print_one, &w, &err) != 0)
		return down(&err);
	if (g->common.json)
		buf_add_cstr(&g->out, "]}\n");
	return finish(g, whole && w.n == 0 ? NOTHING_FOUND : EX_OK);
}

static int
run_list(struct greylist *g)
{
	return print_all(g, false);
}

static int
run_show(struct greylist *g)
{
	if (greylist_filter_any(&g->filter))
		return refuse("show", "--client, --from or --to");
	return print_all(g, true);
}

/* --- delete --- */

static bool
delete_one(void *arg, const struct store_entry *e)
{
	struct walk *w = arg;

	if (!greylist_filter_has(&w->g->filter, e))
		return true;
	if (e->cut) {
		w->left_out++;
		return true;
	}
	w->n++;
	if (!w->g->dry_run)
		flight_add(&w->flight, store_entry_delete(w->g->store, e));
	return true;
}

static int
run_delete(struct greylist *g)
{
	struct walk w = { .g = g };
	struct err err;

	if (greylist_filter_any(&g->filter))
		return refuse("delete", "--client, --from or --to");
	if (store_scan(g->store, kinds_of(g), g->now, delete_one, &w, &err) != 0) {
		flight_land(&w.flight);
		return down(&err);
	}
	int rc = flight_end(&w.flight);
	if (g->common.json)
		buf_addf(&g->out, "{\"deleted\":%" PRIu64 ",\"dry_run\":%s}\n", w.n,
		    g->dry_run ? "true" : "false");
	else
		buf_addf(&g->out, "%" PRIu64 " %s\n", w.n,
		    g->dry_run ? "would be deleted" : "deleted");
	if (w.left_out > 0)
		fprintf(stderr,
		    "posternctl greylist: %" PRIu64
		    " entries with longer names than the store keeps end by themselves\n",
		    w.left_out);
	return finish(g, rc == EX_OK && w.n == 0 ? NOTHING_FOUND : rc);
}

/* --- pass --- */

static void
pass_put(struct walk *w, struct greylist_entry *e)
{
	w->n++;
	flight_add(&w->flight, store_entry_put(w->g->store, &e->entry, w->g->now));
}

/* A triple that waits: known from now on. */
static bool
pass_one(void *arg, const struct store_entry *e)
{
	struct walk *w = arg;
	struct greylist_entry known = { .entry = *e };

	if (!greylist_filter_has(&w->g->filter, e) || e->cut)
		return true;
	known.entry.triple.known = true;
	known.entry.triple.last = w->g->now;
	known.entry.expires = w->g->now + w->g->set->keep;
	pass_put(w, &known);
	return true;
}

/* The triple where there is none yet, for each client that is meant. */
static void
pass_triples(struct walk *w)
{
	const struct greylist *g = w->g;
	const struct greylist_filter *f = &g->filter;

	for (size_t i = 0; i < f->n; i++) {
		struct greylist_entry e = { .entry = { .kind = STORE_TRIPLE,
						.triple = { true, true, g->now, g->now,
						    1 },
						.expires = g->now + g->set->keep } };

		greylist_entry_client(&e, greylist_filter_client(f, i));
		greylist_entry_key(&e, (struct str){ f->from, f->from_len },
		    (struct str){ f->to, f->to_len });
		pass_put(w, &e);
	}
}

static int
pass_clients(struct walk *w)
{
	const struct greylist *g = w->g;

	if (g->set->auto_whitelist == 0) {
		fprintf(stderr,
		    "posternctl greylist: greylist.auto-whitelist is 0: no client is "
		    "whitelisted\n");
		return EX_CONFIG;
	}
	for (size_t i = 0; i < g->filter.n; i++) {
		struct greylist_entry e = { .entry = { .kind = STORE_CLIENT,
						.person = { true, g->set->auto_whitelist,
						    g->now, 0 },
						.expires = g->now +
						    g->set->whitelist_keep } };

		greylist_entry_client(&e, greylist_filter_client(&g->filter, i));
		pass_put(w, &e);
	}
	return EX_OK;
}

static int
run_pass(struct greylist *g)
{
	struct walk w = { .g = g };
	bool triple = g->from != NULL || g->to != NULL;
	struct err err;
	int rc = EX_OK;

	if (greylist_filter_any(&g->filter))
		return refuse("pass", "--client, --from or --to");
	if (!triple)
		rc = pass_clients(&w);
	else if (g->client != NULL && g->from != NULL && g->to != NULL)
		pass_triples(&w);
	else if (store_scan(g->store, STORE_TRIPLE, g->now, pass_one, &w, &err) != 0)
		rc = down(&err);
	int landed = flight_end(&w.flight);
	rc = rc == EX_OK ? landed : rc;
	if (rc != EX_OK)
		return rc;
	if (g->common.json)
		buf_addf(&g->out, "{\"passed\":%" PRIu64 "}\n", w.n);
	else
		buf_addf(&g->out, "%" PRIu64 " %s\n", w.n,
		    triple ? "triples are known" : "clients are whitelisted");
	return finish(g, w.n == 0 ? NOTHING_FOUND : EX_OK);
}

/* --- trap --- */

/* -1: told. */
static int
trap_network(const char *text, struct ipnet *net)
{
	struct ip ip;

	if (text != NULL && ip_parse(str_of(text), &ip)) {
		*net = client_events_network(&ip);
		return 0;
	}
	if (text == NULL || !ipnet_parse(str_of(text), net))
		return refuse(
			   text == NULL ? "trap" : text, "an IP address or a network"),
		       -1;
	struct ipnet kept = client_events_network(&net->ip);
	if (net->prefix < kept.prefix)
		return refuse(text, "a network of /24 or /64, or a part of one"),
		       -1;
	*net = kept;
	return 0;
}

static int
run_trap(struct greylist *g)
{
	struct store_entry e = { .kind = STORE_EVENT, .event = EVENT_TRAP };
	int64_t keep = g->set->whitelist_keep > g->set->block ? g->set->whitelist_keep
							       : g->set->block;
	char net[IP_TEXT_MAX + 4];
	struct flight flight = { .n = 0 };

	if (trap_network(g->argument, &e.network) != 0)
		return EX_USAGE;
	if (g->lasts != NULL && (!str_to_duration(str_of(g->lasts), &keep) || keep <= 0))
		return refuse(g->lasts, "a duration");
	struct future *f = g->undo
	    ? store_entry_delete(g->store, &e)
	    : store_event_add(g->store, &e.network, EVENT_TRAP, 1, keep, g->now);
	bool found = !g->undo;
	if (g->undo && future_wait(f, clock_mono_ms() + ASK_MS))
		found = ((const struct delete_answer *)future_value(f))->found;
	flight_add(&flight, f);
	int rc = flight_end(&flight);
	if (rc != EX_OK)
		return rc;
	ipnet_format(&e.network, net);
	if (g->common.json)
		buf_addf(&g->out, "{\"network\":\"%s\",\"trapped\":%s,\"found\":%s}\n", net,
		    g->undo ? "false" : "true", found ? "true" : "false");
	else
		buf_addf(&g->out, "%s: %s\n", net,
		    !g->undo  ? "trapped"
			: found ? "no trap any more"
				: "there was no trap");
	return finish(g, found ? EX_OK : NOTHING_FOUND);
}

/* --- export, import --- */

static bool
export_one(void *arg, const struct store_entry *e)
{
	struct walk *w = arg;

	if (!greylist_filter_has(&w->g->filter, e))
		return true;
	if (greylist_table_row(&w->g->out, e))
		w->n++;
	else
		w->left_out++;
	if (w->g->out.len > FLUSH)
		flush(&w->g->out);
	return !ferror(stdout);
}

static int
run_export(struct greylist *g)
{
	struct walk w = { .g = g };
	struct err err;

	greylist_table_head(&g->out);
	if (store_scan(g->store, kinds_of(g), g->now, export_one, &w, &err) != 0)
		return down(&err);
	if (w.left_out > 0)
		fprintf(stderr,
		    "posternctl greylist: %" PRIu64
		    " entries left out: their names are longer than the store keeps\n",
		    w.left_out);
	return finish(g, EX_OK);
}

struct reading {
	struct import import;
	const char *file;
	FILE *f;
	int line;
	uint64_t entries, over, foreign, wrong;
};

static void
told(const struct reading *r, const struct err *err)
{
	fprintf(stderr, "%s:%d: %s\n", r->file, r->line, err->text);
}

/* One pass over the file; flight NULL: only look. */
static int
import_pass(struct greylist *g, struct reading *r, struct flight *flight)
{
	struct greylist_entry e;
	struct err err;
	size_t n;
	char *line = NULL;
	size_t room = 0;
	ssize_t len;

	rewind(r->f);
	r->line = 0;
	while ((len = getline(&line, &room, r->f)) >= 0) {
		r->line++;
		n = (size_t)len;
		if (n > 0 && line[n - 1] == '\n')
			n--;
		switch (import_line(&r->import, (struct str){ line, n }, &e, &err)) {
		case IMPORT_BAD:
			r->wrong++;
			told(r, &err);
			break;
		case IMPORT_FOREIGN:
			r->foreign++;
			if (flight == NULL)
				told(r, &err);
			break;
		case IMPORT_OVER:
			r->over++;
			break;
		case IMPORT_ENTRY:
			r->entries++;
			if (flight != NULL)
				flight_add(
				    flight, store_entry_put(g->store, &e.entry, g->now));
			break;
		case IMPORT_NOTHING:
			break;
		}
	}
	free(line);
	if (ferror(r->f)) {
		fprintf(stderr, "%s: %s\n", r->file, strerror(errno));
		return EX_NOINPUT;
	}
	if (!import_complete(&r->import, &err)) {
		r->wrong++;
		told(r, &err);
	}
	return r->wrong == 0 ? EX_OK : EX_DATAERR;
}

static int
import_end(struct greylist *g, const struct reading *r)
{
	const char *done = g->dry_run ? "would be entered" : "entered";

	if (g->common.json)
		buf_addf(&g->out,
		    "{\"entries\":%" PRIu64 ",\"expired\":%" PRIu64
		    ",\"skipped\":%" PRIu64 ",\"dry_run\":%s}\n",
		    r->entries, r->over, r->foreign, g->dry_run ? "true" : "false");
	else
		buf_addf(&g->out,
		    "%" PRIu64 " %s, %" PRIu64 " over, %" PRIu64 " skipped\n", r->entries,
		    done, r->over, r->foreign);
	return finish(g, EX_OK);
}

/* All of the file is read before the first entry is entered. */
static int
run_import(struct greylist *g)
{
	enum import_format format = IMPORT_TABLE;
	struct flight flight = { .n = 0 };

	if (g->argument == NULL)
		return refuse("import", "a file");
	while (g->from != NULL && format < IMPORT_FORMATS &&
	    strcmp(g->from, import_format_name(format)) != 0)
		format++;
	if (format == IMPORT_FORMATS)
		return refuse(g->from, "table, milter-greylist, postgrey or spamdb");
	struct reading r = { .file = g->argument, .f = fopen(g->argument, "re") };
	if (r.f == NULL) {
		fprintf(stderr, "posternctl greylist: cannot open %s: %s\n", g->argument,
		    strerror(errno));
		return EX_NOINPUT;
	}
	import_init(&r.import, format, g->set, g->now);
	int rc = import_pass(g, &r, NULL);
	if (rc == EX_OK && !g->dry_run) {
		r = (struct reading){ .file = r.file, .f = r.f };
		import_init(&r.import, format, g->set, g->now);
		rc = import_pass(g, &r, &flight);
		int landed = flight_end(&flight);
		rc = rc == EX_OK ? landed : rc;
	}
	fclose(r.f);
	return rc == EX_OK ? import_end(g, &r) : rc;
}

/* --- stats --- */

struct counts {
	const struct greylist *g;
	uint64_t pending, known, whitelisted, confirmed, events[EVENT_KINDS], blocked;
};

static bool
count_one(void *arg, const struct store_entry *e)
{
	struct counts *c = arg;
	const struct greylist_print p = { .set = c->g->set, .now = c->g->now };
	const char *state = greylist_print_state(&p, e);

	switch (e->kind) {
	case STORE_TRIPLE:
		c->known += e->triple.known;
		c->pending += !e->triple.known;
		break;
	case STORE_CLIENT:
		c->whitelisted += strcmp(state, "whitelisted") == 0;
		c->confirmed += strcmp(state, "whitelisted") != 0;
		break;
	case STORE_EVENT:
		c->events[e->event]++;
		c->blocked += strcmp(state, "blocked") == 0;
		break;
	}
	return true;
}

static void
stats_line(struct greylist *g, bool first, const char *name, uint64_t value)
{
	if (g->common.json)
		buf_addf(&g->out, "%s\"%s\":%" PRIu64, first ? "{" : ",", name, value);
	else
		buf_addf(&g->out, "%-18s %" PRIu64 "\n", name, value);
}

static int
run_stats(struct greylist *g)
{
	struct counts c = { .g = g };
	struct store_stats st;
	struct err err;

	if (store_stats(g->store, &st, &err) != 0 ||
	    store_scan(g->store, STORE_TRIPLE | STORE_CLIENT | STORE_EVENT, g->now,
		count_one, &c, &err) != 0)
		return down(&err);
	stats_line(g, true, "triples_pending", c.pending);
	stats_line(g, false, "triples_known", c.known);
	stats_line(g, false, "clients_whitelisted", c.whitelisted);
	stats_line(g, false, "clients_confirmed", c.confirmed);
	for (int i = 0; i < EVENT_KINDS; i++) {
		char name[40];

		snprintf(name, sizeof(name), "events_%s", event_kind_name((enum event_kind)i));
		stats_line(g, false, name, c.events[i]);
	}
	stats_line(g, false, "networks_blocked", c.blocked);
	stats_line(g, false, "store_entries", st.entries);
	stats_line(g, false, "store_bytes", st.bytes);
	stats_line(g, false, "store_size_max", st.size_max);
	buf_add_cstr(&g->out, g->common.json ? ",\"store\":" : "store              ");
	if (g->common.json)
		json_string(&g->out, st.note);
	else
		buf_add_cstr(&g->out, st.note);
	buf_add_cstr(&g->out, g->common.json ? "}\n" : "\n");
	return finish(g, EX_OK);
}

/* --- the command --- */

static const struct greylist_action {
	const char *name;
	bool argument; /* takes one */
	bool filtered; /* --from is a sender, not a format */
	int (*run)(struct greylist *g);
} actions[] = {
	{ "list", false, true, run_list },
	{ "show", false, true, run_show },
	{ "pass", false, true, run_pass },
	{ "delete", false, true, run_delete },
	{ "trap", true, true, run_trap },
	{ "export", false, true, run_export },
	{ "import", true, false, run_import },
	{ "stats", false, true, run_stats },
};

static int
open_and_run(struct greylist *g, const struct greylist_action *a)
{
	struct err err = { .text = "" };

	g->settings = ctl_settings(&g->common);
	if (g->settings == NULL)
		return EX_CONFIG;
	g->set = &g->settings->greylist;
	const struct store_conf conf = settings_store(&g->settings->state);
	g->store = store_open(&conf, &err);
	if (g->store == NULL)
		return down(&err);
	g->now = store_now(g->store);
	if (greylist_filter_read(&g->filter, g->store, g->set, g->client,
		a->filtered ? g->from : NULL, g->to, &err) != 0)
		return ctl_usage("greylist", "%s", err.text);
	return a->run(g);
}

int
ctl_greylist(int argc, char **argv)
{
	struct greylist g = { 0 };
	const struct greylist_action *a = NULL;
	const struct ctl_option options[] = {
		{ "--client", &g.client, NULL },
		{ "--from", &g.from, NULL },
		{ "--to", &g.to, NULL },
		{ "--kind", &g.kind, NULL },
		{ "--for", &g.lasts, NULL },
		{ "--dry-run", NULL, &g.dry_run },
		{ "--undo", NULL, &g.undo },
	};

	if (ctl_options(&argc, argv, &g.common, options, 7) != 0)
		return EX_USAGE;
	for (size_t i = 0; argc > 1 && i < sizeof(actions) / sizeof(actions[0]); i++)
		if (strcmp(argv[1], actions[i].name) == 0)
			a = &actions[i];
	if (a == NULL)
		return refuse(argc > 1 ? argv[1] : "greylist",
		    "list, show, pass, delete, trap, export, import or stats");
	if (argc > 2 + a->argument)
		return refuse(argv[2 + a->argument], "no such argument");
	g.argument = a->argument && argc > 2 ? argv[2] : NULL;
	if (kinds_of(&g) == 0)
		return refuse(g.kind, "triple, client or event");
	buf_init(&g.out, CTL_OUTPUT_MAX);
	int rc = open_and_run(&g, a);
	buf_clear(&g.out);
	store_close(g.store);
	settings_unref(g.settings);
	return rc;
}

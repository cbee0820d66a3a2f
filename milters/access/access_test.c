/* SPDX-License-Identifier: BSD-2-Clause */
/* Plays sendmail's part of a transaction around the engine - which check runs when,
 * what the replies look like - for every row of a folder of cases, and prints what came
 * out. */
#include "milters/access/access_test.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/buf.h"
#include "common/base/xalloc.h"
#include "milters/access/access_control.h"
#include "milters/access/access_env.h"
#include "milters/access/access_map.h"
#include "milters/access/access_relay.h"
#include "milters/access/access_table.h"

#define REPLY_MAX (VERDICT_TEXT_MAX + 32)
#define EVENTS_MAX 16

struct run {
	const char *dir;
	FILE *out;
	struct access_env *env;
	/* The map that was used last. */
	char *map_name;
	struct access_textmap *map;
};

/* A transaction in progress. */
struct play {
	const struct access_variant *variant;
	const struct access_env *env;
	struct access access;
	struct access_env_client client;
	struct access_dnsbl dnsbl;
	struct access_result relay; /* of the connect, when it is judged there */
	struct access_result events[EVENTS_MAX];
	size_t n_events;
};

/* ---- printing ---- */

static void
put_cell(FILE *out, const char *text)
{
	for (; *text != '\0'; text++) {
		if (*text == '\\')
			fputs("\\\\", out);
		else if (*text == '\t')
			fputs("\\t", out);
		else if (*text == '\n')
			fputs("\\n", out);
		else
			fputc(*text, out);
	}
}

/* One result column: its name in the table and its value. */
struct cell {
	const char *column;
	const char *value;
};

/* The columns that the table has, in its order; without any of them all, as listed. */
static void
put_row(FILE *out, const struct access_table *t, size_t row, const struct cell *cells,
    size_t n)
{
	bool any = false;

	put_cell(out, access_table_get(t, row, "id"));
	for (size_t c = 0; c < t->n_columns; c++) {
		for (size_t i = 0; i < n; i++) {
			if (strcmp(t->columns[c], cells[i].column) != 0)
				continue;
			fputc('\t', out);
			put_cell(out, cells[i].value);
			any = true;
		}
	}
	for (size_t i = 0; i < n && !any; i++) {
		fputc('\t', out);
		put_cell(out, cells[i].value);
	}
	fputc('\n', out);
}

/* ---- playing ---- */

static struct access_textmap *
map_of(struct run *run, const char *name, struct err *err)
{
	if (run->map_name != NULL && strcmp(run->map_name, name) == 0)
		return run->map;
	free(run->map_name);
	access_textmap_free(run->map);
	run->map_name = NULL;
	run->map = NULL;
	char *text = access_file_read(run->dir, name, err);
	if (text == NULL)
		return NULL;
	run->map = access_textmap_of(text);
	run->map_name = xstrdup(name);
	free(text);
	return run->map;
}

static void
play_init(struct play *p, struct run *run, const struct access_variant *v,
    struct access_textmap *map, const char *addr, const char *name)
{
	memset(p, 0, sizeof(*p));
	p->variant = v;
	p->env = run->env;
	access_env_client(run->env, v, addr, &p->client);
	if (name[0] != '\0')
		snprintf(p->client.name, sizeof(p->client.name), "%s", name);
	p->dnsbl = access_env_dnsbl(run->env, v, addr, p->client.addr);
	p->access = (struct access){ .rules = &v->rules,
		.lookup = access_textmap_lookup,
		.lookup_arg = map,
		.client = { .addr = p->client.addr,
		    .name = p->client.name,
		    .ptr = p->client.ptr,
		    .resolve = p->client.resolve,
		    .helo = "" },
		.dnsbl = &p->dnsbl };
}

static void
event(struct play *p, enum access_check by, const struct access_result *r)
{
	if (r->kind != ACCESS_REFUSED && r->kind != ACCESS_DISCARD &&
	    r->kind != ACCESS_QUARANTINE)
		return;
	if (p->n_events == EVENTS_MAX)
		return;
	p->events[p->n_events] = *r;
	p->events[p->n_events++].check = by;
}

static bool
at_once(const struct play *p)
{
	return p->variant->rules.delay == ACCESS_AT_ONCE;
}

static void
play_connect(struct play *p)
{
	if (!at_once(p))
		return;
	p->relay = access_check_relay(&p->access);
	event(p, ACCESS_CHECK_RELAY, &p->relay);
}

/* The reply to MAIL: REFUSED, or anything else for good.  *syntax: refused by the
 * parser, before any check. */
static struct access_result
play_mail(struct play *p, const char *path, bool *syntax)
{
	const struct access_rules *rules = &p->variant->rules;
	struct access_result r = { .kind = ACCESS_NONE, .check = ACCESS_CHECK_MAIL };

	*syntax = false;
	if (p->relay.kind == ACCESS_REFUSED)
		return p->relay;
	if (access_addr_parse(&rules->classes, access_rules_routes(rules), str_of(path),
		&p->access.sender, &r.verdict) != 0) {
		r.kind = ACCESS_REFUSED;
		*syntax = true;
		return r;
	}
	p->access.have_sender = true;
	if (access_want_sender_domain(&p->access))
		p->access.sender_domain =
		    access_env_domain(p->env, p->access.sender.domain);
	if (!at_once(p))
		return r;
	r = access_check_mail(&p->access, false);
	event(p, ACCESS_CHECK_MAIL, &r);
	return r;
}

static struct access_result
play_rcpt(struct play *p, const char *path, bool *syntax)
{
	const struct access_rules *rules = &p->variant->rules;
	struct access_result r = { .kind = ACCESS_REFUSED, .check = ACCESS_CHECK_RCPT };
	struct access_addr rcpt;

	*syntax = false;
	if (access_addr_parse(&rules->classes, access_rules_routes(rules), str_of(path),
		&rcpt, &r.verdict) != 0) {
		*syntax = true;
		return r;
	}
	r = at_once(p) ? access_check_rcpt(&p->access, &rcpt)
		       : access_check_delayed(&p->access, &rcpt);
	event(p, ACCESS_CHECK_RCPT, &r);
	return r;
}

/* What hangs over the message: the first discard, else the last hold. */
static const struct access_result *
fate(const struct play *p)
{
	const struct access_result *hold = NULL;

	for (size_t i = 0; i < p->n_events; i++) {
		const struct access_result *e = &p->events[i];
		if (e->kind == ACCESS_DISCARD)
			return e;
		/* A client alone holds nothing, unless it is judged at RCPT. */
		if (e->kind == ACCESS_QUARANTINE && e->check != ACCESS_CHECK_RELAY)
			hold = e;
	}
	return hold;
}

static const char *
reply_text(const struct access_result *r, const char *good, char out[REPLY_MAX])
{
	if (r->kind != ACCESS_REFUSED)
		snprintf(out, REPLY_MAX, "%s", good);
	else
		snprintf(out, REPLY_MAX, "%d %s %s", r->verdict.code,
		    r->verdict.enhanced, r->verdict.text);
	return out;
}

static const char *
events_text(const struct play *p, char out[400])
{
	static const char *const checks[] = { "check_relay", "check_mail",
		"check_rcpt" };
	size_t n = 0;

	out[0] = '\0';
	for (size_t i = 0; i < p->n_events; i++) {
		const struct access_result *e = &p->events[i];
		const char *what = e->kind == ACCESS_REFUSED ? "reject"
		    : e->kind == ACCESS_DISCARD              ? "discard"
							     : "quarantine";
		n += (size_t)snprintf(out + n, 400 - n, "%s%s:%s", i > 0 ? ";" : "",
		    checks[e->check], what);
	}
	return out;
}

/* ---- cases.tsv ---- */

static const char *const stages[] = { "connect", "mail", "rcpt" };
static const char *const resolves[] = { "OK", "FAIL", "TEMP", "FORGED" };

static void
put_refused(const struct run *run, const struct access_table *t, size_t row,
    const struct play *p, const char *stage, const struct access_result *r)
{
	char code[16], events[400];
	const char *action = r->relay_denied && r->verdict.code >= 500 ? "relay-denied"
	    : r->verdict.code >= 500                                   ? "reject"
								       : "tempfail";
	snprintf(code, sizeof(code), "%d", r->verdict.code);
	const struct cell cells[] = { { "stage_of_refusal", stage }, { "code", code },
		{ "enhanced", r->verdict.enhanced }, { "text", r->verdict.text },
		{ "action", action }, { "client_resolve", resolves[p->client.resolve] },
		{ "quarantine", "" }, { "events", events_text(p, events) } };

	put_row(run->out, t, row, cells, sizeof(cells) / sizeof(cells[0]));
}

static void
put_taken(const struct run *run, const struct access_table *t, size_t row,
    const struct play *p)
{
	const struct access_result *f = fate(p);
	bool held = f != NULL && f->kind == ACCESS_QUARANTINE;
	char events[400];
	const struct cell cells[] = { { "stage_of_refusal",
					  f != NULL ? stages[f->check] : "" },
		{ "code", "250" }, { "enhanced", "2.1.5" }, { "text", "Recipient ok" },
		{ "action",
		    f == NULL  ? "accept"
			: held ? "quarantine"
			       : "discard" },
		{ "client_resolve", resolves[p->client.resolve] },
		{ "quarantine", held ? f->verdict.text : "" },
		{ "events", events_text(p, events) } };

	put_row(run->out, t, row, cells, sizeof(cells) / sizeof(cells[0]));
}

static int
run_case(struct run *run, const struct access_table *t, size_t row, struct err *err)
{
	const struct access_variant *v =
	    access_env_variant(run->env, access_table_get(t, row, "variant"));
	struct access_textmap *map =
	    map_of(run, access_table_get(t, row, "access"), err);
	struct access_result r;
	struct play p;
	bool syntax;

	if (map == NULL)
		return -1;
	if (v == NULL)
		return err_set(err, "row %zu: unknown variant", row + 1);
	play_init(&p, run, v, map, access_table_get(t, row, "client_addr"),
	    access_table_get(t, row, "client_name"));
	p.access.client.helo = access_table_get(t, row, "helo");
	play_connect(&p);
	r = play_mail(&p, access_table_get(t, row, "mail_from"), &syntax);
	if (r.kind == ACCESS_REFUSED) {
		put_refused(run, t, row, &p, stages[r.check], &r);
		return 0;
	}
	r = play_rcpt(&p, access_table_get(t, row, "rcpt_to"), &syntax);
	if (r.kind == ACCESS_REFUSED)
		put_refused(run, t, row, &p, "rcpt", &r);
	else
		put_taken(run, t, row, &p);
	return 0;
}

/* ---- multi.tsv ---- */

/* Replies to the recipients, and who of them is taken. */
static bool
play_recipients(struct play *p, const struct access_result *mail, const char *rcpts,
    struct buf *replies, struct buf *queued)
{
	struct str rest = str_of(rcpts), word;
	char path[600], reply[REPLY_MAX];
	bool taken = false, syntax;

	while (str_word(&rest, &word)) {
		struct access_result r = p->relay;

		snprintf(path, sizeof(path), "%.*s", STR_ARG(word));
		if (replies->len > 0)
			buf_add_cstr(replies, " | ");
		if (mail->kind == ACCESS_REFUSED && p->relay.kind != ACCESS_REFUSED) {
			buf_add_cstr(replies, "503 5.0.0 Need MAIL before RCPT");
			continue;
		}
		if (p->relay.kind != ACCESS_REFUSED)
			r = play_rcpt(p, path, &syntax);
		buf_add_cstr(replies, reply_text(&r, "250 2.1.5 Recipient ok", reply));
		if (r.kind == ACCESS_REFUSED)
			continue;
		taken = true;
		buf_addf(queued, "%s%s", queued->len > 0 ? " " : "", path);
	}
	return taken;
}

static void
put_multi(const struct run *run, const struct access_table *t, size_t row,
    const struct play *p, const char *connect, const char *mail, bool taken,
    struct buf *replies, struct buf *queued)
{
	const struct access_result *f = taken ? fate(p) : NULL;
	bool held = f != NULL && f->kind == ACCESS_QUARANTINE;
	bool dropped = f != NULL && !held;
	const struct cell cells[] = { { "connect_reply", connect },
		{ "mail_reply", mail }, { "rcpt_replies", buf_cstr(replies) },
		{ "outcome",
		    !taken        ? "none"
			: dropped ? "discard"
			: held    ? "quarantine"
				  : "accept" },
		{ "queued_rcpts", dropped ? "" : buf_cstr(queued) },
		{ "quarantine", held ? f->verdict.text : "" } };

	put_row(run->out, t, row, cells, sizeof(cells) / sizeof(cells[0]));
}

static int
run_multi(struct run *run, const struct access_table *t, size_t row, struct err *err)
{
	const struct access_variant *v =
	    access_env_variant(run->env, access_table_get(t, row, "variant"));
	struct access_textmap *map =
	    map_of(run, access_table_get(t, row, "access"), err);
	char reply[REPLY_MAX];
	struct play p;
	bool syntax;
	struct buf replies, queued;

	if (map == NULL)
		return -1;
	if (v == NULL)
		return err_set(err, "row %zu: unknown variant", row + 1);
	const char *helo = access_table_get(t, row, "helo");
	buf_init(&replies, 65536);
	buf_init(&queued, 65536);
	play_init(&p, run, v, map, access_table_get(t, row, "client_addr"),
	    access_table_get(t, row, "client_name"));
	/* without the column: a name that nobody minds */
	p.access.client.helo = helo[0] != '\0' ? helo : "client.invalid";
	play_connect(&p);
	if (p.relay.kind == ACCESS_REFUSED && p.relay.verdict.code == 421) {
		buf_add_cstr(&replies, "(closed)");
		put_multi(run, t, row, &p, reply_text(&p.relay, "", reply), "(closed)",
		    false, &replies, &queued);
	} else {
		struct access_result mail =
		    play_mail(&p, access_table_get(t, row, "mail_from"), &syntax);
		bool taken = play_recipients(
		    &p, &mail, access_table_get(t, row, "rcpts"), &replies, &queued);
		put_multi(run, t, row, &p, "220",
		    reply_text(&mail, "250 2.1.0 Sender ok", reply), taken, &replies,
		    &queued);
	}
	buf_clear(&replies);
	buf_clear(&queued);
	return 0;
}

/* ---- controls.tsv ---- */

static int
run_control(struct run *run, const struct access_table *t, size_t row, struct err *err)
{
	const struct access_variant *v =
	    access_env_variant(run->env, access_table_get(t, row, "variant"));
	struct access_textmap *map =
	    map_of(run, access_table_get(t, row, "access"), err);
	const char *ruleset = access_table_get(t, row, "ruleset");
	char text[REPLY_MAX];
	uint64_t count = 0;
	struct play p;

	if (map == NULL)
		return -1;
	if (v == NULL)
		return err_set(err, "row %zu: unknown variant", row + 1);
	play_init(&p, run, v, map, "", access_table_get(t, row, "client_name"));
	p.access.client.addr = access_table_get(t, row, "client_addr");
	(void)str_to_uint(
	    str_of(access_table_get(t, row, "value")), 0, UINT32_MAX, &count);
	if (strcmp(ruleset, "greet_pause") == 0) {
		snprintf(text, sizeof(text), "%ld",
		    access_greet_pause(&p.access, v->greet_pause));
	} else {
		enum access_limit limit = strcmp(ruleset, "ConnControl") == 0
		    ? ACCESS_LIMIT_CONNECTIONS
		    : ACCESS_LIMIT_RATE;
		struct access_result r =
		    access_check_limit(&p.access, limit, (unsigned long)count);
		reply_text(&r, "OK", text);
	}
	const struct cell cells[] = { { "result", text } };
	put_row(run->out, t, row, cells, 1);
	return 0;
}

/* ---- lookups.tsv ---- */

struct trace {
	struct access_textmap *map;
	struct buf keys;
};

static bool
traced_lookup(void *arg, struct str key, struct access_entry *out)
{
	struct trace *t = arg;
	bool found = access_textmap_lookup(t->map, key, out);

	buf_addf(&t->keys, "%s%.*s", t->keys.len > 0 ? " " : "", STR_ARG(key));
	if (found)
		buf_addf(&t->keys, "=%.*s", STR_ARG(out->value));
	return found;
}

/* "name $| addr" */
static void
trace_relay(struct play *p, const char *input)
{
	const char *bar = strstr(input, " $| ");

	if (bar == NULL)
		return;
	snprintf(
	    p->client.name, sizeof(p->client.name), "%.*s", (int)(bar - input), input);
	p->access.client.addr = bar + 4;
	(void)access_check_relay(&p->access);
}

static void
trace_run(struct play *p, const char *ruleset, const char *input)
{
	bool syntax;

	if (strcmp(ruleset, "check_relay") == 0) {
		trace_relay(p, input);
	} else if (strcmp(ruleset, "check_mail") == 0) {
		(void)play_mail(p, input, &syntax);
	} else {
		access_lookup *real = p->access.lookup;
		p->access.lookup =
		    access_textmap_lookup; /* the sender's are not shown */
		void *arg = p->access.lookup_arg;
		p->access.lookup_arg = ((struct trace *)arg)->map;
		(void)play_mail(p, "<s+d@h.d1.test>", &syntax);
		p->access.lookup = real;
		p->access.lookup_arg = arg;
		(void)play_rcpt(p, input, &syntax);
	}
}

static int
run_lookup(struct run *run, const struct access_table *t, size_t row, struct err *err)
{
	const struct access_variant *v =
	    access_env_variant(run->env, access_table_get(t, row, "variant"));
	const char *contents = access_table_get(t, row, "map_contents");
	struct trace trace;
	struct play p;

	if (v == NULL)
		return err_set(err, "row %zu: unknown variant", row + 1);
	trace.map = access_textmap_of(strcmp(contents, "(empty)") == 0 ? "" : contents);
	buf_init(&trace.keys, 65536);
	/* The recorded client of check_rcpt: 10.9.8.7 with a confirmed name. */
	play_init(&p, run, v, trace.map, "10.9.8.7", "pc.client.test");
	p.access.client.resolve = ACCESS_RESOLVE_OK;
	p.access.lookup = traced_lookup;
	p.access.lookup_arg = &trace;
	trace_run(
	    &p, access_table_get(t, row, "ruleset"), access_table_get(t, row, "input"));
	const struct cell cells[] = { { "lookups",
	    trace.keys.len > 0 ? buf_cstr(&trace.keys) : "" } };
	put_row(run->out, t, row, cells, 1);
	buf_clear(&trace.keys);
	access_textmap_free(trace.map);
	return 0;
}

/* ---- the folder ---- */

static bool
exists(const char *dir, const char *name)
{
	char *path = xasprintf("%s/%s", dir, name);
	FILE *f = fopen(path, "re");

	free(path);
	if (f != NULL)
		fclose(f);
	return f != NULL;
}

static int
run_file(struct run *run, const char *name,
    int (*row_fn)(struct run *, const struct access_table *, size_t, struct err *),
    struct err *err)
{
	struct access_table t;
	int rc = 0;

	if (!exists(run->dir, name))
		return 0;
	if (access_table_read(run->dir, name, &t, err) != 0)
		return -1;
	fprintf(run->out, "# %s\n", name);
	for (size_t i = 0; i < t.n_rows && rc == 0; i++)
		rc = row_fn(run, &t, i, err);
	access_table_clear(&t);
	return rc;
}

int
access_test_run(const char *dir, FILE *out, struct err *err)
{
	struct run run = { .dir = dir, .out = out };

	run.env = access_env_read(dir, err);
	if (run.env == NULL)
		return -1;
	int rc = run_file(&run, "cases.tsv", run_case, err) != 0 ||
		run_file(&run, "multi.tsv", run_multi, err) != 0 ||
		run_file(&run, "controls.tsv", run_control, err) != 0 ||
		run_file(&run, "lookups.tsv", run_lookup, err) != 0
	    ? -1
	    : 0;
	free(run.map_name);
	access_textmap_free(run.map);
	access_env_free(run.env);
	return rc;
}

int
access_test_main(int argc, char **argv)
{
	struct err err = { 0 };
	char text[640];

	if (argc != 2) {
		fprintf(stderr, "usage: posternctl test access DIR\n");
		return 64;
	}
	if (access_test_run(argv[1], stdout, &err) != 0) {
		fprintf(stderr, "posternctl: %s\n", err_str(&err, text, sizeof(text)));
		return 66;
	}
	return fflush(stdout) == 0 && ferror(stdout) == 0 ? 0 : 71;
}

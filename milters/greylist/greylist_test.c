/* SPDX-License-Identifier: BSD-2-Clause */
/* The engine on a file of events instead of an MTA: same policies, same store, same
 * verdict.  Events are judged one after another in the file's order. */
#include "milters/greylist/greylist_test.h"

#include <errno.h>
#include <ftw.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/xalloc.h"
#include "policy/greylist_outcome.h"
#include "policy/greylist.h"
#include "policy/policy.h"

#define COLUMNS_MAX 64
#define LINE_MAX_OCTETS (64u << 10)
#define STORE_WAIT_MS 10000

enum column {
	COL_TIME,
	COL_IP,
	COL_NAME,
	COL_HELO,
	COL_SENDER,
	COL_RCPT,
	COL_SPF,
	COLUMNS
};
static const char *const column_names[COLUMNS] = { "time", "client_ip", "client_name",
	"helo", "sender", "recipient", "spf" };

struct batch {
	struct settings *settings;
	struct store *store;
	struct suffixes *suffixes;
	char *dir;
	FILE *in, *out;
	int at[COLUMNS]; /* where each column stands */
	bool head; /* the columns are known */
	long line;
};

static int
remove_one(const char *name, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	return remove(name);
}

static void
batch_clear(struct batch *b)
{
	store_close(b->store);
	suffixes_close(b->suffixes);
	if (b->dir != NULL)
		(void)nftw(b->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
	free(b->dir);
	settings_unref(b->settings);
}

static int
tell(const struct err *err, int status)
{
	char text[700];

	fprintf(
	    stderr, "posternctl test greylist: %s\n", err_str(err, text, sizeof(text)));
	return status;
}

static int
load(struct batch *b, const char *path)
{
	struct errs errs = { 0 };
	char text[700];

	b->settings = settings_load(path, &errs);
	for (size_t i = 0; b->settings == NULL && i < errs.n; i++)
		fprintf(stderr, "%s\n", err_str(&errs.list[i], text, sizeof(text)));
	errs_clear(&errs);
	return b->settings == NULL ? EX_CONFIG : EX_OK;
}

static int
open_suffixes(struct batch *b)
{
	struct err err;

	b->suffixes = suffixes_open(b->settings->dns.public_suffixes, &err);
	return b->suffixes == NULL ? tell(&err, EX_NOINPUT) : EX_OK;
}

/* A fresh one, unless the settings name a server that others can look at too. */
static int
open_store(struct batch *b)
{
	const char *tmp = getenv("TMPDIR");
	struct store_conf conf = settings_store(&b->settings->state);
	char *path = NULL;
	struct err err;

	if (b->settings->state.engine == STATE_EMBEDDED) {
		b->dir = xasprintf("%s/postern-test-XXXXXX", tmp == NULL ? "/tmp" : tmp);
		if (mkdtemp(b->dir) == NULL) {
			err_errno(&err, "cannot make a directory in %s",
			    tmp == NULL ? "/tmp" : tmp);
			free(b->dir);
			b->dir = NULL;
			return tell(&err, EX_TEMPFAIL);
		}
		path = xasprintf("%s/state", b->dir);
		conf.path = path;
		conf.sync_ms = 60000;
		conf.snapshot_s = 0;
	}
	b->store = store_open(&conf, &err);
	free(path);
	return b->store == NULL ? tell(&err, EX_TEMPFAIL) : EX_OK;
}

/* A server that is still being connected to answers nothing, and what is not recorded
 * passes: the verdicts would depend on how fast it is. */
static int
store_answers(struct batch *b)
{
	int64_t deadline = clock_mono_ms() + STORE_WAIT_MS;
	struct ipnet nobody = { { AF_INET, { 192, 0, 2 } }, 24 };
	struct err err;

	while (clock_mono_ms() < deadline) {
		struct future *f =
		    store_event_get(b->store, &nobody, EVENT_TRAP, clock_wall());
		bool up = future_wait(f, deadline) &&
		    ((const struct event_answer *)future_value(f))->state == STORE_OK;

		future_unref(f);
		if (up)
			return EX_OK;
		const struct timespec pause = { .tv_nsec = 20000000 };
		nanosleep(&pause, NULL);
	}
	err_set(&err, "the state store does not answer");
	return tell(&err, EX_TEMPFAIL);
}

/* Split at tabs; returns the number of fields, at most COLUMNS_MAX. */
static int
split(struct str line, struct str field[COLUMNS_MAX])
{
	int n = 0;

	while (n < COLUMNS_MAX && str_cut(&line, '\t', &field[n]))
		n++;
	return n;
}

static int
read_head(struct batch *b, struct str line, struct err *err)
{
	struct str field[COLUMNS_MAX];
	int n = split(line, field);

	for (int c = 0; c < COLUMNS; c++) {
		b->at[c] = -1;
		for (int i = 0; i < n && b->at[c] < 0; i++)
			if (str_is(field[i], column_names[c]))
				b->at[c] = i;
		if (b->at[c] < 0)
			return err_at(err, "events", (int)b->line,
			    "no column \"%s\", expected a first line that names the "
			    "columns",
			    column_names[c]);
	}
	return 0;
}

/* Seconds since the epoch; a fraction is dropped. */
static bool
read_time(struct str s, int64_t *now)
{
	ptrdiff_t dot = str_index(s, '.');
	uint64_t seconds;

	if (!str_to_uint(str_sub(s, 0, dot < 0 ? s.len : (size_t)dot), 0, INT64_MAX / 2,
		&seconds))
		return false;
	for (size_t i = dot < 0 ? s.len : (size_t)dot + 1; i < s.len; i++)
		if (!ascii_digit(s.p[i]))
			return false;
	*now = (int64_t)seconds;
	return true;
}

static struct policy_view
view_of(const struct batch *b, const struct greylist_facts *facts)
{
	char sender[ADDRESS_MAX], recipient[ADDRESS_MAX];
	const struct policy_facts known = { .stage = STAGE_RCPT,
		.client = facts->client.ip,
		.sender = { sender, greylist_address(facts->client.sender, sender) },
		.recipient = {
		    recipient, greylist_address(facts->recipient, recipient) } };
	struct policy_view view;

	policy_resolve(b->settings, &known, &view);
	return view;
}

/* What the store knows of the client's network; what is away is zero. */
static void
fetch_events(struct batch *b, struct greylist_facts *facts, int64_t now)
{
	static const enum event_kind kinds[3] = { EVENT_TRAP, EVENT_VIRUS, EVENT_SPAM };
	struct greylist_events *const to[3] = { &facts->trap, &facts->virus,
		&facts->spam };
	struct ipnet network = greylist_network(&facts->client.ip);
	struct future *asked[3];

	for (int i = 0; i < 3; i++)
		asked[i] = store_event_get(b->store, &network, kinds[i], now);
	for (int i = 0; i < 3; i++) {
		if (future_wait(asked[i], clock_mono_ms() + STORE_WAIT_MS)) {
			const struct event_answer *a = future_value(asked[i]);

			*to[i] = (struct greylist_events){ a->weight, a->last };
		}
		future_unref(asked[i]);
	}
}

static struct verdict
judge(struct batch *b, struct greylist_facts *facts, int64_t now)
{
	struct policy_view view = view_of(b, facts);
	struct greylist_query q;
	const struct greylist_answer *answer = NULL;
	struct future *f = NULL;

	if ((greylist_asks(&view.greylist, facts) & GREYLIST_ASK_EVENTS) != 0)
		fetch_events(b, facts, now);
	greylist_want(&view.greylist, facts, now, &q);
	if (q.trap_hit && !view.observe) {
		struct future *told = store_event_add(b->store, &q.network, EVENT_TRAP,
		    1, view.greylist.whitelist_keep, now);
		future_wait(told, clock_mono_ms() + STORE_WAIT_MS);
		future_unref(told);
	}
	if (q.ask) {
		f = store_greylist_check(b->store, &q.network,
		    (struct str){ q.client, q.client_len },
		    (struct str){ q.key, q.key_len }, &q.times, now);
		if (future_wait(f, clock_mono_ms() + STORE_WAIT_MS))
			answer = future_value(f);
	}
	struct verdict v = greylist_judge(&view.greylist, &q, answer, now);
	if (view.observe && v.action != ACTION_CONTINUE)
		v = verdict_continue("observed");
	future_unref(f);
	policy_view_clear(&view);
	return v;
}

static int
event(struct batch *b, struct str line, struct err *err)
{
	struct str field[COLUMNS_MAX];
	struct greylist_facts facts = { .authenticated = false };
	int64_t now;
	int n = split(line, field);

	for (int c = 0; c < COLUMNS; c++)
		if (b->at[c] >= n)
			return err_at(err, "events", (int)b->line,
			    "%d columns, \"%s\" is missing", n, column_names[c]);
	if (!read_time(field[b->at[COL_TIME]], &now))
		return err_at(err, "events", (int)b->line,
		    "time \"%.*s\", expected seconds since the epoch",
		    STR_ARG(str_sub(field[b->at[COL_TIME]], 0, 40)));
	if (!ip_parse(field[b->at[COL_IP]], &facts.client.ip))
		return err_at(err, "events", (int)b->line,
		    "client_ip \"%.*s\", expected an IP address",
		    STR_ARG(str_sub(field[b->at[COL_IP]], 0, 60)));
	facts.client.name = field[b->at[COL_NAME]];
	facts.client.helo = field[b->at[COL_HELO]];
	facts.client.sender = field[b->at[COL_SENDER]];
	facts.client.spf_pass = str_is_nocase(field[b->at[COL_SPF]], "pass");
	facts.client.suffixes = b->suffixes;
	facts.recipient = field[b->at[COL_RCPT]];
	struct verdict v = judge(b, &facts, now);
	bool pass = v.action == ACTION_CONTINUE;
	fwrite(line.p, 1, line.len, b->out);
	fprintf(b->out, "\t%s\t%d\t%s\t%s\t%lld\n", action_name(v.action),
	    pass ? 250 : v.code, pass ? "2.1.5" : v.enhanced, v.why, (long long)v.wait);
	return 0;
}

static int
batch_line(struct batch *b, struct str line, struct err *err)
{
	if (b->head)
		return event(b, line, err);
	if (read_head(b, line, err) != 0)
		return -1;
	b->head = true;
	fwrite(line.p, 1, line.len, b->out);
	fputs("\taction\tcode\tenhanced\treason\twait_s\n", b->out);
	return 0;
}

/* One line without its end into *line.  false: the end of the input, nothing was read.
 */
static bool
read_line(FILE *in, struct buf *line)
{
	int c;
	bool any = false;

	buf_reset(line);
	while ((c = getc_unlocked(in)) != EOF) {
		any = true;
		if (c == '\n')
			break;
		buf_add_char(line, (char)c);
	}
	if (line->len > 0 && line->p[line->len - 1] == '\r')
		line->len--;
	return any;
}

static int
run(struct batch *b)
{
	struct buf line;
	struct err err;
	int status = EX_OK;

	buf_init(&line, LINE_MAX_OCTETS);
	while (status == EX_OK && read_line(b->in, &line)) {
		b->line++;
		if (line.failed || str_has(buf_str(&line), '\0'))
			status = err_at(&err, "events", (int)b->line,
			    "expected a line of text of at most %u octets",
			    LINE_MAX_OCTETS);
		else if (line.len > 0)
			status = batch_line(b, buf_str(&line), &err);
		if (status != EX_OK)
			status = tell(&err, EX_DATAERR);
	}
	buf_clear(&line);
	if (status == EX_OK && !b->head) {
		err_at(&err, "events", 0, "no line that names the columns");
		status = tell(&err, EX_DATAERR);
	}
	if (fflush(b->out) != 0 || ferror(b->out)) {
		err_errno(&err, "cannot write");
		status = tell(&err, EX_IOERR);
	}
	return status;
}

int
greylist_test_run(const char *conf_path, FILE *in, FILE *out)
{
	struct batch b = { .in = in, .out = out };
	int status = load(&b, conf_path);

	if (status == EX_OK)
		status = open_suffixes(&b);
	if (status == EX_OK)
		status = open_store(&b);
	if (status == EX_OK)
		status = store_answers(&b);
	if (status == EX_OK)
		status = run(&b);
	batch_clear(&b);
	return status;
}

int
greylist_test_main(int argc, char **argv)
{
	const char *path = NULL;
	int c;

	optind = 1;
	while ((c = getopt(argc, argv, "c:")) == 'c')
		path = optarg;
	if (c == -1 && optind == argc)
		return greylist_test_run(path, stdin, stdout);
	fputs("usage: posternctl test greylist [-c FILE] <EVENTS >VERDICTS\n", stderr);
	return EX_USAGE;
}

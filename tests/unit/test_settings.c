/* SPDX-License-Identifier: BSD-2-Clause */
/* The settings of the milters: every row of every table with its default, its limits
 * and what it refuses; the manual tells the same; rules over several settings;
 * snapshots. */
#include <check.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/base/buf.h"
#include "common/base/conf.h"
#include "common/base/xalloc.h"
#include "policy/settings.h"
#include "policy/settings_daemon.h"
#include "tests/lib/errors.h"

#define MANUAL "common/postern.conf.5"
#define EXAMPLE "policy/postern.conf.example"

/* What rows of text accept and refuse, which the row itself does not tell. */
static const struct sample {
	const char *key, *good[4], *printed[4], *bad[5];
} samples[] = {
	{ "run.host", { "mx.example.org", "a" }, { "mx.example.org", "a" },
	    { "-a..b", "\"\"", "\"a b\"", "a." } },
	{ "run.user", { "postern" }, { "postern" }, { "a b" } },
	{ "run.group", { "postern" }, { "postern" }, { "a b" } },
	{ "run.runtime-dir", { "/run/x" }, { "/run/x" }, { "run/x", "/", "\"\"" } },
	{ "run.log", { "stderr", "/var/log/x", "syslog" },
	    { "stderr", "/var/log/x", "syslog" }, { "file", "\"\"", "log/x" } },
	{ "dns.servers", { "192.0.2.53", "127.0.0.1:5353 [::1]:53", "::1" },
	    { "192.0.2.53", "127.0.0.1:5353 [::1]:53", "::1" },
	    { "ns.example", "127.0.0.1:0", "127.0.0.1:65536", "127.0.0.1:" } },
	{ "state.path", { "/x" }, { "/x" }, { "x", "/" } },
	{ "state.redis",
	    { "unix:/run/r", "192.0.2.1", "192.0.2.1:7000", "[::1]:7000" },
	    { "unix:/run/r", "192.0.2.1", "192.0.2.1:7000", "[::1]:7000" },
	    { "redis.example", "localhost:6379", "192.0.2.1:0", "unix:r", "\"\"" } },
	{ "state.sentinel", { "192.0.2.1:26379", "192.0.2.1 [::1]:26379" },
	    { "192.0.2.1:26379", "192.0.2.1 [::1]:26379" },
	    { "unix:/run/s", "sentinel.example", "192.0.2.1:0", "\"\"" } },
	{ "state.master", { "postern", "\"my master\"" }, { "postern", "\"my master\"" },
	    { "\"\"" } },
	{ "state.sentinel-user", { "postern" }, { "postern" }, { "a b" } },
	{ "state.sentinel-password-file", { "/p" }, { "/p" }, { "p" } },
	{ "state.cluster", { "192.0.2.1:7000", "192.0.2.1 [::1]:7000" },
	    { "192.0.2.1:7000", "192.0.2.1 [::1]:7000" },
	    { "unix:/run/s", "node.example", "192.0.2.1:65536", "\"\"" } },
	{ "state.user", { "postern" }, { "postern" }, { "a b" } },
	{ "state.password-file", { "/p" }, { "/p" }, { "p" } },
	{ "state.secret-file", { "/p" }, { "/p" }, { "p" } },
	{ "state.prefix", { "a", "mail-1.b_c" }, { "a", "mail-1.b_c" },
	    { "\"\"", "a:b", "\"a{\"", "\"a b\"",
		"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx" } },
	{ "greylist.socket",
	    { "unix:/run/g", "inet:8891@127.0.0.1", "inet6:8891@[::1]", "inet:1" },
	    { "unix:/run/g", "inet:8891@127.0.0.1", "inet6:8891@[::1]", "inet:1" },
	    { "unix:run/g", "inet:0@127.0.0.1", "inet:8891@[::1]",
		"inet6:8891@127.0.0.1", "8891@127.0.0.1" } },
	{ "greylist.socket-mode", { "0600", "7", "0777" }, { "0600", "0007", "0777" },
	    { "8", "1000", "rw", "\"\"", "00660" } },
	{ "greylist.socket-group", { "mail" }, { "mail" }, { "a b" } },
	{ "greylist.metrics", { "/run/m", "unix:/run/m" }, { "/run/m", "unix:/run/m" },
	    { "m", "inet:1@127.0.0.1" } },
	{ "greylist.exempt", { "policy/greylist-exempt.list", "none" },
	    { "policy/greylist-exempt.list", "" }, { "/no/such/file", "\"\"" } },
	{ "greylist.allowlists",
	    { "wl.example", "WL.example a.example=127.0.0.0/16", "none" },
	    { "wl.example", "wl.example a.example=127.0.0.0/16", "" },
	    { "wl..example", "wl.example=10.0.0.0/8", "wl.example=127.0.0.0/7",
		"wl.example=", "a b c d e f g h i" } },
	{ "dns.public-suffixes", { "/psl" }, { "/psl" }, { "psl" } },
	{ "greylist.text", { "\"wait %w\"" }, { "\"wait %w\"" }, { "\"\"" } },
	{ "access.socket", { "unix:/run/a", "inet:8892@127.0.0.1" },
	    { "unix:/run/a", "inet:8892@127.0.0.1" },
	    { "a", "unix:", "inet:x@127.0.0.1" } },
	{ "access.socket-mode", { "0660" }, { "0660" }, { "9" } },
	{ "access.socket-group", { "mail" }, { "mail" }, { "a b" } },
	{ "access.metrics", { "/run/m" }, { "/run/m" }, { "m" } },
	{ "access.observe", { "dnsbl", "dnsbl client-rate" }, { "dnsbl", "dnsbl client-rate" },
	    { "\"a b\"", "\"\"", "a-b" } },
#define OUTCOME_SAMPLE(key)                                                            \
	{                                                                              \
		key, { "off", "2.5", "reject \"no: %a\"", "tempfail" },                \
		    { "off", "2.5", "reject \"no: %a\"", "tempfail" },                 \
		{                                                                      \
			"on", "off \"x\"", "reject x", "3 \"\"", "1 \"a\" b"             \
		}                                                                      \
	}
	OUTCOME_SAMPLE("access.client-no-name"),
	OUTCOME_SAMPLE("access.client-forged"),
	OUTCOME_SAMPLE("access.client-generic"),
	OUTCOME_SAMPLE("access.helo-syntax"),
	OUTCOME_SAMPLE("access.helo-unqualified"),
	OUTCOME_SAMPLE("access.helo-forged"),
	OUTCOME_SAMPLE("access.sender-unqualified"),
	OUTCOME_SAMPLE("access.sender-unresolvable"),
	OUTCOME_SAMPLE("access.sender-temperror"),
	OUTCOME_SAMPLE("access.sender-null-mx"),
	OUTCOME_SAMPLE("access.sender-private-mx"),
	{ "access.own-names", { "a.example", "a.example 192.0.2.1 2001:db8::1" },
	    { "a.example", "a.example 192.0.2.1 2001:db8::1" }, { "a..b", "\"\"" } },
	{ "mime.socket", { "unix:/run/m" }, { "unix:/run/m" }, { "m", "unix:" } },
	{ "mime.socket-mode", { "0660" }, { "0660" }, { "9" } },
	{ "mime.socket-group", { "mail" }, { "mail" }, { "a b" } },
	{ "mime.metrics", { "/run/m" }, { "/run/m" }, { "m" } },
	{ "mime.signatures", { "/s" }, { "/s" }, { "s", "/" } },
	{ "mime.tmp", { "/t" }, { "/t" }, { "t" } },
	{ "mime.quarantine", { "/q" }, { "/q" }, { "q", "\"\"" } },
	{ "mime.forbidden-names", { "exe", "exe com" }, { "exe", "exe com" },
	    { ".exe", "EXE", "\"\"" } },
	{ "mime.forbidden-types", { "exe", "text/x-sh" }, { "exe", "text/x-sh" },
	    { "Exe", "\"\"" } },
	{ "access.authserv-id", { "mx.example.org", "a.example" },
	    { "mx.example.org", "a.example" }, { "-a..b", "\"\"", "\"a b\"", "a..b" } },
	{ "mime.notify", { "postmaster@mx.example" }, { "postmaster@mx.example" },
	    { "\"a b\"", "@" } },
	{ "mime.notify-via", { "127.0.0.1:25" }, { "127.0.0.1:25" }, { "mx.example:25" } },
	{ "score.socket", { "unix:/run/s" }, { "unix:/run/s" }, { "s", "unix:" } },
	{ "score.socket-mode", { "0660" }, { "0660" }, { "9" } },
	{ "score.socket-group", { "mail" }, { "mail" }, { "a b" } },
	{ "score.metrics", { "/run/m" }, { "/run/m" }, { "m" } },
	{ "score.rules", { "/a /b" }, { "/a /b" }, { "a", "\"\"" } },
	{ "score.tmp", { "/t" }, { "/t" }, { "t" } },
	{ "score.subject-tag", { "\"[SPAM] \"" }, { "\"[SPAM] \"" },
	    { "\"0123456789012345678901234567890123456789x\"", "\"\xc3\xa4\"" } },
	{ "score.text", { "\"no spam\"" }, { "\"no spam\"" }, { "\"\"" } },
	{ "access.maps", { "/a \"/b c\"" }, { "/a \"/b c\"" }, { "a", "/a b" } },
};

static const struct sample *
sample_of(const char *key)
{
	for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++)
		if (strcmp(samples[i].key, key) == 0)
			return &samples[i];
	return NULL;
}

/* Row i of all tables in a row. */
struct row {
	size_t table;
	const struct conf_table *t;
	const struct conf_setting *s;
	char key[80];
};

static bool
row_at(int i, struct row *out)
{
	size_t n;
	const struct conf_table *const *tables = settings_tables(&n);

	for (size_t t = 0; t < n; t++) {
		if ((size_t)i < tables[t]->n) {
			*out =
			    (struct row){ t, tables[t], &tables[t]->settings[i], "" };
			snprintf(out->key, sizeof(out->key), "%s.%s", out->t->section,
			    out->s->name);
			return true;
		}
		i -= (int)tables[t]->n;
	}
	return false;
}

static int
count_rows(void)
{
	struct row r;
	int n = 0;

	while (row_at(n, &r))
		n++;
	return n;
}

/* Settings that must move along for a limit to be allowed. */
static const char *
company(const char *key)
{
	if (strcmp(key, "greylist.window") == 0)
		return "delay 0;";
	if (strcmp(key, "dns.timeout") == 0)
		return "deadline 2m;";
	if (strcmp(key, "dns.deadline") == 0)
		return "timeout 50ms;";
	if (strcmp(key, "state.user") == 0)
		return "password-file /p;";
	if (strcmp(key, "state.sentinel") == 0)
		return "master m;";
	if (strcmp(key, "state.master") == 0)
		return "sentinel 192.0.2.1;";
	if (strcmp(key, "state.sentinel-user") == 0)
		return "sentinel-password-file /p;";
	if (strcmp(key, "mime.notify") == 0)
		return "notify-via 127.0.0.1:25;";
	return "";
}

static struct settings *
load(const struct row *r, const char *value, struct errs *errs)
{
	char *text = xasprintf(
	    "%s { %s\n%s %s; }", r->t->section, company(r->key), r->s->name, value);
	struct settings *s = settings_from_text(str_of(text), "t", errs);

	free(text);
	return s;
}

static void
accepts(const struct row *r, const char *value, const char *printed)
{
	struct errs errs = { 0 };
	struct buf b;
	struct settings *s = load(r, value, &errs);

	check_errors(&errs, "");
	ck_assert_ptr_nonnull(s);
	buf_init(&b, 1000);
	conf_print(r->s, settings_section(s, r->table), &b);
	ck_assert_str_eq(buf_cstr(&b), printed);
	buf_clear(&b);
	settings_unref(s);
}

static void
refuses(const struct row *r, const char *value)
{
	struct errs errs = { 0 };

	ck_assert_msg(load(r, value, &errs) == NULL, "%s takes %s", r->key, value);
	ck_assert_uint_ge(errs.n, 1);
	ck_assert_str_eq(errs.list[0].file, "t");
	ck_assert_int_eq(errs.list[0].line, 2);
	ck_assert_msg(strncmp(errs.list[0].text, r->s->name, strlen(r->s->name)) == 0 &&
		strstr(errs.list[0].text, "expected") != NULL,
	    "%s: %s", r->key, errs.list[0].text);
	errs_clear(&errs);
}

static void
print_number(const struct row *r, int64_t value, struct buf *out)
{
	int64_t field[1] = { value };
	struct conf_setting at_zero = *r->s;

	at_zero.offset = 0;
	buf_reset(out);
	conf_print(&at_zero, field, out);
}

static void
try_number(const struct row *r)
{
	struct buf b;
	char text[40];

	buf_init(&b, 100);
	ck_assert_int_lt(r->s->min, r->s->max);
	for (int i = 0; i < 2; i++) {
		int64_t limit = i == 0 ? r->s->min : r->s->max;

		print_number(r, limit, &b);
		snprintf(text, sizeof(text), "%lld", (long long)limit);
		accepts(r, text, buf_cstr(&b));
		accepts(r, buf_cstr(&b), buf_cstr(&b));
	}
	snprintf(text, sizeof(text), "%lld", (long long)r->s->max + 1);
	refuses(r, text);
	if (r->s->min > 0) {
		snprintf(text, sizeof(text), "%lld", (long long)r->s->min - 1);
		refuses(r, text);
	}
	refuses(r, "-1");
	refuses(r, "5y");
	refuses(r, "many");
	refuses(r, "\"\"");
	refuses(r, "1 2");
	buf_clear(&b);
}

static void
try_decimal(const struct row *r)
{
	struct buf b;

	buf_init(&b, 100);
	print_number(r, r->s->min, &b);
	accepts(r, buf_cstr(&b), buf_cstr(&b));
	print_number(r, r->s->max, &b);
	accepts(r, buf_cstr(&b), buf_cstr(&b));
	print_number(r, r->s->max + 1, &b);
	refuses(r, buf_cstr(&b));
	print_number(r, r->s->min - 1, &b);
	refuses(r, buf_cstr(&b));
	refuses(r, "-1");
	refuses(r, "1.2345");
	refuses(r, "1..2");
	refuses(r, ".5");
	refuses(r, "many");
	refuses(r, "\"\"");
	buf_clear(&b);
}

static void
try_choices(const struct row *r)
{
	struct str rest = str_of(r->s->choices), name;

	while (str_cut(&rest, '|', &name)) {
		char *word = str_dup(name);

		accepts(r, word, word);
		free(word);
	}
	refuses(r, "none-of-them");
	refuses(r, "\"\"");
}

static void
try_samples(const struct row *r)
{
	const struct sample *sample = sample_of(r->key);

	ck_assert_msg(sample != NULL, "no sample of %s", r->key);
	for (size_t i = 0; i < 4 && sample->good[i] != NULL; i++)
		accepts(r, sample->good[i], sample->printed[i]);
	for (size_t i = 0; i < 5 && sample->bad[i] != NULL; i++)
		refuses(r, sample->bad[i]);
}

START_TEST(row_values)
{
	struct row r;

	ck_assert(row_at(_i, &r));
	ck_assert_msg(
	    r.s->help != NULL && r.s->help[0] != '\0', "%s has no help", r.key);
	switch (r.s->type) {
	case CONF_BOOL:
		accepts(&r, "on", "on");
		accepts(&r, "no", "off");
		refuses(&r, "1");
		break;
	case CONF_INT:
	case CONF_TIME:
	case CONF_TIME_MS:
	case CONF_SIZE:
		try_number(&r);
		break;
	case CONF_DECIMAL:
		try_decimal(&r);
		break;
	case CONF_ENUM:
		try_choices(&r);
		break;
	case CONF_STRING:
	case CONF_LIST:
	case CONF_NET_LIST:
		try_samples(&r);
		break;
	case CONF_CUSTOM:
		if (!r.s->block) /* dnsbl has tests of its own */
			try_samples(&r);
		break;
	}
	if (!r.s->block)
		refuses(&r, "");
}
END_TEST

/* The value without a file is the row's. */
START_TEST(row_default)
{
	struct row r;
	struct errs errs = { 0 };
	struct buf b, again;
	struct settings *s = settings_load(NULL, &errs);

	check_errors(&errs, "");
	ck_assert(row_at(_i, &r));
	buf_init(&b, 1000);
	buf_init(&again, 1000);
	conf_print(r.s, settings_section(s, r.table), &b);
	if (r.s->def != NULL) {
		struct settings *same = load(&r, r.s->def, &errs);

		check_errors(&errs, "");
		conf_print(r.s, settings_section(same, r.table), &again);
		ck_assert_str_eq(buf_cstr(&b), buf_cstr(&again));
		settings_unref(same);
	} else if (strcmp(r.key, "run.host") == 0) {
		ck_assert_str_ne(s->run.host, "");
	} else {
		ck_assert_str_eq(buf_cstr(&b), r.s->type == CONF_STRING ? "\"\"" : "");
	}
	buf_clear(&again);
	buf_clear(&b);
	settings_unref(s);
}
END_TEST

/* --- the manual --- */

static char *manual;

static void
manual_read(void)
{
	struct err err;
	size_t len;

	manual = conf_read_file(MANUAL, &len, &err);
	ck_assert_msg(manual != NULL, MANUAL ": %s", err.text);
}

static void
manual_free(void)
{
	free(manual);
}

/* The paragraph of a row: from its `.It Ic name` up to the next item, inside the
 * subsection of its table. */
static char *
paragraph(const struct row *r, const char *argument)
{
	char *head = xasprintf("\n.Ss %s\n", r->t->section);
	char *item = xasprintf("\n.It Ic %s %s", r->s->name, argument);
	const char *section = strstr(manual, head);

	ck_assert_msg(section != NULL, "no .Ss %s", r->t->section);
	const char *end = strstr(section + 1, "\n.Ss ");
	const char *from = strstr(section, item);
	ck_assert_msg(from != NULL && (end == NULL || from < end),
	    "%s does not stand in " MANUAL, r->key);
	const char *depth = strstr(from, "\n.Bl ");
	const char *next = strstr(from + 1, "\n.It ");
	/* a list inside belongs to the item */
	if (depth != NULL && depth < next)
		next = strstr(strstr(depth, "\n.El"), "\n.It ");
	if (next == NULL || (end != NULL && next > end))
		next = end;
	free(head);
	free(item);
	return xmemdup0(from, (size_t)(next - from));
}

/* What stands behind the name of a block in the manual. */
static const char *
block_argument(const char *name)
{
	if (strcmp(name, "dnsbl") == 0)
		return "Ar zone Brq ...";
	return strcmp(name, "penalty") == 0 ? "Ar kind Brq ..." : "Ar name Brq ...";
}

START_TEST(row_in_manual)
{
	struct row r;
	struct buf expected;

	ck_assert(row_at(_i, &r));
	char *text = paragraph(&r,
	    r.s->block                   ? block_argument(r.s->name)
		: r.s->type == CONF_BOOL ? "Ar switch"
					 : "");
	buf_init(&expected, 1000);
	buf_addf(&expected, "\nDefault: %s", r.s->def == NULL ? "none" : "");
	if (r.s->def != NULL) {
		struct errs errs = { 0 };
		struct settings *s = settings_load(NULL, &errs);

		conf_print(r.s, settings_section(s, r.table), &expected);
		settings_unref(s);
	}
	if (r.s->min != 0 || r.s->max != 0) {
		struct buf limit;

		buf_init(&limit, 100);
		print_number(&r, r.s->min, &limit);
		buf_addf(&expected, "; %s", buf_cstr(&limit));
		print_number(&r, r.s->max, &limit);
		buf_addf(&expected, " to %s", buf_cstr(&limit));
		buf_clear(&limit);
	}
	if (r.s->type != CONF_STRING || r.s->def == NULL || r.s->def[0] != '"')
		buf_add_char(&expected, '.');
	ck_assert_msg(strstr(text, buf_cstr(&expected)) != NULL,
	    "%s: expected \"%s\" in\n%s", r.key, buf_cstr(&expected), text);
	/* what needs a restart says so, and nothing else does */
	ck_assert_msg(
	    (strstr(text, "\nRestart") != NULL) == (r.s->stage == STAGE_START),
	    "%s: restart", r.key);
	if (r.s->type == CONF_ENUM) {
		struct str rest = str_of(r.s->choices), name;

		while (str_cut(&rest, '|', &name)) {
			char *word = str_dup(name);

			ck_assert_msg(
			    strstr(text, word) != NULL, "%s: %s", r.key, word);
			free(word);
		}
	}
	buf_clear(&expected);
	free(text);
}
END_TEST

/* And the other way: the manual tells of no setting that is gone. */
START_TEST(manual_has_no_more)
{
	struct row r;
	char section[40] = "", name[60];
	const char *p = strstr(manual, "\n.Sh SECTIONS");
	const char *end = strstr(manual, "\n.Sh LISTS");
	int items = 0, depth = 0;

	ck_assert(p != NULL && end != NULL);
	while ((p = strchr(p + 1, '\n')) != NULL && p < end) {
		if (sscanf(p, "\n.Ss %39s", section) == 1)
			depth = 0;
		depth += strncmp(p, "\n.Bl", 4) == 0;
		depth -= strncmp(p, "\n.El", 4) == 0;
		if (depth != 1 || sscanf(p, "\n.It Ic %59s", name) != 1)
			continue;
		bool found = false;
		for (int i = 0; row_at(i, &r); i++)
			found = found ||
			    (strcmp(r.t->section, section) == 0 &&
				strcmp(r.s->name, name) == 0);
		ck_assert_msg(found, "%s.%s stands in " MANUAL " only", section, name);
		items++;
	}
	ck_assert_int_eq(items, count_rows());
}
END_TEST

/* --- rules over several settings, sections --- */

static const struct {
	const char *in, *errors;
} faults[] = {
	{ "access { rate \"r\" { } }",
	    "t:1: rate \"r\": expected connections, messages, recipients or at-once" },
	{ "access { rate \"r\" { messages 1 in 1h; recipients 1 in 1h } }",
	    "t:1: rate \"r\": expected one of connections, messages and recipients" },
	{ "access { rate \"r\" { per sender; connections 1 in 1h } }",
	    "t:1: rate \"r\": connections are counted per client or network only" },
	{ "access { rate \"r\" { per recipient; messages 1 in 1h } }",
	    "t:1: rate \"r\": per recipient expected recipients: each is one of a message" },
	{ "access { rate \"r\" { at-once 3; burst 2 } }",
	    "t:1: rate \"r\": burst without connections, messages or recipients" },
	{ "access { rate \"r\" { messages 10 } }",
	    "t:1: messages: expected a number and a time, as in messages 100 in 1h" },
	{ "access { rate \"r\" { messages 0 in 1h } }",
	    "t:1: messages: expected a number and a time, as in messages 100 in 1h" },
	{ "access { rate { messages 1 in 1h } }",
	    "t:1: rate: expected a name of at most 64 octets, as in rate \"hosts\" { ... }" },
	{ "access { rate \"r\" { at-once 3 } rate \"r\" { at-once 4 } }",
	    "t:1: rate \"r\" stands twice: expected each name once" },
	{ "access { penalty harvestt { } }",
	    "t:1: \"harvestt\" is no penalty: did you mean \"harvest\"?" },
	{ "access { penalty flood { recipient a@b.example } }",
	    "t:1: penalty flood has no recipients: they belong to penalty trap" },
	{ "access { penalty trap { } penalty trap { } }",
	    "t:1: penalty trap stands twice: expected each once" },
	{ "access { recipients \"r\" { maps \"/m\" } }",
	    "t:1: recipients \"r\": expected the domains of the recipients" },
	{ "access { recipients \"r\" { domains d.example } }",
	    "t:1: recipients \"r\": expected maps, call-ahead, or both" },
	{ "greylist { delay 1h; window 1h }",
	    "t:1: greylist: no retry could ever pass: expected window longer than "
	    "delay" },
	{ "greylist {\nwindow 2m }",
	    "t:2: greylist: no retry could ever pass: expected window longer than "
	    "delay" },
	{ "dns { deadline 1s }",
	    "t:1: dns: no try could ever end: expected deadline not shorter than "
	    "timeout" },
	{ "state { user postern }",
	    "t:1: state: a user has a password: expected password-file as well" },
	{ "state { sentinel-user postern }",
	    "t:1: state: a user has a password: expected sentinel-password-file as "
	    "well" },
	{ "state { sentinel 192.0.2.1 }",
	    "t:1: state: sentinels know masters by name: expected master as well" },
	{ "state { master a }",
	    "t:1: state: sentinels know masters by name: expected sentinel as well" },
	{ "state { sentinel 192.0.2.1; master a;\ncluster 192.0.2.1 }",
	    "t:2: state: a cluster has no sentinels: expected one of sentinel and "
	    "cluster" },
	{ "state {\nredis 192.0.2.1; sentinel 192.0.2.1; master a; }",
	    "t:2: state: the server is found otherwise: expected one of redis, sentinel "
	    "and cluster" },
	{ "state {\ncluster 192.0.2.1;\nredis 192.0.2.1; }",
	    "t:3: state: the server is found otherwise: expected one of redis, sentinel "
	    "and cluster" },
	{ "state { cluster 192.0.2.1;\ndatabase 3; }",
	    "t:2: state: a cluster has one database: expected database 0" },
	{ "greylist { socket unix:/a }\naccess { socket unix:/a }",
	    "t:2: access: socket is greylist's too: expected one for each milter" },
	{ "greylst { }", "t:1: \"greylst\" is no section: did you mean \"greylist\"?" },
	{ "polcy a { }", "t:1: \"polcy\" is no section: did you mean \"policy\"?" },
	{ "zzz { }",
	    "t:1: \"zzz\" is no section: expected one of those in postern.conf(5)" },
	{ "greylist on;",
	    "t:1: greylist stands alone: expected a block, greylist { ... }" },
	{ "greylist x { }", "t:1: greylist takes no name: expected greylist { ... }" },
	{ "delay 5m;",
	    "t:1: \"delay\" outside a block: expected it inside greylist { ... }" },
	{ "hots a;", "t:1: \"hots\" is no setting of run: did you mean \"host\"?" },
	{ "log stderr;\nrun { log syslog }",
	    "t:2: log is set again: expected it once, it stands in t:1" },
	{ "greylist { delay 1m }\ngreylist { delay 1m }",
	    "t:2: delay is set again: expected it once, it stands in t:1" },
	{ "list a;", "t:1: list: expected a name and a block, list \"name\" { ... }" },
	/* grammar, sections, values and policies in one run, in the file's order */
	{ "policy a { greylist.dealy 1m }\ngreylist { delay x }\n}\nacess { }",
	    "t:1: \"greylist.dealy\" is no condition or setting of a policy: did you "
	    "mean "
	    "\"greylist.delay\"?\n"
	    "t:2: delay: \"x\" cannot be read: expected a duration like 90s, 5m, "
	    "1h30m, 2d\n"
	    "t:3: \"}\" closes nothing: expected a statement\n"
	    "t:4: \"acess\" is no section: did you mean \"access\"?" },
};

START_TEST(settings_faults)
{
	struct errs errs = { 0 };

	ck_assert_ptr_null(settings_from_text(str_of(faults[_i].in), "t", &errs));
	check_errors(&errs, faults[_i].errors);
}
END_TEST

static struct settings *
right(const char *text)
{
	struct errs errs = { 0 };
	struct settings *s = settings_from_text(str_of(text), "t", &errs);

	check_errors(&errs, "");
	ck_assert_ptr_nonnull(s);
	return s;
}

START_TEST(example_is_right)
{
	struct errs errs = { 0 };
	struct settings *s = settings_load(EXAMPLE, &errs);

	check_errors(&errs, "");
	ck_assert_ptr_nonnull(s);
	ck_assert_int_eq(s->access.delay_checks, ACCESS_DELAY_FRIEND);
	settings_unref(s);
}
END_TEST

/* What the example shows behind "#" can be switched on as it stands. */
START_TEST(example_comments_are_right)
{
	struct errs errs = { 0 };
	struct err err;
	size_t len;
	char *text = conf_read_file(EXAMPLE, &len, &err);
	int switched = 0;

	ck_assert_ptr_nonnull(text);
	for (char *p = text; (p = strchr(p, '#')) != NULL; p++) {
		if (p[1] == ' ' || (p > text && p[-1] != '\n' && p[-1] != '\t'))
			continue;
		if (strncmp(p, "#file", 5) == 0) /* names a file that is not there */
			continue;
		*p = ' ';
		switched++;
	}
	struct settings *s =
	    settings_from_text((struct str){ text, len }, EXAMPLE, &errs);
	check_errors(&errs, "");
	ck_assert_ptr_nonnull(s);
	ck_assert_int_gt(switched, 10);
	settings_unref(s);
	free(text);
}
END_TEST

START_TEST(file_missing)
{
	struct errs errs = { 0 };

	ck_assert_ptr_null(settings_load("/nonexistent/postern.conf", &errs));
	check_errors(
	    &errs, "postern.conf: cannot be opened: No such file or directory");
}
END_TEST

START_TEST(where)
{
	struct settings *s = right("\n\nlog stderr;\ngreylist {\ndelay 1m }");
	size_t n;
	const struct conf_table *const *tables = settings_tables(&n);
	int line = 0, found = 0;

	for (size_t i = 0; i < n; i++) {
		for (size_t j = 0; j < tables[i]->n; j++) {
			const char *file = settings_where(s, i, j, &line);

			if (file == NULL)
				continue;
			ck_assert_str_eq(file, "t");
			ck_assert_int_eq(line,
			    strcmp(tables[i]->settings[j].name, "log") == 0 ? 3 : 5);
			found++;
		}
	}
	ck_assert_int_eq(found, 2);
	settings_unref(s);
}
END_TEST

static int foreign_blocks;

static bool
foreign_check(const struct conf_node *block, struct errs *errs)
{
	foreign_blocks++;
	if (block->children != NULL)
		errs_add(errs, block->name.file, block->name.line, "tower: full");
	return block->children == NULL;
}

START_TEST(foreign_registered)
{
	struct errs errs = { 0 };

	ck_assert(settings_foreign_section(STR("relay")));
	ck_assert(!settings_foreign_section(STR("tower")));
	settings_unref(right("relay \"x\" { anything at all; y { z; } }"));
	ck_assert_ptr_null(settings_from_text(STR("tower { }"), "t", &errs));
	errs_clear(&errs);
	settings_register_foreign("tower", foreign_check);
	settings_register_foreign("tower", foreign_check);
	ck_assert(settings_foreign_section(STR("tower")));
	settings_unref(right("tower { }"));
	ck_assert_int_eq(foreign_blocks, 1);
	ck_assert_ptr_null(settings_from_text(STR("\ntower { a 1 }"), "t", &errs));
	check_errors(&errs, "t:2: tower: full");
	settings_unref(right("tower a { } tower b { } tower { }"));
	ck_assert_ptr_null(settings_from_text(
	    STR("tower a { }\ntower b { }\ntower a { }"), "t", &errs));
	check_errors(&errs,
	    "t:3: tower stands twice under this name: expected one, the other is in "
	    "t:1");
}
END_TEST

START_TEST(restart_needed)
{
	struct settings *from = right("greylist { delay 5m; socket unix:/a }");
	struct settings *to = right("greylist { delay 6m;\nsocket unix:/b }\n"
				    "access { maps /x; dnsbl off }\nlog-level debug;");
	struct errs errs = { 0 };

	settings_restart_needed(from, to, &errs);
	check_errors(&errs,
	    "t:2: greylist.socket is unix:/a now: unix:/b needs a restart\n"
	    "t:3: access.maps is  now: /x needs a restart");
	settings_restart_needed(to, from, &errs);
	ck_assert_uint_eq(errs.n, 2);
	ck_assert_str_eq(
	    errs.list[1].file, ""); /* back to the default: no line to name */
	errs_clear(&errs);
	settings_restart_needed(from, from, &errs);
	check_errors(&errs, "");
	settings_unref(from);
	settings_unref(to);
}
END_TEST

static void *
hold(void *arg)
{
	for (int i = 0; i < 100000; i++) {
		struct settings *s = settings_ref(arg);

		if (s->greylist.delay != 60)
			abort();
		settings_unref(s);
	}
	return NULL;
}

START_TEST(references)
{
	struct settings *s = right("greylist { delay 60 }");
	pthread_t threads[4];

	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, hold, s), 0);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	ck_assert_uint_eq(s->refs, 1);
	settings_unref(s);
	settings_unref(NULL);
}
END_TEST

#define ADD_ROWS(tcase, test, rows)                                                    \
	tcase_add_loop_test(tcase, test, 0, (int)(sizeof(rows) / sizeof((rows)[0])))

/* --- what the process layer gets --- */

static const struct {
	const char *section, *socket;
} milters[] = {
	{ "greylist", "unix:/run/postern/greylist.sock" },
	{ "access", "unix:/run/postern/access.sock" },
	{ "mime", "unix:/run/postern/mime.sock" },
	{ "score", "unix:/run/postern/score.sock" },
};

START_TEST(of_a_daemon)
{
	struct daemon_conf conf = { 0 };
	struct errs errs = { 0 };
	char *text = xasprintf("run { log stderr; drain 7s } %s { socket-mode 0600; "
			       "socket-group mail; metrics /run/m }",
	    milters[_i].section);
	struct settings *s = settings_from_text(str_of(text), "t", &errs);

	ck_assert_ptr_nonnull(s);
	settings_daemon(s, milters[_i].section, &conf);
	ck_assert_str_eq(conf.socket, milters[_i].socket);
	ck_assert_uint_eq(conf.socket_mode, 0600);
	ck_assert_str_eq(conf.socket_group, "mail");
	ck_assert_str_eq(conf.metrics, "/run/m");
	ck_assert_str_eq(conf.log_target, "stderr");
	ck_assert_int_eq(conf.drain, 7);
	daemon_conf_clear(&conf);
	settings_unref(s);
	free(text);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("settings");
	TCase *rows = tcase_create("rows"), *page = tcase_create("manual");
	TCase *whole = tcase_create("whole");

	tcase_add_loop_test(rows, row_values, 0, count_rows());
	tcase_add_loop_test(rows, row_default, 0, count_rows());
	tcase_add_checked_fixture(page, manual_read, manual_free);
	tcase_add_loop_test(page, row_in_manual, 0, count_rows());
	tcase_add_test(page, manual_has_no_more);
	ADD_ROWS(whole, settings_faults, faults);
	ADD_ROWS(whole, of_a_daemon, milters);
	tcase_add_test(whole, example_is_right);
	tcase_add_test(whole, example_comments_are_right);
	tcase_add_test(whole, file_missing);
	tcase_add_test(whole, where);
	tcase_add_test(whole, foreign_registered);
	tcase_add_test(whole, restart_needed);
	tcase_add_test(whole, references);
	suite_add_tcase(suite, rows);
	suite_add_tcase(suite, page);
	suite_add_tcase(suite, whole);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? 0 : 1;
}

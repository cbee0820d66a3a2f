/* SPDX-License-Identifier: BSD-2-Clause */
/* Rows of the blocks `rate`, `penalty` and `recipients`.  What fits together is checked
 * here, so that a rule that could never count is an error of the file. */
#include "policy/settings_limits.h"

#include <stdlib.h>

#include "common/base/buf.h"
#include "common/base/xalloc.h"
#include "db/map_set.h"
#include "db/store.h"
#include "policy/member.h"
#include "policy/settings_row.h"

#define NUMBER_MAX 1000000000
#define NAME_MAX_OCTETS 64 /* of a block's name: it stands in keys of the store */

static const char *const penalty_names[] = { "harvest", "flood", "trap", "early" };
_Static_assert(sizeof(penalty_names) / sizeof(penalty_names[0]) == PENALTIES, "names");

const char *
penalty_name(enum penalty_kind kind)
{
	return penalty_names[kind];
}

/* --- "100 in 1h" --- */

static void
amount_parse(const struct conf_node *node, void *field, struct errs *errs)
{
	struct rate_amount *a = field;
	uint64_t number = 0;
	int64_t seconds = 0;

	if (node->n_values == 3 && str_is(node->values[1].text, "in") &&
	    str_to_uint(node->values[0].text, 1, NUMBER_MAX, &number) &&
	    str_to_duration(node->values[2].text, &seconds) && seconds >= 1 &&
	    seconds <= 366 * DAY) {
		*a = (struct rate_amount){ (int64_t)number, seconds };
		return;
	}
	errs_add(errs, node->name.file, node->name.line,
	    "%.*s: expected a number and a time, as in %.*s 100 in 1h",
	    STR_ARG(node->name.text), STR_ARG(node->name.text));
}

static void
amount_print(const void *field, struct buf *out)
{
	const struct rate_amount *a = field;

	if (a->number > 0)
		buf_addf(
		    out, "%lld in %llds", (long long)a->number, (long long)a->seconds);
}

#define AMOUNT_ROW(name_, offset_, help_)                                              \
	{                                                                              \
		.name = name_, .type = CONF_CUSTOM, .offset = offset_,                 \
		.parse = amount_parse, .print = amount_print,                          \
		.size = sizeof(struct rate_amount), .stage = STAGE_CONNECT,            \
		.help = help_                                                          \
	}
#define TEXT_ROW(offset_)                                                              \
	{                                                                              \
		.name = "text", .type = CONF_STRING, .offset = offset_,                \
		.stage = STAGE_CONNECT, .check = settings_text_wrong,                  \
		.help = "reply to the client"                                          \
	}

/* The one name of a block.  NULL: told. */
static const struct conf_word *
block_name(const struct conf_node *node, const char *example, struct errs *errs)
{
	if (node->n_values == 1 && node->values[0].text.len > 0 &&
	    node->values[0].text.len <= NAME_MAX_OCTETS)
		return node->values;
	errs_add(errs, node->name.file, node->name.line,
	    "%.*s: expected a name of at most %d octets, as in %s { ... }",
	    STR_ARG(node->name.text), NAME_MAX_OCTETS, example);
	return NULL;
}

/* --- rate --- */

#define RATE(field) offsetof(struct access_rate, field)
static const struct conf_setting rate_rows[] = {
	CONF_ROW("per", CONF_ENUM, RATE(per), "client", 0, 0,
	    "client|network|sender|sender-domain|recipient|user", STAGE_CONNECT,
	    MERGE_OWN, "what is counted apart"),
	AMOUNT_ROW("connections", RATE(connections), "connections in a time"),
	AMOUNT_ROW("messages", RATE(messages), "messages in a time"),
	AMOUNT_ROW("recipients", RATE(recipients), "recipients in a time"),
	CONF_ROW("burst", CONF_INT, RATE(burst), "0", 0, NUMBER_MAX, NULL,
	    STAGE_CONNECT, MERGE_OWN,
	    "how many may come at once; 0: all of the number"),
	CONF_ROW("at-once", CONF_INT, RATE(at_once), "0", 0, STORE_HOLD_MAX, NULL,
	    STAGE_CONNECT, MERGE_OWN,
	    "how many may be open at one time; 0: any number"),
	CONF_ROW("points", CONF_DECIMAL, RATE(points), "0", 0, 1000000, NULL,
	    STAGE_CONNECT, MERGE_OWN, "points instead of a refusal"),
	TEXT_ROW(RATE(text)),
};
static const struct conf_table rate_table = { "rate", rate_rows,
	sizeof(rate_rows) / sizeof(rate_rows[0]), sizeof(struct access_rate) };

static const char *
rate_wrong(const struct access_rate *r)
{
	int units = (r->connections.number > 0) + (r->messages.number > 0) +
	    (r->recipients.number > 0);

	if (units > 1)
		return "expected one of connections, messages and recipients";
	if (units == 0 && r->at_once == 0)
		return "expected connections, messages, recipients or at-once";
	if (units == 0 && r->burst > 0)
		return "burst without connections, messages or recipients";
	if (r->connections.number > 0 && r->per != RATE_PER_CLIENT &&
	    r->per != RATE_PER_NETWORK)
		return "connections are counted per client or network only";
	if (r->messages.number > 0 && r->per == RATE_PER_RECIPIENT)
		return "per recipient expected recipients: each is one of a message";
	return NULL;
}

static void
rate_free(struct access_rate *r)
{
	free(r->name);
	conf_clear(&rate_table, r);
}

void
settings_rate_parse(const struct conf_node *node, void *field, struct errs *errs)
{
	struct access_rates *rates = field;
	const struct conf_word *name = block_name(node, "rate \"hosts\"", errs);
	struct access_rate r;
	const char *wrong;

	if (name == NULL)
		return;
	for (size_t i = 0; i < rates->n; i++)
		if (str_is(name->text, rates->list[i].name))
			errs_add(errs, name->file, name->line,
			    "rate \"%s\" stands twice: expected each name once",
			    rates->list[i].name);
	if (rates->n == ACCESS_RATES_MAX) {
		errs_add(errs, name->file, name->line,
		    "too many rates: expected at most %d", ACCESS_RATES_MAX);
		return;
	}
	conf_defaults(&rate_table, &r);
	if (conf_apply(&rate_table, node, &r, errs) && (wrong = rate_wrong(&r)) != NULL)
		errs_add(errs, name->file, name->line, "rate \"%.*s\": %s",
		    STR_ARG(name->text), wrong);
	r.name = str_dup(name->text);
	rates->list = xreallocarray(rates->list, rates->n + 1, sizeof(*rates->list));
	rates->list[rates->n++] = r;
}

void
settings_rate_clear(void *field)
{
	struct access_rates *rates = field;

	for (size_t i = 0; i < rates->n; i++)
		rate_free(&rates->list[i]);
	free(rates->list);
	*rates = (struct access_rates){ 0 };
}

/* " name value;" for every row that is not as shipped. */
static void
print_rows(const struct conf_table *table, const void *from, struct buf *out)
{
	struct buf value;

	buf_init(&value, 1u << 20);
	for (size_t i = 0; i < table->n; i++) {
		const struct conf_setting *row = &table->settings[i];

		buf_reset(&value);
		conf_print(row, from, &value);
		if (value.len == 0 || str_is(buf_str(&value), "\"\"") ||
		    (row->def != NULL && str_is(buf_str(&value), row->def)))
			continue;
		buf_addf(out, " %s ", row->name);
		buf_add_str(out, buf_str(&value));
		buf_add_char(out, ';');
	}
	buf_clear(&value);
}

static void
print_block(const char *name, const struct conf_table *table, const void *from,
    bool first, struct buf *out)
{
	buf_add_cstr(out, first ? "" : " ");
	conf_print_word(str_of(name), out);
	buf_add_cstr(out, " {");
	print_rows(table, from, out);
	buf_add_cstr(out, " }");
}

void
settings_rate_print(const void *field, struct buf *out)
{
	const struct access_rates *rates = field;

	for (size_t i = 0; i < rates->n; i++)
		print_block(
		    rates->list[i].name, &rate_table, &rates->list[i], i == 0, out);
}

/* --- penalty --- */

static const char *
address_wrong(struct str s)
{
	ptrdiff_t at = str_rindex(s, '@');

	if (at > 0 && member_domain_wrong(str_sub(s, (size_t)at + 1, s.len)) == NULL)
		return NULL;
	return "an address like somebody@example.org";
}

#define PENALTY(field) offsetof(struct access_penalty, field)
static const struct conf_setting penalty_rows[] = {
	AMOUNT_ROW("after", PENALTY(after), "how many events in which time"),
	CONF_ROW("keep", CONF_TIME, PENALTY(keep), "1h", 1, 30 * DAY, NULL,
	    STAGE_CONNECT, MERGE_OWN, "how long the network is refused"),
	{ .name = "recipient",
	    .type = CONF_LIST,
	    .offset = PENALTY(recipients),
	    .stage = STAGE_CONNECT,
	    .check = address_wrong,
	    .help = "addresses that nobody has" },
	CONF_ROW("action", CONF_ENUM, PENALTY(action), "tempfail", 0, 0,
	    "tempfail|reject", STAGE_CONNECT, MERGE_OWN, "what the network hears"),
	TEXT_ROW(PENALTY(text)),
};
static const struct conf_table penalty_table = { "penalty", penalty_rows,
	sizeof(penalty_rows) / sizeof(penalty_rows[0]), sizeof(struct access_penalty) };

void
settings_penalty_parse(const struct conf_node *node, void *field, struct errs *errs)
{
	static const struct rate_amount shipped[] = { [PENALTY_HARVEST] = { 10, HOUR },
		[PENALTY_FLOOD] = { 10, HOUR },
		[PENALTY_TRAP] = { 1, DAY },
		[PENALTY_EARLY] = { 3, HOUR } };
	struct access_penalties *all = field;
	const struct conf_word *name = block_name(node, "penalty harvest", errs);
	struct access_penalty p;
	int kind = 0;

	if (name == NULL)
		return;
	while (kind < PENALTIES && !str_is(name->text, penalty_names[kind]))
		kind++;
	if (kind == PENALTIES) {
		conf_unknown(name, "penalty", penalty_names, PENALTIES, errs);
		return;
	}
	for (size_t i = 0; i < all->n; i++)
		if (all->list[i].kind == kind) {
			errs_add(errs, name->file, name->line,
			    "penalty %s stands twice: expected each once",
			    penalty_names[kind]);
			return;
		}
	conf_defaults(&penalty_table, &p);
	p.after = shipped[kind];
	(void)conf_apply(&penalty_table, node, &p, errs);
	p.kind = kind;
	if (kind != PENALTY_TRAP && p.recipients.n > 0)
		errs_add(errs, name->file, name->line,
		    "penalty %s has no recipients: they belong to penalty trap",
		    penalty_names[kind]);
	all->list[all->n++] = p;
}

void
settings_penalty_clear(void *field)
{
	struct access_penalties *all = field;

	for (size_t i = 0; i < all->n; i++)
		conf_clear(&penalty_table, &all->list[i]);
	*all = (struct access_penalties){ 0 };
}

void
settings_penalty_print(const void *field, struct buf *out)
{
	const struct access_penalties *all = field;

	for (size_t i = 0; i < all->n; i++)
		print_block(penalty_names[all->list[i].kind], &penalty_table,
		    &all->list[i], i == 0, out);
}

/* --- recipients --- */

static const char *
domain_wrong(struct str s)
{
	if (s.len > 0 && s.p[0] == '.')
		s = str_sub(s, 1, s.len);
	return member_domain_wrong(s) == NULL
	    ? NULL
	    : "a domain like example.org, or .example.org";
}

#define RCPT(field) offsetof(struct access_recipients, field)
static const struct conf_setting recipients_rows[] = {
	{ .name = "domains",
	    .type = CONF_LIST,
	    .offset = RCPT(domains),
	    .stage = STAGE_START,
	    .check = domain_wrong,
	    .help = "domains of whose recipients this speaks" },
	{ .name = "maps",
	    .type = CONF_LIST,
	    .offset = RCPT(maps),
	    .stage = STAGE_START,
	    .check = map_spec_wrong,
	    .help = "maps of the addresses that there are" },
	{ .name = "call-ahead",
	    .type = CONF_LIST,
	    .offset = RCPT(call_ahead),
	    .stage = STAGE_START,
	    .check = settings_server_wrong,
	    .help = "servers that know the recipients" },
	CONF_ROW("positive", CONF_TIME, RCPT(positive), "7d", 1, 366 * DAY, NULL,
	    STAGE_START, MERGE_OWN, "how long a yes of a server holds"),
	CONF_ROW("negative", CONF_TIME, RCPT(negative), "1h", 1, 366 * DAY, NULL,
	    STAGE_START, MERGE_OWN, "how long a no of a server holds"),
	CONF_ROW("keep", CONF_TIME, RCPT(keep), "30d", 1, 366 * DAY, NULL, STAGE_START,
	    MERGE_OWN, "how long a yes counts while no server answers"),
	CONF_ROW("trouble", CONF_ENUM, RCPT(trouble), "tempfail", 0, 0,
	    "tempfail|accept", STAGE_START, MERGE_OWN, "when no server answers"),
	CONF_ROW("deadline", CONF_TIME_MS, RCPT(deadline_ms), "5s", 50, 60000, NULL,
	    STAGE_START, MERGE_OWN, "wait for the servers' answer"),
	CONF_ROW("connections", CONF_INT, RCPT(connections), "4", 1, 64, NULL,
	    STAGE_START, MERGE_OWN, "connections to each server"),
	TEXT_ROW(RCPT(text)),
};
static const struct conf_table recipients_table = { "recipients", recipients_rows,
	sizeof(recipients_rows) / sizeof(recipients_rows[0]),
	sizeof(struct access_recipients) };

static const char *
recipients_wrong(const struct access_recipients *r)
{
	if (r->domains.n == 0)
		return "expected the domains of the recipients";
	if (r->maps.n == 0 && r->call_ahead.n == 0)
		return "expected maps, call-ahead, or both";
	if (r->maps.n > MAP_SET_MAX)
		return "expected at most 16 maps";
	if (r->call_ahead.n > CALL_AHEAD_SERVERS_MAX)
		return "expected at most 8 servers behind call-ahead";
	return NULL;
}

void
settings_recipients_parse(const struct conf_node *node, void *field, struct errs *errs)
{
	struct access_recipient_sets *sets = field;
	const struct conf_word *name = block_name(node, "recipients \"staff\"", errs);
	struct access_recipients r;
	const char *wrong;

	if (name == NULL)
		return;
	for (size_t i = 0; i < sets->n; i++)
		if (str_is(name->text, sets->list[i].name))
			errs_add(errs, name->file, name->line,
			    "recipients \"%s\" stands twice: expected each name once",
			    sets->list[i].name);
	if (sets->n == ACCESS_RECIPIENTS_MAX) {
		errs_add(errs, name->file, name->line,
		    "too many blocks of recipients: expected at most %d",
		    ACCESS_RECIPIENTS_MAX);
		return;
	}
	conf_defaults(&recipients_table, &r);
	if (conf_apply(&recipients_table, node, &r, errs) &&
	    (wrong = recipients_wrong(&r)) != NULL)
		errs_add(errs, name->file, name->line, "recipients \"%.*s\": %s",
		    STR_ARG(name->text), wrong);
	r.name = str_dup(name->text);
	sets->list = xreallocarray(sets->list, sets->n + 1, sizeof(*sets->list));
	sets->list[sets->n++] = r;
}

void
settings_recipients_clear(void *field)
{
	struct access_recipient_sets *sets = field;

	for (size_t i = 0; i < sets->n; i++) {
		free(sets->list[i].name);
		conf_clear(&recipients_table, &sets->list[i]);
	}
	free(sets->list);
	*sets = (struct access_recipient_sets){ 0 };
}

void
settings_recipients_print(const void *field, struct buf *out)
{
	const struct access_recipient_sets *sets = field;

	for (size_t i = 0; i < sets->n; i++)
		print_block(
		    sets->list[i].name, &recipients_table, &sets->list[i], i == 0, out);
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* One DNS list of the configuration: the rows of its block, which fill a struct dnsbl. */
#include "policy/settings_dnsbl.h"

#include <stdlib.h>

#include "common/base/buf.h"
#include "common/base/xalloc.h"
#include "common/net/dnsbl.h"
#include "common/net/resolver.h"
#include "policy/member.h"
#include "policy/settings_row.h"

#define WEIGHT_MAX 1000000 /* thousandths */
#define CODES_MAX 100

static const char *const what_names[] = { "client", "helo", "sender" };
#define WHATS (sizeof(what_names) / sizeof(what_names[0]))

static void
fault(const struct conf_word *w, const char *name, const char *expected,
    struct errs *errs)
{
	errs_add(errs, w->file, w->line, "%s: \"%.*s\" cannot be read: expected %s", name,
	    STR_ARG(w->text), expected);
}

/* ---- what client helo sender ---- */

static void
what_parse(const struct conf_node *node, void *field, struct errs *errs)
{
	int *what = field;

	if (node->n_values == 0)
		errs_add(errs, node->name.file, node->name.line,
		    "what: expected client, helo or sender");
	for (size_t i = 0; i < node->n_values; i++) {
		size_t k = 0;

		while (k < WHATS && !str_is(node->values[i].text, what_names[k]))
			k++;
		if (k < WHATS)
			*what |= 1 << k;
		else
			fault(&node->values[i], "what", "client, helo or sender", errs);
	}
}

static void
what_print(const void *field, struct buf *out)
{
	const char *space = "";

	for (size_t k = 0; k < WHATS; k++) {
		if ((*(const int *)field >> k & 1) == 0)
			continue;
		buf_addf(out, "%s%s", space, what_names[k]);
		space = " ";
	}
}

/* ---- weight N ---- */

struct number {
	int64_t points;
};
static const struct conf_setting weight_row = { .name = "weight",
	.type = CONF_DECIMAL,
	.offset = offsetof(struct number, points),
	.min = 0,
	.max = WEIGHT_MAX };

/* values[at] of a statement. */
static bool
weight_read(
    const struct conf_node *node, size_t at, int64_t *points, struct errs *errs)
{
	struct conf_node one = *node;
	struct number n = { 0 };

	one.values = node->values + at;
	one.n_values = node->n_values > at ? 1 : 0;
	if (!conf_set(&weight_row, &one, &n, errs))
		return false;
	*points = n.points;
	return true;
}

static void
weight_parse(const struct conf_node *node, void *field, struct errs *errs)
{
	struct dnsbl_weight *w = field;

	if (node->n_values != 1)
		errs_add(errs, node->name.file, node->name.line,
		    "weight: expected one number");
	else
		w->given = weight_read(node, 0, &w->points, errs);
}

static void
points_print(int64_t points, struct buf *out)
{
	const struct number n = { points };

	conf_print(&weight_row, &n, out);
}

static void
weight_print(const void *field, struct buf *out)
{
	const struct dnsbl_weight *w = field;

	if (w->given)
		points_print(w->points, out);
}

/* ---- code NETWORK [weight N] ---- */

/* RFC 5782 2.1: answers of a DNS list lie in 127.0.0.0/8; those in 127.255.255.0/24 say
 * that the list refuses us, and would never count. */
static bool
code_read(const struct conf_word *w, const char *name, struct ipnet *net, struct errs *errs)
{
	static const struct ipnet loopback = { { AF_INET, { 127 } }, 8 };
	static const struct ipnet refusals = { { AF_INET, { 127, 255, 255 } }, 24 };

	if (ipnet_parse(w->text, net) && net->prefix >= 24 &&
	    ipnet_contains(&refusals, &net->ip)) {
		errs_add(errs, w->file, w->line,
		    "%s: \"%.*s\" is how a list refuses to answer: expected addresses "
		    "outside 127.255.255.0/24",
		    name, STR_ARG(w->text));
		return false;
	}
	if (ipnet_parse(w->text, net) && net->prefix >= 8 &&
	    ipnet_contains(&loopback, &net->ip))
		return true;
	errs_add(errs, w->file, w->line,
	    "%s: \"%.*s\" is no answer of a DNS list: expected addresses within "
	    "127.0.0.0/8",
	    name, STR_ARG(w->text));
	return false;
}

static void
code_parse(const struct conf_node *node, void *field, struct errs *errs)
{
	struct dnsbl_codes *codes = field;
	struct dnsbl_code c = { .weighted = node->n_values == 3 };

	if ((node->n_values != 1 && node->n_values != 3) ||
	    (c.weighted && !str_is(node->values[1].text, "weight"))) {
		errs_add(errs, node->name.file, node->name.line,
		    "code: expected an answer and its weight, as in code 127.0.0.4 weight "
		    "3");
		return;
	}
	if (codes->n == CODES_MAX) {
		errs_add(errs, node->name.file, node->name.line,
		    "too many codes: expected at most %d", CODES_MAX);
		return;
	}
	if (!code_read(&node->values[0], "code", &c.net, errs) ||
	    (c.weighted && !weight_read(node, 2, &c.weight, errs)))
		return;
	codes->list = xreallocarray(codes->list, codes->n + 1, sizeof(*codes->list));
	codes->list[codes->n++] = c;
}

static void
code_clear(void *field)
{
	struct dnsbl_codes *codes = field;

	free(codes->list);
	*codes = (struct dnsbl_codes){ 0 };
}

static void
code_print(const void *field, struct buf *out)
{
	const struct dnsbl_codes *codes = field;
	char text[IP_TEXT_MAX + 4];

	for (size_t i = 0; i < codes->n; i++) {
		buf_addf(out, "%s%s", i > 0 ? "; code " : "",
		    ipnet_format(&codes->list[i].net, text));
		if (!codes->list[i].weighted)
			continue;
		buf_add_cstr(out, " weight ");
		points_print(codes->list[i].weight, out);
	}
}

/* ---- the block ---- */

#define DNSBL_AT(field) offsetof(struct dnsbl, field)

static const struct conf_setting rows[] = {
	CONF_ROW("codes", CONF_NET_LIST, DNSBL_AT(codes), NULL, 0, 0, NULL, STAGE_CONNECT,
	    MERGE_OWN, "answers of the list that count"),
	CONF_ROW("code", CONF_CUSTOM, DNSBL_AT(own), NULL, 0, 0, NULL, STAGE_CONNECT,
	    MERGE_OWN, "an answer with a weight of its own", .parse = code_parse,
	    .clear = code_clear, .print = code_print, .repeat = true,
	    .size = sizeof(struct dnsbl_codes)),
	CONF_ROW("weight", CONF_CUSTOM, DNSBL_AT(weight), NULL, 0, 0, NULL, STAGE_CONNECT,
	    MERGE_OWN, "points of a listing; none: it refuses by itself",
	    .parse = weight_parse, .print = weight_print,
	    .size = sizeof(struct dnsbl_weight)),
	CONF_ROW("allow", CONF_BOOL, DNSBL_AT(allow), "off", 0, 0, NULL, STAGE_CONNECT,
	    MERGE_OWN, "who stands here is welcome"),
	CONF_ROW("what", CONF_CUSTOM, DNSBL_AT(what), "client", 0, 0, NULL, STAGE_CONNECT,
	    MERGE_OWN, "what is looked up", .parse = what_parse, .print = what_print,
	    .size = sizeof(int)),
	CONF_ROW("ipv4", CONF_BOOL, DNSBL_AT(ipv4), "on", 0, 0, NULL, STAGE_CONNECT,
	    MERGE_OWN, "ask about IPv4 clients"),
	CONF_ROW("ipv6", CONF_BOOL, DNSBL_AT(ipv6), "on", 0, 0, NULL, STAGE_CONNECT,
	    MERGE_OWN, "ask about IPv6 clients"),
	{ .name = "text",
	    .type = CONF_STRING,
	    .offset = DNSBL_AT(text),
	    .stage = STAGE_CONNECT,
	    .help = "reply to who is listed",
	    .check = settings_text_wrong },
	{ .name = "servers",
	    .type = CONF_LIST,
	    .offset = DNSBL_AT(servers),
	    .stage = STAGE_CONNECT,
	    .check = settings_server_wrong,
	    .help = "who answers for this list; none: the resolvers of block dns" },
	STRING_ROW("key-file", DNSBL_AT(key_file), NULL, STAGE_CONNECT,
	    settings_path_wrong, "file with the key that stands in each question"),
	CONF_ROW("budget", CONF_INT, DNSBL_AT(budget), "0", 0, INT64_C(1000000000000), NULL,
	    STAGE_CONNECT, MERGE_OWN, "questions a day; 0: any number"),
	CONF_ROW("deadline", CONF_TIME_MS, DNSBL_AT(deadline_ms), NULL, 50, 60000, NULL,
	    STAGE_CONNECT, MERGE_OWN, "wait for this list"),
	CONF_ROW("probe", CONF_ENUM, DNSBL_AT(probe), "on", 0, 0, "on|unlisted|off",
	    STAGE_CONNECT, MERGE_OWN, "test points that are looked at"),
	CONF_ROW("observe", CONF_BOOL, DNSBL_AT(observe), "off", 0, 0, NULL, STAGE_CONNECT,
	    MERGE_OWN, "log and count, decide nothing"),
};

static const struct conf_table table = { "dnsbl", rows, sizeof(rows) / sizeof(rows[0]),
	sizeof(struct dnsbl) };

void
settings_dnsbl_clear(void *field)
{
	struct access_dnsbls *lists = field;

	for (size_t i = 0; i < lists->n; i++) {
		free(lists->list[i].zone);
		conf_clear(&table, &lists->list[i]);
	}
	free(lists->list);
	*lists = (struct access_dnsbls){ 0 };
}

/* What no row sees by itself. */
static void
block_check(const struct conf_node *block, const struct dnsbl *list, struct errs *errs)
{
	struct ipnet net;

	for (const struct conf_node *n = block->children; n != NULL; n = n->next)
		for (size_t i = 0; i < n->n_values && str_is(n->name.text, "codes"); i++)
			if (ipnet_parse(n->values[i].text, &net))
				(void)code_read(&n->values[i], "codes", &net, errs);
	if (list->servers.n > RESOLVER_SERVERS_MAX)
		errs_add(errs, block->name.file, block->name.line,
		    "servers: expected at most %d", RESOLVER_SERVERS_MAX);
}

void
settings_dnsbl_parse(const struct conf_node *node, void *field, struct errs *errs)
{
	struct access_dnsbls *lists = field;
	const struct conf_word *zone = node->values;
	struct dnsbl list;

	if (node->n_values != 1 || member_domain_wrong(zone->text) != NULL) {
		errs_add(errs, node->name.file, node->name.line,
		    "dnsbl: expected the list's zone, as in dnsbl \"bl.example\" { ... "
		    "}");
		return;
	}
	if (lists->n == ACCESS_DNSBLS_MAX) {
		errs_add(errs, zone->file, zone->line,
		    "too many DNS lists: expected at most %d", ACCESS_DNSBLS_MAX);
		return;
	}
	conf_defaults(&table, &list);
	conf_apply(&table, node, &list, errs);
	block_check(node, &list, errs);
	list.zone = str_dup_lower(zone->text);
	/* A zone may be asked about clients with one weight, about senders with another. */
	for (size_t i = 0; i < lists->n; i++)
		if (str_is(str_of(list.zone), lists->list[i].zone) &&
		    (list.what & lists->list[i].what) != 0)
			errs_add(errs, zone->file, zone->line,
			    "dnsbl \"%s\" stands twice: expected each list once",
			    lists->list[i].zone);
	lists->list = xreallocarray(lists->list, lists->n + 1, sizeof(*lists->list));
	lists->list[lists->n++] = list;
}

/* What differs from the defaults. */
static void
print_block(const struct dnsbl *list, const struct dnsbl *defaults, struct buf *out)
{
	struct buf value, usual;

	buf_init(&value, 64 << 10);
	buf_init(&usual, 64 << 10);
	for (size_t r = 0; r < table.n; r++) {
		buf_reset(&value);
		buf_reset(&usual);
		conf_print(&rows[r], list, &value);
		conf_print(&rows[r], defaults, &usual);
		if (!str_eq(buf_str(&value), buf_str(&usual)))
			buf_addf(out, " %s %s;", rows[r].name, buf_cstr(&value));
	}
	buf_clear(&value);
	buf_clear(&usual);
}

void
settings_dnsbl_print(const void *field, struct buf *out)
{
	const struct access_dnsbls *lists = field;
	struct dnsbl defaults;

	conf_defaults(&table, &defaults);
	for (size_t i = 0; i < lists->n; i++) {
		buf_addf(out, "%s%s {", i == 0 ? "" : " ", lists->list[i].zone);
		print_block(&lists->list[i], &defaults, out);
		buf_add_cstr(out, " }");
	}
	conf_clear(&table, &defaults);
}

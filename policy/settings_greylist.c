/* SPDX-License-Identifier: BSD-2-Clause */
/* Rows of block `greylist`. */
#include "policy/settings_row.h"

#include <stdlib.h>
#include <unistd.h>

#include "common/base/buf.h"
#include "common/base/xalloc.h"
#include "policy/member.h"
#include "policy/settings_table.h"

/* A list that is shipped; an administrator's own setting takes its place. */
#define EXEMPT_DEFAULT POSTERN_SHARE "/greylist-exempt.list"

static void
allowlists_clear(void *field)
{
	struct greylist_allowlists *lists = field;

	for (size_t i = 0; i < lists->n; i++) {
		free(lists->list[i].zone);
		free(lists->list[i].codes.list);
	}
	free(lists->list);
	*lists = (struct greylist_allowlists){ 0 };
}

/* ZONE or ZONE=CODES.  RFC 5782 2.1: answers of a DNS list lie in 127.0.0.0/8. */
static void
allowlist_parse(
    const struct conf_word *word, struct greylist_allowlists *lists, struct errs *errs)
{
	static const struct ipnet loopback = { { AF_INET, { 127 } }, 8 };
	struct str codes = word->text, zone;
	struct ipnet net = { .prefix = 0 };

	str_cut(&codes, '=', &zone);
	bool given = codes.p != NULL;
	if (member_domain_wrong(zone) != NULL ||
	    (given && (!ipnet_parse(codes, &net) || net.prefix < 8 ||
			  !ipnet_contains(&loopback, &net.ip)))) {
		errs_add(errs, word->file, word->line,
		    "allowlists: \"%.*s\" cannot be read: expected the zone of a list, "
		    "or one with the answers that count like wl.example=127.0.0.0/16",
		    (int)(word->text.len < 80 ? word->text.len : 80), word->text.p);
		return;
	}
	lists->list = xreallocarray(lists->list, lists->n + 1, sizeof(*lists->list));
	struct dnsbl *list = &lists->list[lists->n++];
	*list = (struct dnsbl){ .zone = str_dup_lower(zone) };
	if (given) {
		list->codes.list = xmalloc(sizeof(*list->codes.list));
		*list->codes.list = net;
		list->codes.n = 1;
	}
}

static void
allowlists_parse(const struct conf_node *node, void *field, struct errs *errs)
{
	struct greylist_allowlists *lists = field;

	if (node->block || node->n_values == 0 ||
	    node->n_values > GREYLIST_ALLOWLISTS_MAX) {
		errs_add(errs, node->name.file, node->name.line,
		    "allowlists: expected 1 to %d zones, or none",
		    GREYLIST_ALLOWLISTS_MAX);
		return;
	}
	if (node->n_values == 1 && str_is(node->values[0].text, "none"))
		return;
	for (size_t i = 0; i < node->n_values; i++)
		allowlist_parse(&node->values[i], lists, errs);
}

static void
allowlists_print(const void *field, struct buf *out)
{
	const struct greylist_allowlists *lists = field;
	char text[IP_TEXT_MAX + 4];

	for (size_t i = 0; i < lists->n; i++) {
		buf_addf(out, "%s%s", i == 0 ? "" : " ", lists->list[i].zone);
		if (lists->list[i].codes.n > 0)
			buf_addf(out, "=%s",
			    ipnet_format(&lists->list[i].codes.list[0], text));
	}
}

static void
exempt_clear(void *field)
{
	greylist_exempt_clear(field);
}

static void
exempt_parse(const struct conf_node *node, void *field, struct errs *errs)
{
	if (node->block || node->n_values == 0)
		errs_add(errs, node->name.file, node->name.line,
		    "exempt: expected one or more files, or none");
	if (node->n_values == 1 && str_is(node->values[0].text, "none"))
		return;
	for (size_t i = 0; i < node->n_values; i++)
		greylist_exempt_add(field, &node->values[i], errs);
}

static void
exempt_print(const void *field, struct buf *out)
{
	const struct greylist_exempt *e = field;

	for (size_t i = 0; i < e->n_paths; i++) {
		buf_add_cstr(out, i == 0 ? "" : " ");
		conf_print_word(str_of(e->paths[i]), out);
	}
}

void
settings_greylist_shipped(struct settings_greylist *set, struct errs *errs)
{
	const struct conf_word by = { .text = STR(EXEMPT_DEFAULT),
		.file = EXEMPT_DEFAULT };

	if (access(EXEMPT_DEFAULT, F_OK) != 0)
		return;
	greylist_exempt_add(&set->exempt, &by, errs);
}

/* Where one answer must do for recipients that differ (the null sender's mail is judged
 * after DATA), the mail of whoever is to be delayed least decides: delaying mail that
 * was exempted is worse than not greylisting some that was not. */
static const struct conf_setting greylist_rows[] = {
	STRING_ROW("socket", AT(greylist, socket), "unix:/run/postern/greylist.sock",
	    STAGE_START, settings_socket_wrong, "where the MTA finds the milter"),
	SOCKET_MODE_ROW(AT(greylist, socket_mode)),
	STRING_ROW("socket-group", AT(greylist, socket_group), NULL, STAGE_START, NULL,
	    "group of a UNIX socket"),
	STRING_ROW("metrics", AT(greylist, metrics), NULL, STAGE_START,
	    settings_socket_path_wrong, "UNIX socket that answers with metrics"),
	CONF_ROW("when", CONF_ENUM, AT(greylist, when), "always", 0, 0,
	    "always|suspicious|never", STAGE_RCPT, MERGE_MAX, "which mail is greylisted"),
	CONF_ROW("delay", CONF_TIME, AT(greylist, delay), "5m", 0, DAY, NULL,
	    STAGE_RCPT, MERGE_MIN, "wait of a new triple"),
	CONF_ROW("window", CONF_TIME, AT(greylist, window), "2d", 1, 30 * DAY, NULL,
	    STAGE_RCPT, MERGE_MAX,
	    "time from the first try within which a retry counts"),
	CONF_ROW("keep", CONF_TIME, AT(greylist, keep), "35d", 1, 1000 * DAY, NULL,
	    STAGE_RCPT, MERGE_MAX, "life of a known triple after its last mail"),
	CONF_ROW("auto-whitelist", CONF_INT, AT(greylist, auto_whitelist), "5", 0, 1000,
	    NULL, STAGE_RCPT, MERGE_MIN,
	    "known triples that whitelist a client; 0: never"),
	CONF_ROW("whitelist-keep", CONF_TIME, AT(greylist, whitelist_keep), "35d", 1,
	    1000 * DAY, NULL, STAGE_RCPT, MERGE_MAX,
	    "life of a whitelisting after its last mail"),
	CONF_ROW("prefix4", CONF_INT, AT(greylist, prefix4), "24", 8, 32, NULL,
	    STAGE_RCPT, MERGE_MIN, "bits of an IPv4 client that count"),
	CONF_ROW("prefix6", CONF_INT, AT(greylist, prefix6), "64", 16, 128, NULL,
	    STAGE_RCPT, MERGE_MIN, "bits of an IPv6 client that count"),
	{ .name = "exempt",
	    .type = CONF_CUSTOM,
	    .offset = AT(greylist, exempt),
	    .stage = STAGE_RCPT,
	    .merge = MERGE_ALL,
	    .help = "files of hosts and senders that fail when greylisted",
	    .parse = exempt_parse,
	    .clear = exempt_clear,
	    .print = exempt_print,
	    .size = sizeof(struct greylist_exempt) },
	{ .name = "allowlists",
	    .type = CONF_CUSTOM,
	    .offset = AT(greylist, allowlists),
	    .stage = STAGE_RCPT,
	    .merge = MERGE_ALL,
	    .help = "DNS lists of hosts that are not greylisted",
	    .parse = allowlists_parse,
	    .clear = allowlists_clear,
	    .print = allowlists_print,
	    .size = sizeof(struct greylist_allowlists) },
	CONF_ROW("correspondents", CONF_BOOL, AT(greylist, correspondents), "on", 0, 0,
	    NULL, STAGE_RCPT, MERGE_MAX,
	    "pass mail from whom the recipient wrote to"),
	CONF_ROW("correspondents-keep", CONF_TIME, AT(greylist, correspondents_keep), "35d",
	    1, 1000 * DAY, NULL, STAGE_RCPT, MERGE_MAX,
	    "how long it is known whom our users wrote to"),
	CONF_ROW("inside", CONF_BOOL, AT(greylist, inside), "off", 0, 0, NULL, STAGE_RCPT,
	    MERGE_MAX, "the client is one of ours"),
	CONF_ROW("dns-deadline", CONF_TIME_MS, AT(greylist, dns_deadline_ms), "3s", 50,
	    60000, NULL, STAGE_RCPT, MERGE_MIN, "wait for the DNS, from MAIL on"),
	CONF_ROW("suspicious", CONF_DECIMAL, AT(greylist, suspicious), "2", 0, 10000000,
	    NULL, STAGE_EOM, MERGE_MAX, "points from which mail is suspicious"),
	CONF_ROW("trap", CONF_BOOL, AT(greylist, trap), "off", 0, 0, NULL, STAGE_RCPT,
	    MERGE_MIN, "the recipient is a trap"),
	CONF_ROW("block", CONF_TIME, AT(greylist, block), "1h", 0, 30 * DAY, NULL,
	    STAGE_RCPT, MERGE_MIN,
	    "refusal of a network after a trap, a virus or spam; 0: none"),
	CONF_ROW("block-spam", CONF_INT, AT(greylist, block_spam), "3", 1, 1000000,
	    NULL, STAGE_RCPT, MERGE_MAX, "weight of spam of a network that blocks it"),
	CONF_ROW("block-action", CONF_ENUM, AT(greylist, block_action), "tempfail", 0,
	    0, "tempfail|reject", STAGE_RCPT, MERGE_MIN, "answer to a blocked network"),
	CONF_ROW("header", CONF_BOOL, AT(greylist, header), "on", 0, 0, NULL, STAGE_EOM,
	    MERGE_MAX, "write X-Greylist"),
	CONF_ROW("text", CONF_STRING, AT(greylist, text),
	    "\"Greylisted: please try again in %w seconds\"", 0, 0, NULL, STAGE_RCPT,
	    MERGE_ALL, "reply to a deferred recipient; %w: seconds to wait",
	    .check = settings_text_wrong),
};

SETTINGS_TABLE(greylist);

/* SPDX-License-Identifier: BSD-2-Clause */
/* Rows of block `access`, and the blocks within it. */
#include "policy/settings_row.h"

#include <stdlib.h>

#include "common/base/buf.h"
#include "common/base/xalloc.h"
#include "db/map_spec.h"
#include "policy/member.h"
#include "policy/settings_ldap.h"

/* What stands inside `dnsbl "zone" { }`. */
struct dnsbl_block {
	struct conf_nets codes;
	char *text;
};

static const struct conf_setting dnsbl_rows[] = {
	CONF_ROW("codes", CONF_NET_LIST, offsetof(struct dnsbl_block, codes), NULL, 0,
	    0, NULL, STAGE_CONNECT, MERGE_OWN, "answers of the list that count"),
	{ .name = "text",
	    .type = CONF_STRING,
	    .offset = offsetof(struct dnsbl_block, text),
	    .stage = STAGE_CONNECT,
	    .help = "reply to a listed client",
	    .check = settings_text_wrong },
};

static const struct conf_table dnsbl_table = { "dnsbl", dnsbl_rows,
	sizeof(dnsbl_rows) / sizeof(dnsbl_rows[0]), sizeof(struct dnsbl_block) };

static void
dnsbls_clear(void *field)
{
	struct access_dnsbls *lists = field;

	for (size_t i = 0; i < lists->n; i++) {
		free(lists->list[i].zone);
		free(lists->list[i].codes);
		free(lists->list[i].text);
	}
	free(lists->list);
	*lists = (struct access_dnsbls){ 0 };
}

/* RFC 5782 2.1: answers of a DNS list lie in 127.0.0.0/8. */
static void
codes_check(const struct conf_node *block, struct errs *errs)
{
	static const struct ipnet loopback = { { AF_INET, { 127 } }, 8 };
	struct ipnet net;

	for (const struct conf_node *n = block->children; n != NULL; n = n->next)
		for (size_t i = 0; i < n->n_values && str_is(n->name.text, "codes");
		     i++)
			if (ipnet_parse(n->values[i].text, &net) &&
			    (net.prefix < 8 || !ipnet_contains(&loopback, &net.ip)))
				errs_add(errs, n->values[i].file, n->values[i].line,
				    "codes: \"%.*s\" is no answer of a DNS list: "
				    "expected "
				    "addresses within 127.0.0.0/8",
				    STR_ARG(n->values[i].text));
}

static void
dnsbl_parse(const struct conf_node *node, void *field, struct errs *errs)
{
	struct access_dnsbls *lists = field;
	const struct conf_word *zone = node->values;
	struct dnsbl_block inner;

	if (node->n_values != 1 || member_domain_wrong(zone->text) != NULL) {
		errs_add(errs, node->name.file, node->name.line,
		    "dnsbl: expected the list's zone, as in dnsbl \"bl.example\" { ... "
		    "}");
		return;
	}
	for (size_t i = 0; i < lists->n; i++)
		if (str_is_nocase(zone->text, lists->list[i].zone))
			errs_add(errs, zone->file, zone->line,
			    "dnsbl \"%s\" stands twice: expected each list once",
			    lists->list[i].zone);
	if (lists->n == ACCESS_DNSBLS_MAX) {
		errs_add(errs, zone->file, zone->line,
		    "too many DNS lists: expected at most %d", ACCESS_DNSBLS_MAX);
		return;
	}
	conf_defaults(&dnsbl_table, &inner);
	conf_apply(&dnsbl_table, node, &inner, errs);
	codes_check(node, errs);
	if (inner.text[0] == '\0') {
		free(inner.text);
		inner.text = NULL;
	}
	lists->list = xreallocarray(lists->list, lists->n + 1, sizeof(*lists->list));
	lists->list[lists->n++] = (struct dnsbl){ str_dup_lower(zone->text),
		inner.codes.list, inner.codes.n, inner.text };
}

static void
dnsbls_print(const void *field, struct buf *out)
{
	const struct access_dnsbls *lists = field;
	char text[IP_TEXT_MAX + 4];

	for (size_t i = 0; i < lists->n; i++) {
		const struct dnsbl *list = &lists->list[i];

		buf_addf(out, "%s%s {", i == 0 ? "" : " ", list->zone);
		for (size_t j = 0; j < list->n_codes; j++)
			buf_addf(out, "%s %s", j == 0 ? " codes" : "",
			    ipnet_format(&list->codes[j], text));
		buf_add_cstr(out, list->n_codes > 0 ? ";" : "");
		if (list->text != NULL) {
			buf_add_cstr(out, " text ");
			conf_print_word(str_of(list->text), out);
			buf_add_char(out, ';');
		}
		buf_add_cstr(out, " }");
	}
}

/* Which checks there are the daemon knows. */
static const char *
check_name_wrong(struct str s)
{
	for (size_t i = 0; i < s.len; i++)
		if (!ascii_alnum(s.p[i]) && s.p[i] != '-')
			return "the name of a check";
	return s.len > 0 ? NULL : "the name of a check";
}

/* A block that may be repeated; fn: of its parse, clear and print. */
#define BLOCK_ROW(name_, field_, stage_, fn, help_)                                            \
	{                                                                              \
		.name = name_, .type = CONF_CUSTOM, .offset = AT(access, field_),      \
		.stage = stage_, .help = help_, .parse = fn##_parse,            \
		.clear = fn##_clear, .print = fn##_print,                              \
		.size = sizeof(((struct settings_access *)0)->field_), .block = true   \
	}

static const struct conf_setting access_rows[] = {
	STRING_ROW("socket", AT(access, socket), "unix:/run/postern/access.sock",
	    STAGE_START, settings_socket_wrong, "where the MTA finds the milter"),
	SOCKET_MODE_ROW(AT(access, socket_mode)),
	STRING_ROW("socket-group", AT(access, socket_group), NULL, STAGE_START, NULL,
	    "group of a UNIX socket"),
	STRING_ROW("metrics", AT(access, metrics), NULL, STAGE_START, settings_socket_path_wrong,
	    "UNIX socket that answers with metrics"),
	{ .name = "maps",
	    .type = CONF_LIST,
	    .offset = AT(access, maps),
	    .stage = STAGE_START,
	    .check = map_spec_wrong,
	    .help = "access maps, the first that has the key wins" },
	CONF_ROW("extensions", CONF_BOOL, AT(access, extensions), "off", 0, 0, NULL,
	    STAGE_START, MERGE_OWN, "networks as keys, and \"#:\" lines, in map files"),
	{ .name = "ldap",
	    .type = CONF_CUSTOM,
	    .offset = AT(access, ldaps),
	    .stage = STAGE_START,
	    .help = "directories that maps name",
	    .parse = settings_ldap_parse,
	    .clear = settings_ldap_clear,
	    .print = settings_ldap_print,
	    .size = sizeof(struct access_ldaps),
	    .block = true },
	CONF_ROW("delay-checks", CONF_ENUM, AT(access, delay_checks), "off", 0, 0,
	    "off|on|friend|hater", STAGE_CONNECT, MERGE_OWN,
	    "judge client and sender at RCPT only"),
	CONF_ROW("blocklist-recipients", CONF_BOOL, AT(access, blocklist_recipients),
	    "off", 0, 0, NULL, STAGE_RCPT, MERGE_OWN, "look recipients up as well"),
	CONF_ROW("log-envelopes", CONF_BOOL, AT(access, log_envelopes), "on", 0, 0, NULL,
	    STAGE_MAIL, MERGE_OWN, "log each envelope with what a replay needs"),
	CONF_ROW("refuse", CONF_ENUM, AT(access, refuse), "rcpt", 0, 0,
	    "connect|mail|rcpt", STAGE_CONNECT, MERGE_OWN,
	    "when the checks' refusals are given"),
	CONF_ROW("reject-points", CONF_DECIMAL, AT(access, reject_points), "5", 0,
	    1000000, NULL, STAGE_RCPT, MERGE_MAX, "sum of points that refuses; 0: none"),
	CONF_ROW("check-authenticated", CONF_BOOL, AT(access, check_authenticated), "off",
	    0, 0, NULL, STAGE_MAIL, MERGE_OWN, "check authenticated clients as well"),
	CONF_ROW("check-local", CONF_BOOL, AT(access, check_local), "off", 0, 0, NULL,
	    STAGE_CONNECT, MERGE_OWN, "check the host's own connections as well"),
	CONF_ROW("reach-postmaster", CONF_BOOL, AT(access, reach_postmaster), "on", 0, 0,
	    NULL, STAGE_RCPT, MERGE_OWN, "spare mail to postmaster and abuse the checks"),
	{ .name = "observe",
	    .type = CONF_LIST,
	    .offset = AT(access, observe),
	    .stage = STAGE_CONNECT,
	    .check = check_name_wrong,
	    .help = "checks that are logged and counted but decide nothing" },
	{ .name = "dnsbl",
	    .type = CONF_CUSTOM,
	    .offset = AT(access, dnsbl_lists),
	    .stage = STAGE_CONNECT,
	    .help = "DNS lists to ask",
	    .parse = dnsbl_parse,
	    .clear = dnsbls_clear,
	    .print = dnsbls_print,
	    .size = sizeof(struct access_dnsbls),
	    .block = true },
	CONF_ROW("dnsbl", CONF_BOOL, AT(access, dnsbl), "on", 0, 0, NULL, STAGE_CONNECT,
	    MERGE_OWN, "ask the DNS lists"),
	CONF_ROW("dnsbl-deadline", CONF_TIME_MS, AT(access, dnsbl_deadline_ms), "5s",
	    50, 60000, NULL, STAGE_CONNECT, MERGE_OWN, "wait for the DNS lists"),
	CONF_ROW("spf", CONF_ENUM, AT(access, spf), "mark", 0, 0, "off|mark|fail|softfail",
	    STAGE_MAIL, MERGE_OWN, "ask the sender's policy; from which result to refuse"),
	CONF_ROW("spf-temperror", CONF_ENUM, AT(access, spf_temperror), "pass", 0, 0,
	    "pass|tempfail", STAGE_MAIL, MERGE_OWN, "SPF without an answer of DNS"),
	CONF_ROW("spf-permerror", CONF_ENUM, AT(access, spf_permerror), "pass", 0, 0,
	    "pass|reject", STAGE_MAIL, MERGE_OWN, "SPF records that are wrong"),
	CONF_ROW("spf-fail-points", CONF_DECIMAL, AT(access, spf_fail_points), "0", 0,
	    1000000, NULL, STAGE_MAIL, MERGE_OWN, "points of SPF fail"),
	CONF_ROW("spf-softfail-points", CONF_DECIMAL, AT(access, spf_softfail_points), "0",
	    0, 1000000, NULL, STAGE_MAIL, MERGE_OWN, "points of SPF softfail"),
	CONF_ROW("spf-permerror-points", CONF_DECIMAL, AT(access, spf_permerror_points),
	    "0", 0, 1000000, NULL, STAGE_MAIL, MERGE_OWN, "points of SPF permerror"),
	CONF_ROW("spf-deadline", CONF_TIME_MS, AT(access, spf_deadline_ms), "10s", 50,
	    60000, NULL, STAGE_MAIL, MERGE_OWN, "wait for SPF"),
	CONF_ROW("auth-results", CONF_BOOL, AT(access, auth_results), "on", 0, 0, NULL,
	    STAGE_MAIL, MERGE_OWN, "write Authentication-Results"),
	CONF_ROW("received-spf", CONF_BOOL, AT(access, received_spf), "on", 0, 0, NULL,
	    STAGE_MAIL, MERGE_OWN, "write Received-SPF"),
	STRING_ROW("authserv-id", AT(access, authserv_id), NULL, STAGE_MAIL,
	    member_domain_wrong, "our name in these; default: run.host"),
	BLOCK_ROW("rate", rates, STAGE_CONNECT, settings_rate, "how much is too much"),
	CONF_ROW("rate", CONF_BOOL, AT(access, rate), "on", 0, 0, NULL, STAGE_CONNECT,
	    MERGE_OWN, "count this client's connections, messages and recipients"),
	BLOCK_ROW("penalty", penalties, STAGE_CONNECT, settings_penalty,
	    "what follows from misbehaviour"),
	CONF_ROW("penalty", CONF_BOOL, AT(access, penalty), "on", 0, 0, NULL, STAGE_CONNECT,
	    MERGE_OWN, "refuse this client while its network is penalized"),
	BLOCK_ROW("recipients", recipient_sets, STAGE_START, settings_recipients,
	    "who is there to get mail"),
	CONF_ROW("recipients", CONF_BOOL, AT(access, recipients), "on", 0, 0, NULL,
	    STAGE_RCPT, MERGE_OWN, "refuse mail to recipients that there are not"),
};

SETTINGS_TABLE(access);

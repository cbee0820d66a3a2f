/* SPDX-License-Identifier: BSD-2-Clause */
/* Rows of block `access`. */
#include "policy/settings_row.h"

#include "db/map_spec.h"
#include "policy/member.h"
#include "policy/settings_dnsbl.h"
#include "policy/settings_ldap.h"

/* The daemon's table has the same, which a test watches: a word that names no check would
 * watch nothing, in silence, also within a policy. */
static const char *
check_name_wrong(struct str s)
{
	static const char *const names[] = { "dnsbl", "penalty", "client-rate", "rate",
		"client", "helo", "sender", "spf", "recipients", "pause" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (str_is(s, names[i]))
			return NULL;
	return "the name of a check, see postern-access(8)";
}

/* A block that may be repeated; fn: of its parse, clear and print. */
#define BLOCK_ROW(name_, field_, stage_, fn, help_)                                            \
	{                                                                              \
		.name = name_, .type = CONF_CUSTOM, .offset = AT(access, field_),      \
		.stage = stage_, .help = help_, .parse = fn##_parse,            \
		.clear = fn##_clear, .print = fn##_print,                              \
		.size = sizeof(((struct settings_access *)0)->field_), .block = true   \
	}

static const char *
own_name_wrong(struct str s)
{
	struct ip ip;

	return ip_parse(s, &ip) || member_domain_wrong(s) == NULL
	    ? NULL
	    : "a host name or an address";
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
	    .parse = settings_dnsbl_parse,
	    .clear = settings_dnsbl_clear,
	    .print = settings_dnsbl_print,
	    .size = sizeof(struct access_dnsbls),
	    .block = true },
	CONF_ROW("dnsbl", CONF_BOOL, AT(access, dnsbl), "on", 0, 0, NULL, STAGE_CONNECT,
	    MERGE_OWN, "ask the DNS lists"),
	CONF_ROW("dnsbl-deadline", CONF_TIME_MS, AT(access, dnsbl_deadline_ms), "5s",
	    50, 60000, NULL, STAGE_CONNECT, MERGE_OWN, "wait for the DNS lists"),
	CONF_ROW("dnsbl-probe", CONF_TIME, AT(access, dnsbl_probe), "1m", 0, HOUR, NULL,
	    STAGE_CONNECT, MERGE_OWN, "time between looks at the lists' test points"),
	OUTCOME_ROW("client-no-name", AT(access, client_no_name), "off", STAGE_CONNECT,
	    "a client whose address has no name"),
	OUTCOME_ROW("client-forged", AT(access, client_forged), "off", STAGE_CONNECT,
	    "a client whose name has not its address"),
	OUTCOME_ROW("client-generic", AT(access, client_generic), "off", STAGE_CONNECT,
	    "a client whose name is made of its address"),
	OUTCOME_ROW("helo-syntax", AT(access, helo_syntax), "off", STAGE_CONNECT,
	    "HELO that is neither name nor address literal"),
	OUTCOME_ROW("helo-unqualified", AT(access, helo_unqualified), "off", STAGE_CONNECT,
	    "HELO of one label"),
	OUTCOME_ROW("helo-forged", AT(access, helo_forged), "off", STAGE_CONNECT,
	    "HELO with our own name or address"),
	OUTCOME_ROW("sender-unqualified", AT(access, sender_unqualified), "off", STAGE_MAIL,
	    "a sender without a domain"),
	OUTCOME_ROW("sender-unresolvable", AT(access, sender_unresolvable), "off", STAGE_MAIL,
	    "a sender whose domain takes no mail"),
	OUTCOME_ROW("sender-temperror", AT(access, sender_temperror), "tempfail", STAGE_MAIL,
	    "a sender whose domain DNS cannot tell of"),
	OUTCOME_ROW("sender-null-mx", AT(access, sender_null_mx), "reject", STAGE_MAIL,
	    "a sender whose domain has a null MX"),
	OUTCOME_ROW("sender-private-mx", AT(access, sender_private_mx), "off", STAGE_MAIL,
	    "a sender whose domain has private MX hosts only"),
	CONF_ROW("sender-deadline", CONF_TIME_MS, AT(access, sender_deadline_ms), "5s", 50,
	    60000, NULL, STAGE_CONNECT, MERGE_OWN, "wait for DNS about sender and client"),
	{ .name = "own-names",
	    .type = CONF_LIST,
	    .offset = AT(access, own_names),
	    .stage = STAGE_CONNECT,
	    .check = own_name_wrong,
	    .help = "names and addresses that only we may say in HELO" },
	CONF_ROW("greeting-pause", CONF_TIME_MS, AT(access, greeting_pause_ms), "0s", 0,
	    20000, NULL, STAGE_CONNECT, MERGE_OWN, "wait before the greeting"),
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

/* SPDX-License-Identifier: BSD-2-Clause */
/* Every setting of the milters: its name, type, default, range, the stage that reads it
 * and how recipients of one message settle on one value.  common/postern.conf.5 tells
 * people the same; a test holds both together. */
#include "policy/settings_table.h"

#include <stdlib.h>
#include <sys/un.h>

#include "common/base/buf.h"
#include "common/base/ip.h"
#include "common/base/xalloc.h"
#include "common/mail/address.h"
#include "db/store_address.h"
#include "policy/member.h"
#include "policy/settings.h"

#define MINUTE 60
#define HOUR 3600
#define DAY 86400
#define SOCKET_MODE_MAX 0777
#define TEXT_MAX                                                                       \
	400 /* of a reply: one line of RFC 5321 4.5.3.1.5 less code and numbers */

static const char *
path_wrong(struct str s)
{
	return s.len > 1 && s.len < 4096 && s.p[0] == '/' ? NULL : "an absolute path";
}

static const char *
socket_path_wrong(struct str s)
{
	if (str_starts(s, STR("unix:")))
		s = str_sub(s, 5, s.len);
	if (path_wrong(s) != NULL)
		return "unix:/path of a socket";
	return s.len < sizeof(((struct sockaddr_un *)0)->sun_path)
	    ? NULL
	    : "a socket's path of at most 107 octets";
}

/* unix:/path, /path, inet:PORT or inet:PORT@ADDRESS, with the keyword's family */
static const char *
socket_wrong(struct str s)
{
	static const char expected[] =
	    "unix:/path, inet:port@127.0.0.1 or inet6:port@[::1]";
	struct str kind, port;
	struct ip ip = { 0 };
	uint64_t n;

	if (str_starts(s, STR("unix:")) || str_starts(s, STR("/")))
		return socket_path_wrong(s);
	if (!str_cut(&s, ':', &kind) || !str_cut(&s, '@', &port) ||
	    (s.p != NULL && !ip_parse(s, &ip)) || !str_to_uint(port, 1, 65535, &n))
		return expected;
	if (str_is(kind, "inet"))
		return s.p == NULL || ip.family == AF_INET ? NULL : expected;
	if (str_is(kind, "inet6"))
		return s.p == NULL || ip.family == AF_INET6 ? NULL : expected;
	return expected;
}

static const char *
log_wrong(struct str s)
{
	if (str_is(s, "syslog") || str_is(s, "stderr"))
		return NULL;
	return path_wrong(s) == NULL ? NULL : "syslog, stderr or an absolute path";
}

static const char *
host_wrong(struct str s)
{
	return member_domain_wrong(s) == NULL ? NULL
					      : "a host name like mx.example.org";
}

/* ADDRESS, ADDRESS:PORT or [ADDRESS]:PORT */
static const char *
server_wrong(struct str s)
{
	struct ip ip;
	uint64_t port;
	ptrdiff_t colon = str_rindex(s, ':');

	if (ip_parse(s, &ip))
		return NULL;
	if (colon > 0 && ip_parse(str_sub(s, 0, (size_t)colon), &ip) &&
	    (ip.family == AF_INET || s.p[0] == '[') &&
	    str_to_uint(str_sub(s, (size_t)colon + 1, s.len), 1, 65535, &port))
		return NULL;
	return "an address like 192.0.2.53, 127.0.0.1:5353 or [::1]:53";
}

/* Names and types are compared in lower case, endings without their dot. */
static const char *
ending_wrong(struct str s)
{
	for (size_t i = 0; i < s.len; i++)
		if ((s.p[i] >= 'A' && s.p[i] <= 'Z') || (unsigned char)s.p[i] <= ' ' ||
		    (i == 0 && s.p[i] == '.'))
			return "an ending in lower case without a dot, like exe";
	return s.len > 0 ? NULL : "an ending in lower case without a dot, like exe";
}

static const char *
notify_wrong(struct str s)
{
	struct address a;
	struct err err;

	return address_parse(s, &a, &err) == 0 && !a.null && a.domain.len > 0
	    ? NULL
	    : "an address like postmaster@mx.example.org";
}

static const char *
redis_wrong(struct str s)
{
	return store_address_parse(s, NULL)
	    ? NULL
	    : "unix:/path, 192.0.2.1:6379 or [2001:db8::1]:6379 (no host names)";
}

static const char *
prefix_wrong(struct str s)
{
	return store_prefix_good(s)
	    ? NULL
	    : "1 to 32 of letters, digits, '.', '_' and '-'";
}

static const char *
tag_wrong(struct str s)
{
	for (size_t i = 0; i < s.len; i++)
		if (s.p[i] < ' ' || s.p[i] > '~')
			return "at most 40 octets of printable ASCII";
	return s.len <= 40 ? NULL : "at most 40 octets of printable ASCII";
}

static const char *
text_wrong(struct str s)
{
	return s.len > 0 && s.len <= TEXT_MAX ? NULL : "a text of 1 to 400 octets";
}

static void
mode_parse(const struct conf_node *node, void *field, struct errs *errs)
{
	const struct conf_word *word = node->n_values > 0 ? node->values : &node->name;
	int64_t mode = 0;
	bool good = node->n_values == 1 && word->text.len > 0 && word->text.len <= 4;

	for (size_t i = 0; good && i < word->text.len; i++) {
		char c = word->text.p[i];

		good = c >= '0' && c <= '7';
		mode = mode * 8 + (c - '0');
	}
	if (good && mode <= SOCKET_MODE_MAX)
		*(int64_t *)field = mode;
	else
		errs_add(errs, word->file, word->line,
		    "%.40s: \"%.*s\" is no file mode: expected octal digits like 0660",
		    "socket-mode", (int)(word->text.len < 40 ? word->text.len : 40),
		    word->text.p);
}

static void
mode_print(const void *field, struct buf *out)
{
	buf_addf(out, "%04o", (unsigned)*(const int64_t *)field);
}

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
	    .check = text_wrong },
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

#define AT(section, field) offsetof(struct settings_##section, field)
#define STRING_ROW(name_, at, def_, stage_, check_, help_)                             \
	{                                                                              \
		.name = name_, .type = CONF_STRING, .offset = at, .def = def_,         \
		.stage = stage_, .check = check_, .help = help_                        \
	}
#define SOCKET_MODE_ROW(at)                                                            \
	{                                                                              \
		.name = "socket-mode", .type = CONF_CUSTOM, .offset = at,              \
		.def = "0660", .stage = STAGE_START, .help = "mode of a UNIX socket",  \
		.parse = mode_parse, .print = mode_print, .size = sizeof(int64_t)      \
	}

static const struct conf_setting run_rows[] = {
	STRING_ROW("host", AT(run, host), NULL, STAGE_START, host_wrong,
	    "our name in headers and replies"),
	STRING_ROW("user", AT(run, user), NULL, STAGE_START, NULL, "user to become"),
	STRING_ROW("group", AT(run, group), NULL, STAGE_START, NULL, "group to become"),
	STRING_ROW("runtime-dir", AT(run, runtime_dir), "/run/postern", STAGE_START,
	    path_wrong, "folder of the sockets"),
	STRING_ROW("log", AT(run, log), "syslog", STAGE_CONNECT, log_wrong,
	    "where log lines go"),
	CONF_ROW("log-level", CONF_ENUM, AT(run, log_level), "info", 0, 0,
	    "err|warn|info|debug", STAGE_CONNECT, MERGE_OWN,
	    "least urgent lines that are logged"),
	CONF_ROW("drain", CONF_TIME, AT(run, drain), "30s", 0, HOUR, NULL,
	    STAGE_CONNECT, MERGE_OWN,
	    "time that open messages have after a stop signal"),
};

static const struct conf_setting dns_rows[] = {
	{ .name = "servers",
	    .type = CONF_LIST,
	    .offset = AT(dns, servers),
	    .stage = STAGE_START,
	    .check = server_wrong,
	    .help = "resolvers to ask; none: those of the system" },
	CONF_ROW("timeout", CONF_TIME_MS, AT(dns, timeout_ms), "2s", 50, 60000, NULL,
	    STAGE_START, MERGE_OWN, "wait for one try"),
	CONF_ROW("deadline", CONF_TIME_MS, AT(dns, deadline_ms), "5s", 50, 120000, NULL,
	    STAGE_START, MERGE_OWN, "wait for a question with all its tries"),
	CONF_ROW("tries", CONF_INT, AT(dns, tries), "2", 1, 10, NULL, STAGE_START,
	    MERGE_OWN, "tries of a question"),
	CONF_ROW("cache-entries", CONF_INT, AT(dns, cache_entries), "50000", 0,
	    10000000, NULL, STAGE_START, MERGE_OWN, "answers kept"),
};

static const struct conf_setting state_rows[] = {
	CONF_ROW("engine", CONF_ENUM, AT(state, engine), "embedded", 0, 0,
	    "embedded|redis", STAGE_START, MERGE_OWN, "where state is kept"),
	STRING_ROW("path", AT(state, path), "/var/lib/postern/state", STAGE_START,
	    path_wrong, "folder of the embedded store"),
	CONF_ROW("size", CONF_SIZE, AT(state, size), "1G", 8 << 20, (int64_t)1 << 44,
	    NULL, STAGE_START, MERGE_OWN, "room of the embedded store"),
	CONF_ROW("sync", CONF_TIME_MS, AT(state, sync_ms), "1s", 0, 60000, NULL,
	    STAGE_START, MERGE_OWN,
	    "how much of the last writing a power cut may cost"),
	CONF_ROW("snapshot", CONF_TIME, AT(state, snapshot), "300s", 10, DAY, NULL,
	    STAGE_START, MERGE_OWN, "time between snapshots"),
	CONF_ROW("budget", CONF_TIME_MS, AT(state, budget_ms), "200ms", 1, 10000, NULL,
	    STAGE_CONNECT, MERGE_OWN, "time that a message may wait for the store"),
	STRING_ROW("redis", AT(state, redis), "127.0.0.1:6379", STAGE_START,
	    redis_wrong, "address of the Redis server"),
	STRING_ROW("user", AT(state, user), NULL, STAGE_START, NULL,
	    "user at the Redis server"),
	STRING_ROW("password-file", AT(state, password_file), NULL, STAGE_START,
	    path_wrong, "file with the password for the Redis server"),
	CONF_ROW("database", CONF_INT, AT(state, database), "0", 0, STORE_DATABASE_MAX,
	    NULL, STAGE_START, MERGE_OWN, "number of the Redis database"),
	STRING_ROW("prefix", AT(state, prefix), "postern", STAGE_START, prefix_wrong,
	    "what all keys begin with"),
	CONF_ROW("connections", CONF_INT, AT(state, connections), "2", 1,
	    STORE_CONNECTIONS_MAX, NULL, STAGE_START, MERGE_OWN,
	    "connections of a daemon to the Redis server"),
	CONF_ROW("deadline", CONF_TIME_MS, AT(state, deadline_ms), "100ms", 5, 10000,
	    NULL, STAGE_START, MERGE_OWN, "wait for one answer of the Redis server"),
};

/* Where one answer must do for recipients that differ (the null sender's mail is judged
 * after DATA), the mail of whoever is to be delayed least decides: delaying mail that
 * was exempted is worse than not greylisting some that was not. */
static const struct conf_setting greylist_rows[] = {
	STRING_ROW("socket", AT(greylist, socket), "unix:/run/postern/greylist.sock",
	    STAGE_START, socket_wrong, "where the MTA finds the milter"),
	SOCKET_MODE_ROW(AT(greylist, socket_mode)),
	STRING_ROW("socket-group", AT(greylist, socket_group), NULL, STAGE_START, NULL,
	    "group of a UNIX socket"),
	STRING_ROW("metrics", AT(greylist, metrics), NULL, STAGE_START,
	    socket_path_wrong, "UNIX socket that answers with metrics"),
	CONF_ROW("when", CONF_ENUM, AT(greylist, when), "always", 0, 0, "always|never",
	    STAGE_RCPT, MERGE_MAX, "which mail is greylisted"),
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
	CONF_ROW("header", CONF_BOOL, AT(greylist, header), "on", 0, 0, NULL, STAGE_EOM,
	    MERGE_MAX, "write X-Greylist"),
	CONF_ROW("text", CONF_STRING, AT(greylist, text),
	    "\"Greylisted: please try again in %w seconds\"", 0, 0, NULL, STAGE_RCPT,
	    MERGE_ALL, "reply to a deferred recipient; %w: seconds to wait",
	    .check = text_wrong),
};

static const struct conf_setting access_rows[] = {
	STRING_ROW("socket", AT(access, socket), "unix:/run/postern/access.sock",
	    STAGE_START, socket_wrong, "where the MTA finds the milter"),
	SOCKET_MODE_ROW(AT(access, socket_mode)),
	STRING_ROW("socket-group", AT(access, socket_group), NULL, STAGE_START, NULL,
	    "group of a UNIX socket"),
	STRING_ROW("metrics", AT(access, metrics), NULL, STAGE_START, socket_path_wrong,
	    "UNIX socket that answers with metrics"),
	{ .name = "maps",
	    .type = CONF_LIST,
	    .offset = AT(access, maps),
	    .stage = STAGE_START,
	    .check = path_wrong,
	    .help = "access maps, the first that has the key wins" },
	CONF_ROW("delay-checks", CONF_ENUM, AT(access, delay_checks), "off", 0, 0,
	    "off|on|friend|hater", STAGE_CONNECT, MERGE_OWN,
	    "judge client and sender at RCPT only"),
	CONF_ROW("blocklist-recipients", CONF_BOOL, AT(access, blocklist_recipients),
	    "off", 0, 0, NULL, STAGE_RCPT, MERGE_OWN, "look recipients up as well"),
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
};

#define ACTIONS "pass|strip|quarantine|reject|tempfail"

static const struct conf_setting mime_rows[] = {
	STRING_ROW("socket", AT(mime, socket), "unix:/run/postern/mime.sock", STAGE_START,
	    socket_wrong, "where the MTA finds the milter"),
	SOCKET_MODE_ROW(AT(mime, socket_mode)),
	STRING_ROW("socket-group", AT(mime, socket_group), NULL, STAGE_START, NULL,
	    "group of a UNIX socket"),
	STRING_ROW("metrics", AT(mime, metrics), NULL, STAGE_START, socket_path_wrong,
	    "UNIX socket that answers with metrics"),
	STRING_ROW("signatures", AT(mime, signatures), "/var/lib/clamav", STAGE_START,
	    path_wrong, "virus signatures, a folder or a file"),
	STRING_ROW("tmp", AT(mime, tmp), "/var/tmp", STAGE_START, path_wrong,
	    "folder for the scanners' temporary files"),
	STRING_ROW("quarantine", AT(mime, quarantine), "/var/lib/postern/quarantine",
	    STAGE_START, path_wrong, "folder of what is kept back"),
	CONF_ROW("workers", CONF_INT, AT(mime, workers), "4", 1, 64, NULL, STAGE_START,
	    MERGE_OWN, "messages that are scanned at once"),
	CONF_ROW("worker-memory", CONF_SIZE, AT(mime, worker_memory), "512M", 16 << 20,
	    (int64_t)1 << 40, NULL, STAGE_START, MERGE_OWN,
	    "memory of a scan beyond the shared signatures"),
	CONF_ROW("scan-time", CONF_TIME_MS, AT(mime, scan_time_ms), "10s", 100, 600000,
	    NULL, STAGE_START, MERGE_OWN, "time for one content"),
	CONF_ROW("budget", CONF_TIME_MS, AT(mime, budget_ms), "30s", 100, 600000, NULL,
	    STAGE_EOM, MERGE_MAX, "time for a message, then the scanner is killed"),
	CONF_ROW("message-size", CONF_SIZE, AT(mime, message_size), "50M", 1024,
	    (int64_t)1 << 30, NULL, STAGE_START, MERGE_OWN, "largest message that is scanned"),
	CONF_ROW("scan-size", CONF_SIZE, AT(mime, scan_size), "200M", 1024,
	    (int64_t)1 << 32, NULL, STAGE_START, MERGE_OWN,
	    "decoded octets of one message"),
	CONF_ROW("archive-depth", CONF_INT, AT(mime, archive_depth), "12", 1, 50, NULL,
	    STAGE_START, MERGE_OWN, "archives in archives"),
	CONF_ROW("archive-members", CONF_INT, AT(mime, archive_members), "2000", 1, 100000,
	    NULL, STAGE_START, MERGE_OWN, "files in an archive"),
	CONF_ROW("forbidden-names", CONF_LIST, AT(mime, forbidden_names),
	    "ade adp app appref-ms bat chm cmd com cpl dll exe hta ins isp jar js jse lib "
	    "library-ms lnk mde msc msi msp mst pif ps1 reg scf scr sct settingcontent-ms "
	    "shb sys url vb vbe vbs vxd wsc wsf wsh xll",
	    0, 0, NULL, STAGE_EOM, MERGE_ALL, "endings of attachments' names",
	    .check = ending_wrong),
	CONF_ROW("forbidden-types", CONF_LIST, AT(mime, forbidden_types), "exe elf lnk", 0,
	    0, NULL, STAGE_EOM, MERGE_ALL, "types by content, or declared",
	    .check = ending_wrong),
	CONF_ROW("infected", CONF_ENUM, AT(mime, infected), "reject", 0, 0, ACTIONS,
	    STAGE_EOM, MERGE_MAX, "what happens to a virus"),
	CONF_ROW("forbidden", CONF_ENUM, AT(mime, forbidden), "strip", 0, 0, ACTIONS,
	    STAGE_EOM, MERGE_MAX, "what happens to a forbidden attachment"),
	CONF_ROW("limit", CONF_ENUM, AT(mime, limit), "quarantine", 0, 0, ACTIONS,
	    STAGE_EOM, MERGE_MAX, "what happens to what cannot be read in full"),
	CONF_ROW("encrypted", CONF_ENUM, AT(mime, encrypted), "quarantine", 0, 0, ACTIONS,
	    STAGE_EOM, MERGE_MAX, "what happens to encrypted archives"),
	CONF_ROW("ambiguous", CONF_ENUM, AT(mime, ambiguous), "quarantine", 0, 0, ACTIONS,
	    STAGE_EOM, MERGE_MAX, "what happens to mail that readers read differently"),
	CONF_ROW("keep-copies", CONF_BOOL, AT(mime, keep_copies), "on", 0, 0, NULL,
	    STAGE_EOM, MERGE_MAX, "keep what is refused in quarantine"),
	CONF_ROW("header", CONF_BOOL, AT(mime, header), "on", 0, 0, NULL, STAGE_EOM,
	    MERGE_MAX, "write X-Virus-Scanned"),
	STRING_ROW("notify", AT(mime, notify), NULL, STAGE_START, notify_wrong,
	    "address that is told of what is kept back"),
	STRING_ROW("notify-via", AT(mime, notify_via), NULL, STAGE_START, server_wrong,
	    "SMTP server for these notices"),
};

static const struct conf_setting score_rows[] = {
	STRING_ROW("socket", AT(score, socket), "unix:/run/postern/score.sock",
	    STAGE_START, socket_wrong, "where the MTA finds the milter"),
	SOCKET_MODE_ROW(AT(score, socket_mode)),
	STRING_ROW("socket-group", AT(score, socket_group), NULL, STAGE_START, NULL,
	    "group of a UNIX socket"),
	STRING_ROW("metrics", AT(score, metrics), NULL, STAGE_START, socket_path_wrong,
	    "UNIX socket that answers with metrics"),
	{ .name = "rules",
	    .type = CONF_LIST,
	    .offset = AT(score, rules),
	    .stage = STAGE_START,
	    .check = path_wrong,
	    .help = "rule files, and folders of them" },
	STRING_ROW("tmp", AT(score, tmp), "/var/tmp", STAGE_START, path_wrong,
	    "folder for the workers' own folders"),
	CONF_ROW("workers", CONF_INT, AT(score, workers), "2", 1, 64, NULL, STAGE_START,
	    MERGE_OWN, "messages that are scored at once"),
	CONF_ROW("worker-memory", CONF_SIZE, AT(score, worker_memory), "256M", 16 << 20,
	    (int64_t)1 << 40, NULL, STAGE_START, MERGE_OWN,
	    "memory of a worker beyond the shared rules"),
	CONF_ROW("scan", CONF_BOOL, AT(score, scan), "on", 0, 0, NULL, STAGE_EOM,
	    MERGE_MAX, "score at all"),
	CONF_ROW("scan-size", CONF_SIZE, AT(score, scan_size), "512k", 1024, 64 << 20,
	    NULL, STAGE_EOM, MERGE_MAX, "octets of a message that are looked at"),
	CONF_ROW("budget", CONF_TIME_MS, AT(score, budget_ms), "5s", 100, 60000, NULL,
	    STAGE_EOM, MERGE_MAX, "time for a message, then the worker is killed"),
	CONF_ROW("tag", CONF_DECIMAL, AT(score, tag), "5", 1, 10000000, NULL, STAGE_EOM,
	    MERGE_MAX, "points from which mail is marked as spam"),
	CONF_ROW("reject", CONF_DECIMAL, AT(score, reject), "15", 1, 10000000, NULL,
	    STAGE_EOM, MERGE_MAX, "points from which mail is refused"),
	CONF_ROW("on-failure", CONF_ENUM, AT(score, on_failure), "pass", 0, 0,
	    "pass|tempfail", STAGE_EOM, MERGE_MAX,
	    "what happens to mail that cannot be scored"),
	CONF_ROW("subject-tag", CONF_STRING, AT(score, subject_tag), NULL, 0, 0, NULL,
	    STAGE_EOM, MERGE_ALL, "put before the subject of marked mail",
	    .check = tag_wrong),
	CONF_ROW("text", CONF_STRING, AT(score, text),
	    "\"The message looks like spam; if it is not, please tell the postmaster\"", 0,
	    0, NULL, STAGE_EOM, MERGE_ALL, "reply to refused mail", .check = text_wrong),
};

#define TABLE(section)                                                                 \
	static const struct conf_table section##_table = { #section, section##_rows,   \
		sizeof(section##_rows) / sizeof(section##_rows[0]),                    \
		sizeof(struct settings_##section) }

TABLE(run);
TABLE(dns);
TABLE(state);
TABLE(greylist);
TABLE(access);
TABLE(mime);
TABLE(score);

const struct conf_table *const settings_table_list[SECTIONS] = {
	[SECTION_RUN] = &run_table,
	[SECTION_DNS] = &dns_table,
	[SECTION_STATE] = &state_table,
	[SECTION_GREYLIST] = &greylist_table,
	[SECTION_ACCESS] = &access_table,
	[SECTION_MIME] = &mime_table,
	[SECTION_SCORE] = &score_table,
};

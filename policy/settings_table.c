/* SPDX-License-Identifier: BSD-2-Clause */
/* Every setting of the milters: its name, type, default, range, the stage that reads it
 * and how recipients of one message settle on one value.  Here are the sections that all
 * share; each milter's are in a file of its own.  common/postern.conf.5 tells people the
 * same; a test holds both together. */
#include "policy/settings_table.h"

#include "db/store_address.h"
#include "policy/member.h"
#include "policy/settings_row.h"

static const char *
log_wrong(struct str s)
{
	if (str_is(s, "syslog") || str_is(s, "stderr"))
		return NULL;
	return settings_path_wrong(s) == NULL ? NULL : "syslog, stderr or an absolute path";
}

static const char *
host_wrong(struct str s)
{
	return member_domain_wrong(s) == NULL ? NULL
					      : "a host name like mx.example.org";
}

static const char *
redis_wrong(struct str s)
{
	return store_address_parse(s, NULL)
	    ? NULL
	    : "unix:/path, 192.0.2.1:6379 or [2001:db8::1]:6379 (no host names)";
}

static const char *
redis_tcp_wrong(struct str s)
{
	struct store_address a;

	return store_address_parse(s, &a) && a.path[0] == '\0'
	    ? NULL
	    : "192.0.2.1:6379 or [2001:db8::1]:6379 (no host names)";
}

static const char *
master_wrong(struct str s)
{
	return s.len > 0 && s.len <= 200 ? NULL : "a name of 1 to 200 octets";
}

static const char *
prefix_wrong(struct str s)
{
	return store_prefix_good(s)
	    ? NULL
	    : "1 to 32 of letters, digits, '.', '_' and '-'";
}

static const struct conf_setting run_rows[] = {
	STRING_ROW("host", AT(run, host), NULL, STAGE_START, host_wrong,
	    "our name in headers and replies"),
	STRING_ROW("user", AT(run, user), NULL, STAGE_START, NULL, "user to become"),
	STRING_ROW("group", AT(run, group), NULL, STAGE_START, NULL, "group to become"),
	STRING_ROW("runtime-dir", AT(run, runtime_dir), "/run/postern", STAGE_START,
	    settings_path_wrong, "folder of the sockets"),
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
	    .check = settings_server_wrong,
	    .help = "resolvers to ask; none: those of the system" },
	CONF_ROW("timeout", CONF_TIME_MS, AT(dns, timeout_ms), "2s", 50, 60000, NULL,
	    STAGE_START, MERGE_OWN, "wait for one try"),
	CONF_ROW("deadline", CONF_TIME_MS, AT(dns, deadline_ms), "5s", 50, 120000, NULL,
	    STAGE_START, MERGE_OWN, "wait for a question with all its tries"),
	CONF_ROW("tries", CONF_INT, AT(dns, tries), "2", 1, 10, NULL, STAGE_START,
	    MERGE_OWN, "tries of a question"),
	CONF_ROW("cache-entries", CONF_INT, AT(dns, cache_entries), "50000", 0,
	    10000000, NULL, STAGE_START, MERGE_OWN, "answers kept"),
	STRING_ROW("public-suffixes", AT(dns, public_suffixes), NULL, STAGE_START,
	    settings_path_wrong, "public suffix list"),
};

static const struct conf_setting state_rows[] = {
	CONF_ROW("engine", CONF_ENUM, AT(state, engine), "embedded", 0, 0,
	    "embedded|redis", STAGE_START, MERGE_OWN, "where state is kept"),
	STRING_ROW("path", AT(state, path), "/var/lib/postern/state", STAGE_START,
	    settings_path_wrong, "folder of the embedded store"),
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
	{ .name = "sentinel",
	    .type = CONF_LIST,
	    .offset = AT(state, sentinels),
	    .stage = STAGE_START,
	    .check = redis_tcp_wrong,
	    .help = "Redis Sentinels, who know where the master is" },
	STRING_ROW("master", AT(state, master), NULL, STAGE_START, master_wrong,
	    "name of the master at the sentinels"),
	STRING_ROW("sentinel-user", AT(state, sentinel_user), NULL, STAGE_START, NULL,
	    "user at the sentinels"),
	STRING_ROW("sentinel-password-file", AT(state, sentinel_password_file), NULL,
	    STAGE_START, settings_path_wrong,
	    "file with the password for the sentinels"),
	{ .name = "cluster",
	    .type = CONF_LIST,
	    .offset = AT(state, cluster),
	    .stage = STAGE_START,
	    .check = redis_tcp_wrong,
	    .help = "some nodes of the Redis Cluster" },
	STRING_ROW("user", AT(state, user), NULL, STAGE_START, NULL,
	    "user at the Redis server"),
	STRING_ROW("password-file", AT(state, password_file), NULL, STAGE_START,
	    settings_path_wrong, "file with the password for the Redis server"),
	STRING_ROW("secret-file", AT(state, secret_file), NULL, STAGE_START,
	    settings_path_wrong, "privacy mode: file with the secret"),
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

static SETTINGS_TABLE(run);
static SETTINGS_TABLE(dns);
static SETTINGS_TABLE(state);

const struct conf_table *const settings_table_list[SECTIONS] = {
	[SECTION_RUN] = &settings_run_table,
	[SECTION_DNS] = &settings_dns_table,
	[SECTION_STATE] = &settings_state_table,
	[SECTION_GREYLIST] = &settings_greylist_table,
	[SECTION_ACCESS] = &settings_access_table,
	[SECTION_MIME] = &settings_mime_table,
	[SECTION_SCORE] = &settings_score_table,
};

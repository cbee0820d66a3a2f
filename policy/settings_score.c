/* SPDX-License-Identifier: BSD-2-Clause */
/* Rows of block `score`. */
#include "policy/settings_row.h"

static const char *
tag_wrong(struct str s)
{
	for (size_t i = 0; i < s.len; i++)
		if (s.p[i] < ' ' || s.p[i] > '~')
			return "at most 40 octets of printable ASCII";
	return s.len <= 40 ? NULL : "at most 40 octets of printable ASCII";
}

static const struct conf_setting score_rows[] = {
	STRING_ROW("socket", AT(score, socket), "unix:/run/postern/score.sock",
	    STAGE_START, settings_socket_wrong, "where the MTA finds the milter"),
	SOCKET_MODE_ROW(AT(score, socket_mode)),
	STRING_ROW("socket-group", AT(score, socket_group), NULL, STAGE_START, NULL,
	    "group of a UNIX socket"),
	STRING_ROW("metrics", AT(score, metrics), NULL, STAGE_START, settings_socket_path_wrong,
	    "UNIX socket that answers with metrics"),
	{ .name = "rules",
	    .type = CONF_LIST,
	    .offset = AT(score, rules),
	    .stage = STAGE_START,
	    .check = settings_path_wrong,
	    .help = "rule files, and folders of them" },
	STRING_ROW("tmp", AT(score, tmp), "/var/tmp", STAGE_START, settings_path_wrong,
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
	    0, NULL, STAGE_EOM, MERGE_ALL, "reply to refused mail", .check = settings_text_wrong),
};

SETTINGS_TABLE(score);

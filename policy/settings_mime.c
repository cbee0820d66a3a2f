/* SPDX-License-Identifier: BSD-2-Clause */
/* Rows of block `mime`. */
#include "policy/settings_row.h"

#include "common/mail/address.h"

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

#define ACTIONS "pass|strip|quarantine|reject|tempfail"

static const struct conf_setting mime_rows[] = {
	STRING_ROW("socket", AT(mime, socket), "unix:/run/postern/mime.sock", STAGE_START,
	    settings_socket_wrong, "where the MTA finds the milter"),
	SOCKET_MODE_ROW(AT(mime, socket_mode)),
	STRING_ROW("socket-group", AT(mime, socket_group), NULL, STAGE_START, NULL,
	    "group of a UNIX socket"),
	STRING_ROW("metrics", AT(mime, metrics), NULL, STAGE_START, settings_socket_path_wrong,
	    "UNIX socket that answers with metrics"),
	STRING_ROW("signatures", AT(mime, signatures), "/var/lib/clamav", STAGE_START,
	    settings_path_wrong, "virus signatures, a folder or a file"),
	STRING_ROW("tmp", AT(mime, tmp), "/var/tmp", STAGE_START, settings_path_wrong,
	    "folder for the scanners' temporary files"),
	STRING_ROW("quarantine", AT(mime, quarantine), "/var/lib/postern/quarantine",
	    STAGE_START, settings_path_wrong, "folder of what is kept back"),
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
	STRING_ROW("notify-via", AT(mime, notify_via), NULL, STAGE_START, settings_server_wrong,
	    "SMTP server for these notices"),
};

SETTINGS_TABLE(mime);

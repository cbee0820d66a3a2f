/* SPDX-License-Identifier: BSD-2-Clause */
/* Rows of block `greylist`. */
#include "policy/settings_row.h"

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
	    .check = settings_text_wrong),
};

SETTINGS_TABLE(greylist);

/* SPDX-License-Identifier: BSD-2-Clause */
/* What the tables of the milters' sections are made of.  Internal to policy/. */
#ifndef POSTERN_POLICY_SETTINGS_ROW_H
#define POSTERN_POLICY_SETTINGS_ROW_H

#include <stddef.h>

#include "common/base/conf.h"
#include "policy/settings.h"
#include "policy/settings_word.h"

#define MINUTE 60
#define HOUR 3600
#define DAY 86400

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
		.parse = settings_mode_parse, .print = settings_mode_print, .size = sizeof(int64_t)      \
	}

/* The table of a section whose rows are `section`_rows. */
#define SETTINGS_TABLE(section)                                                        \
	const struct conf_table settings_##section##_table = { #section,               \
		section##_rows, sizeof(section##_rows) / sizeof(section##_rows[0]),    \
		sizeof(struct settings_##section) }

extern const struct conf_table settings_greylist_table, settings_access_table,
    settings_mime_table, settings_score_table;

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* Block `greylist`.  Strings are never NULL: "" where nothing is set. */
#ifndef POSTERN_POLICY_SETTINGS_GREYLIST_H
#define POSTERN_POLICY_SETTINGS_GREYLIST_H

#include <stdbool.h>
#include <stdint.h>

/* When greylisting applies. */
enum greylist_when { GREYLIST_ALWAYS, GREYLIST_NEVER };

struct settings_greylist { /* block `greylist` */
	char *socket;
	int64_t socket_mode;
	char *socket_group;
	char *metrics; /* "unix:/path", "/path" or "" */
	int when; /* enum greylist_when */
	int64_t delay, window, keep; /* 5m, 2d, 35d */
	int64_t auto_whitelist; /* 5 */
	int64_t whitelist_keep; /* 35d */
	int64_t prefix4, prefix6; /* 24, 64: client identity is its network */
	bool header; /* write X-Greylist */
	char *text; /* reply; %w seconds to wait */
};

#endif

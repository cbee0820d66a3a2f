/* SPDX-License-Identifier: BSD-2-Clause */
/* Block `greylist`.  Strings are never NULL: "" where nothing is set. */
#ifndef POSTERN_POLICY_SETTINGS_GREYLIST_H
#define POSTERN_POLICY_SETTINGS_GREYLIST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/net/dnsbl.h"
#include "policy/greylist_exempt.h"

/* Which mail is greylisted; of several, merging takes the one that delays least. */
enum greylist_when {
	GREYLIST_ALWAYS, /* at RCPT */
	GREYLIST_SUSPICIOUS, /* at the end of message, by its score */
	GREYLIST_NEVER,
};

enum greylist_block_action { GREYLIST_BLOCK_TEMPFAIL, GREYLIST_BLOCK_REJECT };

#define GREYLIST_ALLOWLISTS_MAX 8 /* each is a question per connection */

struct settings_greylist { /* block `greylist` */
	char *socket;
	int64_t socket_mode;
	char *socket_group;
	char *metrics; /* "unix:/path", "/path" or "" */
	int when; /* enum greylist_when */
	int64_t delay, window, keep; /* 5m, 2d, 35d */
	int64_t auto_whitelist; /* 5 */
	int64_t whitelist_keep; /* 35d */
	int64_t prefix4, prefix6; /* 24, 64: bits of a network as identity */
	struct greylist_exempt exempt; /* hosts and senders that fail */
	struct greylist_allowlists { /* DNS lists of hosts that are not greylisted */
		struct dnsbl *list;
		size_t n;
	} allowlists;
	bool correspondents; /* mail from whom our users wrote to is exempt */
	int64_t correspondents_keep; /* 35d */
	bool inside; /* the client is one of ours, as if its user had authenticated */
	int64_t dns_deadline_ms; /* 3s, from MAIL on */
	int64_t suspicious; /* points in thousandths; 2 */
	bool trap; /* the recipient is a trap */
	int64_t block; /* 1h: refusal after a trap, a virus, spam; 0: none */
	int64_t block_spam; /* 3: weight of spam events that blocks */
	int block_action; /* enum greylist_block_action */
	bool header; /* write X-Greylist */
	char *text; /* reply; %w seconds to wait */
};

#endif

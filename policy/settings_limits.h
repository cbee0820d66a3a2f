/* SPDX-License-Identifier: BSD-2-Clause */
/* The blocks `rate`, `penalty` and `recipients` within block `access`: how much is too
 * much, what follows from misbehaviour, and who is there to get mail.  Strings are
 * never NULL but where it says so. */
#ifndef POSTERN_POLICY_SETTINGS_LIMITS_H
#define POSTERN_POLICY_SETTINGS_LIMITS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/conf.h"

#define ACCESS_RATES_MAX                                                               \
	32 /* each is a question per connection, message or recipient */
#define ACCESS_RECIPIENTS_MAX 32
#define CALL_AHEAD_SERVERS_MAX 8

/* What is counted apart. */
enum rate_per {
	RATE_PER_CLIENT, /* address; of IPv6 the /64 */
	RATE_PER_NETWORK, /* /24; of IPv6 the /48 */
	RATE_PER_SENDER,
	RATE_PER_SENDER_DOMAIN,
	RATE_PER_RECIPIENT,
	RATE_PER_USER, /* authenticated */
};

struct rate_amount { /* "100 in 1h"; number 0: not set */
	int64_t number, seconds;
};

/* rate "name" { per client; messages 100 in 1h; } */
struct access_rate {
	char *name;
	int per; /* enum rate_per */
	/* At most one of them is set. */
	struct rate_amount connections, messages, recipients;
	int64_t burst; /* at once; 0: as many as the number above */
	int64_t at_once; /* connections (or messages) open at one time; 0: any number */
	int64_t points; /* thousandths instead of a refusal; 0: refuse */
	char *text; /* "": ours */
};

struct access_rates {
	struct access_rate *list;
	size_t n;
};

enum penalty_kind { PENALTY_HARVEST, PENALTY_FLOOD, PENALTY_TRAP, PENALTY_EARLY };
#define PENALTIES 4
/* "harvest", "flood", "trap", "early" */
const char *penalty_name(enum penalty_kind kind);

/* penalty harvest { after 10 in 1h; keep 1h; } */
struct access_penalty {
	int kind; /* enum penalty_kind */
	struct rate_amount after;
	int64_t keep; /* seconds behind the last event */
	struct conf_strings recipients; /* of PENALTY_TRAP: nobody's addresses */
	int action; /* 0 tempfail, 1 reject */
	char *text; /* "": ours */
};

struct access_penalties {
	struct access_penalty list[PENALTIES];
	size_t n;
};

enum rcpt_trouble { RCPT_TROUBLE_TEMPFAIL, RCPT_TROUBLE_ACCEPT };

/* recipients "name" { domains local.example; maps "/path"; call-ahead 10.0.0.5:25; } */
struct access_recipients {
	char *name;
	struct conf_strings domains;
	struct conf_strings maps; /* db/map_spec.h; n 0: none */
	struct conf_strings call_ahead; /* servers, asked in this order */
	int64_t positive, negative; /* seconds that an answer is fresh */
	int64_t keep; /* seconds that it is remembered for bad times */
	int trouble; /* enum rcpt_trouble: no server answers */
	int64_t deadline_ms; /* for an answer */
	int64_t connections; /* to each server */
	char *text; /* "": ours */
};

struct access_recipient_sets {
	struct access_recipients *list;
	size_t n;
};

/* Rows of struct settings_access (CONF_CUSTOM), each a repeated block. */
void settings_rate_parse(const struct conf_node *node, void *field, struct errs *errs);
void settings_rate_clear(void *field);
void settings_rate_print(const void *field, struct buf *out);
void settings_penalty_parse(
    const struct conf_node *node, void *field, struct errs *errs);
void settings_penalty_clear(void *field);
void settings_penalty_print(const void *field, struct buf *out);
void settings_recipients_parse(
    const struct conf_node *node, void *field, struct errs *errs);
void settings_recipients_clear(void *field);
void settings_recipients_print(const void *field, struct buf *out);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* The block `relay "name" { ... }` of postern.conf: one role of the relay. */
#ifndef POSTERN_RELAY_RELAY_CONF_H
#define POSTERN_RELAY_RELAY_CONF_H

#include "common/base/conf.h"
#include "common/base/ip.h"
#include "contrib/relay/milter_chain.h"

enum relay_handoff {
	HANDOFF_QUEUE, /* commit, answer 250, deliver later */
	HANDOFF_SESSION, /* pass the next tier's answer on within the client's session
			  */
};

enum relay_failed { /* a 5xx or time-out after we said 250 */
	RELAY_FAILED_BOUNCE,
	RELAY_FAILED_QUARANTINE,
};

struct relay_conf {
	char *name; /* "incoming" */
	char *host; /* our name in greeting and Received */
	struct conf_strings listen; /* "127.0.0.1:2525" */
	char *spool; /* directory */
	int handoff; /* enum relay_handoff; default queue */
	int failed; /* enum relay_failed; default bounce */
	struct conf_strings
	    relay_domains; /* recipients' domains that we take, any client */
	char *relay_domains_file; /* one domain a line; "" none */
	struct conf_nets relay_clients; /* clients that may send anywhere */
	struct conf_nets xclient; /* hosts trusted with XCLIENT and XFORWARD */
	char *mailertable; /* file; "" none */
	char *smarthost; /* "[127.0.0.1]:2526", "" none */
	struct milter_filters {
		struct milter_filter_conf *list; /* in order */
		size_t n;
	} milters; /* milter "name" { socket ...; on-failure tempfail; } */
	char *postmaster; /* address that <postmaster> becomes; "": postmaster@host */
	bool client_names; /* ask the DNS for clients' names */
	uint64_t message_size; /* 50M */
	uint64_t in_flight; /* octets of messages that one listener keeps in memory */
	int64_t max_rcpts; /* 1000 */
	int64_t max_sessions, max_sessions_per_client; /* of one listener */
	int64_t command_timeout, data_timeout; /* seconds */
	int64_t error_delay_ms; /* see session.h */
	int64_t greet_pause_ms; /* before the greeting; 0 none */
	int64_t handoff_timeout; /* seconds for the next tier's answer */
	int64_t retry_min, retry_max, lifetime; /* seconds: 300, 4000, 5 d */
	int64_t listeners; /* processes */
	int64_t deliveries; /* connections at once, all next hops */
	int64_t deliveries_per_host;
	uint64_t min_free; /* octets that must be free on the spool's disk */
	int dir_sync; /* 0 auto, 1 always */
};

/* Read the block with that name from the file; NULL when errs has entries.  host is
 * that of the file, or the system's, where the block has none. */
struct relay_conf *relay_conf_load(
    const char *path, const char *name, struct errs *errs);
struct relay_conf *relay_conf_from_text(
    struct str text, const char *file, const char *name, struct errs *errs);
void relay_conf_free(struct relay_conf *c);
/* "127.0.0.1:25", "[::1]:25", "*:25" (any IPv6 and IPv4 address; family is 0 then). */
bool relay_listen_parse(struct str text, struct ip *ip, uint16_t *port);
/* Must the queue process be started anew for the new settings to hold? */
bool relay_conf_queue_differs(
    const struct relay_conf *from, const struct relay_conf *to);
/* Name what a reload cannot change. */
void relay_conf_restart_needed(
    const struct relay_conf *from, const struct relay_conf *to, struct errs *errs);
/* For `posternctl check`: one block; relay_conf_of: as it was read, with faults and all. */
struct relay_conf *relay_conf_of(const struct conf_node *block, struct errs *errs);
bool relay_conf_check(const struct conf_node *block, struct errs *errs);
const struct conf_table *relay_conf_table(void);
/* The table of the block `milter`. */
const struct conf_table *relay_milter_table(void);

#endif

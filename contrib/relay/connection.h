/* SPDX-License-Identifier: BSD-2-Clause */
/* One client's connection in a listener: socket and timers around a session, the
 * answers to the session's questions (relaying, filters, room), and its message on the
 * way. */
#ifndef POSTERN_RELAY_CONNECTION_H
#define POSTERN_RELAY_CONNECTION_H

#include <event2/event.h>

#include "common/base/ip.h"
#include "contrib/relay/client_name.h"
#include "contrib/relay/handoff.h"
#include "contrib/relay/relaying.h"
#include "contrib/relay/session.h"

struct connection;

#define STRESS_PAUSE_MS 1000 /* before the greeting, at most, under stress */

/* What all connections of a process share. */
struct gate {
	struct handoff_env handoff; /* base, conf, resolver, queue, mailertable */
	struct relaying *relaying;
	struct client_names *names; /* NULL: names are not looked up */
	struct session_conf session;
	uint64_t in_flight; /* octets of messages in memory */
	struct connection *connections;
	size_t n_connections;
	bool stress; /* many connections: see connection_stress_all */
	/* A connection ended; called last of all. */
	void (*ended)(struct gate *g);
};

/* Takes fd (non-blocking).  peer and local as the kernel says. */
void connection_open(struct gate *g, int fd, const struct ip *peer, uint16_t port,
    const struct ip *local, uint16_t local_port);
/* Ends it without a word. */
void connection_close(struct connection *c);

/* Is it a host of `xclient`? */
bool connection_trusted(const struct gate *g, const struct ip *peer);
/* How many connections this address has. */
size_t connection_count(const struct gate *g, const struct ip *peer);
/* End all that are between two mails, and the others behind theirs. */
void connection_shutdown_all(struct gate *g, struct str text);
void connection_close_all(struct gate *g);
/* Many connections: short limits for all, or the usual ones again. */
void connection_stress_all(struct gate *g, bool stress);

#endif

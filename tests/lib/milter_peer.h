/* SPDX-License-Identifier: BSD-2-Clause */
/* A scripted filter on a Unix socket, living in the event loop of the test: notes every
 * packet that it gets and answers by rules, octet for octet. */
#ifndef POSTERN_TESTS_MILTER_PEER_H
#define POSTERN_TESTS_MILTER_PEER_H

#include <event2/event.h>

#include "common/base/buf.h"
#include "common/mail/milter_wire.h"

enum peer_act {
	PEER_SEND, /* send `octets` instead of the usual reply */
	PEER_CLOSE, /* send them, then close the connection */
	PEER_SILENT, /* send them (whole packets or not), but no reply */
	PEER_DEAF, /* stop reading as well */
};

/* At the nth packet with this command (1 first, 0 every one), on any connection. */
struct peer_rule {
	char cmd;
	int nth;
	enum peer_act act;
	struct str octets;
};

#define PEER_RULES_MAX 16

struct milter_peer {
	struct event_base *base;
	char *path, *address; /* address: "unix:<path>" */
	int listener, fd; /* -1: not open */
	struct event *accept, *read, *write;
	struct buf out; /* not yet sent */
	bool closing; /* when it is */
	struct milter_optneg answer; /* to O; version 6, no bits, unless changed */
	struct peer_rule rules[PEER_RULES_MAX];
	size_t n_rules;
	bool no_replies; /* answer nothing at all but by rules (and O) */
	bool trickle; /* replies go out octet by octet, one in a turn of the loop */
	bool take_one; /* stop listening after the first connection */
	int n_connections;
	/* What came: one letter a packet; D is followed by its stage letter in lower
	 * case;
	 * '$' for the end of a connection. */
	struct buf seen;
	struct buf packets; /* the same as octets, one behind the other */
	struct buf in;
	int counts[128];
	/* Called for every packet in place of all above but seen and packets, when set.
	 */
	void (*handler)(
	    void *arg, struct milter_peer *p, const struct milter_packet *packet);
	void *arg;
};

/* Listens under dir/name. */
void milter_peer_init(
    struct milter_peer *p, struct event_base *base, const char *dir, const char *name);
void milter_peer_clear(struct milter_peer *p);
void milter_peer_rule(
    struct milter_peer *p, char cmd, int nth, enum peer_act act, struct str octets);
void milter_peer_send(struct milter_peer *p, struct str octets);
void milter_peer_hang_up(struct milter_peer *p);
void milter_peer_stop_listening(struct milter_peer *p);

/* A packet as octets, for rules; the memory is the caller's buf. */
struct str peer_packet(struct buf *b, char cmd, struct str payload);

#endif

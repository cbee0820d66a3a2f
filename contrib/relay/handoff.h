/* SPDX-License-Identifier: BSD-2-Clause */
/* What becomes of a message that we want: into our own queue, or through to the next
 * tier while the client holds its final dot.
 *
 * handoff queue: the record is committed; 250 when it is durable, else 451.
 *
 * handoff session: when all recipients have one next hop, the message is offered to it
 * at once, and its answer is the client's:
 *
 *   the next tier                                   the client sees
 *   took it for all recipients                      250
 *   took it, but refused some recipients at RCPT    250; those are committed to our own
 *                                                   queue first and tried from there
 *   refused all recipients                          its 4yz if there is one, else its
 * 5yz refused MAIL, DATA or the message, 4yz or 5yz   the same reply refuses
 * connections, answers 421 or 5yz to      250, when the message is durable in the
 * connection, breaks or is too slow           our own queue broke after the final dot
 * the same: it may have taken the message, so this may be a second copy.  451 would
 * make the copy just as likely and leave a message that kills the next tier with a
 * stranger who sends it for days. our own queue cannot take it                    451
 *
 * A next tier that did not even answer to connecting is not asked again for 30 s: every
 * client would wait as long for the same.
 *
 * A client whose recipients were accepted by us and refused by the next tier cannot be
 * told any more; so what we queue here is marked no_bounce: a later refusal ends in
 * quarantine, never in a bounce to an outside sender.  Recipients with different next
 * hops are queued (handed on one by one, one refusal could not be told). */
#ifndef POSTERN_RELAY_HANDOFF_H
#define POSTERN_RELAY_HANDOFF_H

#include <event2/event.h>

#include "common/base/buf.h"
#include "common/net/resolver.h"
#include "contrib/relay/envelope.h"
#include "contrib/relay/queue_client.h"
#include "contrib/relay/relay_conf.h"
#include "db/map.h"

struct handoff_env { /* of the process; outlives every handoff */
	struct event_base *base;
	const struct relay_conf *conf;
	struct resolver *resolver;
	struct queue_client *queue;
	struct map *mailertable; /* NULL: none */
	char silent[300]; /* a next hop that let us wait; "" none */
	int64_t silent_until_ms;
};

struct handoff_message {
	struct envelope envelope;
	struct buf header; /* our Received line, the fields, the empty line */
	int body_fd;
	uint64_t body_offset, body_len;
};
/* Frees and closes what it holds. */
void handoff_message_clear(struct handoff_message *m);

struct handoff_answer {
	int code;
	char enhanced[12];
	char text[1000];
	const char *how; /* static, for the log: "queued", "passed", "refused", ... */
	char nexthop[300]; /* "" none */
};

struct handoff;
/* Takes what *m holds, and leaves it empty (to be cleared all the same).  done is called
 * exactly once from the loop, never from within. */
struct handoff *handoff_start(struct handoff_env *env, struct handoff_message *m,
    void (*done)(void *arg, const struct handoff_answer *answer), void *arg);
/* The client is gone; done is not called any more.  What the next tier has not taken
 * yet is dropped, what is being committed stays. */
void handoff_abandon(struct handoff *h);

#endif

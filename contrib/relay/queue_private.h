/* SPDX-License-Identifier: BSD-2-Clause */
/* What the two halves of the queue process share: queue_process.c (sockets, commits,
 * health) and queue_work.c (messages in delivery). */
#ifndef POSTERN_RELAY_QUEUE_PRIVATE_H
#define POSTERN_RELAY_QUEUE_PRIVATE_H

#include <event2/event.h>

#include "contrib/relay/bounce.h"
#include "contrib/relay/queue.h"
#include "contrib/relay/queue_link.h"
#include "contrib/relay/queue_pool.h"
#include "contrib/relay/relay_conf.h"
#include "contrib/relay/route.h"
#include "db/map.h"

struct queue_active;
struct queue_work;
TAILQ_HEAD(queue_work_list, queue_work);

/* A process at the other end of a link. */
struct queue_peer {
	TAILQ_ENTRY(queue_peer) next;
	struct queue_server *server;
	struct queue_link *link;
	uint64_t serial; /* never used twice */
	int role; /* QUEUE_ROLE_*, 0: has not said hello */
	size_t room; /* delivery: messages that it takes at once */
	struct queue_work_list works; /* those that it has */
};
TAILQ_HEAD(queue_peer_list, queue_peer);

struct queue_server {
	const struct relay_conf *conf;
	struct event_base *base;
	struct event *listen, *health, *wake, *term;
	struct queue_disk disk;
	struct queue *queue;
	struct queue_limits limits;
	struct queue_pool *pool;
	struct map *mailertable; /* NULL: none */
	struct queue_peer_list peers;
	uint64_t serial;
	bool accepting;
	char why_not[120];
	unsigned io_failures; /* in a row */
	bool probing;
	size_t committing; /* records and tasks in the pool */
	TAILQ_HEAD(queue_active_list, queue_active) active;
	int64_t stop_by_ms; /* 0: not stopping */
};

/* The delivery peer to give a message to; NULL: none has room. */
struct queue_peer *queue_server_delivery(struct queue_server *s);
/* Start what can be started and sleep until the next message is due. */
void queue_server_run(struct queue_server *s);
/* The disk refused or took something: enough refusals in a row end accepting. */
void queue_server_disk_result(struct queue_server *s, bool failed);

#endif

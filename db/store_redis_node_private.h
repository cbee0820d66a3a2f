/* SPDX-License-Identifier: BSD-2-Clause */
/* What the threads of a node (store_redis_node.c) and their round trips
 * (store_redis_batch.c) share. */
#ifndef POSTERN_DB_STORE_REDIS_NODE_PRIVATE_H
#define POSTERN_DB_STORE_REDIS_NODE_PRIVATE_H

#include <pthread.h>

#include "common/base/metrics.h"
#include "db/store_redis_node.h"

#define STORE_BATCH_MAX 64 /* questions of one round trip */

struct store_worker {
	struct store_node *node;
	pthread_t thread;
	struct store_link link; /* the thread's own */
	bool early; /* the thread's own: it tried to connect before it was asked */

	pthread_cond_t wake; /* of node->lock, and so is what follows */
	struct store_request *first, **last;
	size_t n;
};

struct store_node {
	struct store_node_conf conf;
	_Atomic int64_t clock_offset; /* seconds that the server is ahead */

	pthread_mutex_t lock; /* of what follows and of the queues */
	pthread_cond_t tried; /* the first connection was tried */
	struct store_address address;
	bool stop, up, first_try;
	int64_t probe_at; /* monotonic ms */
	int64_t clock_at; /* monotonic ms; the first thread's own */

	size_t n_workers;
	struct store_worker worker[STORE_CONNECTIONS_MAX];
};

/* What a thread has in hand: slots in the order of asking; NULL: answered, or given to
 * another server. */
struct store_batch {
	struct store_request *r[STORE_BATCH_MAX];
	size_t n;
	int64_t until; /* monotonic ms: when the last of them is due */
	bool broken; /* the link broke, the server was not late */
};

extern struct metric store_node_timeouts;

/* Answer what is in the slot and empty it. */
void store_node_settle(
    struct store_node *n, struct store_request **slot, enum store_state state);

/* Ask all that is unanswered, all its steps; what is left in the batch is to be asked
 * here again soon.  A link that ended while nothing was asked (the server was restarted)
 * is made anew.  -1: the server is to be given up; 1: the link had been used before and
 * broke: a fresh one may do better. */
int store_batch_try(
    struct store_worker *w, struct store_batch *b, struct err *err);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* One Redis server with the threads that ask it: queues, deadlines, breaker, clock.  The
 * engine has one of them, or in a cluster one for each master. */
#ifndef POSTERN_DB_STORE_REDIS_NODE_H
#define POSTERN_DB_STORE_REDIS_NODE_H

#include <stdatomic.h>

#include "db/store_private.h"
#include "db/store_redis_link.h"
#include "db/store_redis_slots.h"

struct store_node;

/* What a node asks of whoever has it; all called by the node's threads, without locks of
 * the node.  A member that is NULL: that does not happen here. */
struct store_node_ops {
	/* Where the server is now, in the background, with no mail waiting.  1: try
	 * *out; -1: err; in both cases what follows is asked with turn + 1 if that one
	 * is not it.  0: there are no more. */
	int (*locate)(
	    void *arg, size_t turn, struct store_address *out, struct err *err);
	/* r is for another server: to (borrowed) says why; NULL: its first step is done
	 * and the next one may be elsewhere.  Takes r. */
	void (*elsewhere)(void *arg, struct store_node *node, struct store_request *r,
	    const struct store_redirect *to);
	void (*failed)(void *arg); /* the server was given up */
};

struct store_node_conf {
	struct store_link_conf link; /* its strings outlive the node */
	char *name; /* for the log; copied */
	int64_t deadline_ms; /* of one question */
	size_t connections; /* 1 to STORE_CONNECTIONS_MAX */
	int64_t (*wall_us)(void);
	atomic_size_t *waiting; /* one less for each answer; may be NULL */
	const struct store_node_ops *ops; /* may be NULL */
	void *arg;
};

/* NULL: no threads. */
struct store_node *store_node_open(const struct store_node_conf *conf,
    const struct store_address *address, struct err *err);
/* Until the first connection was made or failed. */
void store_node_wait(struct store_node *n);
/* Answers what was asked; accepts NULL.  Nobody submits any more. */
void store_node_close(struct store_node *n);

/* Takes r, which is answered by its deadline: asked_ms of it and conf->deadline_ms.
 * false: the server is given up, or too much waits for it; r stays the caller's. */
bool store_node_submit(struct store_node *n, struct store_request *r);
const struct store_node_conf *store_node_conf(const struct store_node *n);
bool store_node_up(struct store_node *n);
struct store_address store_node_address(struct store_node *n);
int64_t store_node_clock_offset(const struct store_node *n); /* seconds ahead */

/* For whoever has a request that no node has. */
void store_node_answer(const struct store_node_conf *conf, struct store_request *r,
    enum store_state state);
void store_node_refuse(const struct store_node_conf *conf, struct store_request *r);
int64_t store_node_deadline(
    const struct store_node_conf *conf, const struct store_request *r);

/* The command of r's present step.  digest: see store_command_script. */
void store_node_command(struct store_command *c, const char *prefix, const char *digest,
    const struct store_request *r);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* A Redis Cluster: which of its masters is asked what.  Each master is a node of its own
 * (threads, queues, breaker); a thread of the cluster keeps the map of slots. */
#ifndef POSTERN_DB_STORE_REDIS_CLUSTER_H
#define POSTERN_DB_STORE_REDIS_CLUSTER_H

#include "db/store_redis_node.h"

#define STORE_SEEDS_MAX 16

struct store_cluster;

/* node: how each master is asked; its kind, name, waiting, ops and arg are set here.
 * Returns when the map was read, if a seed told it, and the masters were tried.  NULL: no
 * threads. */
struct store_cluster *store_cluster_open(const struct store_node_conf *node,
    const struct store_address *seeds, size_t n_seeds, struct err *err);
/* Answers what was asked; accepts NULL. */
void store_cluster_close(struct store_cluster *c);
/* Takes r. */
void store_cluster_submit(struct store_cluster *c, struct store_request *r);
/* Of the master that has the first slot, which all hosts agree on. */
int64_t store_cluster_clock_offset(struct store_cluster *c);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* Several Redis servers of the test's own that know of each other: a master and a replica
 * watched by three sentinels, or a cluster of three masters; on ports of 127.0.0.1. */
#ifndef POSTERN_TESTS_REDIS_GROUP_H
#define POSTERN_TESTS_REDIS_GROUP_H

#include "tests/lib/redis_rig.h"

#define RIG_MASTER "postern" /* as the sentinels call it */

struct rig_watched {
	struct rig_server server[2], sentinel[3];
	unsigned port[2], sentinel_port[3];
	char address[3][32]; /* of the sentinels */
	const char *list[3];
};

/* Outside of tests, 0 or -1.  options, sentinel_options: further lines of each. */
int rig_watched_up(
    struct rig_watched *w, const char *options, const char *sentinel_options);
void rig_watched_remove(struct rig_watched *w);
/* Which of the two calls itself a master; -1: none does. */
int rig_watched_master(const struct rig_watched *w);
/* Wait until there is one master, the other its replica, in step, and every sentinel
 * knows that. */
void rig_watched_settle(const struct rig_watched *w);
/* Start a server that was killed; it becomes what the sentinels say. */
void rig_watched_start(struct rig_watched *w, int i, const char *options);
struct store_conf rig_watched_conf(const struct rig_watched *w); /* deadline 100 ms */

struct rig_cluster {
	struct rig_server server[4];
	unsigned port[4];
	char id[4][64], address[4][32];
	const char *list[4];
	int n;
};

/* Three masters that share the slots evenly; n 4: and one that has none yet. */
int rig_cluster_up(struct rig_cluster *c, int n);
void rig_cluster_remove(struct rig_cluster *c);
struct store_conf rig_cluster_conf(const struct rig_cluster *c); /* 100 ms */
void rig_cluster_flush(const struct rig_cluster *c);
/* Make `replica`, which has no slots, a replica of `master`, and wait until it is in step
 * and all know it. */
void rig_cluster_replicate(const struct rig_cluster *c, int replica, int master);
/* Whose slot it is. */
int rig_cluster_owner(const struct rig_cluster *c, unsigned slot);
/* Begin to move a slot: from hands on what it has not; move its keys; and end it. */
void rig_cluster_move_begin(const struct rig_cluster *c, unsigned slot, int from, int to);
void rig_cluster_move_keys(const struct rig_cluster *c, unsigned slot, int from, int to);
void rig_cluster_move_end(const struct rig_cluster *c, unsigned slot, int to);

#endif

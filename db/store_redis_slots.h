/* SPDX-License-Identifier: BSD-2-Clause */
/* Who has what in a Redis Cluster: the slot of a key, the map of slots as a node tells
 * it, and what a node says that has not, or no longer, what it was asked.  Pure; what is
 * read is foreign. */
#ifndef POSTERN_DB_STORE_REDIS_SLOTS_H
#define POSTERN_DB_STORE_REDIS_SLOTS_H

#include <stdbool.h>
#include <stdint.h>

#include <hiredis/hiredis.h>

#include "common/base/err.h"
#include "common/base/str.h"
#include "db/store_address.h"

#define STORE_SLOTS 16384
#define STORE_NODES_MAX 128 /* masters of one cluster */

/* CRC-16 (XMODEM) of the key's first non-empty part in braces, or of all of it. */
unsigned store_slot(struct str key);

struct store_slot_map {
	struct store_address node[STORE_NODES_MAX];
	size_t n;
	uint8_t owner[STORE_SLOTS]; /* one more than its place in node; 0: nobody */
};

/* CLUSTER SLOTS.  from: who said so, for nodes that do not know their own address.  out:
 * whole or unchanged.  -1: err says why. */
int store_slot_map_read(const redisReply *reply, const struct store_address *from,
    struct store_slot_map *out, struct err *err);

enum store_redirect_kind {
	STORE_MOVED, /* for good */
	STORE_ASK, /* this once: the slot is on its way there */
	STORE_TRYAGAIN, /* soon: of several keys some are there already */
	STORE_REDIRECTS,
};

struct store_redirect {
	enum store_redirect_kind kind;
	unsigned slot;
	struct store_address to; /* ip "": the server that said so, at that port */
};

/* false: the error is another one, or damaged. */
bool store_redirect_read(const redisReply *reply, struct store_redirect *out);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* One connection to the Redis server, of one thread: made, greeted, written to and read
 * from without ever blocking past a monotonic deadline.  Replies come in the order of
 * the commands; whoever gives up on one closes the link, so that a late reply is never
 * taken for that of a later question. */
#ifndef POSTERN_DB_STORE_REDIS_LINK_H
#define POSTERN_DB_STORE_REDIS_LINK_H

#include <hiredis/hiredis.h>

#include "common/base/err.h"
#include "db/store_address.h"
#include "db/store_redis_script.h"

struct store_link_conf {
	struct store_address address;
	char *user, *password; /* "": none */
	char *prefix;
	int64_t database;
};

struct store_link {
	redisContext *c; /* NULL: closed */
	redisReplyObjectFunctions fn; /* hiredis' own with a bound on arrays */
	size_t pending; /* replies to come */
	char digest[STORE_SCRIPTS][41]; /* "": the server does not let us load it */
};

/* Connect, authenticate, select, load the scripts, and see that the server takes
 * writes. -1: closed, err says why. */
int store_link_open(struct store_link *l, const struct store_link_conf *conf,
    int64_t deadline_ms, struct err *err);
void store_link_close(struct store_link *l); /* a closed one, too */

/* Whether an idle link has ended or says what nobody asked. */
bool store_link_stale(const struct store_link *l);

/* Queue a command; its octets are copied.  -1: no memory, or broken. */
int store_link_send(struct store_link *l, const struct store_command *c);

/* Write what is queued and wait for the next reply, which the caller frees.  1: *reply;
 * 0: the deadline has come, the reply is still awaited; -1: broken, err says why. */
int store_link_next(
    struct store_link *l, int64_t deadline_ms, redisReply **reply, struct err *err);

/* By how much the server's wall clock is ahead of wall_us(), judged at the middle of
 * one round trip.  Nothing else may be awaited on the link.  1: *ahead_us; 0: the server
 * does not tell; -1: no answer in time, or broken. */
int store_link_clock(struct store_link *l, int64_t (*wall_us)(void),
    int64_t deadline_ms, int64_t *ahead_us, struct err *err);

#endif

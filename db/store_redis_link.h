/* SPDX-License-Identifier: BSD-2-Clause */
/* One connection to a Redis server or sentinel, of one thread: made, greeted, written to and read
 * from without ever blocking past a monotonic deadline.  Replies come in the order of
 * the commands; whoever gives up on one closes the link, so that a late reply is never
 * taken for that of a later question. */
#ifndef POSTERN_DB_STORE_REDIS_LINK_H
#define POSTERN_DB_STORE_REDIS_LINK_H

#include <hiredis/hiredis.h>

#include "common/base/err.h"
#include "db/store_address.h"
#include "db/store_redis_reply.h"
#include "db/store_redis_script.h"

/* Whom the other side must be. */
enum store_link_kind {
	STORE_LINK_SERVER, /* who takes writes */
	STORE_LINK_MASTER, /* and says that it is a master: Sentinel named it */
	STORE_LINK_NODE, /* a master of a cluster, whichever keys it has */
	STORE_LINK_GUIDE, /* whoever knows where others are: a sentinel, any node */
};

struct store_link_conf {
	enum store_link_kind kind;
	const char *user, *password; /* "": none */
	const char *prefix;
	int64_t database; /* SERVER, MASTER */
};

struct store_link {
	redisContext *c; /* NULL: closed */
	struct store_reply_room room; /* bounds what the reader makes */
	size_t pending; /* replies to come */
	char digest[STORE_SCRIPTS][41]; /* "": the server does not let us load it */
};

/* Connect, authenticate, select, load the scripts (none into a GUIDE), and see that the
 * other side is the one.  -1: closed, err says why. */
int store_link_open(struct store_link *l, const struct store_link_conf *conf,
    const struct store_address *to, int64_t deadline_ms, struct err *err);
void store_link_close(struct store_link *l); /* a closed one, too */

/* Whether an idle link has ended or says what nobody asked. */
bool store_link_stale(const struct store_link *l);

/* Queue a command; its octets are copied.  -1: no memory, or broken. */
int store_link_send(struct store_link *l, const struct store_command *c);

/* Write what is queued and wait for the next reply, which the caller frees.  1: *reply;
 * 0: the deadline has come, the reply is still awaited; -1: broken, err says why. */
int store_link_next(
    struct store_link *l, int64_t deadline_ms, redisReply **reply, struct err *err);

/* One question and its reply on a link on which nothing else is awaited.  NULL: err says
 * why, the link is closed. */
redisReply *store_link_ask(struct store_link *l, const struct store_command *c,
    int64_t deadline_ms, struct err *err);

/* By how much the server's wall clock is ahead of wall_us(), judged at the middle of
 * one round trip.  1: *ahead_us; 0: the server does not tell; -1: as store_link_ask. */
int store_link_clock(struct store_link *l, int64_t (*wall_us)(void),
    int64_t deadline_ms, int64_t *ahead_us, struct err *err);

#endif

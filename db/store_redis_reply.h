/* SPDX-License-Identifier: BSD-2-Clause */
/* What a Redis server answered, read as foreign: types, lengths and ranges are checked,
 * and what is not as our scripts write it is no answer.  Pure. */
#ifndef POSTERN_DB_STORE_REDIS_REPLY_H
#define POSTERN_DB_STORE_REDIS_REPLY_H

#include <hiredis/hiredis.h>

#include "db/store_address.h"
#include "db/store_private.h"

/* Bounds on what a reader makes of the server's word: an array's count takes memory at
 * once.  room: as long as the reader lives; max: elements of one array, and 8 times that
 * of one reply's arrays together. */
#define STORE_REPLY_ELEMENTS_MAX 4096 /* a step of a walk */
#define STORE_REPLY_MAP_MAX 16384 /* slots of a cluster, each a range of its own */
struct store_reply_room {
	redisReplyObjectFunctions fn, *own;
	size_t max, left;
};
void store_reply_bound(redisReader *reader, struct store_reply_room *room, size_t max);

enum store_reply {
	STORE_REPLY_OK,
	STORE_REPLY_FULL, /* -OOM: no room */
	STORE_REPLY_REFUSED, /* this command: -MISCONF, -NOREPLICAS, -NOPERM */
	STORE_REPLY_AWAY, /* this server: -READONLY, -LOADING, -NOAUTH, -BUSY, ... */
	STORE_REPLY_NOSCRIPT, /* the whole text is wanted */
	STORE_REPLY_BAD, /* anything else */
	STORE_REPLIES,
};
const char *store_reply_name(enum store_reply reply);

/* The class of an error reply; OK when it is none. */
enum store_reply store_reply_class(const redisReply *reply);

/* Read into out, which is changed only when the return is OK.  *bad_values: values
 * under our keys that the script could not read and took for absent. */
enum store_reply store_reply_greylist(
    const redisReply *reply, struct greylist_seen *out, uint64_t *bad_values);
enum store_reply store_reply_event(
    const redisReply *reply, struct event_answer *out, uint64_t *bad_values);
enum store_reply store_reply_rate(
    const redisReply *reply, struct rate_answer *out, uint64_t *bad_values);
enum store_reply store_reply_note(
    const redisReply *reply, struct note_answer *out, uint64_t *bad_values);
enum store_reply store_reply_hold(
    const redisReply *reply, struct hold_answer *out, uint64_t *bad_values);
enum store_reply store_reply_map(
    const redisReply *reply, struct map_answer *out, uint64_t *bad_values);
/* HGET; GETRANGE of the version; HSCAN and LRANGE at `from`: rows as of store_private.h
 * are added. */
enum store_reply store_reply_value(
    const redisReply *reply, struct map_value *out, struct buf *value);
enum store_reply store_reply_version(const redisReply *reply, struct map_answer *out);
enum store_reply store_reply_map_read(
    const redisReply *reply, struct store_chunk *out, struct buf *rows);
enum store_reply store_reply_map_log(const redisReply *reply, uint64_t from,
    struct store_chunk *out, struct buf *rows);
enum store_reply store_reply_gone(
    const redisReply *reply, struct delete_answer *out, uint64_t *bad_values);
/* INFO; entries: of this database. */
enum store_reply store_reply_stats(
    const redisReply *reply, int64_t database, struct store_stats *out);
/* TIME: microseconds since the epoch, between 1970 and 9999. */
enum store_reply store_reply_time(const redisReply *reply, int64_t *us);
/* The answer to r, by what it asks; only r->answer is changed. */
enum store_reply store_reply_answer(const redisReply *reply, const char *prefix,
    int64_t database, struct store_request *r, uint64_t *bad_values);
/* ROLE */
bool store_reply_is_master(const redisReply *reply);
/* SENTINEL GET-MASTER-ADDR-BY-NAME.  0; -1: err says why. */
int store_reply_master_address(
    const redisReply *reply, struct store_address *out, struct err *err);
/* SCRIPT LOAD: 40 hex digits. */
enum store_reply store_reply_digest(const redisReply *reply, char digest[41]);

#endif

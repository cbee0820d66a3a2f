/* SPDX-License-Identifier: BSD-2-Clause */
/* What a Redis server answered, read as foreign: types, lengths and ranges are checked,
 * and what is not as our scripts write it is no answer.  Pure. */
#ifndef POSTERN_DB_STORE_REDIS_REPLY_H
#define POSTERN_DB_STORE_REDIS_REPLY_H

#include <hiredis/hiredis.h>

#include "db/store_private.h"

/* No array of more elements than a step of a walk answers with is made by this reader:
 * its count is the server's word, and memory would be taken for it at once.  room: as long
 * as the reader lives. */
#define STORE_REPLY_ELEMENTS_MAX 4096
void store_reply_bound(redisReader *reader, redisReplyObjectFunctions *room);

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
/* INFO; entries: of this database. */
enum store_reply store_reply_stats(
    const redisReply *reply, int64_t database, struct store_stats *out);
/* TIME: microseconds since the epoch, between 1970 and 9999. */
enum store_reply store_reply_time(const redisReply *reply, int64_t *us);
/* The answer to r, by what it asks; only r->answer is changed. */
enum store_reply store_reply_answer(const redisReply *reply, int64_t database,
    struct store_request *r, uint64_t *bad_values);
/* SCRIPT LOAD: 40 hex digits. */
enum store_reply store_reply_digest(const redisReply *reply, char digest[41]);

#endif

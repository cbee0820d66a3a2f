/* SPDX-License-Identifier: BSD-2-Clause */
/* Between the front (store.c) and the engines: what is asked, and what an engine must
 * offer.  A new engine is one more `struct store_engine` in store.c's table. */
#ifndef POSTERN_DB_STORE_PRIVATE_H
#define POSTERN_DB_STORE_PRIVATE_H

#include "common/base/buf.h"
#include "db/store.h"
#include "db/store_privacy.h"
#include "db/store_step.h"

enum store_op {
	STORE_GREYLIST,
	STORE_EVENT_ASK,
	STORE_RATE,
	STORE_STATS,
	STORE_NOTE,
	STORE_HOLD,
	STORE_MAP_SET,
	STORE_MAP_GET,
	STORE_MAP_VERSION,
	STORE_MAP_READ, /* some entries, and where to go on */
	STORE_MAP_LOG,
	STORE_SCAN, /* some entries, and where to go on */
	STORE_PUT,
	STORE_DELETE,
};

#define STORE_CURSOR_KEY 17

/* Where a walk in steps goes on; zero: at its start. */
struct store_cursor {
	uint64_t number; /* of the engine */
	uint32_t node; /* redis: of a cluster's */
	uint8_t key[STORE_CURSOR_KEY]; /* embedded: of the last record */
};

/* Some rows of a walk.  Of a map: key, value; of its log: a change each.  Of entries:
 * client, name, "cut" or "", and the record without a name.  Every part behind its length in four
 * octets. */
struct store_chunk {
	enum store_state state;
	bool more;
	struct store_cursor next;
	int64_t version; /* of the map */
	struct str rows;
};
#define STORE_CHUNK_ROWS 100 /* at most, about */
#define STORE_ROWS_MAX (4u << 20) /* octets of a chunk */

/* What is answered; the parts that are text lie behind it in the same memory. */
union store_answer {
	enum store_state state; /* the first member of each */
	struct greylist_answer greylist;
	struct event_answer event;
	struct rate_answer bucket;
	struct note_answer note;
	struct hold_answer hold;
	struct map_answer map;
	struct map_value value;
	struct delete_answer gone;
	struct store_chunk chunk;
	struct store_stats stats;
};

/* One question, with room for its answer.  The engine owns it from submit on and gives
 * it back exactly once by store_request_done(). */
struct store_request {
	struct store_request *next; /* the engine's queue */
	/* redis, the engine's own: */
	bool voiding; /* the events that void a triple are asked for first */
	int64_t voided; /* what that was: wall seconds; 0: none */
	bool asking; /* a slot that is on its way to another node */
	uint8_t hops; /* how often another node was named; of stats: nodes asked */
	int64_t asked_ms; /* monotonic */
	struct future *future;
	enum store_op op;
	int64_t now; /* wall seconds, the caller's */
	char *text; /* owns what the parts below point to */
	struct str key; /* triple, "kind|network" of an event, "kind|name" of a note,
			   name of a bucket, a hold or a map */
	struct str client; /* of a triple */
	struct str
	    void_by[2]; /* of a triple: keys of the events that void; len 0: none */
	struct greylist_times times;
	int64_t weight; /* of an event; 0: only read */
	int64_t keep; /* of an event, a note, a hold */
	bool put; /* a note, or a holder in its place; else read, or drop */
	struct str note; /* its text */
	struct str holder;
	int64_t limit; /* of places */
	struct str member; /* key in a map; of a walk of it: the one before, or none */
	struct str change; /* of a map: as in its log */
	unsigned kinds; /* of a walk through entries: enum store_kind */
	struct record record; /* to be put, or (delete) its kind; name: key */
	struct str value; /* of a map; p NULL: remove */
	struct store_cursor cursor;
	struct rate_args rate;
	union store_answer answer;
	struct buf octets; /* of the answer: map value, rows of a chunk */
};

struct store_engine {
	const char *name;
	void *(*open)(const struct store_conf *conf, struct err *err);
	void (*close)(void *engine);
	/* Takes r. */
	void (*submit)(void *engine, struct store_request *r);
	/* Seconds to add to this host's clock; NULL: none. */
	int64_t (*clock_offset)(void *engine);
};

/* Whether it changes nothing. */
bool store_request_reads(const struct store_request *r);

/* For the front: a request with room for `room` octets of text; text is copied there
 * one part behind the other. */
struct store_request *store_request_new(enum store_op op, int64_t now, size_t room);
struct str store_request_text(struct store_request *r, size_t *used, struct str s);
/* Take r; the future is the caller's.  _refuse: what was asked is an error. */
struct future *store_submit(struct store *s, struct store_request *r);
struct future *store_refuse(struct store_request *r);

const struct store_privacy *store_privacy_of(const struct store *s);

/* "kind|network"; returns its length.  And back. */
#define STORE_EVENT_KEY_MAX (IP_TEXT_MAX + 4 + 16)
size_t store_event_key(const struct ipnet *network, enum event_kind kind,
    char out[STORE_EVENT_KEY_MAX]);
bool store_event_name(struct str key, struct ipnet *network, enum event_kind *kind);

/* An entry's row of a walk.  client, name: as in struct store_entry ("kind|network" of
 * an event); r->name_len: of the whole name.  -1: no room. */
int store_row_add(
    struct buf *rows, struct str client, struct str name, const struct record *r);

/* Ask one step of a walk until the store answers, for a while: ask(arg) makes the
 * request anew.  The future holds a chunk (or map_answer) that is STORE_OK; NULL: err. */
struct future *store_walk_wait(struct store *s, struct store_request *(*ask)(void *arg),
    void *arg, struct err *err);

/* Settle the future with the answer, or with nothing but `state` when that is not
 * STORE_OK, and free r. */
void store_request_done(struct store_request *r, enum store_state state);

extern const struct store_engine store_embedded;

/* For tests: the embedded engine as if the host had booted with this id.  NULL: its
 * own. */
struct store *store_open_booted(
    const struct store_conf *conf, const char *boot_id, struct err *err);

#endif

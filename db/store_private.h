/* SPDX-License-Identifier: BSD-2-Clause */
/* Between the front (store.c) and the engines: what is asked, and what an engine must
 * offer.  A new engine is one more `struct store_engine` in store.c's table. */
#ifndef POSTERN_DB_STORE_PRIVATE_H
#define POSTERN_DB_STORE_PRIVATE_H

#include "db/store.h"
#include "db/store_step.h"

enum store_op {
	STORE_GREYLIST,
	STORE_EVENT,
	STORE_RATE,
	STORE_STATS,
	STORE_NOTE,
	STORE_HOLD,
};

/* One question, with room for its answer.  The engine owns it from submit on and gives
 * it back exactly once by store_request_done(). */
struct store_request {
	struct store_request *next; /* the engine's queue */
	int64_t asked_ms; /* monotonic */
	struct future *future;
	enum store_op op;
	int64_t now; /* wall seconds, the caller's */
	char *text; /* owns what the parts below point to */
	struct str key; /* triple, "kind|network" of an event, "kind|name" of a note,
			   name of a bucket or a hold */
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
	struct rate_args rate;
	union {
		enum store_state state; /* the first member of each */
		struct greylist_answer greylist;
		struct event_answer event;
		struct rate_answer bucket;
		struct note_answer note;
		struct hold_answer hold;
		struct store_stats stats;
	} answer;
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

/* Settle the future with the answer, or with nothing but `state` when that is not
 * STORE_OK, and free r. */
void store_request_done(struct store_request *r, enum store_state state);

extern const struct store_engine store_embedded;

/* For tests: the embedded engine as if the host had booted with this id.  NULL: its
 * own. */
struct store *store_open_booted(
    const struct store_conf *conf, const char *boot_id, struct err *err);

#endif

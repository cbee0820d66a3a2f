/* SPDX-License-Identifier: BSD-2-Clause */
/* The shared memory of the daemons, by meaning, not by key.  Every operation is atomic,
 * carries `now` (wall seconds) as an argument, and answers through a future with
 * `enum store_state` inside, so that callers wait with their own deadline.  Both
 * engines pass tests/unit/test_store.c.  It holds only what can be made again: no mail.
 */
#ifndef POSTERN_DB_STORE_H
#define POSTERN_DB_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/base/future.h"
#include "common/base/ip.h"
#include "common/base/str.h"
#include "db/greylist_state.h"

enum store_state {
	STORE_OK,
	STORE_DOWN, /* no answer in time, no connection, or the engine refused */
	STORE_FULL, /* no room: nothing was recorded */
};

#define STORE_NAME_MAX 2048 /* octets of a key, a client or a bucket's name */
#define STORE_SIZE_MIN (8u << 20) /* embedded: bytes */

struct store;

struct store_conf {
	const char *engine; /* "embedded", "redis" */
	const char *path; /* embedded: directory, made when missing */
	uint64_t
	    size_max; /* embedded: bytes of the file; what expires first makes room */
	int64_t sync_ms; /* embedded: how much of the last writing a power cut may cost;
			    0: none, every answer waits for the disk */
	int64_t snapshot_s; /* embedded: seconds between snapshots; 0: none */
	/* redis: see db/store_address.h; NULL counts as "" */
	const char *address; /* "unix:/path", "192.0.2.1:6379" */
	const char *user, *password_file; /* "": none; the file's first line is it */
	const char *prefix; /* of all keys */
	int64_t database, connections;
	int64_t deadline_ms; /* of one question, from asking to the answer */
	/* Privacy mode: a file whose first line is 32 hexadecimal digits, the same on all
	 * hosts; NULL, "": off.  Names of clients, triples, notes, holds and buckets are
	 * then kept as keyed hashes (db/store_privacy.h), and so are they in entries.
	 * Networks of events, texts of notes and shared maps are not. */
	const char *secret_file;
	/* Instead of an address: sentinels that know where the master of that name is,
	 * or some nodes of a cluster. */
	const char *const *sentinels, *const *cluster;
	size_t n_sentinels, n_cluster;
	const char *master;
	const char *sentinel_user, *sentinel_password_file;
	/* Microseconds since the epoch; NULL: this host's clock.  Tests have others. */
	int64_t (*wall_us)(void);
};

/* Open after the worker's fork; several processes of a host may have the same path
 * open, one process only once.  A Redis server that is away is no error: its store
 * answers STORE_DOWN until it is there.  NULL: err says why. */
struct store *store_open(const struct store_conf *conf, struct err *err);
/* Answers what was asked, then closes; accepts NULL. */
void store_close(struct store *s);

/* Wall seconds that all hosts of a store agree on, for every `now` below.  redis: this
 * host's clock and by how much the server's differs, as last measured, when that is
 * over a second; embedded: this host's clock.  Never waits. */
int64_t store_now(struct store *s);

/* One try of a triple: moves its state by db/greylist_state.h and reports what was
 * known *before* the try.  key: octets that identify the triple (client identity,
 * sender, recipient), client: the client identity alone (auto-whitelisting); the first
 * 600 octets of each are kept readable.  network: where the client is; virus and trap
 * events about it void what was confirmed before them; NULL: none are looked for.
 * Value: struct greylist_answer. */
struct greylist_answer {
	enum store_state state;
	struct greylist_seen seen;
};
struct future *store_greylist_check(struct store *s, const struct ipnet *network,
    struct str client, struct str key, const struct greylist_times *times, int64_t now);

/* Events between the daemons, by network (/24 or /64).  The weights of one kind add up
 * until keep seconds passed without a further event. */
enum event_kind {
	EVENT_VIRUS,
	EVENT_TRAP,
	EVENT_SPAM,
	EVENT_FLOOD,
	EVENT_HARVEST,
	EVENT_EARLY, /* talked before the greeting */
	EVENT_KINDS,
};
const char *event_kind_name(enum event_kind kind);
/* Value: struct event_answer: the sum of weights after adding. */
struct event_answer {
	enum store_state state;
	int64_t weight;
	int64_t last; /* wall seconds of the newest event; 0: none */
};
struct future *store_event_add(struct store *s, const struct ipnet *network,
    enum event_kind kind, int64_t weight, int64_t keep, int64_t now);
/* The same without adding. */
struct future *store_event_get(
    struct store *s, const struct ipnet *network, enum event_kind kind, int64_t now);

/* Leaky bucket: add n to `name`; it leaks `rate` units per `per` seconds, and refuses
 * when over `burst` (then nothing is added).  Value: struct rate_answer. */
struct rate_answer {
	enum store_state state;
	bool allowed;
	int64_t level; /* units in the bucket after the call, rounded up */
	int64_t wait; /* seconds until n would fit; 0 when allowed; -1: never */
};
struct future *store_rate_add(struct store *s, struct str name, int64_t n,
    int64_t burst, int64_t rate, int64_t per, int64_t now);

/* Notes: small facts with a life.  A name has one note of each kind. */
enum note_kind {
	NOTE_CORRESPONDENT, /* whom our users wrote to */
	NOTE_RECIPIENT, /* what a next server said of a recipient */
	NOTE_LIST, /* what a list said, for whoever cannot ask it */
	NOTE_KINDS,
};
const char *note_kind_name(enum note_kind kind);
#define STORE_NOTE_MAX 200 /* octets of a note; a longer one is the caller's error */
struct note_answer {
	enum store_state state;
	bool found; /* put: there was one, which was replaced */
	int64_t since; /* wall seconds: when this text was put first, without a gap */
	size_t len;
	char text[STORE_NOTE_MAX]; /* any octets, no NUL behind */
};
/* Put it for keep seconds from now; what stood there is replaced.  The answer's text is
 * what is there now. */
struct future *store_note_put(struct store *s, enum note_kind kind, struct str name,
    struct str text, int64_t keep, int64_t now);
struct future *store_note_get(
    struct store *s, enum note_kind kind, struct str name, int64_t now);

/* Concurrency that heals: a name has a number of places, and each holder has one of
 * them until now+keep, unless it takes it again, which renews it.  Whoever dies leaves
 * its place by itself. */
#define STORE_HOLD_MAX 1000 /* places of a name; a larger limit counts as that */
struct hold_answer {
	enum store_state state;
	bool allowed; /* take: has a place now; drop: had one */
	int64_t held; /* places taken after the call */
};
/* limit: places of the name.  A holder that has one keeps it even when there are fewer
 * now. */
struct future *store_hold_take(struct store *s, struct str name, struct str holder,
    int64_t limit, int64_t keep, int64_t now);
struct future *store_hold_drop(
    struct store *s, struct str name, struct str holder, int64_t now);

/* Maps that all hosts share: what an administrator enters (access entries, known
 * recipients).  They have no end and are never forgotten to make room; what is entered
 * is answered for when it is on disk (embedded) or at the server (redis).  A map that
 * nobody wrote to is empty.  A name that is none, or a key, value or `who` that is too
 * long, is the caller's error.  Each change has a version; which change comes later
 * shows by a larger one, but a server that lost its last writes may show an older one
 * again: compare for difference. */
#define STORE_MAP_NAME_MAX 64 /* of letters, digits, '-', '_' and '.' */
#define STORE_MAP_KEY_MAX 400 /* octets, any; at least one */
#define STORE_MAP_VALUE_MAX 1000 /* octets, any */
#define STORE_MAP_WHO_MAX 100 /* octets, any: who entered it */
#define STORE_MAP_LOG_MAX 1000 /* changes that are kept */
bool store_map_name_good(struct str map);
struct map_answer {
	enum store_state state;
	bool found; /* set: the key had a value before */
	int64_t version; /* after the call; 0: of a map that nobody wrote to */
};
/* value.p NULL: remove the key.  What changes nothing makes no version. */
struct future *store_map_set(struct store *s, struct str map, struct str key,
    struct str value, struct str who, int64_t now);
struct future *store_map_version(struct store *s, struct str map);
/* One key, for maps that are too large to hold in memory. */
struct map_value {
	enum store_state state;
	bool found;
	struct str value; /* lives as long as the future */
};
struct future *store_map_get(struct store *s, struct str map, struct str key);

/* Blocking, for tools and for reading a map anew; not inside a milter callback.  What is
 * borrowed is so for the call of each(), which returns false to stop.  -1: err.
 * All entries, in no order.  Not a snapshot: what is changed meanwhile may be missing,
 * old, or come twice; *version is from before. */
int store_map_read(struct store *s, struct str map, int64_t *version,
    bool (*each)(void *arg, struct str key, struct str value), void *arg,
    struct err *err);
/* The last n changes, newest first. */
struct map_change {
	int64_t when; /* wall seconds */
	struct str who, key, value; /* value: what was entered */
	bool removed;
};
int store_map_log(struct store *s, struct str map, size_t n,
    bool (*each)(void *arg, const struct map_change *change), void *arg,
    struct err *err);

/* What is kept of greylisting, as people see it: for tools that list, change, write out
 * and read in. */
enum store_kind { STORE_TRIPLE = 1, STORE_CLIENT = 2, STORE_EVENT = 4 }; /* bits */
struct store_entry {
	enum store_kind kind;
	/* A triple: the first part of its key, where that is of parts behind their
	 * lengths in two octets each.  A client: who it is. */
	struct str client;
	struct str key; /* of a triple */
	bool cut; /* the key or the client is longer: these are its first octets */
	struct ipnet network; /* of an event */
	enum event_kind event;
	union {
		struct greylist_triple triple;
		struct greylist_client person;
		struct {
			int64_t weight, last, keep;
		} sum; /* of an event */
	};
	int64_t expires; /* wall seconds; redis: to about a second */
};
/* Blocking, for tools: calls each() for every entry of these kinds that has not expired,
 * in no order; not a snapshot: what is written meanwhile may be missed or come twice.
 * The entry is borrowed for the call; each() returns false to stop.  -1: err. */
int store_scan(struct store *s, unsigned kinds, int64_t now,
    bool (*each)(void *arg, const struct store_entry *e), void *arg, struct err *err);
/* Names of an entry that is put or deleted may be clear or, in privacy mode, as a walk
 * gave them.
 * Put the entry as it is; what there is under its name is replaced.  One that is cut is
 * the caller's error.  A triple goes under e->client, whatever its key says.  An event's
 * expires is not looked at: it is last+keep.  Value: enum store_state. */
struct future *store_entry_put(
    struct store *s, const struct store_entry *e, int64_t now);
/* By kind and name alone. */
struct delete_answer {
	enum store_state state;
	bool found; /* perhaps one that had expired */
};
struct future *store_entry_delete(struct store *s, const struct store_entry *e);
/* A part of a key, or a client, as entries have it: in privacy mode its hash, else name
 * itself. */
#define STORE_HIDDEN_NAME 23
bool store_hides(const struct store *s);
struct str store_entry_name(
    const struct store *s, struct str name, char out[STORE_HIDDEN_NAME]);

/* Entries and octets in use, for status.  redis: of the server; size_max 0: no limit. */
struct store_stats {
	uint64_t entries, bytes, size_max;
	char note[120]; /* how it was opened: "recovered from snapshot", ... */
};
int store_stats(struct store *s, struct store_stats *out, struct err *err);

#endif

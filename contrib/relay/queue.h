/* SPDX-License-Identifier: BSD-2-Clause */
/* The queue as pure state: which message is looked at next, which of its parts may be
 * delivered now, when it is tried again, when it is given up.  No file, no socket, no
 * clock: times are parameters, monotonic milliseconds for waiting, wall seconds for
 * age. */
#ifndef POSTERN_RELAY_QUEUE_H
#define POSTERN_RELAY_QUEUE_H

#include "contrib/relay/queue_disk.h"

struct queue_limits {
	int64_t retry_min, retry_max, lifetime; /* seconds */
	size_t active_max; /* messages in memory with their envelopes */
	size_t per_host; /* jobs to one next hop at once */
};

struct queue_entry {
	char id[MESSAGE_ID_MAX];
	enum queue_dir dir;
	int64_t received; /* wall seconds */
	uint32_t tries;
	void *data; /* the caller's, while active */
	/* The queue's: */
	int64_t due_ms;
	size_t heap_at;
	int state;
	TAILQ_ENTRY(queue_entry) next;
};

struct queue;
struct queue *queue_new(const struct queue_limits *limits);
void queue_free(struct queue *q); /* not the entries' data */

/* A message that waits: fresh ones in the order of their coming, others until due_ms.
 * NULL: the id is known. */
struct queue_entry *queue_add(
    struct queue *q, const char *id, enum queue_dir dir, bool fresh, int64_t due_ms);
struct queue_entry *queue_find(const struct queue *q, const char *id);
void queue_remove(struct queue *q, struct queue_entry *e);

/* The next message to become active: fresh and due ones in turn, so that neither a
 * backlog delays new mail nor new mail starves the old.  NULL: none, or too many are.
 */
struct queue_entry *queue_pick(struct queue *q, int64_t now_ms);
/* An active message waits again. */
void queue_defer(struct queue *q, struct queue_entry *e, int64_t due_ms);
/* Milliseconds until a message becomes due; 0 now; -1 none waits or none may. */
int64_t queue_next_due(const struct queue *q, int64_t now_ms);

struct queue_count {
	size_t fresh, waiting, active, jobs, running;
};
struct queue_count queue_count(const struct queue *q);

/* A part of an active message: its recipients with one next hop. */
struct queue_dest;
struct queue_job {
	uint32_t number; /* unique while the queue lives, never 0 */
	struct queue_entry *entry;
	void *data; /* the caller's */
	struct queue_dest *dest;
	bool running;
	TAILQ_ENTRY(queue_job) next;
};
struct queue_job *queue_job_add(
    struct queue *q, struct queue_entry *e, struct str next_hop, void *data);
/* The next job that may run; next hops take turns.  *dead: its next hop could not be
 * reached a moment ago, so it is not to be tried but to end as unreachable.  Either way
 * it counts as running until queue_job_done().  NULL: none. */
struct queue_job *queue_job_next(struct queue *q, int64_t now_ms, bool *dead);
struct queue_job *queue_job_find(const struct queue *q, uint32_t number);
/* It ended; frees it.  unreachable: no address of the next hop took a connection; for a
 * while others to it are not tried. */
void queue_job_done(
    struct queue *q, struct queue_job *j, bool unreachable, int64_t now_ms);
/* Nobody knows how it ended: it waits again, before others. */
void queue_job_again(struct queue *q, struct queue_job *j);

/* Seconds until the next try after `tries` have failed: doubled each time, from
 * retry_min to retry_max. */
int64_t queue_backoff(const struct queue_limits *l, uint32_t tries);
/* Give up?  Age alone does not do: a wall clock that jumps ahead must not return mail
 * that was never tried in earnest. */
bool queue_expired(
    const struct queue_limits *l, int64_t received, int64_t now, uint32_t tries);
/* From a stored wall time to one in the process: never further away than retry_max. */
int64_t queue_due_ms(
    const struct queue_limits *l, int64_t next_try, int64_t now, int64_t now_ms);

#endif

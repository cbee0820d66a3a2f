/* SPDX-License-Identifier: BSD-2-Clause */
/* Threads that wait for the disk, so that the queue's loop never does.  Commits are
 * taken in batches: what arrived while the last batch was syncing shares one fsync of
 * the directory; a lone record waits for nobody. */
#ifndef POSTERN_RELAY_QUEUE_POOL_H
#define POSTERN_RELAY_QUEUE_POOL_H

#include <event2/event.h>

#include "contrib/relay/queue_disk.h"

/* Any other work that blocks; embedded in what it works on. */
struct queue_task {
	STAILQ_ENTRY(queue_task) next;
	void (*run)(struct queue_task *t); /* in a thread */
	void (*done)(struct queue_task *t); /* in the loop */
};

struct queue_pool;
/* committed: called from the loop with each commit handed in. */
struct queue_pool *queue_pool_new(struct event_base *base, struct queue_disk *disk,
    unsigned threads, void (*committed)(void *arg, struct queue_commit *c), void *arg);
/* Ends the threads after what they are doing; the rest is dropped. */
void queue_pool_free(struct queue_pool *p);

void queue_pool_commit(struct queue_pool *p, struct queue_commit *c);
void queue_pool_run(struct queue_pool *p, struct queue_task *t);

#endif

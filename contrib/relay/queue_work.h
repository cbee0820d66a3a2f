/* SPDX-License-Identifier: BSD-2-Clause */
/* Messages in delivery, as the queue process sees them: from the moment one is due to
 * the moment its file is gone, deferred, bounced or in quarantine.  All in the loop's
 * thread but what the pool does for it. */
#ifndef POSTERN_RELAY_QUEUE_WORK_H
#define POSTERN_RELAY_QUEUE_WORK_H

#include "contrib/relay/queue_private.h"

/* Start what can be started: messages due, jobs with room. */
void queue_work_run(struct queue_server *s);
/* A message that has just become durable. */
void queue_work_add(struct queue_server *s, const char *id);
/* What a delivery process says.  -1: nonsense, drop it. */
int queue_work_outcome(
    struct queue_server *s, struct queue_peer *peer, const struct queue_packet *p);
int queue_work_done(
    struct queue_server *s, struct queue_peer *peer, const struct queue_packet *p);
/* It is gone: its messages are tried again. */
void queue_work_lost(struct queue_server *s, struct queue_peer *peer);
/* Monotonic milliseconds until queue_work_run() has something to do; -1 never. */
int64_t queue_work_due(struct queue_server *s);

/* At the end of the process: forget all messages in memory. */
void queue_work_clear(struct queue_server *s);

#endif

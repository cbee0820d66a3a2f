/* SPDX-License-Identifier: BSD-2-Clause */
/* A listener's end of the link to the queue process: hands over finished records and is
 * told when they are durable.  Reconnects by itself when the queue process was
 * restarted; what was under way then is answered as failed (the client keeps its mail).
 */
#ifndef POSTERN_RELAY_QUEUE_CLIENT_H
#define POSTERN_RELAY_QUEUE_CLIENT_H

#include <event2/event.h>
#include <stdbool.h>

#include "common/base/err.h"

struct queue_client;

/* address: of the queue process's listening socket, as queue_socket() made it. */
struct queue_client *queue_client_new(struct event_base *base, const char *address);
void queue_client_free(struct queue_client *c);

/* Hand over a memfd with a whole record (record.h); fd is taken.  done is called
 * exactly once from the loop: durable true = on disk, 250 may be said; false: text says
 * why, in words fit for a 4xx reply.  deadline: 60 s, then false (the message may still
 * have become durable: the allowed direction is a duplicate). */
void queue_client_submit(struct queue_client *c, const char *id, int record_fd,
    void (*done)(void *arg, bool durable, const char *text), void *arg);

/* How much the queue process says it can take: false = answer 452 at MAIL (disk nearly
 * full, too many I/O errors); text for the reply. */
bool queue_client_accepting(const struct queue_client *c, const char **text);

#endif

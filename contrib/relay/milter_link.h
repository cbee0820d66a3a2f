/* SPDX-License-Identifier: BSD-2-Clause */
/* The socket to one filter: non-blocking connect, whole packets in, octets out, one
 * timer. Knows no stage and no state of the protocol.  After `broken` was called, and
 * after milter_link_close(), the link is closed and can be opened anew. */
#ifndef POSTERN_RELAY_MILTER_LINK_H
#define POSTERN_RELAY_MILTER_LINK_H

#include <event2/event.h>
#include <sys/socket.h>

#include "common/base/err.h"
#include "common/mail/milter_wire.h"

#define MILTER_BACKLOG_HIGH                                                            \
	(256u * 1024) /* octets not yet sent, beyond which to wait */

/* "unix:/path", "local:/path", "/path", "inet:port@host", "inet6:port@host"; host: an
 * address, with or without [], or "localhost" (names would have to be looked up). */
int milter_address(
    struct str text, struct sockaddr_storage *sa, socklen_t *len, struct err *err);

/* All are called from the loop, never from within a function of this module. */
struct milter_link_calls {
	void (*open)(void *arg);
	void (*packet)(void *arg, const struct milter_packet *packet);
	void (*drained)(void *arg); /* the backlog has become empty */
	void (*timeout)(void *arg); /* the link stays open */
	void (*broken)(void *arg, const char *why);
};

struct milter_link;

/* calls is borrowed for the link's life. */
struct milter_link *milter_link_new(
    struct event_base *base, const struct milter_link_calls *calls, void *arg);
void milter_link_free(struct milter_link *l);

/* Begin to connect; -1 when that fails at once (nothing is called then). */
int milter_link_open(struct milter_link *l, const char *address, struct err *err);
/* Takes a connected stream socket instead (non-blocking is set here); open is called
 * from the loop. */
void milter_link_take(struct milter_link *l, int fd);
void milter_link_close(struct milter_link *l);
bool milter_link_is_open(const struct milter_link *l);

/* Append packets here, then flush; what was appended goes out in one write where the
 * socket takes it. */
struct buf *milter_link_out(struct milter_link *l);
void milter_link_flush(struct milter_link *l);
size_t milter_link_backlog(const struct milter_link *l);

/* Call timeout after ms, once; 0: never. */
void milter_link_timer(struct milter_link *l, int64_t ms);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* What the queue process and its clients say to each other: packets on an AF_UNIX
 * SOCK_SEQPACKET socket, each with at most one file descriptor.  One shape for all
 * verbs; numbers are in the host's order, for both ends are this host. */
#ifndef POSTERN_RELAY_QUEUE_LINK_H
#define POSTERN_RELAY_QUEUE_LINK_H

#include <event2/event.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/err.h"
#include "common/base/str.h"

enum queue_verb {
	QUEUE_HELLO =
	    'H', /* client: flag: QUEUE_ROLE_*; number: messages at once (delivery) */
	QUEUE_SUBMIT = 'S', /* listener: seq, a: id, fd: record */
	QUEUE_RESULT = 'R', /* queue: seq, flag: durable, a: text */
	QUEUE_STATE = 'A', /* queue: flag: accepting, a: text */
	QUEUE_WORK =
	    'W', /* queue: seq: job, flag: enum route_kind, number: port, a: id,
		    b: host, list: recipients by number, fd: record, read-only */
	QUEUE_OUTCOME =
	    'O', /* delivery: seq: job, list: recipients; flag: QUEUE_FATE_*,
		    number: reply code, a: enhanced, b: text, c: remote host */
	QUEUE_DONE = 'E', /* delivery: seq: job; flag: the next hop cannot be reached */
};

enum { QUEUE_ROLE_LISTENER = 'L', QUEUE_ROLE_DELIVERY = 'D' };
enum { QUEUE_FATE_SENT = 'D', QUEUE_FATE_FAILED = 'F', QUEUE_FATE_LATER = 'L' };

#define QUEUE_ADDRESS_MAX 108

/* Make the listening socket (AF_UNIX, SOCK_SEQPACKET, abstract name chosen by the
 * kernel) that listeners and the delivery process connect to.  Made by the supervisor,
 * so that it outlives the queue process.  Returns the descriptor and writes its
 * address, as hex text without the leading NUL, for queue_client_new() and
 * deliver_process(); -1: err. */
int queue_socket(char address[QUEUE_ADDRESS_MAX], struct err *err);
/* Connect to it, non-blocking; -1: err.  For queue_client and delivery. */
int queue_connect(const char *address, struct err *err);

#define QUEUE_PACKET_MAX 16384
#define QUEUE_LIST_MAX 1000

struct queue_packet {
	enum queue_verb verb;
	uint32_t seq;
	uint8_t flag;
	uint16_t number;
	struct str a, b, c; /* borrowed */
	const uint16_t *list;
	size_t n_list;
};

/* Octets of a packet; -1 when it would be too long. */
int queue_packet_write(struct buf *out, const struct queue_packet *p);
/* Parts borrow from in, the list goes to list (QUEUE_LIST_MAX entries).  -1: malformed.
 */
int queue_packet_read(struct str in, uint16_t *list, struct queue_packet *p);

struct queue_link;
/* Takes fd.  on_packet gets packets and the descriptor that came along (-1: none),
 * which is then its own; on_closed is told once that the peer is gone or babbles.
 * Either may free the link. */
struct queue_link *queue_link_new(struct event_base *base, int fd,
    void (*on_packet)(void *arg, const struct queue_packet *p, int fd),
    void (*on_closed)(void *arg), void *arg);
void queue_link_free(struct queue_link *l);
/* Send now or when there is room; takes fd (-1: none) also when it fails.  A peer that
 * reads nothing for QUEUE_LINK_BACKLOG packets is dropped: on_closed is called from the
 * loop. */
#define QUEUE_LINK_BACKLOG 20000
void queue_link_send(struct queue_link *l, const struct queue_packet *p, int fd);

#endif

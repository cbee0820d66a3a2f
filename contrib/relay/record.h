/* SPDX-License-Identifier: BSD-2-Clause */
/* The file that holds one message: fixed header (magic, version, lengths), envelope
 * records, message octets (with CRLF line ends, no dot-stuffing), one slot octet per
 * recipient, END record with CRC32C over all but the slots.  A listener builds it in a
 * memfd, the queue process checks it as hostile input and stores it; recovery uses the
 * same reader, so a torn file can never be delivered. */
#ifndef POSTERN_RELAY_RECORD_H
#define POSTERN_RELAY_RECORD_H

#include "common/base/err.h"
#include "contrib/relay/envelope.h"

enum record_slot {
	SLOT_OPEN = 'o',
	SLOT_DELIVERED = 'D',
	SLOT_FAILED = 'F', /* a bounce or quarantine copy for it is durable */
};

struct record {
	struct envelope envelope;
	char *slots; /* n_rcpts octets */
	int64_t next_try; /* wall seconds */
	uint32_t tries;
	uint64_t message_offset, message_len; /* in the file */
};
void record_clear(struct record *r);

/* Write a whole record to fd (position 0, empty): the message is read from message_fd,
 * message_len octets from position 0, behind `header`, which stands in front of it
 * (our Received: line and what the filters made of the header section). */
int record_write(int fd, const struct envelope *e, struct str header, int message_fd,
    uint64_t message_offset, uint64_t message_len, struct err *err);

/* Read and verify.  check_crc false: structure and END only. */
int record_read(int fd, bool check_crc, struct record *out, struct err *err);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* The file that holds one message:
 *
 *      0   8  "PSTRNQ\r\n"
 *      8   4  version, 1                               numbers are big-endian
 *     12   4  length E of the envelope
 *     16   8  length M of the message
 *     24   4  number R of recipients
 *     28   4  zero
 *     32   8  next try, wall seconds, signed   } outside the CRC: they change in place,
 *     40   4  tries                            } and nothing is lost when they are
 * wrong 44   4  zero                             } 48   E  envelope: records of one
 * letter, 4 octets length, value M  message, CRLF line ends, no dot-stuffing R  one
 * slot octet per recipient, outside the CRC 4  "END\n" 4  CRC-32C of octets 0..31,
 * envelope and message
 *
 * A listener builds it in a memfd, the queue process checks it as hostile input and
 * stores it; recovery uses the same reader, so a torn file can never be delivered. */
#ifndef POSTERN_RELAY_RECORD_H
#define POSTERN_RELAY_RECORD_H

#include "common/base/err.h"
#include "contrib/relay/envelope.h"
#include "contrib/relay/qio.h"

#define RECORD_HEAD 48 /* octets in front of the envelope */
#define RECORD_TAIL 8 /* behind the slots */
#define RECORD_ENVELOPE_MAX (1u << 20)
#define RECORD_MESSAGE_MAX (1ull << 40)

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
	uint64_t slots_offset;
	uint32_t crc; /* as the file says; verified when check_crc was asked for */
};
void record_clear(struct record *r);

/* Write a whole record to fd (position 0, empty): the message is read from message_fd,
 * message_len octets from message_offset on, behind `header`, which stands in front of
 * it (our Received: line and what the filters made of the header section). */
int record_write(int fd, const struct envelope *e, struct str header, int message_fd,
    uint64_t message_offset, uint64_t message_len, struct err *err);

/* The same with the message's octets from the spool. */
int record_write_from(int fd, const struct envelope *e, struct str header,
    const struct qio *q, int message_fd, uint64_t message_offset, uint64_t message_len,
    struct err *err);

/* Read and verify.  check_crc false: structure and END only.  On -1 *out is empty. */
int record_read(int fd, bool check_crc, struct record *out, struct err *err);
/* The same from the spool.  -1 with errno EBADMSG: the file is no whole record; any
 * other errno: it could not be read. */
int record_load(
    const struct qio *q, int fd, bool check_crc, struct record *out, struct err *err);

/* How many slots are still open. */
size_t record_open(const struct record *r);
/* Change one slot, in the file and in r; in r only when the file has it. */
int record_set_slot(const struct qio *q, int fd, struct record *r, size_t rcpt,
    enum record_slot slot, struct err *err);
int record_set_retry(const struct qio *q, int fd, struct record *r, int64_t next_try,
    uint32_t tries, struct err *err);

#endif

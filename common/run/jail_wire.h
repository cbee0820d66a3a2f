/* SPDX-License-Identifier: BSD-2-Clause */
/* Packets between client, master and worker: a fixed head, a few octets, at most two file
 * descriptors.  Both ends run on one host and from one binary, so the head is a struct; it
 * is checked all the same, for a worker may have been taken over. */
#ifndef POSTERN_RUN_JAIL_WIRE_H
#define POSTERN_RUN_JAIL_WIRE_H

#include "common/run/jail.h"

#define JAIL_MAGIC 0x4a61696cu
#define JAIL_FDS 2

struct jail_head {
	uint32_t magic;
	uint32_t status; /* enum jail_status; of answers */
	uint64_t id;
	int64_t budget_ms;
	uint32_t failures;
	uint32_t timed_out;
	uint8_t hash[JAIL_HASH_SIZE];
	uint32_t has_output;
	uint32_t extra_len; /* octets behind the head */
};

struct jail_packet {
	struct jail_head head;
	char extra[JAIL_REQUEST_MAX];
	int fds[JAIL_FDS]; /* -1: none; owned by whoever received them */
};

/* 1 received (magic and lengths checked), 0 end of file, -1 nothing or a bad packet
 * (errno EAGAIN: nothing). */
int jail_receive(int fd, struct jail_packet *p);
/* 0 sent; -1 errno.  Descriptors stay the caller's. */
int jail_send(int fd, const struct jail_head *head, struct str extra, const int *fds,
    size_t n_fds);
void jail_packet_close(struct jail_packet *p);

#endif

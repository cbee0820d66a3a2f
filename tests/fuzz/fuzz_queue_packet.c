/* SPDX-License-Identifier: BSD-2-Clause */
/* Packets that a listener, which faces strangers, sends to the queue process: what is
 * taken borrows from the input only, and written again is the same. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "contrib/relay/queue_link.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
must(bool holds)
{
	if (!holds)
		abort();
}

static void
must_borrow(struct str part, struct str in)
{
	must(part.len == 0 || (part.p >= in.p && part.p + part.len <= in.p + in.len));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str in = { (const char *)data, size };
	uint16_t list[QUEUE_LIST_MAX];
	struct queue_packet p = { .seq = 0 };
	struct buf again;

	if (queue_packet_read(in, list, &p) != 0)
		return 0;
	must(p.n_list <= QUEUE_LIST_MAX);
	must_borrow(p.a, in);
	must_borrow(p.b, in);
	must_borrow(p.c, in);
	buf_init(&again, QUEUE_PACKET_MAX);
	if (size <= QUEUE_PACKET_MAX) {
		must(queue_packet_write(&again, &p) == 0);
		must(str_eq(buf_str(&again), in));
	}
	buf_clear(&again);
	return 0;
}

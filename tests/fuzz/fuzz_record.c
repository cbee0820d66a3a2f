/* SPDX-License-Identifier: BSD-2-Clause */
/* The record reader on hostile files: what it takes must be bounded, and must come back
 * the same when it is written again. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "contrib/relay/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
must(bool holds)
{
	if (!holds)
		abort();
}

static void
write_again(int fd, const struct record *r)
{
	int copy = memfd_create("copy", MFD_CLOEXEC);
	struct record again;
	struct err err;

	/* A field that may hold less when written: an empty list of records is refused.
	 */
	if (record_write(copy, &r->envelope, STR(""), fd, r->message_offset,
		r->message_len, &err) == 0) {
		must(record_read(copy, true, &again, &err) == 0);
		must(again.envelope.n_rcpts == r->envelope.n_rcpts);
		must(again.message_len == r->message_len);
		must(strcmp(again.envelope.sender, r->envelope.sender) == 0);
		must(strcmp(again.envelope.id, r->envelope.id) == 0);
		record_clear(&again);
	}
	close(copy);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int fd =
	    -1; /* one file for all inputs: making it costs more than reading */
	struct record r;
	struct err err;

	if (fd < 0)
		fd = memfd_create("input", MFD_CLOEXEC);
	must(ftruncate(fd, 0) == 0);
	must(pwrite(fd, data, size, 0) == (ssize_t)size);
	for (int crc = 0; crc <= 1; crc++) {
		if (record_read(fd, crc != 0, &r, &err) != 0)
			continue;
		must(
		    r.envelope.n_rcpts > 0 && r.envelope.n_rcpts <= ENVELOPE_RCPTS_MAX);
		must(r.message_offset + r.message_len <= size);
		must(record_open(&r) <= r.envelope.n_rcpts);
		write_again(fd, &r);
		record_clear(&r);
	}
	return 0;
}

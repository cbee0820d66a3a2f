/* SPDX-License-Identifier: BSD-2-Clause */
/* A message on its way through a filter, outside the heap: in memory while it is small, in
 * a file without a name beyond that.  Nothing survives the process. */
#ifndef POSTERN_RUN_SPOOL_H
#define POSTERN_RUN_SPOOL_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/base/str.h"

#define SPOOL_MEMORY_MAX (256u * 1024) /* octets; more go to a file */

struct spool {
	int fd; /* -1: nothing was added yet */
	bool in_memory;
	uint64_t len, max;
	const char *dir; /* of the file; borrowed */
};

/* Storage of the caller; nothing is opened before the first octet.  dir: where files are
 * made (static or outliving the spool).  max: octets. */
void spool_init(struct spool *s, const char *dir, uint64_t max);
/* Drop the content; usable again. */
void spool_clear(struct spool *s);

/* Append.  -1 (err): max is passed, no space, or another fault of the disk.  What was added
 * before stays, but a message with a gap is of no use: the caller tempfails it. */
int spool_add(struct spool *s, struct str octets, struct err *err);

/* Read len octets at `at` into p, all of them.  -1 (err): beyond the end or a fault. */
int spool_read(const struct spool *s, uint64_t at, void *p, size_t len, struct err *err);

/* Hand the descriptor over, position 0; an empty spool gives an empty file.  The spool is
 * as after spool_clear().  -1 (err): nothing could be opened. */
int spool_take_fd(struct spool *s, struct err *err);

#endif

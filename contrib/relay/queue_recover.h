/* SPDX-License-Identifier: BSD-2-Clause */
/* What a start makes of the spool: total over all leftovers of a crash, idempotent, and
 * never in need of a person before mail flows again. */
#ifndef POSTERN_RELAY_QUEUE_RECOVER_H
#define POSTERN_RELAY_QUEUE_RECOVER_H

#include "contrib/relay/queue_disk.h"

/* What a start found in one file. */
struct queue_found {
	const char *id;
	enum queue_dir dir;
	int64_t received, next_try;
	uint32_t tries;
	size_t n_open;
};
struct queue_recovery {
	size_t found, open_rcpts;
	size_t discarded; /* torn files of incoming/ */
	size_t finished; /* all slots closed, only the removal was missing; or the older
			    of two names that a file system left after a rename */
	size_t corrupt; /* moved to corrupt/ */
	size_t unreadable; /* left where they are */
	size_t dup_risk; /* recipients that may get their mail twice */
};
/* Look at every file and call each() for those that wait for delivery; it returns false
 * for an id that it knows already (that file goes to corrupt/, or away if it is the
 * same).  Total over all leftovers; may be interrupted and started again at any point.
 */
int queue_disk_recover(struct queue_disk *d,
    bool (*each)(void *arg, const struct queue_found *f), void *arg,
    struct queue_recovery *sum, struct err *err);

#endif

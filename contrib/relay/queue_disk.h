/* SPDX-License-Identifier: BSD-2-Clause */
/* The spool: which file lies where, in which order it is written, and what a start
 * makes of what a crash left behind.
 *
 *     incoming/    committed, not yet looked at     a torn file here was never
 *                                                   acknowledged: discarded
 *     active/      in memory, perhaps in delivery   found at a start: may be delivered
 *                                                   a second time
 *     deferred/    waits for its next try
 *     quarantine/  for a person
 *     corrupt/     not a whole record, but in a place where only whole ones belong
 *
 * A file's name is its message's id, from O_EXCL on; it moves by rename without a sync,
 * because where it lies can be found out again.  Durable means: fsync of the file and
 * of its directory returned.  Nothing is acknowledged before. */
#ifndef POSTERN_RELAY_QUEUE_DISK_H
#define POSTERN_RELAY_QUEUE_DISK_H

#include <sys/queue.h>

#include "contrib/relay/qio.h"
#include "contrib/relay/record.h"

enum queue_dir {
	QUEUE_INCOMING,
	QUEUE_ACTIVE,
	QUEUE_DEFERRED,
	QUEUE_QUARANTINE,
	QUEUE_CORRUPT,
};
#define QUEUE_DIRS 5
const char *queue_dir_name(enum queue_dir dir);

struct queue_disk {
	const struct qio *q;
	int dirs[QUEUE_DIRS];
	bool sync_dir; /* file names need an fsync of their directory */
};

/* Open the spool, making what is missing.  always_sync: fsync directories even where
 * the file system is known not to need it.  -1: err. */
int queue_disk_open(struct queue_disk *d, const struct qio *q, const char *path,
    bool always_sync, struct err *err);
void queue_disk_close(struct queue_disk *d);

/* May it be a file's name here: 1..31 letters, digits and '_'. */
bool queue_id_ok(struct str id);

/* A record on its way to the disk. */
struct queue_commit {
	STAILQ_ENTRY(queue_commit) next; /* the caller's */
	char id[MESSAGE_ID_MAX];
	int source; /* descriptor of a whole record (memfd); the caller closes it */
	/* Set by queue_disk_commit(): */
	bool durable;
	bool io_failed; /* the disk's fault, not the record's */
	enum queue_dir dir; /* INCOMING, or QUARANTINE when the envelope says hold */
	struct record record; /* when durable; the caller clears it */
	struct err err;
	int fd; /* in between */
};

/* Make a batch durable: write all, fsync each, fsync the directory once.  What fails is
 * removed again, its text says why; the others are not touched by it.  May be called by
 * several threads at once. */
#define QUEUE_BATCH_MAX 64
void queue_disk_commit(
    struct queue_disk *d, struct queue_commit *const *list, size_t n);

/* Is the disk able to take a file again?  -1: err. */
int queue_disk_probe(struct queue_disk *d, struct err *err);
/* Octets and inodes left.  -1: err. */
int queue_disk_space(
    struct queue_disk *d, uint64_t *octets, uint64_t *inodes, struct err *err);

/* A message in delivery. */
struct queue_message {
	char id[MESSAGE_ID_MAX];
	enum queue_dir dir;
	int fd; /* for slots and retry fields */
	struct record record;
	bool dirty; /* slots were changed since the last sync */
};

enum queue_loaded {
	QUEUE_LOADED,
	QUEUE_GONE, /* no such file, or it was no whole record and lies in corrupt/ */
	QUEUE_UNREADABLE, /* the disk fails; try again later */
};
/* Verify a message and move it to active/. */
enum queue_loaded queue_disk_activate(struct queue_disk *d, const char *id,
    enum queue_dir dir, struct queue_message *out, struct err *err);
/* A second descriptor, for reading only; -1: err. */
int queue_disk_reader(
    struct queue_disk *d, const struct queue_message *m, struct err *err);
/* The next hop's answer is final for these recipients.  When no slot stays open the
 * file is removed and *finished set; the slots of others are written.  An error leaves
 * slots open: a duplicate, never a loss. */
int queue_disk_settle(struct queue_disk *d, struct queue_message *m,
    const uint16_t *rcpts, size_t n, enum record_slot slot, bool *finished,
    struct err *err);
/* Until the next try. */
int queue_disk_defer(struct queue_disk *d, struct queue_message *m, int64_t next_try,
    uint32_t tries, struct err *err);
void queue_message_clear(struct queue_disk *d, struct queue_message *m);

/* Recipients that will never be delivered: a bounce to the sender or a copy in
 * quarantine is made durable, and only then are their slots closed.  Blocks on the
 * disk: called by a thread of the pool, on facts of its own. */
struct queue_failure {
	struct queue_message
	    *message; /* slots are closed in it by queue_disk_settle() */
	const uint16_t *rcpts; /* by number */
	size_t n;
	int record; /* memfd with the bounce or the copy: bounce_record() made it */
	char id[MESSAGE_ID_MAX]; /* of that record */
	struct queue_commit commit; /* its fate */
};
/* 0: durable and slots closed (*finished as above); -1: err, nothing is closed. */
int queue_disk_fail(
    struct queue_disk *d, struct queue_failure *f, bool *finished, struct err *err);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* A disk in memory for the queue's table of operations.  It keeps two layers: what the
 * running system sees, and what a power cut leaves.  A write or a change of a name is
 * volatile until an fsync of its file or directory, so code that forgets one loses its
 * data here as it would on a real disk.  Faults can be put at the Nth operation.
 *
 * Legal states after a power cut: the durable layer and any subset of the operations
 * since, each whole (a rename is one), in their order.  A failed fsync loses what it
 * was to write: a later one succeeds without having written it, as on Linux. */
#ifndef POSTERN_TESTS_QIO_SIM_H
#define POSTERN_TESTS_QIO_SIM_H

#include "contrib/relay/qio.h"

enum sim_fault {
	SIM_NONE,
	SIM_CRASH, /* nothing happens any more from this operation on */
	SIM_CRASH_HALF, /* the same, but half of a write has happened */
	SIM_EIO,
	SIM_ENOSPC, /* of operations that need room; others go on */
	SIM_SHORT, /* a write writes half */
	SIM_EINTR,
};

enum sim_mutant { /* faults of the code that the bench must notice */
	SIM_RIGHT,
	SIM_NO_FSYNC, /* fsync of a file does nothing */
	SIM_NO_DIR_FSYNC, /* fsync of a directory does nothing */
	SIM_LATE_FSYNC, /* fsync happens only at sim_acknowledged(): "250 before fsync"
			 */
	SIM_RETRY_FSYNC, /* a failed fsync is tried again */
	SIM_DEAF, /* a failed fsync is taken for success */
};

struct sim;
struct sim *sim_new(void);
void sim_free(struct sim *s);
const struct qio *sim_qio(struct sim *s);

/* The fault comes at operation number at (from 1; only those that change the disk or
 * make it durable count); sticky: at every one from there on. */
void sim_set_fault(struct sim *s, enum sim_fault fault, unsigned at, bool sticky);
void sim_set_mutant(struct sim *s, enum sim_mutant mutant);
/* Operations so far. */
unsigned sim_ops(const struct sim *s);
unsigned sim_fsyncs(const struct sim *s);
bool sim_crashed(const struct sim *s);
/* The caller said 250 now. */
void sim_acknowledged(struct sim *s);

/* kill -9: a fresh sim with all that the system saw. */
struct sim *sim_after_kill(const struct sim *s);
/* Power cut: how many legal states there are that we look at (all subsets of up to 10
 * operations; of more: all, none, each alone, all but each, all prefixes), and the ith.
 */
unsigned sim_cuts(const struct sim *s);
struct sim *sim_after_cut(const struct sim *s, unsigned i);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* The directory of the embedded store: who has it open, whether what lies there can be
 * trusted, and what takes its place if not.
 *
 *     data.mdb lock.mdb   LMDB's
 *     boot                "postern-store 1 <boot id> open|clean|suspect"
 *     open.lock           held for the length of opening and closing
 *     users.lock          shared by all that have it open: who gets it alone is the
 * first keeper.lock         held by the one process that syncs, sweeps and snapshots
 *     snapshot.mdb        the last snapshot
 *     data.bad            what was found broken last, for whoever wants to look
 *
 * The data is written without waiting for the disk.  A killed process loses nothing,
 * for the kernel has the pages; a power cut may leave any mixture of them.  So: the
 * same boot, or closed by the last one in order: trusted.  Else a child walks it and
 * copies what it reached; where that fails the same is done with the snapshot; else the
 * store is empty. */
#ifndef POSTERN_DB_STORE_HOME_H
#define POSTERN_DB_STORE_HOME_H

#include <stdbool.h>

#include <lmdb.h>

#include "common/base/err.h"

struct store_home {
	char *path;
	int dir, open_lock, users_lock, keeper_lock;
	bool keeper;
	char boot[64];
	char note[120]; /* how it was found */
};

/* Make or find the directory, wait for the open lock, and make data.mdb trustworthy.
 * boot_id NULL: the kernel's.  On success the open lock is held until home_opened(). */
int home_open(
    struct store_home *h, const char *path, const char *boot_id, struct err *err);
/* The environment is open (or could not be opened): let others in. */
void home_opened(struct store_home *h);

/* Before the environment is synced and closed: keep others out. */
void home_closing(struct store_home *h);
/* After.  synced: all that was written is on disk. */
void home_close(struct store_home *h, bool synced);

/* LMDB found something wrong: have the next first opener look closely. */
void home_suspect(struct store_home *h);
/* Whether this process is the keeper; becomes it when there is none. */
bool home_keeper(struct store_home *h);
/* Copy the environment as it is now to snapshot.mdb, durably. */
int home_snapshot(struct store_home *h, MDB_env *env, struct err *err);

#endif

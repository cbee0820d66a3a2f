/* SPDX-License-Identifier: BSD-2-Clause */
/* Opens the store for a daemon that must serve without it: what cannot be opened at the
 * start (a folder that is not there yet, a file in the way) is tried again every 10 s on
 * a thread of its own, and said once when it is open.  Until then there is no store to
 * ask, which every caller takes as STORE_DOWN.  Redis servers that are away are the
 * engine's affair: such a store opens at once. */
#ifndef POSTERN_POLICY_STORE_OPENER_H
#define POSTERN_POLICY_STORE_OPENER_H

#include "db/store.h"
#include "policy/settings.h"

struct store_opener;

/* In the worker, after the fork, with the settings of the start: those of the store are
 * not reloaded.  Keeps a reference to s.  The first failure is logged here, as an error,
 * because it is no reason not to start.  NULL: no thread could be started, err says so. */
struct store_opener *store_opener_new(struct settings *s, struct err *err);
/* The store, borrowed until store_opener_free; NULL: not open (yet).  Cheap, from any
 * thread; accepts NULL. */
struct store *store_opener_get(struct store_opener *o);
/* Ends the thread and closes the store, when nobody asks any more.  Accepts NULL. */
void store_opener_free(struct store_opener *o);

#endif

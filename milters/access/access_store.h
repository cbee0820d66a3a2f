/* SPDX-License-Identifier: BSD-2-Clause */
/* The store of postern-access: opened at the start where settings need it, else when
 * the first check asks for it (limits that stand in an access map), and never where
 * nobody does. */
#ifndef POSTERN_ACCESS_STORE_H
#define POSTERN_ACCESS_STORE_H

#include "common/base/err.h"
#include "db/store.h"
#include "policy/settings.h"

struct access_store;
/* Keeps a reference to s.  NULL: err. */
struct access_store *access_store_new(struct settings *s, struct err *err);
/* Nobody asks any more.  Accepts NULL. */
void access_store_free(struct access_store *a);

/* NULL: not open (yet).  Borrowed until access_store_free.  From any thread; accepts
 * NULL. */
struct store *access_store_get(struct access_store *a);

#endif

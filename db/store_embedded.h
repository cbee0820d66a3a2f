/* SPDX-License-Identifier: BSD-2-Clause */
/* The embedded engine's door for store.c; everything else goes through the operations
 * in store_private.h. */
#ifndef POSTERN_DB_STORE_EMBEDDED_H
#define POSTERN_DB_STORE_EMBEDDED_H

#include "db/store.h"

/* boot_id NULL: the kernel's. */
void *store_embedded_open(
    const struct store_conf *conf, const char *boot_id, struct err *err);

#endif

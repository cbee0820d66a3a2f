/* SPDX-License-Identifier: BSD-2-Clause */
/* What files a process that talks to strangers may touch: it reads what it was told to,
 * writes no file and runs no program.  So a listener or delivery process that was taken
 * over sees neither the spool nor other people's files; what it needs of the spool
 * reaches it as descriptors. */
#ifndef POSTERN_RELAY_CONFINE_H
#define POSTERN_RELAY_CONFINE_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/err.h"

/* For this process and all its threads and children, for ever (Landlock).  paths: n
 * files whose folders may be read, "" and NULL are none; the system's own folders may
 * always be. Descriptors that are open stay as they are.  *active false: the kernel has
 * no Landlock, or this is a sanitizer's build, whose reports are files.  -1: err. */
int confine_files(const char *const *paths, size_t n, bool *active, struct err *err);

#endif

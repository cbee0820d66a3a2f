/* SPDX-License-Identifier: BSD-2-Clause */
/* Octets that cross between processes of different trust: a memfd that is sealed against
 * every change, so that what was checked stays what is read. */
#ifndef POSTERN_RUN_MEMFD_H
#define POSTERN_RUN_MEMFD_H

#include <stdint.h>

#include "common/base/err.h"
#include "common/base/str.h"

/* An empty, sealable memfd; name shows in /proc.  -1: err. */
int memfd_new(const char *name, struct err *err);
/* Write all of s behind what is there. */
int memfd_add(int fd, struct str s, struct err *err);
/* Forbid writing, growing, shrinking and further seals. */
int memfd_seal(int fd, struct err *err);

/* A memfd from somebody else: refuse it unless it is sealed as above and at most max
 * octets long, then map it read-only.  Unmap with memfd_unmap.  An empty one maps to an
 * empty string. */
int memfd_map(int fd, uint64_t max, struct str *out, struct err *err);
void memfd_unmap(struct str s);

#endif

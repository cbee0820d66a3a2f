/* SPDX-License-Identifier: BSD-2-Clause */
/* Messages that are kept back: one file each, in a folder, durable before anybody is told
 * of a verdict.  A file has a head of `Key: value` lines (what, why, from, to, client), an
 * empty line, and then the message as it came, octet for octet. */
#ifndef POSTERN_DB_QUARANTINE_H
#define POSTERN_DB_QUARANTINE_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/base/id.h"
#include "common/base/str.h"

struct quarantine_note {
	const char *key; /* "Reason" */
	struct str value; /* control octets are written as '?' */
};

/* Store a message; id gets its name, id.eml in the folder dir.  0 only when the file and
 * its name are on disk.  -1: err, and nothing is left behind. */
int quarantine_store(const char *dir, const struct quarantine_note *notes, size_t n_notes,
    struct str message, char id[ID_SIZE], struct err *err);

/* Remove what an interrupted store left in dir; at start.  Returns how many, -1: err. */
int quarantine_clean(const char *dir, struct err *err);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* libclamav behind our own words.  A scan that reached a limit, met something encrypted
 * or failed is never clean. */
#ifndef POSTERN_MIME_SCAND_CLAM_H
#define POSTERN_MIME_SCAND_CLAM_H

#include <stdint.h>

#include "common/base/err.h"
#include "common/base/str.h"
#include "milters/mime/inspection.h"

struct clam_conf {
	const char *signatures; /* directory or file */
	uint64_t scan_size, file_size; /* octets */
	uint32_t recursion, files; /* archives in archives, members */
	uint32_t time_ms; /* of one scan */
};

struct clam;

/* Load and compile.  NULL: err; so also when there is no signature at all. */
struct clam *clam_load(const struct clam_conf *conf, struct err *err);
void clam_free(struct clam *c);
/* Where temporary files go; after the fork, before the first scan. */
int clam_set_dir(struct clam *c, const char *dir, struct err *err);
/* "ClamAV 1.4.6/8700000 signatures"; borrowed. */
const char *clam_version(const struct clam *c);

struct clam_result {
	enum scan_state state;
	char virus[200];
};

/* Scan octets; name (may be "") is told to libclamav.  member is called for each file
 * inside, however deep; may be NULL. */
void clam_scan(struct clam *c, struct str octets, const char *name,
    void (*member)(void *arg, const char *name), void *arg, struct clam_result *out);

#endif

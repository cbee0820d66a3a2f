/* SPDX-License-Identifier: BSD-2-Clause */
/* The parent of one tier's processes: one that owns the queue, one that delivers, and
 * the listeners.  It touches neither mail nor spool.
 *
 *   signal      what happens
 *   HUP         the file is read again; when it is right, fresh listeners and a fresh
 *               delivery process take over with it, the old ones finish what they have
 *               (a setting of the queue restarts the queue process); when it is wrong,
 *               its faults are logged and nothing changes
 *   TERM, INT   listeners and delivery finish, then the queue process; a second one
 *               ends all at once
 *
 * A process that dies is started again at once, then after 1, 2, 4 ... 30 s. */
#ifndef POSTERN_RELAY_TIER_H
#define POSTERN_RELAY_TIER_H

#include "contrib/relay/relay_conf.h"
#include "policy/settings.h"

/* The settings of one tier, as they were read together. */
struct tier_settings {
	struct relay_conf *relay;
	struct settings *common;
};
/* -1: errs, without doubles. */
int tier_load(
    const char *path, const char *name, struct tier_settings *out, struct errs *errs);
void tier_settings_clear(struct tier_settings *t);

struct tier {
	const char *conf_path; /* absolute */
	const char *name;
	struct tier_settings settings; /* replaced by a reload */
	const int *fds; /* listening sockets */
	size_t n_fds;
	int background_fd; /* gets one octet when all processes run; -1: none */
};

/* Runs until told to end; returns the exit status. */
int tier_run(struct tier *t);

#endif

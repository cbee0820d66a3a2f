/* SPDX-License-Identifier: BSD-2-Clause */
/* What the worker of postern-greylist holds: the settings, which change at a reload, and
 * what is opened once by the settings of the start. */
#ifndef POSTERN_MILTERS_GREYLIST_WORKER_H
#define POSTERN_MILTERS_GREYLIST_WORKER_H

#include "common/run/daemon.h"
#include "policy/greylist_env.h"
#include "policy/settings.h"

/* As struct daemon_ops wants them. */
bool greylist_worker_load(const char *path, struct daemon_conf *conf, struct errs *errs);
void greylist_worker_snapshot_unref(void *snapshot);
int greylist_worker_start(void *snapshot, struct err *err);
void greylist_worker_reload(void *snapshot, struct errs *errs);
void greylist_worker_stop(void);

/* A reference to the settings in force. */
struct settings *greylist_worker_settings(void);
/* Lives as long as callbacks run. */
const struct judge_env *greylist_worker_env(void);

#endif

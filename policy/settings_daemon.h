/* SPDX-License-Identifier: BSD-2-Clause */
/* What the process layer of a milter wants to know, out of the settings. */
#ifndef POSTERN_POLICY_SETTINGS_DAEMON_H
#define POSTERN_POLICY_SETTINGS_DAEMON_H

#include "common/run/daemon.h"
#include "policy/settings.h"

/* Fill all of conf but the snapshot from block `run` and from the milter's own block,
 * section, which has the rows socket, socket-mode, socket-group and metrics. */
void settings_daemon(
    const struct settings *s, const char *section, struct daemon_conf *conf);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* posternctl access add | del | list | log: edit a shared access map. */
#ifndef POSTERN_CTL_ACCESS_H
#define POSTERN_CTL_ACCESS_H

/* `replay` is handed on to contrib/ctl/replay.h. */
int ctl_access(int argc, char **argv);

#endif

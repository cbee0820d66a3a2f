/* SPDX-License-Identifier: BSD-2-Clause */
/* posternctl status: asks every daemon whether it serves. */
#ifndef POSTERN_CTL_STATUS_H
#define POSTERN_CTL_STATUS_H

int ctl_status(int argc, char **argv);

#endif

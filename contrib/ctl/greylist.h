/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef POSTERN_CTL_GREYLIST_H
#define POSTERN_CTL_GREYLIST_H

int ctl_greylist(int argc, char **argv);

#endif

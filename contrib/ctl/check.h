/* SPDX-License-Identifier: BSD-2-Clause */
/* posternctl check: every error of the configuration, or a line that there is none. */
#ifndef POSTERN_CTL_CHECK_H
#define POSTERN_CTL_CHECK_H

int ctl_check(int argc, char **argv);

#endif

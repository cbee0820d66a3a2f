/* SPDX-License-Identifier: BSD-2-Clause */
/* posternctl test: the daemons' engines over prepared cases, without a daemon. */
#ifndef POSTERN_CTL_TEST_H
#define POSTERN_CTL_TEST_H

int ctl_test(int argc, char **argv);

#endif

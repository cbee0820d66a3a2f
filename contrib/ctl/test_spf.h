/* SPDX-License-Identifier: BSD-2-Clause */
/* posternctl test spf FILE: the daemons' SPF over a suite of scenarios with their own
 * DNS; nothing is asked of the network. */
#ifndef POSTERN_CTL_TEST_SPF_H
#define POSTERN_CTL_TEST_SPF_H

#include <stdio.h>

/* argv[0] is "spf".  Returns 0; 64 usage, 65 a scenario that cannot be read, 66 no such
 * file, 74 output. */
int ctl_test_spf(int argc, char **argv);

/* The same between two open files; file: its name for errors. */
int ctl_test_spf_run(FILE *in, const char *file, FILE *out);

#endif

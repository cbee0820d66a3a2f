/* SPDX-License-Identifier: BSD-2-Clause */
/* posternctl licenses: our licence and those of the libraries that the programs link, in
 * full, because a binary must carry them. */
#ifndef POSTERN_CTL_LICENSES_H
#define POSTERN_CTL_LICENSES_H

int ctl_licenses(int argc, char **argv);

#endif

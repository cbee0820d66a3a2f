/* SPDX-License-Identifier: BSD-2-Clause */
/* posternctl penalty: networks that are refused for their misbehaviour. */
#ifndef POSTERN_CTL_PENALTY_H
#define POSTERN_CTL_PENALTY_H

int ctl_penalty(int argc, char **argv);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* posternctl stats: the metrics of the daemons. */
#ifndef POSTERN_CTL_STATS_H
#define POSTERN_CTL_STATS_H

int ctl_stats(int argc, char **argv);

#endif

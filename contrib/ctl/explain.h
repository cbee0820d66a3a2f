/* SPDX-License-Identifier: BSD-2-Clause */
/* posternctl explain: which policy gives each setting to a client, sender, recipient.
 */
#ifndef POSTERN_CTL_EXPLAIN_H
#define POSTERN_CTL_EXPLAIN_H

int ctl_explain(int argc, char **argv);

#endif

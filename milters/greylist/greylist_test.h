/* SPDX-License-Identifier: BSD-2-Clause */
/* `posternctl test greylist`: events in, verdicts out, driven by the time in the
 * events. */
#ifndef POSTERN_MILTERS_GREYLIST_TEST_H
#define POSTERN_MILTERS_GREYLIST_TEST_H

#include <stdio.h>

/* Read tab-separated events from standard input and write them with what became of them
 * to standard output.  The first line names the columns; these must be among them:
 *     time client_ip client_name helo sender recipient spf
 * time: seconds since the epoch; client_name: forward-confirmed, or the address in
 * brackets; sender, recipient: in <>; spf: as in RFC 8601, where pass stands for a pass
 * that gives an identity (common/auth/spf.h) and every other word for none; of the null
 * sender it is that of helo.
 *
 * Output: the same columns in the same order, then action, code, enhanced, reason and
 * wait_s, with a first line that names them.  A recipient that passes has code 250 and
 * enhanced 2.1.5, as the client would see.
 *
 * argv[0] is "greylist"; option -c FILE: settings and policies of that file instead of
 * the defaults.  The store is a fresh one in a temporary directory, unless the settings
 * name a Redis server; DNS is not asked, and there are no correspondents.  Returns 0;
 * 64 usage, 65 a line that cannot be read (told with its number), 66 no public suffix
 * list, 74 output, 75 store, 78 configuration. */
int greylist_test_main(int argc, char **argv);

/* The same between two open files; conf_path NULL: the defaults. */
int greylist_test_run(const char *conf_path, FILE *in, FILE *out);

#endif

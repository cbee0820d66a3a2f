/* SPDX-License-Identifier: BSD-2-Clause */
/* The subcommands of posternctl: one file each, one row each in main.c. */
#ifndef POSTERN_CTL_COMMAND_H
#define POSTERN_CTL_COMMAND_H

#include <sysexits.h>

#define CTL_DOWN 1 /* status: a daemon does not answer */
#define CTL_DIFFERS 1 /* access replay: envelopes are judged differently */
#define EX_NOTFOUND 1 /* access del: no such entry */

struct ctl_command {
	const char *name;
	const char *usage; /* behind the name */
	const char *help; /* a phrase */
	/* argv[0] is the subcommand.  Returns the exit status. */
	int (*run)(int argc, char **argv);
};

/* Told on stderr with the subcommand's usage; returns EX_USAGE. */
int ctl_usage(const char *name, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

#endif

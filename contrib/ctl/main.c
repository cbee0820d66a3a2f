/* SPDX-License-Identifier: BSD-2-Clause */
/* posternctl: one program to ask about Postern and to check its configuration.  The
 * table below is all that a subcommand needs to be found, listed and explained. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/base/conf.h"
#include "common/base/log.h"
#include "contrib/ctl/access.h"
#include "contrib/ctl/check.h"
#include "contrib/ctl/command.h"
#include "contrib/ctl/explain.h"
#include "contrib/ctl/greylist.h"
#include "contrib/ctl/licenses.h"
#include "contrib/ctl/penalty.h"
#include "contrib/ctl/stats.h"
#include "contrib/ctl/status.h"
#include "contrib/ctl/test.h"
#include "contrib/relay/relay_conf.h"
#include "policy/settings.h"

static int ctl_help(int argc, char **argv);

static const struct ctl_command commands[] = {
	{ "check", "[-c FILE] [--json]", "tell every error of the configuration",
	    ctl_check },
	{ "explain",
	    "[-c FILE] [--json] [--client IP [--name NAME]] [--from ADDRESS [--to ADDRESS]] [--auth]",
	    "tell which policy gives each setting and what the access maps say", ctl_explain },
	{ "access",
	    "add [--map NAME] [--expires DATE] [--note TEXT] KEY VALUE | del KEY | list "
	    "[PART] | log [-n N] | replay [--map MAP] LOG ...",
	    "edit a shared access map; judge logged envelopes anew", ctl_access },
	{ "penalty", "[-c FILE] [--json] list [NETWORK] | clear NETWORK",
	    "tell which networks are refused for their misbehaviour; lift it", ctl_penalty },
	{ "greylist",
	    "list | show | pass | delete [-c FILE] [--json] [--client CLIENT] [--from SENDER] [--to RECIPIENT] [--kind triple|client|event] [--dry-run]\n"
	    "       posternctl greylist trap [-c FILE] [--json] [--undo] [--for DURATION] ADDRESS|NETWORK\n"
	    "       posternctl greylist export | stats [-c FILE]\n"
	    "       posternctl greylist import [-c FILE] [--json] [--dry-run] [--from milter-greylist|postgrey|spamdb] FILE",
	    "show and change what greylisting remembers", ctl_greylist },
	{ "status", "[-c FILE] [--json] [--timeout DURATION] [DAEMON ...]",
	    "ask whether the daemons serve", ctl_status },
	{ "stats", "[-c FILE] [--json] [--timeout DURATION] [DAEMON]",
	    "print the daemons' metrics", ctl_stats },
	{ "test", "access DIR | greylist [-c FILE] <EVENTS | score [-c FILE] [-r RULES] [-v] FILE ... | spf FILE",
	    "run a daemon's engine over prepared cases", ctl_test },
	{ "licenses", "", "print the licences of Postern and what it links", ctl_licenses },
	{ "help", "[COMMAND]", "tell how a command is used", ctl_help },
};
#define N_COMMANDS (sizeof(commands) / sizeof(commands[0]))

static const struct ctl_command *
find(const char *name)
{
	for (size_t i = 0; i < N_COMMANDS; i++)
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
	return NULL;
}

static void
print_usage(FILE *to, const struct ctl_command *c)
{
	fprintf(to, "usage: posternctl %s %s\n", c->name, c->usage);
}

static void
print_all(FILE *to)
{
	fprintf(to, "usage: posternctl COMMAND [ARGUMENT ...]\n\n");
	for (size_t i = 0; i < N_COMMANDS; i++)
		fprintf(to, "  %-8s  %s\n", commands[i].name, commands[i].help);
	fprintf(to, "\nposternctl help COMMAND tells more; so does posternctl(8).\n");
}

int
ctl_usage(const char *name, const char *fmt, ...)
{
	const struct ctl_command *c = find(name);
	va_list ap;

	fprintf(stderr, "posternctl %s: ", name);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, "\n");
	if (c != NULL)
		print_usage(stderr, c);
	return EX_USAGE;
}

static int
unknown(const char *name)
{
	const char *names[N_COMMANDS];

	for (size_t i = 0; i < N_COMMANDS; i++)
		names[i] = commands[i].name;
	const char *hint = conf_nearest(str_of(name), names, N_COMMANDS);
	fprintf(stderr, "posternctl: \"%s\" is no command: %s%s%s\n", name,
	    hint == NULL ? "expected one of those in " : "did you mean \"",
	    hint == NULL ? "posternctl help" : hint, hint == NULL ? "" : "\"?");
	return EX_USAGE;
}

static int
ctl_help(int argc, char **argv)
{
	if (argc < 2) {
		print_all(stdout);
		return EX_OK;
	}
	const struct ctl_command *c = find(argv[1]);
	if (c == NULL)
		return unknown(argv[1]);
	print_usage(stdout, c);
	printf("%s\n", c->help);
	return EX_OK;
}

int
main(int argc, char **argv)
{
	/* What the daemons' rooms tell in passing is not what was asked for. */
	(void)log_open("posternctl", "stderr", LOG_LEVEL_WARN, NULL);
	if (argc < 2) {
		print_all(stderr);
		return EX_USAGE;
	}
	if (strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "--help") == 0) {
		print_all(stdout);
		return EX_OK;
	}
	const struct ctl_command *c = find(argv[1]);
	if (c == NULL)
		return unknown(argv[1]);
	settings_register_foreign("relay", relay_conf_check);
	return c->run(argc - 1, argv + 1);
}

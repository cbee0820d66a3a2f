/* SPDX-License-Identifier: BSD-2-Clause */
/* What the subcommands of posternctl share: options, the configuration, output. */
#ifndef POSTERN_CTL_COMMON_H
#define POSTERN_CTL_COMMON_H

#include <stdbool.h>

#include "common/base/buf.h"
#include "common/base/err.h"
#include "policy/settings.h"

#define CTL_OUTPUT_MAX (256u << 20)

/* One option of a subcommand. */
struct ctl_option {
	const char *name; /* "--client" */
	const char **value; /* set to the argument that follows; NULL: takes none */
	bool *given; /* may be NULL */
};

/* Read options in any order; what is left is moved to the front of argv behind argv[0],
 * *argc counts it.  "-c FILE" and "--json" are known to all.  -1: an option is unknown
 * or lacks its value, told on stderr. */
struct ctl_common {
	const char *file; /* of -c; NULL: the default one */
	bool json;
};
int ctl_options(int *argc, char **argv, struct ctl_common *common,
    const struct ctl_option *options, size_t n);

#define CTL_TIMEOUT_MS 5000 /* to ask one daemon, when --timeout is not given */
/* The value of --timeout of that subcommand; NULL: the default.  -1: told on stderr. */
int64_t ctl_timeout_ms(const char *command, const char *value);

/* The file that is meant; NULL when none was named and the default one does not exist:
 * the built-in settings are in force then. */
const char *ctl_file(const struct ctl_common *common);

/* The settings, or NULL after telling every error on stderr. */
struct settings *ctl_settings(const struct ctl_common *common);

/* Whether the file has anything to say in blocks of that section. */
bool ctl_has_block(const struct settings *s, const char *section);

/* Every error, one per line. */
void ctl_print_errors(const struct errs *errs);

/* Write to stdout and free it.  EX_OK, or EX_IOERR. */
int ctl_output(struct buf *out);

/* JSON: a string with its quotes; what is not UTF-8 becomes U+FFFD. */
void json_string(struct buf *out, const char *s);
/* The same, or null. */
void json_string_or_null(struct buf *out, const char *s);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* Reads the file exactly as the daemons do at their start, for all of them at once. */
#include "contrib/ctl/check.h"

#include <stdio.h>

#include "contrib/ctl/command.h"
#include "contrib/ctl/common.h"

static void
render(struct buf *out, const char *file, const struct errs *errs)
{
	buf_add_cstr(out, "{\"file\":");
	json_string_or_null(out, file);
	buf_addf(out, ",\"right\":%s,\"more\":%zu,\"errors\":[",
	    errs->n == 0 ? "true" : "false", errs->dropped);
	for (size_t i = 0; i < errs->n; i++) {
		const struct err *e = &errs->list[i];

		buf_addf(out, "%s{\"file\":", i == 0 ? "" : ",");
		json_string_or_null(out, e->file[0] == '\0' ? NULL : e->file);
		buf_addf(out, ",\"line\":%d,\"text\":", e->line);
		json_string(out, e->text);
		buf_add_char(out, '}');
	}
	buf_add_cstr(out, "]}\n");
}

int
ctl_check(int argc, char **argv)
{
	struct ctl_common common;
	struct errs errs = { 0 };
	struct buf out;

	if (ctl_options(&argc, argv, &common, NULL, 0) != 0)
		return EX_USAGE;
	if (argc > 1)
		return ctl_usage("check", "expected no argument \"%s\"", argv[1]);
	const char *file = ctl_file(&common);
	struct settings *s = settings_load(file, &errs);
	buf_init(&out, CTL_OUTPUT_MAX);
	if (common.json)
		render(&out, file, &errs);
	else if (s == NULL)
		ctl_print_errors(&errs);
	else if (file == NULL)
		buf_addf(&out, "%s does not exist: built-in settings are in force\n",
		    POSTERN_CONF_DEFAULT);
	else
		buf_addf(&out, "%s: configuration is right\n", file);
	int written = ctl_output(&out);
	int status = s == NULL ? EX_CONFIG : written;
	settings_unref(s);
	errs_clear(&errs);
	return status;
}

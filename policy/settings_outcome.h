/* SPDX-License-Identifier: BSD-2-Clause */
/* What follows from a finding, as a setting: `off`, points (`2.5`), `reject` or `tempfail`,
 * and after one of the last three, where wanted, the reply's text in quotes. */
#ifndef POSTERN_POLICY_SETTINGS_OUTCOME_H
#define POSTERN_POLICY_SETTINGS_OUTCOME_H

#include <stdint.h>

#include "common/base/conf.h"

enum outcome_kind { OUTCOME_OFF, OUTCOME_POINTS, OUTCOME_TEMPFAIL, OUTCOME_REJECT };

struct outcome {
	enum outcome_kind kind;
	int64_t points; /* thousandths; with OUTCOME_POINTS */
	char *text; /* %a is what was found; NULL: the check's own words */
};

void settings_outcome_parse(const struct conf_node *node, void *field, struct errs *errs);
void settings_outcome_clear(void *field);
void settings_outcome_print(const void *field, struct buf *out);

#define OUTCOME_ROW(name_, at, def_, stage_, help_)                                    \
	{                                                                              \
		.name = name_, .type = CONF_CUSTOM, .offset = at, .def = def_,         \
		.stage = stage_, .help = help_, .parse = settings_outcome_parse,       \
		.clear = settings_outcome_clear, .print = settings_outcome_print,      \
		.size = sizeof(struct outcome)                                         \
	}

#endif

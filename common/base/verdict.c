/* SPDX-License-Identifier: BSD-2-Clause */
/* Building verdicts; the texts are cleaned here, once, because they end in SMTP replies. */
#include "common/base/verdict.h"

#include <stdarg.h>
#include <stdio.h>

const char *
action_name(enum action action)
{
	switch (action) {
	case ACTION_CONTINUE:
		return "continue";
	case ACTION_REJECT:
		return "reject";
	case ACTION_TEMPFAIL:
		return "tempfail";
	case ACTION_DISCARD:
		return "discard";
	case ACTION_QUARANTINE:
		return "quarantine";
	}
	return "?";
}

struct verdict
verdict_continue(const char *why)
{
	return (struct verdict){ .action = ACTION_CONTINUE, .why = why };
}

struct verdict
verdict_refuse(
    int code, const char *enhanced, const char *why, const char *fmt, ...)
{
	struct verdict v = { .action = code >= 500 ? ACTION_REJECT : ACTION_TEMPFAIL,
		.code = code,
		.why = why };
	va_list ap;

	snprintf(v.enhanced, sizeof(v.enhanced), "%s", enhanced);
	va_start(ap, fmt);
	vsnprintf(v.text, sizeof(v.text), fmt, ap);
	va_end(ap);
	for (char *c = v.text; *c != '\0'; c++)
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			*c = ' ';
	return v;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* Makes findings of settings and words. */
#include "milters/access/check_outcome.h"

#include <stdio.h>
#include <string.h>

#define SUBJECT_MAX 200 /* octets of foreign text in a reply */

static void
clean(const char *from, char out[SUBJECT_MAX + 1])
{
	size_t n = 0;

	for (; *from != '\0' && n < SUBJECT_MAX; from++)
		out[n++] = *from > ' ' && *from < 0x7f ? *from : '?';
	out[n] = '\0';
}

static void
expand(const char *text, const char *subject, struct buf *out)
{
	for (; *text != '\0'; text++) {
		if (text[0] != '%' || text[1] == '\0') {
			buf_add_char(out, *text);
			continue;
		}
		text++;
		if (*text == 'a')
			buf_add_cstr(out, subject);
		else if (*text == '%')
			buf_add_char(out, '%');
		else
			buf_addf(out, "%%%c", *text);
	}
}

void
check_outcome(struct findings *out, const struct outcome *setting,
    const struct outcome_reply *reply, const char *subject)
{
	char safe[SUBJECT_MAX + 1], enhanced[12];
	bool temp = setting->kind == OUTCOME_TEMPFAIL;
	struct buf text;

	if (setting->kind == OUTCOME_OFF)
		return;
	struct finding *f = findings_add(out);
	clean(subject, safe);
	buf_init(&text, 2000);
	expand(setting->text != NULL ? setting->text : reply->text, safe, &text);
	snprintf(enhanced, sizeof(enhanced), "%s", reply->enhanced);
	if (temp)
		enhanced[0] = '4';
	f->verdict = verdict_refuse(temp ? reply->code == 451 ? 451 : 450 : reply->code,
	    enhanced, reply->why, "%s", buf_cstr(&text));
	buf_clear(&text);
	f->refuses = setting->kind == OUTCOME_REJECT || temp;
	f->points = setting->kind == OUTCOME_POINTS ? setting->points : 0;
	snprintf(f->detail, sizeof(f->detail), "%s=%.100s", reply->why, safe);
}

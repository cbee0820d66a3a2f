/* SPDX-License-Identifier: BSD-2-Clause */
/* One message, one header: what is worth telling of several recipients, in the words of
 * RFC 5322. */
#include "policy/greylist_outcome.h"

#include <time.h>

void
greylist_outcome_add(struct greylist_outcome *o, const struct verdict *v,
    const struct greylist_answer *answer, bool observed, int64_t now)
{
	struct greylist_outcome mine = { .why = v->why };

	if (v->action != ACTION_CONTINUE && !observed)
		return; /* that recipient is no part of the message */
	mine.would = v->action != ACTION_CONTINUE;
	if (answer != NULL && answer->state == STORE_OK &&
	    answer->seen.state == GREYLIST_RETRIED) {
		mine.delayed = true;
		mine.seconds = now > answer->seen.first ? now - answer->seen.first : 0;
	}
	if (o->why == NULL ||
	    (mine.delayed && (!o->delayed || mine.seconds > o->seconds)))
		*o = mine;
}

/* RFC 5322 3.3, in UTC and in English whatever the locale. */
static void
add_date(int64_t now, struct buf *out)
{
	static const char days[7][4] = { "Sun", "Mon", "Tue", "Wed", "Thu", "Fri",
		"Sat" };
	static const char months[12][4] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun",
		"Jul", "Aug", "Sep", "Oct", "Nov", "Dec" };
	time_t t = (time_t)now;
	struct tm tm;

	if (gmtime_r(&t, &tm) == NULL)
		return;
	buf_addf(out, "; %s, %d %s %d %02d:%02d:%02d +0000", days[tm.tm_wday],
	    tm.tm_mday, months[tm.tm_mon], tm.tm_year + 1900, tm.tm_hour, tm.tm_min,
	    tm.tm_sec);
}

void
greylist_header(
    const struct greylist_outcome *o, const char *host, int64_t now, struct buf *out)
{
	if (o->delayed)
		buf_addf(out, "delayed %lld seconds by %s (postern-greylist)",
		    (long long)o->seconds, host);
	else if (o->would)
		buf_addf(out,
		    "not delayed by %s (postern-greylist): observing, would be %s",
		    host, o->why);
	else
		buf_addf(out, "not delayed by %s (postern-greylist): %s", host, o->why);
	add_date(now, out);
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* What the facts of the store mean for one recipient.  The store has moved the record
 * already; here it is only judged, so that both stages that greylist judge alike. */
#include "policy/greylist.h"

#include "common/base/buf.h"

/* The setting's text with each %w as the number of seconds; the rest is literal. */
static void
fill_text(struct str text, int64_t wait, struct buf *out)
{
	for (size_t i = 0; i < text.len; i++) {
		if (str_starts(str_sub(text, i, text.len), STR("%w"))) {
			buf_addf(out, "%lld", (long long)wait);
			i++;
		} else {
			buf_add_char(out, text.p[i]);
		}
	}
}

static struct verdict
defer(const struct settings_greylist *set, const char *why, int64_t wait)
{
	struct buf text;

	buf_init(&text, VERDICT_TEXT_MAX - 1);
	fill_text(str_of(set->text), wait, &text);
	struct verdict v = verdict_refuse(451, "4.7.1", why, "%s", buf_cstr(&text));
	v.wait = wait;
	buf_clear(&text);
	return v;
}

static struct verdict
wait_left(const struct settings_greylist *set, const char *why, int64_t left)
{
	if (left <= 0) /* no delay, or one that was shortened since the first try */
		return verdict_continue("retried");
	/* The clock stepped back: nobody waits longer than one delay for that. */
	return defer(set, why, left < set->delay ? left : set->delay);
}

struct verdict
greylist_verdict(const struct settings_greylist *set,
    const struct greylist_answer *answer, int64_t now)
{
	int64_t left;

	/* Losing greylisting for a while is better than losing mail: what is not
	 * recorded would be new at every try. */
	if (answer == NULL || answer->state == STORE_DOWN)
		return verdict_continue("store=down");
	if (answer->state == STORE_FULL)
		return verdict_continue("store=full");
	switch (
	    answer->seen.state) { /* no default: the compiler names a forgotten one */
	case GREYLIST_NEW:
		return set->delay == 0 ? verdict_continue("no delay")
				       : wait_left(set, "greylisted", set->delay);
	case GREYLIST_EARLY:
		if (__builtin_add_overflow(answer->seen.first, set->delay, &left) ||
		    __builtin_sub_overflow(left, now, &left))
			left = set->delay;
		return wait_left(set, "early", left);
	case GREYLIST_RETRIED:
		return verdict_continue("retried");
	case GREYLIST_KNOWN:
		return verdict_continue("known");
	case GREYLIST_WHITELISTED:
		return verdict_continue("auto-whitelisted");
	}
	return verdict_continue("store=down");
}

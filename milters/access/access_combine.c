/* SPDX-License-Identifier: BSD-2-Clause */
/* Findings of many checks made one verdict: refusals of their own, then the sum of the
 * points against the threshold.  Knows no check and asks nothing. */
#include "milters/access/access_combine.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/xalloc.h"

struct finding *
findings_add(struct findings *f)
{
	if (f->n == FINDINGS_MAX) {
		f->dropped = true;
		memset(&f->list[f->n - 1], 0, sizeof(f->list[0]));
		return &f->list[f->n - 1];
	}
	if (f->n == f->size) {
		f->size = f->size == 0 ? 4 : f->size * 2;
		f->list = xreallocarray(f->list, f->size, sizeof(f->list[0]));
	}
	memset(&f->list[f->n], 0, sizeof(f->list[0]));
	return &f->list[f->n++];
}

void
findings_clear(struct findings *f)
{
	free(f->list);
	*f = (struct findings){ 0 };
}

/* What was seen while all findings were gone through. */
struct tally {
	int64_t points;
	const struct finding *reject, *tempfail; /* the first of each */
	const struct finding *heaviest; /* with points above zero */
};

static void
tally_add(struct tally *t, const struct finding *f)
{
	if (f->refuses && f->verdict.action == ACTION_TEMPFAIL) {
		if (t->tempfail == NULL)
			t->tempfail = f;
	} else if (f->refuses && f->verdict.action != ACTION_CONTINUE &&
	    t->reject == NULL) {
		t->reject = f;
	}
	if (__builtin_add_overflow(t->points, f->points, &t->points))
		t->points = f->points > 0 ? INT64_MAX : INT64_MIN;
	if (f->points > 0 && (t->heaviest == NULL || f->points > t->heaviest->points))
		t->heaviest = f;
}

/* The heaviest finding speaks for the sum; its own code may be one for a while. */
static struct verdict
sum_verdict(const struct finding *heaviest)
{
	const struct verdict *v = &heaviest->verdict;
	bool lasting = v->code >= 500 && v->code <= 599 && v->enhanced[0] == '5';

	return verdict_refuse(lasting ? v->code : 550, lasting ? v->enhanced : "5.7.1",
	    v->why != NULL ? v->why : heaviest->check, "%s",
	    v->text[0] != '\0' ? v->text : "Refused by local policy");
}

static struct verdict
decide(const struct tally *t, const struct combine_rules *rules,
    const struct finding **by)
{
	*by = t->reject;
	if (t->reject != NULL)
		return t->reject->verdict;
	*by = t->heaviest;
	if (rules->reject_points > 0 && t->points >= rules->reject_points &&
	    t->heaviest != NULL)
		return sum_verdict(t->heaviest);
	if (t->tempfail == NULL)
		return verdict_continue("checks");
	*by = t->tempfail;
	return t->tempfail->verdict;
}

void
access_combine(const struct findings *sets, size_t n, const struct combine_rules *rules,
    struct combined *out)
{
	struct tally real = { 0 }, all = { 0 };

	for (size_t i = 0; i < n; i++) {
		for (size_t k = 0; k < sets[i].n; k++) {
			const struct finding *f = &sets[i].list[k];

			if ((f->spares & rules->spared) != 0)
				continue;
			tally_add(&all, f);
			if (!f->observe)
				tally_add(&real, f);
		}
	}
	out->points = real.points;
	out->verdict = decide(&real, rules, &out->by);
	out->would = decide(&all, rules, &out->would_by);
}

void
access_points_print(int64_t points, struct buf *out)
{
	uint64_t n = points < 0 ? 0 - (uint64_t)points : (uint64_t)points;
	unsigned rest = (unsigned)(n % 1000);

	buf_addf(out, "%s%llu", points < 0 ? "-" : "", (unsigned long long)(n / 1000));
	if (rest == 0)
		return;
	int digits = 3;
	for (; rest % 10 == 0; digits--)
		rest /= 10;
	buf_addf(out, ".%0*u", digits, rest);
}

void
access_combine_print(
    const struct findings *sets, size_t n, unsigned spared, struct buf *out)
{
	for (size_t i = 0; i < n; i++) {
		for (size_t k = 0; k < sets[i].n; k++) {
			const struct finding *f = &sets[i].list[k];

			if ((f->spares & spared) != 0)
				continue;
			buf_addf(out, "%s%s%s%s%s(", out->len > 0 ? " " : "",
			    f->observe ? "?" : "", f->check,
			    f->detail[0] != '\0' ? ":" : "", f->detail);
			if (f->refuses)
				buf_add_cstr(out, action_name(f->verdict.action));
			else
				access_points_print(f->points, out);
			buf_add_char(out, ')');
		}
		if (sets[i].dropped)
			buf_add_cstr(out, " (more)");
	}
}

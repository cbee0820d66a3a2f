/* SPDX-License-Identifier: BSD-2-Clause */
/* Puts reader, renderer and rules together under one budget of processor time: wall time
 * would make a message's score depend on what else the host does. */
#include "milters/score/work.h"

#include <time.h>

#include "common/mail/charset.h"
#include "common/mail/mime.h"
#include "milters/score/score.h"

#define LOOK_EVERY 16 /* asking for the processor's time costs more than many rules */

struct budget {
	int64_t until_us;
	unsigned asked;
	bool over;
};

static int64_t
cpu_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static bool
is_over(void *arg)
{
	struct budget *b = arg;

	if (b->asked++ % LOOK_EVERY == 0)
		b->over = b->over || cpu_us() > b->until_us;
	return b->over;
}

int
work_load(struct work *w, const char *const *paths, size_t n, struct errs *errs,
    struct errs *notes)
{
	*w = (struct work){ .rules = rules_load(paths, n, errs) };
	if (w->rules == NULL)
		return -1;
	charset_preload();
	w->match = match_new(w->rules, SCORE_SET_LOCAL, notes);
	return 0;
}

void
work_clear(struct work *w)
{
	match_free(w->match);
	rules_free(w->rules);
	*w = (struct work){ .rules = NULL };
}

void
work_message(struct work *w, struct str message, struct str sender, struct hits *out)
{
	struct budget budget = { .until_us = cpu_us() + WORK_BUDGET_MS * 1000 };
	struct render text;
	struct mime mime;

	mime_read(message, &mime);
	/* rules were written against what one reader sees: the plain view */
	render_message(message, &mime.views[0], &text);
	const struct match_input in = { .message = message,
		.sender = sender,
		.text = &text,
		.over = is_over,
		.arg = &budget };
	match_run(w->match, &in, out);
	render_clear(&text);
	mime_clear(&mime);
}

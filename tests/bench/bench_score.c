/* SPDX-License-Identifier: BSD-2-Clause */
/* What the rules cost: messages per second of processor time, the jail's work in one
 * process.  Reading and rendering the same messages without any rule is the measure of the
 * machine.
 *
 *	BENCH_SCORE_RULES	rule file or folder; the shipped rules
 *	BENCH_SCORE_MAIL	folder of messages; some that are made here */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "common/base/conf_tree.h"
#include "common/base/xalloc.h"
#include "common/mail/mime.h"
#include "milters/score/score.h"
#include "milters/score/work.h"

#define MESSAGES_MAX 2000
#define SECONDS 2.0

static struct str mails[MESSAGES_MAX];
static size_t n_mails, octets;

static double
cpu_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void
keep(struct str s)
{
	if (n_mails == MESSAGES_MAX)
		return;
	mails[n_mails++] = s;
	octets += s.len;
}

/* Text of 1 to 40 kB, every other one as HTML with links. */
static void
make_mails(void)
{
	static const char *const words[] = { "meeting", "invoice", "the", "of", "please",
		"tomorrow", "account", "and", "your", "order", "a", "we", "have" };

	for (size_t i = 0; i < 40; i++) {
		struct buf b;

		buf_init(&b, 1 << 20);
		buf_addf(&b,
		    "Received: from a.test (a.test [192.0.2.%zu]) by b.test; Fri, 20 Nov 2026 "
		    "10:00:00 +0000\nFrom: \"A %zu\" <a%zu@a.test>\nTo: b@b.test\nSubject: "
		    "Meeting %zu\nDate: Fri, 20 Nov 2026 10:00:00 +0000\nMessage-Id: "
		    "<%zu@a.test>\nContent-Type: text/%s\n\n",
		    i, i, i, i, i, i % 2 == 0 ? "plain" : "html");
		for (size_t k = 0; k < i * 150 + 100; k++) {
			buf_addf(&b, "%s%s", words[(k * 7 + i) % 13], k % 12 == 11 ? "\n" : " ");
			if (i % 2 == 1 && k % 40 == 0)
				buf_addf(&b, "<p><a href=\"http://w%zu.test/%zu\">here</a>", k, i);
		}
		keep((struct str){ b.p, b.len });
	}
}

static void
read_folder(const char *path)
{
	DIR *d = opendir(path);
	struct dirent *e;

	while (d != NULL && (e = readdir(d)) != NULL) {
		char *file = xasprintf("%s/%s", path, e->d_name);
		struct err err;
		size_t len;
		char *text = conf_read_file(file, &len, &err);

		if (text != NULL)
			keep((struct str){ text, len });
		free(file);
	}
	if (d != NULL)
		closedir(d);
}

static void
only_render(struct str m)
{
	struct render text;
	struct mime mime;

	mime_read(m, &mime);
	render_message(m, &mime.views[0], &text);
	render_clear(&text);
	mime_clear(&mime);
}

static void
all_rules(struct work *w, struct str m)
{
	struct hits hits;
	struct score score;

	work_message(w, m, (struct str){ NULL, 0 }, &hits);
	score_message(w->rules, SCORE_SET_LOCAL, &hits, &score);
	score_clear(&score);
	hits_clear(&hits);
}

/* Messages per second of processor time; w NULL: without rules. */
static double
rate(struct work *w)
{
	double begin = cpu_s();
	size_t done = 0;

	while (cpu_s() - begin < SECONDS)
		for (size_t i = 0; i < n_mails; i++, done++) {
			if (w == NULL)
				only_render(mails[i]);
			else
				all_rules(w, mails[i]);
		}
	return (double)done / (cpu_s() - begin);
}

int
main(void)
{
	const char *rules = getenv("BENCH_SCORE_RULES"), *mail = getenv("BENCH_SCORE_MAIL");
	const char *paths[] = { rules == NULL ? "policy/rules" : rules };
	struct errs errs = { 0 }, notes = { 0 };
	struct work w;

	if (work_load(&w, paths, 1, &errs, &notes) != 0) {
		fprintf(stderr, "bench_score: %s:%d: %s\n", errs.list[0].file, errs.list[0].line,
		    errs.list[0].text);
		return 1;
	}
	if (mail != NULL)
		read_folder(mail);
	else
		make_mails();
	if (n_mails == 0)
		return 1;
	double plain = rate(NULL), full = rate(&w);
	match_set_filtering(w.match, false);
	double unfiltered = rate(&w);
	printf("score: %zu messages of %zu octets on average, %zu patterns, %zu with words\n",
	    n_mails, octets / n_mails, match_compiled(w.match), match_filtered(w.match));
	printf("score: %.0f messages per CPU second with rules, %.0f only read and rendered: "
	       "%.2f; every pattern tried: %.0f\n",
	    full, plain, full / plain, unfiltered);
	work_clear(&w);
	return 0;
}

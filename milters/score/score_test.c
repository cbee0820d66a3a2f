/* SPDX-License-Identifier: BSD-2-Clause */
/* The same engine as in the jail and in the daemon, over files and in one process. */
#include "milters/score/score_test.h"

#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include "common/base/xalloc.h"
#include "milters/score/score.h"
#include "milters/score/work.h"
#include "policy/settings.h"

#define FILE_MAX_OCTETS (64u << 20)
#define PATHS_MAX 100

struct batch {
	const char *paths[PATHS_MAX];
	size_t n_paths;
	struct settings *settings;
	struct work work;
	bool verbose;
};

static void
tell_all(const struct errs *errs)
{
	char text[700];

	for (size_t i = 0; i < errs->n; i++)
		fprintf(stderr, "posternctl test score: %s\n",
		    err_str(&errs->list[i], text, sizeof(text)));
}

static int
load(struct batch *b, const char *conf)
{
	struct errs errs = { 0 }, notes = { 0 };
	int status = EX_OK;

	b->settings = settings_load(conf, &errs);
	for (size_t i = 0; b->settings != NULL && conf != NULL &&
	     i < b->settings->score.rules.n && b->n_paths < PATHS_MAX;
	     i++)
		b->paths[b->n_paths++] = b->settings->score.rules.list[i];
	if (b->settings == NULL ||
	    work_load(&b->work, b->paths, b->n_paths, &errs, &notes) != 0)
		status = EX_CONFIG;
	tell_all(&errs);
	tell_all(&notes);
	errs_clear(&errs);
	errs_clear(&notes);
	return status;
}

static void
print_notes(const struct rules *r)
{
	size_t types[RULE_TYPES] = { 0 }, unsupported = 0;

	for (size_t i = 0; i < r->n; i++) {
		types[r->list[i].type]++;
		unsupported += r->list[i].unsupported != NULL;
	}
	for (size_t i = RULE_HEADER; i < RULE_TYPES; i++)
		printf("# %s rules\t%zu\n", rule_type_name((enum rule_type)i), types[i]);
	printf("# rules that cannot run here\t%zu\n", unsupported);
	for (size_t i = 0; i < r->n; i++)
		if (r->list[i].type != RULE_NONE)
			printf("# rule %s\t%s\t%s\n", r->list[i].name,
			    rule_type_name(r->list[i].type),
			    r->list[i].unsupported == NULL ? "" : r->list[i].unsupported);
	for (size_t i = 0; i < r->n_notes; i++)
		printf("# not acted on: %s\t%zu\t%s:%d\n", r->notes[i].what, r->notes[i].n,
		    r->notes[i].file, r->notes[i].line);
}

/* "NAME" or "NAME=3.5" */
static void
print_hit(const char *name, double value, bool *first)
{
	printf("%s%s", *first ? "" : ",", name);
	if (value < 1 || value > 1)
		printf("=%g", value);
	*first = false;
}

static void
print_message(const struct batch *b, const char *file, const struct hits *h)
{
	const struct rules *r = b->work.rules;
	struct meta_value *values = xcalloc(r->n + 1, sizeof(*values));
	struct score score;
	struct buf points;

	buf_init(&points, 100);
	score_message(r, SCORE_SET_LOCAL, h, &score);
	score_values(r, SCORE_SET_LOCAL, h, values);
	score_print_points(score.points, &points);
	printf("%s\t%s\t", file, buf_cstr(&points));
	bool first = true;
	for (size_t i = 0; i < score.n; i++)
		print_hit(r->list[score.tests[i]].name, score.values[i], &first);
	printf("\t");
	first = true;
	for (size_t i = 0; i < r->n; i++)
		if (rule_is_sub(&r->list[i]) && meta_true(values[i]))
			print_hit(r->list[i].name, values[i].lo, &first);
	/* what nobody knows: rules that did not run, metas that depend on such */
	printf("\t");
	first = true;
	for (size_t i = 0; b->verbose && i < r->n; i++)
		if (!meta_true(values[i]) && !meta_false(values[i]))
			print_hit(r->list[i].name, 1, &first);
	printf("\t%s%s\n", h->cut ? "cut" : "", h->over ? " over" : "");
	buf_clear(&points);
	score_clear(&score);
	free(values);
}

static char *
read_message(const char *path, size_t *len)
{
	struct stat st;
	char *text = NULL;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	*len = 0;
	if (fd < 0)
		return NULL;
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size <= FILE_MAX_OCTETS) {
		text = xmalloc((size_t)st.st_size + 1);
		ssize_t n;
		while (*len < (size_t)st.st_size &&
		    (n = read(fd, text + *len, (size_t)st.st_size - *len)) > 0)
			*len += (size_t)n;
	}
	close(fd);
	return text;
}

static int
run(struct batch *b, char **files, size_t n)
{
	int status = EX_OK;

	if (b->verbose)
		print_notes(b->work.rules);
	for (size_t i = 0; i < n; i++) {
		struct hits hits;
		size_t len;
		char *text = read_message(files[i], &len);

		if (text == NULL) {
			fprintf(stderr, "posternctl test score: cannot read %s\n", files[i]);
			status = EX_NOINPUT;
			continue;
		}
		work_message(&b->work, (struct str){ text, len }, (struct str){ NULL, 0 }, &hits);
		print_message(b, files[i], &hits);
		hits_clear(&hits);
		free(text);
	}
	return status;
}

int
score_test_main(int argc, char **argv)
{
	struct batch b = { .n_paths = 0 };
	const char *conf = NULL;
	int c, status;

	optind = 1;
	while ((c = getopt(argc, argv, "c:r:v")) != -1) {
		if (c == 'c')
			conf = optarg;
		else if (c == 'v')
			b.verbose = true;
		else if (c == 'r' && b.n_paths < PATHS_MAX)
			b.paths[b.n_paths++] = optarg;
		else
			return EX_USAGE;
	}
	if (optind == argc) {
		fprintf(stderr, "posternctl test score: expected files of messages\n");
		return EX_USAGE;
	}
	status = load(&b, conf);
	if (status == EX_OK)
		status = run(&b, argv + optind, (size_t)(argc - optind));
	work_clear(&b.work);
	settings_unref(b.settings);
	return status;
}

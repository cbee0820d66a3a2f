/* SPDX-License-Identifier: BSD-2-Clause */
/* Feeds each test of a scenario to the engine of SPF until that asks nothing more, and
 * prints one line per test. */
#include "contrib/ctl/test_spf.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "common/auth/spf_eval.h"
#include "common/base/log.h"
#include "contrib/ctl/command.h"
#include "contrib/ctl/spf_suite.h"

static void
answer_from_zone(const struct spf_suite *suite, struct spf_facts *facts)
{
	for (size_t i = 0; i < facts->n; i++) {
		struct spf_fact *f = &facts->list[i];

		if (f->answer == NULL)
			f->answer = spf_suite_lookup(suite, str_of(f->name), f->type);
	}
}

/* A column: tabs and ends of lines would make others. */
static void
print_column(FILE *out, const char *s, char end)
{
	for (; *s != '\0'; s++)
		fputc((unsigned char)*s < 0x20 ? ' ' : *s, out);
	fputc(end, out);
}

static void
run_case(const struct spf_suite *suite, struct spf_matcher *matcher,
    const struct spf_case *c, FILE *out)
{
	struct spf_question q = { .helo = c->helo,
		.sender = c->mailfrom,
		.receiver = "unknown",
		.now = (int64_t)time(NULL) };
	struct spf_facts facts = { .n = 0 };
	struct spf_answer answer;

	if (!ip_parse(str_of(c->host), &q.client))
		q.client.family = 0;
	while (!spf_eval(matcher, &q, &facts, &answer))
		answer_from_zone(suite, &facts);
	spf_facts_clear(&facts);
	print_column(out, spf_suite_scenario(suite), '\t');
	print_column(out, c->name, '\t');
	print_column(out, spf_result_name(answer.result), '\t');
	if (answer.result == SPF_FAIL && !answer.explained)
		print_column(out, "DEFAULT", '\n');
	else
		print_column(out, answer.explanation, '\n');
}

int
ctl_test_spf_run(FILE *in, const char *file, FILE *out)
{
	struct spf_suite *suite = spf_suite_new(in, file);
	struct spf_matcher *matcher = spf_matcher_new();
	struct spf_case c;
	struct err err;
	char text[640];
	int rc = -1;

	while (suite != NULL && (rc = spf_suite_next(suite, &err)) == 1)
		for (size_t i = 0; spf_suite_case(suite, i, &c); i++)
			run_case(suite, matcher, &c, out);
	spf_matcher_free(matcher);
	spf_suite_free(suite);
	if (rc != 0) {
		fprintf(stderr, "posternctl: %s\n", err_str(&err, text, sizeof(text)));
		return EX_DATAERR;
	}
	if (fflush(out) != 0 || ferror(out)) {
		fprintf(stderr, "posternctl: output: %s\n", strerror(errno));
		return EX_IOERR;
	}
	return EX_OK;
}

int
ctl_test_spf(int argc, char **argv)
{
	if (argc != 2)
		return ctl_usage("test", "spf: expected one file");
	FILE *in = fopen(argv[1], "r");
	if (in == NULL) {
		fprintf(stderr, "posternctl: %s: %s\n", argv[1], strerror(errno));
		return EX_NOINPUT;
	}
	int rc = ctl_test_spf_run(in, argv[1], stdout);
	fclose(in);
	return rc;
}

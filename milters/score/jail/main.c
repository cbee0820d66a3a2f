/* SPDX-License-Identifier: BSD-2-Clause */
/* postern-scorejail: the jailed program that does everything that touches a message's
 * octets for postern-score, and the only daemon that links PCRE2.  Started by
 * postern-score's supervisor, never by hand:
 *
 *   postern-scorejail --jail=LISTEN,LINK -c FILE      (common/run/jail_program.h)
 *
 * The request is the envelope sender as typed, the answer is what hits.h describes. */
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>

#include "common/base/log.h"
#include "common/base/xalloc.h"
#include "common/run/jail_program.h"
#include "milters/score/hits.h"
#include "milters/score/work.h"
#include "policy/settings.h"

#define JOBS_PER_WORKER 1000

static struct work *loaded; /* by the master, once; given back at its end */

static void
log_all(const struct errs *errs)
{
	for (size_t i = 0; i < errs->n; i++)
		log_err("rules", &errs->list[i]);
}

static int
load(void *arg, void **state, struct err *err)
{
	const struct settings_score *set = &((const struct settings *)arg)->score;
	struct work *w = xcalloc(1, sizeof(*w));
	struct errs errs = { 0 }, notes = { 0 };

	int rc = work_load(w, (const char *const *)set->rules.list, set->rules.n, &errs, &notes);
	log_all(&notes);
	if (rc != 0) {
		log_all(&errs);
		rc = err_set(err, "the rules cannot be read");
		free(w);
		w = NULL;
	} else {
		log_msg(LOG_LEVEL_INFO, "rules", "%zu rules, %zu patterns compiled, %zu refused",
		    w->rules->n, match_compiled(w->match), notes.n + notes.dropped);
	}
	*state = loaded = w;
	errs_clear(&errs);
	errs_clear(&notes);
	return rc;
}

static int
work(void *state, struct str request, struct str message, struct buf *reply, int *output)
{
	struct work *w = state;
	struct hits hits;

	(void)output;
	work_message(w, message, request, &hits);
	hits_write(&hits, w->rules, reply);
	hits_clear(&hits);
	return 0;
}

static void
configure(const struct settings_score *set, struct jail_conf *conf)
{
	*conf = (struct jail_conf){ .workers = (unsigned)set->workers,
		.jobs_per_worker = JOBS_PER_WORKER,
		.queue_max = 1000,
		.memory = set->worker_memory,
		.cpu_s = JOBS_PER_WORKER * (set->budget_ms / 1000 + 1),
		.file_size = JAIL_REPLY_MAX,
		.tmp = set->tmp };
}

int
main(int argc, char **argv)
{
	static const struct jail_ops ops = {
		.name = "postern-scorejail", .load = load, .work = work
	};
	struct errs errs = { 0 };
	struct jail_start start;
	struct jail_conf conf;
	struct err err;

	if (!jail_program_args(argc, argv, &start)) {
		fprintf(stderr, "postern-scorejail is started by postern-score\n");
		return EX_USAGE;
	}
	struct settings *s = settings_load(start.conf_path, &errs);
	if (s == NULL) {
		log_err("start", &errs.list[0]);
		errs_clear(&errs);
		return EX_CONFIG;
	}
	if (log_open("postern-scorejail", s->run.log, (enum log_level)s->run.log_level, &err) != 0)
		log_err("start", &err);
	configure(&s->score, &conf);
	int status = jail_program_run(&ops, s, &conf, &start);
	if (loaded != NULL)
		work_clear(loaded);
	free(loaded);
	settings_unref(s);
	return status;
}

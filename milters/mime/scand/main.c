/* SPDX-License-Identifier: BSD-2-Clause */
/* postern-scand: the jailed program that does everything that touches a message's octets
 * for postern-mime, and the only one that links libclamav.  Started by postern-mime's
 * supervisor, never by hand:
 *
 *   postern-scand --jail=LISTEN,LINK -c FILE      (common/run/jail_program.h)
 *
 * As a binary it is under the GPL version 2 for libclamav's sake; this source stays under
 * the licence above. */
#include <stdio.h>
#include <sysexits.h>

#include "common/base/log.h"
#include "common/base/xalloc.h"
#include "common/run/jail_program.h"
#include "common/run/memfd.h"
#include "milters/mime/scand/inspect.h"
#include "milters/mime/scand/rewrite.h"
#include "policy/settings.h"

struct scand {
	struct clam *clam;
	struct inspect_limits limits;
};

/* Kept until the process ends: to free half a gigabyte of signatures takes longer than to
 * let the kernel have them.  volatile: nobody reads it but those who look for leaks. */
static struct scand *volatile loaded;

static int
load(void *arg, void **state, struct err *err)
{
	const struct settings_mime *set = &((const struct settings *)arg)->mime;
	struct clam_conf conf = { .signatures = set->signatures,
		.scan_size = set->scan_size,
		.file_size = set->scan_size,
		.recursion = (uint32_t)set->archive_depth,
		.files = (uint32_t)set->archive_members,
		.time_ms = (uint32_t)set->scan_time_ms };
	struct scand *s = xcalloc(1, sizeof(*s));

	/* The other half of the budget is for the last scan: a message of many small parts
	 * meets a limit, not the end of its worker. */
	loaded = s;
	s->limits = (struct inspect_limits){
		.decoded = set->scan_size, .depth = 4, .time_ms = set->budget_ms / 2
	};
	s->clam = clam_load(&conf, err);
	*state = s;
	if (s->clam == NULL)
		return -1;
	log_msg(LOG_LEVEL_INFO, "scand", "%s from %s", clam_version(s->clam),
	    conf.signatures);
	return 0;
}

static int
prepare(void *state, const char *dir, struct err *err)
{
	return clam_set_dir(((struct scand *)state)->clam, dir, err);
}

/* The new body as a memfd, and as the reply what is found in the message that it makes:
 * a cut may uncover what it hid. */
static int
rewrite(struct scand *s, struct str request, struct str message, struct buf *reply,
    int *output)
{
	struct buf whole;
	struct err err;
	size_t body;
	int rc = -1;

	buf_init(&whole, message.len + JAIL_REQUEST_MAX * 2);
	if (rewrite_message(request, message, &whole, &body, &err) == 0 &&
	    (*output = memfd_new("rewritten", &err)) >= 0 &&
	    memfd_add(*output, str_sub(buf_str(&whole), body, whole.len), &err) == 0) {
		inspect_message(buf_str(&whole), s->clam, &s->limits, reply);
		rc = 0;
	}
	buf_clear(&whole);
	return rc;
}

static int
work(void *state, struct str request, struct str message, struct buf *reply, int *output)
{
	struct scand *s = state;

	if (str_is(request, "I")) {
		inspect_message(message, s->clam, &s->limits, reply);
		return 0;
	}
	if (!str_starts(request, STR("R")))
		return -1;
	return rewrite(s, str_sub(request, 1, request.len), message, reply, output);
}

/* A life of jobs, each with its budget; a loop in one of them is ended by its budget. */
static void
configure(const struct settings_mime *set, struct jail_conf *conf)
{
	*conf = (struct jail_conf){ .workers = (unsigned)set->workers,
		.jobs_per_worker = 500,
		.queue_max = 1000,
		.memory = set->worker_memory,
		.cpu_s = 500 * (set->budget_ms / 1000 + 1),
		.file_size = set->scan_size * 2,
		.tmp = set->tmp };
}

int
main(int argc, char **argv)
{
	static const struct jail_ops ops = {
		.name = "postern-scand", .load = load, .prepare = prepare, .work = work
	};
	struct errs errs = { 0 };
	struct jail_start start;
	struct jail_conf conf;
	struct err err;

	if (!jail_program_args(argc, argv, &start)) {
		fprintf(stderr, "postern-scand is started by postern-mime\n");
		return EX_USAGE;
	}
	struct settings *s = settings_load(start.conf_path, &errs);
	if (s == NULL) {
		log_err("start", &errs.list[0]);
		errs_clear(&errs);
		return EX_CONFIG;
	}
	if (log_open("postern-scand", s->run.log, (enum log_level)s->run.log_level, &err) != 0)
		log_err("start", &err);
	configure(&s->mime, &conf);
	int status = jail_program_run(&ops, s, &conf, &start);
	settings_unref(s);
	return status;
}

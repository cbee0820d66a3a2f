/* SPDX-License-Identifier: BSD-2-Clause */
/* Block `score`.  Strings are never NULL: "" where nothing is set. */
#ifndef POSTERN_POLICY_SETTINGS_SCORE_H
#define POSTERN_POLICY_SETTINGS_SCORE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/conf.h"

/* What happens to mail that could not be scored; merging takes the later one. */
enum score_failure { SCORE_FAILURE_PASS, SCORE_FAILURE_TEMPFAIL };

struct settings_score { /* block `score` */
	char *socket;
	int64_t socket_mode;
	char *socket_group;
	char *metrics;
	struct conf_strings rules; /* files and folders of .cf files, in order */
	char *tmp; /* where the jail's workers have their directories */
	int64_t workers; /* messages at once */
	uint64_t worker_memory; /* octets beyond what all share */
	bool scan; /* score at all: policies turn it off */
	uint64_t scan_size; /* octets of a message that are looked at */
	int64_t budget_ms; /* of one message on one worker; then the worker is killed */
	int64_t tag, reject; /* points in thousandths */
	int on_failure; /* enum score_failure */
	char *subject_tag; /* put before the subject of tagged mail; "" nothing */
	char *text; /* reply to refused mail */
};

#endif

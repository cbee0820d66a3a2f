/* SPDX-License-Identifier: BSD-2-Clause */
/* What judging needs of a process: the store, the resolver, SPF and the list of public
 * suffixes.  Opened once, by the settings of the start; both daemons that greylist have
 * one. */
#ifndef POSTERN_POLICY_GREYLIST_ENV_H
#define POSTERN_POLICY_GREYLIST_ENV_H

#include "common/auth/spf.h"
#include "common/net/resolver.h"
#include "common/net/suffix.h"
#include "policy/settings.h"
#include "policy/store_opener.h"

struct judge_env {
	struct store_opener *opener;
	struct resolver *resolver;
	struct spf *spf;
	struct suffixes *suffixes; /* NULL: no list; names of clients then say nothing */
};

/* In the worker.  -1: err, and what was opened is closed. */
int judge_env_open(struct judge_env *e, struct settings *s, struct err *err);
/* When no callback runs any more. */
void judge_env_close(struct judge_env *e);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* check_host() of RFC 7208 as a function of the question and of the DNS answers known
 * so far.  Where an answer lacks it names the question and gives up; with the answer it
 * is called again and does all over, which costs microseconds and no thread. */
#ifndef POSTERN_AUTH_SPF_EVAL_H
#define POSTERN_AUTH_SPF_EVAL_H

#include "common/auth/spf.h"
#include "common/auth/spf_match.h"
#include "common/base/future.h"
#include "common/net/dns_answer.h"

struct spf_fact {
	char *name; /* lower case, no final dot, can be asked */
	enum dns_type type;
	struct dns_answer *answer; /* a reference; NULL: wanted */
	struct future *asked; /* for the caller; the engine does not look at it */
};

/* An evaluation asks at most for ten terms with ten names each, and the rest. */
#define SPF_FACTS_MAX 256

struct spf_facts { /* zero: nothing known */
	struct spf_fact *list;
	size_t n, cap;
	/* May be NULL.  A new question: f->answer may be set at once, so that nothing
	 * has to be done over. */
	void (*ask)(void *arg, struct spf_fact *f);
	void *arg;
};

void spf_facts_clear(struct spf_facts *facts);

/* true: out is filled.  false: facts have got entries without an answer; fill them all
 * and call again. */
bool spf_eval(struct spf_matcher *matcher, const struct spf_question *question,
    struct spf_facts *facts, struct spf_answer *out);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* Authentication-Results and Received-SPF of one message: fields that came in under our
 * name are taken out, our own are put on top. */
#ifndef POSTERN_ACCESS_CHECK_AUTH_RESULTS_H
#define POSTERN_ACCESS_CHECK_AUTH_RESULTS_H

#include <stdbool.h>

#include "common/auth/spf.h"
#include "milters/access/check.h"

/* Of one message and both fields; each takes an edit, of which there are 1000. */
#define FORGED_FIELDS_MAX 300

struct auth_fields {
	unsigned seen[2]; /* by kind: how many there were */
	struct forged_field {
		unsigned kind, nth; /* nth of its name, from 1 */
	} forged[FORGED_FIELDS_MAX];
	size_t n_forged;
	bool too_many; /* more than can be taken out */
};

void auth_fields_clear(struct auth_fields *f);
/* A field of the message; id: our name. */
void auth_fields_see(
    struct auth_fields *f, const char *id, struct str name, struct str value);
/* Record the edits.  q, answer: NULL where SPF was not asked: nothing is added then. */
void auth_fields_write(const struct auth_fields *f, const struct check_facts *facts,
    const char *id, const struct spf_question *q, const struct spf_answer *answer);

#endif

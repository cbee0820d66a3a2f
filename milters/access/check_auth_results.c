/* SPDX-License-Identifier: BSD-2-Clause */
/* Fields under our name: RFC 8601 5 wants those that came in removed.  Removals run
 * from the highest index down, because Postfix renumbers after each and sendmail does
 * not (common/run/milter_edits.c sees to it). */
#include "milters/access/check_auth_results.h"

#include "common/auth/auth_results.h"
#include "common/auth/spf_header.h"
#include "common/base/log.h"
#include "common/base/metrics.h"
#include "common/run/milter.h"

METRIC_COUNTER(forged_total, "postern_access_forged_fields_total", NULL,
    "Authentication-Results and Received-SPF under our name that came in");

enum { KIND_RESULTS, KIND_RECEIVED };
static const char *const names[] = { "Authentication-Results", "Received-SPF" };

void
auth_fields_clear(struct auth_fields *f)
{
	*f = (struct auth_fields){ .n_forged = 0 };
}

void
auth_fields_see(
    struct auth_fields *f, const char *id, struct str name, struct str value)
{
	unsigned kind = KIND_RESULTS;

	if (str_is_nocase(name, names[KIND_RECEIVED]))
		kind = KIND_RECEIVED;
	else if (!str_is_nocase(name, names[KIND_RESULTS]))
		return;
	f->seen[kind]++;
	if (kind == KIND_RESULTS ? !auth_results_claims(value, id)
				 : !received_spf_claims(value, id))
		return;
	if (f->n_forged == FORGED_FIELDS_MAX)
		f->too_many = true;
	else
		f->forged[f->n_forged++] = (struct forged_field){ kind, f->seen[kind] };
}

/* The MTA refuses such edits, or there are too many: the mail goes on as it is. */
static void
log_failure(const struct check_facts *facts, const struct err *err)
{
	struct logline l;

	logline_init(&l, LOG_LEVEL_ERR, "access");
	logline_cstr(&l, "qid", facts->queue_id);
	logline_cstr(&l, "error", err->text);
	logline_send(&l);
}

static int
insert(const struct check_facts *facts, unsigned *at, const char *name,
    struct buf *value, struct err *err)
{
	if (value->failed)
		return err_set(err, "%s is too long", name);
	return milter_insert_header(
	    facts->session, (*at)++, str_of(name), buf_str(value), err);
}

/* Above the MTA's own Received (RFC 7208 9.1, RFC 8601 4.1): index 0. */
static int
add_own(const struct check_facts *facts, const char *id, const struct spf_question *q,
    const struct spf_answer *answer, struct err *err)
{
	const struct settings_access *set = &facts->view->access;
	unsigned at = 0;
	struct buf value;
	int rc = 0;

	buf_init(&value, 8192);
	if (set->auth_results) {
		buf_addf(&value, "%s;\n\t", id);
		spf_header_result(q, answer, &value);
		rc = insert(facts, &at, names[KIND_RESULTS], &value, err);
	}
	buf_reset(&value);
	if (rc == 0 && set->received_spf) {
		spf_header_received(id, q, answer, &value);
		rc = insert(facts, &at, names[KIND_RECEIVED], &value, err);
	}
	buf_clear(&value);
	return rc;
}

void
auth_fields_write(const struct auth_fields *f, const struct check_facts *facts,
    const char *id, const struct spf_question *q, const struct spf_answer *answer)
{
	struct err err = { 0 };
	int rc = 0;

	metric_add(&forged_total, f->n_forged);
	for (size_t i = 0; i < f->n_forged && rc == 0; i++)
		rc = milter_change_header(facts->session, f->forged[i].nth,
		    str_of(names[f->forged[i].kind]), STR(""), &err);
	if (rc == 0 && answer != NULL)
		rc = add_own(facts, id, q, answer, &err);
	if (rc != 0)
		log_failure(facts, &err);
}

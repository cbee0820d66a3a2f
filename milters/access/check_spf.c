/* SPDX-License-Identifier: BSD-2-Clause */
/* SPF as a check: asked at MAIL, of the HELO name where the sender is null; the result
 * refuses or has points as the settings say.  The answer also goes into the message's
 * fields, so it is asked even where the client is not judged by it. */
#include "milters/access/check_spf.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/auth/spf_header.h"
#include "common/base/clock.h"
#include "common/base/metrics.h"
#include "common/base/xalloc.h"
#include "milters/access/check_auth_results.h"

#define RESULT_COUNTER(var, result)                                                    \
	METRIC_COUNTER(var, "postern_access_spf_total", "result=\"" result "\"",       \
	    "SPF of senders by result")
RESULT_COUNTER(none_total, "none");
RESULT_COUNTER(neutral_total, "neutral");
RESULT_COUNTER(pass_total, "pass");
RESULT_COUNTER(fail_total, "fail");
RESULT_COUNTER(softfail_total, "softfail");
RESULT_COUNTER(temperror_total, "temperror");
RESULT_COUNTER(permerror_total, "permerror");

/* What passed is judged elsewhere; these look at the client alone. */
#define NOT_ASKED (CHECK_SPARE_AUTHENTICATED | CHECK_SPARE_LOCAL)

struct conn {
	char id[256]; /* authserv-id */
	struct auth_fields fields;
	/* Of the message; the question's strings are these. */
	char sender[2 * ACCESS_ADDR_MAX + 2], helo[1024];
	struct spf_question q;
	struct future *asked; /* NULL: not asked */
	int64_t deadline_ms;
	bool counted;
};

static int
start(const struct check_shared *shared, void **self, struct err *err)
{
	struct spf *pool = spf_new(shared->resolver, 0, err);

	*self = pool;
	return pool != NULL ? 0 : -1;
}

static void
stop(void *self)
{
	spf_free(self);
}

static void
msg_clear(void *self, void *conn)
{
	struct conn *c = conn;

	(void)self;
	future_unref(c->asked);
	c->asked = NULL;
	c->counted = false;
	auth_fields_clear(&c->fields);
}

/* Never empty: a field without a name is nobody's. */
static const char *
id_of(const struct check_facts *facts)
{
	const char *set = facts->view->access.authserv_id;

	for (size_t i = 0; set[0] == '\0' && i < 2; i++)
		set = facts->own_names[i];
	return set[0] != '\0' ? set : "localhost";
}

static void
ask(void *self, void *conn, enum check_phase phase, const struct check_facts *facts)
{
	const struct settings_access *set = &facts->view->access;
	const struct access_addr *sender = facts->sender;
	struct conn *c = conn;

	if (phase != CHECK_MAIL)
		return;
	snprintf(c->id, sizeof(c->id), "%s", id_of(facts));
	if (set->spf == ACCESS_SPF_OFF || c->asked != NULL || facts->ip.family == 0 ||
	    (facts->spared & NOT_ASKED) != 0)
		return;
	if (sender->null)
		c->sender[0] = '\0';
	else
		snprintf(c->sender, sizeof(c->sender), "%s@%s", sender->local,
		    sender->typed_domain);
	snprintf(c->helo, sizeof(c->helo), "%s", facts->helo);
	c->q = (struct spf_question){ .client = facts->ip,
		.helo = c->helo,
		.sender = c->sender,
		.receiver = c->id,
		.now = facts->now };
	c->deadline_ms = clock_mono_ms() + set->spf_deadline_ms;
	c->asked = spf_ask(self, &c->q, c->deadline_ms);
}

static void
count(struct conn *c, enum spf_result result)
{
	static struct metric *const totals[] = { &none_total, &neutral_total,
		&pass_total, &fail_total, &softfail_total, &temperror_total,
		&permerror_total };

	if (!c->counted)
		metric_add(totals[result], 1);
	c->counted = true;
}

/* false: SPF was not asked. */
static bool
answer_of(struct conn *c, const struct check_facts *facts, struct spf_answer *out)
{
	if (c->asked == NULL)
		return false;
	if (check_wait(facts, c->asked, c->deadline_ms))
		*out = *(const struct spf_answer *)future_value(c->asked);
	else
		spf_answer_temperror(out, &c->q, "DNS took too long");
	count(c, out->result);
	return true;
}

/* What a result comes to by the settings.  false: nothing. */
static bool
weigh(const struct settings_access *set, enum spf_result result, struct finding *f)
{
	switch (result) {
	case SPF_NONE:
	case SPF_NEUTRAL:
	case SPF_PASS:
		return false;
	case SPF_FAIL:
		f->refuses = set->spf >= ACCESS_SPF_FAIL;
		f->points = set->spf_fail_points;
		break;
	case SPF_SOFTFAIL:
		f->refuses = set->spf == ACCESS_SPF_SOFTFAIL;
		f->points = set->spf_softfail_points;
		break;
	case SPF_TEMPERROR:
		f->refuses = set->spf_temperror == ACCESS_SPF_TEMPERROR_TEMPFAIL;
		break;
	case SPF_PERMERROR:
		f->refuses = set->spf_permerror == ACCESS_SPF_PERMERROR_REJECT;
		f->points = set->spf_permerror_points;
		break;
	}
	return f->refuses || f->points != 0;
}

static void
judge_spf(struct conn *c, const struct check_facts *facts, struct findings *out)
{
	struct finding found = { .spares = CHECK_SPARE_ALL };
	struct spf_answer answer;
	char text[400];

	if (!answer_of(c, facts, &answer) ||
	    !weigh(&facts->view->access, answer.result, &found))
		return;
	spf_reply_text(&c->q, &answer, text, sizeof(text));
	/* RFC 7372 3.2 */
	if (answer.result == SPF_TEMPERROR)
		found.verdict = verdict_refuse(451, "4.7.24", "spf", "%s", text);
	else
		found.verdict = verdict_refuse(550,
		    answer.result == SPF_PERMERROR ? "5.7.24" : "5.7.23", "spf", "%s",
		    text);
	snprintf(found.detail, sizeof(found.detail), "%s=%.100s",
	    spf_result_name(answer.result),
	    answer.problem[0] != '\0' ? answer.problem : answer.mechanism);
	*findings_add(out) = found;
}

/* Nobody can have that many by accident, and not all can be taken out. */
static void
judge_fields(const struct conn *c, struct findings *out)
{
	if (!c->fields.too_many)
		return;
	struct finding *f = findings_add(out);
	f->refuses = true;
	f->verdict = verdict_refuse(550, "5.7.1", "forged-fields",
	    "More than %d Authentication-Results or Received-SPF fields bear the name "
	    "of this host",
	    FORGED_FIELDS_MAX);
}

static void
judge(void *self, void *conn, enum check_phase phase, const struct check_facts *facts,
    struct findings *out)
{
	(void)self;
	if (phase == CHECK_MAIL)
		judge_spf(conn, facts, out);
	else if (phase == CHECK_EOM)
		judge_fields(conn, out);
}

static void
header(void *self, void *conn, struct str name, struct str value)
{
	struct conn *c = conn;

	(void)self;
	auth_fields_see(&c->fields, c->id, name, value);
}

static void
eom(void *self, void *conn, const struct check_facts *facts)
{
	struct conn *c = conn;
	struct spf_answer answer;

	(void)self;
	bool asked = answer_of(c, facts, &answer);
	auth_fields_write(&c->fields, facts, c->id, &c->q, asked ? &answer : NULL);
}

const struct check_ops check_spf = { .name = "spf",
	.start = start,
	.stop = stop,
	.conn_size = sizeof(struct conn),
	.conn_clear = msg_clear,
	.msg_clear = msg_clear,
	.ask = ask,
	.judge = judge,
	.header = header,
	.eom = eom };

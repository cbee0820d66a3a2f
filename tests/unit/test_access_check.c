/* SPDX-License-Identifier: BSD-2-Clause */
/* The framework of the checks: what is asked and judged when, how long findings hold, who
 * is spared.  The checks are two that write down what they are called for. */
#include <check.h>
#include <stdio.h>
#include <string.h>

#include "milters/access/check.h"
#include "milters/access/check_table.h"

static char diary[2000]; /* of the checks in these tests, one thread */
static const char *finds; /* phases in which "a" finds something worth 3 */

static void
note(const char *who, const char *what, int phase)
{
	size_t n = strlen(diary);

	snprintf(diary + n, sizeof(diary) - n, "%s%s%c ", who, what, "CHMREO"[phase]);
}

static int
start(const struct check_shared *shared, void **self, struct err *err)
{
	if (shared->store != NULL)
		return err_set(err, "no store wanted");
	static char me[] = "a";

	*self = me;
	return 0;
}

static void
stop(void *self)
{
	note(self != NULL ? self : "", "stop", 0);
}

static void
ask(void *self, void *conn, enum check_phase phase, const struct check_facts *facts)
{
	(void)conn;
	(void)facts;
	note(self, "?", (int)phase);
}

static void
judge(void *self, void *conn, enum check_phase phase, const struct check_facts *facts,
    struct findings *out)
{
	(void)conn;
	(void)facts;
	note(self, "!", (int)phase);
	if (strchr(finds, "CHMREO"[phase]) != NULL) {
		struct finding *f = findings_add(out);
		f->points = 3000;
		f->verdict = verdict_refuse(550, "5.7.1", "a", "phase %d", (int)phase);
	}
}

static void
told(void *self, void *conn, enum check_phase phase, const struct check_facts *facts,
    const struct verdict *v)
{
	(void)conn;
	(void)facts;
	note(self, v->action == ACTION_REJECT ? "-" : "+", (int)phase);
}

static const struct check_ops watcher = { .name = "spf",
	.spares = CHECK_SPARE_POSTMASTER | CHECK_SPARE_AUTHENTICATED,
	.start = start,
	.stop = stop,
	.ask = ask,
	.judge = judge,
	.told = told };
static const struct check_ops idle = { .name = "idle" };

struct rig {
	struct checks *checks;
	struct check_conn *conn;
	struct settings *settings;
	struct policy_view view;
	struct check_facts facts;
};

static void
rig_open(struct rig *r, const char *conf)
{
	static const struct check_ops *const table[] = { &idle, &watcher };
	const struct check_shared shared = { .settings = NULL };
	struct errs errs = { 0 };
	struct err err = { 0 };
	char text[200];

	diary[0] = '\0';
	finds = "";
	snprintf(text, sizeof(text), "access { %s }\n", conf);
	r->settings = settings_from_text(str_of(text), "test", &errs);
	ck_assert_ptr_nonnull(r->settings);
	const struct policy_facts facts = { .stage = STAGE_RCPT };
	policy_resolve(r->settings, &facts, &r->view);
	r->checks = checks_start(table, 2, &shared, &err);
	ck_assert_ptr_nonnull(r->checks);
	r->conn = check_conn_new(r->checks);
	r->facts = (struct check_facts){ .view = &r->view };
}

static void
rig_close(struct rig *r)
{
	check_conn_free(r->conn);
	checks_stop(r->checks);
	settings_unref(r->settings);
}

/* One step of a session, as main.c does it. */
static enum action
step(struct rig *r, enum check_phase phase, unsigned spared)
{
	struct combined out;

	r->facts.spared = spared;
	check_ask(r->conn, phase, &r->facts);
	check_judge(r->conn, phase, &r->facts, &out);
	if (phase == CHECK_RCPT || out.verdict.action != ACTION_CONTINUE)
		check_told(r->conn, phase, &r->facts, &out.verdict);
	return out.verdict.action;
}

/* Steps: C H M R E O, "p" recipient postmaster, "." the message ends. */
static const struct {
	const char *conf, *finds, *steps, *diary, *refused; /* at which steps */
} rows[] = {
	{ "", "", "CHMREO", "a?C a?H a?M a?R a!C a!H a!M a!R a+R a?E a!E a?O a!O ", "" },
	{ "refuse mail", "", "CHMR", "a?C a?H a?M a!C a!H a!M a?R a!R a+R ", "" },
	{ "refuse connect", "", "CHMR", "a?C a!C a?H a!H a?M a!M a?R a!R a+R ", "" },
	{ "refuse mail; delay-checks on", "", "CHMR",
	    "a?C a?H a?M a?R a!C a!H a!M a!R a+R ", "" },
	/* a recipient's findings are its own, the client's are for all */
	{ "", "CR", "CHMRR", "a?C a?H a?M a?R a!C a!H a!M a!R a-R a?R a!R a-R ", "RR" },
	{ "", "R", "CHMRR", "a?C a?H a?M a?R a!C a!H a!M a!R a+R a?R a!R a+R ", "" },
	/* what was judged once for the connection is not judged again */
	{ "", "C", "CHMR.MR",
	    "a?C a?H a?M a?R a!C a!H a!M a!R a+R a?M a?R a!M a!R a+R ", "" },
	{ "refuse mail", "CM", "CHM.M", "a?C a?H a?M a!C a!H a!M a-M a?M a!M a-M ",
	    "MM" },
	{ "", "CH", "CHHMR", "a?C a?H a?H a?M a?R a!C a!H a!M a!R a-R ", "R" },
	/* postmaster is not refused, the next recipient is */
	{ "", "CM", "CHMpR", "a?C a?H a?M a+R a?R a!C a!H a!M a!R a-R ", "R" },
	/* one answer for all at the end: postmaster gets the message */
	{ "", "CME", "CHMpEO", "a?C a?H a?M a+R ", "" },
	{ "reject-points 9", "CME", "CHMREO",
	    "a?C a?H a?M a?R a!C a!H a!M a!R a+R a?E a!E a-E a?O a!O a-O ", "EO" },
	{ "observe spf", "CMR", "CHMR", "a?C a?H a?M a?R a!C a!H a!M a!R a+R ", "" },
	{ "reach-postmaster off", "CM", "CHMR", "a?C a?H a?M a?R a!C a!H a!M a!R a-R ",
	    "R" },
};

START_TEST(sessions)
{
	struct rig r;
	char refused[20] = "";

	rig_open(&r, rows[_i].conf);
	finds = rows[_i].finds;
	for (const char *p = rows[_i].steps; *p != '\0'; p++) {
		if (*p == '.') {
			check_msg_clear(r.conn);
			continue;
		}
		const char phases[] = "CHMREO";
		enum check_phase phase = *p == 'p'
		    ? CHECK_RCPT
		    : (enum check_phase)(strchr(phases, *p) - phases);
		if (step(&r, phase, *p == 'p' ? CHECK_SPARE_POSTMASTER : 0) !=
		    ACTION_CONTINUE) {
			refused[strlen(refused) + 1] = '\0';
			refused[strlen(refused)] = *p;
		}
	}
	ck_assert_str_eq(diary, rows[_i].diary);
	ck_assert_str_eq(refused, rows[_i].refused);
	rig_close(&r);
}
END_TEST

START_TEST(authenticated)
{
	struct rig r;

	rig_open(&r, "");
	finds = "CHM";
	step(&r, CHECK_CONNECT, 0);
	step(&r, CHECK_HELO, 0);
	step(&r, CHECK_MAIL, CHECK_SPARE_AUTHENTICATED);
	ck_assert_int_eq(step(&r, CHECK_RCPT, CHECK_SPARE_AUTHENTICATED), ACTION_CONTINUE);
	ck_assert_str_eq(diary, "a?C a?H a+R ");
	rig_close(&r);
}
END_TEST

/* A check that does not start stops those before it. */
START_TEST(one_does_not_start)
{
	static const struct check_ops easy = { .name = "easy", .stop = stop };
	static const struct check_ops *const table[] = { &easy, &watcher };
	int store;
	const struct check_shared shared = { .store = (struct access_store *)(void *)&store };
	struct err err = { 0 };

	diary[0] = '\0';
	ck_assert_ptr_null(checks_start(table, 2, &shared, &err));
	ck_assert_str_eq(err.text, "no store wanted");
	ck_assert_ptr_nonnull(strstr(diary, "stop"));
	checks_stop(NULL);
	check_conn_free(NULL);
}
END_TEST

/* Names stand in settings, logs and metrics. */
START_TEST(the_table)
{
	for (size_t i = 0; i < check_table_n; i++) {
		struct str name = str_of(check_table[i]->name);

		char conf[100];
		struct errs errs = { 0 };

		snprintf(conf, sizeof(conf), "access { observe %s }", name.p);
		struct settings *s = settings_from_text(str_of(conf), "t", &errs);
		ck_assert_msg(s != NULL, "settings do not know the check %s", name.p);
		settings_unref(s);
		for (size_t k = 0; k < i; k++)
			ck_assert_str_ne(check_table[i]->name, check_table[k]->name);
	}
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("access_check");
	TCase *t = tcase_create("access_check");

	tcase_add_loop_test(t, sessions, 0, (int)(sizeof(rows) / sizeof(rows[0])));
	tcase_add_test(t, authenticated);
	tcase_add_test(t, one_does_not_start);
	tcase_add_test(t, the_table);
	suite_add_tcase(s, t);
	SRunner *runner = srunner_create(s);
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? 0 : 1;
}

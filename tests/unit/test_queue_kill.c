/* SPDX-License-Identifier: BSD-2-Clause */
/* kill -9 of the real queue process at every write, fsync, rename and removal of one
 * accepted message's life, before and behind each.  The message has one recipient who
 * takes it and one who refuses, so a bounce is written too.  After each death the next
 * process must, without any help, make good what was acknowledged: both the message and
 * the bounce arrive, nothing is left over, and nothing comes more often than there were
 * deaths. */
#include <check.h>
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/lib/queue_rig.h"

/* The real disk until its time has come.  Threads count together. */
struct killer {
	atomic_uint count;
	unsigned at; /* 0: never */
	bool behind; /* die when the operation is done, not before it */
};

/* Returns true when the process must end behind this operation. */
static bool
strike(struct killer *k)
{
	unsigned n = atomic_fetch_add(&k->count, 1) + 1;

	if (n == k->at && !k->behind)
		raise(SIGKILL);
	return n == k->at;
}

#define STRUCK(call)                                                                   \
	struct killer *k = ctx;                                                        \
	bool last = strike(k);                                                         \
	__typeof__(call) rc = call;                                                    \
	if (last)                                                                      \
		raise(SIGKILL);                                                        \
	return rc

static int
k_open(void *ctx, int dir, const char *name, int flags, mode_t mode)
{
	return qio_real.open(ctx, dir, name, flags, mode);
}

static ssize_t
k_pwrite(void *ctx, int fd, const void *from, size_t len, uint64_t at)
{
	STRUCK(qio_real.pwrite(NULL, fd, from, len, at));
}

static int
k_fsync(void *ctx, int fd)
{
	STRUCK(qio_real.fsync(NULL, fd));
}

static int
k_fdatasync(void *ctx, int fd)
{
	STRUCK(qio_real.fdatasync(NULL, fd));
}

static int
k_rename(void *ctx, int from_dir, const char *from, int to_dir, const char *to)
{
	STRUCK(qio_real.rename(NULL, from_dir, from, to_dir, to));
}

static int
k_unlink(void *ctx, int dir, const char *name)
{
	STRUCK(qio_real.unlink(NULL, dir, name));
}

static struct qio
killing_disk(struct killer *k)
{
	struct qio q = qio_real;

	q.ctx = k;
	q.open = k_open;
	q.pwrite = k_pwrite;
	q.fsync = k_fsync;
	q.fdatasync = k_fdatasync;
	q.rename = k_rename;
	q.unlink = k_unlink;
	return q;
}

static bool
is_dead(pid_t pid)
{

	/* WNOWAIT: it is reaped where its end is judged */
	siginfo_t info = { .si_pid = 0 };
	return waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
	    info.si_pid == pid;
}

static size_t
count_from(struct qrig *r, const char *sender)
{
	size_t n = 0;

	for (size_t i = 0; i < qrig_mails(r); i++)
		n += strcmp(r->sink->mails[i].sender, sender) == 0;
	return n;
}

/* What the supervisor does.  Returns true when there was a death. */
static bool
restart(struct qrig *r)
{
	if (!is_dead(r->queue))
		return false;
	ck_assert_int_eq(WTERMSIG(qrig_kill(&r->queue, SIGKILL)), SIGKILL);
	qrig_queue(r, NULL);
	return true;
}

/* Until n answers came in all; true when there was a death meanwhile. */
static bool
answers_or_deaths(struct qrig *r, int n)
{
	bool died = false;

	for (int i = 0; !qrig_answers(r, n, 20); i++) {
		died |= restart(r);
		ck_assert_int_lt(i, QRIG_WAIT_MS / 20);
	}
	return died;
}

/* One life with a death at operation n.  Returns false when it was never reached. */
static bool
one_death(unsigned n, bool behind, unsigned *acknowledged)
{
	struct killer k = { .at = n, .behind = behind };
	struct qio disk = killing_disk(&k);
	struct qrig r;

	qrig_init(&r);
	qrig_queue(&r, &disk);
	qrig_delivery(&r);
	qrig_listen(&r);
	qrig_submit(&r, "a@x.example", "good@y.example bad@y.example", "");
	bool died = answers_or_deaths(&r, 1);
	/* Its sockets close before it can be waited for: no for an answer is a death,
	 * too. */
	qrig_wait(died || is_dead(r.queue) ||
	    (count_from(&r, "a@x.example") == 1 && count_from(&r, "") == 1 &&
		qrig_spool_empty(&r)));
	died |= restart(&r);
	*acknowledged += r.durable > 0;
	if (r.durable > 0) {
		qrig_wait(count_from(&r, "a@x.example") > 0);
		qrig_wait(count_from(&r, "") > 0);
	}
	/* The next process has looked at everything when it answers for another one. */
	for (int sent = 1, durable = r.durable; r.durable == durable; sent++) {
		ck_assert_int_lt(sent, 10);
		qrig_submit(&r, "b@x.example", "u@y.example", "");
		answers_or_deaths(&r, sent + 1);
	}
	qrig_wait((restart(&r), true) && count_from(&r, "b@x.example") > 0);
	qrig_wait(qrig_spool_empty(&r));
	ck_assert_uint_le(count_from(&r, "a@x.example"), died ? 2 : 1);
	ck_assert_uint_le(count_from(&r, ""), died ? 2 : 1);
	for (size_t i = 0; i < qrig_mails(&r); i++)
		if (strcmp(r.sink->mails[i].sender, "a@x.example") == 0)
			ck_assert_str_eq(r.sink->mails[i].data,
			    "Subject: test\r\n\r\nline\r\n..dot\r\n.\r\n");
	ck_assert_int_eq(qrig_files(&r, "corrupt"), 0);
	ck_assert_int_eq(qrig_files(&r, "quarantine"), 0);
	qrig_end(&r);
	return died;
}

START_TEST(killed_everywhere)
{
	unsigned points = 0, acknowledged = 0;

	for (unsigned n = 1; n < 200; n++, points++)
		if (!one_death(n, _i == 1, &acknowledged))
			break;
	/* write, fsync, fsync of the directory, rename, slot; the same for the bounce
	 */
	ck_assert_uint_ge(points, 10);
	ck_assert_uint_lt(points, 199);
	ck_assert_uint_ge(acknowledged, 5);
	ck_assert_uint_lt(acknowledged, points);
	printf("killed %s each of %u operations; 250 said in %u of %u lives\n",
	    _i == 1 ? "behind" : "before", points, acknowledged, points + 1);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("queue_kill");
	TCase *t = tcase_create("kill");

	signal(SIGPIPE, SIG_IGN);
	tcase_set_timeout(t, 100);
	tcase_add_loop_test(t, killed_everywhere, 0, 2);
	suite_add_tcase(s, t);
	SRunner *sr = srunner_create(s);
	srunner_set_fork_status(sr, CK_FORK);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}

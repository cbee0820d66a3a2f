/* SPDX-License-Identifier: BSD-2-Clause */
/* The threads that wait for the disk: every record and task comes back once, good ones
 * durable and bad ones not, beside each other; batches form by themselves. */
#include <check.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/base/xalloc.h"
#include "contrib/relay/queue_pool.h"

enum { RECORDS = 150, TASKS = 50 };

/* The real disk, counting; each fsync lasts as long as a slow one. */
struct slow {
	struct qio qio;
	atomic_uint fsyncs;
};

static int
slow_fsync(void *ctx, int fd)
{
	struct slow *s = ctx;

	(void)fd;
	s->fsyncs++;
	usleep(500);
	return 0;
}

struct rig {
	struct event_base *base;
	struct slow slow;
	struct queue_disk disk;
	struct queue_pool *pool;
	char spool[40];
	unsigned durable, refused, tasks;
	atomic_uint run;
};

struct task {
	struct queue_task task;
	struct rig *rig;
};

static void
ends(struct rig *r)
{
	if (r->durable + r->refused == RECORDS && r->tasks == TASKS)
		event_base_loopbreak(r->base);
}

static void
on_committed(void *arg, struct queue_commit *c)
{
	struct rig *r = arg;

	if (c->durable) {
		r->durable++;
		ck_assert_str_eq(c->record.envelope.id, c->id);
		record_clear(&c->record);
	} else {
		r->refused++;
		ck_assert(!c->io_failed);
	}
	close(c->source);
	free(c);
	ends(r);
}

static void
run_task(struct queue_task *t)
{
	struct task *task = (struct task *)(void *)t;

	task->rig->run++;
}

static void
task_done(struct queue_task *t)
{
	struct task *task = (struct task *)(void *)t;
	struct rig *r = task->rig;

	r->tasks++;
	free(task);
	ends(r);
}

/* Every tenth is no record. */
static void
commit(struct rig *r, int i)
{
	struct queue_commit *c = xcalloc(1, sizeof(*c));
	struct envelope e;
	struct err err;

	envelope_init(&e);
	snprintf(c->id, sizeof(c->id), "M%d", i);
	snprintf(e.id, sizeof(e.id), "%s", c->id);
	envelope_add_rcpt(&e, "u@y.example");
	c->source = memfd_create("record", MFD_CLOEXEC);
	ck_assert_int_eq(
	    record_write(c->source, &e, STR("A: b\r\n"), -1, 0, 0, &err), 0);
	if (i % 10 == 0)
		ck_assert_int_eq(ftruncate(c->source, 60), 0);
	envelope_clear(&e);
	queue_pool_commit(r->pool, c);
}

static void
start_task(struct rig *r)
{
	struct task *t = xcalloc(1, sizeof(*t));

	*t = (struct task){ { .run = run_task, .done = task_done }, r };
	queue_pool_run(r->pool, &t->task);
}

START_TEST(all_come_back)
{
	struct rig r = { .spool = "/tmp/pool.XXXXXX" };
	struct err err;
	char command[80];

	ck_assert_ptr_nonnull(mkdtemp(r.spool));
	r.base = event_base_new();
	r.slow.qio = qio_real;
	r.slow.qio.ctx = &r.slow;
	r.slow.qio.fsync = slow_fsync;
	ck_assert_int_eq(queue_disk_open(&r.disk, &r.slow.qio, r.spool, true, &err), 0);
	unsigned before = r.slow.fsyncs;
	r.pool = queue_pool_new(r.base, &r.disk, 4, on_committed, &r);
	for (int i = 0; i < RECORDS; i++) {
		commit(&r, i);
		if (i % 3 == 0)
			start_task(&r);
	}
	event_base_dispatch(r.base);
	ck_assert_uint_eq(r.refused, RECORDS / 10);
	ck_assert_uint_eq(r.durable, RECORDS - RECORDS / 10);
	ck_assert_uint_eq(r.run, TASKS);
	/* one for each file; far fewer for the directory than one for each */
	ck_assert_uint_gt(r.slow.fsyncs - before, r.durable);
	ck_assert_uint_lt(r.slow.fsyncs - before, r.durable + r.durable / 2);
	queue_pool_free(r.pool);
	queue_disk_close(&r.disk);
	event_base_free(r.base);
	snprintf(command, sizeof(command), "rm -rf %s", r.spool);
	ck_assert_int_eq(system(command), 0);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("queue_pool");
	TCase *t = tcase_create("pool");

	tcase_set_timeout(t, 30);
	tcase_add_test(t, all_come_back);
	suite_add_tcase(s, t);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}

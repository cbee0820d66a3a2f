/* SPDX-License-Identifier: BSD-2-Clause */
/* The real queue and delivery processes on a real directory, with a next hop played by
 * the test: what is handed in arrives byte for byte, through refusals, outages, kill -9
 * of either process, and orderly ends. */
#include <check.h>
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "tests/lib/dnsd.h"
#include "tests/lib/queue_rig.h"

/* The processes that are forked beside a sink's threads use none of their locks. */
const char *__tsan_default_options(void);
const char *
__tsan_default_options(void)
{
	return "die_after_fork=0";
}

START_TEST(delivered)
{
	struct qrig r;

	qrig_start(&r);
	qrig_listen(&r);
	qrig_submit(&r, "a@x.example", "u@y.example v@z.example", "");
	ck_assert(qrig_answers(&r, 1, QRIG_WAIT_MS));
	ck_assert_int_eq(r.durable, 1);
	qrig_wait(qrig_mails(&r) == 1);
	ck_assert_str_eq(r.sink->mails[0].sender, "a@x.example");
	/* one next hop: one transaction */
	ck_assert_str_eq(r.sink->mails[0].rcpts, "u@y.example v@z.example ");
	ck_assert_str_eq(
	    r.sink->mails[0].data, "Subject: test\r\n\r\nline\r\n..dot\r\n.\r\n");
	qrig_wait(qrig_spool_empty(&r));
	qrig_end(&r);
}
END_TEST

START_TEST(refused_recipient_is_bounced)
{
	struct qrig r;

	qrig_start(&r);
	qrig_listen(&r);
	qrig_submit(&r, "a@x.example", "good@y.example bad@y.example", "");
	ck_assert(qrig_answers(&r, 1, QRIG_WAIT_MS));
	qrig_wait(qrig_mails(&r) == 2);
	qrig_wait(qrig_spool_empty(&r));
	ck_assert_str_eq(qrig_mail_from(&r, "a@x.example")->rcpts, "good@y.example ");
	const struct qrig_mail *bounce = qrig_mail_from(&r, "");
	ck_assert_ptr_nonnull(bounce);
	ck_assert_str_eq(bounce->rcpts, "a@x.example ");
	ck_assert_ptr_nonnull(
	    strstr(bounce->data, "Final-Recipient: rfc822; bad@y.example\r\n"));
	ck_assert_ptr_nonnull(strstr(bounce->data, "Status: 5.1.1\r\n"));
	ck_assert_ptr_nonnull(strstr(bounce->data, "550 5.1.1 no such user"));
	ck_assert_ptr_nonnull(strstr(bounce->data, "Subject: test\r\n"));
	ck_assert_ptr_null(strstr(bounce->data, "dot"));
	ck_assert_ptr_null(strstr(bounce->data, "good@y.example"));
	ck_assert_int_eq(qrig_files(&r, "quarantine"), 0);
	qrig_end(&r);
}
END_TEST

static const struct quarantine_row {
	const char *name, *sender, *rcpts, *hold;
	int failed; /* enum relay_failed */
} quarantine_rows[] = {
	{ "null sender", "", "bad@y.example", "", RELAY_FAILED_BOUNCE },
	{ "no bounces configured", "a@x.example", "bad@y.example", "",
	    RELAY_FAILED_QUARANTINE },
	{ "held", "a@x.example", "u@y.example", "virus", RELAY_FAILED_BOUNCE },
};

START_TEST(quarantine)
{
	const struct quarantine_row *row = &quarantine_rows[_i];
	struct qrig r;

	qrig_init(&r);
	r.conf.failed = row->failed;
	qrig_queue(&r, NULL);
	qrig_delivery(&r);
	qrig_listen(&r);
	qrig_submit(&r, row->sender, row->rcpts, row->hold);
	ck_assert(qrig_answers(&r, 1, QRIG_WAIT_MS));
	ck_assert_int_eq(r.durable, 1);
	qrig_wait(qrig_files(&r, "quarantine") == 1);
	qrig_wait(qrig_spool_empty(&r));
	ck_assert_uint_eq(qrig_mails(&r), 0);
	qrig_end(&r);
}
END_TEST

START_TEST(outage_is_survived)
{
	struct qrig r;

	qrig_start(&r);
	qrig_submit(&r, "a@x.example", "u@y.example", "");
	ck_assert(qrig_answers(&r, 1, QRIG_WAIT_MS));
	qrig_wait(qrig_files(&r, "deferred") == 1);
	qrig_listen(&r);
	qrig_wait(qrig_mails(&r) == 1);
	qrig_wait(qrig_spool_empty(&r));
	qrig_end(&r);
}
END_TEST

START_TEST(busy_mailbox_is_tried_again)
{
	struct qrig r;

	qrig_start(&r);
	qrig_listen(&r);
	qrig_submit(&r, "a@x.example", "u@y.example busy@y.example", "");
	ck_assert(qrig_answers(&r, 1, QRIG_WAIT_MS));
	qrig_wait(qrig_mails(&r) == 1);
	qrig_wait(qrig_files(&r, "deferred") == 1);
	ck_assert_str_eq(r.sink->mails[0].rcpts, "u@y.example ");
	/* it is tried again, but only for the one that is open */
	poll(NULL, 0, 1500);
	ck_assert_uint_eq(qrig_mails(&r), 1);
	ck_assert_int_eq(qrig_files(&r, "deferred") + qrig_files(&r, "active"), 1);
	qrig_end(&r);
}
END_TEST

START_TEST(lifetime_ends_in_a_bounce)
{
	struct qrig r;

	qrig_init(&r);
	r.conf.lifetime = 1;
	qrig_queue(&r, NULL);
	qrig_delivery(&r);
	qrig_listen(&r);
	qrig_submit(&r, "a@x.example", "busy@y.example", "");
	ck_assert(qrig_answers(&r, 1, QRIG_WAIT_MS));
	qrig_wait(qrig_mails(&r) == 1);
	ck_assert_str_eq(r.sink->mails[0].rcpts, "a@x.example ");
	ck_assert_ptr_nonnull(strstr(r.sink->mails[0].data, "Status: 5.4.7"));
	ck_assert_ptr_nonnull(strstr(r.sink->mails[0].data, "mailbox busy"));
	qrig_wait(qrig_spool_empty(&r));
	qrig_end(&r);
}
END_TEST

/* The queue process dies again and again: every message it answered for arrives, from
 * the spool or from memory; a client that was not answered for sends once more. */
START_TEST(queue_killed)
{
	struct qrig r;
	char sender[40];
	int tries = 0;

	qrig_start(&r);
	for (int i = 0; i < 10; i++) {
		snprintf(sender, sizeof(sender), "s%d@x.example", i);
		while (r.durable == i) {
			ck_assert_int_lt(tries, 50);
			qrig_submit(&r, sender, "u@y.example", "");
			ck_assert(qrig_answers(&r, ++tries, QRIG_WAIT_MS));
		}
		qrig_kill(&r.queue, SIGKILL);
		qrig_queue(&r, NULL);
	}
	qrig_listen(&r);
	qrig_wait(qrig_mails(&r) >= 10);
	qrig_wait(qrig_spool_empty(&r));
	for (int i = 0; i < 10; i++) {
		snprintf(sender, sizeof(sender), "s%d@x.example", i);
		ck_assert_msg(qrig_mail_from(&r, sender) != NULL, "%s is lost", sender);
	}
	qrig_end(&r);
}
END_TEST

/* Death of either process while the next hop has the final dot and says nothing. */
START_TEST(killed_behind_the_dot)
{
	struct qrig r;

	qrig_start(&r);
	r.sink->stall = true;
	qrig_listen(&r);
	qrig_submit(&r, "a@x.example", "u@y.example", "");
	ck_assert(qrig_answers(&r, 1, QRIG_WAIT_MS));
	qrig_wait(r.sink->stalled == 1);
	qrig_kill(_i == 0 ? &r.delivery : &r.queue, SIGKILL);
	r.sink->stall = false;
	if (_i == 0)
		qrig_delivery(&r);
	else
		qrig_queue(&r, NULL);
	qrig_wait(qrig_mails(&r) == 1);
	qrig_wait(qrig_spool_empty(&r));
	qrig_end(&r);
}
END_TEST

START_TEST(many_at_once)
{
	struct qrig r;

	qrig_start(&r);
	qrig_listen(&r);
	for (int i = 0; i < 200; i++) {
		char sender[40];

		snprintf(sender, sizeof(sender), "s%d@x.example", i);
		qrig_submit(&r, sender, "u@y.example", "");
	}
	ck_assert(qrig_answers(&r, 200, QRIG_WAIT_MS));
	ck_assert_int_eq(r.durable, 200);
	qrig_wait(qrig_mails(&r) == 200);
	for (int i = 0; i < 200; i++) {
		char sender[40];

		snprintf(sender, sizeof(sender), "s%d@x.example", i);
		ck_assert_msg(qrig_mail_from(&r, sender) != NULL, "%s is lost", sender);
	}
	qrig_wait(qrig_spool_empty(&r));
	qrig_end(&r);
}
END_TEST

/* A record that is none, an id that is no name: refused, and the process lives on. */
START_TEST(hostile_submissions)
{
	static const char *const ids[] = { "ID", "../x", "", "a/b", "ID" };
	struct qrig r;

	qrig_start(&r);
	qrig_listen(&r);
	for (int i = 0; i < 5; i++) {
		int fd = memfd_create("record", MFD_CLOEXEC);

		ck_assert_int_ge(
		    dprintf(fd, "%.*s", i * 20,
			"PSTRNQ\r\nxxxxxxxxxxxxxxxxxxxxxxxxxxx"
			"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"),
		    0);
		queue_client_submit(r.client, ids[i], fd, qrig_on_answer, &r);
	}
	ck_assert(qrig_answers(&r, 5, QRIG_WAIT_MS));
	ck_assert_int_eq(r.durable, 0);
	qrig_submit(&r, "a@x.example", "u@y.example", "");
	ck_assert(qrig_answers(&r, 6, QRIG_WAIT_MS));
	ck_assert_int_eq(r.durable, 1);
	qrig_wait(qrig_mails(&r) == 1);
	qrig_end(&r);
}
END_TEST

/* RFC 5321 6.3: a hundred hops are borne, one more is a loop. */
START_TEST(loops_end)
{
	struct qrig r;
	struct buf text;

	qrig_start(&r);
	qrig_listen(&r);
	buf_init(&text, 1 << 20);
	for (int i = 0; i < 100; i++)
		buf_addf(&text, "Received: from a by b; hop %d\r\n", i);
	buf_add_cstr(&text, "Subject: round\r\n\r\n\r\n");
	qrig_submit_text(&r, "a@x.example", "u@y.example", "", buf_str(&text));
	ck_assert(qrig_answers(&r, 1, QRIG_WAIT_MS));
	qrig_wait(qrig_mail_from(&r, "a@x.example") != NULL);
	buf_reset(&text);
	for (int i = 0; i < 101; i++)
		buf_addf(&text, "received: from a by b; hop %d\r\n", i);
	buf_add_cstr(&text, "\r\n");
	qrig_submit_text(&r, "b@x.example", "u@y.example", "", buf_str(&text));
	ck_assert(qrig_answers(&r, 2, QRIG_WAIT_MS));
	qrig_wait(qrig_mail_from(&r, "") != NULL);
	ck_assert_ptr_nonnull(
	    strstr(qrig_mail_from(&r, "")->data, "Status: 5.4.6\r\n"));
	ck_assert_ptr_null(qrig_mail_from(&r, "b@x.example"));
	qrig_wait(qrig_spool_empty(&r));
	buf_clear(&text);
	qrig_end(&r);
}
END_TEST

static void
write_table(char path[64], uint16_t port)
{
	snprintf(path, 64, "/tmp/table.XXXXXX");
	int fd = mkstemp(path);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_ge(dprintf(fd,
			     "closed.example\terror:5.7.1:550 closed for mail\n"
			     "routed.example\tsmtp:mx.example:%u\n"
			     "later.example\terror:4.3.0:450 not today\n",
			     port),
	    0);
	close(fd);
}

/* Four recipients with four fates: the first host of the MX takes no connection, the
 * mailertable refuses one for ever and one for now, one goes to the smarthost. */
START_TEST(fates_of_one_message)
{
	static const char zone[] = "mx.example MX 10 dead.example\n"
				   "mx.example MX 20 live.example\n"
				   "dead.example A 127.0.0.2\n"
				   "live.example A 127.0.0.1\n";
	struct qrig r;
	struct err err;
	char table[64];
	struct dnsd *d = dnsd_start(str_of(zone), 0, &err);

	ck_assert_ptr_nonnull(d);
	qrig_init(&r);
	write_table(table, r.sink->port);
	r.conf.mailertable = table;
	snprintf(r.dns, sizeof(r.dns), "127.0.0.1:%u", dnsd_port(d));
	qrig_queue(&r, NULL);
	qrig_delivery(&r);
	qrig_listen(&r);
	qrig_submit(&r, "a@x.example",
	    "u@routed.example u@closed.example u@smart.example u@later.example", "");
	ck_assert(qrig_answers(&r, 1, QRIG_WAIT_MS));
	qrig_wait(qrig_mails(&r) == 3);
	ck_assert_ptr_nonnull(qrig_mail_from(&r, ""));
	ck_assert_ptr_nonnull(
	    strstr(qrig_mail_from(&r, "")->data, "550 5.7.1 closed for mail"));
	/* for the one that is refused today only */
	qrig_wait(qrig_files(&r, "incoming") + qrig_files(&r, "active") +
		qrig_files(&r, "deferred") ==
	    1);
	unlink(table);
	qrig_end(&r);
	dnsd_stop(d);
}
END_TEST

/* The real disk, but fsync and write fail while *fault says so; shared by processes. */
static int
f_fsync(void *ctx, int fd)
{
	atomic_int *fault = ctx;

	if (*fault == 0)
		return qio_real.fsync(NULL, fd);
	errno = *fault;
	return -1;
}

static ssize_t
f_pwrite(void *ctx, int fd, const void *from, size_t len, uint64_t at)
{
	atomic_int *fault = ctx;

	/* a full disk takes a part */
	if (*fault == ENOSPC && len > 100)
		len = 100;
	else if (*fault == ENOSPC) {
		errno = ENOSPC;
		return -1;
	}
	return qio_real.pwrite(NULL, fd, from, len, at);
}

static bool
accepting(struct qrig *r)
{
	const char *why;

	event_base_loop(r->base, EVLOOP_NONBLOCK);
	return queue_client_accepting(r->client, &why);
}

static const int disk_faults[] = { EIO, ENOSPC };

/* Two failures end accepting, a probe that succeeds begins it again; nothing that was
 * refused is there afterwards. */
START_TEST(failing_disk)
{
	struct qrig r;
	struct qio disk = qio_real;
	const char *why;
	atomic_int *fault = mmap(NULL, sizeof(*fault), PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	ck_assert_ptr_ne(fault, MAP_FAILED);
	disk.ctx = fault;
	disk.fsync = f_fsync;
	disk.pwrite = f_pwrite;
	qrig_init(&r);
	qrig_queue(&r, &disk);
	qrig_delivery(&r);
	qrig_listen(&r);
	qrig_submit(&r, "first@x.example", "u@y.example", "");
	ck_assert(qrig_answers(&r, 1, QRIG_WAIT_MS));
	ck_assert_int_eq(r.durable, 1);
	*fault = disk_faults[_i];
	for (int i = 2; i <= 4; i++) {
		qrig_submit(&r, "lost@x.example", "u@y.example", "");
		ck_assert(qrig_answers(&r, i, QRIG_WAIT_MS));
		ck_assert_int_eq(r.durable, 1);
	}
	qrig_wait(!accepting(&r));
	queue_client_accepting(r.client, &why);
	ck_assert_str_eq(why, "the mail queue's disk fails");
	*fault = 0;
	qrig_wait(accepting(&r));
	qrig_submit(&r, "last@x.example", "u@y.example", "");
	ck_assert(qrig_answers(&r, 5, QRIG_WAIT_MS));
	ck_assert_int_eq(r.durable, 2);
	qrig_wait(qrig_mail_from(&r, "last@x.example") != NULL);
	qrig_wait(qrig_spool_empty(&r));
	ck_assert_ptr_nonnull(qrig_mail_from(&r, "first@x.example"));
	ck_assert_ptr_null(qrig_mail_from(&r, "lost@x.example"));
	qrig_end(&r);
	munmap(fault, sizeof(*fault));
}
END_TEST

/* Hardly any descriptors: some are refused, none is lost, and it passes. */
START_TEST(few_descriptors)
{
	struct qrig r;
	struct rlimit before, few;

	qrig_start(&r);
	qrig_submit(&r, "first@x.example", "u@y.example", "");
	ck_assert(qrig_answers(&r, 1, QRIG_WAIT_MS));
	ck_assert_int_eq(prlimit(r.queue, RLIMIT_NOFILE, NULL, &before), 0);
	few = before;
	few.rlim_cur = 30;
	ck_assert_int_eq(prlimit(r.queue, RLIMIT_NOFILE, &few, NULL), 0);
	for (int i = 0; i < 60; i++)
		qrig_submit(&r, "many@x.example", "u@y.example", "");
	ck_assert(qrig_answers(&r, 61, QRIG_WAIT_MS));
	ck_assert_int_eq(prlimit(r.queue, RLIMIT_NOFILE, &before, NULL), 0);
	qrig_listen(&r);
	for (int sent = 61, had = r.durable; r.durable == had; sent++) {
		ck_assert_int_lt(sent, 1000);
		qrig_submit(&r, "last@x.example", "u@y.example", "");
		ck_assert(qrig_answers(&r, sent + 1, QRIG_WAIT_MS));
		poll(NULL, 0, 10);
	}
	qrig_wait(qrig_mail_from(&r, "last@x.example") != NULL);
	qrig_wait(qrig_spool_empty(&r));
	ck_assert_ptr_nonnull(qrig_mail_from(&r, "first@x.example"));
	/* what broke off on the way back may have been stored all the same */
	ck_assert_int_ge((int)qrig_mails(&r), r.durable);
	qrig_end(&r);
}
END_TEST

/* A disk with room for nothing more: answered, not lost; afterwards all is well. */
START_TEST(full_disk)
{
	struct qrig r;
	const char *why;

	qrig_init(&r);
	r.conf.min_free = UINT64_MAX;
	qrig_queue(&r, NULL);
	qrig_delivery(&r);
	qrig_wait(!accepting(&r));
	queue_client_accepting(r.client, &why);
	ck_assert_str_eq(why, "the mail queue's disk is full");
	qrig_end(&r);
}
END_TEST

#define COUNT(a) ((int)(sizeof(a) / sizeof((a)[0])))

int
main(void)
{
	Suite *s = suite_create("queue_process");
	TCase *t = tcase_create("processes");

	signal(SIGPIPE, SIG_IGN);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, delivered);
	tcase_add_test(t, refused_recipient_is_bounced);
	tcase_add_loop_test(t, quarantine, 0, COUNT(quarantine_rows));
	tcase_add_test(t, outage_is_survived);
	tcase_add_test(t, busy_mailbox_is_tried_again);
	tcase_add_test(t, lifetime_ends_in_a_bounce);
	tcase_add_test(t, queue_killed);
	tcase_add_loop_test(t, killed_behind_the_dot, 0, 2);
	tcase_add_test(t, many_at_once);
	tcase_add_test(t, hostile_submissions);
	tcase_add_test(t, loops_end);
	tcase_add_test(t, fates_of_one_message);
	tcase_add_loop_test(t, failing_disk, 0, COUNT(disk_faults));
	tcase_add_test(t, few_descriptors);
	tcase_add_test(t, full_disk);
	suite_add_tcase(s, t);
	SRunner *sr = srunner_create(s);
	/* Each case in a process of its own, also under TSan: threads must not outlive
	 * it. */
	srunner_set_fork_status(sr, CK_FORK);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}

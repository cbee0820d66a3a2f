/* SPDX-License-Identifier: BSD-2-Clause */
/* Scheduling without disk, socket or clock. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "contrib/relay/queue.h"

static const struct queue_limits limits = { .retry_min = 300,
	.retry_max = 4000,
	.lifetime = 432000,
	.active_max = 5,
	.per_host = 2 };

static const struct backoff_row {
	uint32_t tries;
	int64_t wait;
} backoffs[] = { { 0, 300 }, { 1, 300 }, { 2, 600 }, { 3, 1200 }, { 4, 2400 },
	{ 5, 4000 }, { 6, 4000 }, { UINT32_MAX, 4000 } };

START_TEST(backoff)
{
	ck_assert_int_eq(queue_backoff(&limits, backoffs[_i].tries), backoffs[_i].wait);
}
END_TEST

static const struct expiry_row {
	int64_t received, now;
	uint32_t tries;
	bool expired;
} expiries[] = {
	{ 1000, 1000, 0, false }, { 1000, 433000, 100, false },
	{ 1000, 433001, 100, true },
	{ 1000, 433001, 9, false }, /* the clock jumped: not tried in earnest */
	{ 1000, 433001, 10, true }, { 1000, INT32_MAX, 0, false },
	{ 433001, 1000, 100, false }, /* received in the future */
};

START_TEST(expiry)
{
	const struct expiry_row *r = &expiries[_i];

	ck_assert_int_eq(
	    queue_expired(&limits, r->received, r->now, r->tries), r->expired);
}
END_TEST

START_TEST(expiry_of_short_lives)
{
	struct queue_limits l = { .retry_min = 1, .retry_max = 5, .lifetime = 3 };

	ck_assert(!queue_expired(&l, 100, 104, 0));
	ck_assert(queue_expired(&l, 100, 104, 1));
}
END_TEST

static const struct due_row {
	int64_t next_try, due_ms; /* now: 10000 s, 77 ms */
} dues[] = {
	{ 9000, 77 },
	{ 10000, 77 },
	{ 10001, 1077 },
	{ 13999, 3999077 },
	{ 14000, 4000077 },
	{ 99999, 4000077 }, /* the clock went back a day */
	{ INT64_MAX, 4000077 },
	{ INT64_MIN, 77 },
};

START_TEST(due)
{
	ck_assert_int_eq(
	    queue_due_ms(&limits, dues[_i].next_try, 10000, 77), dues[_i].due_ms);
}
END_TEST

START_TEST(fresh_and_due_take_turns)
{
	struct queue *q = queue_new(&limits);
	static const char *const expected[] = { "F1", "D1", "F2", "D2", "F3" };

	ck_assert_ptr_nonnull(queue_add(q, "F1", QUEUE_INCOMING, true, 0));
	ck_assert_ptr_nonnull(queue_add(q, "F2", QUEUE_INCOMING, true, 0));
	ck_assert_ptr_nonnull(queue_add(q, "F3", QUEUE_INCOMING, true, 0));
	ck_assert_ptr_nonnull(queue_add(q, "D3", QUEUE_DEFERRED, false, 300));
	ck_assert_ptr_nonnull(queue_add(q, "D1", QUEUE_DEFERRED, false, 100));
	ck_assert_ptr_nonnull(queue_add(q, "D2", QUEUE_DEFERRED, false, 200));
	ck_assert_ptr_null(queue_add(q, "D2", QUEUE_INCOMING, true, 0));
	for (int i = 0; i < 5; i++)
		ck_assert_str_eq(queue_pick(q, 250)->id, expected[i]);
	ck_assert_ptr_null(queue_pick(q, 1000)); /* active_max */
	ck_assert_int_eq(queue_next_due(q, 1000), -1);
	queue_remove(q, queue_find(q, "F1"));
	ck_assert_int_eq(queue_next_due(q, 250), 50);
	ck_assert_ptr_null(queue_pick(q, 250));
	ck_assert_int_eq(queue_next_due(q, 300), 0);
	ck_assert_str_eq(queue_pick(q, 300)->id, "D3");
	queue_free(q);
}
END_TEST

START_TEST(deferred_comes_back)
{
	struct queue *q = queue_new(&limits);
	struct queue_entry *e = queue_add(q, "A", QUEUE_INCOMING, true, 0);

	ck_assert_ptr_eq(queue_pick(q, 0), e);
	queue_defer(q, e, 5000);
	ck_assert_ptr_null(queue_pick(q, 4999));
	ck_assert_int_eq(queue_next_due(q, 1000), 4000);
	ck_assert_uint_eq(queue_count(q).waiting, 1);
	ck_assert_ptr_eq(queue_pick(q, 5000), e);
	queue_remove(q, e);
	ck_assert_ptr_null(queue_find(q, "A"));
	ck_assert_int_eq(queue_next_due(q, 0), -1);
	queue_free(q);
}
END_TEST

/* Many times in random order come out in order; removal from the middle keeps it. */
START_TEST(heap_is_in_order)
{
	struct queue_limits l = limits;
	unsigned seed = 7;
	int64_t last = -1;
	int n = 0;

	l.active_max = 1000;
	struct queue *q = queue_new(&l);
	for (int i = 0; i < 500; i++) {
		char id[MESSAGE_ID_MAX];

		snprintf(id, sizeof(id), "M%d", i);
		seed = seed * 1103515245 + 12345;
		ck_assert_ptr_nonnull(
		    queue_add(q, id, QUEUE_DEFERRED, false, seed / 65536 % 1000));
	}
	for (int i = 0; i < 500; i += 3) {
		char id[MESSAGE_ID_MAX];

		snprintf(id, sizeof(id), "M%d", i);
		queue_remove(q, queue_find(q, id));
	}
	for (struct queue_entry *e; (e = queue_pick(q, 2000)) != NULL; n++) {
		ck_assert_int_ge(e->due_ms, last);
		last = e->due_ms;
	}
	ck_assert_int_eq(n, 333);
	queue_free(q);
}
END_TEST

START_TEST(next_hops_take_turns)
{
	struct queue *q = queue_new(&limits);
	struct queue_entry *e = queue_add(q, "A", QUEUE_INCOMING, true, 0);
	bool dead;
	char order[8] = "", big = 'b', small = 's';

	queue_pick(q, 0);
	for (int i = 0; i < 3; i++)
		queue_job_add(q, e, STR("big"), &big);
	queue_job_add(q, e, STR("small"), &small);
	struct queue_job *jobs[4];
	for (int i = 0; i < 3; i++) {
		jobs[i] = queue_job_next(q, 0, &dead);
		ck_assert(!dead);
		order[i] = ((const char *)jobs[i]->data)[0];
	}
	ck_assert_str_eq(order, "bsb");
	/* two run there already */
	ck_assert_ptr_null(queue_job_next(q, 0, &dead));
	ck_assert_uint_eq(queue_count(q).running, 3);
	queue_job_done(q, jobs[0], false, 0);
	jobs[3] = queue_job_next(q, 0, &dead);
	ck_assert_ptr_nonnull(jobs[3]);
	ck_assert_uint_eq(queue_count(q).jobs, 3);
	ck_assert_ptr_eq(queue_job_find(q, jobs[3]->number), jobs[3]);
	queue_job_done(q, jobs[3], false, 0);
	ck_assert_ptr_null(queue_job_find(q, 4711));
	queue_free(q);
}
END_TEST

START_TEST(dead_next_hop)
{
	struct queue *q = queue_new(&limits);
	struct queue_entry *e = queue_add(q, "A", QUEUE_INCOMING, true, 0);
	bool dead;

	queue_pick(q, 0);
	queue_job_add(q, e, STR("host"), NULL);
	queue_job_add(q, e, STR("host"), NULL);
	queue_job_add(q, e, STR("host"), NULL);
	struct queue_job *j = queue_job_next(q, 0, &dead);
	ck_assert(!dead);
	queue_job_done(q, j, true, 1000);
	/* 300 s / 5 */
	j = queue_job_next(q, 60999, &dead);
	ck_assert(dead);
	queue_job_done(q, j, true, 60999);
	/* not prolonged by what was not tried */
	j = queue_job_next(q, 61000, &dead);
	ck_assert(!dead);
	queue_job_done(q, j, true, 61000);
	/* known while it is dead, though nothing waits for it */
	queue_job_add(q, e, STR("host"), NULL);
	j = queue_job_next(q, 61001, &dead);
	ck_assert(dead);
	queue_job_done(q, j, true, 61001);
	ck_assert_ptr_null(queue_job_next(q, 200000, &dead));
	queue_job_add(q, e, STR("host"), NULL);
	j = queue_job_next(q, 61002, &dead);
	ck_assert(!dead); /* forgotten */
	queue_job_done(q, j, false, 61002);
	queue_free(q);
}
END_TEST

START_TEST(job_again)
{
	struct queue *q = queue_new(&limits);
	struct queue_entry *e = queue_add(q, "A", QUEUE_INCOMING, true, 0);
	bool dead;

	queue_pick(q, 0);
	struct queue_job *first = queue_job_add(q, e, STR("host"), NULL);
	queue_job_add(q, e, STR("host"), NULL);
	ck_assert_ptr_eq(queue_job_next(q, 0, &dead), first);
	queue_job_again(q, first);
	ck_assert_uint_eq(queue_count(q).running, 0);
	ck_assert_ptr_eq(queue_job_next(q, 0, &dead), first);
	queue_free(q);
}
END_TEST

#define COUNT(a) ((int)(sizeof(a) / sizeof((a)[0])))

int
main(void)
{
	Suite *s = suite_create("queue");
	TCase *t = tcase_create("queue");

	tcase_add_loop_test(t, backoff, 0, COUNT(backoffs));
	tcase_add_loop_test(t, expiry, 0, COUNT(expiries));
	tcase_add_test(t, expiry_of_short_lives);
	tcase_add_loop_test(t, due, 0, COUNT(dues));
	tcase_add_test(t, fresh_and_due_take_turns);
	tcase_add_test(t, deferred_comes_back);
	tcase_add_test(t, heap_is_in_order);
	tcase_add_test(t, next_hops_take_turns);
	tcase_add_test(t, dead_next_hop);
	tcase_add_test(t, job_again);
	suite_add_tcase(s, t);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}

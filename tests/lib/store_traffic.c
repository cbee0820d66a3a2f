/* SPDX-License-Identifier: BSD-2-Clause */
/* The threads of store_traffic.h. */
#include "tests/lib/store_traffic.h"

#include <poll.h>
#include <stdio.h>

#include <check.h>

#include "common/base/clock.h"
#include "tests/lib/store_rig.h"

#define WAIT_MS 60000

static struct future *
ask(struct store_asker *a, long long n)
{
	struct store *s = a->traffic->store;
	char key[64];

	if (!a->traffic->triples)
		return store_rate_add(
		    s, str_of(a->bucket), 1, 1000000000, 0, 1, RIG_T0);
	snprintf(key, sizeof(key), "%s-%lld", a->bucket, n);
	return store_greylist_check(
	    s, NULL, str_of(key), str_of(key), &rig_times, RIG_T0);
}

static void *
asker_run(void *arg)
{
	struct store_asker *a = arg;

	for (long long n = 0; !a->traffic->stop; n++) {
		int64_t begin = clock_mono_ms();
		struct future *f = ask(a, n);

		if (!future_wait(f, begin + RIG_WAIT_MS)) {
			a->unanswered++;
		} else { /* state is the first member of each answer */
			enum store_state state = *(enum store_state *)future_value(f);

			a->ok += state == STORE_OK;
			a->down += state == STORE_DOWN;
			a->full += state == STORE_FULL;
		}
		future_unref(f);
		int64_t took = clock_mono_ms() - begin;
		a->slowest_ms = took > a->slowest_ms ? took : a->slowest_ms;
		poll(NULL, 0, a->traffic->pause_ms);
	}
	return NULL;
}

static void
start(struct store_traffic *t, struct store *s, int n, int pause_ms, bool triples)
{
	memset(t, 0, sizeof(*t));
	t->store = s;
	t->n = n;
	t->pause_ms = pause_ms;
	t->triples = triples;
	for (int i = 0; i < n; i++) {
		struct store_asker *a = &t->asker[i];

		a->traffic = t;
		snprintf(a->bucket, sizeof(a->bucket), "own%d", i);
		ck_assert(pthread_create(&a->thread, NULL, asker_run, a) == 0);
	}
}

void
store_traffic_start(struct store_traffic *t, struct store *s, int n, int pause_ms)
{
	start(t, s, n, pause_ms, false);
}

void
store_traffic_triples(struct store_traffic *t, struct store *s, int n, int pause_ms)
{
	start(t, s, n, pause_ms, true);
}

static long long
answered(const struct store_traffic *t)
{
	long long sum = 0;

	for (int i = 0; i < t->n; i++)
		sum += t->asker[i].ok;
	return sum;
}

void
store_traffic_wait(struct store_traffic *t, long long more)
{
	int64_t until = clock_mono_ms() + WAIT_MS;
	long long goal = answered(t) + more;

	while (answered(t) < goal) {
		ck_assert_msg(clock_mono_ms() < until, "traffic stands still");
		poll(NULL, 0, 5);
	}
}

struct store_traffic_sum
store_traffic_stop(struct store_traffic *t)
{
	struct store_traffic_sum sum = { 0 };

	t->stop = true;
	for (int i = 0; i < t->n; i++) {
		struct store_asker *a = &t->asker[i];

		pthread_join(a->thread, NULL);
		sum.ok += a->ok;
		sum.down += a->down;
		sum.full += a->full;
		sum.unanswered += a->unanswered;
		if (a->slowest_ms > sum.slowest_ms)
			sum.slowest_ms = a->slowest_ms;
	}
	return sum;
}

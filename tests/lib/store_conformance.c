/* SPDX-License-Identifier: BSD-2-Clause */
/* The conformance suite of the store: what every operation means, whichever engine
 * keeps it; and at random, that each step is the one of the pure tables in C. */
#include "tests/lib/store_conformance.h"

#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <check.h>

#include "common/base/clock.h"
#include "db/store_step.h"
#include "tests/lib/store_conformance_entries.h"
#include "tests/lib/store_conformance_facts.h"
#include "tests/lib/store_conformance_maps.h"
#include "tests/lib/store_rig.h"

#define N(a) ((int)(sizeof(a) / sizeof((a)[0])))
#define T0 RIG_T0
#define DAY RIG_DAY
#define WAIT_MS RIG_WAIT_MS

static const struct store_subject *subject; /* set before any test runs */

static struct store *
fresh(void)
{
	struct store_conf conf = subject->fresh();

	return rig_opened(&conf, NULL);
}

/* --- what every engine does --- */

START_TEST(life_of_a_triple)
{
	struct store *s = fresh();

	ck_assert_int_eq(rig_try(s, "c", "k", T0), GREYLIST_NEW);
	ck_assert_int_eq(rig_try(s, "c", "other", T0), GREYLIST_NEW);
	ck_assert_int_eq(rig_try(s, "c", "k", T0 + 299), GREYLIST_EARLY);
	ck_assert_int_eq(rig_try(s, "c", "k", T0 + 300), GREYLIST_RETRIED);
	ck_assert_int_eq(rig_try(s, "c", "k", T0 + 30 * DAY), GREYLIST_KNOWN);
	ck_assert_int_eq(rig_try(s, "c", "k", T0 + 66 * DAY), GREYLIST_NEW);
	ck_assert_int_eq(rig_try(s, "c", "other", T0 + 3 * DAY), GREYLIST_NEW);
	struct greylist_answer a = rig_greylist_of(store_greylist_check(
	    s, NULL, STR("c"), STR("k"), &rig_times, T0 + 66 * DAY + 7));
	ck_assert_int_eq(a.seen.state, GREYLIST_EARLY);
	ck_assert_int_eq(a.seen.first, T0 + 66 * DAY);
	ck_assert_int_eq(a.seen.tries, 2);
	store_close(s);
}
END_TEST

/* Confirm n triples of a client, from T0 on. */
static void
confirm(struct store *s, const char *client, int n, int64_t from)
{
	for (int i = 0; i < n; i++) {
		char key[64];

		snprintf(key, sizeof(key), "%s/%lld/%d", client, (long long)from, i);
		ck_assert_int_eq(rig_try(s, client, key, from), GREYLIST_NEW);
		ck_assert_int_eq(rig_try(s, client, key, from + 400), GREYLIST_RETRIED);
	}
}

START_TEST(client_is_whitelisted)
{
	struct store *s = fresh();

	confirm(s, "c", 3, T0);
	ck_assert_int_eq(rig_try(s, "c", "new", T0 + 500), GREYLIST_WHITELISTED);
	ck_assert_int_eq(rig_try(s, "d", "new", T0 + 500), GREYLIST_NEW);
	ck_assert_int_eq(rig_try(s, "c", "new", T0 + 31 * DAY), GREYLIST_NEW);
	store_close(s);
}
END_TEST

static enum greylist_state
try_in(struct store *s, const char *network, const char *key, int64_t now)
{
	struct ipnet n = rig_net(network);
	struct greylist_answer a = rig_greylist_of(
	    store_greylist_check(s, &n, str_of("c"), str_of(key), &rig_times, now));

	ck_assert_int_eq(a.state, STORE_OK);
	return a.seen.state;
}

static const struct voiding {
	enum event_kind kind;
	const char *network;
	bool voids;
} voidings[] = {
	{ EVENT_VIRUS, "192.0.2.0/24", true },
	{ EVENT_TRAP, "192.0.2.0/24", true },
	{ EVENT_SPAM, "192.0.2.0/24", false },
	{ EVENT_FLOOD, "192.0.2.0/24", false },
	{ EVENT_VIRUS, "192.0.3.0/24", false },
	{ EVENT_TRAP, "2001:db8::/64", false },
};

START_TEST(events_void)
{
	struct store *s = fresh();
	const struct voiding *v = &voidings[_i];
	struct ipnet n = rig_net(v->network);

	confirm(s, "c", 3, T0);
	ck_assert_int_eq(
	    try_in(s, "192.0.2.0/24", "x", T0 + 500), GREYLIST_WHITELISTED);
	rig_event_of(store_event_add(s, &n, v->kind, 1, DAY, T0 + 600));
	ck_assert_int_eq(try_in(s, "192.0.2.0/24", "y", T0 + 700),
	    v->voids ? GREYLIST_NEW : GREYLIST_WHITELISTED);
	/* What is confirmed afterwards counts again. */
	if (v->voids) {
		ck_assert_int_eq(
		    try_in(s, "192.0.2.0/24", "y", T0 + 1000), GREYLIST_RETRIED);
		confirm(s, "c", 2, T0 + 1000);
		ck_assert_int_eq(
		    try_in(s, "192.0.2.0/24", "z", T0 + 2000), GREYLIST_WHITELISTED);
	}
	store_close(s);
}
END_TEST

START_TEST(events_add_up)
{
	struct store *s = fresh();
	struct ipnet a = rig_net("192.0.2.0/24"), b = rig_net("2001:db8:1::/64");
	struct event_answer e = rig_event_of(store_event_get(s, &a, EVENT_SPAM, T0));

	ck_assert_int_eq(e.state, STORE_OK);
	ck_assert_int_eq(e.weight, 0);
	ck_assert_int_eq(e.last, 0);
	e = rig_event_of(store_event_add(s, &a, EVENT_SPAM, 5, 100, T0));
	ck_assert_int_eq(e.weight, 5);
	e = rig_event_of(store_event_add(s, &a, EVENT_SPAM, 7, 100, T0 + 100));
	ck_assert_int_eq(e.weight, 12);
	ck_assert_int_eq(e.last, T0 + 100);
	e = rig_event_of(store_event_get(s, &a, EVENT_FLOOD, T0 + 100));
	ck_assert_int_eq(e.weight, 0);
	e = rig_event_of(store_event_get(s, &b, EVENT_SPAM, T0 + 100));
	ck_assert_int_eq(e.weight, 0);
	e = rig_event_of(store_event_get(s, &a, EVENT_SPAM, T0 + 200));
	ck_assert_int_eq(e.weight, 12);
	e = rig_event_of(store_event_get(s, &a, EVENT_SPAM, T0 + 201));
	ck_assert_int_eq(e.weight, 0);
	e = rig_event_of(store_event_add(s, &a, EVENT_SPAM, 1, 100, T0 + 201));
	ck_assert_int_eq(e.weight, 1);
	store_close(s);
}
END_TEST

/* Steps on one bucket of burst 10. */
static const struct step {
	int64_t at, n, rate, per;
	bool allowed;
	int64_t level, wait;
} steps[] = {
	{ 0, 4, 1, 10, true, 4, 0 },
	{ 0, 6, 1, 10, true, 10, 0 },
	{ 0, 1, 1, 10, false, 10, 10 },
	{ 9, 1, 1, 10, false, 10, 1 }, /* 9.1 in it, rounded up */
	{ 10, 1, 1, 10, true, 10, 0 },
	{ 11, 11, 1, 10, false, 10, -1 }, /* never fits */
	{ 11, 5, 0, 10, false, 10, -1 }, /* nothing leaks */
	{ 5, 1, 1, 10, false, 10, 10 }, /* clock back: stands still */
	{ 30, 1, 1, 10, true, 9, 0 },
	{ 1000, 0, 1, 10, true, 0, 0 },
	{ 1000, 10, 1, 10, true, 10, 0 },
};

START_TEST(rates)
{
	struct store *s = fresh();

	for (int i = 0; i < N(steps); i++) {
		const struct step *st = &steps[i];
		struct rate_answer a = rig_rate_of(store_rate_add(
		    s, STR("b"), st->n, 10, st->rate, st->per, T0 + st->at));

		ck_assert_int_eq(a.state, STORE_OK);
		ck_assert_msg(a.allowed == st->allowed && a.level == st->level &&
			a.wait == st->wait,
		    "step %d: allowed %d level %lld wait %lld", i, a.allowed,
		    (long long)a.level, (long long)a.wait);
	}
	struct rate_answer other =
	    rig_rate_of(store_rate_add(s, STR("c"), 1, 10, 1, 10, T0));
	ck_assert_int_eq(other.level, 1);
	store_close(s);
}
END_TEST

START_TEST(slow_rate_leaks)
{
	struct store *s = fresh();

	/* 10 a day, asked every second while full: after 8640 s one fits again. */
	ck_assert(
	    rig_rate_of(store_rate_add(s, STR("b"), 10, 10, 10, DAY, T0)).allowed);
	for (int t = 1; t < 8640; t += 7)
		ck_assert(
		    !rig_rate_of(store_rate_add(s, STR("b"), 1, 10, 10, DAY, T0 + t))
			 .allowed);
	ck_assert(rig_rate_of(store_rate_add(s, STR("b"), 1, 10, 10, DAY, T0 + 8641))
		      .allowed);
	ck_assert(!rig_rate_of(store_rate_add(s, STR("b"), 1, 10, 10, DAY, T0 + 8642))
		       .allowed);
	store_close(s);
}
END_TEST

START_TEST(long_names)
{
	struct store *s = fresh();
	char name[STORE_NAME_MAX + 1];

	memset(name, 'x', sizeof(name));
	struct str max = { name, STORE_NAME_MAX }, over = { name, STORE_NAME_MAX + 1 };
	ck_assert_int_eq(
	    rig_greylist_of(store_greylist_check(s, NULL, max, max, &rig_times, T0))
		.seen.state,
	    GREYLIST_NEW);
	/* Alike in the part that is kept readable, and yet another triple. */
	name[STORE_NAME_MAX - 1] = 'y';
	ck_assert_int_eq(
	    rig_greylist_of(store_greylist_check(s, NULL, max, max, &rig_times, T0))
		.seen.state,
	    GREYLIST_NEW);
	ck_assert_int_eq(
	    rig_greylist_of(store_greylist_check(s, NULL, max, max, &rig_times, T0))
		.seen.state,
	    GREYLIST_EARLY);
	ck_assert_int_eq(rig_greylist_of(store_greylist_check(
					     s, NULL, STR("c"), over, &rig_times, T0))
			     .state,
	    STORE_DOWN);
	ck_assert_int_eq(rig_greylist_of(store_greylist_check(
					     s, NULL, over, STR("k"), &rig_times, T0))
			     .state,
	    STORE_DOWN);
	ck_assert_int_eq(
	    rig_rate_of(store_rate_add(s, over, 1, 1, 1, 1, T0)).state, STORE_DOWN);
	ck_assert_int_eq(
	    rig_rate_of(store_rate_add(s, STR(""), 1, 1, 1, 1, T0)).state, STORE_OK);
	store_close(s);
}
END_TEST

struct racer {
	struct store *store;
	pthread_barrier_t *start;
	enum greylist_state state;
};

static void *
race(void *arg)
{
	struct racer *r = arg;

	pthread_barrier_wait(r->start);
	struct future *f =
	    store_greylist_check(r->store, NULL, STR("c"), STR("same"), &rig_times, T0);
	if (future_wait(f, clock_mono_ms() + WAIT_MS))
		r->state = ((struct greylist_answer *)future_value(f))->seen.state;
	future_unref(f);
	return NULL;
}

START_TEST(one_is_new)
{
	struct store *s = fresh();
	pthread_barrier_t start;
	pthread_t thread[64];
	struct racer racer[64];
	int n_new = 0, n_early = 0;

	pthread_barrier_init(&start, NULL, 64);
	for (int i = 0; i < 64; i++) {
		racer[i] = (struct racer){ s, &start, GREYLIST_KNOWN };
		ck_assert_int_eq(pthread_create(&thread[i], NULL, race, &racer[i]), 0);
	}
	for (int i = 0; i < 64; i++) {
		pthread_join(thread[i], NULL);
		n_new += racer[i].state == GREYLIST_NEW;
		n_early += racer[i].state == GREYLIST_EARLY;
	}
	pthread_barrier_destroy(&start);
	ck_assert_int_eq(n_new, 1);
	ck_assert_int_eq(n_early, 63);
	ck_assert_uint_eq(rig_stats_of(s).entries, 1);
	store_close(s);
}
END_TEST

/* As a host of its own: 32 threads try the triple at once, when `go` ends.  Says how many
 * found it new and how many found it there. */
static _Noreturn void
host_run(const struct store_conf *conf, int ready, int go, int said)
{
	struct store *s = rig_opened(conf, NULL);
	pthread_barrier_t start;
	pthread_t thread[32];
	struct racer racer[32];
	int found[2] = { 0, 0 };
	char wait;

	pthread_barrier_init(&start, NULL, 33);
	for (int i = 0; i < 32; i++) {
		racer[i] = (struct racer){ s, &start, GREYLIST_KNOWN };
		if (pthread_create(&thread[i], NULL, race, &racer[i]) != 0)
			_exit(1);
	}
	bool good = write(ready, "", 1) == 1 && read(go, &wait, 1) == 0;
	pthread_barrier_wait(&start);
	for (int i = 0; i < 32; i++) {
		pthread_join(thread[i], NULL);
		found[0] += racer[i].state == GREYLIST_NEW;
		found[1] += racer[i].state == GREYLIST_EARLY;
	}
	store_close(s);
	_exit(good && write(said, found, sizeof(found)) == sizeof(found) ? 0 : 1);
}

START_TEST(two_hosts_one_is_new)
{
	struct store_conf conf = subject->fresh();
	int ready[2], go[2], said[2], n_new = 0, n_early = 0;
	pid_t child[2];
	int found[2];
	char one;

	ck_assert(pipe(ready) == 0 && pipe(go) == 0 && pipe(said) == 0);
	for (int i = 0; i < 2; i++) {
		child[i] = fork();
		ck_assert_int_ge(child[i], 0);
		if (child[i] == 0) {
			close(go[1]);
			host_run(&conf, ready[1], go[0], said[1]);
		}
	}
	close(ready[1]);
	close(said[1]);
	ck_assert_int_eq(read(ready[0], &one, 1), 1);
	ck_assert_int_eq(read(ready[0], &one, 1), 1);
	close(go[1]);
	for (int i = 0; i < 2; i++) {
		int status;

		ck_assert_int_eq(
		    read(said[0], found, sizeof(found)), (int)sizeof(found));
		n_new += found[0];
		n_early += found[1];
		ck_assert_int_eq(waitpid(child[i], &status, 0), child[i]);
		ck_assert_int_eq(status, 0);
	}
	ck_assert_int_eq(n_new, 1);
	ck_assert_int_eq(n_early, 63);
	close(ready[0]);
	close(go[0]);
	close(said[0]);
	struct store *s = rig_opened(&conf, NULL);
	ck_assert_uint_eq(rig_stats_of(s).entries, 1);
	/* What one deferred passes at the other. */
	ck_assert_int_eq(rig_try(s, "c", "same", T0 + 300), GREYLIST_RETRIED);
	store_close(s);
}
END_TEST

/* Every thread counts on buckets of its own and on a common one. */
static void *
count(void *arg)
{
	struct racer *r = arg;
	char name[32];

	snprintf(name, sizeof(name), "own %p", arg);
	for (int i = 0; i < 200; i++) {
		future_unref(
		    store_rate_add(r->store, str_of(name), 1, 1000000, 0, 1, T0));
		future_unref(
		    store_rate_add(r->store, STR("common"), 1, 1000000, 0, 1, T0));
	}
	struct future *f = store_rate_add(r->store, str_of(name), 0, 1, 0, 1, T0);
	if (future_wait(f, clock_mono_ms() + WAIT_MS))
		r->state = ((struct rate_answer *)future_value(f))->level == 200
		    ? GREYLIST_NEW
		    : GREYLIST_KNOWN;
	future_unref(f);
	return NULL;
}

START_TEST(nothing_is_lost)
{
	struct store *s = fresh();
	pthread_t thread[16];
	struct racer racer[16];

	for (int i = 0; i < 16; i++) {
		racer[i] = (struct racer){ s, NULL, GREYLIST_KNOWN };
		ck_assert_int_eq(pthread_create(&thread[i], NULL, count, &racer[i]), 0);
	}
	for (int i = 0; i < 16; i++) {
		pthread_join(thread[i], NULL);
		ck_assert_int_eq(racer[i].state, GREYLIST_NEW);
	}
	ck_assert_int_eq(
	    rig_rate_of(store_rate_add(s, STR("common"), 0, 1, 0, 1, T0)).level, 3200);
	store_close(s);
}
END_TEST

START_TEST(close_answers)
{
	struct store *s = fresh();
	struct future *f[500];

	for (int i = 0; i < 500; i++)
		f[i] = store_rate_add(s, STR("b"), 1, 1000, 0, 1, T0);
	store_close(s);
	for (int i = 0; i < 500; i++) {
		ck_assert(future_done(f[i]));
		ck_assert_int_eq(rig_rate_of(f[i]).level, i + 1);
	}
}
END_TEST

START_TEST(expired_records_go)
{
	struct store *s = fresh();
	int64_t until = clock_mono_ms() + WAIT_MS;

	for (int i = 0; i < 500; i++) {
		char key[32];

		snprintf(key, sizeof(key), "k%d", i);
		rig_try(s, "c", key, T0);
	}
	ck_assert_uint_eq(rig_stats_of(s).entries, 500);
	/* One of them lives on; its row in the index is older than it. */
	ck_assert_int_eq(rig_try(s, "c", "k7", T0 + 400), GREYLIST_RETRIED);
	ck_assert_int_eq(rig_try(s, "c", "k7", T0 + 3 * DAY), GREYLIST_KNOWN);
	while (rig_stats_of(s).entries > 2 && clock_mono_ms() < until) {
		rig_map_of(store_map_version(s, STR("m"))); /* has no time */
		poll(NULL, 0, 20);
	}
	ck_assert_uint_eq(rig_stats_of(s).entries, 2); /* the triple and its client */
	ck_assert_int_eq(rig_try(s, "c", "k7", T0 + 4 * DAY), GREYLIST_KNOWN);
	store_close(s);
}
END_TEST

/* --- at random: each step is that of the tables in C --- */

static unsigned seed;

static int64_t
any(int64_t from, int64_t to)
{
	return from + (int64_t)((unsigned)rand_r(&seed) % (unsigned)(to - from + 1));
}

#define CLIENTS 3
#define KEYS 3
#define STEPS 3000

static const struct walk {
	struct greylist_times times;
	int64_t ahead, back; /* each step: now changes by -back..ahead */
	bool events;
} walks[] = {
	{ { 10, 60, 100, 2, 120, 0 }, 30, 0, false },
	{ { 10, 60, 100, 2, 120, 0 }, 30, 0, true },
	{ { 10, 60, 100, 0, 120, 0 }, 20, 0, false }, { { 0, 5, 20, 3, 10, 0 }, 4, 0, true },
	{ { 20, 5, 50, 1, 30, 0 }, 10, 0, true }, /* window below the delay */
	{ { 20, 20, 50, 1, 0, 0 }, 10, 0, true },
	{ { 10, 10000000, 10000000, 2, 10000000, 0 }, 25, 20,
	    true }, /* a clock that steps back */
};

struct walked {
	struct greylist_triple triple[CLIENTS][KEYS];
	int64_t triple_end[CLIENTS][KEYS];
	struct greylist_client client[CLIENTS];
	int64_t client_end[CLIENTS];
	struct event_sum virus; /* of the network of all */
	int64_t virus_end;
};

/* What the pure table makes of the try. */
static struct greylist_seen
walk_expected(struct walked *w, const struct walk *walk,
    const struct greylist_times *times, int c, int k, int64_t now)
{
	int64_t end, triple_end, client_end;

	if (now > w->triple_end[c][k])
		w->triple[c][k] = (struct greylist_triple){ 0 };
	if (now > w->client_end[c])
		w->client[c] = (struct greylist_client){ 0 };
	struct greylist_triple triple = w->triple[c][k];
	struct greylist_client client = w->client[c];
	if (walk->events) {
		struct event_sum sum = { 0 };

		if (now <= w->virus_end)
			sum = w->virus;
		struct event_answer seen = event_step(&sum, 0, 0, now, &end);

		if (seen.last > client.voided)
			client.voided = seen.last;
	}
	struct greylist_seen seen =
	    greylist_try(&triple, &client, times, now, &triple_end, &client_end);
	/* What the try did not change is not written. */
	if (triple_end != 0) {
		w->triple[c][k] = triple;
		w->triple_end[c][k] = triple_end;
	}
	if (client_end != 0) {
		w->client[c] = client;
		w->client_end[c] = client_end;
	}
	return seen;
}

static void
walk_step(
    struct store *s, struct walked *w, const struct walk *walk, int64_t now, int n)
{
	struct ipnet net = rig_net("192.0.2.0/24");
	int c = (int)any(0, CLIENTS - 1), k = (int)any(0, KEYS - 1);
	char client[16], key[32];
	int64_t end;

	if (walk->events && any(0, 40) == 0) {
		if (now > w->virus_end)
			w->virus = (struct event_sum){ 0 };
		event_step(&w->virus, 1, 50, now, &end);
		w->virus_end = end;
		rig_event_of(store_event_add(s, &net, EVENT_VIRUS, 1, 50, now));
	}
	snprintf(client, sizeof(client), "client %d", c);
	snprintf(key, sizeof(key), "client %d key %d", c, k);
	/* Now and then the caller knows of a hit by itself. */
	struct greylist_times times = walk->times;
	if (walk->events && any(0, 20) == 0)
		times.voided = now + any(-60, 5);
	struct greylist_seen want = walk_expected(w, walk, &times, c, k, now);
	struct greylist_answer got =
	    rig_greylist_of(store_greylist_check(s, walk->events ? &net : NULL,
		str_of(client), str_of(key), &times, now));
	ck_assert_int_eq(got.state, STORE_OK);
	ck_assert_msg(got.seen.state == want.state && got.seen.first == want.first &&
		got.seen.tries == want.tries,
	    "step %d, now %lld: %s, first %lld, tries %lld; expected %s, %lld, %lld", n,
	    (long long)now, greylist_state_name(got.seen.state),
	    (long long)got.seen.first, (long long)got.seen.tries,
	    greylist_state_name(want.state), (long long)want.first,
	    (long long)want.tries);
}

START_TEST(triples_as_in_the_table)
{
	const struct walk *walk = &walks[_i];
	struct walked w = { 0 };
	struct store *s = fresh();
	int64_t now = T0;

	seed = (unsigned)_i + 1;
	for (int n = 0; n < STEPS; n++) {
		now += any(-walk->back, walk->ahead);
		walk_step(s, &w, walk, now, n);
	}
	store_close(s);
}
END_TEST

START_TEST(events_as_in_the_table)
{
	struct store *s = fresh();
	struct ipnet net = rig_net("2001:db8::/64");
	struct event_sum sum = { 0 };
	int64_t now = T0, until = 0, end;

	seed = 11;
	for (int n = 0; n < STEPS; n++) {
		int64_t weight = any(0, 3) == 0 ? 0 : any(1, 1000000);
		int64_t keep = any(0, 60);

		now += any(0, 30);
		if (now > until)
			sum = (struct event_sum){ 0 };
		struct event_answer want = event_step(&sum, weight, keep, now, &end);
		until = end != 0 ? end : until;
		struct event_answer got = rig_event_of(weight == 0
			? store_event_get(s, &net, EVENT_SPAM, now)
			: store_event_add(s, &net, EVENT_SPAM, weight, keep, now));
		ck_assert_int_eq(got.state, STORE_OK);
		ck_assert_int_eq(got.weight, want.weight);
		ck_assert_int_eq(got.last, want.last);
	}
	store_close(s);
}
END_TEST

/* Buckets whose sizes and rates change at random, up to these. */
static const struct {
	int64_t n, burst, rate, per, ahead;
} buckets[] = {
	{ 5, 50, 7, 1000, 100 },
	{ 3, 20, 3, 7, 5 },
	{ 2000, 1000000, 99999, 86400, 60 },
	{ 1000000000, 1000000000, 1000000000, 1000000, 1000000 },
	{ 2000000000, 2000000000, 3, 1999999, 1000000000 },
};

START_TEST(rates_as_in_the_table)
{
	struct store *s = fresh();
	struct rate_level level = { 0 };
	int64_t now = T0, until = 0, end;

	seed = (unsigned)_i + 21;
	for (int i = 0; i < STEPS; i++) {
		struct rate_args a = { any(0, buckets[_i].n), any(1, buckets[_i].burst),
			any(0, buckets[_i].rate), any(1, buckets[_i].per) };

		now += any(0, buckets[_i].ahead);
		if (now > until)
			level = (struct rate_level){ 0 };
		struct rate_level tried = level;
		struct rate_answer want = rate_step(&tried, &a, now, &end);
		if (end != 0)
			level = tried;
		until = end != 0 ? end : until;
		struct rate_answer got = rig_rate_of(
		    store_rate_add(s, STR("b"), a.n, a.burst, a.rate, a.per, now));
		ck_assert_msg(got.state == STORE_OK && got.allowed == want.allowed &&
			got.level == want.level && got.wait == want.wait,
		    "step %d: allowed %d level %lld wait %lld, expected %d %lld %lld",
		    i, got.allowed, (long long)got.level, (long long)got.wait,
		    want.allowed, (long long)want.level, (long long)want.wait);
	}
	store_close(s);
}
END_TEST

START_TEST(names_are_octets)
{
	struct store *s = fresh();
	static const struct str names[] = { { "a\0b", 3 }, { "a\0c", 3 }, { "a", 1 },
		{ "a b", 3 }, { "a\r\nb", 4 }, { "%s%n", 4 }, { "{}", 2 }, { "}", 1 },
		{ "{", 1 }, { "\xff\xfe", 2 }, { "$3\r\nfoo", 7 }, { "", 0 } };

	for (int i = 0; i < N(names); i++) {
		struct rate_answer a =
		    rig_rate_of(store_rate_add(s, names[i], i + 1, 100, 0, 1, T0));
		ck_assert_int_eq(a.state, STORE_OK);
		ck_assert_int_eq(a.level, i + 1);
		struct greylist_answer g = rig_greylist_of(
		    store_greylist_check(s, NULL, STR("c"), names[i], &rig_times, T0));
		ck_assert_int_eq(g.seen.state, GREYLIST_NEW);
		g = rig_greylist_of(
		    store_greylist_check(s, NULL, STR("c"), names[i], &rig_times, T0));
		ck_assert_int_eq(g.seen.state, GREYLIST_EARLY);
	}
	store_close(s);
}
END_TEST

int
store_conformance_add(Suite *suite, const struct store_subject *s)
{
	TCase *any_engine = tcase_create("conformance");
	int expected = 0;

#define ANY(test, loops)                                                               \
	(tcase_add_loop_test(any_engine, test, 0, loops), expected += (loops))
	subject = s;
	tcase_add_checked_fixture(any_engine, rig_directory_new, rig_directory_remove);
	tcase_set_timeout(any_engine, 60);
	ANY(life_of_a_triple, 1);
	ANY(client_is_whitelisted, 1);
	ANY(events_void, N(voidings));
	ANY(events_add_up, 1);
	ANY(rates, 1);
	ANY(slow_rate_leaks, 1);
	ANY(long_names, 1);
	ANY(names_are_octets, 1);
	ANY(one_is_new, 1);
	ANY(two_hosts_one_is_new, 1);
	ANY(nothing_is_lost, 1);
	ANY(close_answers, 1);
	ANY(triples_as_in_the_table, N(walks));
	ANY(events_as_in_the_table, 1);
	ANY(rates_as_in_the_table, N(buckets));
	expected += store_conformance_facts_add(any_engine, fresh);
	expected += store_conformance_maps_add(any_engine, fresh);
	expected += store_conformance_entries_add(any_engine, fresh);
	if (s->sweeps)
		ANY(expired_records_go, 1);
	suite_add_tcase(suite, any_engine);
	return expected;
}

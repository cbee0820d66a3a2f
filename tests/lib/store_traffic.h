/* SPDX-License-Identifier: BSD-2-Clause */
/* Threads that ask a store at the pace of mail while a test does something to it. */
#ifndef POSTERN_TESTS_STORE_TRAFFIC_H
#define POSTERN_TESTS_STORE_TRAFFIC_H

#include <pthread.h>
#include <stdatomic.h>

#include "db/store.h"

#define STORE_TRAFFIC_MAX 32

struct store_asker {
	struct store_traffic *traffic;
	pthread_t thread;
	char bucket[32]; /* that it alone counts in */
	atomic_llong ok;
	long long down, full, unanswered, slowest_ms;
};

struct store_traffic {
	struct store *store;
	int n, pause_ms;
	bool triples; /* each asks for new triples, else counts in a bucket */
	atomic_bool stop;
	struct store_asker asker[STORE_TRAFFIC_MAX];
};

struct store_traffic_sum {
	long long ok, down, full, unanswered, slowest_ms;
};

/* n threads, each with pause_ms between two questions; buckets are named "own0" ... */
void store_traffic_start(struct store_traffic *t, struct store *s, int n, int pause_ms);
void store_traffic_triples(
    struct store_traffic *t, struct store *s, int n, int pause_ms);
/* Until so many more were answered well. */
void store_traffic_wait(struct store_traffic *t, long long more);
struct store_traffic_sum store_traffic_stop(struct store_traffic *t);

#endif

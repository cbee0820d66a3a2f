/* SPDX-License-Identifier: BSD-2-Clause */
/* Scheduling.  Waiting messages lie in a list (fresh) or a heap by time (tried before);
 * next hops with something to do and room to do it stand in a circle. */
#include "contrib/relay/queue.h"

#include <assert.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/xalloc.h"

enum { FRESH, WAITING, ACTIVE };
enum { DEAD_MAX = 60, EARNEST_MAX = 10 };

TAILQ_HEAD(entry_list, queue_entry);
TAILQ_HEAD(job_list, queue_job);

struct queue_dest {
	char *key;
	struct job_list waiting, running;
	size_t n_running;
	int64_t dead_until_ms;
	bool ready; /* stands in the circle */
	bool idle; /* kept only because it is dead for a while */
	TAILQ_ENTRY(queue_dest) next;
};

struct queue {
	struct queue_limits limits;
	void *by_id; /* tsearch trees */
	void *dests;
	struct entry_list fresh;
	struct queue_entry **heap;
	size_t n_heap, heap_cap;
	bool turn_of_due;
	TAILQ_HEAD(, queue_dest) circle;
	TAILQ_HEAD(, queue_dest) idle; /* by the end of their death: it lasts equally long */
	struct queue_count count;
	uint32_t number;
	void *by_number;
};

/* --- trees ---------------------------------------------------------------------------
 */

static int
cmp_entry(const void *a, const void *b)
{
	const struct queue_entry *x = a, *y = b;

	return strcmp(x->id, y->id);
}

static int
cmp_dest(const void *a, const void *b)
{
	const struct queue_dest *x = a, *y = b;

	return strcmp(x->key, y->key);
}

static int
cmp_job(const void *a, const void *b)
{
	const struct queue_job *x = a, *y = b;

	return x->number < y->number ? -1 : x->number > y->number;
}

static void
insert(const void *item, void **tree, int (*cmp)(const void *, const void *))
{
	if (tsearch(item, tree, cmp) == NULL)
		abort(); /* out of memory, as xmalloc() would */
}

/* What a tree node points to. */
static void *
found(void *node)
{
	return node == NULL ? NULL : *(void **)node;
}

/* --- the heap ------------------------------------------------------------------------
 */

static void
heap_put(struct queue *q, size_t at, struct queue_entry *e)
{
	q->heap[at] = e;
	e->heap_at = at;
}

static void
heap_up(struct queue *q, size_t at)
{
	struct queue_entry *e = q->heap[at];

	while (at > 0 && q->heap[(at - 1) / 2]->due_ms > e->due_ms) {
		heap_put(q, at, q->heap[(at - 1) / 2]);
		at = (at - 1) / 2;
	}
	heap_put(q, at, e);
}

static void
heap_down(struct queue *q, size_t at)
{
	struct queue_entry *e = q->heap[at];

	for (;;) {
		size_t child = 2 * at + 1;

		if (child + 1 < q->n_heap &&
		    q->heap[child + 1]->due_ms < q->heap[child]->due_ms)
			child++;
		if (child >= q->n_heap || q->heap[child]->due_ms >= e->due_ms)
			break;
		heap_put(q, at, q->heap[child]);
		at = child;
	}
	heap_put(q, at, e);
}

static void
heap_add(struct queue *q, struct queue_entry *e)
{
	if (q->n_heap == q->heap_cap) {
		q->heap_cap = q->heap_cap > 0 ? q->heap_cap * 2 : 64;
		q->heap =
		    xreallocarray(q->heap, q->heap_cap, sizeof(struct queue_entry *));
	}
	heap_put(q, q->n_heap++, e);
	heap_up(q, q->n_heap - 1);
}

static void
heap_remove(struct queue *q, struct queue_entry *e)
{
	size_t at = e->heap_at;
	struct queue_entry *last = q->heap[--q->n_heap];

	if (last == e)
		return;
	heap_put(q, at, last);
	heap_up(q, at);
	heap_down(q, last->heap_at);
}

/* --- messages ------------------------------------------------------------------------
 */

struct queue *
queue_new(const struct queue_limits *limits)
{
	struct queue *q = xcalloc(1, sizeof(*q));

	q->limits = *limits;
	TAILQ_INIT(&q->fresh);
	TAILQ_INIT(&q->circle);
	TAILQ_INIT(&q->idle);
	return q;
}

static void
job_free(struct queue *q, struct queue_job *j)
{
	tdelete(j, &q->by_number, cmp_job);
	free(j);
}

static void
dest_free(struct queue *q, struct queue_dest *d)
{
	struct queue_job *j;

	while ((j = TAILQ_FIRST(&d->waiting)) != NULL) {
		TAILQ_REMOVE(&d->waiting, j, next);
		job_free(q, j);
	}
	while ((j = TAILQ_FIRST(&d->running)) != NULL) {
		TAILQ_REMOVE(&d->running, j, next);
		job_free(q, j);
	}
	tdelete(d, &q->dests, cmp_dest);
	free(d->key);
	free(d);
}

void
queue_free(struct queue *q)
{
	if (q == NULL)
		return;
	/* The root of a tree is found through its first member, until there is none. */
	while (q->dests != NULL)
		dest_free(q, found(q->dests));
	while (q->by_id != NULL) {
		struct queue_entry *e = found(q->by_id);

		tdelete(e, &q->by_id, cmp_entry);
		free(e);
	}
	free(q->heap);
	free(q);
}

static void
wait_as(struct queue *q, struct queue_entry *e, bool fresh, int64_t due_ms)
{
	e->due_ms = due_ms;
	e->state = fresh ? FRESH : WAITING;
	if (fresh) {
		TAILQ_INSERT_TAIL(&q->fresh, e, next);
		q->count.fresh++;
	} else {
		heap_add(q, e);
		q->count.waiting++;
	}
}

/* Out of the list that it stands in. */
static void
leave(struct queue *q, struct queue_entry *e)
{
	if (e->state == FRESH) {
		TAILQ_REMOVE(&q->fresh, e, next);
		q->count.fresh--;
	} else if (e->state == WAITING) {
		heap_remove(q, e);
		q->count.waiting--;
	} else {
		q->count.active--;
	}
}

struct queue_entry *
queue_add(
    struct queue *q, const char *id, enum queue_dir dir, bool fresh, int64_t due_ms)
{
	struct queue_entry *e;
	size_t len = strlen(id);

	assert(len < MESSAGE_ID_MAX);
	if (queue_find(q, id) != NULL)
		return NULL;
	e = xcalloc(1, sizeof(*e));
	memcpy(e->id, id, len);
	e->dir = dir;
	insert(e, &q->by_id, cmp_entry);
	wait_as(q, e, fresh, due_ms);
	return e;
}

struct queue_entry *
queue_find(const struct queue *q, const char *id)
{
	struct queue_entry key = { 0 };
	size_t len = strlen(id);

	if (len >= sizeof(key.id))
		return NULL;
	memcpy(key.id, id, len);
	return found(tfind(&key, &q->by_id, cmp_entry));
}

void
queue_remove(struct queue *q, struct queue_entry *e)
{
	leave(q, e);
	tdelete(e, &q->by_id, cmp_entry);
	free(e);
}

struct queue_entry *
queue_pick(struct queue *q, int64_t now_ms)
{
	struct queue_entry *fresh = TAILQ_FIRST(&q->fresh);
	struct queue_entry *due = q->n_heap > 0 ? q->heap[0] : NULL;
	struct queue_entry *e;

	if (q->count.active >= q->limits.active_max)
		return NULL;
	if (due != NULL && due->due_ms > now_ms)
		due = NULL;
	if (fresh != NULL && due != NULL) {
		e = q->turn_of_due ? due : fresh;
		q->turn_of_due = !q->turn_of_due;
	} else {
		e = fresh != NULL ? fresh : due;
	}
	if (e == NULL)
		return NULL;
	leave(q, e);
	e->state = ACTIVE;
	q->count.active++;
	return e;
}

void
queue_defer(struct queue *q, struct queue_entry *e, int64_t due_ms)
{
	assert(e->state == ACTIVE);
	leave(q, e);
	wait_as(q, e, false, due_ms);
}

int64_t
queue_next_due(const struct queue *q, int64_t now_ms)
{
	if (q->count.active >= q->limits.active_max)
		return -1;
	if (!TAILQ_EMPTY(&q->fresh))
		return 0;
	if (q->n_heap == 0)
		return -1;
	return q->heap[0]->due_ms > now_ms ? q->heap[0]->due_ms - now_ms : 0;
}

struct queue_count
queue_count(const struct queue *q)
{
	return q->count;
}

/* --- jobs ----------------------------------------------------------------------------
 */

static struct queue_dest *
dest_get(struct queue *q, struct str next_hop)
{
	struct queue_dest key = { .key = str_dup(next_hop) };
	struct queue_dest *d = found(tfind(&key, &q->dests, cmp_dest));

	if (d != NULL) {
		if (d->idle)
			TAILQ_REMOVE(&q->idle, d, next);
		d->idle = false;
		free(key.key);
		return d;
	}
	d = xcalloc(1, sizeof(*d));
	d->key = key.key;
	TAILQ_INIT(&d->waiting);
	TAILQ_INIT(&d->running);
	insert(d, &q->dests, cmp_dest);
	return d;
}

/* Into the circle when it can do something, out of it when not. */
static void
dest_update(struct queue *q, struct queue_dest *d)
{
	bool ready = !TAILQ_EMPTY(&d->waiting) && d->n_running < q->limits.per_host;

	if (ready && !d->ready)
		TAILQ_INSERT_TAIL(&q->circle, d, next);
	if (!ready && d->ready)
		TAILQ_REMOVE(&q->circle, d, next);
	d->ready = ready;
}

struct queue_job *
queue_job_add(struct queue *q, struct queue_entry *e, struct str next_hop, void *data)
{
	struct queue_job *j = xcalloc(1, sizeof(*j));

	if (++q->number == 0)
		q->number = 1;
	j->number = q->number;
	j->entry = e;
	j->data = data;
	j->dest = dest_get(q, next_hop);
	insert(j, &q->by_number, cmp_job);
	TAILQ_INSERT_TAIL(&j->dest->waiting, j, next);
	q->count.jobs++;
	dest_update(q, j->dest);
	return j;
}

struct queue_job *
queue_job_next(struct queue *q, int64_t now_ms, bool *dead)
{
	struct queue_dest *d;

	while ((d = TAILQ_FIRST(&q->idle)) != NULL && d->dead_until_ms <= now_ms) {
		TAILQ_REMOVE(&q->idle, d, next);
		dest_free(q, d);
	}
	d = TAILQ_FIRST(&q->circle);
	if (d == NULL)
		return NULL;
	struct queue_job *j = TAILQ_FIRST(&d->waiting);

	TAILQ_REMOVE(&d->waiting, j, next);
	TAILQ_INSERT_TAIL(&d->running, j, next);
	d->n_running++;
	q->count.running++;
	j->running = true;
	*dead = d->dead_until_ms > now_ms;
	/* To the end of the circle. */
	TAILQ_REMOVE(&q->circle, d, next);
	d->ready = false;
	dest_update(q, d);
	return j;
}

struct queue_job *
queue_job_find(const struct queue *q, uint32_t number)
{
	struct queue_job key = { .number = number };

	return found(tfind(&key, &q->by_number, cmp_job));
}

static void
stop_running(struct queue *q, struct queue_job *j)
{
	assert(j->running);
	TAILQ_REMOVE(&j->dest->running, j, next);
	j->dest->n_running--;
	q->count.running--;
	j->running = false;
}

void
queue_job_done(struct queue *q, struct queue_job *j, bool unreachable, int64_t now_ms)
{
	struct queue_dest *d = j->dest;
	int64_t dead = q->limits.retry_min / 5;

	stop_running(q, j);
	q->count.jobs--;
	job_free(q, j);
	/* An ending of a job that was not tried does not prolong it: every dead_for
	 * seconds one message finds out. */
	if (!unreachable)
		d->dead_until_ms = 0;
	else if (d->dead_until_ms <= now_ms)
		d->dead_until_ms = now_ms +
		    1000 *
			(dead < 1                 ? 1
				: dead > DEAD_MAX ? DEAD_MAX
						  : dead);
	dest_update(q, d);
	if (!TAILQ_EMPTY(&d->waiting) || d->n_running > 0)
		return;
	if (d->dead_until_ms <= now_ms) {
		dest_free(q, d);
		return;
	}
	d->idle = true;
	TAILQ_INSERT_TAIL(&q->idle, d, next);
}

void
queue_job_again(struct queue *q, struct queue_job *j)
{
	stop_running(q, j);
	TAILQ_INSERT_HEAD(&j->dest->waiting, j, next);
	dest_update(q, j->dest);
}

/* --- times ---------------------------------------------------------------------------
 */

int64_t
queue_backoff(const struct queue_limits *l, uint32_t tries)
{
	int64_t wait = l->retry_min > 0 ? l->retry_min : 1;

	for (uint32_t i = 1; i < tries && wait < l->retry_max; i++)
		wait *= 2;
	return wait < l->retry_max ? wait : l->retry_max > 0 ? l->retry_max : 1;
}

bool
queue_expired(
    const struct queue_limits *l, int64_t received, int64_t now, uint32_t tries)
{
	int64_t earnest = l->retry_max > 0 ? l->lifetime / l->retry_max : 1;

	if (earnest > EARNEST_MAX)
		earnest = EARNEST_MAX;
	if (earnest < 1)
		earnest = 1;
	return now - received > l->lifetime && (int64_t)tries >= earnest;
}

int64_t
queue_due_ms(
    const struct queue_limits *l, int64_t next_try, int64_t now, int64_t now_ms)
{
	/* Compared before subtracted: what a file says may be any number. */
	if (next_try <= now)
		return now_ms;
	if (next_try >= now + l->retry_max)
		return now_ms + l->retry_max * 1000;
	return now_ms + (next_try - now) * 1000;
}

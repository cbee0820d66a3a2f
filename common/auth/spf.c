/* SPDX-License-Identifier: BSD-2-Clause */
/* Runs evaluations of SPF on a few threads.  An evaluation that lacks DNS answers asks
 * for all of them, is put aside, and goes back into the queue when the last has come:
 * slow name servers cost memory for a while, never a thread. */
#include "common/auth/spf.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "common/auth/spf_eval.h"
#include "common/base/clock.h"
#include "common/base/xalloc.h"

#define THREADS_MAX 64

struct job {
	struct spf *pool;
	struct job *next;
	struct future *future;
	struct spf_question q; /* strings are own */
	struct spf_facts facts;
	int64_t deadline_ms;
	atomic_uint waits; /* answers that are out, and one for who asks */
};

struct spf {
	struct resolver *resolver;
	pthread_t threads[THREADS_MAX];
	unsigned n_threads;
	pthread_mutex_t lock; /* guards what follows */
	pthread_cond_t work;
	struct job *first, *last; /* ready to be evaluated */
	unsigned open; /* all jobs, ready or put aside */
	bool closing;
};

static void
job_free(struct job *job)
{
	future_unref(job->future);
	spf_facts_clear(&job->facts);
	free((void *)(uintptr_t)job->q.helo);
	free((void *)(uintptr_t)job->q.sender);
	free((void *)(uintptr_t)job->q.receiver);
	free(job);
}

static void
enqueue(struct spf *pool, struct job *job)
{
	job->next = NULL;
	pthread_mutex_lock(&pool->lock);
	if (pool->last != NULL)
		pool->last->next = job;
	else
		pool->first = job;
	pool->last = job;
	pthread_cond_signal(&pool->work);
	pthread_mutex_unlock(&pool->lock);
}

/* NULL: the pool closes and no job is left, not even one that is out for DNS. */
static struct job *
dequeue(struct spf *pool, bool *closing)
{
	pthread_mutex_lock(&pool->lock);
	while (pool->first == NULL && !(pool->closing && pool->open == 0))
		pthread_cond_wait(&pool->work, &pool->lock);
	struct job *job = pool->first;
	if (job != NULL && (pool->first = job->next) == NULL)
		pool->last = NULL;
	*closing = pool->closing;
	pthread_mutex_unlock(&pool->lock);
	return job;
}

/* ---- one evaluation ---- */

static void
finish(struct job *job, const struct spf_answer *answer)
{
	struct spf *pool = job->pool;
	struct spf_answer *value = xmalloc(sizeof(*value));

	*value = *answer;
	future_set(job->future, value);
	job_free(job);
	pthread_mutex_lock(&pool->lock);
	if (--pool->open == 0)
		pthread_cond_broadcast(&pool->work);
	pthread_mutex_unlock(&pool->lock);
}

static bool
release(struct job *job)
{
	return atomic_fetch_sub_explicit(&job->waits, 1, memory_order_acq_rel) == 1;
}

/* On the resolver's thread: no work here but passing on. */
static void
on_answer(void *arg)
{
	struct job *job = arg;

	if (release(job))
		enqueue(job->pool, job);
}

/* What the cache has is taken at once. */
static void
ask_now(void *arg, struct spf_fact *f)
{
	struct spf *pool = arg;
	struct future *asked = resolver_ask(pool->resolver, str_of(f->name), f->type);

	if (!future_done(asked)) {
		f->asked = asked;
		return;
	}
	f->answer = dns_answer_ref(future_value(asked));
	future_unref(asked);
}

/* true: the answers have come meanwhile.  false: the job is put aside; hands off. */
static bool
put_aside(struct job *job)
{
	atomic_store_explicit(&job->waits, 1, memory_order_relaxed);
	for (size_t i = 0; i < job->facts.n; i++) {
		struct spf_fact *f = &job->facts.list[i];

		if (f->asked == NULL)
			continue;
		atomic_fetch_add_explicit(&job->waits, 1, memory_order_relaxed);
		future_notify(f->asked, on_answer, job);
	}
	return release(job);
}

static void
take_answers(struct job *job)
{
	for (size_t i = 0; i < job->facts.n; i++) {
		struct spf_fact *f = &job->facts.list[i];

		if (f->asked == NULL)
			continue;
		f->answer = dns_answer_ref(future_value(f->asked));
		future_unref(f->asked);
		f->asked = NULL;
	}
}

static void
run(struct spf_matcher *matcher, struct job *job, bool closing)
{
	struct spf_answer answer;
	const char *problem = NULL;

	for (;;) {
		take_answers(job);
		if (closing)
			problem = "this host is being stopped";
		else if (clock_mono_ms() > job->deadline_ms)
			problem = "DNS took too long";
		if (problem != NULL) {
			spf_answer_temperror(&answer, &job->q, problem);
			break;
		}
		if (spf_eval(matcher, &job->q, &job->facts, &answer))
			break;
		if (!put_aside(job))
			return;
	}
	finish(job, &answer);
}

static void *
thread_main(void *arg)
{
	struct spf *pool = arg;
	struct spf_matcher *matcher = spf_matcher_new();
	struct job *job;
	bool closing;

	while ((job = dequeue(pool, &closing)) != NULL)
		run(matcher, job, closing);
	spf_matcher_free(matcher);
	return NULL;
}

/* ---- the pool ---- */

struct spf *
spf_new(struct resolver *resolver, unsigned threads, struct err *err)
{
	struct spf *pool = xcalloc(1, sizeof(*pool));

	pool->resolver = resolver;
	pthread_mutex_init(&pool->lock, NULL);
	pthread_cond_init(&pool->work, NULL);
	if (threads == 0)
		threads = 2;
	for (; pool->n_threads < threads && pool->n_threads < THREADS_MAX;
	     pool->n_threads++)
		if (pthread_create(&pool->threads[pool->n_threads], NULL, thread_main,
			pool) != 0) {
			err_errno(err, "a thread for SPF cannot be started");
			spf_free(pool);
			return NULL;
		}
	return pool;
}

void
spf_free(struct spf *pool)
{
	if (pool == NULL)
		return;
	pthread_mutex_lock(&pool->lock);
	pool->closing = true;
	pthread_cond_broadcast(&pool->work);
	pthread_mutex_unlock(&pool->lock);
	for (unsigned i = 0; i < pool->n_threads; i++)
		pthread_join(pool->threads[i], NULL);
	pthread_cond_destroy(&pool->work);
	pthread_mutex_destroy(&pool->lock);
	free(pool);
}

struct future *
spf_ask(struct spf *pool, const struct spf_question *question, int64_t deadline_ms)
{
	struct future *future = future_new(free);

	pthread_mutex_lock(&pool->lock);
	bool full = pool->open >= SPF_OPEN_MAX;
	if (!full)
		pool->open++;
	pthread_mutex_unlock(&pool->lock);
	if (full) {
		struct spf_answer *answer = xmalloc(sizeof(*answer));
		spf_answer_temperror(answer, question, "too many SPF checks at once");
		future_set(future, answer);
		return future;
	}
	struct job *job = xcalloc(1, sizeof(*job));
	*job = (struct job){ .pool = pool,
		.future = future_ref(future),
		.q = *question,
		.deadline_ms = deadline_ms };
	job->facts.ask = ask_now;
	job->facts.arg = pool;
	job->q.helo = xstrdup(question->helo);
	job->q.sender = xstrdup(question->sender);
	job->q.receiver = xstrdup(question->receiver);
	enqueue(pool, job);
	return future;
}

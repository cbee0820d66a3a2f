/* SPDX-License-Identifier: BSD-2-Clause */
/* Two lists under one lock and a few threads; results go back through an eventfd. */
#include "contrib/relay/queue_pool.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/base/metrics.h"
#include "common/base/xalloc.h"

#define THREADS_MAX 16
/* Batches at once: with two, one gathers what comes while the other syncs; with more,
 * batches stay small and each pays its own fsync of the directory. */
#define BATCHES_MAX 2

STAILQ_HEAD(commit_list, queue_commit);
STAILQ_HEAD(task_list, queue_task);

struct queue_pool {
	struct queue_disk *disk;
	void (*committed)(void *arg, struct queue_commit *c);
	void *arg;
	struct event *wake;
	int wake_fd;
	pthread_mutex_t lock;
	pthread_cond_t work;
	struct commit_list commits, commits_done;
	struct task_list tasks, tasks_done;
	bool end;
	unsigned n_batches; /* under way */
	unsigned n_threads;
	pthread_t threads[THREADS_MAX];
};

METRIC_COUNTER(batches, "postern_relay_commit_batches_total", NULL,
    "Batches of records made durable together.");
METRIC_COUNTER(records, "postern_relay_commits_total", NULL,
    "Records handed to the disk, whether they became durable or not.");

static void
tell_loop(struct queue_pool *p)
{
	uint64_t one = 1;

	/* It can only fail when the loop has been told already 2^64 times. */
	while (write(p->wake_fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

/* Called with the lock held; held again on return. */
static void
do_commits(struct queue_pool *p)
{
	struct queue_commit *list[QUEUE_BATCH_MAX];
	size_t n = 0;

	while (n < QUEUE_BATCH_MAX && !STAILQ_EMPTY(&p->commits)) {
		list[n++] = STAILQ_FIRST(&p->commits);
		STAILQ_REMOVE_HEAD(&p->commits, next);
	}
	p->n_batches++;
	pthread_mutex_unlock(&p->lock);
	queue_disk_commit(p->disk, list, n);
	metric_add(&batches, 1);
	metric_add(&records, n);
	pthread_mutex_lock(&p->lock);
	p->n_batches--;
	for (size_t i = 0; i < n; i++)
		STAILQ_INSERT_TAIL(&p->commits_done, list[i], next);
	tell_loop(p);
}

static void
do_task(struct queue_pool *p)
{
	struct queue_task *t = STAILQ_FIRST(&p->tasks);

	STAILQ_REMOVE_HEAD(&p->tasks, next);
	pthread_mutex_unlock(&p->lock);
	t->run(t);
	pthread_mutex_lock(&p->lock);
	STAILQ_INSERT_TAIL(&p->tasks_done, t, next);
	tell_loop(p);
}

static void *
thread_main(void *arg)
{
	struct queue_pool *p = arg;

	pthread_mutex_lock(&p->lock);
	while (!p->end) {
		if (!STAILQ_EMPTY(&p->commits) && p->n_batches < BATCHES_MAX)
			do_commits(p);
		else if (!STAILQ_EMPTY(&p->tasks))
			do_task(p);
		else
			pthread_cond_wait(&p->work, &p->lock);
	}
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

static void
on_wake(evutil_socket_t fd, short what, void *arg)
{
	struct queue_pool *p = arg;
	struct commit_list commits = STAILQ_HEAD_INITIALIZER(commits);
	struct task_list tasks = STAILQ_HEAD_INITIALIZER(tasks);
	struct queue_commit *c;
	struct queue_task *t;
	uint64_t count;

	(void)what;
	while (read(fd, &count, sizeof(count)) < 0 && errno == EINTR)
		;
	pthread_mutex_lock(&p->lock);
	STAILQ_CONCAT(&commits, &p->commits_done);
	STAILQ_CONCAT(&tasks, &p->tasks_done);
	pthread_mutex_unlock(&p->lock);
	while ((c = STAILQ_FIRST(&commits)) != NULL) {
		STAILQ_REMOVE_HEAD(&commits, next);
		p->committed(p->arg, c);
	}
	while ((t = STAILQ_FIRST(&tasks)) != NULL) {
		STAILQ_REMOVE_HEAD(&tasks, next);
		t->done(t);
	}
}

struct queue_pool *
queue_pool_new(struct event_base *base, struct queue_disk *disk, unsigned threads,
    void (*committed)(void *arg, struct queue_commit *c), void *arg)
{
	struct queue_pool *p = xcalloc(1, sizeof(*p));
	sigset_t all, before;

	p->disk = disk;
	p->committed = committed;
	p->arg = arg;
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->work, NULL);
	STAILQ_INIT(&p->commits);
	STAILQ_INIT(&p->commits_done);
	STAILQ_INIT(&p->tasks);
	STAILQ_INIT(&p->tasks_done);
	p->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	p->wake = p->wake_fd < 0
	    ? NULL
	    : event_new(base, p->wake_fd, EV_READ | EV_PERSIST, on_wake, p);
	if (p->wake == NULL)
		abort(); /* out of memory or descriptors: the supervisor tries again */
	event_add(p->wake, NULL);
	/* Signals are the loop's. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	while (p->n_threads < threads && p->n_threads < THREADS_MAX &&
	    pthread_create(&p->threads[p->n_threads], NULL, thread_main, p) == 0)
		p->n_threads++;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (p->n_threads == 0)
		abort();
	return p;
}

void
queue_pool_free(struct queue_pool *p)
{
	if (p == NULL)
		return;
	pthread_mutex_lock(&p->lock);
	p->end = true;
	pthread_cond_broadcast(&p->work);
	pthread_mutex_unlock(&p->lock);
	for (unsigned i = 0; i < p->n_threads; i++)
		pthread_join(p->threads[i], NULL);
	event_free(p->wake);
	close(p->wake_fd);
	pthread_cond_destroy(&p->work);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

void
queue_pool_commit(struct queue_pool *p, struct queue_commit *c)
{
	pthread_mutex_lock(&p->lock);
	STAILQ_INSERT_TAIL(&p->commits, c, next);
	pthread_cond_signal(&p->work);
	pthread_mutex_unlock(&p->lock);
}

void
queue_pool_run(struct queue_pool *p, struct queue_task *t)
{
	pthread_mutex_lock(&p->lock);
	STAILQ_INSERT_TAIL(&p->tasks, t, next);
	pthread_cond_signal(&p->work);
	pthread_mutex_unlock(&p->lock);
}

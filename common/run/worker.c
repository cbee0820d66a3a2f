/* SPDX-License-Identifier: BSD-2-Clause */
/* The worker's main thread: configuration, the engines' start, then nothing but words
 * of the supervisor and signals.  libmilter runs on a thread of its own and waits for
 * TERM, HUP and INT there; the kernel prefers the main thread, which never blocks them,
 * so a signal to the whole process group drains instead of cutting callbacks off. */
#include "common/run/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/run/metrics_socket.h"

#define STOP_GRACE_MS 10000 /* for callbacks that are still running at the very end */
#define DRAIN_POLL_MS 20
/* libmilter took a client from the queue before the door was shut, and has not asked
 * for its first command yet: nothing tells us of it. */
#define UNSEEN_CLIENT_MS 2000
/* Between a callback's return and the moment at which libmilter has written its answer.
 */
#define LAST_ANSWER_MS 500

static struct {
	const struct daemon_ops *ops;
	const char *conf_path;
	const char *jail_address;
	int link_fd;
	int listen_fd;
	int64_t drain;
	char *fixed[5]; /* settings that a reload cannot change, as they were at the
			   start */
	int signal_pipe[2];
} worker;

static const char *const fixed_names[5] = { "socket", "socket_group", "user", "group",
	"metrics" };

static char *
fixed_value(const struct daemon_conf *c, size_t i)
{
	char *const values[5] = { c->socket, c->socket_group, c->user, c->group,
		c->metrics };

	return values[i];
}

const char *
daemon_jail_address(void)
{
	return worker.jail_address;
}

static void
tell(enum worker_word word)
{
	char c = (char)word;

	/* A supervisor that is gone shows as the end of the link. */
	if (send(worker.link_fd, &c, 1, MSG_NOSIGNAL) < 0 && errno != EPIPE)
		log_msg(LOG_LEVEL_WARN, "worker", "link to the supervisor: errno %d",
		    errno);
}

static void
on_signal(int sig)
{
	int saved = errno;
	char c = WORKER_STOP;

	(void)sig;
	if (write(worker.signal_pipe[1], &c, 1) < 0) {
		/* full: it was told often enough */
	}
	errno = saved;
}

static int
take_signals(void)
{
	struct sigaction act = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
	sigset_t none;

	if (pipe2(worker.signal_pipe, O_CLOEXEC | O_NONBLOCK) < 0)
		return -1;
	sigaction(SIGTERM, &act, NULL);
	sigaction(SIGINT, &act, NULL);
	/* HUP comes from a terminal to the whole group; the supervisor's word counts.
	 */
	signal(SIGHUP, SIG_IGN);
	signal(SIGUSR1, SIG_IGN);
	signal(SIGUSR2, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&none);
	return sigprocmask(SIG_SETMASK, &none, NULL);
}

static void
log_errs(const char *event, const struct errs *errs)
{
	for (size_t i = 0; i < errs->n; i++)
		log_err(event, &errs->list[i]);
	if (errs->dropped > 0)
		log_msg(LOG_LEVEL_ERR, event, "and %zu more", errs->dropped);
}

static void
warn_fixed(const struct daemon_conf *conf)
{
	for (size_t i = 0; i < 5; i++) {
		const char *was = worker.fixed[i], *is = fixed_value(conf, i);

		if ((was == NULL) != (is == NULL) ||
		    (was != NULL && strcmp(was, is) != 0))
			log_msg(LOG_LEVEL_WARN, "reload",
			    "%s is kept until the program is started anew",
			    fixed_names[i]);
	}
}

static void
reload(void)
{
	const struct daemon_ops *ops = worker.ops;
	struct daemon_conf conf = { 0 };
	struct errs errs = { 0 };
	struct err err = { 0 };

	if (!daemon_load(ops, worker.conf_path, &conf, &errs)) {
		log_errs("reload", &errs);
		log_msg(LOG_LEVEL_ERR, "reload", "the old configuration is kept");
		tell(WORKER_KEPT);
	} else {
		if (log_open(ops->name, conf.log_target, (enum log_level)conf.log_level,
			&err) < 0)
			log_err("reload", &err);
		warn_fixed(&conf);
		worker.drain = conf.drain;
		ops->reload(conf.snapshot, &errs);
		log_errs("reload", &errs);
		log_msg(LOG_LEVEL_INFO, "reload", "the new configuration is in use");
		tell(WORKER_RELOADED);
	}
	errs_clear(&errs);
	daemon_conf_clear(&conf);
}

/* Everything that can fail before the first client.  Returns an exit status, 0: go on.
 */
static int
set_up(void)
{
	const struct daemon_ops *ops = worker.ops;
	struct daemon_conf conf = { 0 };
	struct errs errs = { 0 };
	struct err err = { 0 };
	int status = 0;

	if (!daemon_load(ops, worker.conf_path, &conf, &errs)) {
		log_errs("start", &errs);
		status = EX_CONFIG;
		goto out;
	}
	if (log_open(ops->name, conf.log_target, (enum log_level)conf.log_level, &err) <
	    0) {
		log_err("start", &err);
		ops->snapshot_unref(conf.snapshot);
		status = EX_CONFIG;
		goto out;
	}
	worker.drain = conf.drain;
	for (size_t i = 0; i < 5; i++)
		worker.fixed[i] = fixed_value(&conf, i) == NULL
		    ? NULL
		    : strdup(fixed_value(&conf, i));
	if (ops->start(conf.snapshot, &err) < 0) {
		log_err("start", &err);
		status = EX_OSERR;
		goto out;
	}
	/* Mail matters more than its counting. */
	if (conf.metrics != NULL && metrics_socket_start(conf.metrics, 0660, &err) < 0)
		log_err("metrics", &err);
out:
	errs_clear(&errs);
	daemon_conf_clear(&conf);
	return status;
}

static void
on_ready(void *arg)
{
	(void)arg;
	log_msg(LOG_LEVEL_INFO, "worker", "serving, pid %ld", (long)getpid());
	tell(WORKER_READY);
}

static void *
serve(void *arg)
{
	struct err err = { 0 };

	if (milter_serve(worker.ops->milter, worker.listen_fd, on_ready, NULL, &err) <
	    0)
		log_err("worker", &err);
	_exit(EX_OSERR);
	return arg;
}

/* Engines are taken down only when no callback is inside one. */
static void
finish(void)
{
	bool idle = milter_stop(clock_mono_ms() + STOP_GRACE_MS);

	if (!idle)
		log_msg(LOG_LEVEL_WARN, "worker",
		    "callbacks still run; ending all the same");
	else if (worker.ops->stop != NULL)
		worker.ops->stop();
	nanosleep(&(struct timespec){ .tv_nsec = LAST_ANSWER_MS * 1000000L }, NULL);
	log_msg(LOG_LEVEL_INFO, "worker", "ended, %u connections left",
	    milter_active_connections());
	_exit(0);
}

/* What comes next: a word, 0 at the end of time, STOP at a signal or the link's end. */
static char
next_word(int timeout_ms, bool *link_open)
{
	struct pollfd p[2] = { { .fd = *link_open ? worker.link_fd : -1,
				   .events = POLLIN },
		{ .fd = worker.signal_pipe[0], .events = POLLIN } };
	char c = 0;

	if (poll(p, 2, timeout_ms) <= 0)
		return 0;
	if (p[1].revents != 0 && read(worker.signal_pipe[0], &c, 1) == 1)
		return c;
	if (p[0].revents == 0)
		return 0;
	if (recv(worker.link_fd, &c, 1, 0) == 1)
		return c;
	*link_open = false;
	return WORKER_STOP;
}

/* STOP: until messages are done.  REPLACED: until connections are closed, since an MTA
 * that is cut off answers later mail of that SMTP connection with a tempfail. */
static void
drain(char how, bool link_open)
{
	int64_t now = clock_mono_ms();
	int64_t earliest = how == WORKER_STOP ? now : now + UNSEEN_CLIENT_MS;
	int64_t idle_until = now + WORKER_IDLE_MAX * 1000;
	int64_t until = how == WORKER_STOP ? now + worker.drain * 1000
					   : idle_until + worker.drain * 1000;

	milter_stop_accepting();
	log_msg(LOG_LEVEL_INFO, "drain", "%u messages on %u connections",
	    milter_active_messages(), milter_active_connections());
	for (; now < until; now = clock_mono_ms()) {
		bool patient = how == WORKER_REPLACED && now < idle_until;

		unsigned left =
		    patient ? milter_active_connections() : milter_active_messages();
		if (left == 0 && now >= earliest)
			break;
		char word = next_word(DRAIN_POLL_MS, &link_open);
		if (word == WORKER_STOP && how == WORKER_REPLACED) {
			how = WORKER_STOP;
			until = now + worker.drain * 1000;
		}
	}
	finish();
}

void
worker_run(const struct daemon_ops *ops, const char *conf_path, int link_fd,
    int listen_fd, const char *jail_address)
{
	bool link_open = true;
	pthread_t thread;

	worker.ops = ops;
	worker.conf_path = conf_path;
	worker.jail_address = jail_address;
	worker.link_fd = link_fd;
	worker.listen_fd = listen_fd;
	fcntl(link_fd, F_SETFD, FD_CLOEXEC);
	fcntl(listen_fd, F_SETFD, FD_CLOEXEC);
	if (take_signals() < 0)
		_exit(EX_OSERR);
	int status = set_up();
	if (status != 0)
		_exit(status);
	if (pthread_create(&thread, NULL, serve, NULL) != 0)
		_exit(EX_OSERR);
	for (;;) {
		char word = next_word(-1, &link_open);

		if (word == WORKER_RELOAD)
			reload();
		else if (word == WORKER_STOP || word == WORKER_REPLACED)
			drain(word, link_open);
	}
}

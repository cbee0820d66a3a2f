/* SPDX-License-Identifier: BSD-2-Clause */
/* One thread, one loop over a signalfd and the links to the workers; nothing here
 * parses mail or configuration.  At most one worker is starting and one is live; those
 * that were replaced drain.  The socket stays open across all of them, so that clients
 * queue. */
#include "common/run/supervisor.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/run/ready.h"
#include "common/run/worker.h"

#define WORKERS_MAX 8 /* live, starting, and replaced ones that drain */
#define START_LIMIT_MS 60000
#define HEALTHY_MS 60000
#define RESTART_MAX_MS 30000
#define END_GRACE_MS 15000 /* beyond drain, before SIGKILL */

enum role { ROLE_STARTING, ROLE_LIVE, ROLE_DRAINING };

static const char *const role_names[] = { "starting", "live", "draining" };

struct child {
	pid_t pid;
	int link_fd;
	enum role role;
	bool link_open;
	int64_t since_ms; /* when it came into its role */
};

struct supervisor {
	const struct supervisor_conf *conf;
	struct listener *listener;
	struct child children[WORKERS_MAX];
	size_t n;
	struct restart_delay delay;
	int64_t restart_at_ms; /* -1: no start is due */
	bool ever_served;
	bool replacing; /* the starting one takes over from a live one */
	bool ending;
	int64_t kill_at_ms;
	int status;
	int64_t watchdog_ms, watchdog_at_ms;
};

int64_t
restart_delay_next(struct restart_delay *d, int64_t served_ms)
{
	if (served_ms >= HEALTHY_MS)
		d->wait_ms = 0;
	int64_t wait = d->wait_ms;
	d->wait_ms = wait == 0 ? 1000 : wait * 2;
	if (d->wait_ms > RESTART_MAX_MS)
		d->wait_ms = RESTART_MAX_MS;
	return wait;
}

static struct child *
find_role(struct supervisor *s, enum role role)
{
	for (size_t i = 0; i < s->n; i++)
		if (s->children[i].role == role)
			return &s->children[i];
	return NULL;
}

static void
exec_worker(const struct supervisor *s, int link_fd)
{
	char program[PATH_MAX], link_arg[40];
	char dash_c[] = "-c";
	char *argv[5] = { program, link_arg };
	sigset_t none;

	snprintf(
	    link_arg, sizeof(link_arg), "--worker=%d,%d", link_fd, s->listener->fd);
	snprintf(program, sizeof(program), "%s", s->conf->program);
	if (s->conf->conf_path != NULL) {
		argv[2] = dash_c;
		argv[3] = s->conf->conf_path;
	}
	/* The descriptors cross exec by having their close-on-exec flag taken off here,
	 * in the child: nothing else of the supervisor crosses. */
	fcntl(link_fd, F_SETFD, 0);
	fcntl(s->listener->fd, F_SETFD, 0);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	unsetenv("NOTIFY_SOCKET");
	unsetenv("WATCHDOG_USEC");
	execv(program, argv);
	_exit(EX_OSERR);
}

static void
start_worker(struct supervisor *s)
{
	int link[2];

	assert(s->n < WORKERS_MAX); /* see replace() */
	s->restart_at_ms = -1;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, link) < 0) {
		log_msg(LOG_LEVEL_ERR, "supervisor", "socketpair: %s", strerror(errno));
		s->restart_at_ms = clock_mono_ms() + restart_delay_next(&s->delay, 0);
		return;
	}
	pid_t pid = fork();
	if (pid == 0)
		exec_worker(s, link[1]);
	close(link[1]);
	if (pid < 0) {
		log_msg(LOG_LEVEL_ERR, "supervisor", "fork: %s", strerror(errno));
		close(link[0]);
		s->restart_at_ms = clock_mono_ms() + restart_delay_next(&s->delay, 0);
		return;
	}
	s->children[s->n++] = (struct child){ .pid = pid,
		.link_fd = link[0],
		.link_open = true,
		.role = ROLE_STARTING,
		.since_ms = clock_mono_ms() };
}

static void
say(struct child *c, enum worker_word word)
{
	char octet = (char)word;

	/* A worker that is gone shows by SIGCHLD. */
	if (send(c->link_fd, &octet, 1, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 &&
	    errno != EPIPE)
		log_msg(LOG_LEVEL_WARN, "supervisor", "link to worker %ld: %s",
		    (long)c->pid, strerror(errno));
}

static void
set_role(struct child *c, enum role role)
{
	log_msg(LOG_LEVEL_DEBUG, "supervisor", "worker %ld: %s, now %s", (long)c->pid,
	    role_names[c->role], role_names[role]);
	c->role = role;
	c->since_ms = clock_mono_ms();
}

static void
on_served(struct supervisor *s, struct child *c)
{
	struct child *old = find_role(s, ROLE_LIVE);

	if (c->role != ROLE_STARTING)
		return;
	if (old != NULL) {
		say(old, WORKER_REPLACED);
		set_role(old, ROLE_DRAINING);
		log_msg(LOG_LEVEL_INFO, "replace", "worker %ld takes over from %ld",
		    (long)c->pid, (long)old->pid);
	}
	set_role(c, ROLE_LIVE);
	s->replacing = false;
	if (s->ever_served)
		return;
	s->ever_served = true;
	if (s->conf->background_fd >= 0 && write(s->conf->background_fd, "0", 1) < 0)
		log_msg(LOG_LEVEL_DEBUG, "supervisor", "nobody waits for readiness");
	ready_up();
}

static void
on_link(struct supervisor *s, struct child *c)
{
	char word;
	ssize_t n = recv(c->link_fd, &word, 1, MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		c->link_open = false; /* its end comes by SIGCHLD */
		return;
	}
	switch ((enum worker_word)word) {
	case WORKER_READY:
		on_served(s, c);
		break;
	case WORKER_RELOADED:
	case WORKER_KEPT:
		ready_up();
		break;
	case WORKER_RELOAD:
	case WORKER_REPLACED:
	case WORKER_STOP:
		break;
	}
}

static void
log_end(const struct child *c, int status)
{
	enum log_level level = LOG_LEVEL_ERR;

	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		level = LOG_LEVEL_INFO;
	if (WIFSIGNALED(status))
		log_msg(level, "worker.end", "%s worker %ld killed by signal %d (%s)",
		    role_names[c->role], (long)c->pid, WTERMSIG(status),
		    strsignal(WTERMSIG(status)));
	else
		log_msg(level, "worker.end", "%s worker %ld ended with status %d",
		    role_names[c->role], (long)c->pid, WEXITSTATUS(status));
}

/* The live worker, or one that should have become it, is gone. */
static void
on_loss(struct supervisor *s, const struct child *c, int status)
{
	int64_t now = clock_mono_ms();

	if (c->role == ROLE_DRAINING)
		return;
	if (c->role == ROLE_STARTING && s->replacing &&
	    find_role(s, ROLE_LIVE) != NULL) {
		s->replacing = false;
		log_msg(LOG_LEVEL_ERR, "replace",
		    "the new worker did not come up; the old one goes on");
		return;
	}
	if (c->role == ROLE_STARTING && !s->ever_served && WIFEXITED(status) &&
	    WEXITSTATUS(status) != 0) {
		s->ending = true;
		s->status = WEXITSTATUS(status);
		return;
	}
	if (c->role == ROLE_LIVE && find_role(s, ROLE_STARTING) != NULL)
		return; /* its replacement is on the way */
	s->replacing = false;
	s->restart_at_ms = now +
	    restart_delay_next(&s->delay, c->role == ROLE_LIVE ? now - c->since_ms : 0);
}

static void
reap(struct supervisor *s)
{
	pid_t pid;
	int status;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		for (size_t i = 0; i < s->n; i++) {
			struct child gone = s->children[i];

			if (gone.pid != pid)
				continue;
			close(gone.link_fd);
			s->children[i] = s->children[--s->n];
			log_end(&gone, status);
			if (!s->ending)
				on_loss(s, &gone, status);
			break;
		}
	}
}

static void
kill_all(struct supervisor *s)
{
	for (size_t i = 0; i < s->n; i++)
		kill(s->children[i].pid, SIGKILL);
}

static void
end(struct supervisor *s)
{
	if (s->ending) {
		log_msg(LOG_LEVEL_WARN, "supervisor",
		    "told twice to end; messages are cut off");
		kill_all(s);
		return;
	}
	s->ending = true;
	s->restart_at_ms = -1;
	s->kill_at_ms = clock_mono_ms() + s->conf->drain * 1000 + END_GRACE_MS;
	ready_notify("STOPPING=1");
	for (size_t i = 0; i < s->n; i++)
		say(&s->children[i], WORKER_STOP);
	/* New clients hear at once that nobody is there. */
	listen_close(s->listener);
}

static void
replace(struct supervisor *s)
{
	if (s->ending || find_role(s, ROLE_STARTING) != NULL) {
		log_msg(LOG_LEVEL_WARN, "replace", "a worker is already being started");
		return;
	}
	/* One place stays free, for the day on which the live one dies. */
	if (s->n >= WORKERS_MAX - 1) {
		log_msg(LOG_LEVEL_ERR, "replace",
		    "%zu replaced workers still drain; nothing is replaced", s->n - 1);
		return;
	}
	s->replacing = find_role(s, ROLE_LIVE) != NULL;
	start_worker(s);
}

static void
reopen_log(const struct supervisor_conf *conf)
{
	struct err err = { 0 };

	if (log_open(conf->name, conf->log_target, (enum log_level)conf->log_level,
		&err) < 0)
		log_err("log", &err);
}

static void
on_signal(struct supervisor *s, uint32_t sig)
{
	struct child *live = find_role(s, ROLE_LIVE);

	switch (sig) {
	case SIGCHLD:
		reap(s);
		break;
	case SIGHUP:
		ready_reloading();
		reopen_log(s->conf);
		if (live != NULL && !s->ending)
			say(live, WORKER_RELOAD);
		else
			ready_up(); /* the worker that starts next reads the new file */
		break;
	case SIGUSR2:
		replace(s);
		break;
	case SIGTERM:
	case SIGINT:
		end(s);
		break;
	}
}

static int
until(int64_t at_ms, int64_t now, int timeout)
{
	if (at_ms < 0)
		return timeout;
	int64_t left = at_ms > now ? at_ms - now : 0;
	if (left > 3600000)
		left = 3600000;
	return timeout < 0 || left < timeout ? (int)left : timeout;
}

/* What is due by the clock; returns the time to the next such thing in ms, -1: none. */
static int
on_clock(struct supervisor *s)
{
	int64_t now = clock_mono_ms();
	struct child *starting = find_role(s, ROLE_STARTING);
	int timeout = -1;

	if (s->restart_at_ms >= 0 && now >= s->restart_at_ms) {
		start_worker(s);
		starting = find_role(s, ROLE_STARTING);
	}
	if (starting != NULL && now - starting->since_ms >= START_LIMIT_MS) {
		log_msg(LOG_LEVEL_ERR, "supervisor",
		    "worker %ld does not come up; killed", (long)starting->pid);
		kill(starting->pid, SIGKILL);
		starting->since_ms = now;
	}
	if (s->ending && s->n > 0 && s->kill_at_ms > 0 && now >= s->kill_at_ms) {
		log_msg(LOG_LEVEL_ERR, "supervisor", "workers do not end; killed");
		kill_all(s);
		s->kill_at_ms = now + END_GRACE_MS;
	}
	if (s->watchdog_ms > 0 && now >= s->watchdog_at_ms) {
		ready_notify("WATCHDOG=1");
		s->watchdog_at_ms = now + s->watchdog_ms;
	}
	timeout = until(s->restart_at_ms, now, timeout);
	timeout = until(
	    starting != NULL ? starting->since_ms + START_LIMIT_MS : -1, now, timeout);
	timeout =
	    until(s->ending && s->kill_at_ms > 0 ? s->kill_at_ms : -1, now, timeout);
	return until(s->watchdog_ms > 0 ? s->watchdog_at_ms : -1, now, timeout);
}

static void
wait_for_events(struct supervisor *s, int signal_fd, int timeout)
{
	struct pollfd p[WORKERS_MAX + 1] = { { .fd = signal_fd, .events = POLLIN } };
	struct signalfd_siginfo info;
	pid_t pids[WORKERS_MAX];
	size_t n = s->n;

	for (size_t i = 0; i < n; i++) {
		pids[i] = s->children[i].pid;
		p[i + 1].fd = s->children[i].link_open ? s->children[i].link_fd : -1;
		p[i + 1].events = POLLIN;
	}
	if (poll(p, (nfds_t)n + 1, timeout) <= 0)
		return;
	/* Links first: a word before death counts.  The list moves only in on_signal().
	 */
	for (size_t i = 0; i < n; i++)
		if (p[i + 1].revents != 0 && s->children[i].pid == pids[i])
			on_link(s, &s->children[i]);
	if (p[0].revents != 0 && read(signal_fd, &info, sizeof(info)) == sizeof(info))
		on_signal(s, info.ssi_signo);
}

int
supervisor_run(const struct supervisor_conf *conf, struct listener *l)
{
	struct supervisor s = { .conf = conf, .listener = l, .restart_at_ms = -1 };
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGUSR2);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	int signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (signal_fd < 0)
		return EX_OSERR;
	s.watchdog_ms = ready_watchdog_ms();
	start_worker(&s);
	while (!s.ending || s.n > 0) {
		int timeout = on_clock(&s);

		if (s.ending && s.n == 0)
			break;
		wait_for_events(&s, signal_fd, timeout);
	}
	close(signal_fd);
	return s.status;
}

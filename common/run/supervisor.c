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
#include "common/run/jail_program.h"
#include "common/run/ready.h"
#include "common/run/worker.h"

#define WORKERS_MAX 8 /* live, starting, and replaced ones that drain */
#define CHILDREN_MAX (2 * WORKERS_MAX) /* of both kinds */
#define START_LIMIT_MS 60000
#define JAIL_START_LIMIT_MS 600000
#define HEALTHY_MS 60000
#define RESTART_MAX_MS 30000
#define END_GRACE_MS 15000 /* beyond drain, before SIGKILL */

enum kind { KIND_WORKER, KIND_JAIL };

static const char *const kind_names[] = { "worker", "jail" };

enum role { ROLE_STARTING, ROLE_LIVE, ROLE_DRAINING };

static const char *const role_names[] = { "starting", "live", "draining" };

struct child {
	pid_t pid;
	int link_fd;
	enum kind kind;
	enum role role;
	bool link_open;
	bool stale; /* HUP came while it was starting: it may have read the old file */
	int64_t since_ms; /* when it came into its role */
};

struct supervisor {
	const struct supervisor_conf *conf;
	struct listener *listener;
	struct child children[CHILDREN_MAX];
	size_t n;
	struct restart_delay delay[2]; /* by kind */
	int64_t restart_at_ms[2]; /* by kind; -1: no start is due */
	int jail_fd; /* what the jail's clients connect to; -1: no jail */
	char jail_address[JAIL_ADDRESS_MAX];
	bool jail_stale; /* reloaded while one was starting: once more */
	bool ever_served; /* a worker */
	bool ever_up;
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
find_role(struct supervisor *s, enum kind kind, enum role role)
{
	for (size_t i = 0; i < s->n; i++)
		if (s->children[i].kind == kind && s->children[i].role == role)
			return &s->children[i];
	return NULL;
}

static size_t
count_kind(const struct supervisor *s, enum kind kind)
{
	size_t n = 0;

	for (size_t i = 0; i < s->n; i++)
		n += s->children[i].kind == kind;
	return n;
}

/* In the child.  The descriptors cross exec by having their close-on-exec flag taken off
 * here: nothing else of the supervisor crosses. */
static void
exec_child(const struct supervisor *s, enum kind kind, int link_fd)
{
	int listen_fd = kind == KIND_JAIL ? s->jail_fd : s->listener->fd;
	char program[PATH_MAX], arg[60 + JAIL_ADDRESS_MAX];
	char dash_c[] = "-c";
	char *argv[5] = { program, arg };
	sigset_t none;

	if (kind == KIND_JAIL)
		snprintf(arg, sizeof(arg), "--jail=%d,%d", listen_fd, link_fd);
	else
		snprintf(arg, sizeof(arg), "--worker=%d,%d,%s", link_fd, listen_fd,
		    s->jail_address);
	snprintf(program, sizeof(program), "%s",
	    kind == KIND_JAIL ? s->conf->jail_program : s->conf->program);
	if (s->conf->conf_path != NULL) {
		argv[2] = dash_c;
		argv[3] = s->conf->conf_path;
	}
	fcntl(link_fd, F_SETFD, 0);
	fcntl(listen_fd, F_SETFD, 0);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	unsetenv("NOTIFY_SOCKET");
	unsetenv("WATCHDOG_USEC");
	execv(program, argv);
	_exit(EX_OSERR);
}

static void
start_failed(struct supervisor *s, enum kind kind, const char *what)
{
	log_msg(LOG_LEVEL_ERR, "supervisor", "%s: %s", what, strerror(errno));
	s->restart_at_ms[kind] =
	    clock_mono_ms() + restart_delay_next(&s->delay[kind], 0);
}

static void
start_child(struct supervisor *s, enum kind kind)
{
	int link[2];

	assert(s->n < CHILDREN_MAX); /* see may_start() */
	s->restart_at_ms[kind] = -1;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, link) < 0) {
		start_failed(s, kind, "socketpair");
		return;
	}
	pid_t pid = fork();
	if (pid == 0)
		exec_child(s, kind, link[1]);
	close(link[1]);
	if (pid < 0) {
		start_failed(s, kind, "fork");
		close(link[0]);
		return;
	}
	s->children[s->n++] = (struct child){ .pid = pid,
		.link_fd = link[0],
		.link_open = true,
		.kind = kind,
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
		log_msg(LOG_LEVEL_WARN, "supervisor", "link to %s %ld: %s",
		    kind_names[c->kind], (long)c->pid, strerror(errno));
}

static void
set_role(struct child *c, enum role role)
{
	log_msg(LOG_LEVEL_DEBUG, "supervisor", "%s %ld: %s, now %s", kind_names[c->kind],
	    (long)c->pid, role_names[c->role], role_names[role]);
	c->role = role;
	c->since_ms = clock_mono_ms();
}

/* The program is up when all that it consists of is. */
static void
maybe_up(struct supervisor *s)
{
	if (s->ever_up || find_role(s, KIND_WORKER, ROLE_LIVE) == NULL ||
	    (s->jail_fd >= 0 && find_role(s, KIND_JAIL, ROLE_LIVE) == NULL))
		return;
	s->ever_up = true;
	if (s->conf->background_fd >= 0 && write(s->conf->background_fd, "0", 1) < 0)
		log_msg(LOG_LEVEL_DEBUG, "supervisor", "nobody waits for readiness");
	ready_up();
}

static void
on_served(struct supervisor *s, struct child *c)
{
	struct child *old = find_role(s, c->kind, ROLE_LIVE);

	if (c->role != ROLE_STARTING)
		return;
	if (old != NULL) {
		if (c->kind == KIND_WORKER)
			say(old, WORKER_REPLACED);
		else
			kill(old->pid, SIGUSR1);
		set_role(old, ROLE_DRAINING);
		log_msg(LOG_LEVEL_INFO, "replace", "%s %ld takes over from %ld",
		    kind_names[c->kind], (long)c->pid, (long)old->pid);
	}
	set_role(c, ROLE_LIVE);
	if (c->kind == KIND_WORKER) {
		s->replacing = false;
		s->ever_served = true;
		if (c->stale && !s->ending)
			say(c, WORKER_RELOAD);
	}
	maybe_up(s);
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
	case WORKER_READY: /* and JAIL_READY */
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
		log_msg(level, "worker.end", "%s %s %ld killed by signal %d (%s)",
		    role_names[c->role], kind_names[c->kind], (long)c->pid,
		    WTERMSIG(status), strsignal(WTERMSIG(status)));
	else
		log_msg(level, "worker.end", "%s %s %ld ended with status %d",
		    role_names[c->role], kind_names[c->kind], (long)c->pid,
		    WEXITSTATUS(status));
}

/* Start it again, later if it never was of use for long. */
static void
restart(struct supervisor *s, const struct child *gone)
{
	int64_t now = clock_mono_ms();

	s->restart_at_ms[gone->kind] = now +
	    restart_delay_next(&s->delay[gone->kind],
		gone->role == ROLE_LIVE ? now - gone->since_ms : 0);
}

/* A jail that cannot be loaded stops nothing: the worker tempfails what needs it. */
static void
on_jail_loss(struct supervisor *s, const struct child *c)
{
	bool live = find_role(s, KIND_JAIL, ROLE_LIVE) != NULL;

	if (c->role == ROLE_STARTING && live)
		log_msg(LOG_LEVEL_ERR, "replace",
		    "the new jail did not come up; the old one goes on");
	else if (find_role(s, KIND_JAIL, ROLE_STARTING) == NULL)
		restart(s, c);
}

/* The live one, or one that should have become it, is gone. */
static void
on_loss(struct supervisor *s, const struct child *c, int status)
{
	if (c->role == ROLE_DRAINING)
		return;
	if (c->kind == KIND_JAIL) {
		on_jail_loss(s, c);
		return;
	}
	if (c->role == ROLE_STARTING && s->replacing &&
	    find_role(s, KIND_WORKER, ROLE_LIVE) != NULL) {
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
	if (c->role == ROLE_LIVE && find_role(s, KIND_WORKER, ROLE_STARTING) != NULL)
		return; /* its replacement is on the way */
	s->replacing = false;
	restart(s, c);
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
	s->restart_at_ms[KIND_WORKER] = s->restart_at_ms[KIND_JAIL] = -1;
	s->kill_at_ms = clock_mono_ms() + s->conf->drain * 1000 + END_GRACE_MS;
	ready_notify("STOPPING=1");
	/* The jail is needed until the last worker is gone. */
	for (size_t i = 0; i < s->n; i++)
		if (s->children[i].kind == KIND_WORKER)
			say(&s->children[i], WORKER_STOP);
	/* New clients hear at once that nobody is there. */
	listen_close(s->listener);
}

/* One place stays free, for the day on which the live one dies. */
static bool
may_start(struct supervisor *s, enum kind kind)
{
	if (s->ending || find_role(s, kind, ROLE_STARTING) != NULL) {
		log_msg(LOG_LEVEL_WARN, "replace", "a %s is already being started",
		    kind_names[kind]);
		return false;
	}
	if (count_kind(s, kind) >= WORKERS_MAX - 1) {
		log_msg(LOG_LEVEL_ERR, "replace", "%zu still drain; no %s is replaced",
		    count_kind(s, kind) - 1, kind_names[kind]);
		return false;
	}
	return true;
}

static void
replace(struct supervisor *s)
{
	if (!may_start(s, KIND_WORKER))
		return;
	s->replacing = find_role(s, KIND_WORKER, ROLE_LIVE) != NULL;
	start_child(s, KIND_WORKER);
}

/* What a master loaded it cannot exchange: a fresh one loads it anew. */
static void
reload_jail(struct supervisor *s)
{
	if (s->jail_fd < 0 || s->restart_at_ms[KIND_JAIL] >= 0)
		return;
	s->jail_stale = find_role(s, KIND_JAIL, ROLE_STARTING) != NULL;
	if (!s->jail_stale && may_start(s, KIND_JAIL))
		start_child(s, KIND_JAIL);
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
	struct child *live = find_role(s, KIND_WORKER, ROLE_LIVE);
	struct child *starting = find_role(s, KIND_WORKER, ROLE_STARTING);

	switch (sig) {
	case SIGCHLD:
		reap(s);
		break;
	case SIGHUP:
		ready_reloading();
		reopen_log(s->conf);
		if (starting != NULL)
			starting->stale = true;
		if (live != NULL && !s->ending)
			say(live, WORKER_RELOAD);
		else
			ready_up(); /* the worker that starts next reads the new file */
		if (!s->ending)
			reload_jail(s);
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

/* Signatures take their time to load. */
static int64_t
start_limit_ms(enum kind kind)
{
	return kind == KIND_JAIL ? JAIL_START_LIMIT_MS : START_LIMIT_MS;
}

/* Starts that are due, and one that takes too long.  Returns the time to the next such
 * thing in ms, -1: none. */
static int
on_clock_of(struct supervisor *s, enum kind kind, int64_t now)
{
	int64_t limit = start_limit_ms(kind);

	if (s->restart_at_ms[kind] >= 0 && now >= s->restart_at_ms[kind])
		start_child(s, kind);
	struct child *starting = find_role(s, kind, ROLE_STARTING);
	if (starting != NULL && now - starting->since_ms >= limit) {
		log_msg(LOG_LEVEL_ERR, "supervisor", "%s %ld does not come up; killed",
		    kind_names[kind], (long)starting->pid);
		kill(starting->pid, SIGKILL);
		starting->since_ms = now;
	}
	int timeout = until(s->restart_at_ms[kind], now, -1);
	return until(starting != NULL ? starting->since_ms + limit : -1, now, timeout);
}

static int
sooner(int a, int b)
{
	return a < 0 || (b >= 0 && b < a) ? b : a;
}

/* The jail goes when no worker can need it any more. */
static void
end_jail(struct supervisor *s)
{
	if (!s->ending || count_kind(s, KIND_WORKER) > 0)
		return;
	for (size_t i = 0; i < s->n; i++)
		if (s->children[i].role != ROLE_DRAINING) {
			kill(s->children[i].pid, SIGUSR1);
			set_role(&s->children[i], ROLE_DRAINING);
		}
}

/* What is due by the clock; returns the time to the next such thing in ms, -1: none. */
static int
on_clock(struct supervisor *s)
{
	int64_t now = clock_mono_ms();
	int timeout = sooner(
	    on_clock_of(s, KIND_WORKER, now), on_clock_of(s, KIND_JAIL, now));

	if (s->jail_stale && find_role(s, KIND_JAIL, ROLE_STARTING) == NULL)
		reload_jail(s);
	end_jail(s);
	if (s->ending && s->n > 0 && s->kill_at_ms > 0 && now >= s->kill_at_ms) {
		log_msg(LOG_LEVEL_ERR, "supervisor", "children do not end; killed");
		kill_all(s);
		s->kill_at_ms = now + END_GRACE_MS;
	}
	if (s->watchdog_ms > 0 && now >= s->watchdog_at_ms) {
		ready_notify("WATCHDOG=1");
		s->watchdog_at_ms = now + s->watchdog_ms;
	}
	timeout =
	    until(s->ending && s->kill_at_ms > 0 ? s->kill_at_ms : -1, now, timeout);
	return until(s->watchdog_ms > 0 ? s->watchdog_at_ms : -1, now, timeout);
}

static void
wait_for_events(struct supervisor *s, int signal_fd, int timeout)
{
	struct pollfd p[CHILDREN_MAX + 1] = { { .fd = signal_fd, .events = POLLIN } };
	struct signalfd_siginfo info;
	pid_t pids[CHILDREN_MAX];
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

static void
our_signals(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGHUP);
	sigaddset(set, SIGUSR2);
	sigaddset(set, SIGTERM);
	sigaddset(set, SIGINT);
	sigaddset(set, SIGCHLD);
}

void
supervisor_hold_signals(void)
{
	sigset_t set;

	our_signals(&set);
	sigprocmask(SIG_BLOCK, &set, NULL);
}

int
supervisor_run(const struct supervisor_conf *conf, struct listener *l)
{
	struct supervisor s = { .conf = conf,
		.listener = l,
		.restart_at_ms = { -1, -1 },
		.jail_fd = -1 };
	struct err err;
	sigset_t set;

	our_signals(&set);
	supervisor_hold_signals();
	signal(SIGPIPE, SIG_IGN);
	int signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (signal_fd < 0)
		return EX_OSERR;
	s.watchdog_ms = ready_watchdog_ms();
	if (conf->jail_program != NULL) {
		s.jail_fd = jail_listen(s.jail_address, &err);
		if (s.jail_fd < 0) {
			log_err("supervisor", &err);
			close(signal_fd);
			return EX_OSERR;
		}
		start_child(&s, KIND_JAIL);
	}
	start_child(&s, KIND_WORKER);
	while (!s.ending || s.n > 0) {
		int timeout = on_clock(&s);

		if (s.ending && s.n == 0)
			break;
		wait_for_events(&s, signal_fd, timeout);
	}
	if (s.jail_fd >= 0)
		close(s.jail_fd);
	close(signal_fd);
	return s.status;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* The supervisor of a relay: one thread, one loop over a signalfd.  The listening
 * sockets and the queue's socket stay open here, so that clients and listeners wait
 * instead of failing while a process is started again. */
#include "contrib/relay/tier.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/xalloc.h"
#include "common/run/ready.h"
#include "common/run/supervisor.h"
#include "contrib/relay/confine.h"
#include "contrib/relay/deliver.h"
#include "contrib/relay/listener.h"
#include "contrib/relay/queue_process.h"

#define END_GRACE_MS 15000 /* beyond drain, before SIGKILL */
#define SLOTS_MAX 66 /* queue, delivery, at most 64 listeners */
#define RETIRED_MAX 512 /* replaced processes that finish */

enum kind { KIND_QUEUE, KIND_DELIVER, KIND_LISTENER };

static const char *const kind_names[] = { "queue", "deliver", "listener" };

struct slot { /* a process that has to run */
	pid_t pid; /* 0: none */
	enum kind kind;
	int64_t started_ms;
	int64_t start_at_ms; /* when pid is 0; INT64_MAX: not */
	struct restart_delay delay;
};

struct retired {
	pid_t pid;
	enum kind kind;
};

struct run {
	struct tier *tier;
	struct slot slots[SLOTS_MAX];
	size_t n_slots;
	struct retired retired[RETIRED_MAX];
	size_t n_retired;
	int signal_fd;
	int queue_fd;
	char queue_address[QUEUE_ADDRESS_MAX];
	bool ending, killed;
	bool queue_told; /* to end */
	int64_t kill_at_ms;
	int64_t watchdog_ms, watchdog_at_ms; /* 0: nobody watches */
};

/* --- settings --- */

static bool
told_before(const struct errs *errs, size_t i)
{
	for (size_t j = 0; j < i; j++)
		if (errs->list[i].line == errs->list[j].line &&
		    strcmp(errs->list[i].text, errs->list[j].text) == 0 &&
		    strcmp(errs->list[i].file, errs->list[j].file) == 0)
			return true;
	return false;
}

/* Two readers of one file tell its faults of grammar twice. */
static void
drop_doubles(struct errs *errs)
{
	size_t kept = 0;

	for (size_t i = 0; i < errs->n; i++) {
		if (told_before(errs, i))
			continue;
		errs->list[kept++] = errs->list[i];
	}
	errs->n = kept;
}

int
tier_load(
    const char *path, const char *name, struct tier_settings *out, struct errs *errs)
{
	out->common = settings_load(path, errs);
	out->relay = relay_conf_load(path, name, errs);
	drop_doubles(errs);
	if (out->common != NULL && out->relay != NULL && errs->n == 0 &&
	    listener_check(out->relay, errs) == 0)
		return 0;
	tier_settings_clear(out);
	return -1;
}

void
tier_settings_clear(struct tier_settings *t)
{
	relay_conf_free(t->relay);
	settings_unref(t->common);
	*t = (struct tier_settings){ NULL, NULL };
}

static void
log_errs(const char *event, struct errs *errs)
{
	char text[700];

	for (size_t i = 0; i < errs->n; i++)
		log_msg(LOG_LEVEL_ERR, event, "%s",
		    err_str(&errs->list[i], text, sizeof(text)));
	errs_clear(errs);
}

/* --- processes --- */

/* One queue process to a spool, also when a supervisor was killed and its successor is
 * quicker than the old queue process at its end.  The lock goes with this process. */
static bool
lock_spool(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0) {
		log_msg(LOG_LEVEL_ERR, "spool", "%s: %s", path, strerror(errno));
		return false;
	}
	if (flock(fd, LOCK_EX | LOCK_NB) == 0)
		return true;
	log_msg(LOG_LEVEL_ERR, "spool", "%s is held by another process: waiting", path);
	return flock(fd, LOCK_EX) == 0;
}

/* Who talks to strangers sees no spool (see confine.h). */
static bool
confine(const struct relay_conf *conf, enum kind kind)
{
	const char *paths[] = { conf->mailertable, conf->relay_domains_file };
	struct err err;
	bool active;

	if (confine_files(paths, kind == KIND_LISTENER ? 2 : 0, &active, &err) < 0) {
		log_err("confine", &err);
		return false;
	}
	if (!active)
		log_msg(LOG_LEVEL_DEBUG, "confine", "%s runs without Landlock",
		    kind_names[kind]);
	return true;
}

static int
child_body(const struct run *r, enum kind kind)
{
	const struct tier *t = r->tier;
	const struct settings_dns *dns = &t->settings.common->dns;
	struct resolver_conf resolver = {
		.servers = (const char *const *)dns->servers.list,
		.n_servers = dns->servers.n,
		.timeout_ms = dns->timeout_ms,
		.deadline_ms = dns->deadline_ms,
		.tries = (unsigned)dns->tries,
		.cache_entries = (size_t)dns->cache_entries,
	};

	if (kind != KIND_QUEUE && !confine(t->settings.relay, kind))
		return 71;
	switch (kind) {
	case KIND_QUEUE:
		if (!lock_spool(t->settings.relay->spool))
			return 73;
		return queue_process(t->settings.relay, r->queue_fd);
	case KIND_DELIVER:
		return deliver_process(t->settings.relay, r->queue_address, &resolver);
	case KIND_LISTENER:
		return listener_process(t->settings.relay, t->fds, t->n_fds,
		    r->queue_address, &resolver, t->settings.common->run.drain);
	}
	return 70;
}

/* In the child: nothing of the parent's that is not the child's business. */
static void
run_child(struct run *r, enum kind kind, pid_t parent)
{
	sigset_t none;

	sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	close(r->signal_fd);
	/* Nobody works on without the one who ends and restarts them. */
	(void)prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (getppid() != parent)
		_exit(71);
	if (kind != KIND_QUEUE)
		close(r->queue_fd);
	for (size_t i = 0; kind != KIND_LISTENER && i < r->tier->n_fds; i++)
		close(r->tier->fds[i]);
	(void)unsetenv("NOTIFY_SOCKET");
	_exit(child_body(r, kind));
}

static void
start(struct run *r, struct slot *s)
{
	pid_t parent = getpid(), pid = fork();

	if (pid == 0)
		run_child(r, s->kind, parent);
	if (pid < 0) {
		log_msg(LOG_LEVEL_ERR, "start", "%s: fork: %s", kind_names[s->kind],
		    strerror(errno));
		s->start_at_ms =
		    clock_mono_ms() + 1000 + restart_delay_next(&s->delay, 0);
		return;
	}
	s->pid = pid;
	s->started_ms = clock_mono_ms();
	s->start_at_ms = INT64_MAX;
	log_msg(
	    LOG_LEVEL_INFO, "started", "%s pid %ld", kind_names[s->kind], (long)pid);
}

static void
set_slots(struct run *r)
{
	size_t want = 2 + (size_t)r->tier->settings.relay->listeners;

	for (size_t i = r->n_slots; i < want; i++)
		r->slots[i] = (struct slot){ .kind = i == 0 ? KIND_QUEUE
			    : i == 1                        ? KIND_DELIVER
							    : KIND_LISTENER,
			.start_at_ms = 0 };
	r->n_slots = want;
}

static void
start_due(struct run *r)
{
	int64_t now = clock_mono_ms();

	for (size_t i = 0; i < r->n_slots && !r->ending; i++)
		if (r->slots[i].pid == 0 && r->slots[i].start_at_ms <= now)
			start(r, &r->slots[i]);
}

static void
retire(struct run *r, struct slot *s, int sig)
{
	if (s->pid == 0)
		return;
	(void)kill(s->pid, sig);
	if (r->n_retired < RETIRED_MAX) {
		r->retired[r->n_retired++] = (struct retired){ s->pid, s->kind };
	} else {
		/* Somebody reloads many times a minute under load. */
		log_msg(LOG_LEVEL_WARN, "reload",
		    "too many old processes, pid %ld ended", (long)s->pid);
		(void)kill(s->pid, SIGTERM);
	}
	s->pid = 0;
	s->start_at_ms = 0;
}

static void
log_end(enum kind kind, pid_t pid, int status, bool wanted)
{
	enum log_level level = wanted ? LOG_LEVEL_INFO : LOG_LEVEL_ERR;

	if (WIFSIGNALED(status))
		log_msg(level, "ended", "%s pid %ld by signal %d", kind_names[kind],
		    (long)pid, WTERMSIG(status));
	else
		log_msg(level, "ended", "%s pid %ld with status %d", kind_names[kind],
		    (long)pid, WEXITSTATUS(status));
}

static void
reaped(struct run *r, pid_t pid, int status)
{
	int64_t now = clock_mono_ms();

	for (size_t i = 0; i < r->n_retired; i++) {
		if (r->retired[i].pid != pid)
			continue;
		log_end(r->retired[i].kind, pid, status, true);
		r->retired[i] = r->retired[--r->n_retired];
		return;
	}
	for (size_t i = 0; i < r->n_slots; i++) {
		struct slot *s = &r->slots[i];

		if (s->pid != pid)
			continue;
		log_end(s->kind, pid, status, r->ending);
		s->pid = 0;
		s->start_at_ms =
		    now + restart_delay_next(&s->delay, now - s->started_ms);
		return;
	}
}

/* --- signals --- */

/* All but the queue process are gone. */
static bool
only_queue_left(const struct run *r)
{
	for (size_t i = 0; i < r->n_slots; i++)
		if (r->slots[i].kind != KIND_QUEUE && r->slots[i].pid != 0)
			return false;
	return r->n_retired == 0;
}

static bool
all_gone(const struct run *r)
{
	for (size_t i = 0; i < r->n_slots; i++)
		if (r->slots[i].pid != 0)
			return false;
	return r->n_retired == 0;
}

static void
kill_all(struct run *r, int sig, bool queue)
{
	for (size_t i = 0; i < r->n_slots; i++)
		if (r->slots[i].pid != 0 && (queue || r->slots[i].kind != KIND_QUEUE))
			(void)kill(r->slots[i].pid, sig);
	for (size_t i = 0; i < r->n_retired; i++)
		(void)kill(r->retired[i].pid, sig);
}

/* Those that still need the queue process go first. */
static void
end(struct run *r)
{
	if (r->ending) {
		r->killed = true;
		kill_all(r, SIGKILL, true);
		return;
	}
	r->ending = true;
	(void)ready_notify("STOPPING=1");
	r->kill_at_ms =
	    clock_mono_ms() + END_GRACE_MS + r->tier->settings.common->run.drain * 1000;
	kill_all(r, SIGTERM, false);
}

/* What cannot change while we run stays as it is. */
static void
keep_fixed(const struct relay_conf *old, struct relay_conf *fresh)
{
	struct errs errs = { 0 };

	relay_conf_restart_needed(old, fresh, &errs);
	log_errs("reload", &errs);
	free(fresh->spool);
	fresh->spool = xstrdup(old->spool);
}

static void
reload(struct run *r)
{
	struct tier *t = r->tier;
	struct tier_settings fresh;
	struct errs errs = { 0 };
	struct err err;
	bool queue;

	(void)ready_reloading();
	if (tier_load(t->conf_path, t->name, &fresh, &errs) < 0) {
		log_errs("reload", &errs);
		log_msg(LOG_LEVEL_ERR, "reload", "the file is wrong: settings kept");
		(void)ready_up();
		return;
	}
	keep_fixed(t->settings.relay, fresh.relay);
	queue = relay_conf_queue_differs(t->settings.relay, fresh.relay);
	tier_settings_clear(&t->settings);
	t->settings = fresh;
	if (log_open("postern-relay", fresh.common->run.log,
		(enum log_level)fresh.common->run.log_level, &err) < 0)
		log_err("reload", &err);
	/* Never two of them on one spool: the next starts when this one has ended. */
	if (queue && r->slots[0].pid != 0)
		(void)kill(r->slots[0].pid, SIGTERM);
	for (size_t i = 1; i < r->n_slots; i++)
		retire(r, &r->slots[i],
		    r->slots[i].kind == KIND_LISTENER ? SIGUSR2 : SIGTERM);
	set_slots(r);
	start_due(r);
	log_msg(LOG_LEVEL_INFO, "reload", "new settings in force");
	(void)ready_up();
}

static void
on_signal(struct run *r, const struct signalfd_siginfo *info)
{
	pid_t pid;
	int status;

	switch (info->ssi_signo) {
	case SIGHUP:
		if (!r->ending)
			reload(r);
		break;
	case SIGTERM:
	case SIGINT:
		end(r);
		break;
	default: /* CHLD: several may have come as one */
		while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
			reaped(r, pid, status);
		break;
	}
}

/* --- the loop --- */

static int
next_timeout(const struct run *r)
{
	int64_t now = clock_mono_ms(), at = INT64_MAX;

	for (size_t i = 0; i < r->n_slots && !r->ending; i++)
		if (r->slots[i].pid == 0 && r->slots[i].start_at_ms < at)
			at = r->slots[i].start_at_ms;
	if (r->ending && !r->killed)
		at = r->kill_at_ms;
	if (r->watchdog_ms > 0 && r->watchdog_at_ms < at)
		at = r->watchdog_at_ms;
	if (at == INT64_MAX)
		return -1;
	return at <= now ? 0 : (int)(at - now > 60000 ? 60000 : at - now);
}

static void
feed_watchdog(struct run *r)
{
	int64_t now = clock_mono_ms();

	if (r->watchdog_ms <= 0 || now < r->watchdog_at_ms)
		return;
	(void)ready_notify("WATCHDOG=1");
	r->watchdog_at_ms = now + r->watchdog_ms;
}

static void
step(struct run *r)
{
	struct pollfd p = { .fd = r->signal_fd, .events = POLLIN };
	struct signalfd_siginfo info;
	bool queue_alone;

	if (poll(&p, 1, next_timeout(r)) > 0 &&
	    read(r->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
		on_signal(r, &info);
	feed_watchdog(r);
	if (!r->ending) {
		start_due(r);
		return;
	}
	queue_alone = r->slots[0].pid != 0 && only_queue_left(r);
	if (queue_alone && !r->queue_told) {
		r->queue_told = true;
		(void)kill(r->slots[0].pid, SIGTERM);
	}
	if (!r->killed && clock_mono_ms() >= r->kill_at_ms) {
		log_msg(LOG_LEVEL_WARN, "drain", "took too long: killed");
		r->killed = true;
		kill_all(r, SIGKILL, true);
	}
}

static int
watch_signals(struct err *err)
{
	sigset_t set;
	int fd;

	sigemptyset(&set);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGCHLD);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0 ||
	    (fd = signalfd(-1, &set, SFD_CLOEXEC)) < 0)
		return err_errno(err, "signalfd");
	(void)signal(SIGPIPE, SIG_IGN);
	(void)signal(SIGUSR2, SIG_IGN);
	(void)signal(SIGXFSZ, SIG_IGN); /* a full disk is an errno */
	return fd;
}

int
tier_run(struct tier *t)
{
	struct run *r = xcalloc(1, sizeof(*r));
	struct err err;

	r->tier = t;
	r->signal_fd = watch_signals(&err);
	r->queue_fd = r->signal_fd < 0 ? -1 : queue_socket(r->queue_address, &err);
	if (r->queue_fd < 0) {
		log_err("start", &err);
		free(r);
		return 71;
	}
	r->watchdog_ms = ready_watchdog_ms();
	set_slots(r);
	start_due(r);
	(void)ready_up();
	if (t->background_fd >= 0) {
		if (write(t->background_fd, "", 1) < 0)
			log_msg(LOG_LEVEL_WARN, "start", "nobody waits for us");
		close(t->background_fd);
	}
	while (!r->ending || !all_gone(r))
		step(r);
	log_msg(LOG_LEVEL_INFO, "ended", "relay \"%s\"", t->name);
	close(r->signal_fd);
	close(r->queue_fd);
	free(r);
	return 0;
}

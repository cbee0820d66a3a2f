/* SPDX-License-Identifier: BSD-2-Clause */
/* The jail's master: one thread, one poll loop over clients and workers.  It moves
 * descriptors and counts; it never looks into a message or an answer.  There is always
 * one idle worker more than jobs run, so that no message waits for a fork. */
#include "common/run/jail.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/xalloc.h"
#include "common/run/jail_private.h"
#include "common/run/jail_wire.h"

#define CLIENTS_MAX 64
#define WORKERS_MAX 65
#define TRIES 2 /* of one job, each on another worker */
#define POISON_SLOTS 4096 /* contents whose failures are remembered */
#define RESPAWN_MS 1000 /* after a worker that could not even start */

struct job {
	struct job *next;
	int client_fd; /* -1: the client went away */
	unsigned tries;
	bool timed_out;
	struct jail_head head;
	char *extra;
	int message_fd;
};

struct worker {
	pid_t pid;
	int link_fd;
	char *dir;
	struct job *job; /* NULL: idle */
	unsigned jobs; /* done */
	int64_t kill_at_ms; /* of the job */
};

struct poison {
	uint8_t hash[JAIL_HASH_SIZE];
	unsigned failures;
};

struct master {
	const struct jail_ops *ops;
	const struct jail_conf *conf;
	void *state;
	int clients[CLIENTS_MAX];
	size_t n_clients;
	struct worker workers[WORKERS_MAX];
	size_t n_workers;
	struct job *first, **last; /* that wait */
	size_t n_waiting;
	struct poison poison[POISON_SLOTS];
	unsigned long dirs; /* made so far */
	int64_t respawn_at_ms;
	int listen_fd, life_fd, signal_fd;
	bool ending;
};

/* --- failures by content --- */

static struct poison *
poison_slot(struct master *m, const uint8_t hash[JAIL_HASH_SIZE])
{
	uint32_t index;

	memcpy(&index, hash, sizeof(index));
	return &m->poison[index % POISON_SLOTS];
}

static unsigned
failures_of(struct master *m, const uint8_t hash[JAIL_HASH_SIZE])
{
	struct poison *p = poison_slot(m, hash);

	return memcmp(p->hash, hash, JAIL_HASH_SIZE) == 0 ? p->failures : 0;
}

static unsigned
count_failure(struct master *m, const uint8_t hash[JAIL_HASH_SIZE])
{
	struct poison *p = poison_slot(m, hash);

	if (memcmp(p->hash, hash, JAIL_HASH_SIZE) != 0) {
		memcpy(p->hash, hash, JAIL_HASH_SIZE);
		p->failures = 0;
	}
	return ++p->failures;
}

/* --- jobs --- */

static void
job_free(struct job *j)
{
	if (j->message_fd >= 0)
		close(j->message_fd);
	free(j->extra);
	free(j);
}

static void
answer_client(struct master *m, int client_fd, const struct jail_head *asked,
    enum jail_status status, bool timed_out)
{
	struct jail_head head = { .magic = JAIL_MAGIC,
		.status = status,
		.id = asked->id,
		.failures = failures_of(m, asked->hash),
		.timed_out = timed_out };

	/* A client that is gone or does not read has given up its answer. */
	if (client_fd >= 0)
		jail_send(client_fd, &head, STR(""), NULL, 0);
}

static void
job_wait(struct master *m, struct job *j, bool in_front)
{
	if (in_front) {
		j->next = m->first;
		m->first = j;
		if (m->last == &m->first)
			m->last = &j->next;
	} else {
		j->next = NULL;
		*m->last = j;
		m->last = &j->next;
	}
	m->n_waiting++;
}

/* The worker died or was killed over this job. */
static void
job_failed(struct master *m, struct job *j)
{
	if (++j->tries < TRIES && j->client_fd >= 0) {
		log_msg(LOG_LEVEL_WARN, "jail-worker", "%s over a job, which is tried again",
		    j->timed_out ? "killed, it took too long" : "died");
		job_wait(m, j, true);
		return;
	}
	count_failure(m, j->head.hash);
	answer_client(m, j->client_fd, &j->head, JAIL_FAILED, j->timed_out);
	job_free(j);
}

/* --- workers --- */

static int
remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	remove(path);
	return 0;
}

/* What a dead worker left behind; links are not followed. */
static void
remove_tree(const char *dir)
{
	nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* "name.PID.N" of a master that is no more: it was killed, and its workers with it. */
static bool
is_left_over(const struct master *m, struct str entry)
{
	struct str name = str_of(m->ops->name), pid;
	uint64_t number, count;

	if (!str_starts(entry, name) || entry.len == name.len || entry.p[name.len] != '.')
		return false;
	struct str rest = str_sub(entry, name.len + 1, entry.len);
	return str_cut(&rest, '.', &pid) && str_to_uint(pid, 1, INT32_MAX, &number) &&
	    str_to_uint(rest, 0, UINT32_MAX, &count) &&
	    kill((pid_t)number, 0) != 0 && errno == ESRCH;
}

static void
remove_left_over(const struct master *m)
{
	DIR *d = opendir(m->conf->tmp);
	struct dirent *entry;

	if (d == NULL)
		return; /* told when a worker is to be started */
	while ((entry = readdir(d)) != NULL)
		if (is_left_over(m, str_of(entry->d_name))) {
			char *path = xasprintf("%s/%s", m->conf->tmp, entry->d_name);

			remove_tree(path);
			free(path);
		}
	closedir(d);
}

static void
worker_end(struct master *m, size_t i)
{
	struct worker *w = &m->workers[i];
	struct job *j = w->job;

	close(w->link_fd);
	remove_tree(w->dir);
	free(w->dir);
	*w = m->workers[--m->n_workers];
	if (j != NULL)
		job_failed(m, j);
}

/* In the child: nothing of the master's but the link to it. */
static void
child_of(struct master *m, int link_fd, const char *dir)
{
	for (size_t i = 0; i < m->n_clients; i++)
		close(m->clients[i]);
	for (size_t i = 0; i < m->n_workers; i++)
		close(m->workers[i].link_fd);
	for (struct job *j = m->first; j != NULL; j = j->next)
		close(j->message_fd);
	close(m->listen_fd);
	close(m->signal_fd);
	if (m->life_fd >= 0)
		close(m->life_fd);
	jail_worker(m->ops, m->state, m->conf, link_fd, dir);
}

static int
worker_start(struct master *m)
{
	struct worker *w = &m->workers[m->n_workers];
	int ends[2];
	char *dir = xasprintf(
	    "%s/%s.%ld.%lu", m->conf->tmp, m->ops->name, (long)getpid(), m->dirs++);

	remove_tree(dir); /* of a process that had our number before */
	if (mkdir(dir, 0700) != 0 ||
	    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
		log_msg(LOG_LEVEL_ERR, "jail-worker", "cannot make %s: %s", dir,
		    strerror(errno));
		rmdir(dir);
		free(dir);
		return -1;
	}
	pid_t pid = fork();
	if (pid == 0) {
		close(ends[0]);
		child_of(m, ends[1], dir);
	}
	close(ends[1]);
	if (pid < 0) {
		log_msg(LOG_LEVEL_ERR, "jail-worker", "cannot fork: %s", strerror(errno));
		close(ends[0]);
		rmdir(dir);
		free(dir);
		return -1;
	}
	*w = (struct worker){ .pid = pid, .link_fd = ends[0], .dir = dir };
	m->n_workers++;
	return 0;
}

static size_t
busy_workers(const struct master *m)
{
	size_t n = 0;

	for (size_t i = 0; i < m->n_workers; i++)
		n += m->workers[i].job != NULL;
	return n;
}

/* As many workers as may run jobs, and a warm spare. */
static void
keep_workers(struct master *m)
{
	/* One that ends makes workers only for jobs that must be tried again. */
	size_t want = m->ending ? busy_workers(m) + m->n_waiting : (size_t)m->conf->workers + 1;

	if (want > WORKERS_MAX)
		want = WORKERS_MAX;
	while (m->n_workers < want && clock_mono_ms() >= m->respawn_at_ms)
		if (worker_start(m) != 0)
			m->respawn_at_ms = clock_mono_ms() + RESPAWN_MS;
}

static struct worker *
idle_worker(struct master *m)
{
	for (size_t i = 0; i < m->n_workers; i++)
		if (m->workers[i].job == NULL)
			return &m->workers[i];
	return NULL;
}

/* --- the loop's events --- */

static void
take_request(struct master *m, int client_fd, struct jail_packet *p)
{
	if (p->fds[0] < 0 || m->n_waiting >= m->conf->queue_max) {
		answer_client(m, client_fd, &p->head, JAIL_BUSY, false);
		jail_packet_close(p);
		return;
	}
	/* It has cost enough workers. */
	if (failures_of(m, p->head.hash) >= JAIL_POISON) {
		answer_client(m, client_fd, &p->head, JAIL_FAILED, false);
		jail_packet_close(p);
		return;
	}
	struct job *j = xcalloc(1, sizeof(*j));

	j->client_fd = client_fd;
	j->head = p->head;
	j->extra = xmemdup0(p->extra, p->head.extra_len);
	j->message_fd = p->fds[0];
	p->fds[0] = -1;
	jail_packet_close(p);
	job_wait(m, j, false);
}

static void
client_gone(struct master *m, size_t i)
{
	int fd = m->clients[i];

	for (struct job *j = m->first; j != NULL; j = j->next)
		if (j->client_fd == fd)
			j->client_fd = -1;
	for (size_t w = 0; w < m->n_workers; w++)
		if (m->workers[w].job != NULL && m->workers[w].job->client_fd == fd)
			m->workers[w].job->client_fd = -1;
	close(fd);
	m->clients[i] = m->clients[--m->n_clients];
}

/* false: the client went away. */
static bool
client_readable(struct master *m, int fd)
{
	static struct jail_packet packet; /* large; one thread */
	int rc;

	while ((rc = jail_receive(fd, &packet)) > 0)
		take_request(m, fd, &packet);
	return rc < 0 && errno == EAGAIN;
}

static bool
answer_good(const struct worker *w, const struct jail_packet *p)
{
	return w->job != NULL && p->head.id == w->job->head.id && p->head.extra_len == 0 &&
	    p->head.status == JAIL_OK && p->fds[0] >= 0 &&
	    (p->head.has_output != 0) == (p->fds[1] >= 0);
}

/* false: the worker is no use any more. */
static bool
worker_readable(struct master *m, struct worker *w)
{
	static struct jail_packet packet; /* large; one thread */
	int rc = jail_receive(w->link_fd, &packet);

	if (rc < 0 && errno == EAGAIN)
		return true;
	if (rc <= 0)
		return false;
	if (!answer_good(w, &packet)) {
		jail_packet_close(&packet);
		return false;
	}
	struct jail_head head = { .magic = JAIL_MAGIC,
		.status = JAIL_OK,
		.id = w->job->head.id,
		.failures = failures_of(m, w->job->head.hash),
		.has_output = packet.head.has_output };

	if (w->job->client_fd >= 0)
		jail_send(w->job->client_fd, &head, STR(""), packet.fds,
		    head.has_output != 0 ? 2 : 1);
	jail_packet_close(&packet);
	job_free(w->job);
	w->job = NULL;
	/* Its share is done.  Ended from here, so that no job meets a worker on its way out. */
	return ++w->jobs < m->conf->jobs_per_worker;
}

static void
accept_clients(struct master *m)
{
	int fd;

	while ((fd = accept4(m->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0) {
		struct ucred cred;
		socklen_t len = sizeof(cred);

		if (m->n_clients == CLIENTS_MAX ||
		    getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) != 0 ||
		    (cred.uid != geteuid() && cred.uid != 0)) {
			close(fd);
			continue;
		}
		m->clients[m->n_clients++] = fd;
	}
}

static void
end_worker_now(struct master *m, size_t i)
{
	pid_t pid = m->workers[i].pid;

	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	worker_end(m, i);
}

static void
give_jobs(struct master *m)
{
	struct worker *w;

	while (m->first != NULL && busy_workers(m) < m->conf->workers &&
	    (w = idle_worker(m)) != NULL) {
		struct job *j = m->first;

		m->first = j->next;
		if (m->first == NULL)
			m->last = &m->first;
		m->n_waiting--;
		w->job = j;
		w->kill_at_ms = clock_mono_ms() + j->head.budget_ms;
		if (jail_send(w->link_fd, &j->head, (struct str){ j->extra, j->head.extra_len },
			&j->message_fd, 1) == 0)
			continue;
		/* It died before: this was no try of the job. */
		w->job = NULL;
		end_worker_now(m, (size_t)(w - m->workers));
		job_wait(m, j, true);
	}
}

static void
kill_overdue(struct master *m)
{
	int64_t now = clock_mono_ms();

	for (size_t i = m->n_workers; i-- > 0;)
		if (m->workers[i].job != NULL && m->workers[i].kill_at_ms <= now) {
			m->workers[i].job->timed_out = true;
			end_worker_now(m, i);
		}
}

/* Milliseconds until something is due, for poll(). */
static int
until_due(const struct master *m)
{
	int64_t now = clock_mono_ms(), due = now + 60000;

	for (size_t i = 0; i < m->n_workers; i++)
		if (m->workers[i].job != NULL && m->workers[i].kill_at_ms < due)
			due = m->workers[i].kill_at_ms;
	if (m->n_workers <= m->conf->workers && !m->ending && m->respawn_at_ms < due)
		due = m->respawn_at_ms;
	return due <= now ? 0 : (int)(due - now);
}

/* Clients find their next question refused by the socket and turn to the successor; what
 * they asked already is answered: first the socket refuses, then it is read to its end,
 * so that no question falls between. */
static void
begin_end(struct master *m)
{
	if (m->ending)
		return;
	m->ending = true;
	for (size_t i = 0; i < m->n_clients; i++) {
		shutdown(m->clients[i], SHUT_RD);
		client_readable(m, m->clients[i]);
	}
}

static void
on_signal(struct master *m)
{
	struct signalfd_siginfo info;

	while (read(m->signal_fd, &info, sizeof(info)) == sizeof(info))
		if (info.ssi_signo != SIGCHLD)
			begin_end(m);
}

/* Workers are looked at by their links, clients by their sockets; both lists may change
 * while they are walked, so they are walked from their ends. */
static void
one_round(struct master *m)
{
	struct pollfd p[3 + CLIENTS_MAX + WORKERS_MAX];
	size_t n_clients = m->n_clients, n_workers = m->n_workers;
	struct pollfd *clients = p + 3, *workers = p + 3 + n_clients;

	/* One that ends leaves new clients to its successor on the same socket. */
	p[0] = (struct pollfd){ .fd = m->ending ? -1 : m->listen_fd, .events = POLLIN };
	p[1] = (struct pollfd){ .fd = m->signal_fd, .events = POLLIN };
	p[2] = (struct pollfd){ .fd = m->ending ? -1 : m->life_fd, .events = POLLIN };
	for (size_t i = 0; i < n_clients; i++)
		clients[i] = (struct pollfd){ .fd = m->ending ? -1 : m->clients[i],
			.events = POLLIN };
	for (size_t i = 0; i < n_workers; i++)
		workers[i] = (struct pollfd){ .fd = m->workers[i].link_fd, .events = POLLIN };
	if (poll(p, 3 + n_clients + n_workers, until_due(m)) > 0) {
		if (p[1].revents != 0)
			on_signal(m);
		if (p[2].revents != 0)
			begin_end(m);
		for (size_t i = n_workers; i-- > 0;)
			if (workers[i].revents != 0 && !worker_readable(m, &m->workers[i]))
				end_worker_now(m, i);
		/* One that has just begun to end has read them all, and takes no more. */
		for (size_t i = m->ending ? 0 : n_clients; i-- > 0;)
			if (clients[i].revents != 0 && !client_readable(m, m->clients[i]))
				client_gone(m, i);
		if (p[0].revents != 0 && !m->ending)
			accept_clients(m);
	}
	kill_overdue(m);
	keep_workers(m);
	give_jobs(m);
}

/* With a supervisor USR1 ends us: TERM and INT come to the whole process group, and then
 * workers outside still need the jail for what they have begun. */
static int
signals_as_fd(bool supervised)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGUSR1);
	if (supervised) {
		signal(SIGTERM, SIG_IGN);
		signal(SIGINT, SIG_IGN);
	} else {
		sigaddset(&set, SIGTERM);
		sigaddset(&set, SIGINT);
	}
	sigprocmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static void
end_all(struct master *m)
{
	while (m->n_workers > 0) {
		struct job *j = m->workers[m->n_workers - 1].job;

		/* Who waits learns it by our closed socket. */
		m->workers[m->n_workers - 1].job = NULL;
		if (j != NULL)
			job_free(j);
		end_worker_now(m, m->n_workers - 1);
	}
	while (m->first != NULL) {
		struct job *j = m->first;

		m->first = j->next;
		job_free(j);
	}
	for (size_t i = 0; i < m->n_clients; i++)
		close(m->clients[i]);
	close(m->signal_fd);
}

int
jail_master(const struct jail_ops *ops, void *arg, const struct jail_conf *conf,
    int listen_fd, int life_fd, void (*ready)(void *arg))
{
	struct master *m = xcalloc(1, sizeof(*m));
	struct err err;

	*m = (struct master){ .ops = ops,
		.conf = conf,
		.listen_fd = listen_fd,
		.life_fd = life_fd };
	m->last = &m->first;
	if (ops->load(arg, &m->state, &err) != 0) {
		log_err("jail-load", &err);
		free(m);
		return EX_CONFIG;
	}
	m->signal_fd = signals_as_fd(life_fd >= 0);
	remove_left_over(m);
	keep_workers(m);
	if (ready != NULL)
		ready(arg);
	/* Jobs under way are finished before the end. */
	while (!m->ending || busy_workers(m) > 0 || m->first != NULL)
		one_round(m);
	end_all(m);
	free(m);
	return 0;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* One jailed process: locked down, then one job after the other until the master lets it
 * go.  A job that fails ends the process: nothing that a hostile message left behind
 * in memory meets the next one. */
#include "common/run/jail_private.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "common/base/log.h"
#include "common/run/jail_lockdown.h"
#include "common/run/jail_wire.h"
#include "common/run/memfd.h"

#define EXIT_DONE 0 /* the master let it go */
#define EXIT_JOB 1 /* the job failed */
#define EXIT_LOCK 2 /* could not lock itself down */

/* The answer as a sealed memfd; -1 when that fails. */
static int
reply_memfd(const struct buf *reply)
{
	int fd = memfd_new("jail-reply", NULL);

	if (fd >= 0 && (memfd_add(fd, buf_str(reply), NULL) != 0 || memfd_seal(fd, NULL) != 0)) {
		close(fd);
		return -1;
	}
	return fd;
}

static int
answer(int link_fd, const struct jail_head *asked, const struct buf *reply, int output)
{
	struct jail_head head = { .magic = JAIL_MAGIC,
		.status = JAIL_OK,
		.id = asked->id,
		.has_output = output >= 0 };
	int fds[JAIL_FDS] = { reply_memfd(reply), output };

	if (fds[0] < 0 || (output >= 0 && memfd_seal(output, NULL) != 0))
		return -1;
	int rc = jail_send(link_fd, &head, STR(""), fds, output >= 0 ? 2 : 1);
	close(fds[0]);
	if (output >= 0)
		close(output);
	return rc;
}

static int
do_job(const struct jail_ops *ops, void *state, int link_fd, struct jail_packet *p)
{
	struct str message, request = { p->extra, p->head.extra_len };
	struct buf reply;
	int output = -1, rc;

	if (p->fds[0] < 0 || memfd_map(p->fds[0], JAIL_MESSAGE_MAX, &message, NULL) != 0)
		return -1;
	buf_init(&reply, JAIL_REPLY_MAX);
	rc = ops->work(state, request, message, &reply, &output);
	if (rc == 0)
		rc = reply.failed ? -1 : answer(link_fd, &p->head, &reply, output);
	buf_clear(&reply);
	memfd_unmap(message);
	jail_packet_close(p);
	return rc;
}

static void
reset_signals(void)
{
	static const int signals[] = { SIGTERM, SIGINT, SIGHUP, SIGCHLD, SIGXFSZ };
	sigset_t none;

	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		signal(signals[i], signals[i] == SIGXFSZ ? SIG_IGN : SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

void
jail_worker(const struct jail_ops *ops, void *state, const struct jail_conf *conf,
    int link_fd, const char *dir)
{
	static struct jail_packet packet; /* large; this process has one thread */
	struct pollfd p = { .fd = link_fd, .events = POLLIN };
	struct err err;

	reset_signals();
	/* Without its master a worker has nobody to answer. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if ((ops->prepare != NULL && ops->prepare(state, dir, &err) != 0) ||
	    jail_lockdown(conf, dir, &err) != 0) {
		log_err("jail-lockdown", &err);
		_exit(EXIT_LOCK);
	}
	for (;;) {
		int rc;

		while ((rc = jail_receive(link_fd, &packet)) < 0 && errno == EAGAIN)
			poll(&p, 1, -1);
		if (rc <= 0)
			_exit(EXIT_DONE);
		if (do_job(ops, state, link_fd, &packet) != 0)
			_exit(EXIT_JOB);
	}
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* How a jail master is started and says that it is ready. */
#include "common/run/jail_program.h"

#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <sys/socket.h>

#include "common/base/log.h"

static bool
parse_fds(struct str text, struct jail_start *out)
{
	struct str head;
	uint64_t listen_fd, link_fd;

	if (!str_cut(&text, ',', &head) || !str_to_uint(head, 3, 65535, &listen_fd) ||
	    !str_to_uint(text, 3, 65535, &link_fd))
		return false;
	out->listen_fd = (int)listen_fd;
	out->link_fd = (int)link_fd;
	return true;
}

bool
jail_program_args(int argc, char **argv, struct jail_start *out)
{
	static const struct option longs[] = { { "jail", required_argument, NULL, 'J' },
		{ 0 } };
	int c;

	*out = (struct jail_start){ .listen_fd = -1, .link_fd = -1 };
	optind = 1;
	while ((c = getopt_long(argc, argv, "c:", longs, NULL)) != -1) {
		if (c == 'c')
			out->conf_path = optarg;
		else if (c != 'J' || !parse_fds(str_of(optarg), out))
			return false;
	}
	return optind == argc && out->listen_fd >= 0;
}

static int link_to_supervisor = -1; /* for ready(), which has the program's own arg */

static void
ready(void *arg)
{
	char octet = JAIL_READY;

	(void)arg;
	if (send(link_to_supervisor, &octet, 1, MSG_NOSIGNAL) != 1)
		log_msg(LOG_LEVEL_WARN, "jail", "nobody waits for readiness");
}

int
jail_program_run(const struct jail_ops *ops, void *arg, const struct jail_conf *conf,
    const struct jail_start *start)
{
	fcntl(start->listen_fd, F_SETFD, FD_CLOEXEC);
	fcntl(start->link_fd, F_SETFD, FD_CLOEXEC);
	signal(SIGPIPE, SIG_IGN);
	link_to_supervisor = start->link_fd;
	return jail_master(ops, arg, conf, start->listen_fd, start->link_fd, ready);
}

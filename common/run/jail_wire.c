/* SPDX-License-Identifier: BSD-2-Clause */
/* SOCK_SEQPACKET with SCM_RIGHTS: a packet arrives whole or not at all. */
#include "common/run/jail_wire.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

void
jail_packet_close(struct jail_packet *p)
{
	for (int i = 0; i < JAIL_FDS; i++) {
		if (p->fds[i] >= 0)
			close(p->fds[i]);
		p->fds[i] = -1;
	}
}

/* Take what came; descriptors beyond JAIL_FDS are cut off by the control buffer's size and
 * closed by the kernel. */
static void
take_fds(struct msghdr *msg, struct jail_packet *p)
{
	int n = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c != NULL; c = CMSG_NXTHDR(msg, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		for (size_t i = 0; i < count; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
			if (n < JAIL_FDS)
				p->fds[n++] = fd;
			else
				close(fd);
		}
	}
}

int
jail_receive(int fd, struct jail_packet *p)
{
	union {
		char space[CMSG_SPACE(sizeof(int) * JAIL_FDS)];
		struct cmsghdr align;
	} control;
	struct iovec iov[2] = { { &p->head, sizeof(p->head) }, { p->extra, sizeof(p->extra) } };
	struct msghdr msg = { .msg_iov = iov,
		.msg_iovlen = 2,
		.msg_control = control.space,
		.msg_controllen = sizeof(control.space) };
	ssize_t n;

	for (int i = 0; i < JAIL_FDS; i++)
		p->fds[i] = -1;
	do
		n = recvmsg(fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -1;
	/* An empty packet looks like the end, but it may have brought descriptors. */
	take_fds(&msg, p);
	if (n == 0) {
		jail_packet_close(p);
		return 0;
	}
	if ((size_t)n < sizeof(p->head) || (msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0 ||
	    p->head.magic != JAIL_MAGIC ||
	    p->head.extra_len != (size_t)n - sizeof(p->head)) {
		jail_packet_close(p);
		errno = EPROTO;
		return -1;
	}
	return 1;
}

int
jail_send(int fd, const struct jail_head *head, struct str extra, const int *fds,
    size_t n_fds)
{
	union {
		char space[CMSG_SPACE(sizeof(int) * JAIL_FDS)];
		struct cmsghdr align;
	} control = { { 0 } };
	struct iovec iov[2] = { { (void *)(uintptr_t)head, sizeof(*head) },
		{ (void *)(uintptr_t)extra.p, extra.len } };
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = 2 };
	ssize_t n;

	if (n_fds > 0) {
		msg.msg_control = control.space;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
		struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
		memcpy(CMSG_DATA(c), fds, sizeof(int) * n_fds);
	}
	do
		n = sendmsg(fd, &msg, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -1 : 0;
}

int
jail_listen(char address[JAIL_ADDRESS_MAX], struct err *err)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	socklen_t len = sizeof(sun);
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	/* An address of two octets asks for an unused abstract name. */
	if (fd < 0 || bind(fd, (struct sockaddr *)&sun, sizeof(sa_family_t)) != 0 ||
	    listen(fd, 64) != 0 || getsockname(fd, (struct sockaddr *)&sun, &len) != 0) {
		err_errno(err, "cannot make the jail's socket");
		if (fd >= 0)
			close(fd);
		return -1;
	}
	snprintf(address, JAIL_ADDRESS_MAX, "@%.*s",
	    (int)(len - offsetof(struct sockaddr_un, sun_path) - 1), sun.sun_path + 1);
	return fd;
}

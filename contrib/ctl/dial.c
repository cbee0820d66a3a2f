/* SPDX-License-Identifier: BSD-2-Clause */
/* Client side of a daemon's socket: connect, send, receive; poll() before every step,
 * so that a daemon that hangs costs the deadline and no more. */
#include "contrib/ctl/dial.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/base/clock.h"

#define CHUNK 16384

static int
wait_ready(int fd, short events, int64_t deadline_ms, struct err *err)
{
	struct pollfd p = { .fd = fd, .events = events };

	for (;;) {
		int64_t left = deadline_ms - clock_mono_ms();
		int n = left <= 0 ? 0 : poll(&p, 1, left > 60000 ? 60000 : (int)left);

		if (n > 0)
			return 0;
		if (n == 0 && left <= 0)
			return err_set(err, "no answer in time");
		if (n < 0 && errno != EINTR)
			return err_errno(err, "poll");
	}
}

static int
connect_to(
    const struct sockaddr *sa, socklen_t len, int64_t deadline_ms, struct err *err)
{
	int fd = socket(sa->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int failed = 0;
	socklen_t size = sizeof(failed);

	if (fd < 0)
		return err_errno(err, "socket");
	if (connect(fd, sa, len) == 0)
		return fd;
	if (errno != EINPROGRESS) { /* EAGAIN: a UNIX socket's backlog is full */
		err_errno(err, "cannot connect");
	} else if (wait_ready(fd, POLLOUT, deadline_ms, err) == 0) {
		if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &failed, &size) == 0 &&
		    failed == 0)
			return fd;
		errno = failed;
		err_errno(err, "cannot connect");
	}
	close(fd);
	return -1;
}

int
dial_ip(const struct ip *ip, uint16_t port, int64_t deadline_ms, struct err *err)
{
	struct sockaddr_storage sa;
	socklen_t len = ip_to_sockaddr(ip, port, &sa);

	return connect_to((const struct sockaddr *)&sa, len, deadline_ms, err);
}

static int
dial_unix(struct str path, int64_t deadline_ms, struct err *err)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };

	if (path.len >= sizeof(sun.sun_path))
		return err_set(err, "path is too long for a socket");
	memcpy(sun.sun_path, path.p, path.len);
	return connect_to((const struct sockaddr *)&sun, sizeof(sun), deadline_ms, err);
}

int
dial(const char *spec, int64_t deadline_ms, struct err *err)
{
	struct str rest = str_of(spec), kind, port;
	struct ip ip;
	uint64_t number;

	if (spec[0] == '/')
		return dial_unix(rest, deadline_ms, err);
	str_cut(&rest, ':', &kind);
	if (str_is(kind, "unix"))
		return dial_unix(rest, deadline_ms, err);
	str_cut(&rest, '@', &port);
	/* a socket on every address is asked on this host's own */
	if (rest.len == 0)
		rest = str_is(kind, "inet6") ? STR("::1") : STR("127.0.0.1");
	if (!ip_parse(rest, &ip) || !str_to_uint(port, 1, 65535, &number))
		return err_set(err, "\"%s\" is no socket that can be asked", spec);
	return dial_ip(&ip, (uint16_t)number, deadline_ms, err);
}

int
dial_send(int fd, struct str octets, int64_t deadline_ms, struct err *err)
{
	while (octets.len > 0) {
		ssize_t n = send(fd, octets.p, octets.len, MSG_NOSIGNAL);

		if (n < 0 && errno != EAGAIN && errno != EINTR)
			return err_errno(err, "cannot send");
		if (n < 0 && wait_ready(fd, POLLOUT, deadline_ms, err) != 0)
			return -1;
		if (n > 0)
			octets = str_sub(octets, (size_t)n, octets.len);
	}
	return 0;
}

int
dial_receive(int fd, struct buf *in, int64_t deadline_ms, struct err *err)
{
	for (;;) {
		size_t left = in->max - in->len < CHUNK ? in->max - in->len : CHUNK;
		char *room = buf_reserve(in, left);

		if (room == NULL || left == 0)
			return err_set(err, "answer is over %zu octets", in->max);
		ssize_t n = recv(fd, room, left, 0);
		if (n >= 0) {
			in->len += (size_t)n;
			return n > 0;
		}
		if (errno != EAGAIN && errno != EINTR)
			return err_errno(err, "cannot receive");
		if (wait_ready(fd, POLLIN, deadline_ms, err) != 0)
			return -1;
	}
}

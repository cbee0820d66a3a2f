/* SPDX-License-Identifier: BSD-2-Clause */
/* Sockets for the test tools: numeric IPv4 addresses only, no names, never blocking. */
#include "tests/lib/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/str.h"

bool
addr_parse(const char *text, struct sockaddr_in *out)
{
	struct str s = str_of(text);
	char host[INET_ADDRSTRLEN];
	uint64_t port;
	ptrdiff_t colon = str_rindex(s, ':');

	if (colon <= 0 || (size_t)colon >= sizeof(host))
		return false;
	if (!str_to_uint(str_sub(s, (size_t)colon + 1, s.len), 0, 65535, &port))
		return false;
	memcpy(host, s.p, (size_t)colon);
	host[colon] = '\0';
	memset(out, 0, sizeof(*out));
	out->sin_family = AF_INET;
	out->sin_port = htons((uint16_t)port);
	return inet_pton(AF_INET, host, &out->sin_addr) == 1;
}

static int
close_keeping_errno(int fd)
{
	int kept = errno;

	close(fd);
	errno = kept;
	return -1;
}

int
addr_listen(struct sockaddr_in *addr)
{
	int on = 1;
	socklen_t len = sizeof(*addr);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -1;
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
	    bind(fd, (const struct sockaddr *)addr, sizeof(*addr)) != 0 ||
	    listen(fd, 1024) != 0 || getsockname(fd, (struct sockaddr *)addr, &len) != 0)
		return close_keeping_errno(fd);
	return fd;
}

int
addr_connect(const struct sockaddr_in *addr, const struct sockaddr_in *source)
{
	int on = 1;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -1;
	if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) != 0)
		return close_keeping_errno(fd);
	if (source != NULL &&
	    bind(fd, (const struct sockaddr *)source, sizeof(*source)) != 0)
		return close_keeping_errno(fd);
	if (connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) != 0 &&
	    errno != EINPROGRESS)
		return close_keeping_errno(fd);
	return fd;
}

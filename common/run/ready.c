/* SPDX-License-Identifier: BSD-2-Clause */
/* The whole of what libsystemd would be linked for. */
#include "common/run/ready.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "common/base/str.h"

bool
ready_notify(const char *fmt, ...)
{
	const char *name = getenv("NOTIFY_SOCKET");
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	char text[300];
	va_list ap;

	if (name == NULL || (name[0] != '/' && name[0] != '@'))
		return false;
	size_t len = strlen(name);
	if (len < 2 || len >= sizeof(sun.sun_path))
		return false;
	memcpy(sun.sun_path, name, len);
	if (name[0] == '@')
		sun.sun_path[0] = '\0';
	va_start(ap, fmt);
	int n = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (n < 0 || (size_t)n >= sizeof(text))
		return false;
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return false;
	/* An abstract name has no NUL behind it: its length is its end. */
	socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
	bool sent = sendto(fd, text, (size_t)n, MSG_NOSIGNAL | MSG_DONTWAIT,
			(struct sockaddr *)&sun, size) == n;
	close(fd);
	return sent;
}

bool
ready_up(void)
{
	return ready_notify("READY=1\nMAINPID=%ld", (long)getpid());
}

bool
ready_reloading(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return ready_notify("RELOADING=1\nMONOTONIC_USEC=%lld",
	    (long long)t.tv_sec * 1000000 + t.tv_nsec / 1000);
}

int64_t
ready_watchdog_ms(void)
{
	const char *usec = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
	uint64_t us, owner;

	if (usec == NULL || !str_to_uint(str_of(usec), 1000, INT64_MAX, &us))
		return 0;
	if (pid != NULL &&
	    (!str_to_uint(str_of(pid), 1, INT32_MAX, &owner) ||
		(pid_t)owner != getpid()))
		return 0;
	return us < 4000 ? 1 : (int64_t)(us / 2000);
}

bool
ready_supervised(void)
{
	return getenv("NOTIFY_SOCKET") != NULL || getenv("INVOCATION_ID") != NULL ||
	    getenv("LISTEN_FDS") != NULL;
}

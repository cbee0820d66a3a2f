/* SPDX-License-Identifier: BSD-2-Clause */
/* No HTTP server: one read, one answer, close.  A client that says nothing for a moment
 * is a person with a socket tool and gets the plain text. */
#include "common/run/metrics_socket.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "common/base/buf.h"
#include "common/base/log.h"
#include "common/base/metrics.h"
#include "common/run/listen.h"

#define METRICS_TEXT_MAX (4u << 20)
#define METRICS_REQUEST_MAX 4096
#define METRICS_SILENCE_MS 200
#define METRICS_SEND_SECONDS 2

/* Read what the client says, up to the empty line of an HTTP request. */
static struct str
read_request(int fd, char *buf)
{
	size_t len = 0;

	while (len < METRICS_REQUEST_MAX) {
		struct pollfd p = { .fd = fd, .events = POLLIN };

		if (poll(&p, 1, METRICS_SILENCE_MS) <= 0)
			break;
		ssize_t n = recv(fd, buf + len, METRICS_REQUEST_MAX - len, 0);
		if (n <= 0)
			break;
		len += (size_t)n;
		if (len >= 4 && memcmp(buf + len - 4, "\r\n\r\n", 4) == 0)
			break;
		if (len >= 2 && memcmp(buf + len - 2, "\n\n", 2) == 0)
			break;
	}
	return (struct str){ buf, len };
}

static void
send_all(int fd, struct str s)
{
	while (s.len > 0) {
		ssize_t n = send(fd, s.p, s.len, MSG_NOSIGNAL);

		if (n <= 0)
			return;
		s = str_sub(s, (size_t)n, s.len);
	}
}

static void
answer(int fd)
{
	struct timeval limit = { .tv_sec = METRICS_SEND_SECONDS };
	char request_buf[METRICS_REQUEST_MAX];
	struct buf head, body;

	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	struct str request = read_request(fd, request_buf);
	bool http = request.len > 0;
	bool get = str_starts(request, STR("GET "));

	buf_init(&head, 400);
	buf_init(&body, METRICS_TEXT_MAX);
	if (get || !http)
		metrics_render(&body);
	if (http)
		buf_addf(&head,
		    "HTTP/1.0 %s\r\nContent-Type: text/plain; version=0.0.4\r\n"
		    "Content-Length: %zu\r\nConnection: close\r\n\r\n",
		    get ? "200 OK" : "405 Method Not Allowed", body.len);
	send_all(fd, buf_str(&head));
	send_all(fd, buf_str(&body));
	buf_clear(&head);
	buf_clear(&body);
	close(fd);
}

static void *
serve(void *arg)
{
	const struct timespec pause = { .tv_nsec = 100000000 };
	int listen_fd = (int)(intptr_t)arg;

	for (;;) {
		int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);

		if (fd >= 0)
			answer(fd);
		else if (errno != EINTR && errno != ECONNABORTED)
			nanosleep(&pause, NULL); /* out of descriptors, for a moment */
	}
	return NULL;
}

int
metrics_socket_start(const char *path, unsigned mode, struct err *err)
{
	int fd = listen_unix_replace(path, mode, 16, err);
	pthread_t thread;

	if (fd < 0)
		return -1;
	errno = pthread_create(&thread, NULL, serve, (void *)(intptr_t)fd);
	if (errno != 0) {
		err_errno(err, "thread of the metrics socket");
		close(fd);
		return -1;
	}
	pthread_detach(thread);
	return 0;
}

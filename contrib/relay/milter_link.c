/* SPDX-License-Identifier: BSD-2-Clause */
/* Octets to and from one filter over libevent's event API.  Reading goes on while
 * writing is stuck, because a filter may give its verdict, or die, before it has read
 * all. */
#include "contrib/relay/milter_link.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/base/xalloc.h"

#define READ_SIZE (16 * 1024)
/* A Unix socket whose backlog is full says so at once, and no event tells when it is
 * not. */
#define RETRY_MS 10
/* One message's biggest step: a body chunk or a header field behind the high mark. */
#define OUT_MAX (4u << 20)

struct milter_link {
	struct event_base *base;
	const struct milter_link_calls *calls;
	void *arg;
	int fd; /* -1: closed */
	unsigned epoch; /* grows with every close */
	bool connecting;
	bool write_dead; /* writing failed; what can still be read counts */
	struct event *read, *write, *timer, *retry;
	struct sockaddr_storage sa; /* where to */
	socklen_t sa_len;
	struct buf in, out;
};

static int
unix_address(
    struct str path, struct sockaddr_storage *sa, socklen_t *len, struct err *err)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };

	if (path.len == 0 || path.p[0] != '/')
		return err_set(err, "milter socket path does not begin with '/'");
	if (path.len >= sizeof(un.sun_path) || str_has(path, '\0'))
		return err_set(
		    err, "milter socket path over %zu octets", sizeof(un.sun_path) - 1);
	memcpy(un.sun_path, path.p, path.len);
	memcpy(sa, &un, sizeof(un));
	*len = (socklen_t)sizeof(un);
	return 0;
}

/* "port@host" */
static int
inet_address(struct str text, int family, struct sockaddr_storage *sa, socklen_t *len,
    struct err *err)
{
	struct str port;
	uint64_t n;
	struct ip ip;

	if (!str_cut(&text, '@', &port) || text.len == 0)
		return err_set(
		    err, "milter address without '@', expected port@address");
	if (!str_to_uint(port, 1, 65535, &n))
		return err_set(err, "milter port is not a number from 1 to 65535");
	if (str_is_nocase(text, "localhost"))
		text = family == AF_INET ? STR("127.0.0.1") : STR("::1");
	if (!ip_parse(text, &ip) || ip.family != family)
		return err_set(err, "milter host is not an %s address",
		    family == AF_INET ? "IPv4" : "IPv6");
	*len = ip_to_sockaddr(&ip, (uint16_t)n, sa);
	return 0;
}

int
milter_address(
    struct str text, struct sockaddr_storage *sa, socklen_t *len, struct err *err)
{
	struct str kind, rest = text;

	memset(sa, 0, sizeof(*sa));
	if (text.len > 0 && text.p[0] == '/')
		return unix_address(text, sa, len, err);
	if (!str_cut(&rest, ':', &kind) || rest.p == NULL)
		return err_set(err,
		    "milter address without ':', expected unix:/path or "
		    "inet:port@address");
	if (str_is(kind, "unix") || str_is(kind, "local"))
		return unix_address(rest, sa, len, err);
	if (str_is(kind, "inet"))
		return inet_address(rest, AF_INET, sa, len, err);
	if (str_is(kind, "inet6"))
		return inet_address(rest, AF_INET6, sa, len, err);
	return err_set(
	    err, "unknown kind of milter address, expected unix, local, inet or inet6");
}

static void
break_link(struct milter_link *l, const char *why)
{
	milter_link_close(l);
	l->calls->broken(l->arg, why);
}

/* The socket is writable or an error is known. */
static void
connected(struct milter_link *l)
{
	int error = 0, one = 1;
	socklen_t len = sizeof(error);
	char text[100];

	if (getsockopt(l->fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0)
		error = errno;
	if (error != 0) {
		break_link(l, strerror_r(error, text, sizeof(text)));
		return;
	}
	l->connecting = false;
	/* Fails on a Unix socket, which needs it not. */
	(void)setsockopt(l->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	event_add(l->read, NULL);
	l->calls->open(l->arg);
}

static void
on_write(evutil_socket_t fd, short what, void *arg)
{
	struct milter_link *l = arg;

	(void)fd;
	(void)what;
	if (l->connecting) {
		connected(l);
		return;
	}
	milter_link_flush(l);
	if (l->out.len == 0 && !l->write_dead)
		l->calls->drained(l->arg);
}

/* Hand over the packets that are whole, as long as nobody closes the link. */
static void
hand_over(struct milter_link *l)
{
	struct milter_packet packet;
	struct err err;
	size_t used, at = 0;
	enum parse p = PARSE_MORE;
	unsigned epoch = l->epoch;

	while (l->epoch == epoch) {
		p = milter_packet_read(str_sub(buf_str(&l->in), at, l->in.len),
		    MILTER_PACKET_MAX, &packet, &used, &err);
		if (p != PARSE_DONE)
			break;
		at += used;
		l->calls->packet(l->arg, &packet);
	}
	if (l->epoch != epoch)
		return;
	buf_consume(&l->in, at);
	if (p == PARSE_ERROR)
		break_link(l, err.text);
}

static void
on_read(evutil_socket_t fd, short what, void *arg)
{
	struct milter_link *l = arg;

	(void)fd;
	(void)what;
	char *room = buf_reserve(&l->in, READ_SIZE);
	ssize_t n = room == NULL ? 0 : recv(l->fd, room, READ_SIZE, 0);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		break_link(
		    l, n == 0 ? "filter closed the connection" : "connection lost");
		return;
	}
	l->in.len += (size_t)n;
	hand_over(l);
}

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct milter_link *l = arg;

	(void)fd;
	(void)what;
	l->calls->timeout(l->arg);
}

void
milter_link_take(struct milter_link *l, int fd)
{
	l->fd = fd;
	l->connecting = true;
	(void)evutil_make_socket_nonblocking(fd);
	l->read = event_new(l->base, fd, EV_READ | EV_PERSIST, on_read, l);
	l->write = event_new(l->base, fd, EV_WRITE, on_write, l);
	if (l->read == NULL || l->write == NULL || event_add(l->write, NULL) != 0)
		abort();
}

static int
try_connect(struct milter_link *l, struct err *err)
{
	struct timeval soon = { .tv_usec = RETRY_MS * 1000 };
	int fd = socket(l->sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return err_errno(err, "milter socket");
	if (connect(fd, (struct sockaddr *)&l->sa, l->sa_len) == 0 ||
	    errno == EINPROGRESS) {
		milter_link_take(l, fd);
		return 0;
	}
	int rc = errno == EAGAIN ? 0 : err_errno(err, "connect to milter");

	close(fd);
	if (rc == 0)
		evtimer_add(l->retry, &soon);
	return rc;
}

static void
on_retry(evutil_socket_t fd, short what, void *arg)
{
	struct milter_link *l = arg;
	struct err err;

	(void)fd;
	(void)what;
	if (try_connect(l, &err) != 0)
		break_link(l, err.text);
}

int
milter_link_open(struct milter_link *l, const char *address, struct err *err)
{
	if (milter_address(str_of(address), &l->sa, &l->sa_len, err) != 0)
		return -1;
	return try_connect(l, err);
}

struct milter_link *
milter_link_new(
    struct event_base *base, const struct milter_link_calls *calls, void *arg)
{
	struct milter_link *l = xcalloc(1, sizeof(*l));

	*l = (struct milter_link){ .base = base, .calls = calls, .arg = arg, .fd = -1 };
	buf_init(&l->in, MILTER_PACKET_MAX + 4 + READ_SIZE);
	buf_init(&l->out, OUT_MAX);
	l->timer = evtimer_new(base, on_timer, l);
	l->retry = evtimer_new(base, on_retry, l);
	if (l->timer == NULL || l->retry == NULL)
		abort(); /* out of memory: as xmalloc */
	return l;
}

void
milter_link_free(struct milter_link *l)
{
	if (l == NULL)
		return;
	milter_link_close(l);
	event_free(l->timer);
	event_free(l->retry);
	buf_clear(&l->in);
	buf_clear(&l->out);
	free(l);
}

void
milter_link_close(struct milter_link *l)
{
	evtimer_del(l->timer);
	evtimer_del(l->retry);
	if (l->fd < 0)
		return;
	event_free(l->read);
	event_free(l->write);
	close(l->fd);
	l->read = l->write = NULL;
	l->fd = -1;
	l->epoch++;
	l->connecting = l->write_dead = false;
	buf_reset(&l->out);
	/* `in` may be lent to the packet that is being handled: its memory stays. */
	buf_reset(&l->in);
}

bool
milter_link_is_open(const struct milter_link *l)
{
	return l->fd >= 0 && !l->connecting;
}

struct buf *
milter_link_out(struct milter_link *l)
{
	return &l->out;
}

void
milter_link_flush(struct milter_link *l)
{
	if (l->fd < 0 || l->connecting || l->out.len == 0)
		return;
	ssize_t n = l->write_dead ? (ssize_t)l->out.len
				  : send(l->fd, l->out.p, l->out.len, MSG_NOSIGNAL);

	if (n < 0 && errno != EAGAIN && errno != EINTR) {
		/* Reading tells why, and what the filter said before. */
		l->write_dead = true;
		n = (ssize_t)l->out.len;
	}
	if (n > 0)
		buf_consume(&l->out, (size_t)n);
	if (l->out.len > 0)
		event_add(l->write, NULL);
}

size_t
milter_link_backlog(const struct milter_link *l)
{
	return l->out.len;
}

void
milter_link_timer(struct milter_link *l, int64_t ms)
{
	struct timeval tv = { .tv_sec = ms / 1000, .tv_usec = (ms % 1000) * 1000 };

	if (ms <= 0)
		evtimer_del(l->timer);
	else
		evtimer_add(l->timer, &tv);
}

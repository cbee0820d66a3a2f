/* SPDX-License-Identifier: BSD-2-Clause */
/* Packets with descriptors between our processes.  A listener faces strangers and may
 * have been taken over, so the reader checks every length. */
#include "contrib/relay/queue_link.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/base/xalloc.h"

int
queue_socket(char address[QUEUE_ADDRESS_MAX], struct err *err)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	socklen_t len = sizeof(sa);
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	/* A bind without a name lets the kernel choose a free abstract one (unix(7)).
	 */
	if (fd < 0 || bind(fd, (struct sockaddr *)&sa, sizeof(sa.sun_family)) != 0 ||
	    listen(fd, SOMAXCONN) != 0 ||
	    getsockname(fd, (struct sockaddr *)&sa, &len) != 0) {
		if (fd >= 0)
			close(fd);
		return err_errno(err, "cannot make the queue's socket");
	}
	int n = (int)len - (int)offsetof(struct sockaddr_un, sun_path) - 1;
	snprintf(address, QUEUE_ADDRESS_MAX, "%.*s", n, sa.sun_path + 1);
	return fd;
}

int
queue_connect(const char *address, struct err *err)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	size_t n = strlen(address);
	int fd;

	if (n == 0 || n + 1 > sizeof(sa.sun_path))
		return err_set(err, "not an address of a queue: \"%s\"", address);
	memcpy(sa.sun_path + 1, address, n);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0 ||
	    connect(fd, (struct sockaddr *)&sa,
		(socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + n)) != 0) {
		int saved = errno;

		if (fd >= 0)
			close(fd);
		errno = saved;
		return err_errno(err, "cannot reach the queue process");
	}
	return fd;
}

/* verb, flag, number, seq, three lengths, length of the list */
struct wire_head {
	uint8_t verb, flag;
	uint16_t number;
	uint32_t seq;
	uint16_t len[3];
	uint16_t n_list;
};

int
queue_packet_write(struct buf *out, const struct queue_packet *p)
{
	struct str texts[3] = { p->a, p->b, p->c };
	struct wire_head h = { .verb = (uint8_t)p->verb,
		.flag = p->flag,
		.number = p->number,
		.seq = p->seq,
		.n_list = (uint16_t)p->n_list };

	if (p->n_list > QUEUE_LIST_MAX)
		return -1;
	for (int i = 0; i < 3; i++) {
		if (texts[i].len > QUEUE_PACKET_MAX)
			return -1;
		h.len[i] = (uint16_t)texts[i].len;
	}
	buf_add(out, &h, sizeof(h));
	buf_add(out, p->list, p->n_list * sizeof(uint16_t));
	for (int i = 0; i < 3; i++)
		buf_add_str(out, texts[i]);
	return out->failed || out->len > QUEUE_PACKET_MAX ? -1 : 0;
}

int
queue_packet_read(struct str in, uint16_t *list, struct queue_packet *p)
{
	struct wire_head h;
	struct str *texts[3] = { &p->a, &p->b, &p->c };
	size_t at = sizeof(h);

	if (in.len < sizeof(h))
		return -1;
	memcpy(&h, in.p, sizeof(h));
	size_t list_len = h.n_list * sizeof(uint16_t);
	if (h.n_list > QUEUE_LIST_MAX || in.len - at < list_len)
		return -1;
	if (list_len > 0)
		memcpy(list, in.p + at, list_len);
	at += list_len;
	for (int i = 0; i < 3; i++) {
		if (in.len - at < h.len[i])
			return -1;
		*texts[i] = (struct str){ in.p + at, h.len[i] };
		at += h.len[i];
	}
	if (at != in.len)
		return -1;
	p->verb = (enum queue_verb)h.verb;
	p->seq = h.seq;
	p->flag = h.flag;
	p->number = h.number;
	p->list = list;
	p->n_list = h.n_list;
	return 0;
}

struct waiting {
	STAILQ_ENTRY(waiting) next;
	size_t len;
	int fd;
	char octets[];
};

struct queue_link {
	int fd;
	struct event *ev_read, *ev_write;
	STAILQ_HEAD(, waiting) out;
	size_t n_out;
	bool overrun;
	void (*on_packet)(void *arg, const struct queue_packet *p, int fd);
	void (*on_closed)(void *arg);
	void *arg;
	uint16_t list[QUEUE_LIST_MAX];
	char in[QUEUE_PACKET_MAX];
};

/* 1 sent, 0 no room, -1 the peer is gone. */
static int
send_one(int sock, const char *octets, size_t len, int fd)
{
	struct iovec iov = { .iov_len = len };
	union {
		char space[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = { .space = { 0 } };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

	/* sendmsg() only reads; iovec is not const for recvmsg()'s sake. */
	memcpy(&iov.iov_base, &octets, sizeof(iov.iov_base));
	if (fd >= 0) {
		msg.msg_control = control.space;
		msg.msg_controllen = sizeof(control.space);
		struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &fd, sizeof(int));
	}
	ssize_t n;
	do
		n = sendmsg(sock, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n >= 0)
		return 1;
	/* ETOOMANYREFS: many descriptors in flight; some will be taken. */
	return errno == EAGAIN || errno == ENOBUFS || errno == ETOOMANYREFS ? 0 : -1;
}

static void
waiting_free(struct waiting *w)
{
	if (w->fd >= 0)
		close(w->fd);
	free(w);
}

static void
drop_first(struct queue_link *l)
{
	struct waiting *w = STAILQ_FIRST(&l->out);

	STAILQ_REMOVE_HEAD(&l->out, next);
	l->n_out--;
	waiting_free(w);
}

static void
on_writable(evutil_socket_t sock, short what, void *arg)
{
	struct queue_link *l = arg;

	(void)what;
	while (!l->overrun && !STAILQ_EMPTY(&l->out)) {
		struct waiting *w = STAILQ_FIRST(&l->out);
		int rc = send_one(sock, w->octets, w->len, w->fd);

		if (rc == 0) {
			event_add(l->ev_write, NULL);
			return;
		}
		if (rc < 0)
			break; /* the reading side will see the end */
		drop_first(l);
	}
	if (l->overrun)
		l->on_closed(l->arg);
}

/* The descriptor that came with a message, or -1. */
static int
passed_fd(struct msghdr *msg)
{
	int fd = -1;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c != NULL; c = CMSG_NXTHDR(msg, c))
		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS &&
		    c->cmsg_len == CMSG_LEN(sizeof(int)))
			memcpy(&fd, CMSG_DATA(c), sizeof(int));
	return fd;
}

/* One packet at a time: its handler may free the link, so nothing comes after it. */
static void
on_readable(evutil_socket_t sock, short what, void *arg)
{
	struct queue_link *l = arg;
	struct iovec iov = { .iov_base = l->in, .iov_len = sizeof(l->in) };
	union {
		char space[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control;
	struct msghdr msg = { .msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.space,
		.msg_controllen = sizeof(control.space) };
	struct queue_packet p = { 0 };

	(void)what;
	ssize_t n = recvmsg(sock, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	int fd = n > 0 ? passed_fd(&msg) : -1;
	if (n <= 0 || (msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0 ||
	    queue_packet_read((struct str){ l->in, (size_t)n }, l->list, &p) != 0) {
		if (fd >= 0)
			close(fd);
		event_del(l->ev_read);
		l->on_closed(l->arg);
		return;
	}
	l->on_packet(l->arg, &p, fd);
}

struct queue_link *
queue_link_new(struct event_base *base, int fd,
    void (*on_packet)(void *arg, const struct queue_packet *p, int fd),
    void (*on_closed)(void *arg), void *arg)
{
	struct queue_link *l = xcalloc(1, sizeof(*l));

	l->fd = fd;
	l->on_packet = on_packet;
	l->on_closed = on_closed;
	l->arg = arg;
	STAILQ_INIT(&l->out);
	l->ev_read = event_new(base, fd, EV_READ | EV_PERSIST, on_readable, l);
	l->ev_write = event_new(base, fd, EV_WRITE, on_writable, l);
	if (l->ev_read == NULL || l->ev_write == NULL)
		abort(); /* out of memory, as xmalloc() would */
	event_add(l->ev_read, NULL);
	return l;
}

void
queue_link_free(struct queue_link *l)
{
	if (l == NULL)
		return;
	event_free(l->ev_read);
	event_free(l->ev_write);
	while (!STAILQ_EMPTY(&l->out))
		drop_first(l);
	close(l->fd);
	free(l);
}

static void
keep_waiting(struct queue_link *l, struct str octets, int fd)
{
	struct waiting *w = xmalloc(sizeof(*w) + octets.len);

	w->len = octets.len;
	w->fd = fd;
	memcpy(w->octets, octets.p, octets.len);
	STAILQ_INSERT_TAIL(&l->out, w, next);
	l->overrun = ++l->n_out > QUEUE_LINK_BACKLOG;
	if (l->overrun)
		event_active(l->ev_write, EV_WRITE, 0);
	else
		event_add(l->ev_write, NULL);
}

void
queue_link_send(struct queue_link *l, const struct queue_packet *p, int fd)
{
	struct buf b;

	buf_init(&b, QUEUE_PACKET_MAX);
	int sent = queue_packet_write(&b, p) != 0 || l->overrun ? -1 : 0;
	if (sent == 0 && STAILQ_EMPTY(&l->out))
		sent = send_one(l->fd, b.p, b.len, fd);
	if (sent == 0) {
		keep_waiting(l, buf_str(&b), fd);
		fd = -1;
	}
	if (fd >= 0)
		close(fd);
	buf_clear(&b);
}

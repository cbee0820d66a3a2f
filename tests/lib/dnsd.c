/* SPDX-License-Identifier: BSD-2-Clause */
/* The tests' DNS server: sockets, delayed answers and the faults that spoil them. */
#include "tests/lib/dnsd.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/xalloc.h"
#include "tests/lib/dnsd_zone.h"

#define CONNS_MAX 64
#define MESSAGE_MAX 65535

struct conn {
	int fd; /* -1: free */
	size_t len;
	uint8_t in[2 + 1024];
};

struct later { /* an answer that waits for its time */
	int64_t at_ms;
	struct buf msg;
	int conn; /* index, or -1: UDP to peer */
	struct sockaddr_in peer;
	struct later *next;
};

struct seen {
	char *name;
	unsigned type, n;
};

struct dnsd {
	int udp, tcp, wake;
	uint16_t port;
	pthread_t thread;
	struct conn conns[CONNS_MAX];
	struct later *later;

	pthread_mutex_t lock; /* guards what follows */
	struct dnsd_zone *zone;
	struct seen *seen;
	size_t n_seen;
	unsigned total, total_tcp;
	uint16_t ports[64]; /* network order */
	unsigned n_ports;
	bool stop;
};

static void
count(struct dnsd *d, const char *name, unsigned type, bool tcp)
{
	d->total++;
	d->total_tcp += tcp;
	for (size_t i = 0; i < d->n_seen; i++) {
		if (d->seen[i].type == type && strcmp(d->seen[i].name, name) == 0) {
			d->seen[i].n++;
			return;
		}
	}
	d->seen = xreallocarray(d->seen, d->n_seen + 1, sizeof(*d->seen));
	d->seen[d->n_seen++] = (struct seen){ xstrdup(name), type, 1 };
}

static void
count_port(struct dnsd *d, const struct sockaddr_in *peer)
{
	if (peer == NULL || d->n_ports == sizeof(d->ports) / sizeof(d->ports[0]))
		return;
	for (unsigned i = 0; i < d->n_ports; i++)
		if (d->ports[i] == peer->sin_port)
			return;
	d->ports[d->n_ports++] = peer->sin_port;
}

static void
send_answer(struct dnsd *d, const struct later *a)
{
	uint8_t frame[2] = { (uint8_t)(a->msg.len >> 8), (uint8_t)a->msg.len };

	if (a->conn < 0) {
		(void)sendto(d->udp, a->msg.p, a->msg.len, MSG_NOSIGNAL,
		    (const struct sockaddr *)&a->peer, sizeof(a->peer));
	} else if (d->conns[a->conn].fd >= 0) {
		(void)send(d->conns[a->conn].fd, frame, 2, MSG_NOSIGNAL | MSG_MORE);
		(void)send(d->conns[a->conn].fd, a->msg.p, a->msg.len, MSG_NOSIGNAL);
	}
}

/* What the faults make of a good answer; size: what the client takes over UDP. */
static void
spoil(
    struct buf *msg, const struct dnsd_fault *f, bool udp, size_t size, size_t question)
{
	if (f->wrongid)
		msg->p[0] = (char)(msg->p[0] ^ 0x55);
	if (f->garbage) {
		msg->p[7] = 9; /* nine answers */
		for (size_t i = question; i < msg->len; i++)
			msg->p[i] = (char)(i * 37);
		buf_add(msg, "\xc0\xff\xee\xff\xff", 5);
	}
	if (udp && (f->tc || msg->len > size)) {
		msg->p[2] |= 0x02;
		memset(msg->p + 6, 0, 6); /* no records */
		msg->len = question;
	}
	if (f->shorten)
		msg->len = 7;
}

/* What the client says by EDNS that it can take; 512 without. */
static size_t
udp_size(struct dns_reader r, const struct dns_header *h)
{
	struct dns_rr rr;

	for (unsigned i = 0; i < h->n_additional; i++) {
		if (dns_read_rr(&r, &rr, NULL) != 0)
			break;
		if (rr.type == DNS_TYPE_OPT && rr.class > 512)
			return rr.class;
	}
	return 512;
}

/* Answer one question, now or later. */
static void
on_question(struct dnsd *d, struct str in, int conn, const struct sockaddr_in *peer,
    int64_t now)
{
	struct dns_reader r = { in, 0 };
	struct dns_header h;
	struct dns_question q;

	if (dns_read_header(&r, &h, NULL) != 0 || (h.flags & DNS_FLAG_QR) != 0 ||
	    h.n_questions != 1 || dns_read_question(&r, &q, NULL) != 0)
		return;
	size_t question = r.at;
	struct later *a = xcalloc(1, sizeof(*a));
	buf_init(&a->msg, MESSAGE_MAX);
	pthread_mutex_lock(&d->lock);
	count(d, q.name, q.type, conn >= 0);
	count_port(d, peer);
	struct dnsd_fault f = dnsd_zone_fault(d->zone, q.name);
	dnsd_zone_answer(d->zone, h.id, &q, &f, &a->msg);
	pthread_mutex_unlock(&d->lock);
	spoil(&a->msg, &f, conn < 0, udp_size(r, &h), question);
	a->conn = conn;
	a->peer = peer != NULL ? *peer : (struct sockaddr_in){ 0 };
	if (!f.drop && f.delay_ms > 0) {
		a->at_ms = now + f.delay_ms;
		a->next = d->later;
		d->later = a;
		return;
	}
	if (!f.drop)
		send_answer(d, a);
	buf_clear(&a->msg);
	free(a);
}

/* Send what is due; returns milliseconds until the next, -1: none. */
static int
send_due(struct dnsd *d, int64_t now)
{
	int64_t next = INT64_MAX;

	for (struct later **p = &d->later; *p != NULL;) {
		struct later *a = *p;
		if (a->at_ms > now) {
			next = a->at_ms < next ? a->at_ms : next;
			p = &a->next;
			continue;
		}
		*p = a->next;
		send_answer(d, a);
		buf_clear(&a->msg);
		free(a);
	}
	return next == INT64_MAX ? -1 : (int)(next - now);
}

static void
on_udp(struct dnsd *d, int64_t now)
{
	char in[1500];
	struct sockaddr_in peer;

	for (;;) {
		socklen_t len = sizeof(peer);
		ssize_t n = recvfrom(d->udp, in, sizeof(in), MSG_DONTWAIT,
		    (struct sockaddr *)&peer, &len);
		if (n < 0)
			return;
		on_question(d, (struct str){ in, (size_t)n }, -1, &peer, now);
	}
}

static void
conn_close(struct conn *c)
{
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
	c->len = 0;
}

static void
on_accept(struct dnsd *d)
{
	int fd = accept4(d->tcp, NULL, NULL, SOCK_CLOEXEC);

	for (int i = 0; fd >= 0 && i < CONNS_MAX; i++) {
		if (d->conns[i].fd >= 0)
			continue;
		d->conns[i].fd = fd;
		return;
	}
	if (fd >= 0)
		close(fd);
}

static void
on_conn(struct dnsd *d, int i, int64_t now)
{
	struct conn *c = &d->conns[i];
	ssize_t n = recv(c->fd, c->in + c->len, sizeof(c->in) - c->len, MSG_DONTWAIT);

	if (n <= 0) {
		conn_close(c);
		return;
	}
	c->len += (size_t)n;
	while (c->len >= 2) {
		size_t len = (size_t)c->in[0] << 8 | c->in[1];
		if (len > sizeof(c->in) - 2) {
			conn_close(c);
			return;
		}
		if (c->len < len + 2)
			return;
		on_question(
		    d, (struct str){ (const char *)c->in + 2, len }, i, NULL, now);
		c->len -= len + 2;
		memmove(c->in, c->in + len + 2, c->len);
	}
}

static bool
stopped(struct dnsd *d)
{
	pthread_mutex_lock(&d->lock);
	bool stop = d->stop;
	pthread_mutex_unlock(&d->lock);
	return stop;
}

static void *
run(void *arg)
{
	struct dnsd *d = arg;
	struct pollfd fds[3 + CONNS_MAX];

	while (!stopped(d)) {
		int wait = send_due(d, clock_mono_ms());

		fds[0] = (struct pollfd){ .fd = d->wake, .events = POLLIN };
		fds[1] = (struct pollfd){ .fd = d->udp, .events = POLLIN };
		fds[2] = (struct pollfd){ .fd = d->tcp, .events = POLLIN };
		for (int i = 0; i < CONNS_MAX; i++)
			fds[3 + i] =
			    (struct pollfd){ .fd = d->conns[i].fd, .events = POLLIN };
		if (poll(fds, 3 + CONNS_MAX, wait) <= 0)
			continue;
		int64_t now = clock_mono_ms();
		if (fds[1].revents != 0)
			on_udp(d, now);
		for (int i = 0; i < CONNS_MAX; i++)
			if (fds[3 + i].fd >= 0 && fds[3 + i].revents != 0)
				on_conn(d, i, now);
		if (fds[2].revents != 0)
			on_accept(d);
	}
	return NULL;
}

/* UDP and TCP on one port: the kernel's choice for TCP may be taken for UDP. */
static int
bind_both(struct dnsd *d, uint16_t port, struct err *err)
{
	int one = 1, room = 4 << 20;

	for (int tries = 0; tries < 50; tries++) {
		struct sockaddr_in sa = { .sin_family = AF_INET,
			.sin_port = htons(port),
			.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
		socklen_t len = sizeof(sa);

		d->tcp = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		d->udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
		if (d->tcp < 0 || d->udp < 0)
			return err_errno(err, "socket");
		(void)setsockopt(d->tcp, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
		(void)setsockopt(d->udp, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room));
		if (bind(d->tcp, (struct sockaddr *)&sa, sizeof(sa)) == 0 &&
		    getsockname(d->tcp, (struct sockaddr *)&sa, &len) == 0 &&
		    listen(d->tcp, 64) == 0 &&
		    bind(d->udp, (struct sockaddr *)&sa, sizeof(sa)) == 0) {
			d->port = ntohs(sa.sin_port);
			return 0;
		}
		err_errno(err, "127.0.0.1:%u", port);
		close(d->tcp);
		close(d->udp);
		d->tcp = d->udp = -1;
		if (port != 0)
			return -1;
	}
	return -1;
}

static void
destroy(struct dnsd *d)
{
	while (d->later != NULL) {
		struct later *a = d->later;
		d->later = a->next;
		buf_clear(&a->msg);
		free(a);
	}
	for (int i = 0; i < CONNS_MAX; i++)
		conn_close(&d->conns[i]);
	if (d->udp >= 0)
		close(d->udp);
	if (d->tcp >= 0)
		close(d->tcp);
	if (d->wake >= 0)
		close(d->wake);
	for (size_t i = 0; i < d->n_seen; i++)
		free(d->seen[i].name);
	free(d->seen);
	dnsd_zone_free(d->zone);
	pthread_mutex_destroy(&d->lock);
	free(d);
}

struct dnsd *
dnsd_start(struct str zone, uint16_t port, struct err *err)
{
	struct dnsd *d = xcalloc(1, sizeof(*d));
	sigset_t all, old;

	d->udp = d->tcp = -1;
	for (int i = 0; i < CONNS_MAX; i++)
		d->conns[i].fd = -1;
	pthread_mutex_init(&d->lock, NULL);
	d->wake = eventfd(0, EFD_CLOEXEC);
	d->zone = dnsd_zone_parse(zone, err);
	if (d->zone == NULL || bind_both(d, port, err) != 0)
		goto out;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	errno = pthread_create(&d->thread, NULL, run, d);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (errno == 0)
		return d;
	err_errno(err, "thread");
out:
	destroy(d);
	return NULL;
}

void
dnsd_stop(struct dnsd *d)
{
	const uint64_t one = 1;

	if (d == NULL)
		return;
	pthread_mutex_lock(&d->lock);
	d->stop = true;
	pthread_mutex_unlock(&d->lock);
	(void)!write(d->wake, &one, sizeof(one));
	pthread_join(d->thread, NULL);
	destroy(d);
}

uint16_t
dnsd_port(const struct dnsd *d)
{
	return d->port;
}

int
dnsd_zone(struct dnsd *d, struct str zone, struct err *err)
{
	struct dnsd_zone *z = dnsd_zone_parse(zone, err);

	if (z == NULL)
		return -1;
	pthread_mutex_lock(&d->lock);
	struct dnsd_zone *old = d->zone;
	d->zone = z;
	pthread_mutex_unlock(&d->lock);
	dnsd_zone_free(old);
	return 0;
}

unsigned
dnsd_seen(struct dnsd *d, const char *name, unsigned type)
{
	unsigned n = 0;

	pthread_mutex_lock(&d->lock);
	for (size_t i = 0; i < d->n_seen; i++)
		if ((name == NULL || strcmp(d->seen[i].name, name) == 0) &&
		    (type == 0 || d->seen[i].type == type))
			n += d->seen[i].n;
	pthread_mutex_unlock(&d->lock);
	return n;
}

unsigned
dnsd_seen_tcp(struct dnsd *d)
{
	pthread_mutex_lock(&d->lock);
	unsigned n = d->total_tcp;
	pthread_mutex_unlock(&d->lock);
	return n;
}

unsigned
dnsd_ports(struct dnsd *d)
{
	pthread_mutex_lock(&d->lock);
	unsigned n = d->n_ports;
	pthread_mutex_unlock(&d->lock);
	return n;
}

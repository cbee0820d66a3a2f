/* SPDX-License-Identifier: BSD-2-Clause */
/* A connection's socket: octets to and from the session, its timers, and the end, which
 * waits until the client had a chance to read our last reply.  What the session asks is
 * answered in connection_mail.c and connection_message.c. */
#include "contrib/relay/connection.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/xalloc.h"
#include "contrib/relay/connection_client.h"
#include "contrib/relay/connection_mail.h"

#define READ_MAX (64u * 1024) /* octets at a time, so that others get their turn */
#define LINGER_MS 2000 /* for the client to read our last reply and close */
#define LINGER_OCTETS (1u << 20)
#define CLIENT_READS_MS 60000 /* a client that reads no reply is gone */

static void settle(struct connection *c);

static void
set_timer(struct connection *c, int64_t at_ms)
{
	int64_t left = at_ms - clock_mono_ms();
	struct timeval tv;

	if (at_ms == INT64_MAX) {
		(void)event_del(c->timer);
		return;
	}
	if (left < 0)
		left = 0;
	tv = (struct timeval){ left / 1000, left % 1000 * 1000 };
	(void)event_add(c->timer, &tv);
}

/* Everything of ours is said.  Closing while octets of the client lie unread would make
 * the kernel send RST, which can overtake our reply. */
static void
linger(struct connection *c)
{
	c->closing = true;
	(void)event_del(c->write);
	if (c->eof || shutdown(c->fd, SHUT_WR) < 0) {
		connection_close(c);
		return;
	}
	(void)event_add(c->read, NULL);
	set_timer(c, clock_mono_ms() + LINGER_MS);
}

/* Send what there is; false: the connection is gone. */
static bool
flush(struct connection *c)
{
	struct buf *out = session_output(c->session);

	while (out->len > 0) {
		ssize_t n = send(c->fd, out->p, out->len, MSG_NOSIGNAL);

		if (n > 0) {
			buf_consume(out, (size_t)n);
			c->stalled_ms = 0;
			continue;
		}
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
			if (c->stalled_ms == 0)
				c->stalled_ms = clock_mono_ms();
			return true;
		}
		connection_close(c);
		return false;
	}
	return true;
}

/* What the socket has to do next.  May free c. */
static void
settle(struct connection *c)
{
	struct buf *out = session_output(c->session);
	int64_t wake;

	do {
		if (!flush(c))
			return;
		/* The session holds back while much is unsent. */
		if (out->len == 0 && session_state(c->session) != SESSION_CLOSED) {
			c->busy = true;
			session_input(c->session, STR(""), clock_mono_ms());
			c->busy = false;
		}
	} while (out->len > 0 && c->stalled_ms == 0);
	if (out->len == 0 && session_state(c->session) == SESSION_CLOSED) {
		linger(c);
		return;
	}
	if (out->len == 0 && c->eof && !session_waiting(c->session)) {
		connection_close(c);
		return;
	}
	if (out->len > 0)
		(void)event_add(c->write, NULL);
	else
		(void)event_del(c->write);
	if (c->eof || session_room(c->session) == 0)
		(void)event_del(c->read);
	else
		(void)event_add(c->read, NULL);
	wake = session_wake(c->session);
	if (c->stalled_ms != 0 && c->stalled_ms + CLIENT_READS_MS < wake)
		wake = c->stalled_ms + CLIENT_READS_MS;
	set_timer(c, wake);
}

void
connection_answer(
    struct connection *c, int code, const char *enhanced, const char *text)
{
	bool outermost = !c->busy;

	c->busy = true;
	session_answer(c->session, code, enhanced, str_of(text), clock_mono_ms());
	if (!outermost)
		return;
	c->busy = false;
	settle(c);
}

void
connection_answer_verdict(struct connection *c, const struct verdict *v)
{
	connection_answer(c, v->code, v->enhanced, v->text);
}

void
connection_answer_chain(struct connection *c, const struct chain_reply *r)
{
	connection_answer(c, connection_chain_code(c, r), r->enhanced, r->text);
}

int
connection_chain_code(const struct connection *c, const struct chain_reply *r)
{
	int code = r->action == CHAIN_CLOSE ? 421 : r->code;

	return code == 421 && c->shown.forwarded ? 451 : code;
}

/* --- events --- */

static void
discard_input(struct connection *c)
{
	char trash[8192];
	ssize_t n;

	do {
		n = recv(c->fd, trash, sizeof(trash), 0);
		c->lingered += n > 0 ? (uint64_t)n : 0;
	} while (n > 0 && c->lingered < LINGER_OCTETS);
	if (n == 0 || c->lingered >= LINGER_OCTETS ||
	    (n < 0 && errno != EAGAIN && errno != EINTR))
		connection_close(c);
}

static void
on_read(evutil_socket_t fd, short what, void *arg)
{
	struct connection *c = arg;
	char data[READ_MAX];
	size_t room = session_room(c->session);
	ssize_t n;

	(void)what;
	if (c->closing) {
		discard_input(c);
		return;
	}
	n = recv(fd, data, room < sizeof(data) ? room : sizeof(data), 0);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n < 0) {
		connection_close(c);
		return;
	}
	if (n == 0 && room > 0)
		c->eof = true;
	c->busy = true;
	session_input(c->session, (struct str){ data, (size_t)n }, clock_mono_ms());
	if (session_early(c->session) > 0)
		connection_client_early(c);
	c->busy = false;
	settle(c);
}

static void
on_write(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	settle(arg);
}

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct connection *c = arg;
	int64_t now = clock_mono_ms();

	(void)fd;
	(void)what;
	if (c->closing ||
	    (c->stalled_ms != 0 && c->stalled_ms + CLIENT_READS_MS <= now)) {
		connection_close(c);
		return;
	}
	c->busy = true;
	session_tick(c->session, now);
	c->busy = false;
	settle(c);
}

/* --- life --- */

void
connection_open(struct gate *g, int fd, const struct ip *peer, uint16_t port,
    const struct ip *local, uint16_t local_port)
{
	struct connection *c = xcalloc(1, sizeof(*c));

	c->gate = g;
	c->fd = fd;
	c->peer = *peer;
	c->peer_port = port;
	c->local = *local;
	c->local_port = local_port;
	c->text_fd = -1;
	c->client = (struct client_facts){ .ip = *peer, .port = port };
	envelope_init(&c->envelope);
	c->trusted = connection_trusted(g, peer);
	c->session = session_new(&g->session, &connection_ops, c, c->trusted);
	c->read = event_new(g->handoff.base, fd, EV_READ | EV_PERSIST, on_read, c);
	c->write = event_new(g->handoff.base, fd, EV_WRITE, on_write, c);
	c->timer = evtimer_new(g->handoff.base, on_timer, c);
	c->next = g->connections;
	c->at = &g->connections;
	if (c->next != NULL)
		c->next->at = &c->next;
	g->connections = c;
	g->n_connections++;
	c->busy = true;
	session_start(c->session, clock_mono_ms());
	c->busy = false;
	settle(c);
}

/* The client left in the middle of a mail: said once, so that its sender can be told.
 */
static void
log_lost(const struct connection *c)
{
	struct logline l;
	char ip[IP_TEXT_MAX];

	logline_init(&l, LOG_LEVEL_INFO, "lost");
	logline_cstr(&l, "id", c->envelope.id);
	logline_cstr(&l, "client", ip_format(&c->client.ip, ip));
	logline_cstr(&l, "from", c->envelope.sender);
	logline_int(&l, "nrcpts", (int64_t)c->envelope.n_rcpts);
	logline_int(&l, "size", (int64_t)c->text_len);
	logline_cstr(&l, "stage", session_state_name(session_state(c->session)));
	logline_send(&l);
}

void
connection_close(struct connection *c)
{
	struct gate *g = c->gate;

	if (c->envelope.n_rcpts > 0)
		log_lost(c);
	*c->at = c->next;
	if (c->next != NULL)
		c->next->at = c->at;
	g->n_connections--;
	if (c->lookup != NULL)
		client_name_cancel(c->lookup);
	milter_chain_free(c->chain); /* it borrows the message */
	connection_mail_clear(c);
	session_free(c->session);
	connection_client_clear(c);
	envelope_clear(&c->envelope);
	session_attrs_clear(&c->forward);
	event_free(c->read);
	event_free(c->write);
	event_free(c->timer);
	close(c->fd);
	free(c);
	g->ended(g);
}

bool
connection_trusted(const struct gate *g, const struct ip *peer)
{
	const struct conf_nets *hosts = &g->handoff.conf->xclient;

	for (size_t i = 0; i < hosts->n; i++)
		if (ipnet_contains(&hosts->list[i], peer))
			return true;
	return false;
}

size_t
connection_count(const struct gate *g, const struct ip *peer)
{
	size_t n = 0;

	for (const struct connection *c = g->connections; c != NULL; c = c->next)
		n += ip_eq(&c->peer, peer);
	return n;
}

void
connection_shutdown_all(struct gate *g, struct str text)
{
	struct connection *next;

	for (struct connection *c = g->connections; c != NULL; c = next) {
		next = c->next;
		if (c->closing)
			continue;
		c->busy = true;
		session_shutdown(c->session, text, clock_mono_ms());
		c->busy = false;
		settle(c);
	}
}

void
connection_close_all(struct gate *g)
{
	while (g->connections != NULL)
		connection_close(g->connections);
}

void
connection_stress_all(struct gate *g, bool stress)
{
	g->stress = stress;
	for (struct connection *c = g->connections; c != NULL; c = c->next) {
		session_stress(c->session, stress, clock_mono_ms());
		if (!c->closing)
			set_timer(c, session_wake(c->session));
	}
}

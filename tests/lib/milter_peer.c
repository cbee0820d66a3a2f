/* SPDX-License-Identifier: BSD-2-Clause */
/* The scripted filter.  It shares its thread with the chain, so it never blocks. */
#include "tests/lib/milter_peer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/base/xalloc.h"

static void
die(const char *what)
{
	perror(what);
	abort();
}

struct str
peer_packet(struct buf *b, char cmd, struct str payload)
{
	size_t at = b->len;

	if (milter_packet_write(b, cmd, payload) != 0)
		die("packet");
	return str_sub(buf_str(b), at, b->len);
}

static void
hang_up_now(struct milter_peer *p)
{
	if (p->fd < 0)
		return;
	event_free(p->read);
	event_free(p->write);
	close(p->fd);
	p->fd = -1;
	p->closing = false;
	buf_reset(&p->in);
	buf_reset(&p->out);
}

static void
flush(struct milter_peer *p)
{
	ssize_t n = send(
	    p->fd, p->out.p, p->trickle ? 1 : p->out.len, MSG_NOSIGNAL | MSG_DONTWAIT);

	if (n < 0 && errno != EAGAIN && errno != EINTR)
		n = (ssize_t)p->out.len; /* the other end has gone: its right */
	if (n > 0)
		buf_consume(&p->out, (size_t)n);
	if (p->out.len > 0)
		event_add(p->write, NULL);
	else if (p->closing)
		hang_up_now(p);
}

static void
on_write(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	flush(arg);
}

void
milter_peer_send(struct milter_peer *p, struct str octets)
{
	if (p->fd < 0 || octets.len == 0)
		return;
	if (buf_add_str(&p->out, octets) != 0)
		die("too much to send");
	if (p->trickle)
		event_add(p->write, NULL);
	else
		flush(p);
}

void
milter_peer_hang_up(struct milter_peer *p)
{
	if (p->fd >= 0 && p->out.len > 0)
		p->closing = true;
	else
		hang_up_now(p);
}

void
milter_peer_stop_listening(struct milter_peer *p)
{
	if (p->listener < 0)
		return;
	event_free(p->accept);
	close(p->listener);
	unlink(p->path);
	p->listener = -1;
}

static const struct peer_rule *
rule_for(const struct milter_peer *p, char cmd, int count)
{
	for (size_t i = 0; i < p->n_rules; i++) {
		if (p->rules[i].cmd == cmd &&
		    (p->rules[i].nth == 0 || p->rules[i].nth == count))
			return &p->rules[i];
	}
	return NULL;
}

static void
answer(struct milter_peer *p, char cmd)
{
	struct buf b;

	buf_init(&b, 10000);
	if (cmd == MILTER_OPTNEG)
		milter_optneg_write(&b, &p->answer);
	else if (!p->no_replies && milter_step_answered(p->answer.protocol, cmd))
		milter_packet_write(&b, MILTER_R_CONTINUE, STR(""));
	milter_peer_send(p, buf_str(&b));
	buf_clear(&b);
}

static void
got(struct milter_peer *p, const struct milter_packet *packet)
{
	int count = ++p->counts[packet->cmd & 127];

	buf_add_char(&p->seen, packet->cmd);
	if (packet->cmd == MILTER_MACRO && packet->payload.len > 0)
		buf_add_char(&p->seen, ascii_lower(packet->payload.p[0]));
	milter_packet_write(&p->packets, packet->cmd, packet->payload);
	if (p->handler != NULL) {
		p->handler(p->arg, p, packet);
		return;
	}
	const struct peer_rule *rule = rule_for(p, packet->cmd, count);

	if (rule == NULL) {
		answer(p, packet->cmd);
		return;
	}
	milter_peer_send(p, rule->octets);
	if (rule->act == PEER_CLOSE)
		milter_peer_hang_up(p);
	if (rule->act == PEER_DEAF)
		event_del(p->read);
}

static void
on_read(evutil_socket_t fd, short what, void *arg)
{
	struct milter_peer *p = arg;
	struct milter_packet packet;
	size_t used;

	(void)what;
	char *room = buf_reserve(&p->in, 100000);
	ssize_t n = recv(fd, room, 100000, 0);

	if (n <= 0) {
		buf_add_char(&p->seen, '$');
		hang_up_now(p);
		return;
	}
	p->in.len += (size_t)n;
	while (p->fd >= 0 &&
	    milter_packet_read(buf_str(&p->in), MILTER_PACKET_MAX, &packet, &used,
		NULL) == PARSE_DONE) {
		got(p, &packet);
		buf_consume(&p->in, used);
	}
}

static void
on_accept(evutil_socket_t listener, short what, void *arg)
{
	struct milter_peer *p = arg;

	(void)what;
	int fd = accept(listener, NULL, NULL);

	if (fd < 0)
		die("accept");
	hang_up_now(p); /* one connection at a time is enough for these tests */
	p->fd = fd;
	p->n_connections++;
	p->read = event_new(p->base, fd, EV_READ | EV_PERSIST, on_read, p);
	p->write = event_new(p->base, fd, EV_WRITE, on_write, p);
	event_add(p->read, NULL);
	if (p->take_one)
		milter_peer_stop_listening(p);
}

void
milter_peer_init(
    struct milter_peer *p, struct event_base *base, const char *dir, const char *name)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };

	*p = (struct milter_peer){ .base = base, .fd = -1 };
	p->path = xasprintf("%s/%s", dir, name);
	p->address = xasprintf("unix:%s", p->path);
	p->answer = (struct milter_optneg){ .version = 6, .actions = MILTER_F_ALL };
	buf_init(&p->out, 64u << 20);
	buf_init(&p->seen, 1 << 20);
	buf_init(&p->packets, 64u << 20);
	buf_init(&p->in, MILTER_PACKET_MAX + 200000);
	if (strlen(p->path) >= sizeof(un.sun_path))
		die("socket path");
	memcpy(un.sun_path, p->path, strlen(p->path));
	p->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (p->listener < 0 ||
	    bind(p->listener, (struct sockaddr *)&un, sizeof(un)) != 0 ||
	    listen(p->listener, 16) != 0)
		die(p->path);
	p->accept = event_new(base, p->listener, EV_READ | EV_PERSIST, on_accept, p);
	event_add(p->accept, NULL);
}

void
milter_peer_clear(struct milter_peer *p)
{
	hang_up_now(p);
	milter_peer_stop_listening(p);
	buf_clear(&p->out);
	buf_clear(&p->seen);
	buf_clear(&p->packets);
	buf_clear(&p->in);
	free(p->path);
	free(p->address);
}

void
milter_peer_rule(
    struct milter_peer *p, char cmd, int nth, enum peer_act act, struct str octets)
{
	if (p->n_rules == PEER_RULES_MAX)
		die("too many rules");
	p->rules[p->n_rules++] =
	    (struct peer_rule){ .cmd = cmd, .nth = nth, .act = act, .octets = octets };
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* Delivery: a message at a time per connection, its next hop's addresses tried in
 * order. Decides what an answer means for a recipient (2yz sent, 5yz failed, all else
 * later); when it is tried again is the queue's business. */
#include "contrib/relay/deliver.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/resource.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/xalloc.h"
#include "common/mail/header.h"
#include "contrib/relay/nexthop.h"
#include "contrib/relay/queue_link.h"
#include "contrib/relay/received.h"
#include "contrib/relay/record.h"
#include "contrib/relay/smtp_client.h"

enum {
	RECONNECT_MS = 50,
	STOP_MS = 30000,
	TARGETS_TRIED = 5, /* addresses of one next hop in one try */
	CONNECT_MS = 30 * 1000,
	COMMAND_MS = 300 * 1000, /* RFC 5321 4.5.3.2 */
	DATA_MS = 600 * 1000,
	FDS_EACH = 4, /* descriptors for one delivery, and some to spare */
};

struct deliverer;

/* A message's recipients for one next hop. */
struct delivery {
	TAILQ_ENTRY(delivery) next;
	struct deliverer *d;
	uint32_t number; /* the queue's job */
	int fd;
	struct record record;
	struct route route;
	size_t *rcpts; /* not settled yet */
	size_t n_rcpts;
	struct nexthop *nexthop; /* under way */
	struct smtp_client *client; /* under way */
	struct smtp_target targets[TARGETS_TRIED];
	size_t n_targets, at; /* at: the one that is tried */
	bool reached; /* some address took the connection and greeted */
	char remote[300]; /* "host [address]" of the one tried last */
};

struct deliverer {
	const struct relay_conf *conf;
	const char *address;
	struct event_base *base;
	struct resolver *resolver;
	struct queue_link *link;
	struct event *reconnect, *term, *stop;
	TAILQ_HEAD(, delivery) list;
	bool stopping;
};

static void try_target(struct delivery *m);

static void
set_timer(struct event *ev, int64_t ms)
{
	struct timeval tv = { .tv_sec = (time_t)(ms / 1000),
		.tv_usec = (suseconds_t)(ms % 1000) * 1000 };

	event_add(ev, &tv);
}

/* --- telling the queue ---------------------------------------------------------------
 */

static void
send_outcome(const struct delivery *m, const uint16_t *list, size_t n, uint8_t fate,
    const struct smtp_outcome *o)
{
	struct queue_packet p = { .verb = QUEUE_OUTCOME,
		.seq = m->number,
		.flag = fate,
		.number = (uint16_t)o->code,
		.a = str_of(o->enhanced),
		.b = str_of(o->text),
		.c = str_of(m->remote),
		.list = list,
		.n_list = n };

	queue_link_send(m->d->link, &p, -1);
}

/* The same for all that are not settled. */
static void
send_all(const struct delivery *m, uint8_t fate, const struct smtp_outcome *o)
{
	uint16_t list[QUEUE_LIST_MAX];

	for (size_t i = 0; i < m->n_rcpts; i++)
		list[i] = (uint16_t)m->rcpts[i];
	send_outcome(m, list, m->n_rcpts, fate, o);
}

static void
delivery_free(struct delivery *m)
{
	struct deliverer *d = m->d;

	TAILQ_REMOVE(&d->list, m, next);
	nexthop_cancel(m->nexthop);
	smtp_client_cancel(m->client);
	close(m->fd);
	record_clear(&m->record);
	free(m->rcpts);
	free(m);
	if (d->stopping && TAILQ_EMPTY(&d->list))
		event_base_loopexit(d->base, NULL);
}

static void
delivery_ends(struct delivery *m, bool unreachable)
{
	struct queue_packet p = {
		.verb = QUEUE_DONE, .seq = m->number, .flag = unreachable ? 1 : 0
	};

	queue_link_send(m->d->link, &p, -1);
	delivery_free(m);
}

/* All open recipients have this outcome of our own making. */
static void
ends_with(struct delivery *m, int code, const char *enhanced, const char *text)
{
	struct smtp_outcome o = { .code = code };

	snprintf(o.enhanced, sizeof(o.enhanced), "%s", enhanced);
	snprintf(o.text, sizeof(o.text), "%s", text);
	send_all(m, code >= 500 ? QUEUE_FATE_FAILED : QUEUE_FATE_LATER, &o);
	delivery_ends(m, false);
}

/* --- one address ---------------------------------------------------------------------
 */

/* Settle what is final for single recipients; the others stay in m->rcpts. */
static void
settle_rcpts(struct delivery *m, const struct smtp_result *r)
{
	uint16_t sent[QUEUE_LIST_MAX], one;
	size_t n_sent = 0, left = 0;

	for (size_t i = 0; i < m->n_rcpts; i++) {
		const struct smtp_outcome *o = &r->rcpts[i];

		one = (uint16_t)m->rcpts[i];
		if (o->code >= 200 && o->code < 300 && r->end == SMTP_SENT)
			sent[n_sent++] = one;
		else if (o->code >= 500 && !r->early)
			send_outcome(m, &one, 1, QUEUE_FATE_FAILED, o);
		else
			m->rcpts[left++] = m->rcpts[i];
	}
	m->n_rcpts = left;
	/* In one packet: when nobody else waits, the queue just removes the file. */
	if (n_sent > 0)
		send_outcome(m, sent, n_sent, QUEUE_FATE_SENT, &r->whole);
}

static void
put_off(
    struct delivery *m, const struct smtp_result *r, const struct smtp_outcome *later)
{
	bool unreachable = r->early && r->end == SMTP_BROKEN && !m->reached;

	if (m->n_rcpts > 0)
		send_all(m, QUEUE_FATE_LATER, later);
	delivery_ends(m, unreachable);
}

static void
on_result(void *arg, const struct smtp_result *r)
{
	struct delivery *m = arg;
	struct smtp_outcome later = r->whole;

	m->client = NULL;
	for (size_t i = 0; i < r->n_rcpts; i++)
		if (r->rcpts[i].code >= 400 && r->rcpts[i].code < 500)
			later = r->rcpts[i];
	m->reached |= !(r->early && r->end == SMTP_BROKEN);
	settle_rcpts(m, r);
	/* A host that fails as such says nothing of the message: the next may take it.
	 * After the final dot it is too late for that. */
	bool next = r->early || r->end == SMTP_BROKEN;
	if (next && m->n_rcpts > 0 && ++m->at < m->n_targets)
		try_target(m);
	else
		put_off(m, r, &later);
}

static void
try_target(struct delivery *m)
{
	struct smtp_job job = { .target = m->targets[m->at],
		.helo = m->d->conf->host,
		.envelope = &m->record.envelope,
		.rcpts = m->rcpts,
		.n_rcpts = m->n_rcpts,
		.message_fd = m->fd,
		.message_offset = m->record.message_offset,
		.message_len = m->record.message_len,
		.xforward = true,
		.connect_ms = CONNECT_MS,
		.command_ms = COMMAND_MS,
		.data_ms = DATA_MS };
	char ip[IP_TEXT_MAX];

	snprintf(m->remote, sizeof(m->remote), "%s [%s]", m->route.host,
	    ip_format(&job.target.ip, ip));
	m->client = smtp_client_start(m->d->base, &job, on_result, m);
}

static void
on_nexthop(void *arg, const struct nexthop_result *r)
{
	struct delivery *m = arg;

	m->nexthop = NULL;
	if (r->end != NEXTHOP_FOUND) {
		ends_with(m, r->code, r->enhanced, r->text);
		return;
	}
	m->n_targets = r->n_targets < TARGETS_TRIED ? r->n_targets : TARGETS_TRIED;
	memcpy(m->targets, r->targets, m->n_targets * sizeof(m->targets[0]));
	try_target(m);
}

/* --- work from the queue -------------------------------------------------------------
 */

/* RFC 5321 6.3: does the message go round in circles? */
static bool
loops(const struct delivery *m)
{
	uint64_t len = m->record.message_len < HEADER_SECTION_MAX
	    ? m->record.message_len
	    : HEADER_SECTION_MAX;
	char *front = xmalloc((size_t)len);
	struct header *h = header_new();
	size_t body, hops = 0;

	if (qio_read(&qio_real, m->fd, front, (size_t)len, m->record.message_offset) ==
		0 &&
	    header_parse(h, (struct str){ front, (size_t)len }, &body, NULL) == 0)
		hops = received_count(h);
	header_free(h);
	free(front);
	return hops > RECEIVED_MAX;
}

/* Recipients and route as the queue says; -1: it says nonsense. */
static int
read_work(struct delivery *m, const struct queue_packet *p)
{
	m->route.kind = p->flag == ROUTE_MX ? ROUTE_MX : ROUTE_HOST;
	m->route.port = p->number;
	if (p->b.len >= sizeof(m->route.host) || p->n_list == 0)
		return -1;
	memcpy(m->route.host, p->b.p, p->b.len);
	m->n_rcpts = p->n_list;
	m->rcpts = xcalloc(p->n_list, sizeof(size_t));
	for (size_t i = 0; i < p->n_list; i++) {
		m->rcpts[i] = p->list[i];
		if (p->list[i] >= m->record.envelope.n_rcpts)
			return -1;
	}
	return 0;
}

static void
start_delivery(struct deliverer *d, const struct queue_packet *p, int fd)
{
	struct delivery *m = xcalloc(1, sizeof(*m));
	struct err err;

	m->d = d;
	m->fd = fd;
	m->number = p->seq;
	TAILQ_INSERT_TAIL(&d->list, m, next);
	/* The queue process verified the checksum when it loaded the message. */
	if (record_read(fd, false, &m->record, &err) != 0 || read_work(m, p) != 0) {
		log_msg(
		    LOG_LEVEL_ERR, "work", "the queue hands out what cannot be read");
		delivery_ends(m, false);
		return;
	}
	if (loops(m)) {
		ends_with(m, 554, "5.4.6",
		    "too many hops: the message goes round in circles");
		return;
	}
	m->nexthop = nexthop_start(
	    d->base, d->resolver, &m->route, d->conf->host, on_nexthop, m);
}

static void
on_packet(void *arg, const struct queue_packet *p, int fd)
{
	struct deliverer *d = arg;

	if (p->verb == QUEUE_WORK && fd >= 0 && !d->stopping)
		start_delivery(d, p, fd);
	else if (fd >= 0)
		close(fd); /* stopping: the queue takes it back when we are gone */
}

static void
on_closed(void *arg)
{
	struct deliverer *d = arg;
	struct delivery *m;

	/* Nobody could be told how they end; before its final dot a message that is
	 * broken off is not taken, so this way makes the fewest duplicates. */
	while ((m = TAILQ_FIRST(&d->list)) != NULL)
		delivery_free(m);
	queue_link_free(d->link);
	d->link = NULL;
	if (d->stopping)
		event_base_loopexit(d->base, NULL);
	else
		set_timer(d->reconnect, RECONNECT_MS);
}

/* How many messages we take at once: a delivery needs its file, a socket and a bell,
 * and the descriptors may not suffice for what is configured. */
static uint16_t
room(const struct relay_conf *conf)
{
	struct rlimit limit = { .rlim_cur = 0 };
	uint64_t n = (uint64_t)conf->deliveries;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
		getrlimit(RLIMIT_NOFILE, &limit);
	}
	if (n > limit.rlim_cur / FDS_EACH)
		n = limit.rlim_cur / FDS_EACH;
	return n < 1 ? 1 : n < UINT16_MAX ? (uint16_t)n : UINT16_MAX;
}

static void
on_reconnect(evutil_socket_t sock, short what, void *arg)
{
	struct deliverer *d = arg;
	struct queue_packet hello = { .verb = QUEUE_HELLO,
		.flag = QUEUE_ROLE_DELIVERY };
	int fd = queue_connect(d->address, NULL);

	(void)sock;
	(void)what;
	if (fd < 0) {
		set_timer(d->reconnect, RECONNECT_MS);
		return;
	}
	hello.number = room(d->conf);
	d->link = queue_link_new(d->base, fd, on_packet, on_closed, d);
	queue_link_send(d->link, &hello, -1);
}

static void
on_term(evutil_socket_t fd, short what, void *arg)
{
	struct deliverer *d = arg;

	(void)fd;
	(void)what;
	d->stopping = true;
	if (TAILQ_EMPTY(&d->list))
		event_base_loopexit(d->base, NULL);
	else
		set_timer(d->stop, STOP_MS);
}

static void
on_stop(evutil_socket_t fd, short what, void *arg)
{
	struct deliverer *d = arg;

	(void)fd;
	(void)what;
	event_base_loopexit(d->base, NULL);
}

static int
open_all(struct deliverer *d, const struct resolver_conf *dns, struct err *err)
{
	d->base = event_base_new();
	if (d->base == NULL)
		return err_set(err, "cannot make an event loop");
	d->resolver = resolver_new(dns, err);
	if (d->resolver == NULL)
		return -1;
	d->reconnect = event_new(d->base, -1, 0, on_reconnect, d);
	d->stop = event_new(d->base, -1, 0, on_stop, d);
	d->term = event_new(d->base, SIGTERM, EV_SIGNAL | EV_PERSIST, on_term, d);
	if (d->reconnect == NULL || d->stop == NULL || d->term == NULL)
		return err_set(err, "out of memory");
	event_add(d->term, NULL);
	set_timer(d->reconnect, 0);
	return 0;
}

int
deliver_process(const struct relay_conf *conf, const char *queue_address,
    const struct resolver_conf *dns)
{
	struct deliverer d = { .conf = conf, .address = queue_address };
	struct delivery *m;
	struct err err;

	signal(SIGPIPE, SIG_IGN);
	/* For the order of equal MX records. */
	srandom((unsigned)(clock_mono_us() ^ getpid()));
	TAILQ_INIT(&d.list);
	if (open_all(&d, dns, &err) != 0) {
		log_err("delivery", &err);
		return 71; /* EX_OSERR */
	}
	event_base_dispatch(d.base);
	while ((m = TAILQ_FIRST(&d.list)) != NULL)
		delivery_free(m);
	queue_link_free(d.link);
	event_free(d.reconnect);
	event_free(d.stop);
	event_free(d.term);
	resolver_free(d.resolver);
	event_base_free(d.base);
	return 0;
}

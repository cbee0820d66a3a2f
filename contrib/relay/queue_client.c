/* SPDX-License-Identifier: BSD-2-Clause */
/* Handing records to the queue process.  The listening socket belongs to the supervisor
 * and outlives a queue process, so a record may wait there for the next one; what was
 * sent to one that died is answered as failed, for nobody knows its fate. */
#include "contrib/relay/queue_client.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/queue.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/xalloc.h"
#include "contrib/relay/queue_link.h"
#include "contrib/relay/queue_process.h"

#define SUBMIT_DEADLINE_MS 60000
#define RECONNECT_MS 50

struct pending {
	TAILQ_ENTRY(pending) next; /* by deadline: they all wait equally long */
	uint32_t seq;
	int64_t deadline_ms;
	void (*done)(void *arg, bool durable, const char *text);
	void *arg;
};

struct queue_client {
	struct event_base *base;
	char address[QUEUE_ADDRESS_MAX];
	struct queue_link *link;
	struct event *timer, *reconnect;
	TAILQ_HEAD(pending_list, pending) pending;
	uint32_t seq;
	bool accepting;
	char text[200]; /* why not accepting */
};

static void
set_timer(struct event *ev, int64_t ms)
{
	struct timeval tv = { .tv_sec = (time_t)(ms / 1000),
		.tv_usec = (suseconds_t)(ms % 1000) * 1000 };

	event_add(ev, &tv);
}

static void
answer(struct queue_client *c, struct pending *p, bool durable, const char *text)
{
	TAILQ_REMOVE(&c->pending, p, next);
	p->done(p->arg, durable, text);
	free(p);
}

/* Answer what has waited too long and wait for the next. */
static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct queue_client *c = arg;
	struct pending *p;

	(void)fd;
	(void)what;
	while ((p = TAILQ_FIRST(&c->pending)) != NULL) {
		int64_t left = p->deadline_ms - clock_mono_ms();

		if (left > 0) {
			set_timer(c->timer, left);
			return;
		}
		answer(c, p, false, "message could not be stored in time");
	}
}

static void
on_closed(void *arg)
{
	struct queue_client *c = arg;
	struct pending_list lost = TAILQ_HEAD_INITIALIZER(lost);
	struct pending *p;

	queue_link_free(c->link);
	c->link = NULL;
	c->accepting = true;
	set_timer(c->reconnect, RECONNECT_MS);
	/* Aside first: who is told may submit again at once. */
	TAILQ_CONCAT(&lost, &c->pending, next);
	while ((p = TAILQ_FIRST(&lost)) != NULL) {
		TAILQ_REMOVE(&lost, p, next);
		p->done(p->arg, false, "message could not be stored");
		free(p);
	}
}

static void
on_packet(void *arg, const struct queue_packet *p, int fd)
{
	struct queue_client *c = arg;
	struct pending *i;
	char text[200];

	if (fd >= 0)
		close(fd);
	snprintf(
	    text, sizeof(text), "%.*s", STR_ARG(str_sub(p->a, 0, sizeof(text) - 1)));
	if (p->verb == QUEUE_STATE) {
		c->accepting = p->flag != 0;
		snprintf(c->text, sizeof(c->text), "%s", text);
		return;
	}
	if (p->verb != QUEUE_RESULT)
		return;
	TAILQ_FOREACH(i, &c->pending, next)
	if (i->seq == p->seq) {
		answer(c, i, p->flag != 0, text);
		return;
	}
}

static void
try_connect(struct queue_client *c)
{
	int fd = queue_connect(c->address, NULL);

	if (fd < 0) {
		set_timer(c->reconnect, RECONNECT_MS);
		return;
	}
	struct queue_packet hello = { .verb = QUEUE_HELLO,
		.flag = QUEUE_ROLE_LISTENER };
	c->link = queue_link_new(c->base, fd, on_packet, on_closed, c);
	queue_link_send(c->link, &hello, -1);
}

static void
on_reconnect(evutil_socket_t fd, short what, void *arg)
{
	struct queue_client *c = arg;

	(void)fd;
	(void)what;
	if (c->link == NULL)
		try_connect(c);
}

struct queue_client *
queue_client_new(struct event_base *base, const char *address)
{
	struct queue_client *c = xcalloc(1, sizeof(*c));

	c->base = base;
	snprintf(c->address, sizeof(c->address), "%s", address);
	c->accepting = true;
	TAILQ_INIT(&c->pending);
	c->timer = event_new(base, -1, 0, on_timer, c);
	c->reconnect = event_new(base, -1, 0, on_reconnect, c);
	if (c->timer == NULL || c->reconnect == NULL)
		abort(); /* out of memory, as xmalloc() would */
	try_connect(c);
	return c;
}

void
queue_client_free(struct queue_client *c)
{
	struct pending *p;

	if (c == NULL)
		return;
	while ((p = TAILQ_FIRST(&c->pending)) != NULL) {
		TAILQ_REMOVE(&c->pending, p, next);
		free(p);
	}
	queue_link_free(c->link);
	event_free(c->timer);
	event_free(c->reconnect);
	free(c);
}

void
queue_client_submit(struct queue_client *c, const char *id, int record_fd,
    void (*done)(void *arg, bool durable, const char *text), void *arg)
{
	struct pending *p = xcalloc(1, sizeof(*p));
	struct queue_packet submit = {
		.verb = QUEUE_SUBMIT, .seq = ++c->seq, .a = str_of(id)
	};
	bool first = TAILQ_EMPTY(&c->pending);

	if (c->link == NULL)
		try_connect(c);
	*p = (struct pending){ .seq = submit.seq, .done = done, .arg = arg };
	if (c->link != NULL) {
		p->deadline_ms = clock_mono_ms() + SUBMIT_DEADLINE_MS;
		TAILQ_INSERT_TAIL(&c->pending, p, next);
		queue_link_send(c->link, &submit, record_fd);
		if (first)
			set_timer(c->timer, SUBMIT_DEADLINE_MS);
		return;
	}
	/* Due at once: answered from the loop, as promised. */
	close(record_fd);
	TAILQ_INSERT_HEAD(&c->pending, p, next);
	set_timer(c->timer, 0);
}

bool
queue_client_accepting(const struct queue_client *c, const char **text)
{
	*text = c->text;
	return c->accepting;
}

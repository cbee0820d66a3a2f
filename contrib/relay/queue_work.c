/* SPDX-License-Identifier: BSD-2-Clause */
/* Messages in delivery: loaded, cut into jobs by next hop, handed to a delivery
 * process, settled recipient by recipient.  When all its jobs have ended a message is
 * removed, its failures bounced or quarantined (durably, before their slots close), and
 * the rest deferred.  Any failure of the disk on this way leaves slots open: a
 * duplicate at worst. */
#include "contrib/relay/queue_work.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/metrics.h"
#include "common/base/xalloc.h"

METRIC_COUNTER(sent, "postern_relay_recipients_total", "fate=\"sent\"",
    "Recipients by their fate.");
METRIC_COUNTER(bounced, "postern_relay_recipients_total", "fate=\"bounced\"",
    "Recipients by their fate.");
METRIC_COUNTER(quarantined, "postern_relay_recipients_total", "fate=\"quarantined\"",
    "Recipients by their fate.");
METRIC_COUNTER(deferred, "postern_relay_deferrals_total", NULL,
    "Messages that wait for another try.");

/* An active message: queue_entry.data. */
struct queue_active {
	TAILQ_ENTRY(queue_active) next; /* of the server */
	struct queue_server *server;
	struct queue_work **works;
	size_t n_works;
	struct queue_entry *entry;
	struct queue_message m;
	size_t n_jobs; /* not yet ended */
	bool finished; /* its file is gone */
	struct bounce_rcpt *failed;
	size_t n_failed;
	char last[600]; /* why a recipient was put off, the latest */
};

/* One job: queue_job.data. */
struct queue_work {
	TAILQ_ENTRY(queue_work) next; /* of its peer */
	struct queue_job *job;
	struct queue_peer *peer; /* NULL: nobody has it */
	struct queue_active *message;
	struct route route;
	size_t at; /* in the message's works */
	uint16_t *rcpts;
	size_t n_rcpts;
};

/* The record of a bounce or of a quarantine copy on its way to the disk. */
struct failure {
	struct queue_task task;
	struct queue_active *message;
	struct bounce_source source;
	uint16_t *rcpts;
	struct queue_failure disk;
	bool finished;
	int rc;
	struct err err;
};

/* An fdatasync of slots that nobody waits for. */
struct slot_sync {
	struct queue_task task;
	struct queue_server *server;
	int fd;
};

static void message_ends(struct queue_active *a);

/* --- log -----------------------------------------------------------------------------
 */

static void
log_message(enum log_level level, const char *event, const struct queue_active *a,
    const char *why)
{
	struct logline l;

	logline_init(&l, level, event);
	logline_cstr(&l, "id", a->m.id);
	logline_cstr(&l, "from", a->m.record.envelope.sender);
	logline_int(&l, "tries", a->m.record.tries);
	logline_cstr(&l, "why", why);
	logline_send(&l);
}

static void
log_rcpt(const struct queue_active *a, uint16_t rcpt, const char *fate,
    const struct bounce_rcpt *answer)
{
	struct logline l;

	logline_init(&l, LOG_LEVEL_INFO, fate);
	logline_cstr(&l, "id", a->m.id);
	logline_cstr(&l, "from", a->m.record.envelope.sender);
	logline_cstr(&l, "to", a->m.record.envelope.rcpts[rcpt].address);
	logline_cstr(&l, "host", answer->remote);
	logline_int(&l, "code", answer->code);
	logline_cstr(&l, "status", answer->enhanced);
	logline_cstr(&l, "text", answer->text);
	logline_send(&l);
}

/* --- the end of a message ------------------------------------------------------------
 */

static void
work_free(struct queue_work *w)
{
	if (w->peer != NULL) {
		TAILQ_REMOVE(&w->peer->works, w, next);
		w->peer->room++;
	}
	w->message->works[w->at] = NULL;
	free(w->rcpts);
	free(w);
}

static void
message_free(struct queue_active *a)
{
	for (size_t i = 0; i < a->n_works; i++)
		if (a->works[i] != NULL)
			work_free(a->works[i]);
	TAILQ_REMOVE(&a->server->active, a, next);
	queue_message_clear(&a->server->disk, &a->m);
	free(a->works);
	free(a->failed);
	free(a);
}

static void
sync_run(struct queue_task *t)
{
	struct slot_sync *y = (struct slot_sync *)(void *)t;
	const struct qio *q = y->server->disk.q;

	/* Lost slots are duplicates, so its failure changes nothing here. */
	q->fdatasync(q->ctx, y->fd);
	q->close(q->ctx, y->fd);
}

static void
sync_done(struct queue_task *t)
{
	struct slot_sync *y = (struct slot_sync *)(void *)t;

	y->server->committing--;
	free(y);
}

/* Closed slots become durable some time soon, beside the loop. */
static void
sync_slots(struct queue_active *a)
{
	if (!a->m.dirty)
		return;
	struct slot_sync *y = xcalloc(1, sizeof(*y));

	*y = (struct slot_sync){ .task = { .run = sync_run, .done = sync_done },
		.server = a->server,
		.fd = a->m.fd };
	a->m.fd = -1;
	a->m.dirty = false;
	a->server->committing++;
	queue_pool_run(a->server->pool, &y->task);
}

static void
message_removed(struct queue_active *a)
{
	struct queue_server *s = a->server;

	queue_remove(s->queue, a->entry);
	message_free(a);
}

static void
message_defer(struct queue_active *a)
{
	struct queue_server *s = a->server;
	uint32_t tries = a->m.record.tries + 1;
	int64_t wait = queue_backoff(&s->limits, tries);
	struct err err;

	log_message(LOG_LEVEL_INFO, "deferred", a, a->last);
	metric_add(&deferred, 1);
	if (queue_disk_defer(&s->disk, &a->m, clock_wall() + wait, tries, &err) != 0)
		log_err("spool", &err);
	a->entry->dir = a->m.dir;
	sync_slots(a);
	queue_defer(s->queue, a->entry, clock_mono_ms() + wait * 1000);
	message_free(a);
}

static void
failure_run(struct queue_task *t)
{
	struct failure *f = (struct failure *)(void *)t;
	struct queue_active *a = f->message;

	f->rc = -1;
	f->disk.record =
	    bounce_record(&f->source, a->failed, a->n_failed, f->disk.id, &f->err);
	if (f->disk.record < 0)
		return;
	f->rc = queue_disk_fail(&a->server->disk, &f->disk, &f->finished, &f->err);
	close(f->disk.record);
}

static void
log_failures(const struct failure *f)
{
	const struct queue_active *a = f->message;
	bool bounce = f->source.way == BOUNCE_SEND;
	struct logline l;

	for (size_t i = 0; i < a->n_failed; i++)
		log_rcpt(a, a->failed[i].rcpt, bounce ? "bounced" : "quarantined",
		    &a->failed[i]);
	metric_add(bounce ? &bounced : &quarantined, a->n_failed);
	/* A notification of ours that nobody wants: a person must look. */
	logline_init(&l,
	    !bounce && a->m.record.envelope.sender[0] == '\0' ? LOG_LEVEL_ERR
							      : LOG_LEVEL_INFO,
	    bounce ? "bounce" : "quarantine");
	logline_cstr(&l, "id", a->m.id);
	logline_cstr(&l, "as", f->disk.id);
	logline_cstr(&l, "from", a->m.record.envelope.sender);
	logline_int(&l, "recipients", (int64_t)a->n_failed);
	logline_send(&l);
}

static void
failure_done(struct queue_task *t)
{
	struct failure *f = (struct failure *)(void *)t;
	struct queue_active *a = f->message;
	struct queue_server *s = a->server;

	s->committing--;
	if (f->disk.commit.durable || f->disk.commit.io_failed)
		queue_server_disk_result(s, f->disk.commit.io_failed);
	if (f->disk.commit.durable) {
		log_failures(f);
		if (f->disk.commit.dir == QUEUE_INCOMING)
			queue_work_add(s, f->disk.id);
		record_clear(&f->disk.commit.record);
	}
	if (f->rc != 0) {
		log_message(LOG_LEVEL_ERR, "spool", a, f->err.text);
		snprintf(a->last, sizeof(a->last), "%s", f->err.text);
	}
	a->n_failed = 0;
	if (f->finished)
		message_removed(a);
	else
		message_defer(a);
	free(f->rcpts);
	free(f);
	queue_server_run(s);
}

static void
start_failure(struct queue_active *a)
{
	struct queue_server *s = a->server;
	struct failure *f = xcalloc(1, sizeof(*f));

	f->task = (struct queue_task){ .run = failure_run, .done = failure_done };
	f->message = a;
	f->rcpts = xcalloc(a->n_failed, sizeof(*f->rcpts));
	for (size_t i = 0; i < a->n_failed; i++)
		f->rcpts[i] = a->failed[i].rcpt;
	f->source = (struct bounce_source){ .record = &a->m.record,
		.q = s->disk.q,
		.fd = a->m.fd,
		.host = s->conf->host,
		.now = clock_wall(),
		.way = bounce_way(&a->m.record.envelope,
		    s->conf->failed == RELAY_FAILED_QUARANTINE) };
	f->disk.message = &a->m;
	f->disk.rcpts = f->rcpts;
	f->disk.n = a->n_failed;
	s->committing++;
	queue_pool_run(s->pool, &f->task);
}

static bool
has_failed(const struct queue_active *a, uint16_t rcpt)
{
	for (size_t i = 0; i < a->n_failed; i++)
		if (a->failed[i].rcpt == rcpt)
			return true;
	return false;
}

static bool
is_open(const struct queue_active *a, uint16_t rcpt)
{
	return a->m.record.slots[rcpt] == SLOT_OPEN && !has_failed(a, rcpt);
}

static void
note_failed(struct queue_active *a, const struct bounce_rcpt *why)
{
	if (!is_open(a, why->rcpt))
		return;
	if (a->failed == NULL)
		a->failed = xcalloc(a->m.record.envelope.n_rcpts, sizeof(*a->failed));
	a->failed[a->n_failed++] = *why;
}

/* Nobody waits any longer for what is still open. */
static void
give_up(struct queue_active *a)
{
	struct bounce_rcpt why = { .enhanced = "5.4.7" };

	snprintf(why.text, sizeof(why.text), "given up after %lld hours; last: %.400s",
	    (long long)((clock_wall() - a->m.record.envelope.received) / 3600),
	    a->last[0] != '\0' ? a->last : "no try in this run");
	for (size_t i = 0; i < a->m.record.envelope.n_rcpts; i++) {
		why.rcpt = (uint16_t)i;
		note_failed(a, &why);
	}
}

/* All jobs of a message have ended. */
static void
message_ends(struct queue_active *a)
{
	const struct envelope *e = &a->m.record.envelope;

	if (a->finished) {
		message_removed(a);
		return;
	}
	if (queue_expired(
		&a->server->limits, e->received, clock_wall(), a->m.record.tries + 1))
		give_up(a);
	if (a->n_failed > 0)
		start_failure(a);
	else
		message_defer(a);
}

/* --- jobs ----------------------------------------------------------------------------
 */

static void
work_ends(struct queue_work *w, bool unreachable)
{
	struct queue_active *a = w->message;

	queue_job_done(a->server->queue, w->job, unreachable, clock_mono_ms());
	work_free(w);
	if (--a->n_jobs == 0)
		message_ends(a);
}

static bool
same_route(const struct route *x, const struct route *y)
{
	return x->kind == y->kind && x->port == y->port &&
	    strcmp(x->host, y->host) == 0;
}

/* The mailertable or the lack of any route says no. */
static void
refuse(struct queue_active *a, uint16_t rcpt, const struct route *r)
{
	struct bounce_rcpt why = { .rcpt = rcpt, .code = r->code };

	if (r->kind == ROUTE_NONE) {
		snprintf(why.enhanced, sizeof(why.enhanced), "5.1.2");
		snprintf(why.text, sizeof(why.text), "no route to the address");
	} else {
		snprintf(why.enhanced, sizeof(why.enhanced), "%s", r->enhanced);
		snprintf(why.text, sizeof(why.text), "%s", r->text);
	}
	if (r->kind == ROUTE_ERROR && r->code < 500)
		snprintf(a->last, sizeof(a->last), "%s", why.text);
	else
		note_failed(a, &why);
}

/* Put a recipient to those that go the same way. */
static void
add_to_work(struct queue_active *a, uint16_t rcpt, const struct route *r)
{
	size_t n_rcpts = a->m.record.envelope.n_rcpts, i = 0;
	struct queue_work *w;

	while (i < a->n_works && !same_route(&a->works[i]->route, r))
		i++;
	if (i == a->n_works) {
		w = xcalloc(1, sizeof(*w));
		*w = (struct queue_work){ .message = a,
			.route = *r,
			.at = i,
			.rcpts = xcalloc(n_rcpts, sizeof(uint16_t)) };
		a->works[a->n_works++] = w;
	}
	w = a->works[i];
	w->rcpts[w->n_rcpts++] = rcpt;
}

static void
make_works(struct queue_active *a)
{
	struct queue_server *s = a->server;
	const struct envelope *e = &a->m.record.envelope;
	struct map_table *t =
	    s->mailertable == NULL ? NULL : map_table_ref(s->mailertable);

	a->works = xcalloc(e->n_rcpts, sizeof(struct queue_work *));
	for (size_t i = 0; i < e->n_rcpts; i++) {
		struct route r;

		if (a->m.record.slots[i] != SLOT_OPEN)
			continue;
		route_find_address(
		    t, str_of(s->conf->smarthost), str_of(e->rcpts[i].address), &r);
		if (r.kind == ROUTE_ERROR || r.kind == ROUTE_NONE)
			refuse(a, (uint16_t)i, &r);
		else
			add_to_work(a, (uint16_t)i, &r);
	}
	map_table_unref(t);
}

static void
make_jobs(struct queue_active *a)
{
	make_works(a);
	a->n_jobs = a->n_works;
	for (size_t i = 0; i < a->n_works; i++) {
		struct queue_work *w = a->works[i];
		char key[300];

		snprintf(key, sizeof(key), "%c%s:%u",
		    w->route.kind == ROUTE_MX ? 'm' : 'h', w->route.host,
		    w->route.port);
		w->job = queue_job_add(a->server->queue, a->entry, str_of(key), w);
	}
	if (a->n_jobs == 0)
		message_ends(a);
}

static void
activate(struct queue_server *s, struct queue_entry *e)
{
	struct queue_active *a = xcalloc(1, sizeof(*a));
	struct err err;

	a->server = s;
	a->entry = e;
	TAILQ_INSERT_TAIL(&s->active, a, next);
	switch (queue_disk_activate(&s->disk, e->id, e->dir, &a->m, &err)) {
	case QUEUE_LOADED:
		e->dir = a->m.dir;
		make_jobs(a);
		return;
	case QUEUE_GONE:
		log_err("spool", &err);
		queue_remove(s->queue, e);
		break;
	case QUEUE_UNREADABLE:
		log_err("spool", &err);
		queue_defer(s->queue, e, clock_mono_ms() + s->limits.retry_min * 1000);
		break;
	}
	TAILQ_REMOVE(&s->active, a, next);
	free(a);
}

/* Hand a job to a delivery process.  false: there was nothing left to do or to read. */
static bool
dispatch(struct queue_server *s, struct queue_peer *peer, struct queue_work *w)
{
	struct queue_active *a = w->message;
	struct queue_packet p = { .verb = QUEUE_WORK,
		.seq = w->job->number,
		.flag = (uint8_t)w->route.kind,
		.number = w->route.port,
		.a = str_of(a->m.id),
		.b = str_of(w->route.host),
		.list = w->rcpts };
	struct err err;
	int fd;

	/* A delivery process that died may have settled some of them. */
	size_t n = 0;
	for (size_t i = 0; i < w->n_rcpts; i++)
		if (is_open(a, w->rcpts[i]))
			w->rcpts[n++] = w->rcpts[i];
	w->n_rcpts = p.n_list = n;
	if (n == 0)
		return false;
	fd = queue_disk_reader(&s->disk, &a->m, &err);
	if (fd < 0) {
		log_err("spool", &err);
		snprintf(a->last, sizeof(a->last), "%s", err.text);
		return false;
	}
	w->peer = peer;
	TAILQ_INSERT_TAIL(&peer->works, w, next);
	peer->room--;
	queue_link_send(peer->link, &p, fd);
	return true;
}

void
queue_work_run(struct queue_server *s)
{
	struct queue_entry *e;
	struct queue_peer *peer;
	struct queue_job *j;
	int64_t now = clock_mono_ms();
	bool dead;

	if (s->stop_by_ms != 0)
		return;
	while ((e = queue_pick(s->queue, now)) != NULL)
		activate(s, e);
	while ((peer = queue_server_delivery(s)) != NULL &&
	    (j = queue_job_next(s->queue, now, &dead)) != NULL) {
		struct queue_work *w = j->data;

		if (dead) {
			snprintf(w->message->last, sizeof(w->message->last),
			    "%s could not be reached a moment ago", w->route.host);
			work_ends(w, true);
		} else if (!dispatch(s, peer, w)) {
			work_ends(w, false);
		}
	}
}

int64_t
queue_work_due(struct queue_server *s)
{
	if (s->stop_by_ms != 0)
		return -1;
	return queue_next_due(s->queue, clock_mono_ms());
}

void
queue_work_add(struct queue_server *s, const char *id)
{
	queue_add(s->queue, id, QUEUE_INCOMING, true, 0);
}

/* --- what delivery says --------------------------------------------------------------
 */

static struct queue_work *
find_work(struct queue_server *s, const struct queue_peer *peer, uint32_t number)
{
	struct queue_job *j = queue_job_find(s->queue, number);
	struct queue_work *w = j == NULL ? NULL : j->data;

	return w != NULL && w->peer == peer ? w : NULL;
}

static bool
work_has(const struct queue_work *w, uint16_t rcpt)
{
	for (size_t i = 0; i < w->n_rcpts; i++)
		if (w->rcpts[i] == rcpt)
			return true;
	return false;
}

static void
copy_text(char *out, size_t size, struct str s)
{
	snprintf(out, size, "%.*s", STR_ARG(str_sub(s, 0, size - 1)));
}

static void
settle_sent(
    struct queue_active *a, const struct queue_packet *p, struct bounce_rcpt *answer)
{
	uint16_t rcpts[QUEUE_LIST_MAX];
	size_t n = 0;
	struct err err;

	for (size_t i = 0; i < p->n_list; i++)
		if (is_open(a, p->list[i])) {
			rcpts[n++] = p->list[i];
			log_rcpt(a, p->list[i], "sent", answer);
		}
	metric_add(&sent, n);
	if (n > 0 && !a->finished &&
	    queue_disk_settle(&a->server->disk, &a->m, rcpts, n, SLOT_DELIVERED,
		&a->finished, &err) != 0)
		log_message(LOG_LEVEL_ERR, "spool", a, err.text);
}

int
queue_work_outcome(
    struct queue_server *s, struct queue_peer *peer, const struct queue_packet *p)
{
	struct queue_work *w = find_work(s, peer, p->seq);
	struct bounce_rcpt answer = { .code = p->number };

	if (w == NULL)
		return -1;
	for (size_t i = 0; i < p->n_list; i++)
		if (!work_has(w, p->list[i]))
			return -1;
	copy_text(answer.enhanced, sizeof(answer.enhanced), p->a);
	copy_text(answer.text, sizeof(answer.text), p->b);
	copy_text(answer.remote, sizeof(answer.remote), p->c);
	if (p->flag == QUEUE_FATE_SENT) {
		settle_sent(w->message, p, &answer);
		return 0;
	}
	for (size_t i = 0; i < p->n_list; i++) {
		answer.rcpt = p->list[i];
		log_rcpt(w->message, p->list[i],
		    p->flag == QUEUE_FATE_FAILED ? "refused" : "put-off", &answer);
		if (p->flag == QUEUE_FATE_FAILED)
			note_failed(w->message, &answer);
	}
	if (p->flag != QUEUE_FATE_FAILED)
		snprintf(
		    w->message->last, sizeof(w->message->last), "%.500s", answer.text);
	return 0;
}

int
queue_work_done(
    struct queue_server *s, struct queue_peer *peer, const struct queue_packet *p)
{
	struct queue_work *w = find_work(s, peer, p->seq);

	if (w == NULL)
		return -1;
	work_ends(w, p->flag != 0);
	return 0;
}

void
queue_work_lost(struct queue_server *s, struct queue_peer *peer)
{
	struct queue_work *w;
	size_t risk = 0;

	while ((w = TAILQ_FIRST(&peer->works)) != NULL) {
		TAILQ_REMOVE(&peer->works, w, next);
		w->peer = NULL;
		for (size_t i = 0; i < w->n_rcpts; i++)
			risk += is_open(w->message, w->rcpts[i]);
		queue_job_again(s->queue, w->job);
	}
	if (risk > 0)
		log_msg(
		    LOG_LEVEL_WARN, "delivery-lost", "dup_risk=%zu recipients", risk);
}

void
queue_work_clear(struct queue_server *s)
{
	struct queue_active *a;

	while ((a = TAILQ_FIRST(&s->active)) != NULL)
		message_free(a);
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* Handing a message over: which way, and what the answers of next tier and queue mean
 * for the client.  The table in handoff.h is the specification. */
#include "contrib/relay/handoff.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/xalloc.h"
#include "contrib/relay/nexthop.h"
#include "contrib/relay/record.h"
#include "contrib/relay/smtp_client.h"

#define CONNECT_MS 10000 /* a tier that takes longer is as good as down */
#define COMMAND_MS 60000
#define SILENT_MS 5000 /* of waiting in vain for an address, or for a greeting */
#define AVOID_MS 30000

struct handoff {
	struct handoff_env *env;
	struct handoff_message m;
	void (*done)(
	    void *arg, const struct handoff_answer *answer); /* NULL: abandoned */
	void *arg;
	struct event *timer; /* limit of the whole; also the way back into the loop */
	struct nexthop *nexthop;
	struct smtp_client *client;
	bool submitted; /* the queue's answer is due */
	struct smtp_target targets[NEXTHOP_TARGETS_MAX];
	size_t n_targets, target;
	int64_t tried_ms; /* when the first address was tried */
	struct handoff_answer answer;
	bool settled; /* answer is final, the timer will give it */
};

static void try_target(struct handoff *h);

void
handoff_message_clear(struct handoff_message *m)
{
	envelope_clear(&m->envelope);
	buf_clear(&m->header);
	if (m->body_fd >= 0)
		close(m->body_fd);
	m->body_fd = -1;
}

static void
handoff_free(struct handoff *h)
{
	if (h->client != NULL)
		smtp_client_cancel(h->client);
	if (h->nexthop != NULL)
		nexthop_cancel(h->nexthop);
	if (h->timer != NULL)
		event_free(h->timer);
	handoff_message_clear(&h->m);
	free(h);
}

static void
give_answer(struct handoff *h)
{
	void (*done)(void *, const struct handoff_answer *) = h->done;
	struct handoff_answer answer = h->answer;
	void *arg = h->arg;

	handoff_free(h);
	if (done != NULL)
		done(arg, &answer);
}

static void
set_answer(struct handoff *h, int code, const char *enhanced, const char *how,
    const char *text)
{
	h->answer.code = code;
	h->answer.how = how;
	(void)snprintf(h->answer.enhanced, sizeof(h->answer.enhanced), "%s", enhanced);
	(void)snprintf(h->answer.text, sizeof(h->answer.text), "%s", text);
}

static void
answer_at(struct handoff *h, int64_t ms)
{
	struct timeval tv;

	if (ms < 0)
		ms = 0;
	tv = (struct timeval){ ms / 1000, ms % 1000 * 1000 };
	(void)event_add(h->timer, &tv);
}

/* Answer from the loop: handoff_start must not call back. */
static void
answer_soon(struct handoff *h)
{
	h->settled = true;
	answer_at(h, 0);
}

/* --- our own queue --- */

static void
on_durable(void *arg, bool durable, const char *text)
{
	struct handoff *h = arg;
	char queued[80];

	h->submitted = false;
	(void)snprintf(queued, sizeof(queued), "ok: queued as %s", h->m.envelope.id);
	if (durable)
		set_answer(h, 250, "2.0.0", "queued", queued);
	else
		set_answer(h, 451, "4.3.0", "not-queued", text);
	give_answer(h);
}

/* Commit the message for the recipients of e.  Returns false when it could not even be
 * tried; the answer is then set. */
static bool
commit(struct handoff *h, const struct envelope *e)
{
	struct err err;
	int fd = memfd_create("postern-record", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	(void)event_del(h->timer); /* the queue has its own limit */
	if (fd < 0 ||
	    record_write(fd, e, buf_str(&h->m.header), h->m.body_fd, h->m.body_offset,
		h->m.body_len, &err) < 0) {
		if (fd >= 0)
			close(fd);
		set_answer(h, 451, "4.3.0", "not-queued",
		    "no room for the message, try later");
		return false;
	}
	h->submitted = true;
	queue_client_submit(h->env->queue, e->id, fd, on_durable, h);
	return true;
}

static void
commit_all(struct handoff *h)
{
	h->m.envelope.no_bounce = h->env->conf->handoff == HANDOFF_SESSION;
	if (!commit(h, &h->m.envelope))
		answer_soon(h);
}

/* The next tier has the message, but not for these. */
static void
commit_refused(struct handoff *h, const struct smtp_result *result)
{
	struct envelope rest;
	bool tried;

	envelope_init(&rest);
	envelope_copy(&rest, &h->m.envelope);
	for (size_t i = 0; i < h->m.envelope.n_rcpts; i++)
		if (result->rcpts[i].code >= 200 && result->rcpts[i].code < 300)
			(void)envelope_delete_rcpt(
			    &rest, h->m.envelope.rcpts[i].address);
	rest.no_bounce = true;
	tried = commit(h, &rest);
	envelope_clear(&rest);
	if (!tried)
		answer_soon(h);
}

/* --- the next tier --- */

/* Nothing was said about this message: 421 at any moment, and a refusal before MAIL,
 * which speaks of us, not of the mail - but for what the client of ours finds out
 * itself from the next tier's EHLO: size and 8-bit octets. */
static bool
tier_is_down(const struct smtp_result *result)
{
	const struct smtp_outcome *o = &result->whole;
	bool ours = o->code == 552 || str_starts(str_of(o->enhanced), STR("5.6."));

	return o->code == 421 || o->code == 0 || (result->early && !ours);
}

static void
pass_refusal(struct handoff *h, const struct smtp_result *result)
{
	const struct smtp_outcome *o = &result->whole;

	set_answer(h, o->code, o->enhanced, "refused", o->text);
	give_answer(h);
}

static void
on_sent(struct handoff *h, const struct smtp_result *result)
{
	char text[80];
	size_t taken = 0;

	for (size_t i = 0; i < h->m.envelope.n_rcpts; i++)
		taken += result->rcpts[i].code >= 200 && result->rcpts[i].code < 300;
	if (taken < h->m.envelope.n_rcpts) {
		commit_refused(h, result);
		return;
	}
	(void)snprintf(text, sizeof(text), "ok: handed on as %s", h->m.envelope.id);
	set_answer(h, 250, "2.0.0", "passed", text);
	give_answer(h);
}

/* A part of handoff-timeout, but at most max. */
static int64_t
part_of_timeout(const struct handoff *h, int64_t part, int64_t max)
{
	int64_t ms = h->env->conf->handoff_timeout * 1000 / part;

	return ms < max ? ms : max;
}

static void
note_silence(struct handoff *h, const struct smtp_result *result)
{
	int64_t now = clock_mono_ms();

	if (!result->early || now - h->tried_ms < part_of_timeout(h, 4, SILENT_MS))
		return;
	(void)snprintf(h->env->silent, sizeof(h->env->silent), "%s", h->answer.nexthop);
	h->env->silent_until_ms = now + AVOID_MS;
}

static bool
is_silent(const struct handoff *h)
{
	return strcmp(h->env->silent, h->answer.nexthop) == 0 &&
	    clock_mono_ms() < h->env->silent_until_ms;
}

static void
on_result(void *arg, const struct smtp_result *result)
{
	struct handoff *h = arg;

	h->client = NULL;
	switch (result->end) {
	case SMTP_SENT:
		on_sent(h, result);
		break;
	case SMTP_REFUSED:
		if (!tier_is_down(result))
			pass_refusal(h, result);
		else if (++h->target < h->n_targets)
			try_target(h);
		else
			commit_all(h);
		break;
	case SMTP_BROKEN:
		if (++h->target < h->n_targets) {
			try_target(h);
			break;
		}
		note_silence(h, result);
		commit_all(h);
		break;
	case SMTP_UNSURE:
		commit_all(h);
		break;
	}
}

static void
try_target(struct handoff *h)
{
	struct smtp_job job = {
		.target = h->targets[h->target],
		.helo = h->env->conf->host,
		.envelope = &h->m.envelope,
		.n_rcpts = h->m.envelope.n_rcpts,
		.header = buf_str(&h->m.header),
		.message_fd = h->m.body_fd,
		.message_offset = h->m.body_offset,
		.message_len = h->m.body_len,
		.xforward = true,
		.connect_ms = part_of_timeout(h, 2, CONNECT_MS),
		.command_ms = part_of_timeout(h, 2, COMMAND_MS),
		.data_ms = h->env->conf->handoff_timeout * 1000,
	};

	h->client = smtp_client_start(h->env->base, &job, on_result, h);
}

static void
on_nexthop(void *arg, const struct nexthop_result *result)
{
	struct handoff *h = arg;

	h->nexthop = NULL;
	if (result->end != NEXTHOP_FOUND || result->n_targets == 0) {
		commit_all(h); /* the queue's business: later, or quarantine */
		return;
	}
	h->n_targets = result->n_targets;
	for (size_t i = 0; i < h->n_targets; i++)
		h->targets[i] = result->targets[i];
	h->tried_ms = clock_mono_ms();
	try_target(h);
}

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct handoff *h = arg;

	(void)fd;
	(void)what;
	if (h->settled) {
		give_answer(h);
		return;
	}
	/* The next tier is too slow; without even a greeting it is silent. */
	if (h->client != NULL)
		smtp_client_cancel(h->client);
	if (h->nexthop != NULL)
		nexthop_cancel(h->nexthop);
	h->client = NULL;
	h->nexthop = NULL;
	commit_all(h);
}

/* --- */

/* The one route of all recipients. */
static bool
common_route(const struct handoff_env *env, const struct envelope *e, struct route *out)
{
	struct map_table *table =
	    env->mailertable == NULL ? NULL : map_table_ref(env->mailertable);
	bool same = e->n_rcpts > 0;

	for (size_t i = 0; same && i < e->n_rcpts; i++) {
		struct str address = str_of(e->rcpts[i].address);
		ptrdiff_t at = str_rindex(address, '@');
		struct route r;

		route_find(table, str_of(env->conf->smarthost),
		    at < 0 ? STR("") : str_sub(address, (size_t)at + 1, address.len),
		    &r);
		if (i == 0)
			*out = r;
		same = (r.kind == ROUTE_HOST || r.kind == ROUTE_MX) &&
		    r.kind == out->kind && r.port == out->port &&
		    str_is_nocase(str_of(r.host), out->host);
	}
	if (table != NULL)
		map_table_unref(table);
	return same;
}

struct handoff *
handoff_start(struct handoff_env *env, struct handoff_message *m,
    void (*done)(void *arg, const struct handoff_answer *answer), void *arg)
{
	struct handoff *h = xcalloc(1, sizeof(*h));
	struct route route;

	h->env = env;
	h->m = *m;
	*m = (struct handoff_message){ .body_fd = -1 };
	envelope_init(&m->envelope);
	buf_init(&m->header, h->m.header.max);
	h->done = done;
	h->arg = arg;
	h->timer = evtimer_new(env->base, on_timer, h);
	if (env->conf->handoff == HANDOFF_QUEUE || h->m.envelope.hold[0] != '\0' ||
	    !common_route(env, &h->m.envelope, &route)) {
		commit_all(h);
		return h;
	}
	(void)snprintf(h->answer.nexthop, sizeof(h->answer.nexthop), "%s:%u",
	    route.host, (unsigned)route.port);
	if (is_silent(h)) {
		commit_all(h);
		return h;
	}
	answer_at(h, env->conf->handoff_timeout * 1000);
	h->nexthop = nexthop_start(
	    env->base, env->resolver, &route, env->conf->host, on_nexthop, h);
	return h;
}

void
handoff_abandon(struct handoff *h)
{
	if (h->submitted)
		h->done = NULL; /* freed when the queue has answered */
	else
		handoff_free(h);
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* The state machine of one filter.  At most one reply is awaited at a time; what comes
 * unasked, too late, too often or broken fails the filter, and its edits go with it. */
#include "contrib/relay/milter_filter.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/metrics.h"
#include "common/base/xalloc.h"
#include "contrib/relay/milter_breaker.h"
#include "contrib/relay/milter_edit.h"
#include "contrib/relay/milter_feed.h"
#include "contrib/relay/milter_link.h"

/* A client waits 5 minutes for the answer to MAIL and RCPT (RFC 5321 4.5.3.2.2);
 * progress packets stretch a step up to here. */
#define COMMAND_TOTAL_MAX_MS 240000

METRIC_COUNTER(failures, "postern_relay_milter_failures_total", NULL,
    "Filters that could not be opened, broke the protocol or were too slow");

struct milter_filter {
	const struct milter_filter_conf *conf;
	const struct milter_macros *macros;
	void (*done)(void *arg, struct milter_filter *f);
	void *arg;
	struct milter_link *link;
	enum filter_state state;
	uint32_t version, protocol;
	char *lists[MILTER_STAGES]; /* the filter's own macro names; NULL: default */
	char awaiting; /* command whose reply is due, 0 none */
	bool busy; /* a step is under way */
	bool starting; /* and the function that began it has not returned */
	struct filter_outcome outcome;
	int64_t deadline_ms; /* of the step, progress or not */
	int64_t second_ms; /* when the second began in which progress is counted */
	int n_progress;
	/* the message under way */
	struct chain_message *m;
	ptrdiff_t *own;
	struct milter_feed feed;
	struct milter_edit *edit;
	char *hold;
};

static const struct {
	const char *name;
	unsigned next; /* bits of the states that may follow */
} states[] = {
#define S(state) (1u << FILTER_##state)
	[FILTER_IDLE] = { "idle", S(CONNECTING) | S(DONE_CONN) | S(FAILED) },
	[FILTER_CONNECTING] = { "connecting",
	    S(NEGOTIATING) | S(DONE_CONN) | S(FAILED) },
	[FILTER_NEGOTIATING] = { "negotiating", S(READY) | S(DONE_CONN) | S(FAILED) },
	[FILTER_READY] = { "ready", S(ENVELOPE) | S(DONE_CONN) | S(FAILED) },
	[FILTER_ENVELOPE] = { "envelope",
	    S(READY) | S(MESSAGE) | S(DONE_MSG) | S(DONE_CONN) | S(FAILED) },
	[FILTER_MESSAGE] = { "message",
	    S(READY) | S(EOM) | S(DONE_MSG) | S(DONE_CONN) | S(FAILED) },
	[FILTER_EOM] = { "eom", S(READY) | S(DONE_MSG) | S(DONE_CONN) | S(FAILED) },
	[FILTER_DONE_MSG] = { "done-msg", S(READY) | S(DONE_CONN) | S(FAILED) },
	[FILTER_DONE_CONN] = { "done-conn", S(DONE_CONN) },
	[FILTER_FAILED] = { "failed", S(CONNECTING) | S(DONE_CONN) | S(FAILED) },
#undef S
};
static_assert(
    sizeof(states) / sizeof(states[0]) == FILTER_STATES, "a row for every state");

const char *
filter_state_name(enum filter_state state)
{
	return states[state].name;
}

bool
filter_state_follows(enum filter_state from, enum filter_state to)
{
	return (states[from].next & 1u << to) != 0;
}

static void
filter_enter(struct milter_filter *f, enum filter_state state)
{
	assert(filter_state_follows(f->state, state));
	log_msg(LOG_LEVEL_DEBUG, "milter-state", "%s: %s -> %s", f->conf->name,
	    states[f->state].name, states[state].name);
	f->state = state;
}

static void
settle(struct milter_filter *f, enum filter_says says)
{
	f->outcome.says = says;
	f->awaiting = '\0';
	milter_link_timer(f->link, 0);
	if (!f->busy)
		return;
	f->busy = false;
	if (!f->starting)
		f->done(f->arg, f);
}

static void
begin(struct milter_filter *f, int64_t deadline_ms)
{
	f->outcome = (struct filter_outcome){ 0 };
	f->busy = f->starting = true;
	f->deadline_ms = deadline_ms;
	f->n_progress = 0;
}

/* Leave the function that began a step: is its outcome there? */
static bool
begun(struct milter_filter *f)
{
	f->starting = false;
	return !f->busy;
}

static void
drop_message(struct milter_filter *f)
{
	milter_edit_free(f->edit);
	f->edit = NULL;
	f->m = NULL;
}

static void
filter_fail(struct milter_filter *f, const char *why)
{
	struct logline l;

	logline_init(&l, LOG_LEVEL_WARN, "milter-failed");
	logline_cstr(&l, "filter", f->conf->name);
	logline_cstr(&l, "state", states[f->state].name);
	logline_cstr(&l, "why", why);
	logline_send(&l);
	metric_add(&failures, 1);
	if (f->state == FILTER_CONNECTING || f->state == FILTER_NEGOTIATING)
		milter_breaker_report(f->conf->address, false);
	milter_link_close(f->link);
	drop_message(f);
	filter_enter(f, FILTER_FAILED);
	settle(f, FILTER_BROKE);
}

/* Arm the timer for the reply that is due: this long, but not beyond the deadline. */
static void
wait_for(struct milter_filter *f, int64_t ms)
{
	int64_t left = f->deadline_ms - clock_mono_ms();

	if (left < ms)
		ms = left;
	milter_link_timer(f->link, ms > 0 ? ms : 1);
}

static bool
in_message(const struct milter_filter *f)
{
	return f->state == FILTER_MESSAGE || f->state == FILTER_EOM;
}

static void
wait_reply(struct milter_filter *f)
{
	wait_for(f, in_message(f) ? f->conf->content_ms : f->conf->command_ms);
}

/* Send what was appended; the step goes on or has failed. */
static bool
sent(struct milter_filter *f)
{
	if (milter_link_out(f->link)->failed) {
		filter_fail(f, "it does not read what it is sent");
		return false;
	}
	milter_link_flush(f->link);
	return true;
}

static void
write_macros(struct milter_filter *f, char cmd, enum milter_stage stage)
{
	milter_macros_write_stage(
	    f->macros, milter_link_out(f->link), cmd, stage, f->lists[stage]);
}

/* --- negotiation --- */

static void
on_open(void *arg)
{
	struct milter_filter *f = arg;
	const struct milter_optneg offer = { .version = MILTER_VERSION,
		.actions = MILTER_F_ALL,
		.protocol = MILTER_P_ALL };

	filter_enter(f, FILTER_NEGOTIATING);
	milter_optneg_write(milter_link_out(f->link), &offer);
	f->awaiting = MILTER_OPTNEG;
	wait_reply(f);
	(void)sent(f);
}

/* -1: an answer that both MTAs, or the careful one of them, refuse. */
static int
check_answer(
    const struct milter_packet *packet, struct milter_optneg *o, struct err *err)
{
	if (packet->cmd != MILTER_OPTNEG)
		return err_set(
		    err, "reply 0x%02x to the negotiation", (unsigned char)packet->cmd);
	if (milter_optneg_read(packet->payload, o, err) != 0)
		return -1;
	if (o->version < 2)
		return err_set(err, "version %u, expected 2 to 6", o->version);
	if ((o->actions & ~MILTER_F_ALL) != 0)
		return err_set(err, "unknown actions 0x%x", o->actions & ~MILTER_F_ALL);
	return 0;
}

static void
negotiated(struct milter_filter *f, const struct milter_packet *packet)
{
	struct milter_optneg o;
	struct err err;

	if (check_answer(packet, &o, &err) != 0) {
		filter_fail(f, err.text);
		return;
	}
	if (o.version > MILTER_VERSION || (o.protocol & ~MILTER_P_ALL) != 0)
		log_msg(LOG_LEVEL_WARN, "milter-negotiation",
		    "%s: version %u, protocol 0x%x: what we do not know is ignored",
		    f->conf->name, o.version, o.protocol);
	f->version = o.version;
	f->protocol = o.protocol & MILTER_P_ALL;
	for (int s = 0; s < MILTER_STAGES; s++) {
		free(f->lists[s]);
		f->lists[s] = o.has_list[s] ? str_dup(o.macros[s]) : NULL;
	}
	milter_breaker_report(f->conf->address, true);
	filter_enter(f, FILTER_READY);
	settle(f, FILTER_CONTINUE);
}

bool
milter_filter_open(struct milter_filter *f)
{
	struct err err;
	int64_t now = clock_mono_ms();

	assert(f->state == FILTER_IDLE || f->state == FILTER_FAILED);
	begin(f, now + f->conf->connect_ms + f->conf->command_ms);
	if (!milter_breaker_may_try(f->conf->address, now)) {
		filter_fail(f, "not tried: it could not be opened several times");
		return begun(f);
	}
	filter_enter(f, FILTER_CONNECTING);
	if (milter_link_open(f->link, f->conf->address, &err) != 0)
		filter_fail(f, err.text);
	else
		wait_for(f, f->conf->connect_ms);
	return begun(f);
}

/* --- outcomes --- */

/* The state after a final reply to an envelope step. */
static void
after_command(struct milter_filter *f, char cmd, enum filter_says says)
{
	bool greeting = cmd == MILTER_CONNECT || cmd == MILTER_HELO;

	if (says == FILTER_CLOSE ||
	    (greeting && (says == FILTER_ACCEPT || says == FILTER_REFUSE)))
		filter_enter(f, FILTER_DONE_CONN);
	else if (says == FILTER_ACCEPT && f->state == FILTER_ENVELOPE)
		filter_enter(f, FILTER_DONE_MSG);
	else if (says == FILTER_REFUSE && cmd == MILTER_MAIL)
		filter_enter(f, FILTER_READY);
	settle(f, says);
}

/* The filter is content: its edits become the message's. */
static void
finish_message(struct milter_filter *f, enum filter_says says)
{
	struct err err;
	const char *hold = milter_edit_hold(f->edit);

	if (milter_edit_finish(f->edit, f->m, f->own, &err) != 0) {
		filter_fail(f, err.text);
		return;
	}
	f->hold = hold == NULL ? NULL : xstrdup(hold);
	drop_message(f);
	filter_enter(f, FILTER_READY);
	settle(f, says);
}

static void pump(struct milter_filter *f);

/* A final reply to L, N, B or E. */
static void
after_message(struct milter_filter *f, char cmd, enum filter_says says)
{
	if (says == FILTER_CONTINUE && cmd != MILTER_EOM) {
		f->awaiting = '\0';
		pump(f);
	} else if (cmd == MILTER_EOM &&
	    (says == FILTER_CONTINUE || says == FILTER_ACCEPT)) {
		finish_message(f, says);
	} else {
		drop_message(f);
		filter_enter(
		    f, says == FILTER_CLOSE ? FILTER_DONE_CONN : FILTER_DONE_MSG);
		settle(f, says);
	}
}

/* Text of y; false when the filter has failed by it. */
static bool
take_text(struct milter_filter *f, struct str payload, enum filter_says *says)
{
	struct filter_outcome *o = &f->outcome;
	struct buf text;
	struct err err;

	buf_init(&text, sizeof(o->text) - 1);
	int rc = milter_replycode_read(payload, &o->code, o->enhanced, &text, &err);

	snprintf(o->text, sizeof(o->text), "%s", buf_cstr(&text));
	buf_clear(&text);
	if (rc != 0) {
		filter_fail(f, err.text);
		return false;
	}
	*says = o->code == 421 ? FILTER_CLOSE : FILTER_REFUSE;
	return true;
}

/* What a final reply says; false when the filter has failed by it. */
static bool
final_reply(
    struct milter_filter *f, const struct milter_packet *packet, enum filter_says *says)
{
	char why[60];

	*says = FILTER_CONTINUE;
	switch (packet->cmd) {
	case MILTER_R_CONTINUE:
		return true;
	case MILTER_R_SKIP:
		if (f->awaiting == MILTER_HEADER || f->awaiting == MILTER_BODY)
			milter_feed_skip(&f->feed, f->awaiting);
		return true;
	case MILTER_R_ACCEPT:
		*says = FILTER_ACCEPT;
		return true;
	case MILTER_R_DISCARD:
		if (f->awaiting != MILTER_CONNECT && f->awaiting != MILTER_HELO)
			*says = FILTER_DISCARD;
		else
			log_msg(LOG_LEVEL_WARN, "milter-reply",
			    "%s: discard where there is no message is ignored",
			    f->conf->name);
		return true;
	case MILTER_R_REJECT:
	case MILTER_R_TEMPFAIL:
		*says = FILTER_REFUSE;
		f->outcome.temporary = packet->cmd == MILTER_R_TEMPFAIL;
		return true;
	case MILTER_R_SHUTDOWN:
		*says = FILTER_CLOSE;
		return true;
	case MILTER_R_REPLYCODE:
		return take_text(f, packet->payload, says);
	case MILTER_R_CONNFAIL:
		filter_fail(f, "it reports a failed connection");
		return false;
	default:
		snprintf(why, sizeof(why), "unexpected reply 0x%02x",
		    (unsigned char)packet->cmd);
		filter_fail(f, why);
		return false;
	}
}

/* Progress restarts the timer of the reply that is due. */
static void
progress(struct milter_filter *f)
{
	int64_t now = clock_mono_ms();

	if (now - f->second_ms >= 1000) {
		f->second_ms = now;
		f->n_progress = 0;
	}
	if (++f->n_progress > FILTER_PROGRESS_MAX)
		filter_fail(f, "too many progress packets");
	else if (f->awaiting != '\0')
		wait_reply(f);
}

static void
on_packet(void *arg, const struct milter_packet *packet)
{
	struct milter_filter *f = arg;
	enum filter_says says;
	struct err err;

	if (f->state == FILTER_DONE_CONN)
		return;
	if (f->awaiting == MILTER_OPTNEG) {
		negotiated(f, packet);
		return;
	}
	if (packet->cmd == MILTER_R_PROGRESS) {
		progress(f);
		return;
	}
	if (f->awaiting == '\0') {
		filter_fail(f, "a reply that nobody asked for");
		return;
	}
	if (milter_edit_is(packet->cmd) && f->awaiting == MILTER_EOM) {
		if (milter_edit_take(f->edit, packet, &err) != 0)
			filter_fail(f, err.text);
		else
			wait_reply(f);
		return;
	}
	if (!final_reply(f, packet, &says))
		return;
	if (packet->cmd != MILTER_R_REPLYCODE && packet->payload.len > 0)
		log_msg(LOG_LEVEL_INFO, "milter-reply",
		    "%s: octets behind reply '%c' are ignored", f->conf->name,
		    packet->cmd);
	if (in_message(f))
		after_message(f, f->awaiting, says);
	else
		after_command(f, f->awaiting, says);
}

static void
on_timeout(void *arg)
{
	struct milter_filter *f = arg;
	char why[80];

	if (f->state == FILTER_CONNECTING)
		snprintf(why, sizeof(why), "no connection in time");
	else if (f->awaiting != '\0')
		snprintf(why, sizeof(why), "no reply to '%c' in time", f->awaiting);
	else
		snprintf(why, sizeof(why), "it does not read what it is sent");
	filter_fail(f, why);
}

static void
on_broken(void *arg, const char *why)
{
	struct milter_filter *f = arg;

	if (f->state != FILTER_DONE_CONN) /* it may leave when it is done */
		filter_fail(f, why);
}

/* --- steps --- */

bool
milter_filter_command(struct milter_filter *f, char cmd, struct str packet)
{
	static const struct {
		char cmd;
		enum milter_stage stage;
		uint32_t version; /* since which it exists */
	} steps[] = {
		{ MILTER_CONNECT, MILTER_STAGE_CONNECT, 2 },
		{ MILTER_HELO, MILTER_STAGE_HELO, 2 },
		{ MILTER_MAIL, MILTER_STAGE_MAIL, 2 },
		{ MILTER_RCPT, MILTER_STAGE_RCPT, 2 },
		{ MILTER_DATA, MILTER_STAGE_DATA, 4 },
		{ MILTER_UNKNOWN, MILTER_STAGES, 3 }, /* has no macros */
	};
	size_t i = 0;

	while (i + 1 < sizeof(steps) / sizeof(steps[0]) && steps[i].cmd != cmd)
		i++;
	assert(steps[i].cmd == cmd);
	assert(!f->busy && (f->state == FILTER_READY || f->state == FILTER_ENVELOPE));
	begin(f, clock_mono_ms() + COMMAND_TOTAL_MAX_MS);
	if (cmd == MILTER_MAIL)
		filter_enter(f, FILTER_ENVELOPE);
	if (f->version < steps[i].version) {
		settle(f, FILTER_CONTINUE);
		return begun(f);
	}
	if (steps[i].stage != MILTER_STAGES)
		write_macros(f, cmd, steps[i].stage);
	bool show = milter_step_sent(f->protocol, cmd);

	if (show)
		buf_add_str(milter_link_out(f->link), packet);
	if (!sent(f))
		return begun(f);
	if (show && milter_step_answered(f->protocol, cmd)) {
		f->awaiting = cmd;
		wait_reply(f);
	} else
		settle(f, FILTER_CONTINUE);
	return begun(f);
}

/* Write the next packet of the message; false when there will be no other. */
static bool
pump_one(struct milter_filter *f)
{
	char cmd = f->feed.next;
	struct err err;

	if (cmd == MILTER_EOH)
		write_macros(f, cmd, MILTER_STAGE_EOH);
	if (cmd == MILTER_EOM) {
		write_macros(f, cmd, MILTER_STAGE_EOM);
		filter_enter(f, FILTER_EOM);
	}
	if (milter_feed_write(&f->feed, milter_link_out(f->link), &err) != 0) {
		log_err("milter-message", &err);
		/* Half a packet may stand in the output: this link cannot go on. */
		milter_link_close(f->link);
		drop_message(f);
		filter_enter(f, FILTER_FAILED);
		settle(f, FILTER_LOCAL);
		return false;
	}
	if (milter_step_answered(f->protocol, cmd))
		f->awaiting = cmd;
	return true;
}

/* Send until a reply is due or the filter is slow to read.  Packets that need no reply
 * go out together. */
static void
pump(struct milter_filter *f)
{
	do {
		while (f->awaiting == '\0' &&
		    milter_link_backlog(f->link) < MILTER_BACKLOG_HIGH) {
			if (!pump_one(f))
				return;
		}
		if (!sent(f))
			return;
		/* With a backlog on_drained() goes on. */
	} while (f->awaiting == '\0' && milter_link_backlog(f->link) == 0);
	wait_reply(f);
}

static void
on_drained(void *arg)
{
	struct milter_filter *f = arg;

	if (f->busy && in_message(f) && f->awaiting == '\0')
		pump(f);
}

bool
milter_filter_message(struct milter_filter *f, struct chain_message *m, ptrdiff_t *own,
    int64_t deadline_ms)
{
	assert(!f->busy && f->state == FILTER_ENVELOPE);
	begin(f, deadline_ms);
	free(f->hold);
	f->hold = NULL;
	f->m = m;
	f->own = own;
	f->edit = milter_edit_new(m, *own, (f->protocol & MILTER_P_HDR_LEADSPC) != 0);
	milter_feed_init(&f->feed, m, *own, f->protocol);
	filter_enter(f, FILTER_MESSAGE);
	if (clock_mono_ms() >= deadline_ms)
		filter_fail(f, "no time left for it");
	else
		pump(f);
	return begun(f);
}

void
milter_filter_end_message(struct milter_filter *f, bool tell)
{
	if (f->busy) {
		f->busy = false; /* nobody waits for this any more */
		if (f->state != FILTER_DONE_CONN)
			filter_fail(f, "given up in the middle of a step");
		return;
	}
	drop_message(f);
	if (f->state == FILTER_ENVELOPE || f->state == FILTER_MESSAGE) {
		if (tell) {
			milter_packet_write(
			    milter_link_out(f->link), MILTER_ABORT, STR(""));
			milter_link_flush(f->link);
		}
		filter_enter(f, FILTER_READY);
	} else if (f->state == FILTER_DONE_MSG)
		filter_enter(f, FILTER_READY);
}

void
milter_filter_end_connection(struct milter_filter *f)
{
	drop_message(f);
	if (f->state != FILTER_DONE_CONN)
		filter_enter(f, FILTER_DONE_CONN);
}

/* --- life --- */

struct milter_filter *
milter_filter_new(struct event_base *base, const struct milter_filter_conf *conf,
    const struct milter_macros *macros,
    void (*done)(void *arg, struct milter_filter *f), void *arg)
{
	static const struct milter_link_calls calls = { .open = on_open,
		.packet = on_packet,
		.drained = on_drained,
		.timeout = on_timeout,
		.broken = on_broken };
	struct milter_filter *f = xcalloc(1, sizeof(*f));

	f->conf = conf;
	f->macros = macros;
	f->done = done;
	f->arg = arg;
	f->link = milter_link_new(base, &calls, f);
	return f;
}

void
milter_filter_free(struct milter_filter *f)
{
	if (f == NULL)
		return;
	if (milter_link_is_open(f->link) && f->state != FILTER_NEGOTIATING) {
		struct buf *out = milter_link_out(f->link);

		if (f->state == FILTER_ENVELOPE || in_message(f))
			milter_packet_write(out, MILTER_ABORT, STR(""));
		milter_packet_write(out, MILTER_QUIT, STR(""));
		milter_link_flush(f->link);
	}
	drop_message(f);
	milter_link_free(f->link);
	for (int s = 0; s < MILTER_STAGES; s++)
		free(f->lists[s]);
	free(f->hold);
	free(f);
}

const struct milter_filter_conf *
milter_filter_conf(const struct milter_filter *f)
{
	return f->conf;
}

enum filter_state
milter_filter_state(const struct milter_filter *f)
{
	return f->state;
}

const struct filter_outcome *
milter_filter_outcome(const struct milter_filter *f)
{
	return &f->outcome;
}

bool
milter_filter_busy(const struct milter_filter *f)
{
	return f->busy;
}

bool
milter_filter_wants_refused(const struct milter_filter *f)
{
	return (f->protocol & MILTER_P_RCPT_REJ) != 0;
}

const char *
milter_filter_hold(const struct milter_filter *f)
{
	return f->hold;
}

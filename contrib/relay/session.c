/* SPDX-License-Identifier: BSD-2-Clause */
/* The SMTP session's machine: lines out of octets, states, questions, replies,
 * deadlines and budgets.  What a command means stands in session_verbs.c. */
#include "contrib/relay/session.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/base/xalloc.h"
#include "common/mail/smtp_reply.h"
#include "contrib/relay/session_private.h"

const struct session_conf session_conf_default = {
	.host = "localhost",
	.message_size = 50u << 20,
	.line_max = 64u * 1024,
	.rcpts_max = 1000,
	.errors_max = 20,
	.junk_max = 100,
	.delay_after = 10,
	.error_delay_ms = 1000,
	.command_ms = 300 * 1000,
	.data_ms = 180 * 1000,
	.data_rate = 500,
	.pipelining_guard = true,
};

#define STRESS_COMMAND_MS 10000
#define STRESS_DATA_MS 30000
#define STRESS_ERRORS 5
#define STRESS_JUNK 10

static const char *const state_names[] = { "greeting", "refused", "start", "ready",
	"mail", "rcpt", "data", "message", "closed" };
_Static_assert(
    sizeof(state_names) / sizeof(state_names[0]) == SESSION_CLOSED + 1, "state names");

/* Which states may follow; everything may end in CLOSED. */
static const unsigned state_next[] = {
	[SESSION_GREETING] = ST(SESSION_START) | ST(SESSION_REFUSED),
	[SESSION_REFUSED] = 0,
	[SESSION_START] = ST(SESSION_READY) | ST(SESSION_GREETING),
	[SESSION_READY] = ST(SESSION_READY) | ST(SESSION_MAIL) | ST(SESSION_GREETING),
	[SESSION_MAIL] = ST(SESSION_RCPT) | ST(SESSION_READY),
	[SESSION_RCPT] = ST(SESSION_RCPT) | ST(SESSION_DATA) | ST(SESSION_READY),
	[SESSION_DATA] = ST(SESSION_MESSAGE) | ST(SESSION_READY),
	[SESSION_MESSAGE] = ST(SESSION_READY),
	[SESSION_CLOSED] = 0,
};
_Static_assert(
    sizeof(state_next) / sizeof(state_next[0]) == SESSION_CLOSED + 1, "state table");

void
session_set_state(struct session *s, enum session_state state)
{
	assert(state == SESSION_CLOSED || (state_next[s->state] & ST(state)) != 0);
	s->state = state;
}

const char *
session_state_name(enum session_state state)
{
	return state_names[state];
}

struct session *
session_new(const struct session_conf *conf, const struct session_ops *ops, void *arg,
    bool trusted)
{
	struct session *s = xcalloc(1, sizeof(*s));

	s->conf = *conf;
	s->usual = *conf;
	s->ops = ops;
	s->arg = arg;
	s->trusted = trusted;
	s->state = SESSION_GREETING;
	buf_init(&s->in, SESSION_IN_MAX);
	buf_init(&s->out, 4u * SESSION_OUT_MAX);
	return s;
}

void
session_free(struct session *s)
{
	if (s == NULL)
		return;
	buf_clear(&s->in);
	buf_clear(&s->out);
	free(s);
}

enum session_state
session_state(const struct session *s)
{
	return s->state;
}

bool
session_waiting(const struct session *s)
{
	return s->asked != ASK_NONE;
}

bool
session_extended(const struct session *s)
{
	return s->extended;
}

unsigned
session_errors(const struct session *s)
{
	return s->errors;
}

struct buf *
session_output(struct session *s)
{
	return &s->out;
}

size_t
session_early(const struct session *s)
{
	return s->state == SESSION_GREETING ? s->in.len : 0;
}

size_t
session_room(const struct session *s)
{
	return s->state == SESSION_CLOSED ? 0 : SESSION_IN_MAX - s->in.len;
}

/* --- replies --- */

void
session_say_lines(struct session *s, int code, const char *enhanced, struct str text)
{
	smtp_reply_write(&s->out, code, enhanced, text);
	s->deadline_ms = s->now_ms + s->conf.command_ms;
	/* A client that lets four times SESSION_OUT_MAX pile up reads nothing. */
	if (code == 421 || s->out.failed)
		session_set_state(s, SESSION_CLOSED);
}

static void __attribute__((format(printf, 4, 0)))
say(struct session *s, int code, const char *enhanced, const char *fmt, va_list ap)
{
	char text[600];

	(void)vsnprintf(text, sizeof(text), fmt, ap);
	session_say_lines(s, code, enhanced, str_of(text));
}

void
session_say(struct session *s, int code, const char *enhanced, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say(s, code, enhanced, fmt, ap);
	va_end(ap);
}

void
session_end(struct session *s, int code, const char *enhanced, const char *text)
{
	session_say(s, code, enhanced, "%s", text);
	session_set_state(s, SESSION_CLOSED);
}

/* Behind an error the next command is read late once there were many: whoever guesses
 * addresses pays with time. */
static void
count_error(struct session *s)
{
	s->errors++;
	if (s->errors > s->conf.delay_after)
		s->hold_ms = s->now_ms +
		    (int64_t)(s->errors - s->conf.delay_after) * s->conf.error_delay_ms;
	if (s->errors >= s->conf.errors_max && s->state != SESSION_CLOSED)
		session_end(s, 421, "4.7.0", "too many errors, closing the connection");
}

void
session_fail(struct session *s, int code, const char *enhanced, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say(s, code, enhanced, fmt, ap);
	va_end(ap);
	count_error(s);
}

/* --- questions and answers --- */

void
session_ask(struct session *s, enum session_question question)
{
	assert(s->asked == ASK_NONE);
	s->asked = question;
}

void
session_reset_mail(struct session *s)
{
	if ((ST(s->state) &
		(ST(SESSION_MAIL) | ST(SESSION_RCPT) | ST(SESSION_DATA) |
		    ST(SESSION_MESSAGE))) == 0)
		return;
	s->n_rcpts = 0;
	session_set_state(s, SESSION_READY);
	s->ops->reset(s->arg);
}

static void
answer_connect(struct session *s, int code, const char *enhanced, struct str text)
{
	if (code == 220) {
		session_set_state(s, SESSION_START);
		session_say(s, 220, "", "%s ESMTP Postern", s->conf.host);
		return;
	}
	session_set_state(s, SESSION_REFUSED);
	session_say_lines(s, code, enhanced, text);
}

static void
answer_data(struct session *s, int code, const char *enhanced, struct str text)
{
	session_say_lines(s, code, enhanced, text);
	if (s->state == SESSION_CLOSED)
		return;
	if (code != 354) {
		session_reset_mail(s);
		return;
	}
	session_set_state(s, SESSION_DATA);
	smtp_data_init(&s->data);
	s->text_octets = 0;
	s->text_lost = false;
	s->deadline_ms = s->now_ms + s->conf.data_ms;
}

static void
answer_message(struct session *s, int code, const char *enhanced, struct str text)
{
	session_set_state(s, SESSION_READY);
	s->n_rcpts = 0;
	if (code < 400) {
		s->errors = 0;
		s->junk = 0;
	}
	session_say_lines(s, code, enhanced, text);
}

static void
answer_command(struct session *s, enum session_question asked, int code,
    const char *enhanced, struct str text)
{
	if (code == 250 && asked == ASK_MAIL)
		session_set_state(s, SESSION_MAIL);
	if (code == 250 && asked == ASK_HELO && s->state == SESSION_START)
		session_set_state(s, SESSION_READY);
	if (code == 250 && asked == ASK_RCPT) {
		session_set_state(s, SESSION_RCPT);
		s->n_rcpts++;
	}
	if (code == 250 && asked == ASK_HELO)
		enhanced = ""; /* RFC 2034 4: not in the answer to EHLO */
	session_say_lines(s, code, enhanced, text);
	if (code >= 500 && s->state != SESSION_CLOSED)
		count_error(s);
}

static const char blind[] = "octets sent before our reply: see RFC 2920 3.1";

static void
answer(struct session *s, int code, const char *enhanced, struct str text)
{
	enum session_question asked = s->asked;

	assert(asked != ASK_NONE);
	s->asked = ASK_NONE;
	if (s->final && s->conf.pipelining_guard && s->in.len > 0) {
		session_end(s, 554, "5.5.0", blind);
		return;
	}
	switch (asked) {
	case ASK_NONE:
		break;
	case ASK_CONNECT:
		answer_connect(s, code, enhanced, text);
		break;
	case ASK_DATA:
		answer_data(s, code, enhanced, text);
		break;
	case ASK_MESSAGE:
		answer_message(s, code, enhanced, text);
		break;
	case ASK_HELO:
	case ASK_MAIL:
	case ASK_RCPT:
		answer_command(s, asked, code, enhanced, text);
		break;
	}
}

/* --- text --- */

static void
refuse_text(struct session *s, int code, const char *enhanced, const char *text)
{
	session_reset_mail(s);
	session_fail(s, code, enhanced, "%s", text);
}

static void
end_of_data(struct session *s)
{
	const struct smtp_data *d = &s->data;

	session_set_state(s, SESSION_MESSAGE);
	if (d->bare_lf || d->bare_cr || d->nul)
		refuse_text(s, 550, "5.5.2",
		    d->nul           ? "the message holds NUL octets"
			: d->bare_lf ? "the message holds bare LF: lines end in CRLF"
				     : "the message holds bare CR: lines end in CRLF");
	else if (d->octets > s->conf.message_size)
		refuse_text(s, 552, "5.3.4", "the message is too big");
	else if (d->longest > s->conf.line_max)
		refuse_text(s, 554, "5.6.0", "a line of the message is too long");
	else if (s->text_lost) {
		session_reset_mail(s);
		session_say(s, 452, "4.3.1", "no room for the message, try later");
	} else {
		session_ask(s, ASK_MESSAGE);
		s->final = false;
		s->ops->message(s->arg);
	}
}

/* Returns the octets eaten. */
static size_t
take_text(struct session *s, struct str in)
{
	char out[8192 + 1];
	size_t at = 0;
	enum parse rc = PARSE_MORE;

	while (rc == PARSE_MORE && at < in.len) {
		size_t used, n;
		struct str part = str_sub(in, at, at + sizeof(out) - 1);

		rc = smtp_data_decode(&s->data, part, &used, out, &n);
		at += used;
		/* Too big: read to the end, keep nothing. */
		if (n > 0 && !s->text_lost && s->data.octets <= s->conf.message_size)
			s->text_lost = !s->ops->text(s->arg, out, n);
	}
	s->text_octets += at;
	if (rc == PARSE_DONE)
		end_of_data(s);
	else if (s->data.octets / 2 > s->conf.message_size + (1u << 20))
		session_end(s, 421, "4.3.4", "the message is far too big");
	return at;
}

/* --- lines --- */

static void
run_line(struct session *s, struct str line)
{
	struct smtp_command c;
	struct err err;
	const struct session_verb *verb;

	if (smtp_command_read(line, &c, &err) < 0) {
		session_fail(s, 501, "5.5.2", "%s", err.text);
		return;
	}
	verb = session_verb_find(c.verb);
	if (verb == NULL && session_verb_foreign(c.verb)) {
		session_end(s, 421, "4.7.0", "this is an SMTP server");
		return;
	}
	if (verb == NULL) {
		session_fail(s, 500, "5.5.2", "not a command of this server");
		return;
	}
	if (verb->junk && ++s->junk > s->conf.junk_max) {
		session_end(s, 421, "4.7.0", "too many commands without mail");
		return;
	}
	if ((verb->states & ST(s->state)) == 0)
		session_out_of_order(s);
	else
		verb->run(s, c.args);
}

/* Octets behind the command that is about to run. */
static bool
sent_blind(const struct session *s, struct str line, size_t behind)
{
	struct smtp_command c;
	const struct session_verb *verb;

	if (!s->conf.pipelining_guard || behind == 0 ||
	    smtp_command_read(line, &c, NULL) < 0)
		return false;
	verb = session_verb_find(c.verb);
	if (str_is_nocase(c.verb, "QUIT"))
		return false; /* nothing is executed any more, and there may be no
				 reader */
	return !s->extended || (verb != NULL && verb->final);
}

static const char bare_lf[] = "bare LF: command lines end in CRLF";

/* A line that is longer than any command: let it pass by. */
static bool
skip_line(struct session *s, const char *lf)
{
	size_t n = lf == NULL ? s->in.len : (size_t)(lf - s->in.p) + 1;
	bool cr = n < 2 ? s->skipped_cr : s->in.p[n - 2] == '\r';

	if (lf == NULL && n > 0)
		s->skipped_cr = s->in.p[n - 1] == '\r';
	s->skipped += n;
	buf_consume(&s->in, n);
	if (s->skipped > SESSION_SKIP_MAX) {
		session_end(s, 421, "4.5.2", "endless line");
	} else if (lf != NULL && !cr) {
		session_end(s, 500, "5.5.2", bare_lf);
	} else if (lf != NULL) {
		s->skipped = 0;
		session_fail(s, 500, "5.5.2", "line over %d octets", SMTP_COMMAND_MAX);
	}
	return lf != NULL;
}

/* One line, if it is there.  false: more octets are needed. */
static bool
take_line(struct session *s)
{
	size_t seen = s->in.len < SMTP_COMMAND_MAX ? s->in.len : SMTP_COMMAND_MAX;
	const char *lf = seen == 0 ? NULL : memchr(s->in.p, '\n', seen);
	char line[SMTP_COMMAND_MAX];
	size_t len;

	if (s->skipped > 0 || (lf == NULL && seen == SMTP_COMMAND_MAX))
		return skip_line(
		    s, s->in.len == 0 ? NULL : memchr(s->in.p, '\n', s->in.len));
	if (lf == NULL)
		return false;
	len = (size_t)(lf - s->in.p);
	if (len == 0 || s->in.p[len - 1] != '\r') {
		session_end(s, 500, "5.5.2", bare_lf);
		return true;
	}
	memcpy(line, s->in.p, len - 1); /* the buffer may change while it runs */
	buf_consume(&s->in, len + 1);
	if (sent_blind(s, (struct str){ line, len - 1 }, s->in.len))
		session_end(s, 554, "5.5.0", blind);
	else
		run_line(s, (struct str){ line, len - 1 });
	return true;
}

#define BETWEEN_MAILS (ST(SESSION_REFUSED) | ST(SESSION_START) | ST(SESSION_READY))

static void
run(struct session *s)
{
	bool go = true;

	if (s->running)
		return;
	s->running = true;
	while (go && s->asked == ASK_NONE && s->state != SESSION_CLOSED) {
		if (s->shutdown && (ST(s->state) & BETWEEN_MAILS) != 0) {
			session_end(s, 421, "4.3.2", s->shutdown_text);
		} else if (s->hold_ms > s->now_ms || s->out.len > SESSION_OUT_MAX) {
			go = false;
		} else if (s->state == SESSION_DATA) {
			go = s->in.len > 0;
			buf_consume(&s->in, take_text(s, buf_str(&s->in)));
		} else {
			go = take_line(s);
		}
	}
	if (s->state == SESSION_CLOSED)
		buf_reset(&s->in);
	s->running = false;
}

/* --- what the driver calls --- */

void
session_start(struct session *s, int64_t now_ms)
{
	s->now_ms = now_ms;
	session_ask(s, ASK_CONNECT);
	s->final = true; /* nobody speaks before the greeting */
	s->ops->connect(s->arg);
}

void
session_input(struct session *s, struct str in, int64_t now_ms)
{
	s->now_ms = now_ms;
	if (s->state == SESSION_CLOSED)
		return;
	/* The usual case of a long message: no copy. */
	if (s->state == SESSION_DATA && !s->running && s->in.len == 0 && in.len > 0) {
		size_t used;

		s->running = true;
		used = take_text(s, in);
		s->running = false;
		in = str_sub(in, used, in.len);
	}
	if (s->state != SESSION_CLOSED && in.len > 0) {
		int rc = buf_add_str(&s->in, in);

		assert(rc == 0); /* session_room() was asked */
		(void)rc;
	}
	run(s);
}

void
session_answer(
    struct session *s, int code, const char *enhanced, struct str text, int64_t now_ms)
{
	s->now_ms = now_ms;
	answer(s, code, enhanced, text);
	run(s);
}

int64_t
session_wake(const struct session *s)
{
	int64_t rate = (int64_t)s->conf.data_rate;

	if (s->state == SESSION_CLOSED || s->asked != ASK_NONE)
		return INT64_MAX;
	if (s->hold_ms > s->now_ms)
		return s->hold_ms;
	if (s->state == SESSION_DATA && rate > 0)
		return s->deadline_ms +
		    (int64_t)(s->text_octets / (uint64_t)rate) * 1000;
	return s->deadline_ms;
}

void
session_tick(struct session *s, int64_t now_ms)
{
	int64_t wake = session_wake(s);

	if (wake > now_ms)
		return;
	if (s->hold_ms > s->now_ms) {
		s->now_ms = now_ms;
		s->deadline_ms = now_ms + s->conf.command_ms;
		run(s);
		return;
	}
	s->now_ms = now_ms;
	session_end(s, 421, "4.4.2", "you are too slow, closing the connection");
	run(s);
}

static int64_t
least(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

void
session_stress(struct session *s, bool stress, int64_t now_ms)
{
	struct session_conf *c = &s->conf;

	*c = s->usual;
	if (!stress)
		return;
	c->command_ms = least(c->command_ms, STRESS_COMMAND_MS);
	c->data_ms = least(c->data_ms, STRESS_DATA_MS);
	c->errors_max = (unsigned)least(c->errors_max, STRESS_ERRORS);
	c->junk_max = (unsigned)least(c->junk_max, STRESS_JUNK);
	s->deadline_ms = least(s->deadline_ms,
	    now_ms + (s->state == SESSION_DATA ? c->data_ms : c->command_ms));
}

void
session_shutdown(struct session *s, struct str text, int64_t now_ms)
{
	s->now_ms = now_ms;
	s->shutdown = true;
	(void)snprintf(
	    s->shutdown_text, sizeof(s->shutdown_text), "%.*s", STR_ARG(text));
	run(s);
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* All filters of one SMTP connection.  Decides the order of filters, which verdict ends
 * a round, what a filter's failure means (its policy), and when a failed one is opened
 * anew. Where sendmail and Postfix differ the choice is written at its line. */
#include "contrib/relay/milter_chain.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/base/clock.h"
#include "common/base/xalloc.h"
#include "common/mail/address.h"
#include "common/mail/smtp_reply.h"
#include "contrib/relay/milter_filter.h"
#include "contrib/relay/milter_macros.h"

#define CHAIN_LIMIT_MS 540000
#define PACKET_MAX 65536 /* of a command with its arguments: what libmilter reads */

enum step {
	STEP_NONE,
	STEP_CONNECT,
	STEP_HELO,
	STEP_MAIL,
	STEP_RCPT,
	STEP_DATA,
	STEP_UNKNOWN,
	STEP_MESSAGE,
};

struct slot {
	struct milter_filter_conf conf;
	struct milter_filter *filter;
	char opening; /* O, C, H: this is under way before the step; 0: not */
};

struct milter_chain {
	struct slot *slots;
	size_t n;
	struct milter_macros *macros;
	struct buf connect_packet, helo_packet; /* kept for filters opened anew */
	bool connected, greeted; /* these two steps are over */
	bool ended; /* a verdict on the connection: `end` answers everything */
	struct chain_reply end;
	bool in_mail; /* MAIL was not refused */
	bool discard; /* a filter took this message away */
	char hold[256]; /* why this message is held, "" not */
	const char *hold_filter;
	/* the step under way */
	enum step step;
	char cmd;
	size_t at; /* the filter whose turn it is */
	struct buf packet;
	bool refused; /* RCPT: by ourselves */
	struct chain_message *m;
	ptrdiff_t own; /* where our Received stands in m->header, -1 none */
	int64_t limit_ms, deadline_ms;
	chain_done *done;
	void *arg;
	struct chain_reply reply;
	struct event *notify;
};

static void run(struct milter_chain *c);
static void on_filter(void *arg, struct milter_filter *f);

/* --- replies --- */

static void
on_notify(evutil_socket_t fd, short what, void *arg)
{
	struct milter_chain *c = arg;
	struct chain_reply reply = c->reply; /* the chain may be freed in done */

	(void)fd;
	(void)what;
	c->step = STEP_NONE;
	c->done(c->arg, &reply);
}

/* The step is over; done comes from the loop, so that nobody is called back from within
 * a call of his own. */
static void
finish(struct milter_chain *c, const struct chain_reply *reply)
{
	c->reply = *reply;
	event_active(c->notify, EV_TIMEOUT, 0);
}

static struct chain_reply
reply_of(const struct slot *slot, enum chain_action action, int code,
    const char *enhanced, const char *text)
{
	struct chain_reply r = { .action = action, .code = code };

	r.filter = slot == NULL ? "" : slot->conf.name;
	snprintf(r.enhanced, sizeof(r.enhanced), "%s", enhanced);
	snprintf(r.text, sizeof(r.text), "%s", text);
	return r;
}

/* r, t, y and 4 as replies. */
static struct chain_reply
reply_of_outcome(const struct slot *slot)
{
	const struct filter_outcome *o = milter_filter_outcome(slot->filter);

	if (o->says == FILTER_CLOSE && o->code == 0)
		return reply_of(slot, CHAIN_CLOSE, 421, "4.7.0", "Closing connection");
	if (o->says == FILTER_CLOSE)
		return reply_of(slot, CHAIN_CLOSE, 421, o->enhanced, o->text);
	if (o->code != 0)
		return reply_of(slot, o->code < 500 ? CHAIN_TEMPFAIL : CHAIN_REJECT,
		    o->code, o->enhanced, o->text);
	if (o->temporary)
		return reply_of(slot, CHAIN_TEMPFAIL, 451, "4.7.1",
		    "Service unavailable, try again later");
	return reply_of(slot, CHAIN_REJECT, 550, "5.7.1", "Rejected by local policy");
}

/* What the policy makes of a filter that failed; CONTINUE: go on without it. */
static struct chain_reply
reply_of_failure(const struct slot *slot)
{
	switch ((enum milter_policy)slot->conf.on_failure) {
	case MILTER_ON_FAILURE_TEMPFAIL:
		return reply_of(slot, CHAIN_TEMPFAIL, 451, "4.3.0",
		    "A mail filter is not available, try again later");
	case MILTER_ON_FAILURE_REJECT:
		return reply_of(
		    slot, CHAIN_REJECT, 550, "5.3.0", "A mail filter is not available");
	case MILTER_ON_FAILURE_SHUTDOWN:
		return reply_of(slot, CHAIN_CLOSE, 421, "4.3.0",
		    "A mail filter is not available, closing connection");
	case MILTER_ON_FAILURE_ACCEPT:
	case MILTER_ON_FAILURE_QUARANTINE:
		break;
	}
	return reply_of(slot, CHAIN_CONTINUE, 0, "", "");
}

static void
hold(struct milter_chain *c, const struct slot *slot, const char *reason)
{
	if (c->hold[0] != '\0')
		return; /* the first reason stays */
	snprintf(
	    c->hold, sizeof(c->hold), "%s", reason[0] == '\0' ? "quarantine" : reason);
	for (char *p = c->hold; *p != '\0'; p++) {
		if ((unsigned char)*p < ' ' || *p == 127)
			*p = '?';
	}
	c->hold_filter = slot->conf.name;
}

/* --- a round over the filters --- */

/* The message is over for every filter; those that are in one are told. */
static void
end_message(struct milter_chain *c)
{
	for (size_t i = 0; i < c->n; i++)
		milter_filter_end_message(c->slots[i].filter, true);
	c->in_mail = c->discard = false;
	c->hold[0] = '\0';
}

/* The step ends with a refusal. */
static void
refuse(struct milter_chain *c, struct chain_reply reply)
{
	if (c->step == STEP_CONNECT || c->step == STEP_HELO ||
	    reply.action == CHAIN_CLOSE) {
		c->ended = true;
		c->end = reply;
	}
	/* At DATA as well: in both MTAs the transaction stays open then, which a client
	 * can only misunderstand. */
	if ((c->step != STEP_RCPT && c->step != STEP_UNKNOWN) || c->ended)
		end_message(c);
	finish(c, &reply);
}

/* A filter has failed, now or before: true when that ends the step. */
static bool
judge_failure(struct milter_chain *c, const struct slot *slot)
{
	struct chain_reply reply = reply_of_failure(slot);
	bool greeting = c->step == STEP_CONNECT || c->step == STEP_HELO;

	/* Neither refusal of ours, of a recipient or of an unknown command, gets
	 * milder. */
	if (c->refused || c->step == STEP_UNKNOWN)
		return false;
	if (slot->conf.on_failure == MILTER_ON_FAILURE_QUARANTINE && !greeting)
		hold(c, slot, "a mail filter failed");
	if (reply.action == CHAIN_CONTINUE)
		return false;
	if (greeting && reply.action != CHAIN_CLOSE) {
		/* The others must hear of the connection: at MAIL this filter is opened
		 * anew, and all may be well. */
		if (c->reply.action == CHAIN_CONTINUE)
			c->reply = reply;
		return false;
	}
	refuse(c, reply);
	return true;
}

/* What the filter said to this step: true when that ends it. */
static bool
judge(struct milter_chain *c, const struct slot *slot)
{
	const char *reason = milter_filter_hold(slot->filter);

	switch (milter_filter_outcome(slot->filter)->says) {
	case FILTER_CONTINUE:
	case FILTER_ACCEPT:
		if (c->step == STEP_MESSAGE && reason != NULL)
			hold(c, slot, reason);
		return false;
	case FILTER_DISCARD:
		if (c->refused || c->step == STEP_UNKNOWN)
			return false;
		end_message(c);
		c->in_mail = c->step != STEP_MESSAGE;
		c->discard = c->in_mail;
		finish(c,
		    &(struct chain_reply){
			.action = CHAIN_DISCARD, .filter = slot->conf.name });
		return true;
	case FILTER_REFUSE:
		if (c->refused)
			return false;
		refuse(c, reply_of_outcome(slot));
		return true;
	case FILTER_CLOSE:
		refuse(c, reply_of_outcome(slot));
		return true;
	case FILTER_LOCAL:
		refuse(c,
		    reply_of(NULL, CHAIN_TEMPFAIL, 451, "4.3.0",
			"Local error in processing, try again later"));
		return true;
	case FILTER_BROKE:
		return judge_failure(c, slot);
	}
	return false;
}

/* Nobody objected. */
static void
end_round(struct milter_chain *c)
{
	struct chain_reply reply = c->reply; /* of a failure at connect or helo */

	switch (c->step) {
	case STEP_CONNECT:
		c->connected = true;
		break;
	case STEP_HELO:
		c->greeted = true;
		break;
	case STEP_MAIL:
		c->in_mail = true;
		break;
	case STEP_MESSAGE:
		if (c->m->envelope->n_rcpts == 0)
			reply.action = CHAIN_DISCARD;
		else if (c->hold[0] != '\0') {
			reply.action = CHAIN_HOLD;
			reply.filter = c->hold_filter;
			snprintf(reply.reason, sizeof(reply.reason), "%s", c->hold);
		}
		end_message(c);
		break;
	case STEP_NONE:
	case STEP_RCPT:
	case STEP_DATA:
	case STEP_UNKNOWN:
		break;
	}
	finish(c, &reply);
}

/* The filter's turn.  *waits: its outcome comes later.  Returns whether the step is
 * over. */
static bool
turn(struct milter_chain *c, struct slot *slot, bool *waits)
{
	struct milter_filter *f = slot->filter;
	bool at_once;

	switch (milter_filter_state(f)) {
	case FILTER_DONE_CONN:
	case FILTER_DONE_MSG:
		return false;
	case FILTER_IDLE:
	case FILTER_FAILED:
		return judge_failure(c, slot);
	case FILTER_CONNECTING:
	case FILTER_NEGOTIATING:
	case FILTER_READY:
	case FILTER_ENVELOPE:
	case FILTER_MESSAGE:
	case FILTER_EOM:
		break;
	}
	if (c->refused && !milter_filter_wants_refused(f))
		return false;
	if (c->step == STEP_MESSAGE)
		at_once = milter_filter_message(f, c->m, &c->own, c->deadline_ms);
	else
		at_once = milter_filter_command(f, c->cmd, buf_str(&c->packet));
	*waits = !at_once;
	return at_once && judge(c, slot);
}

static void
run(struct milter_chain *c)
{
	bool waits = false;

	for (; c->at < c->n; c->at++) {
		if (turn(c, &c->slots[c->at], &waits) || waits)
			return;
	}
	end_round(c);
}

/* --- opening, before a round --- */

/* Go on with a filter that is being opened: negotiation, then what it has missed. */
static void
open_further(struct milter_chain *c, struct slot *slot)
{
	struct milter_filter *f = slot->filter;

	for (;;) {
		enum filter_says says = milter_filter_outcome(f)->says;
		char was = slot->opening;

		slot->opening = '\0';
		if (says == FILTER_REFUSE || says == FILTER_CLOSE) {
			c->ended = true;
			c->end = reply_of_outcome(slot);
		}
		if (milter_filter_state(f) != FILTER_READY)
			return;
		if (was == MILTER_OPTNEG && c->connected)
			slot->opening = MILTER_CONNECT;
		else if (was == MILTER_CONNECT && c->greeted)
			slot->opening = MILTER_HELO;
		else
			return;
		if (!milter_filter_command(f, slot->opening,
			buf_str(slot->opening == MILTER_CONNECT ? &c->connect_packet
								: &c->helo_packet)))
			return;
	}
}

/* All that are to be opened have come or failed: the round begins. */
static void
opened(struct milter_chain *c)
{
	for (size_t i = 0; i < c->n; i++) {
		if (c->slots[i].opening != '\0')
			return;
	}
	if (c->ended)
		refuse(c, c->end);
	else
		run(c);
}

/* Open all filters that are not, at once: N slow ones cost the time of the slowest. */
static void
open_all(struct milter_chain *c)
{
	for (size_t i = 0; i < c->n; i++) {
		struct slot *slot = &c->slots[i];
		enum filter_state state = milter_filter_state(slot->filter);

		if (state != FILTER_IDLE && state != FILTER_FAILED)
			continue;
		slot->opening = MILTER_OPTNEG;
		if (milter_filter_open(slot->filter))
			open_further(c, slot);
	}
	opened(c);
}

/* A filter has ended its step. */
static void
on_filter(void *arg, struct milter_filter *f)
{
	struct milter_chain *c = arg;
	size_t i = 0;

	while (c->slots[i].filter != f)
		i++;
	struct slot *slot = &c->slots[i];

	if (slot->opening != '\0') {
		open_further(c, slot);
		if (slot->opening == '\0')
			opened(c);
		return;
	}
	if (judge(c, slot))
		return;
	c->at++;
	run(c);
}

/* --- steps --- */

/* false: the answer is known already. */
static bool
begin(struct milter_chain *c, enum step step, char cmd, chain_done *done, void *arg)
{
	assert(c->step == STEP_NONE);
	c->step = step;
	c->cmd = cmd;
	c->at = 0;
	c->refused = false;
	c->done = done;
	c->arg = arg;
	c->reply = (struct chain_reply){ .action = CHAIN_CONTINUE, .filter = "" };
	buf_reset(&c->packet);
	if (c->ended && (step != STEP_HELO || c->end.action == CHAIN_CLOSE)) {
		finish(c, &c->end);
		return false;
	}
	if (c->ended || c->discard) {
		if (c->discard && step != STEP_UNKNOWN)
			c->reply.action = CHAIN_DISCARD;
		if (step == STEP_MESSAGE)
			end_message(c);
		finish(c, &c->reply);
		return false;
	}
	return true;
}

void
milter_chain_connect(struct milter_chain *c, chain_done *done, void *arg)
{
	if (!begin(c, STEP_CONNECT, MILTER_CONNECT, done, arg))
		return;
	buf_add_str(&c->packet, buf_str(&c->connect_packet));
	open_all(c);
}

void
milter_chain_helo(struct milter_chain *c, const char *helo, chain_done *done, void *arg)
{
	struct str argument = str_of(helo);

	end_message(c);
	if (!begin(c, STEP_HELO, MILTER_HELO, done, arg))
		return;
	milter_macros_set(c->macros, "s", argument);
	buf_reset(&c->helo_packet);
	milter_strings_write(&c->helo_packet, MILTER_HELO, &argument, 1);
	buf_add_str(&c->packet, buf_str(&c->helo_packet));
	run(c);
}

/* M or R with its path and ESMTP parameters. */
static void
write_path(struct milter_chain *c, char cmd, const char *path, const char *const *args,
    size_t n_args)
{
	struct buf payload;

	buf_init(&payload, PACKET_MAX - 5);
	buf_add(&payload, path, strlen(path) + 1);
	for (size_t i = 0; i < n_args; i++)
		buf_add(&payload, args[i], strlen(args[i]) + 1);
	milter_packet_write(&c->packet, cmd, buf_str(&payload));
	buf_clear(&payload);
}

/* {mail_addr} and {mail_host}, or {rcpt_...}: in lower case, without route. */
static void
set_address(struct milter_chain *c, const char *path, const char *mailer_name,
    const char *host_name, const char *addr_name)
{
	struct address a;
	struct err err;
	char *lower;

	if (address_parse(str_of(path), &a, &err) != 0)
		a = (struct address){ .whole = str_of(path) };
	lower = str_dup_lower(a.whole);
	milter_macros_set(c->macros, addr_name, str_of(lower));
	free(lower);
	lower = str_dup_lower(a.domain);
	milter_macros_set(c->macros, host_name, str_of(lower));
	free(lower);
	milter_macros_set(c->macros, mailer_name, a.null ? STR("local") : STR("smtp"));
}

void
milter_chain_mail(struct milter_chain *c, const char *queue_id, const char *path,
    const char *const *args, size_t n_args, chain_done *done, void *arg)
{
	end_message(c);
	if (!begin(c, STEP_MAIL, MILTER_MAIL, done, arg))
		return;
	milter_macros_set(c->macros, "i", str_of(queue_id));
	set_address(c, path, "mail_mailer", "mail_host", "mail_addr");
	for (const char *const *name = (const char *const[]){ "rcpt_mailer",
		 "rcpt_host", "rcpt_addr", "msg_id", "msg_size", "nrcpts", NULL };
	     *name != NULL; name++)
		milter_macros_unset(c->macros, *name);
	write_path(c, MILTER_MAIL, path, args, n_args);
	open_all(c);
}

/* As Postfix tells of a recipient that it refuses. */
static void
set_refused(struct milter_chain *c, const char *refused)
{
	struct str text = str_of(refused), code = STR("5.1.1"), rest = text;
	int class = text.len > 0 && text.p[0] == '4' ? 450 : 550;

	if (text.len > 4 && ascii_digit(text.p[2]))
		rest = text = str_sub(text, 4, text.len);
	(void)smtp_reply_enhanced(class, text, &code, &rest);
	milter_macros_set(c->macros, "rcpt_mailer", STR("error"));
	milter_macros_set(c->macros, "rcpt_host", code);
	milter_macros_set(c->macros, "rcpt_addr", rest);
}

void
milter_chain_rcpt(struct milter_chain *c, const char *path, const char *const *args,
    size_t n_args, const char *refused, chain_done *done, void *arg)
{
	if (!begin(c, STEP_RCPT, MILTER_RCPT, done, arg))
		return;
	assert(c->in_mail);
	c->refused = refused != NULL;
	set_address(c, path, "rcpt_mailer", "rcpt_host", "rcpt_addr");
	if (refused != NULL)
		set_refused(c, refused);
	write_path(c, MILTER_RCPT, path, args, n_args);
	run(c);
}

void
milter_chain_data(struct milter_chain *c, chain_done *done, void *arg)
{
	if (!begin(c, STEP_DATA, MILTER_DATA, done, arg))
		return;
	assert(c->in_mail);
	milter_packet_write(&c->packet, MILTER_DATA, STR(""));
	run(c);
}

void
milter_chain_unknown(
    struct milter_chain *c, const char *command, chain_done *done, void *arg)
{
	struct str text = str_of(command);

	if (!begin(c, STEP_UNKNOWN, MILTER_UNKNOWN, done, arg))
		return;
	milter_strings_write(&c->packet, MILTER_UNKNOWN, &text, 1);
	run(c);
}

static void
set_message_macros(struct milter_chain *c, const struct chain_message *m)
{
	char number[24];
	uint64_t size = m->body_len;
	ptrdiff_t id = header_find(m->header, STR("Message-ID"), 1);

	for (size_t i = 0; i < header_count(m->header); i++)
		size += header_at(m->header, i)->raw.len;
	snprintf(number, sizeof(number), "%llu", (unsigned long long)size);
	milter_macros_set(c->macros, "msg_size", str_of(number));
	snprintf(number, sizeof(number), "%zu", m->envelope->n_rcpts);
	milter_macros_set(c->macros, "nrcpts", str_of(number));
	if (id >= 0)
		milter_macros_set(c->macros, "msg_id",
		    str_trim(header_at(m->header, (size_t)id)->value));
}

void
milter_chain_message(
    struct milter_chain *c, struct chain_message *m, chain_done *done, void *arg)
{
	if (!begin(c, STEP_MESSAGE, MILTER_EOM, done, arg))
		return;
	assert(c->in_mail);
	c->m = m;
	c->own = m->received_first && header_count(m->header) > 0 ? 0 : -1;
	c->deadline_ms = clock_mono_ms() + c->limit_ms;
	set_message_macros(c, m);
	run(c);
}

void
milter_chain_abort(struct milter_chain *c)
{
	if (c->step != STEP_NONE)
		event_del(c->notify);
	c->step = STEP_NONE;
	for (size_t i = 0; i < c->n; i++)
		c->slots[i].opening = '\0';
	end_message(c);
}

/* --- life --- */

static void
set_client(struct milter_chain *c, const struct chain_client *client)
{
	char ip[IP_TEXT_MAX], text[600];
	const char *name = client->name == NULL ? "" : client->name;

	ip_format(&client->ip, ip);
	snprintf(text, sizeof(text), "[%s]", ip);
	if (name[0] == '\0')
		name = text;
	milter_connect_write(
	    &c->connect_packet, str_of(name), &client->ip, client->port);
	milter_macros_set(c->macros, "client_name", str_of(name));
	milter_macros_set(c->macros, "client_ptr", str_of(name));
	milter_chain_macro(c, "client_resolve", client->resolve);
	milter_macros_set(c->macros, "client_addr", str_of(ip));
	if (name[0] == '[')
		snprintf(text, sizeof(text), "%s", name);
	else
		snprintf(text, sizeof(text), "%.500s [%s]", name, ip);
	milter_macros_set(c->macros, "_", str_of(text));
	snprintf(text, sizeof(text), "%u", client->port);
	milter_macros_set(c->macros, "client_port", str_of(text));
}

static void
set_server(struct milter_chain *c, const struct chain_client *client)
{
	char text[IP_TEXT_MAX];

	milter_chain_macro(c, "j", client->host);
	milter_chain_macro(c, "if_name", client->host);
	milter_chain_macro(c, "daemon_name", client->daemon);
	milter_macros_set(c->macros, "v", STR("Postern"));
	if (client->local.family != 0) {
		milter_macros_set(
		    c->macros, "daemon_addr", str_of(ip_format(&client->local, text)));
		milter_macros_set(c->macros, "if_addr", str_of(text));
	}
	snprintf(text, sizeof(text), "%u", client->local_port);
	milter_macros_set(c->macros, "daemon_port", str_of(text));
}

static int64_t
or_default(int64_t ms, int64_t usual)
{
	return ms > 0 ? ms : usual;
}

struct milter_chain *
milter_chain_new(struct event_base *base, const struct milter_filter_conf *filters,
    size_t n, const struct chain_client *client)
{
	struct milter_chain *c = xcalloc(1, sizeof(*c));

	buf_init(&c->connect_packet, PACKET_MAX);
	buf_init(&c->helo_packet, PACKET_MAX);
	buf_init(&c->packet, PACKET_MAX);
	c->limit_ms = CHAIN_LIMIT_MS;
	c->notify = evtimer_new(base, on_notify, c);
	if (c->notify == NULL)
		abort(); /* out of memory: as xmalloc */
	c->macros = milter_macros_new();
	set_client(c, client);
	set_server(c, client);
	c->n = n;
	c->slots = xcalloc(n > 0 ? n : 1, sizeof(*c->slots));
	for (size_t i = 0; i < n; i++) {
		struct milter_filter_conf *conf = &c->slots[i].conf;

		*conf = filters[i];
		conf->name = xstrdup(filters[i].name);
		conf->address = xstrdup(filters[i].address);
		conf->connect_ms = or_default(conf->connect_ms, 10000);
		conf->command_ms = or_default(conf->command_ms, 30000);
		conf->content_ms = or_default(conf->content_ms, 300000);
		c->slots[i].filter =
		    milter_filter_new(base, conf, c->macros, on_filter, c);
	}
	return c;
}

void
milter_chain_free(struct milter_chain *c)
{
	if (c == NULL)
		return;
	for (size_t i = 0; i < c->n; i++) {
		milter_filter_free(c->slots[i].filter);
		free(c->slots[i].conf.name);
		free(c->slots[i].conf.address);
	}
	free(c->slots);
	event_free(c->notify);
	milter_macros_free(c->macros);
	buf_clear(&c->connect_packet);
	buf_clear(&c->helo_packet);
	buf_clear(&c->packet);
	free(c);
}

void
milter_chain_macro(struct milter_chain *c, const char *name, const char *value)
{
	if (value != NULL)
		milter_macros_set(c->macros, name, str_of(value));
	else
		milter_macros_unset(c->macros, name);
}

void
milter_chain_limit(struct milter_chain *c, int64_t ms)
{
	c->limit_ms = ms;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* Sessions played without a network. */
#include "tests/lib/session_play.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/mail/smtp_reply.h"

#define PLAY_MAX (8u << 20)

/* In tests and fuzzers alike: what may never happen ends the program. */
static void
must(bool good, const char *what)
{
	if (good)
		return;
	fprintf(stderr, "session_play: %s\n", what);
	abort();
}

static void
answer(struct play *p)
{
	enum play_question q = p->open;
	int code = 250;

	p->open = PLAY_NONE;
	if (p->deny || p->defer)
		code = p->deny ? 550 : 451;
	else if (q == PLAY_CONNECT)
		code = p->connect_code != 0 ? p->connect_code : 220;
	else if (q == PLAY_DATA)
		code = p->data_code != 0 ? p->data_code : 354;
	else if (q == PLAY_MESSAGE)
		code = p->message_code != 0 ? p->message_code : 250;
	p->answers++;
	session_answer(p->session, code,
	    code >= 500       ? "5.7.1"
		: code >= 400 ? "4.7.1"
			      : "2.0.0",
	    q == PLAY_HELO ? STR("test.example\nPIPELINING") : STR("said"), p->now);
}

static void
ask(struct play *p, enum play_question q, bool deny, bool defer)
{
	must(p->open == PLAY_NONE, "two questions at once");
	p->open = q;
	p->deny = deny;
	p->defer = defer;
	p->questions++;
	if (!p->later)
		answer(p);
}

static void
note(struct play *p, const char *what, struct str detail)
{
	(void)buf_addf(&p->trace, "%s%s", p->trace.len > 0 ? " " : "", what);
	(void)buf_add_str(&p->trace, detail);
}

static void
on_connect(void *arg)
{
	note(arg, "connect", STR(""));
	ask(arg, PLAY_CONNECT, false, false);
}

static void
on_helo(void *arg, struct str name, bool extended)
{
	note(arg, extended ? "ehlo:" : "helo:", name);
	ask(arg, PLAY_HELO, str_starts(name, STR("deny")), false);
}

static void
on_mail(void *arg, const struct smtp_path *path, const struct address *sender,
    uint64_t size, bool body_8bit)
{
	char extra[60];

	(void)snprintf(extra, sizeof(extra), "mail%s%s:", size > 0 ? "+size" : "",
	    body_8bit ? "+8" : "");
	note(arg, extra, path->path);
	must(sender->null == str_is(path->path, "<>"), "null sender");
	ask(arg, PLAY_MAIL, str_starts(sender->whole, STR("deny")), false);
}

static void
on_rcpt(void *arg, const struct smtp_path *path, const struct address *rcpt)
{
	note(arg, "rcpt:", path->path);
	ask(arg, PLAY_RCPT, str_starts(rcpt->whole, STR("deny")),
	    str_starts(rcpt->whole, STR("later")));
}

static void
on_data(void *arg)
{
	struct play *p = arg;

	note(p, "data", STR(""));
	buf_reset(&p->text);
	ask(p, PLAY_DATA, false, false);
}

static bool
on_text(void *arg, const char *data, size_t len)
{
	struct play *p = arg;

	must(session_state(p->session) == SESSION_DATA, "text outside DATA");
	must(len > 0, "empty text");
	return !p->text_fails && buf_add(&p->text, data, len) == 0;
}

/* No message without CRLF.CRLF: its text is whole lines, free of what was refused. */
static void
on_message(void *arg)
{
	struct play *p = arg;
	char size[24];
	struct str t = buf_str(&p->text);

	must(t.len == 0 || str_ends_nocase(t, STR("\r\n")), "message without line end");
	for (size_t i = 0; i < t.len; i++) {
		must(t.p[i] != '\0', "NUL in a message");
		must(t.p[i] != '\n' || (i > 0 && t.p[i - 1] == '\r'), "bare LF");
		must(
		    t.p[i] != '\r' || (i + 1 < t.len && t.p[i + 1] == '\n'), "bare CR");
	}
	(void)snprintf(size, sizeof(size), "%zu", t.len);
	note(p, "message:", str_of(size));
	p->messages++;
	buf_reset(&p->last);
	(void)buf_add_str(&p->last, t);
	buf_reset(&p->text);
	ask(p, PLAY_MESSAGE, false, false);
}

static void
on_reset(void *arg)
{
	note(arg, "reset", STR(""));
}

static void
note_attrs(struct play *p, const char *what, const struct session_attrs *a)
{
	char ip[IP_TEXT_MAX], text[800];

	(void)snprintf(text, sizeof(text), "%s/%s/%d/%s/%s",
	    a->name != NULL ? a->name : "-",
	    a->has_addr ? ip_format(&a->addr, ip) : "-", a->has_port ? a->port : -1,
	    a->helo != NULL ? a->helo : "-", a->ident != NULL ? a->ident : "-");
	for (size_t i = 0; text[i] != '\0'; i++)
		must(text[i] >= ' ' && text[i] <= '~', "attribute not printable");
	note(p, what, str_of(text));
}

static void
on_xclient(void *arg, const struct session_attrs *a)
{
	note_attrs(arg, "xclient:", a);
	ask(arg, PLAY_CONNECT, false, false);
}

static void
on_xforward(void *arg, const struct session_attrs *a)
{
	note_attrs(arg, "xforward:", a);
}

static const struct session_ops ops = { .connect = on_connect,
	.helo = on_helo,
	.mail = on_mail,
	.rcpt = on_rcpt,
	.data = on_data,
	.text = on_text,
	.message = on_message,
	.reset = on_reset,
	.xclient = on_xclient,
	.xforward = on_xforward };

void
play_init(struct play *p, const struct session_conf *conf, bool trusted, bool later)
{
	*p = (struct play){ .later = later, .now = 1000 };
	buf_init(&p->replies, PLAY_MAX);
	buf_init(&p->trace, PLAY_MAX);
	buf_init(&p->text, PLAY_MAX);
	buf_init(&p->last, PLAY_MAX);
	p->session = session_new(conf, &ops, p, trusted);
}

void
play_clear(struct play *p)
{
	session_free(p->session);
	buf_clear(&p->replies);
	buf_clear(&p->trace);
	buf_clear(&p->text);
	buf_clear(&p->last);
}

static void
drain(struct play *p)
{
	struct buf *out = session_output(p->session);

	(void)buf_add_str(&p->replies, buf_str(out));
	buf_reset(out);
}

void
play_start(struct play *p)
{
	session_start(p->session, p->now);
	drain(p);
}

void
play_go(struct play *p)
{
	/* Commands that wait in the session's buffer run as soon as they can. */
	do {
		if (p->open != PLAY_NONE)
			answer(p);
		drain(p);
		session_input(p->session, STR(""), p->now);
	} while (p->open != PLAY_NONE || session_output(p->session)->len > 0);
}

void
play_feed(struct play *p, struct str in, size_t step)
{
	size_t at = 0;

	while (at < in.len && session_state(p->session) != SESSION_CLOSED) {
		size_t n = in.len - at, room = session_room(p->session);

		n = step > 0 && n > step ? step : n;
		n = n > room ? room : n;
		must(n > 0, "no room, and nothing open");
		session_input(p->session, str_sub(in, at, at + n), p->now);
		at += n;
		play_go(p);
	}
}

void
play_codes(const struct play *p, struct buf *out)
{
	struct str rest = buf_str(&p->replies);
	struct err err;
	size_t used;

	while (rest.len > 0) {
		struct smtp_reply r;

		smtp_reply_init(&r);
		must(smtp_reply_feed(&r, rest, &used, &err) == PARSE_DONE,
		    "a reply that is none");
		(void)buf_addf(out, "%s%d", out->len > 0 ? " " : "", r.code);
		smtp_reply_clear(&r);
		rest = str_sub(rest, used, rest.len);
	}
}

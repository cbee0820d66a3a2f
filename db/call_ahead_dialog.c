/* SPDX-License-Identifier: BSD-2-Clause */
/* The states of a call-ahead, and what replies mean.  RFC 5321 4.3.2, RFC 3463. */
#include "db/call_ahead_dialog.h"

#include <assert.h>
#include <stdio.h>

#define OUT_MAX 2048 /* of commands; one is open at a time */
#define IN_MAX (2 * SMTP_REPLY_LINE_MAX)

static const char *const names[] = { "yes", "no", "trouble", "down" };
_Static_assert(sizeof(names) / sizeof(names[0]) == CALL_AHEAD_DOWN + 1, "state names");

const char *
call_ahead_state_name(enum call_ahead_state state)
{
	return names[state];
}

/* A refusal for ever that is not about the recipient: the server's own trouble
 * (5.3, 5.4), or it does not like how we talk (5.5; codes below 550, as 530 wants
 * authentication, unless they name the address: 501 5.1.3). */
static bool
about_us(int code, struct str enhanced)
{
	char subject = enhanced.len >= 4 && enhanced.p[3] == '.' ? enhanced.p[2] : '0';

	if (subject == '1' || subject == '2')
		return false;
	return code < 550 || (subject >= '3' && subject <= '5');
}

void
call_ahead_judge(int code, struct str text, struct call_ahead_answer *out)
{
	struct str enhanced = STR(""), rest = text;
	size_t n = 0;

	*out = (struct call_ahead_answer){ .code = code };
	if (smtp_reply_enhanced(code, text, &enhanced, &rest) &&
	    enhanced.len < sizeof(out->enhanced))
		memcpy(out->enhanced, enhanced.p, enhanced.len);
	for (size_t i = 0; i < rest.len && n + 1 < sizeof(out->text); i++)
		out->text[n++] = rest.p[i] == '\n'         ? ' '
		    : rest.p[i] >= ' ' && rest.p[i] <= '~' ? rest.p[i]
							   : '?';
	if (code >= 200 && code < 300)
		out->state = CALL_AHEAD_YES;
	else if (code >= 500 && !about_us(code, enhanced))
		out->state = CALL_AHEAD_NO;
	else
		out->state = CALL_AHEAD_TROUBLE;
}

void
dialog_init(struct dialog *d, const char *host)
{
	*d = (struct dialog){ .state = DIALOG_GREETING };
	(void)snprintf(d->host, sizeof(d->host), "%s", host);
	smtp_reply_init(&d->reply);
	buf_init(&d->in, IN_MAX);
	buf_init(&d->out, OUT_MAX);
}

void
dialog_clear(struct dialog *d)
{
	smtp_reply_clear(&d->reply);
	buf_clear(&d->in);
	buf_clear(&d->out);
}

bool
dialog_busy(const struct dialog *d)
{
	return d->state == DIALOG_MAIL || d->state == DIALOG_RCPT;
}

static void
broken(struct dialog *d, const char *why)
{
	d->state = DIALOG_BROKEN;
	(void)snprintf(d->why, sizeof(d->why), "%.99s", why);
}

static void
say(struct dialog *d, enum dialog_state next, const char *command, const char *arg,
    const char *behind)
{
	d->state = next;
	if (buf_addf(&d->out, "%s%s%s\r\n", command, arg, behind) < 0)
		broken(d, "command too long");
}

bool
dialog_ask(struct dialog *d, struct str rcpt)
{
	assert(d->state == DIALOG_READY);
	if (rcpt.len == 0 || rcpt.len >= sizeof(d->rcpt))
		return false;
	/* Nothing of a stranger's address may become a command, or end the path. */
	for (size_t i = 0; i < rcpt.len; i++)
		if (rcpt.p[i] <= ' ' || rcpt.p[i] > '~' || rcpt.p[i] == '<' ||
		    rcpt.p[i] == '>')
			return false;
	memcpy(d->rcpt, rcpt.p, rcpt.len);
	d->rcpt[rcpt.len] = '\0';
	say(d, DIALOG_MAIL, "MAIL FROM:<>", "", "");
	return true;
}

/* MAIL or RCPT has its answer. */
static void
answer(struct dialog *d, int code, struct str text)
{
	call_ahead_judge(code, text, &d->answer);
	if (d->state == DIALOG_MAIL) /* that was not about the recipient */
		d->answer.state = CALL_AHEAD_TROUBLE;
	d->answered = true;
	if (code == 421)
		broken(d, "421: the server closes");
	else
		say(d, DIALOG_RSET, "RSET", "", "");
}

static void
on_reply(struct dialog *d, int code, struct str text)
{
	bool good = code >= 200 && code < 300;

	switch (d->state) {
	case DIALOG_GREETING:
		if (good)
			say(d, DIALOG_EHLO, "EHLO ", d->host, "");
		else
			broken(d, "greeted with a refusal");
		break;
	case DIALOG_EHLO:
		if (good)
			d->state = DIALOG_READY;
		else if (code == 421)
			broken(d, "421: the server closes");
		else
			say(d, DIALOG_HELO, "HELO ", d->host, "");
		break;
	case DIALOG_HELO:
	case DIALOG_RSET:
		if (good)
			d->state = DIALOG_READY;
		else
			broken(d, "HELO or RSET refused");
		break;
	case DIALOG_MAIL:
		if (good)
			say(d, DIALOG_RCPT, "RCPT TO:<", d->rcpt, ">");
		else
			answer(d, code, text);
		break;
	case DIALOG_RCPT:
		answer(d, code, text);
		break;
	case DIALOG_READY: /* 421 for our idleness, or noise */
		broken(d, "the server speaks unasked");
		break;
	case DIALOG_BROKEN:
		break;
	}
}

/* Whole replies that lie in d->in. */
static void
eat(struct dialog *d)
{
	struct err err;
	size_t used;

	while (d->state != DIALOG_BROKEN) {
		enum parse p = smtp_reply_feed(&d->reply, buf_str(&d->in), &used, &err);

		buf_consume(&d->in, used);
		if (p == PARSE_ERROR)
			broken(d, err.text);
		if (p != PARSE_DONE)
			break;
		on_reply(d, d->reply.code, buf_str(&d->reply.text));
		smtp_reply_clear(&d->reply);
	}
}

void
dialog_feed(struct dialog *d, struct str in)
{
	while (in.len > 0 && d->state != DIALOG_BROKEN) {
		/* Less than a line stays behind: there is always room. */
		struct str piece = str_sub(in, 0, IN_MAX - d->in.len);

		(void)buf_add_str(&d->in, piece);
		in = str_sub(in, piece.len, in.len);
		eat(d);
	}
}

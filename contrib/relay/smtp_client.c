/* SPDX-License-Identifier: BSD-2-Clause */
/* The client's side of one SMTP transaction.  A reply must answer something: octets
 * that come before they were asked for, codes that differ within a reply, endless lines
 * and endless waiting all end the connection, and the message stays with the caller.
 * After the final dot nothing but the server's own 2yz means "sent". */
#include "contrib/relay/smtp_client.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/xalloc.h"
#include "common/mail/smtp_data.h"
#include "common/mail/smtp_reply.h"
#include "contrib/relay/smtp_commands.h"

enum {
	CHUNK = 32 * 1024, /* octets of the message read at once */
	READ_SIZE = 4096,
	IN_MAX = 2 * READ_SIZE, /* a reply line and a read */
	OUT_MAX = 2 << 20, /* commands of 1000 recipients, or a chunk stuffed */
	ROUNDS_MAX = 16, /* chunks written before others have their turn */
};

enum state {
	ST_CONNECT,
	ST_GREETING,
	ST_EHLO,
	ST_HELO,
	ST_XFORWARD, /* part 0 or 1, see xforward_part */
	ST_ENVELOPE, /* MAIL, RCPT, DATA: see sent and answered */
	ST_CONTENT,
	ST_END, /* final dot sent */
	ST_VOID, /* 354 without a recipient: the reply to an empty message */
	ST_DONE,
};

struct smtp_client {
	struct smtp_job job;
	void (*done)(void *arg, const struct smtp_result *result);
	void *arg;
	struct event *ev_read, *ev_write, *ev_timer;
	int fd;
	int start_error; /* errno of a connection that could not even be begun */
	enum state state;
	struct smtp_offer offer;
	int xforward_part;
	struct smtp_reply reply;
	struct buf in, out;
	size_t out_at; /* octets of out already written */
	/* Commands of the envelope by number: 0 MAIL, 1..n RCPT, n+1 DATA. */
	size_t sent, answered, accepted;
	bool mail_refused;
	struct smtp_data_out encoder;
	uint64_t header_at, message_at; /* octets of each given to the encoder */
	bool body_done;
	struct smtp_result result;
	struct smtp_outcome *rcpts;
};

/* --- outcomes ------------------------------------------------------------------------
 */

static void
outcome_set(struct smtp_outcome *o, int code, const char *enhanced, struct str text)
{
	size_t n = 0;

	*o = (struct smtp_outcome){ .code = code };
	snprintf(o->enhanced, sizeof(o->enhanced), "%s", enhanced);
	for (size_t i = 0; i < text.len && n + 1 < sizeof(o->text); i++) {
		unsigned char ch = (unsigned char)text.p[i];

		if (ch != '\n')
			o->text[n++] = ch >= ' ' && ch <= '~' ? (char)ch : '?';
		else if (n > 0 && o->text[n - 1] != ' ')
			o->text[n++] = ' ';
	}
	o->text[n] = '\0';
}

/* From the reply that was just read. */
static void
outcome_of_reply(struct smtp_client *c, struct smtp_outcome *o)
{
	struct str text = buf_str(&c->reply.text), enhanced, rest;
	char code[12] = "";

	if (smtp_reply_enhanced(c->reply.code, text, &enhanced, &rest) &&
	    enhanced.len < sizeof(code)) {
		memcpy(code, enhanced.p, enhanced.len);
		text = rest;
	}
	outcome_set(o, c->reply.code, code, text);
}

/* --- the end -------------------------------------------------------------------------
 */

static void
client_free(struct smtp_client *c)
{
	event_free(c->ev_timer);
	if (c->ev_read != NULL)
		event_free(c->ev_read);
	if (c->ev_write != NULL)
		event_free(c->ev_write);
	if (c->fd >= 0)
		close(c->fd);
	smtp_reply_clear(&c->reply);
	buf_clear(&c->in);
	buf_clear(&c->out);
	free(c->rcpts);
	free(c);
}

void
smtp_client_cancel(struct smtp_client *c)
{
	if (c != NULL)
		client_free(c);
}

/* Nobody reads the answer to QUIT: the mail's fate is known, and is told at once. */
static void
say_quit(struct smtp_client *c)
{
	static const char quit[] = "QUIT\r\n";

	if (c->out_at < c->out.len)
		return;
	if (send(c->fd, quit, sizeof(quit) - 1, MSG_NOSIGNAL | MSG_DONTWAIT) > 0)
		shutdown(c->fd, SHUT_WR);
}

/* It ended; the handler that is under way tells the caller when it returns. */
static void
finish(struct smtp_client *c, enum smtp_end end)
{
	c->state = ST_DONE;
	c->result.end = end;
	for (size_t i = 0; i < c->result.n_rcpts; i++) {
		struct smtp_outcome *o = &c->rcpts[i];

		if (o->code >= 400)
			continue;
		/* Its RCPT was taken or never asked: the message's fate is its own. */
		if (end == SMTP_SENT || end == SMTP_REFUSED)
			*o = c->result.whole;
		else
			*o = (struct smtp_outcome){ 0 };
	}
}

/* The last act of every handler. */
static void
settle(struct smtp_client *c)
{
	if (c->state != ST_DONE)
		return;
	c->result.rcpts = c->rcpts;
	c->done(c->arg, &c->result);
	client_free(c);
}

/* The connection does not work out. */
static void
broken(struct smtp_client *c, const char *why)
{
	char text[256];
	char ip[IP_TEXT_MAX];
	static const char *const steps[] = { "connecting", "waiting for the greeting",
		"EHLO", "HELO", "XFORWARD", "the envelope", "sending the message",
		"the final dot", "the final dot", "the end" };

	static_assert(sizeof(steps) / sizeof(steps[0]) == ST_DONE + 1, "one per state");
	snprintf(text, sizeof(text), "%s port %u: %s at %s",
	    ip_format(&c->job.target.ip, ip), c->job.target.port, why, steps[c->state]);
	outcome_set(&c->result.whole, 0, "", str_of(text));
	finish(c, c->state == ST_END ? SMTP_UNSURE : SMTP_BROKEN);
}

/* What the server said last ends it: with QUIT unless it closes anyway. */
static void
refused_by_server(struct smtp_client *c)
{
	outcome_of_reply(c, &c->result.whole);
	if (c->reply.code != 421)
		say_quit(c);
	finish(c, SMTP_REFUSED);
}

static void
refused_by_us(struct smtp_client *c, int code, const char *enhanced, const char *text)
{
	outcome_set(&c->result.whole, code, enhanced, str_of(text));
	finish(c, SMTP_REFUSED);
}

/* --- commands ------------------------------------------------------------------------
 */

static void
set_deadline(struct smtp_client *c, int64_t ms)
{
	struct timeval tv = { .tv_sec = (time_t)(ms / 1000),
		.tv_usec = (suseconds_t)(ms % 1000) * 1000 };

	event_add(c->ev_timer, &tv);
}

static uint64_t
message_size(const struct smtp_client *c)
{
	return c->job.header.len + c->job.message_len;
}

static const char *
rcpt_at(const struct smtp_client *c, size_t i)
{
	size_t n = c->job.rcpts != NULL ? c->job.rcpts[i] : i;

	return c->job.envelope->rcpts[n].address;
}

static void
send_hello(struct smtp_client *c, enum state state)
{
	c->state = state;
	buf_addf(&c->out, "%s %s\r\n", state == ST_EHLO ? "EHLO" : "HELO", c->job.helo);
	set_deadline(c, c->job.command_ms);
}

/* All that may be sent before the next reply: one command, or all (RFC 2920). */
static void
send_envelope(struct smtp_client *c)
{
	size_t last = c->result.n_rcpts + 1;

	while (c->sent <= last && (c->offer.pipelining || c->sent == c->answered)) {
		if (c->sent == 0)
			smtp_mail_command(
			    &c->out, c->job.envelope, &c->offer, message_size(c));
		else if (c->sent < last)
			smtp_rcpt_command(&c->out, rcpt_at(c, c->sent - 1));
		else
			buf_add_cstr(&c->out, "DATA\r\n");
		c->sent++;
	}
	set_deadline(c, c->job.command_ms);
}

static bool
any_8bit(const char *p, size_t len)
{
	unsigned char seen = 0;

	for (size_t i = 0; i < len; i++)
		seen |= (unsigned char)p[i];
	return (seen & 0x80) != 0;
}

/* Only asked for a server without 8BITMIME, which is rare enough to read it all. */
static bool
message_is_8bit(const struct smtp_client *c)
{
	bool found = any_8bit(c->job.header.p, c->job.header.len);
	char *chunk = xmalloc(CHUNK);

	for (uint64_t at = 0; !found && at < c->job.message_len;) {
		uint64_t left = c->job.message_len - at;
		ssize_t n = pread(c->job.message_fd, chunk, left < CHUNK ? left : CHUNK,
		    (off_t)(c->job.message_offset + at));

		if (n <= 0)
			break; /* sending it will find out what is wrong */
		found = any_8bit(chunk, (size_t)n);
		at += (uint64_t)n;
	}
	free(chunk);
	return found;
}

static void
start_envelope(struct smtp_client *c)
{
	/* From here on a refusal is about the message, not the host. */
	c->result.early = false;
	if (c->offer.size && c->offer.size_max > 0 &&
	    message_size(c) > c->offer.size_max) {
		say_quit(c);
		refused_by_us(
		    c, 552, "5.3.4", "message is larger than the next host takes");
		return;
	}
	if (!c->offer.eight_bit && message_is_8bit(c)) {
		say_quit(c);
		refused_by_us(c, 554, "5.6.3",
		    "message has 8-bit octets and the next host does not take them");
		return;
	}
	c->result.early = true;
	c->state = ST_ENVELOPE;
	send_envelope(c);
}

/* The next XFORWARD line that is due, else the envelope. */
static void
after_hello(struct smtp_client *c)
{
	c->state = ST_XFORWARD;
	while (c->job.xforward && c->xforward_part < 2)
		if (smtp_xforward_command(&c->out, c->job.envelope, c->offer.xforward,
			c->xforward_part++)) {
			set_deadline(c, c->job.command_ms);
			return;
		}
	start_envelope(c);
}

/* --- the message ---------------------------------------------------------------------
 */

/* The next piece of header or message into `raw`; -1: the file could not be read. */
static ssize_t
next_piece(struct smtp_client *c, char *raw)
{
	uint64_t left = c->job.header.len - c->header_at;

	if (left > 0) {
		size_t n = left < CHUNK ? (size_t)left : CHUNK;

		memcpy(raw, c->job.header.p + c->header_at, n);
		c->header_at += n;
		return (ssize_t)n;
	}
	left = c->job.message_len - c->message_at;
	if (left == 0)
		return 0;
	ssize_t n = pread(c->job.message_fd, raw, left < CHUNK ? left : CHUNK,
	    (off_t)(c->job.message_offset + c->message_at));

	if (n <= 0)
		return -1;
	c->message_at += (uint64_t)n;
	return n;
}

/* Fill out with the next part of the message. */
static void
feed_content(struct smtp_client *c)
{
	char *raw = xmalloc(CHUNK);
	ssize_t n = next_piece(c, raw);
	char *to = buf_reserve(&c->out, 2 * CHUNK + SMTP_DATA_END_MAX);

	assert(to != NULL);
	if (n > 0)
		c->out.len +=
		    smtp_data_encode(&c->encoder, (struct str){ raw, (size_t)n }, to);
	if (n == 0) {
		c->out.len += smtp_data_encode_end(&c->encoder, to);
		c->body_done = true;
	}
	free(raw);
	/* Either way the link is dropped without a final dot: the server keeps nothing.
	 */
	if (n < 0)
		broken(c, "the message could not be read");
	else if (c->encoder.bare_cr || c->encoder.bare_lf || c->encoder.nul)
		refused_by_us(
		    c, 554, "5.6.0", "message has a bare CR, a bare LF or a NUL");
}

/* --- replies -------------------------------------------------------------------------
 */

static void
on_data_reply(struct smtp_client *c)
{
	bool go = c->reply.code == 354;

	if (c->accepted > 0 && !go) {
		if (c->reply.code < 400)
			broken(c, "a reply other than 354");
		else
			refused_by_server(c);
		return;
	}
	if (c->accepted > 0) {
		c->state = ST_CONTENT;
		smtp_data_out_init(&c->encoder);
		set_deadline(c, c->job.data_ms);
		return;
	}
	if (go) {
		/* RFC 2920 3.1: a server may say 354 although it took no recipient. */
		buf_add_cstr(&c->out, ".\r\n");
		c->state = ST_VOID;
		set_deadline(c, c->job.command_ms);
		return;
	}
	say_quit(c);
	finish(c, SMTP_REFUSED);
}

/* The first refusal that is for a time counts for the whole, else the first one. */
static void
note_refusal(struct smtp_client *c, const struct smtp_outcome *o)
{
	struct smtp_outcome *whole = &c->result.whole;

	if (whole->code == 0 || (whole->code >= 500 && o->code < 500))
		*whole = *o;
}

static void
on_envelope_reply(struct smtp_client *c)
{
	size_t which = c->answered++, last = c->result.n_rcpts + 1;
	struct smtp_outcome o;

	outcome_of_reply(c, &o);
	c->result.early = false;
	if (c->reply.code == 421) {
		refused_by_server(c);
		return;
	}
	if (which == last) {
		on_data_reply(c);
		return;
	}
	bool ok = c->reply.code >= 200 && c->reply.code < 300;
	if (!ok && c->reply.code < 400) {
		broken(c, "a reply that is neither 2yz, 4yz nor 5yz");
		return;
	}
	if (which == 0) {
		c->mail_refused = !ok;
		if (!ok)
			c->result.whole = o;
	} else if (!c->mail_refused) {
		c->rcpts[which - 1] = o;
		c->accepted += ok ? 1 : 0;
		if (!ok)
			note_refusal(c, &o);
	}
	/* Without pipelining nothing more has been said: leave here. */
	bool none = c->mail_refused || (which == last - 1 && c->accepted == 0);
	if (none && c->sent <= last) {
		say_quit(c);
		finish(c, SMTP_REFUSED);
		return;
	}
	send_envelope(c);
}

static void
on_end_reply(struct smtp_client *c)
{
	if (c->reply.code >= 400) {
		refused_by_server(c);
		return;
	}
	if (c->reply.code >= 300) {
		broken(c, "a reply that is neither 2yz, 4yz nor 5yz");
		return;
	}
	outcome_of_reply(c, &c->result.whole);
	say_quit(c);
	finish(c, SMTP_SENT);
}

static void
on_hello_reply(struct smtp_client *c)
{
	if (c->reply.code >= 500 && c->state == ST_EHLO) {
		send_hello(c, ST_HELO);
		return;
	}
	if (c->reply.code >= 400) {
		refused_by_server(c);
		return;
	}
	if (c->state == ST_EHLO)
		smtp_offer_read(buf_str(&c->reply.text), &c->offer);
	after_hello(c);
}

/* A whole reply was read. */
static void
on_reply(struct smtp_client *c)
{
	switch (c->state) {
	case ST_GREETING:
		if (c->reply.code >= 300)
			refused_by_server(c);
		else
			send_hello(c, ST_EHLO);
		return;
	case ST_EHLO:
	case ST_HELO:
		on_hello_reply(c);
		return;
	case ST_XFORWARD:
		/* A refusal costs the next host some knowledge, not the mail. */
		if (c->reply.code == 421)
			refused_by_server(c);
		else
			after_hello(c);
		return;
	case ST_ENVELOPE:
		on_envelope_reply(c);
		return;
	case ST_CONTENT:
		if (c->reply.code >= 400)
			refused_by_server(c);
		else
			broken(c, "a reply before it was due");
		return;
	case ST_END:
		on_end_reply(c);
		return;
	case ST_VOID:
		say_quit(c);
		finish(c, SMTP_REFUSED);
		return;
	case ST_CONNECT:
	case ST_DONE:
		return;
	}
}

/* Does the server owe us a reply?  Not when nothing of what waits in out was said. */
static bool
reply_due(const struct smtp_client *c)
{
	if (c->out.len > 0 && c->out_at == 0)
		return false;
	return c->state != ST_CONTENT;
}

/* Understand what was read. */
static void
read_replies(struct smtp_client *c)
{
	struct err err;
	size_t used;

	while (c->state != ST_DONE && c->in.len > 0) {
		enum parse p = smtp_reply_feed(&c->reply, buf_str(&c->in), &used, &err);

		if (p == PARSE_ERROR) {
			broken(c, err.text);
			return;
		}
		buf_consume(&c->in, used);
		if (p == PARSE_MORE)
			return;
		/* Early, only a refusal makes sense: the server gives up. */
		if (!reply_due(c) && c->reply.code < 400)
			broken(c, "a reply before it was due");
		else if (!reply_due(c))
			refused_by_server(c);
		else
			on_reply(c);
		smtp_reply_clear(&c->reply);
	}
}

/* --- the socket ----------------------------------------------------------------------
 */

/* Take what the socket has.  Returns false when it is at its end. */
static bool
read_socket(struct smtp_client *c, const char **why)
{
	char *to = buf_reserve(&c->in, READ_SIZE);

	assert(to != NULL);
	ssize_t n = recv(c->fd, to, READ_SIZE, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return true;
	*why = n == 0 ? "connection closed" : strerror(errno);
	if (n <= 0)
		return false;
	c->in.len += (size_t)n;
	read_replies(c);
	return true;
}

/* The socket takes no more: what the server said last may be the reason. */
static void
write_failed(struct smtp_client *c)
{
	const char *why = strerror(errno);
	const char *ignored;

	read_socket(c, &ignored);
	if (c->state != ST_DONE)
		broken(c, why);
}

/* Send what is in out.  true: all is sent. */
static bool
flush(struct smtp_client *c)
{
	while (c->out_at < c->out.len) {
		ssize_t n = send(c->fd, c->out.p + c->out_at, c->out.len - c->out_at,
		    MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return false;
		if (n < 0) {
			write_failed(c);
			return false;
		}
		c->out_at += (size_t)n;
		if (c->state == ST_CONTENT)
			set_deadline(c, c->job.data_ms);
	}
	buf_reset(&c->out);
	c->out_at = 0;
	return true;
}

/* Write until the socket is full or nothing is left to say; a long message yields to
 * the other connections of the loop now and then. */
static void
write_on(struct smtp_client *c)
{
	for (int rounds = 0; rounds < ROUNDS_MAX && c->state != ST_DONE; rounds++) {
		if (!flush(c))
			break;
		if (c->state != ST_CONTENT)
			return;
		if (c->body_done) {
			c->state = ST_END;
			return;
		}
		feed_content(c);
	}
	if (c->state != ST_DONE)
		event_add(c->ev_write, NULL);
}

static void
on_connected(struct smtp_client *c)
{
	int error = 0;
	socklen_t len = sizeof(error);

	if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0)
		error = errno;
	if (error != 0) {
		broken(c, strerror(error));
		return;
	}
	c->state = ST_GREETING;
	set_deadline(c, c->job.command_ms);
	event_add(c->ev_read, NULL);
}

static void
on_writable(evutil_socket_t fd, short what, void *arg)
{
	struct smtp_client *c = arg;

	(void)fd;
	(void)what;
	if (c->state == ST_CONNECT)
		on_connected(c);
	else
		write_on(c);
	settle(c);
}

static void
on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct smtp_client *c = arg;
	const char *why;

	(void)fd;
	(void)what;
	if (!read_socket(c, &why))
		broken(c, why);
	else if (c->state != ST_DONE && (c->out.len > 0 || c->state == ST_CONTENT))
		write_on(c);
	settle(c);
}

/* Time is up, or the connection failed before the loop ran. */
static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct smtp_client *c = arg;

	(void)fd;
	(void)what;
	if (c->start_error != 0)
		broken(c, strerror(c->start_error));
	else
		broken(c, "no answer in time");
	settle(c);
}

static int
start_connect(struct smtp_client *c, struct event_base *base)
{
	struct sockaddr_storage sa;
	socklen_t len = ip_to_sockaddr(&c->job.target.ip, c->job.target.port, &sa);
	int on = 1;

	c->fd = socket(sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (c->fd < 0)
		return -1;
	/* Commands leave at once: pipelining already groups them. */
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	c->ev_read = event_new(base, c->fd, EV_READ | EV_PERSIST, on_readable, c);
	c->ev_write = event_new(base, c->fd, EV_WRITE, on_writable, c);
	if (c->ev_read == NULL || c->ev_write == NULL) {
		errno = ENOMEM;
		return -1;
	}
	if (connect(c->fd, (struct sockaddr *)&sa, len) != 0 && errno != EINPROGRESS)
		return -1;
	event_add(c->ev_write, NULL);
	return 0;
}

struct smtp_client *
smtp_client_start(struct event_base *base, const struct smtp_job *job,
    void (*done)(void *arg, const struct smtp_result *result), void *arg)
{
	struct smtp_client *c = xcalloc(1, sizeof(*c));

	c->job = *job;
	c->done = done;
	c->arg = arg;
	c->fd = -1;
	c->result.n_rcpts = job->rcpts != NULL ? job->n_rcpts : job->envelope->n_rcpts;
	c->result.early = true;
	c->rcpts = xcalloc(c->result.n_rcpts, sizeof(*c->rcpts));
	smtp_reply_init(&c->reply);
	buf_init(&c->in, IN_MAX);
	buf_init(&c->out, OUT_MAX);
	c->ev_timer = event_new(base, -1, 0, on_timer, c);
	if (c->ev_timer == NULL)
		abort(); /* out of memory, as xmalloc() would */
	if (start_connect(c, base) == 0) {
		set_deadline(c, job->connect_ms);
	} else {
		c->start_error = errno;
		set_deadline(c, 0);
	}
	return c;
}

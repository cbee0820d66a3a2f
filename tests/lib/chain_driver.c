/* SPDX-License-Identifier: BSD-2-Clause */
/* A session in small.  What a chain's answer becomes in SMTP is written here once more
 * on purpose: these tests must not pass because session and chain share a mistake. */
#include "tests/lib/chain_driver.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/base/xalloc.h"

#define ARGS_MAX 20

static void
give_up(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
	fprintf(stderr, "chain driver: no answer within 20 s\n");
	abort();
}

void
driver_wait(struct event_base *base, const bool *flag)
{
	struct timeval tv = { .tv_sec = 20 };
	struct event *timer = evtimer_new(base, give_up, NULL);

	evtimer_add(timer, &tv);
	while (!*flag)
		event_base_loop(base, EVLOOP_ONCE);
	event_free(timer);
}

void
driver_settle(struct chain_driver *d)
{
	for (int i = 0; i < 20; i++)
		event_base_loop(d->base, EVLOOP_NONBLOCK);
}

static void
on_done(void *arg, const struct chain_reply *reply)
{
	struct chain_driver *d = arg;

	d->done = true;
	d->reply = *reply;
	snprintf(d->filter, sizeof(d->filter), "%s",
	    reply->filter == NULL ? "" : reply->filter);
}

/* A step was begun: wait for its answer; code: when the chain lets it pass. */
static int
answer(struct chain_driver *d, int code)
{
	if (d->done)
		d->at_once = true;
	driver_wait(d->base, &d->done);
	switch (d->reply.action) {
	case CHAIN_CONTINUE:
	case CHAIN_HOLD:
		break;
	case CHAIN_DISCARD:
		d->discard = true;
		break;
	case CHAIN_REJECT:
	case CHAIN_TEMPFAIL:
		code = d->reply.code;
		break;
	case CHAIN_CLOSE:
		code = d->reply.code;
		d->closed = true;
		break;
	}
	d->done = false;
	return code;
}

static void
reset(struct chain_driver *d)
{
	d->in_mail = d->in_data = d->discard = false;
	d->n_accepted = 0;
	envelope_clear(&d->envelope);
	envelope_init(&d->envelope);
}

void
driver_init_client(struct chain_driver *d, struct event_base *base,
    const struct milter_filter_conf *filters, size_t n,
    const struct chain_client *client)
{
	*d = (struct chain_driver){ .base = base };
	buf_init(&d->out, 64u << 20);
	buf_init(&d->out_rcpts, 100000);
	envelope_init(&d->envelope);
	d->chain = milter_chain_new(base, filters, n, client);
}

void
driver_init(struct chain_driver *d, struct event_base *base,
    const struct milter_filter_conf *filters, size_t n)
{
	struct chain_client client = { .port = 54398,
		.name = "localhost",
		.resolve = "OK",
		.host = "mx.ok.example",
		.daemon = "T1",
		.local_port = 25 };

	ip_parse(STR("127.0.0.1"), &client.ip);
	client.local = client.ip;
	driver_init_client(d, base, filters, n, &client);
}

void
driver_clear(struct chain_driver *d)
{
	milter_chain_free(d->chain);
	envelope_clear(&d->envelope);
	buf_clear(&d->out);
	buf_clear(&d->out_rcpts);
	free(d->out_sender);
}

int
driver_connect(struct chain_driver *d)
{
	milter_chain_connect(d->chain, on_done, d);
	d->code = answer(d, 220);
	if (d->reply.action == CHAIN_TEMPFAIL)
		d->code = 220;
	if (d->reply.action == CHAIN_REJECT)
		d->code = 554;
	return d->code;
}

/* "FROM:<a@b> X=1 Y": path and arguments, borrowed from copy. */
static const char *
split(char *copy, const char **args, size_t *n_args)
{
	char *path = strchr(copy, ':');

	*n_args = 0;
	if (path == NULL)
		return "";
	path++;
	while (*path == ' ')
		path++;
	bool quoted = false;
	char *p = path;

	for (; *p != '\0' && (quoted || *p != ' '); p++) {
		if (*p == '"')
			quoted = !quoted;
	}
	while (*p == ' ' && *n_args < ARGS_MAX) {
		*p++ = '\0';
		args[(*n_args)++] = p;
		while (*p != '\0' && *p != ' ')
			p++;
	}
	return path;
}

/* Without <> and route, for the envelope. */
static char *
bare(const char *path)
{
	size_t len = strlen(path);

	if (len >= 2 && path[0] == '<' && path[len - 1] == '>')
		return xmemdup0(path + 1, len - 2);
	return xstrdup(path);
}

static int
mail(struct chain_driver *d, char *copy)
{
	const char *args[ARGS_MAX];
	char id[30];
	size_t n;
	const char *path = split(copy, args, &n);

	if (d->in_mail)
		return 503;
	reset(d);
	snprintf(id, sizeof(id), "ID%04d", ++d->n_ids);
	milter_chain_mail(d->chain, id, path, args, n, on_done, d);
	int code = answer(d, 250);

	if (code == 250) {
		char *sender = bare(path);

		d->in_mail = true;
		envelope_set(&d->envelope.sender, str_of(sender));
		free(sender);
	}
	return code;
}

static int
rcpt(struct chain_driver *d, char *copy)
{
	const char *args[ARGS_MAX];
	size_t n;
	const char *path = split(copy, args, &n);
	const char *refused = d->refuses == NULL ? NULL : d->refuses(path);

	if (!d->in_mail)
		return 503;
	milter_chain_rcpt(d->chain, path, args, n, refused, on_done, d);
	int code = answer(d, 250);

	if (code != 250)
		return code;
	if (refused != NULL)
		return (refused[0] - '0') * 100 + (refused[1] - '0') * 10 + refused[2] -
		    '0';
	char *address = bare(path);

	d->n_accepted++;
	envelope_add_rcpt(&d->envelope, address);
	free(address);
	return 250;
}

static int
data(struct chain_driver *d)
{
	if (!d->in_mail || d->n_accepted == 0)
		return 503;
	milter_chain_data(d->chain, on_done, d);
	int code = answer(d, 354);

	if (code == 354)
		d->in_data = true;
	else
		reset(d);
	return code;
}

int
driver_command(struct chain_driver *d, const char *line)
{
	struct str s = str_of(line);
	char *copy = xstrdup(line);

	if (str_starts_nocase(s, STR("EHLO ")) || str_starts_nocase(s, STR("HELO "))) {
		reset(d);
		milter_chain_helo(d->chain, copy + 5, on_done, d);
		d->code = answer(d, 250);
		if (!d->closed)
			d->code = 250;
	} else if (str_starts_nocase(s, STR("MAIL "))) {
		d->code = mail(d, copy);
	} else if (str_starts_nocase(s, STR("RCPT "))) {
		d->code = rcpt(d, copy);
	} else if (str_is_nocase(s, "DATA")) {
		d->code = data(d);
	} else if (str_is_nocase(s, "RSET")) {
		milter_chain_abort(d->chain);
		reset(d);
		d->code = 250;
	} else if (str_is_nocase(s, "QUIT")) {
		milter_chain_free(d->chain);
		d->chain = NULL;
		d->closed = true;
		d->code = 221;
	} else {
		milter_chain_unknown(d->chain, line, on_done, d);
		d->code = answer(d, 500);
	}
	free(copy);
	return d->code;
}

static void
keep(struct chain_driver *d, struct chain_message *m)
{
	header_render(m->header, &d->out);
	buf_add_cstr(&d->out, "\r\n");
	char *room = buf_reserve(&d->out, m->body_len);

	if (room == NULL ||
	    pread(m->body_fd, room, m->body_len, (off_t)m->body_offset) !=
		(ssize_t)m->body_len)
		abort();
	d->out.len += m->body_len;
	free(d->out_sender);
	d->out_sender = xstrdup(m->envelope->sender);
	buf_reset(&d->out_rcpts);
	for (size_t i = 0; i < m->envelope->n_rcpts; i++)
		buf_addf(&d->out_rcpts, "%s%s", i == 0 ? "" : " ",
		    m->envelope->rcpts[i].address);
}

int
driver_message(struct chain_driver *d, struct str text)
{
	struct chain_message m = { .header = header_new(),
		.received_first = true,
		.envelope = &d->envelope,
		.body_max = d->body_max,
		.body_offset = 3 };
	size_t body;
	struct err err;

	if (header_parse(m.header, text, &body, &err) != 0)
		abort();
	struct str received = STR(DRIVER_RECEIVED);

	header_insert(m.header, 0, STR("Received"), str_sub(received, 10, received.len),
	    false, &err);
	m.body_fd = memfd_create("body", MFD_CLOEXEC);
	m.body_len = text.len - body;
	if (write(m.body_fd, "xyz", 3) != 3 || /* the body need not begin at 0 */
	    write(m.body_fd, text.p + body, m.body_len) != (ssize_t)m.body_len)
		abort();
	milter_chain_message(d->chain, &m, on_done, d);
	d->code = answer(d, 250);
	buf_reset(&d->out);
	d->fate = d->code != 250            ? DRIVER_NOTHING
	    : d->discard                    ? DRIVER_GONE
	    : d->reply.action == CHAIN_HOLD ? DRIVER_HELD
					    : DRIVER_SENT;
	keep(d, &m); /* also of a message that was refused: it must be untouched */
	close(m.body_fd);
	header_free(m.header);
	reset(d);
	return d->code;
}

/* "alice@ok.example a@ok.example b@ok.example" as "alice>a+b". */
static void
note_sent(struct chain_driver *d, struct buf *sent)
{
	struct str rcpts = buf_str(&d->out_rcpts), rcpt, local;
	struct str sender = str_of(d->out_sender);
	char mark = '>';

	if (d->fate != DRIVER_SENT && d->fate != DRIVER_HELD)
		return;
	if (sent->len > 0)
		buf_add_char(sent, ',');
	if (d->fate == DRIVER_HELD)
		buf_add_cstr(sent, "hold:");
	str_cut(&sender, '@', &local);
	buf_add_str(sent, local);
	for (; str_cut(&rcpts, ' ', &rcpt); mark = '+') {
		str_cut(&rcpt, '@', &local);
		buf_add_char(sent, mark);
		buf_add_str(sent, local);
	}
}

void
driver_dialogue(struct chain_driver *d, struct buf *codes, struct buf *sent)
{
	static const char *const lines[] = { "EHLO client.example",
		"MAIL FROM:<alice@ok.example>", "RCPT TO:<a@ok.example>",
		"RCPT TO:<b@ok.example>", "DATA", "", "MAIL FROM:<bob@ok.example>",
		"RCPT TO:<c@ok.example>", "DATA", "", "QUIT" };
	struct str message =
	    STR("From: Alice <alice@ok.example>\r\nTo: a@ok.example\r\n"
		"Subject: hello\r\n\r\nbody line 1\r\n.dot line\r\n");

	buf_addf(codes, "%d", driver_connect(d));
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]) && !d->closed; i++) {
		if (lines[i][0] != '\0') {
			buf_addf(codes, "|%d", driver_command(d, lines[i]));
		} else if (d->in_data) {
			buf_addf(codes, "|%d", driver_message(d, message));
			note_sent(d, sent);
		}
		driver_settle(d);
	}
	if (sent->len == 0)
		buf_add_cstr(sent, "none");
}

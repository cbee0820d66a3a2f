/* SPDX-License-Identifier: BSD-2-Clause */
/* The last hop of tests, demo and bench: an SMTP server that takes everything.
 *
 *	sink [-l 127.0.0.1:0] [-m MAILDIR] [-s] [-v]
 *
 *	-m  write each message below MAILDIR (tmp, then new), its octets as they came, behind
 *	    one Return-Path and a Delivered-To per recipient (RFC 5321 4.4)
 *	-s  fsync each file before answering
 *	-v  one line per message on stdout
 *
 * Prints `listening ADDR` when ready and, after TERM or INT, `messages N octets N`.  Only
 * CRLF . CRLF ends a message (RFC 5321 4.1.1.4); stuffed dots are removed. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/buf.h"
#include "common/base/clock.h"
#include "common/base/err.h"
#include "common/base/str.h"
#include "common/base/xalloc.h"
#include "tests/lib/listen.h"

#define LINE_MAX_OCTETS 4096 /* of one command */
#define MESSAGE_MAX (256u << 20)
#define ENVELOPE_MAX (1u << 20)
#define READ_SIZE (256u << 10)

/* Where in the dialogue a connection is; the rest is where in a line of the message. */
enum at {
	AT_COMMAND,
	AT_TEXT, /* within a line */
	AT_CR, /* behind a CR */
	AT_LINE, /* behind CRLF */
	AT_DOT, /* behind CRLF . */
	AT_DOT_CR, /* behind CRLF . CR */
};

struct conn {
	struct conn *prev, *next; /* in the sink's list */
	int fd;
	enum at at;
	bool want_out, quitting;
	unsigned rcpts;
	struct buf in, out; /* a started command; replies not yet sent */
	struct buf envelope; /* what stands before the message */
	struct buf message;
};

struct sink {
	int epoll, listener, signals;
	const char *maildir;
	bool sync, verbose, stop;
	uint64_t messages, octets;
	char *scratch; /* READ_SIZE octets */
	struct conn *conns;
};

static void
reply(struct conn *c, const char *text)
{
	buf_add_cstr(&c->out, text);
	buf_add_cstr(&c->out, "\r\n");
}

static void
conn_reset(struct conn *c)
{
	c->rcpts = 0;
	buf_reset(&c->envelope);
	buf_reset(&c->message);
}

static void
conn_close(struct sink *s, struct conn *c)
{
	if (c->prev != NULL)
		c->prev->next = c->next;
	else
		s->conns = c->next;
	if (c->next != NULL)
		c->next->prev = c->prev;
	close(c->fd);
	buf_clear(&c->in);
	buf_clear(&c->out);
	buf_clear(&c->envelope);
	buf_clear(&c->message);
	free(c);
}

static int
write_all(int fd, struct str s)
{
	while (s.len > 0) {
		ssize_t n = write(fd, s.p, s.len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		s = str_sub(s, (size_t)n, s.len);
	}
	return 0;
}

/* tmp/NAME, then new/NAME: readers of a Maildir never see half a message. */
static int
maildir_write(struct sink *s, struct conn *c)
{
	char *name = xasprintf("%" PRId64 ".%d_%" PRIu64 ".sink", clock_wall(), (int)getpid(),
	    s->messages);
	char *tmp = xasprintf("%s/tmp/%s", s->maildir, name);
	char *new = xasprintf("%s/new/%s", s->maildir, name);
	int rc = -1;
	int fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

	if (fd >= 0) {
		rc = write_all(fd, buf_str(&c->envelope));
		if (rc == 0)
			rc = write_all(fd, buf_str(&c->message));
		if (rc == 0 && s->sync)
			rc = fsync(fd);
		if (close(fd) != 0)
			rc = -1;
		if (rc == 0)
			rc = rename(tmp, new);
	}
	if (rc != 0)
		fprintf(stderr, "sink: %s: %s\n", tmp, strerror(errno));
	free(name);
	free(tmp);
	free(new);
	return rc;
}

static void
message_done(struct sink *s, struct conn *c)
{
	c->at = AT_COMMAND;
	if (c->message.failed || c->envelope.failed) {
		reply(c, "552 5.3.4 message too big");
	} else if (s->maildir != NULL && maildir_write(s, c) != 0) {
		reply(c, "452 4.3.1 could not be stored");
	} else {
		s->messages++;
		reply(c, "250 2.0.0 taken");
		if (s->verbose)
			printf("message %" PRIu64 " rcpts %u\n", s->messages, c->rcpts);
	}
	conn_reset(c);
}

/* The part of an argument between < and >, as it stands. */
static struct str
address(struct str arg)
{
	ptrdiff_t open = str_index(arg, '<'), shut = str_index(arg, '>');

	if (open < 0 || shut < open)
		return STR("");
	return str_sub(arg, (size_t)open + 1, (size_t)shut);
}

static void
cmd_mail(struct conn *c, struct str arg)
{
	struct str from = address(arg);

	if (c->envelope.len > 0) {
		reply(c, "503 5.5.1 nested MAIL");
		return;
	}
	buf_addf(&c->envelope, "Return-Path: <%.*s>\r\n", STR_ARG(from));
	reply(c, "250 2.1.0 ok");
}

static void
cmd_rcpt(struct conn *c, struct str arg)
{
	struct str to = address(arg);

	if (c->envelope.len == 0 || to.len == 0) {
		reply(c, "503 5.5.1 MAIL first, then RCPT TO:<address>");
		return;
	}
	buf_addf(&c->envelope, "Delivered-To: %.*s\r\n", STR_ARG(to));
	c->rcpts++;
	reply(c, "250 2.1.5 ok");
}

static void
command(struct conn *c, struct str line)
{
	struct str verb = str_sub(line, 0, 4), arg = str_sub(line, 4, line.len);

	if (str_is_nocase(verb, "EHLO")) {
		conn_reset(c);
		reply(c, "250-sink.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n"
			 "250-SIZE 0\r\n250 ENHANCEDSTATUSCODES");
	} else if (str_is_nocase(verb, "HELO")) {
		conn_reset(c);
		reply(c, "250 sink.example");
	} else if (str_is_nocase(verb, "MAIL")) {
		cmd_mail(c, arg);
	} else if (str_is_nocase(verb, "RCPT")) {
		cmd_rcpt(c, arg);
	} else if (str_is_nocase(verb, "DATA") && c->rcpts > 0) {
		c->at = AT_LINE; /* a dot can be the very first octet */
		reply(c, "354 end with a dot");
	} else if (str_is_nocase(verb, "DATA")) {
		reply(c, "503 5.5.1 no recipient");
	} else if (str_is_nocase(verb, "RSET")) {
		conn_reset(c);
		reply(c, "250 2.0.0 ok");
	} else if (str_is_nocase(verb, "NOOP")) {
		reply(c, "250 2.0.0 ok");
	} else if (str_is_nocase(verb, "QUIT")) {
		reply(c, "221 2.0.0 bye");
		c->quitting = true;
	} else {
		reply(c, "500 5.5.2 unknown command");
	}
}

/* Keep octets of the message, or only their number when nobody wants them. */
static void
keep(struct sink *s, struct conn *c, const char *p, size_t len)
{
	s->octets += len;
	if (s->maildir != NULL)
		buf_add(&c->message, p, len);
}

/* One octet of the message at a place where it may matter; DONE when it was the last. */
static enum parse
data_octet(struct sink *s, struct conn *c, char o)
{
	switch (c->at) {
	case AT_COMMAND:
	case AT_TEXT:
		c->at = o == '\r' ? AT_CR : AT_TEXT;
		break;
	case AT_CR:
		c->at = o == '\n' ? AT_LINE : o == '\r' ? AT_CR : AT_TEXT;
		break;
	case AT_LINE:
		if (o == '.') { /* stuffed, or the end: not part of the message */
			c->at = AT_DOT;
			return PARSE_MORE;
		}
		c->at = o == '\r' ? AT_CR : AT_TEXT;
		break;
	case AT_DOT:
		if (o == '\r') {
			c->at = AT_DOT_CR;
			return PARSE_MORE;
		}
		c->at = AT_TEXT;
		break;
	case AT_DOT_CR:
		if (o == '\n')
			return PARSE_DONE;
		keep(s, c, "\r", 1);
		c->at = o == '\r' ? AT_CR : AT_TEXT;
		break;
	}
	keep(s, c, &o, 1);
	return PARSE_MORE;
}

/* Octets of a message.  Returns how many were eaten: all, or up to its end. */
static size_t
data_eat(struct sink *s, struct conn *c, struct str in)
{
	size_t i = 0;

	while (i < in.len) {
		if (c->at == AT_TEXT) { /* only a CR matters in a line */
			const char *cr = memchr(in.p + i, '\r', in.len - i);
			size_t run = cr == NULL ? in.len - i : (size_t)(cr - in.p) - i;

			keep(s, c, in.p + i, run);
			i += run;
			if (i == in.len)
				break;
		}
		if (data_octet(s, c, in.p[i++]) == PARSE_DONE) {
			message_done(s, c);
			break;
		}
	}
	return i;
}

/* One command line, or a piece of it.  Returns how many octets were eaten, 0: too long. */
static size_t
command_eat(struct conn *c, struct str in)
{
	const char *lf = memchr(in.p, '\n', in.len);
	size_t n = lf == NULL ? in.len : (size_t)(lf - in.p) + 1;

	if (buf_add(&c->in, in.p, n) != 0)
		return 0;
	if (lf != NULL) {
		command(c, str_trim(buf_str(&c->in)));
		buf_reset(&c->in);
	}
	return n;
}

static int
conn_eat(struct sink *s, struct conn *c, struct str in)
{
	while (in.len > 0 && !c->quitting) {
		size_t n = c->at == AT_COMMAND ? command_eat(c, in) : data_eat(s, c, in);

		if (n == 0)
			return -1;
		in = str_sub(in, n, in.len);
	}
	return 0;
}

/* Send what waits; -1: the connection is over. */
static int
conn_flush(struct sink *s, struct conn *c)
{
	while (c->out.len > 0) {
		ssize_t n = send(c->fd, c->out.p, c->out.len, MSG_NOSIGNAL);

		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0)
			return -1;
		buf_consume(&c->out, (size_t)n);
	}
	if (c->out.len == 0 && c->quitting)
		return -1;
	if (c->want_out != (c->out.len > 0)) {
		struct epoll_event ev = { .events = EPOLLIN, .data.ptr = c };

		c->want_out = c->out.len > 0;
		if (c->want_out)
			ev.events |= EPOLLOUT;
		return epoll_ctl(s->epoll, EPOLL_CTL_MOD, c->fd, &ev);
	}
	return 0;
}

static void
conn_ready(struct sink *s, struct conn *c, uint32_t events)
{
	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
		ssize_t n = recv(c->fd, s->scratch, READ_SIZE, 0);

		if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR) ||
		    (n > 0 && conn_eat(s, c, (struct str){ s->scratch, (size_t)n }) != 0)) {
			conn_close(s, c);
			return;
		}
	}
	if (conn_flush(s, c) != 0)
		conn_close(s, c);
}

static void
conn_accept(struct sink *s)
{
	int fd, on = 1;

	while ((fd = accept4(s->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		struct conn *c = xcalloc(1, sizeof(*c));
		struct epoll_event ev = { .events = EPOLLIN, .data.ptr = c };

		c->fd = fd;
		c->next = s->conns;
		if (s->conns != NULL)
			s->conns->prev = c;
		s->conns = c;
		buf_init(&c->in, LINE_MAX_OCTETS);
		buf_init(&c->out, ENVELOPE_MAX);
		buf_init(&c->envelope, ENVELOPE_MAX);
		buf_init(&c->message, MESSAGE_MAX);
		(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		reply(c, "220 sink.example ESMTP");
		if (epoll_ctl(s->epoll, EPOLL_CTL_ADD, fd, &ev) != 0 || conn_flush(s, c) != 0)
			conn_close(s, c);
	}
}

static void
sink_run(struct sink *s)
{
	struct epoll_event events[256];

	while (!s->stop) {
		int n = epoll_wait(s->epoll, events, 256, -1);

		for (int i = 0; i < n; i++) {
			if (events[i].data.ptr == &s->listener)
				conn_accept(s);
			else if (events[i].data.ptr == &s->signals)
				s->stop = true;
			else
				conn_ready(s, events[i].data.ptr, events[i].events);
		}
		if (s->verbose)
			fflush(stdout);
	}
}

static int
sink_open(struct sink *s, struct sockaddr_in *addr)
{
	struct epoll_event on_accept = { .events = EPOLLIN, .data.ptr = &s->listener };
	struct epoll_event on_signal = { .events = EPOLLIN, .data.ptr = &s->signals };
	sigset_t stop;

	sigemptyset(&stop);
	sigaddset(&stop, SIGTERM);
	sigaddset(&stop, SIGINT);
	s->scratch = xmalloc(READ_SIZE);
	s->epoll = epoll_create1(EPOLL_CLOEXEC);
	s->listener = addr_listen(addr);
	if (s->epoll < 0 || s->listener < 0 || sigprocmask(SIG_BLOCK, &stop, NULL) != 0)
		return -1;
	s->signals = signalfd(-1, &stop, SFD_CLOEXEC);
	if (s->signals < 0 ||
	    epoll_ctl(s->epoll, EPOLL_CTL_ADD, s->listener, &on_accept) != 0)
		return -1;
	return epoll_ctl(s->epoll, EPOLL_CTL_ADD, s->signals, &on_signal);
}

static int
maildir_make(const char *path)
{
	static const char *const sub[] = { "", "/tmp", "/new", "/cur" };

	for (size_t i = 0; i < sizeof(sub) / sizeof(sub[0]); i++) {
		char *dir = xasprintf("%s%s", path, sub[i]);
		int rc = mkdir(dir, 0755);

		free(dir);
		if (rc != 0 && errno != EEXIST)
			return -1;
	}
	return 0;
}

int
main(int argc, char **argv)
{
	struct sink s = { .epoll = -1 };
	struct sockaddr_in addr;
	const char *where = "127.0.0.1:0";
	char text[INET_ADDRSTRLEN];
	int opt;

	while ((opt = getopt(argc, argv, "l:m:sv")) != -1) {
		if (opt == 'l')
			where = optarg;
		else if (opt == 'm')
			s.maildir = optarg;
		else if (opt == 's')
			s.sync = true;
		else if (opt == 'v')
			s.verbose = true;
		else
			return 64;
	}
	if (!addr_parse(where, &addr) || optind != argc) {
		fprintf(stderr, "usage: sink [-l ADDR:PORT] [-m MAILDIR] [-s] [-v]\n");
		return 64;
	}
	if (s.maildir != NULL && maildir_make(s.maildir) != 0) {
		fprintf(stderr, "sink: %s: %s\n", s.maildir, strerror(errno));
		return 1;
	}
	if (sink_open(&s, &addr) != 0) {
		fprintf(stderr, "sink: %s: %s\n", where, strerror(errno));
		return 1;
	}
	printf("listening %s:%u\n", inet_ntop(AF_INET, &addr.sin_addr, text, sizeof(text)),
	    ntohs(addr.sin_port));
	fflush(stdout);
	sink_run(&s);
	printf("messages %" PRIu64 " octets %" PRIu64 "\n", s.messages, s.octets);
	while (s.conns != NULL)
		conn_close(&s, s.conns);
	free(s.scratch);
	return 0;
}

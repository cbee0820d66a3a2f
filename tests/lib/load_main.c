/* SPDX-License-Identifier: BSD-2-Clause */
/* A load generator: parallel SMTP sessions that send messages back to back.
 *
 *	load -c ADDR:PORT [-p SESSIONS] [-n MESSAGES] [-s OCTETS] [-r RCPTS] [-k PER_LINK]
 *	     [-f FROM_DOMAIN] [-t TO_DOMAIN] [-S SOURCE] [-u RUN] [-w SECONDS] [-x] [-e]
 *
 * A session sends PER_LINK messages over one connection (0: all of them), then opens
 * another.  MAIL, RCPT and DATA go out together where the server offers PIPELINING
 * (RFC 2920).  Sender and recipients of every message are different; RUN makes them
 * different from those of another run.  The latency of a message is the time from its
 * MAIL to the reply to its final dot.
 *
 * -x: each connection says by HAProxy's PROXY line that it comes from another address of
 * 198.18.0.0/15.  -e: envelopes only; each connection ends after its recipients, and the
 * latency is the time from connect to the reply to the last of them.
 *
 * Prints one line of fields separated by tabs:
 *	messages  refused  seconds  messages/s  p50  p90  p99  max   (latencies in microseconds)
 * refused counts messages that some reply other than 2xx ended; the first such reply goes
 * to stderr.  Exit status 0 when every message was taken, 1 when one was refused, 2 when
 * a connection failed or WAIT seconds (default 120) went by. */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/buf.h"
#include "common/base/clock.h"
#include "common/base/str.h"
#include "common/base/xalloc.h"
#include "tests/lib/listen.h"

#define SESSIONS_MAX 10000
#define MESSAGES_MAX 10000000
#define RCPTS_MAX 1000
#define REPLY_MAX 65536 /* octets of replies not yet read */

enum step { AT_GREETING, AT_EHLO, AT_MAIL, AT_RCPT, AT_DATA, AT_DOT, AT_RSET, AT_QUIT };

struct session {
	int fd;
	enum step step;
	bool pipelining, refused, want_out;
	uint64_t rcpts_answered, rcpts_taken;
	uint64_t on_link; /* messages begun on this connection */
	uint64_t number; /* of the message under way */
	int64_t begun; /* us */
	struct buf in, out;
};

struct load {
	struct sockaddr_in to, source;
	bool has_source, proxy, envelopes;
	uint32_t links; /* opened so far */
	uint64_t sessions, messages, size, rcpts, per_link, run, wait;
	const char *from, *rcpt_domain;
	int epoll;
	uint64_t begun, done, refused, open;
	int64_t *latency; /* us, of the messages taken */
	size_t n_latency;
	struct buf message; /* body with the final dot */
	bool told, broken;
};

static int session_flush(struct load *l, struct session *s);

/* Runs are far apart, so that caches know nobody. */
static void
put_proxy(struct load *l, struct session *s)
{
	uint32_t n = (uint32_t)(l->run * 7919 * 16 + l->links++) & 0x1ffff;

	buf_addf(&s->out, "PROXY TCP4 198.%u.%u.%u 127.0.0.1 40000 25\r\n", 18 + (n >> 16),
	    n >> 8 & 255, n & 255);
}

static int
session_open(struct load *l, struct session *s)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.ptr = s };

	s->fd = addr_connect(&l->to, l->has_source ? &l->source : NULL);
	if (s->fd < 0 || epoll_ctl(l->epoll, EPOLL_CTL_ADD, s->fd, &ev) != 0) {
		fprintf(stderr, "load: connect: %s\n", strerror(errno));
		return -1;
	}
	s->step = AT_GREETING;
	s->on_link = 0;
	s->want_out = s->pipelining = false;
	buf_reset(&s->in);
	buf_reset(&s->out);
	l->open++;
	s->begun = clock_mono_us();
	if (!l->proxy)
		return 0;
	put_proxy(l, s);
	return session_flush(l, s);
}

static void
session_shut(struct load *l, struct session *s)
{
	close(s->fd);
	s->fd = -1;
	l->open--;
}

static void
put_rcpts(const struct load *l, struct session *s)
{
	for (uint64_t r = 0; r < l->rcpts; r++)
		buf_addf(&s->out, "RCPT TO:<r%" PRIu64 ".%" PRIu64 ".%" PRIu64 "@%s>\r\n", l->run,
		    s->number, r, l->rcpt_domain);
}

/* Begin the next message, or part. */
static void
session_next(struct load *l, struct session *s)
{
	bool full = l->per_link > 0 && s->on_link >= l->per_link;

	if (full || l->begun >= l->messages) {
		buf_add_cstr(&s->out, "QUIT\r\n");
		s->step = AT_QUIT;
		return;
	}
	s->number = l->begun++;
	s->on_link++;
	s->refused = false;
	s->rcpts_answered = s->rcpts_taken = 0;
	if (!l->envelopes)
		s->begun = clock_mono_us();
	buf_addf(&s->out, "MAIL FROM:<s%" PRIu64 ".%" PRIu64 "@%s>\r\n", l->run, s->number,
	    l->from);
	if (s->pipelining) {
		put_rcpts(l, s);
		if (!l->envelopes)
			buf_add_cstr(&s->out, "DATA\r\n");
	}
	s->step = AT_MAIL;
}

/* A reply other than the one that the message needs. */
static void
refuse(struct load *l, struct session *s, struct str line)
{
	if (!s->refused)
		l->refused++;
	s->refused = true;
	if (!l->told)
		fprintf(stderr, "load: %.*s\n", STR_ARG(str_trim(line)));
	l->told = true;
}

static void
message_over(struct load *l, struct session *s)
{
	l->done++;
	if (!s->refused)
		l->latency[l->n_latency++] = clock_mono_us() - s->begun;
	session_next(l, s);
}

static void
after_rcpts(struct load *l, struct session *s)
{
	if (l->envelopes) {
		message_over(l, s);
	} else if (s->pipelining) {
		s->step = AT_DATA;
	} else if (s->rcpts_taken > 0) {
		buf_add_cstr(&s->out, "DATA\r\n");
		s->step = AT_DATA;
	} else {
		buf_add_cstr(&s->out, "RSET\r\n");
		s->step = AT_RSET;
	}
}

static void
on_mail(struct load *l, struct session *s, bool good, struct str line)
{
	if (!good)
		refuse(l, s, line);
	if (!good && !s->pipelining) {
		message_over(l, s);
		return;
	}
	if (!s->pipelining)
		put_rcpts(l, s);
	s->step = AT_RCPT;
}

static void
on_data(struct load *l, struct session *s, char kind, struct str line)
{
	if (kind == '3') {
		buf_add_str(&s->out, buf_str(&l->message));
		s->step = AT_DOT;
		return;
	}
	refuse(l, s, line);
	buf_add_cstr(&s->out, "RSET\r\n");
	s->step = AT_RSET;
}

/* The last line of a reply.  -1: this connection is over. */
static int
on_reply(struct load *l, struct session *s, struct str line)
{
	char kind = line.p[0];
	bool good = kind == '2';

	switch (s->step) {
	case AT_GREETING:
		if (!good)
			refuse(l, s, line);
		buf_add_cstr(&s->out, good ? "EHLO load.example\r\n" : "QUIT\r\n");
		s->step = good ? AT_EHLO : AT_QUIT;
		return 0;
	case AT_EHLO:
		session_next(l, s);
		return 0;
	case AT_MAIL:
		on_mail(l, s, good, line);
		return 0;
	case AT_RCPT:
		s->rcpts_taken += good;
		if (!good)
			refuse(l, s, line);
		if (++s->rcpts_answered == l->rcpts)
			after_rcpts(l, s);
		return 0;
	case AT_DATA:
		on_data(l, s, kind, line);
		return 0;
	case AT_DOT:
		if (!good)
			refuse(l, s, line);
		message_over(l, s);
		return 0;
	case AT_RSET:
		message_over(l, s);
		return 0;
	case AT_QUIT:
		return -1;
	}
	return -1;
}

static int
session_eat(struct load *l, struct session *s)
{
	const char *lf;

	while ((lf = memchr(s->in.p, '\n', s->in.len)) != NULL) {
		struct str line = { s->in.p, (size_t)(lf - s->in.p) + 1 };
		bool last = line.len > 3 && line.p[3] != '-';

		if (line.len < 5)
			return -1;
		if (s->step == AT_EHLO && str_starts_nocase(str_sub(line, 4, line.len), STR("PIPELINING")))
			s->pipelining = true;
		if (last && on_reply(l, s, line) != 0)
			return -1;
		buf_consume(&s->in, line.len);
		if (s->in.len == 0)
			break;
	}
	return 0;
}

static int
session_flush(struct load *l, struct session *s)
{
	while (s->out.len > 0) {
		ssize_t n = send(s->fd, s->out.p, s->out.len, MSG_NOSIGNAL);

		if (n < 0 && (errno == EAGAIN || errno == ENOTCONN))
			break;
		if (n < 0)
			return -1;
		buf_consume(&s->out, (size_t)n);
	}
	if (s->want_out != (s->out.len > 0)) {
		struct epoll_event ev = { .events = EPOLLIN, .data.ptr = s };

		s->want_out = s->out.len > 0;
		if (s->want_out)
			ev.events |= EPOLLOUT;
		return epoll_ctl(l->epoll, EPOLL_CTL_MOD, s->fd, &ev);
	}
	return 0;
}

static void
session_ready(struct load *l, struct session *s, uint32_t events)
{
	int rc = 0;

	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
		char *room = buf_reserve(&s->in, 4096);
		ssize_t n = room == NULL ? -1 : recv(s->fd, room, 4096, 0);

		if (n > 0) {
			s->in.len += (size_t)n;
			rc = session_eat(l, s);
		} else if (n == 0 || errno != EAGAIN) {
			rc = -1;
		}
	}
	if (rc == 0 && session_flush(l, s) == 0)
		return;
	if (s->step != AT_QUIT) {
		fprintf(stderr, "load: connection lost: %s\n", strerror(errno));
		l->broken = true;
	}
	session_shut(l, s);
	if (l->begun < l->messages && !l->broken && !(l->told && s->on_link == 0))
		l->broken = session_open(l, s) != 0;
}

static void
load_run(struct load *l)
{
	struct session *all = xcalloc(l->sessions, sizeof(*all));
	int64_t deadline = clock_mono_ms() + (int64_t)l->wait * 1000;
	struct epoll_event events[256];

	for (uint64_t i = 0; i < l->sessions && !l->broken; i++) {
		buf_init(&all[i].in, REPLY_MAX);
		buf_init(&all[i].out, l->message.len + RCPTS_MAX * 512);
		l->broken = session_open(l, &all[i]) != 0;
	}
	while (l->open > 0 && !l->broken) {
		int n = epoll_wait(l->epoll, events, 256, 1000);

		for (int i = 0; i < n; i++)
			session_ready(l, events[i].data.ptr, events[i].events);
		if (clock_mono_ms() > deadline) {
			fprintf(stderr, "load: not done in time: %" PRIu64 " of %" PRIu64 "\n",
			    l->done, l->messages);
			l->broken = true;
		}
	}
	for (uint64_t i = 0; i < l->sessions; i++) {
		buf_clear(&all[i].in);
		buf_clear(&all[i].out);
	}
	free(all);
}

/* A header and lines of 76 octets up to size, then the final dot. */
static void
message_make(struct load *l)
{
	struct buf *b = &l->message;

	buf_init(b, l->size + 4096);
	buf_addf(b, "From: <s@%s>\r\nTo: <r@%s>\r\nSubject: load\r\n"
		    "Message-ID: <%" PRIu64 "@%s>\r\nDate: Mon, 16 Nov 2026 10:00:00 +0000\r\n\r\n",
	    l->from, l->rcpt_domain, l->run, l->from);
	while (b->len + 78 < l->size) {
		for (int i = 0; i < 76; i++)
			buf_add_char(b, (char)('a' + (i + (int)(b->len & 7)) % 26));
		buf_add_cstr(b, "\r\n");
	}
	buf_add_cstr(b, ".\r\n");
}

static int
by_value(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return x < y ? -1 : x > y;
}

static int64_t
percentile(const struct load *l, unsigned p)
{
	size_t i = l->n_latency * p / 100;

	if (l->n_latency == 0)
		return 0;
	return l->latency[i < l->n_latency ? i : l->n_latency - 1];
}

static void
report(struct load *l, int64_t us)
{
	double seconds = (double)us / 1e6;

	qsort(l->latency, l->n_latency, sizeof(*l->latency), by_value);
	printf("%zu\t%" PRIu64 "\t%.3f\t%.1f\t%" PRId64 "\t%" PRId64 "\t%" PRId64 "\t%" PRId64 "\n",
	    l->n_latency, l->refused, seconds, (double)l->n_latency / seconds, percentile(l, 50),
	    percentile(l, 90), percentile(l, 99), percentile(l, 100));
}

static bool
number_option(struct load *l, int opt, const char *text)
{
	struct str s = str_of(text);

	switch (opt) {
	case 'p':
		return str_to_uint(s, 1, SESSIONS_MAX, &l->sessions);
	case 'n':
		return str_to_uint(s, 1, MESSAGES_MAX, &l->messages);
	case 's':
		return str_to_uint(s, 0, 1u << 28, &l->size);
	case 'r':
		return str_to_uint(s, 1, RCPTS_MAX, &l->rcpts);
	case 'k':
		return str_to_uint(s, 0, MESSAGES_MAX, &l->per_link);
	case 'u':
		return str_to_uint(s, 0, UINT32_MAX, &l->run);
	case 'w':
		return str_to_uint(s, 1, 86400, &l->wait);
	}
	return false;
}

static bool
options(struct load *l, int argc, char **argv)
{
	bool good = true, to = false;
	char source[64];
	int opt;

	while ((opt = getopt(argc, argv, "c:p:n:s:r:k:f:t:S:u:w:xe")) != -1) {
		if (opt == 'c') {
			to = addr_parse(optarg, &l->to);
		} else if (opt == 'f') {
			l->from = optarg;
		} else if (opt == 't') {
			l->rcpt_domain = optarg;
		} else if (opt == 'x') {
			l->proxy = true;
		} else if (opt == 'e') {
			l->envelopes = true;
			l->per_link = 1;
		} else if (opt == 'S') {
			(void)snprintf(source, sizeof(source), "%s:0", optarg);
			l->has_source = addr_parse(source, &l->source);
			good = good && l->has_source;
		} else {
			good = number_option(l, opt, optarg) && good;
		}
	}
	return good && to && optind == argc;
}

int
main(int argc, char **argv)
{
	struct load l = { .sessions = 10, .messages = 1000, .size = 4096, .rcpts = 1, .wait = 120,
		.from = "sender.example", .rcpt_domain = "local.example" };

	if (!options(&l, argc, argv)) {
		fprintf(stderr, "usage: load -c ADDR:PORT [-p SESSIONS] [-n MESSAGES] [-s OCTETS] "
				"[-r RCPTS] [-k PER_LINK] [-f FROM_DOMAIN] [-t TO_DOMAIN] "
				"[-S SOURCE] [-u RUN] [-w SECONDS] [-x] [-e]\n");
		return 64;
	}
	l.epoll = epoll_create1(EPOLL_CLOEXEC);
	if (l.epoll < 0)
		return 2;
	l.latency = xcalloc(l.messages, sizeof(*l.latency));
	message_make(&l);

	int64_t begin = clock_mono_us();
	load_run(&l);
	report(&l, clock_mono_us() - begin);
	buf_clear(&l.message);
	free(l.latency);
	close(l.epoll);
	if (l.broken || l.n_latency + l.refused < l.messages)
		return 2;
	return l.refused > 0 ? 1 : 0;
}

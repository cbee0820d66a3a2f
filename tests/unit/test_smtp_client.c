/* SPDX-License-Identifier: BSD-2-Clause */
/* The SMTP client against a server that plays a script: friendly ones, and hostile ones
 * (reliability: replies before commands, endless replies, a drop behind the dot).
 *
 *     S text    send a line            R text    send octets as they are (with \r\n)
 *     C prefix  a command must come    D         data up to the end mark; stored
 *     F         flood with continuation lines until the client goes
 *     X         close                  W         wait until the client closes
 */
#include <check.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "contrib/relay/smtp_client.h"
#include "contrib/relay/smtp_commands.h"

#define STEPS_MAX 40

struct server {
	int listener;
	uint16_t port;
	const char *const *script;
	char in[65536];
	size_t in_len;
	char data[1 << 20];
	size_t data_len;
	char said[8192]; /* commands as they came */
	char fault[256];
};

static bool
more(struct server *s, int fd)
{
	ssize_t n = recv(fd, s->in + s->in_len, sizeof(s->in) - s->in_len, 0);

	if (n > 0)
		s->in_len += (size_t)n;
	return n > 0;
}

static void
eat(struct server *s, size_t n)
{
	memmove(s->in, s->in + n, s->in_len - n);
	s->in_len -= n;
}

static bool
get_command(struct server *s, int fd, const char *prefix)
{
	char *lf;

	while ((lf = memchr(s->in, '\n', s->in_len)) == NULL)
		if (!more(s, fd)) {
			snprintf(s->fault, sizeof(s->fault), "no command %s", prefix);
			return false;
		}
	size_t len = (size_t)(lf - s->in) + 1;
	size_t have = strlen(s->said);
	snprintf(s->said + have, sizeof(s->said) - have, "%.*s", (int)len, s->in);
	bool ok = len >= strlen(prefix) && memcmp(s->in, prefix, strlen(prefix)) == 0;
	if (!ok)
		snprintf(s->fault, sizeof(s->fault), "%.*s, not %s", (int)len, s->in,
		    prefix);
	eat(s, len);
	return ok;
}

static bool
get_data(struct server *s, int fd)
{
	for (;;) {
		size_t room = sizeof(s->data) - s->data_len;
		size_t n = s->in_len < room ? s->in_len : room;

		memcpy(s->data + s->data_len, s->in, n);
		s->data_len += n;
		eat(s, n);
		if (s->data_len >= 3 && memcmp(s->data, ".\r\n", 3) == 0)
			return true;
		char *end = memmem(s->data, s->data_len, "\r\n.\r\n", 5);
		if (end != NULL) {
			/* what followed are commands */
			size_t used = (size_t)(end - s->data) + 5;

			s->in_len = s->data_len - used;
			memcpy(s->in, s->data + used, s->in_len);
			s->data_len = used;
			return true;
		}
		if (room == n || !more(s, fd)) {
			snprintf(s->fault, sizeof(s->fault), "data without an end");
			return false;
		}
	}
}

static void
flood(int fd)
{
	char line[1000];

	memset(line, 'x', sizeof(line));
	memcpy(line, "250-", 4);
	memcpy(line + sizeof(line) - 2, "\r\n", 2);
	for (int i = 0; i < 100000; i++)
		if (send(fd, line, sizeof(line), MSG_NOSIGNAL) < 0)
			return;
}

static bool
play(struct server *s, int fd, const char *step)
{
	const char *text = step + 2;

	switch (step[0]) {
	case 'S':
		dprintf(fd, "%s\r\n", text);
		return true;
	case 'R':
		return send(fd, text, strlen(text), MSG_NOSIGNAL) >= 0;
	case 'C':
		return get_command(s, fd, text);
	case 'D':
		return get_data(s, fd);
	case 'F':
		flood(fd);
		return true;
	case 'W':
		while (more(s, fd))
			s->in_len = 0;
		return true;
	default:
		return false;
	}
}

static void *
serve(void *arg)
{
	struct server *s = arg;
	int fd = accept(s->listener, NULL, NULL);

	for (size_t i = 0; fd >= 0 && s->script[i] != NULL; i++)
		if (!play(s, fd, s->script[i]))
			break;
	if (fd >= 0)
		close(fd);
	return NULL;
}

static const struct row {
	const char *name;
	const char *script[STEPS_MAX];
	enum smtp_end end;
	bool early;
	int whole, rcpt0, rcpt1; /* codes */
	const char *enhanced; /* of whole */
	const char *said; /* commands up to DATA, "" not checked */
	const char *body; /* NULL: the usual one */
} rows[] = {
	{ "plain server",
	    { "S 220 hi", "C EHLO me.example", "S 250 hello",
		"C MAIL FROM:<s@a.example>", "S 250 ok", "C RCPT TO:<r0@b.example>",
		"S 250 ok", "C RCPT TO:<r1@b.example>", "S 250 ok", "C DATA",
		"S 354 go", "D", "S 250 2.0.0 queued as 1", "W" },
	    SMTP_SENT, false, 250, 250, 250, "2.0.0",
	    "EHLO me.example\r\nMAIL FROM:<s@a.example>\r\nRCPT TO:<r0@b.example>\r\n"
	    "RCPT TO:<r1@b.example>\r\nDATA\r\n",
	    NULL },
	{ "pipelining, SIZE",
	    { "S 220 hi", "C EHLO",
		"R 250-hello\r\n250-PIPELINING\r\n250 SIZE 100000\r\n",
		"C MAIL FROM:<s@a.example> SIZE=38", "C RCPT", "C RCPT", "C DATA",
		"R 250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n", "D", "S 250 ok", "W" },
	    SMTP_SENT, false, 250, 250, 250, "", "", NULL },
	{ "8BITMIME offered",
	    { "S 220 hi", "C EHLO", "R 250-hello\r\n250 8BITMIME\r\n",
		"C MAIL FROM:<s@a.example> BODY=8BITMIME\r\n", "S 250 ok", "C RCPT",
		"S 250 ok", "C RCPT", "S 250 ok", "C DATA", "S 354 go", "D", "S 250 ok",
		"W" },
	    SMTP_SENT, false, 250, 250, 250, "", "", "\303\244\r\n" },
	{ "8-bit without 8BITMIME",
	    { "S 220 hi", "C EHLO", "S 250 hello", "C QUIT", "W" }, SMTP_REFUSED, false,
	    554, 554, 554, "5.6.3", "", "\303\244\r\n" },
	{ "too large",
	    { "S 220 hi", "C EHLO", "R 250-x\r\n250 SIZE 37\r\n", "C QUIT", "W" },
	    SMTP_REFUSED, false, 552, 552, 552, "5.3.4", "", NULL },
	{ "XFORWARD",
	    { "S 220 hi", "C EHLO",
		"R 250-x\r\n250-PIPELINING\r\n250 XFORWARD NAME ADDR PROTO HELO IDENT "
		"SOURCE\r\n",
		"C XFORWARD NAME=c+2Bd.example ADDR=192.0.2.7\r\n", "S 250 ok",
		"C XFORWARD PROTO=ESMTP HELO=h+20x IDENT=ID1 SOURCE=REMOTE\r\n",
		"S 250 ok", "C MAIL", "C RCPT", "C RCPT", "C DATA",
		"R 250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n", "D", "S 250 ok", "W" },
	    SMTP_SENT, false, 250, 250, 250, "", "", NULL },
	{ "HELO when EHLO is not known",
	    { "S 220 hi", "C EHLO", "S 502 what", "C HELO me.example", "S 250 hi",
		"C MAIL", "S 250 ok", "C RCPT", "S 250 ok", "C RCPT", "S 250 ok",
		"C DATA", "S 354 go", "D", "S 250 ok", "W" },
	    SMTP_SENT, false, 250, 250, 250, "", "", NULL },
	{ "one recipient refused",
	    { "S 220 hi", "C EHLO", "S 250 hi", "C MAIL", "S 250 ok", "C RCPT",
		"S 550 5.1.1 unknown", "C RCPT", "S 250 ok", "C DATA", "S 354 go", "D",
		"S 250 ok", "W" },
	    SMTP_SENT, false, 250, 550, 250, "", "", NULL },
	{ "one recipient refused, pipelining",
	    { "S 220 hi", "C EHLO", "R 250-x\r\n250 PIPELINING\r\n", "C MAIL", "C RCPT",
		"C RCPT", "C DATA",
		"R 250 ok\r\n450 4.2.0 busy\r\n250 ok\r\n354 go\r\n", "D", "S 250 ok",
		"W" },
	    SMTP_SENT, false, 250, 450, 250, "", "", NULL },
	{ "all recipients refused",
	    { "S 220 hi", "C EHLO", "S 250 hi", "C MAIL", "S 250 ok", "C RCPT",
		"S 550 5.1.1 unknown", "C RCPT", "S 450 4.2.0 busy", "C QUIT", "W" },
	    SMTP_REFUSED, false, 450, 550, 450, "4.2.0", "", NULL },
	{ "all refused, pipelining, DATA refused",
	    { "S 220 hi", "C EHLO", "R 250-x\r\n250 PIPELINING\r\n", "C MAIL", "C RCPT",
		"C RCPT", "C DATA", "R 250 a\r\n550 5.1.1 b\r\n551 c\r\n503 d\r\n",
		"C QUIT", "W" },
	    SMTP_REFUSED, false, 550, 550, 551, "5.1.1", "", NULL },
	{ "all refused, pipelining, DATA taken all the same",
	    { "S 220 hi", "C EHLO", "R 250-x\r\n250 PIPELINING\r\n", "C MAIL", "C RCPT",
		"C RCPT", "C DATA", "R 250 a\r\n550 5.1.1 b\r\n551 c\r\n354 go\r\n",
		"D", "S 250 ok", "W" },
	    SMTP_REFUSED, false, 550, 550, 551, "5.1.1", "", NULL },
	{ "sender refused, pipelining",
	    { "S 220 hi", "C EHLO", "R 250-x\r\n250 PIPELINING\r\n", "C MAIL", "C RCPT",
		"C RCPT", "C DATA", "R 550 5.7.1 no\r\n503 b\r\n503 c\r\n503 d\r\n",
		"W" },
	    SMTP_REFUSED, false, 550, 550, 550, "5.7.1", "", NULL },
	{ "greeting 554", { "S 554 go away", "W" }, SMTP_REFUSED, true, 554, 554, 554,
	    "", "", NULL },
	{ "greeting 421", { "R 421-too\r\n421 busy\r\n", "X" }, SMTP_REFUSED, true, 421,
	    421, 421, "", "", NULL },
	{ "end of data 5yz",
	    { "S 220 hi", "C EHLO", "S 250 hi", "C MAIL", "S 250 ok", "C RCPT",
		"S 250 ok", "C RCPT", "S 550 5.1.1 no", "C DATA", "S 354 go", "D",
		"S 554 5.7.1 virus", "C QUIT", "W" },
	    SMTP_REFUSED, false, 554, 554, 550, "5.7.1", "", NULL },
	{ "dropped behind the dot",
	    { "S 220 hi", "C EHLO", "S 250 hi", "C MAIL", "S 250 ok", "C RCPT",
		"S 250 ok", "C RCPT", "S 550 5.1.1 no", "C DATA", "S 354 go", "D",
		"X" },
	    SMTP_UNSURE, false, 0, 0, 550, "", "", NULL },
	{ "half a reply behind the dot",
	    { "S 220 hi", "C EHLO", "S 250 hi", "C MAIL", "S 250 ok", "C RCPT",
		"S 250 ok", "C RCPT", "S 250 ok", "C DATA", "S 354 go", "D", "R 250-o",
		"X" },
	    SMTP_UNSURE, false, 0, 0, 0, "", "", NULL },
	{ "closed at once", { "X" }, SMTP_BROKEN, true, 0, 0, 0, "", "", NULL },
	{ "silent", { "W" }, SMTP_BROKEN, true, 0, 0, 0, "", "", NULL },
	{ "replies before their commands",
	    { "R 220 hi\r\n250 hi\r\n250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n250 "
	      "ok\r\n",
		"W" },
	    SMTP_BROKEN, true, 0, 0, 0, "", "", NULL },
	{ "250 within the data",
	    { "S 220 hi", "C EHLO", "S 250 hi", "C MAIL", "S 250 ok", "C RCPT",
		"S 250 ok", "C RCPT", "S 250 ok", "C DATA", "R 354 go\r\n250 ok\r\n",
		"W" },
	    SMTP_BROKEN, false, 0, 0, 0, "", "", NULL },
	{ "endless reply", { "S 220 hi", "C EHLO", "F" }, SMTP_BROKEN, true, 0, 0, 0,
	    "", "", NULL },
	{ "codes that differ", { "S 220 hi", "C EHLO", "R 250-a\r\n350 b\r\n", "W" },
	    SMTP_BROKEN, true, 0, 0, 0, "", "", NULL },
	{ "no reply but noise", { "R HTTP/1.0 200 OK\r\n", "W" }, SMTP_BROKEN, true, 0,
	    0, 0, "", "", NULL },
	{ "250 instead of 354",
	    { "S 220 hi", "C EHLO", "S 250 hi", "C MAIL", "S 250 ok", "C RCPT",
		"S 250 ok", "C RCPT", "S 250 ok", "C DATA", "S 250 go", "W" },
	    SMTP_BROKEN, false, 0, 0, 0, "", "", NULL },
	{ "bare LF in the message",
	    { "S 220 hi", "C EHLO", "S 250 hi", "C MAIL", "S 250 ok", "C RCPT",
		"S 250 ok", "C RCPT", "S 250 ok", "C DATA", "S 354 go", "W" },
	    SMTP_REFUSED, false, 554, 554, 554, "5.6.0", "", "a\n.\nb\r\n" },
};

struct outcome {
	struct event_base *base;
	enum smtp_end end;
	bool early;
	struct smtp_outcome whole, rcpts[2];
	int calls;
};

static void
on_done(void *arg, const struct smtp_result *r)
{
	struct outcome *o = arg;

	o->calls++;
	o->end = r->end;
	o->early = r->early;
	o->whole = r->whole;
	ck_assert_uint_eq(r->n_rcpts, 2);
	memcpy(o->rcpts, r->rcpts, sizeof(o->rcpts));
	event_base_loopbreak(o->base);
}

static void
listen_on_loopback(struct server *s)
{
	struct sockaddr_in sa = { .sin_family = AF_INET };
	socklen_t len = sizeof(sa);

	sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	s->listener = socket(AF_INET, SOCK_STREAM, 0);
	ck_assert_int_eq(bind(s->listener, (struct sockaddr *)&sa, len), 0);
	ck_assert_int_eq(listen(s->listener, 5), 0);
	ck_assert_int_eq(getsockname(s->listener, (struct sockaddr *)&sa, &len), 0);
	s->port = ntohs(sa.sin_port);
}

static void
sample_envelope(struct envelope *e, bool eight_bit)
{
	envelope_init(e);
	snprintf(e->id, sizeof(e->id), "ID1");
	envelope_set(&e->sender, STR("s@a.example"));
	envelope_set(&e->client_name, STR("c+d.example"));
	envelope_set(&e->helo, STR("h x"));
	envelope_set(&e->proto, STR("ESMTP"));
	ip_parse(STR("192.0.2.7"), &e->client);
	envelope_add_rcpt(e, "r0@b.example");
	envelope_add_rcpt(e, "r1@b.example");
	e->body_8bit = eight_bit;
}

static void
run_job(struct server *s, struct str header, struct str body, struct outcome *o)
{
	struct envelope e;
	int fd = memfd_create("message", MFD_CLOEXEC);
	struct event_base *base = event_base_new();

	ck_assert_int_eq(write(fd, body.p, body.len), (ssize_t)body.len);
	sample_envelope(&e, body.len > 0 && (body.p[0] & 0x80) != 0);
	struct smtp_job job = { .target = { .port = s->port },
		.helo = "me.example",
		.envelope = &e,
		.header = header,
		.message_fd = fd,
		.message_len = body.len,
		.xforward = true,
		.connect_ms = 5000,
		.command_ms = 400,
		.data_ms = 2000 };
	ip_parse(STR("127.0.0.1"), &job.target.ip);
	*o = (struct outcome){ .base = base };
	smtp_client_start(base, &job, on_done, o);
	ck_assert_int_eq(o->calls, 0);
	event_base_dispatch(base);
	ck_assert_int_eq(o->calls, 1);
	event_base_free(base);
	envelope_clear(&e);
	close(fd);
}

START_TEST(scripts)
{
	const struct row *r = &rows[_i];
	struct server *s = calloc(1, sizeof(*s));
	struct outcome o;
	pthread_t thread;
	const char *body = r->body != NULL ? r->body : "\r\nhello\r\n.dot\r\nend\r\n";

	listen_on_loopback(s);
	s->script = r->script;
	ck_assert_int_eq(pthread_create(&thread, NULL, serve, s), 0);
	run_job(s, STR("Subject: x\r\nA: b\r\n"), str_of(body), &o);
	pthread_join(thread, NULL);
	close(s->listener);
	ck_assert_msg(s->fault[0] == '\0', "%s: server: %s", r->name, s->fault);
	ck_assert_msg(o.end == r->end, "%s: end %d: %s", r->name, o.end, o.whole.text);
	ck_assert_msg(o.early == r->early, "%s: early", r->name);
	ck_assert_msg(o.whole.code == r->whole, "%s: code %d", r->name, o.whole.code);
	ck_assert_msg(o.rcpts[0].code == r->rcpt0 && o.rcpts[1].code == r->rcpt1,
	    "%s: recipients %d %d", r->name, o.rcpts[0].code, o.rcpts[1].code);
	ck_assert_str_eq(o.whole.enhanced, r->enhanced);
	if (r->said[0] != '\0')
		ck_assert_msg(strncmp(s->said, r->said, strlen(r->said)) == 0,
		    "%s: said %s", r->name, s->said);
	if (o.end == SMTP_SENT && r->body == NULL)
		ck_assert_str_eq(s->data,
		    "Subject: x\r\nA: b\r\n\r\nhello\r\n..dot\r\nend\r\n.\r\n");
	free(s);
}
END_TEST

START_TEST(long_message)
{
	static const char *const script[] = { "S 220 hi", "C EHLO",
		"R 250-x\r\n250 PIPELINING\r\n", "C MAIL", "C RCPT", "C RCPT", "C DATA",
		"R 250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n", "D", "S 250 ok", "W",
		NULL };
	struct server *s = calloc(1, sizeof(*s));
	struct outcome o;
	struct buf body, wire;
	pthread_t thread;

	buf_init(&body, 1 << 20);
	buf_init(&wire, 1 << 20);
	buf_add_cstr(&body, "\r\n");
	buf_add_cstr(&wire, "S: x\r\n\r\n");
	for (int i = 0; i < 800; i++) {
		char line[1000];

		memset(line, 'a' + i % 26, 998);
		memcpy(line + 998, "\r\n", 2);
		if (i % 3 == 0)
			line[0] = '.';
		buf_add(&body, line, 1000);
		if (i % 3 == 0)
			buf_add_char(&wire, '.');
		buf_add(&wire, line, 1000);
	}
	buf_add_cstr(&wire, ".\r\n");
	listen_on_loopback(s);
	s->script = script;
	ck_assert_int_eq(pthread_create(&thread, NULL, serve, s), 0);
	run_job(s, STR("S: x\r\n"), buf_str(&body), &o);
	pthread_join(thread, NULL);
	ck_assert_int_eq(o.end, SMTP_SENT);
	ck_assert_uint_eq(s->data_len, wire.len);
	ck_assert_int_eq(memcmp(s->data, wire.p, wire.len), 0);
	close(s->listener);
	buf_clear(&body);
	buf_clear(&wire);
	free(s);
}
END_TEST

START_TEST(nobody_listens)
{
	struct server s = { 0 };
	struct outcome o;

	listen_on_loopback(&s);
	close(s.listener);
	run_job(&s, STR(""), STR("\r\n"), &o);
	ck_assert_int_eq(o.end, SMTP_BROKEN);
	ck_assert(o.early);
	ck_assert_ptr_nonnull(strstr(o.whole.text, "127.0.0.1"));
}
END_TEST

START_TEST(cancelled)
{
	struct event_base *base = event_base_new();
	struct outcome o = { .base = base };
	struct envelope e;
	struct server s = { 0 };

	listen_on_loopback(&s);
	sample_envelope(&e, false);
	struct smtp_job job = { .target = { .port = s.port },
		.helo = "me",
		.envelope = &e,
		.connect_ms = 100,
		.command_ms = 100,
		.data_ms = 100 };
	ip_parse(STR("127.0.0.1"), &job.target.ip);
	struct smtp_client *c = smtp_client_start(base, &job, on_done, &o);
	event_base_loop(base, EVLOOP_ONCE);
	smtp_client_cancel(c);
	event_base_dispatch(base);
	ck_assert_int_eq(o.calls, 0);
	event_base_free(base);
	envelope_clear(&e);
	close(s.listener);
}
END_TEST

static const struct offer_row {
	const char *text;
	struct smtp_offer offer;
} offer_rows[] = {
	{ "mx.example", { 0 } },
	{ "PIPELINING", { 0 } }, /* the greeting line offers nothing */
	{ "mx\nPIPELINING\n8bitmime\nSIZE", { true, true, true, 0, 0 } },
	{ "mx\nSIZE 12345\nXFORWARD NAME ident BOGUS",
	    { false, false, true, 12345, XFORWARD_NAME | XFORWARD_IDENT } },
	{ "mx\nSIZE 99999999999999999999\n\n \n", { false, false, true, 0, 0 } },
	{ "mx\nPIPELININGX\nX8BITMIME", { 0 } },
};

START_TEST(offers)
{
	const struct offer_row *r = &offer_rows[_i];
	struct smtp_offer o;

	smtp_offer_read(str_of(r->text), &o);
	ck_assert_int_eq(o.pipelining, r->offer.pipelining);
	ck_assert_int_eq(o.eight_bit, r->offer.eight_bit);
	ck_assert_int_eq(o.size, r->offer.size);
	ck_assert_uint_eq(o.size_max, r->offer.size_max);
	ck_assert_uint_eq(o.xforward, r->offer.xforward);
}
END_TEST

#define COUNT(a) ((int)(sizeof(a) / sizeof((a)[0])))

int
main(void)
{
	Suite *s = suite_create("smtp_client");
	TCase *t = tcase_create("client");

	tcase_set_timeout(t, 20);
	tcase_add_loop_test(t, scripts, 0, COUNT(rows));
	tcase_add_test(t, long_message);
	tcase_add_test(t, nobody_listens);
	tcase_add_test(t, cancelled);
	tcase_add_loop_test(t, offers, 0, COUNT(offer_rows));
	suite_add_tcase(s, t);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}

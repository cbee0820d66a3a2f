/* SPDX-License-Identifier: BSD-2-Clause */
/* Packets between listener, queue and delivery: what is written is read, what is cut or
 * padded is refused; the client's end with a queue process that answers, dies, or is
 * not there. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "contrib/relay/queue_client.h"
#include "contrib/relay/queue_link.h"

static void
sample(struct buf *b)
{
	static const uint16_t list[3] = { 1, 500, 999 };
	struct queue_packet p = { .verb = QUEUE_WORK,
		.seq = 77,
		.flag = 1,
		.number = 2525,
		.a = STR("ID"),
		.b = STR("host.example"),
		.list = list,
		.n_list = 3 };

	buf_init(b, QUEUE_PACKET_MAX);
	ck_assert_int_eq(queue_packet_write(b, &p), 0);
}

START_TEST(round_trip)
{
	struct buf b;
	struct queue_packet p;
	uint16_t list[QUEUE_LIST_MAX];

	sample(&b);
	ck_assert_int_eq(queue_packet_read(buf_str(&b), list, &p), 0);
	ck_assert_int_eq(p.verb, QUEUE_WORK);
	ck_assert_uint_eq(p.seq, 77);
	ck_assert_uint_eq(p.number, 2525);
	ck_assert(str_is(p.a, "ID") && str_is(p.b, "host.example") && p.c.len == 0);
	ck_assert_uint_eq(p.n_list, 3);
	ck_assert_uint_eq(p.list[1], 500);
	buf_clear(&b);
}
END_TEST

START_TEST(cut_and_padded)
{
	struct buf b;
	struct queue_packet p;
	uint16_t list[QUEUE_LIST_MAX];

	sample(&b);
	for (size_t i = 0; i < b.len; i++) {
		char *exact = malloc(i > 0 ? i : 1);

		memcpy(exact, b.p, i);
		ck_assert_int_eq(
		    queue_packet_read((struct str){ exact, i }, list, &p), -1);
		free(exact);
	}
	buf_add_char(&b, 'x');
	ck_assert_int_eq(queue_packet_read(buf_str(&b), list, &p), -1);
	buf_clear(&b);
}
END_TEST

START_TEST(list_too_long)
{
	struct buf b;
	struct queue_packet p;
	uint16_t list[QUEUE_LIST_MAX], many[QUEUE_LIST_MAX + 1] = { 0 };
	struct queue_packet long_one = {
		.verb = QUEUE_WORK, .list = many, .n_list = QUEUE_LIST_MAX + 1
	};

	buf_init(&b, QUEUE_PACKET_MAX);
	ck_assert_int_eq(queue_packet_write(&b, &long_one), -1);
	buf_reset(&b);
	long_one.n_list = QUEUE_LIST_MAX;
	ck_assert_int_eq(queue_packet_write(&b, &long_one), 0);
	b.p[14] = '\xff'; /* the list's length, in either order of octets */
	b.p[15] = '\xff';
	ck_assert_int_eq(queue_packet_read(buf_str(&b), list, &p), -1);
	buf_clear(&b);
}
END_TEST

/* --- the client against a queue process played by the test
 * ---------------------------- */

struct peer {
	struct event_base *base;
	struct event *listen;
	struct queue_link *link;
	int listen_fd;
	int accepted;
	bool mute; /* do not answer, but close at a submission */
	char got[64]; /* what was in the submitted file */
};

struct answer {
	struct event_base *base;
	int calls;
	bool durable;
	char text[100];
};

static void
peer_closed(void *arg)
{
	struct peer *p = arg;

	queue_link_free(p->link);
	p->link = NULL;
}

static void
peer_packet(void *arg, const struct queue_packet *packet, int fd)
{
	struct peer *p = arg;
	struct queue_packet state = {
		.verb = QUEUE_STATE, .flag = 0, .a = STR("full")
	};
	struct queue_packet result = {
		.verb = QUEUE_RESULT, .seq = packet->seq, .flag = 1, .a = STR("stored")
	};

	if (packet->verb != QUEUE_SUBMIT)
		return;
	ck_assert_int_ge(fd, 0);
	ck_assert_int_gt(pread(fd, p->got, sizeof(p->got) - 1, 0), 0);
	close(fd);
	if (p->mute) {
		peer_closed(p);
		return;
	}
	queue_link_send(p->link, &state, -1);
	queue_link_send(p->link, &result, -1);
}

static void
peer_accept(evutil_socket_t fd, short what, void *arg)
{
	struct peer *p = arg;
	int sock = accept(fd, NULL, NULL);

	(void)what;
	p->accepted++;
	p->link = queue_link_new(p->base, sock, peer_packet, peer_closed, p);
}

static void
on_answer(void *arg, bool durable, const char *text)
{
	struct answer *a = arg;

	a->calls++;
	a->durable = durable;
	snprintf(a->text, sizeof(a->text), "%s", text);
	event_base_loopbreak(a->base);
}

static void
submit(struct queue_client *c, struct answer *a)
{
	int fd = memfd_create("record", MFD_CLOEXEC);

	ck_assert_int_eq(write(fd, "octets", 6), 6);
	*a = (struct answer){ .base = a->base };
	queue_client_submit(c, "ID", fd, on_answer, a);
	ck_assert_int_eq(a->calls, 0);
	event_base_dispatch(a->base);
	ck_assert_int_eq(a->calls, 1);
}

START_TEST(client_answers)
{
	char address[QUEUE_ADDRESS_MAX];
	struct err err;
	const char *text;
	struct event_base *base = event_base_new();
	struct peer p = { .base = base };
	struct answer a = { .base = base };

	p.listen_fd = queue_socket(address, &err);
	ck_assert_msg(p.listen_fd >= 0, "%s", err.text);
	p.listen = event_new(base, p.listen_fd, EV_READ | EV_PERSIST, peer_accept, &p);
	event_add(p.listen, NULL);
	struct queue_client *c = queue_client_new(base, address);
	ck_assert(queue_client_accepting(c, &text));
	submit(c, &a);
	ck_assert(a.durable);
	ck_assert_str_eq(a.text, "stored");
	ck_assert_str_eq(p.got, "octets");
	ck_assert(!queue_client_accepting(c, &text));
	ck_assert_str_eq(text, "full");
	/* it dies with a submission: failed; the next one reaches its successor */
	p.mute = true;
	submit(c, &a);
	ck_assert(!a.durable);
	ck_assert(queue_client_accepting(c, &text));
	p.mute = false;
	submit(c, &a);
	ck_assert(a.durable);
	ck_assert_int_eq(p.accepted, 2);
	queue_client_free(c);
	queue_link_free(p.link);
	event_free(p.listen);
	event_base_free(base);
	close(p.listen_fd);
}
END_TEST

START_TEST(client_without_queue)
{
	char address[QUEUE_ADDRESS_MAX];
	struct err err;
	struct event_base *base = event_base_new();
	struct answer a = { .base = base };

	close(queue_socket(address, &err));
	struct queue_client *c = queue_client_new(base, address);
	submit(c, &a);
	ck_assert(!a.durable);
	ck_assert_int_gt((int)strlen(a.text), 5);
	queue_client_free(c);
	event_base_free(base);
}
END_TEST

/* More than the socket's buffer holds goes out in order as the peer reads. */
START_TEST(backlog)
{
	int pair[2];
	struct event_base *base = event_base_new();
	char text[4000];
	struct queue_packet p = { .verb = QUEUE_RESULT, .a = { text, sizeof(text) } };
	uint32_t read_seq = 0;

	memset(text, 'x', sizeof(text));
	ck_assert_int_eq(
	    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, pair), 0);
	struct queue_link *l = queue_link_new(base, pair[0], NULL, NULL, NULL);
	for (p.seq = 0; p.seq < 1000; p.seq++)
		queue_link_send(l, &p, -1);
	while (read_seq < 1000) {
		char in[QUEUE_PACKET_MAX];
		uint16_t list[QUEUE_LIST_MAX];
		struct queue_packet got;
		ssize_t n = recv(pair[1], in, sizeof(in), MSG_DONTWAIT);

		if (n < 0) {
			event_base_loop(base, EVLOOP_ONCE);
			continue;
		}
		ck_assert_int_eq(
		    queue_packet_read((struct str){ in, (size_t)n }, list, &got), 0);
		ck_assert_uint_eq(got.seq, read_seq++);
	}
	queue_link_free(l);
	close(pair[1]);
	event_base_free(base);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("queue_link");
	TCase *t = tcase_create("link");

	tcase_add_test(t, round_trip);
	tcase_add_test(t, cut_and_padded);
	tcase_add_test(t, list_too_long);
	tcase_add_test(t, client_answers);
	tcase_add_test(t, client_without_queue);
	tcase_add_test(t, backlog);
	suite_add_tcase(s, t);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}

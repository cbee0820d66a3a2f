/* SPDX-License-Identifier: BSD-2-Clause */
/* The chain's contract with the session (abort and free at any time), and the small
 * parts of the milter client: breaker, addresses, table of states. */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "contrib/relay/milter_breaker.h"
#include "contrib/relay/milter_filter.h"
#include "contrib/relay/milter_link.h"
#include "tests/lib/chain_rig.h"

#define COUNT(table) (int)(sizeof(table) / sizeof((table)[0]))

static void
count_done(void *arg, const struct chain_reply *reply)
{
	(void)reply;
	++*(int *)arg;
}

/* Abort while a step is under way: no answer comes, the next transaction is served. */
START_TEST(abort_within_a_step)
{
	struct chain_rig r;
	int n = 0;

	rig_init(&r, 1);
	milter_peer_rule(&r.peers[0], 'M', 1, PEER_SILENT, STR(""));
	rig_start(&r);
	driver_connect(&r.d);
	driver_command(&r.d, "EHLO x");
	milter_chain_mail(r.d.chain, "ID", "<a@b>", NULL, 0, count_done, &n);
	driver_settle(&r.d);
	milter_chain_abort(r.d.chain);
	driver_settle(&r.d);
	ck_assert_int_eq(n, 0);
	ck_assert_int_eq(driver_command(&r.d, "MAIL FROM:<alice@ok.example>"), 250);
	ck_assert_str_eq(rig_seen(&r, 0), "ODcCDhHDmM$ODcCDhHDmM");
	/* and an answer that lies ready is taken back */
	milter_chain_rcpt(r.d.chain, "<c@d>", NULL, 0, NULL, count_done, &n);
	milter_chain_abort(r.d.chain);
	driver_settle(&r.d);
	ck_assert_int_eq(n, 0);
	rig_clear(&r);
}
END_TEST

static void
free_chain(void *arg, const struct chain_reply *reply)
{
	struct chain_driver *d = arg;

	ck_assert_int_eq(reply->code, 550);
	milter_chain_free(d->chain);
	d->chain = NULL;
	d->done = true;
}

START_TEST(free_within_done)
{
	struct chain_rig r;

	rig_init(&r, 2);
	rig_reply(&r, 1, 'M', 1, 'r', STR(""));
	rig_start(&r);
	driver_connect(&r.d);
	driver_command(&r.d, "EHLO x");
	milter_chain_mail(r.d.chain, "ID", "<a@b>", NULL, 0, free_chain, &r.d);
	driver_wait(r.base, &r.d.done);
	ck_assert_str_eq(rig_seen(&r, 0), "ODcCDhHDmMAQ$");
	ck_assert_str_eq(rig_seen(&r, 1), "ODcCDhHDmMQ$");
	rig_clear(&r);
}
END_TEST

/* Free in any state, with answers under way. */
static const char *const last_steps[] = { "connect", "EHLO x", "MAIL FROM:<a@b>",
	"RCPT TO:<c@d>", "DATA" };

START_TEST(free_any_time)
{
	struct chain_rig r;
	int n = 0;

	rig_init(&r, 1);
	milter_peer_rule(&r.peers[0], "OHMRT"[_i], 1, PEER_SILENT, STR(""));
	rig_start(&r);
	if (_i > 0)
		driver_connect(&r.d);
	for (int i = 1; i < _i; i++)
		driver_command(&r.d, last_steps[i]);
	switch (_i) {
	case 0:
		milter_chain_connect(r.d.chain, count_done, &n);
		break;
	case 1:
		milter_chain_helo(r.d.chain, "x", count_done, &n);
		break;
	case 2:
		milter_chain_mail(r.d.chain, "ID", "<a@b>", NULL, 0, count_done, &n);
		break;
	case 3:
		milter_chain_rcpt(r.d.chain, "<c@d>", NULL, 0, NULL, count_done, &n);
		break;
	default:
		milter_chain_data(r.d.chain, count_done, &n);
		break;
	}
	driver_settle(&r.d);
	milter_chain_free(r.d.chain);
	r.d.chain = NULL;
	driver_settle(&r.d);
	ck_assert_int_eq(n, 0);
	ck_assert_str_eq(rig_seen(&r, 0) + r.peers[0].seen.len - 1, "$");
	rig_clear(&r);
}
END_TEST

/* --- small parts --- */

START_TEST(breaker)
{
	const char *a = "unix:/nowhere/breaker";

	for (int i = 0; i < MILTER_BREAKER_FAILURES; i++) {
		ck_assert(milter_breaker_may_try(a, 1000));
		milter_breaker_report(a, false);
	}
	ck_assert(!milter_breaker_may_try(a, 1000));
	ck_assert(!milter_breaker_may_try(a, 1999));
	ck_assert(milter_breaker_may_try(a, 2000));
	ck_assert(!milter_breaker_may_try(a, 2999)); /* one try a second */
	ck_assert(milter_breaker_may_try("unix:/nowhere/other", 2000));
	milter_breaker_report(a, true);
	ck_assert(milter_breaker_may_try(a, 2000));
	ck_assert(milter_breaker_may_try(a, 2000));
}
END_TEST

/* With the breaker open a session does not even try. */
START_TEST(breaker_in_the_chain)
{
	struct chain_rig r;

	rig_init(&r, 1);
	int64_t now = clock_mono_ms();

	for (int i = 0; i < MILTER_BREAKER_FAILURES; i++) {
		milter_breaker_may_try(r.peers[0].address, now + 500);
		milter_breaker_report(r.peers[0].address, false);
	}
	rig_start(&r);
	driver_connect(&r.d);
	ck_assert_int_eq(driver_command(&r.d, "MAIL FROM:<a@b>"), 451);
	ck_assert_int_eq(r.peers[0].n_connections, 0);
	milter_breaker_report(r.peers[0].address, true);
	ck_assert_int_eq(driver_command(&r.d, "MAIL FROM:<a@b>"), 250);
	rig_clear(&r);
}
END_TEST

static void
accept_late(evutil_socket_t fd, short what, void *arg)
{
	struct milter_peer *p = arg;

	(void)fd;
	(void)what;
	event_add(p->accept, NULL);
}

/* The filter's backlog is full for a while, which a Unix socket reports as an error. */
START_TEST(full_backlog)
{
	struct timeval later = { .tv_usec = 50000 };
	struct sockaddr_storage sa;
	struct chain_rig r;
	socklen_t len;
	int fds[64], n = 0;

	rig_init(&r, 1);
	event_del(r.peers[0].accept);
	ck_assert_int_eq(listen(r.peers[0].listener, 0), 0);
	ck_assert_int_eq(
	    milter_address(str_of(r.peers[0].address), &sa, &len, NULL), 0);
	do {
		ck_assert_int_lt(n, 64);
		fds[n] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
	} while (connect(fds[n++], (struct sockaddr *)&sa, len) == 0);
	ck_assert_int_eq(errno, EAGAIN);

	struct event *timer = evtimer_new(r.base, accept_late, &r.peers[0]);

	evtimer_add(timer, &later);
	ck_assert_int_eq(rig_send(&r), 250);
	ck_assert_int_eq(r.peers[0].n_connections, n);
	event_free(timer);
	while (n-- > 0)
		close(fds[n]);
	rig_clear(&r);
}
END_TEST

static const struct {
	const char *text;
	bool ok;
} addresses[] = {
	{ "unix:/run/x", true },
	{ "local:/run/x", true },
	{ "/run/x", true },
	{ "inet:8891@127.0.0.1", true },
	{ "inet:8891@[127.0.0.1]", true },
	{ "inet:8891@localhost", true },
	{ "inet6:8891@[::1]", true },
	{ "inet6:8891@localhost", true },
	{ "unix:run/x", false },
	{ "unix:", false },
	{ "run/x", false },
	{ "inet:8891", false },
	{ "inet:8891@", false },
	{ "inet:@127.0.0.1", false },
	{ "inet:0@127.0.0.1", false },
	{ "inet:99999@127.0.0.1", false },
	{ "inet:8891@::1", false },
	{ "inet6:8891@127.0.0.1", false },
	{ "inet:8891@mx.ok.example", false },
	{ "bogus:x", false },
	{ "", false },
	{ "/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	  "aaaaaa"
	  "aaaaaaaaaaaaaaaaaaaaaaaaaa",
	    false },
};

START_TEST(address)
{
	struct sockaddr_storage sa;
	struct err err = { .text = "" };
	socklen_t len;
	bool ok = milter_address(str_of(addresses[_i].text), &sa, &len, &err) == 0;

	ck_assert_int_eq(ok, addresses[_i].ok);
	ck_assert_int_eq(err.text[0] != '\0', !ok);
}
END_TEST

START_TEST(states)
{
	for (int s = 0; s < FILTER_STATES; s++) {
		bool leads_on = false;

		ck_assert_ptr_nonnull(filter_state_name((enum filter_state)s));
		for (int t = 0; t < FILTER_STATES; t++)
			leads_on = leads_on ||
			    filter_state_follows(
				(enum filter_state)s, (enum filter_state)t);
		ck_assert(leads_on);
		if (s != FILTER_DONE_CONN)
			ck_assert(filter_state_follows(
			    (enum filter_state)s, FILTER_DONE_CONN));
	}
	ck_assert(!filter_state_follows(FILTER_DONE_CONN, FILTER_ENVELOPE));
	ck_assert(!filter_state_follows(FILTER_FAILED, FILTER_READY));
	ck_assert(!filter_state_follows(FILTER_READY, FILTER_MESSAGE));
	ck_assert(!filter_state_follows(FILTER_DONE_MSG, FILTER_MESSAGE));
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("milter_filter");
	TCase *t = tcase_create("milter_filter");

	tcase_set_timeout(t, 30);
	tcase_add_test(t, abort_within_a_step);
	tcase_add_test(t, free_within_done);
	tcase_add_loop_test(t, free_any_time, 0, 5);
	tcase_add_test(t, breaker);
	tcase_add_test(t, breaker_in_the_chain);
	tcase_add_test(t, full_backlog);
	tcase_add_loop_test(t, address, 0, COUNT(addresses));
	tcase_add_test(t, states);
	suite_add_tcase(s, t);

	SRunner *r = srunner_create(s);

	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);

	srunner_free(r);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

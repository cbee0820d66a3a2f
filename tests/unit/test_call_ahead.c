/* SPDX-License-Identifier: BSD-2-Clause */
/* The dialogue of a call-ahead with servers of all sorts, whole and octet by octet. */
#include <check.h>
#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "db/call_ahead.h"

/* What the server says to each of our commands, LF for CRLF; then what became of it. */
static const struct {
	const char *what, *server[7], *commands, *rcpt;
	int state; /* enum call_ahead_state; -1: no answer */
	int code;
	const char *enhanced;
	enum dialog_state end;
} rows[] = {
	{ "yes",
	    { "220 in.example\n", "250-in\n250 SIZE\n", "250 ok\n", "250 2.1.5 ok\n",
		"250 ok\n" },
	    "EHLO we.example|MAIL FROM:<>|RCPT TO:<a@b.example>|RSET|", "a@b.example",
	    CALL_AHEAD_YES, 250, "2.1.5", DIALOG_READY },
	{ "no",
	    { "220 in\n", "250 in\n", "250 ok\n", "550-5.1.1 who\n550 5.1.1 is that\n",
		"250 ok\n" },
	    "EHLO we.example|MAIL FROM:<>|RCPT TO:<a@b.example>|RSET|", "a@b.example",
	    CALL_AHEAD_NO, 550, "5.1.1", DIALOG_READY },
	{ "an old server",
	    { "220 in\n", "502 what\n", "250 in\n", "250 ok\n", "250 ok\n",
		"250 ok\n" },
	    "EHLO we.example|HELO we.example|MAIL FROM:<>|RCPT TO:<a@b.example>|RSET|",
	    "a@b.example", CALL_AHEAD_YES, 250, "", DIALOG_READY },
	{ "busy",
	    { "220 in\n", "250 in\n", "250 ok\n", "450 4.2.1 busy\n", "250 ok\n" },
	    "EHLO we.example|MAIL FROM:<>|RCPT TO:<a@b.example>|RSET|", "a@b.example",
	    CALL_AHEAD_TROUBLE, 450, "4.2.1", DIALOG_READY },
	{ "no bounces wanted",
	    { "220 in\n", "250 in\n", "550 5.1.1 no null sender\n", "250 ok\n" },
	    "EHLO we.example|MAIL FROM:<>|RSET|", "a@b.example", CALL_AHEAD_TROUBLE,
	    550, "5.1.1", DIALOG_READY },
	{ "wants a password",
	    { "220 in\n", "250 in\n", "250 ok\n", "530 5.7.0 log in\n", "250 ok\n" },
	    "EHLO we.example|MAIL FROM:<>|RCPT TO:<a@b.example>|RSET|", "a@b.example",
	    CALL_AHEAD_TROUBLE, 530, "5.7.0", DIALOG_READY },
	{ "no such syntax",
	    { "220 in\n", "250 in\n", "250 ok\n", "501 5.1.3 odd\n", "250 ok\n" },
	    "EHLO we.example|MAIL FROM:<>|RCPT TO:<a@b.example>|RSET|", "a@b.example",
	    CALL_AHEAD_NO, 501, "5.1.3", DIALOG_READY },
	{ "out of order",
	    { "220 in\n", "250 in\n", "250 ok\n", "503 5.5.1 nested\n", "250 ok\n" },
	    "EHLO we.example|MAIL FROM:<>|RCPT TO:<a@b.example>|RSET|", "a@b.example",
	    CALL_AHEAD_TROUBLE, 503, "5.5.1", DIALOG_READY },
	{ "no enhanced code, below 550",
	    { "220 in\n", "250 in\n", "250 ok\n", "521 no mail\n", "250 ok\n" },
	    "EHLO we.example|MAIL FROM:<>|RCPT TO:<a@b.example>|RSET|", "a@b.example",
	    CALL_AHEAD_TROUBLE, 521, "", DIALOG_READY },
	{ "354 to RCPT",
	    { "220 in\n", "250 in\n", "250 ok\n", "354 go on\n", "250 ok\n" },
	    "EHLO we.example|MAIL FROM:<>|RCPT TO:<a@b.example>|RSET|", "a@b.example",
	    CALL_AHEAD_TROUBLE, 354, "", DIALOG_READY },
	{ "421 to RCPT", { "220 in\n", "250 in\n", "250 ok\n", "421 4.3.2 going\n" },
	    "EHLO we.example|MAIL FROM:<>|RCPT TO:<a@b.example>|", "a@b.example",
	    CALL_AHEAD_TROUBLE, 421, "4.3.2", DIALOG_BROKEN },
	{ "refused at the door", { "554 not you\n" }, "", "a@b.example", -1, 0, "",
	    DIALOG_BROKEN },
	{ "HELO refused", { "220 in\n", "550 no\n", "550 no\n" },
	    "EHLO we.example|HELO we.example|", "a@b.example", -1, 0, "",
	    DIALOG_BROKEN },
	{ "RSET refused",
	    { "220 in\n", "250 in\n", "250 ok\n", "250 ok\n", "500 what\n" },
	    "EHLO we.example|MAIL FROM:<>|RCPT TO:<a@b.example>|RSET|", "a@b.example",
	    CALL_AHEAD_YES, 250, "", DIALOG_BROKEN },
	{ "garbage", { "HTTP/1.1 400 Bad Request\n" }, "", "a@b.example", -1, 0, "",
	    DIALOG_BROKEN },
	{ "two codes", { "220 in\n", "250-in\n251 in\n" }, "EHLO we.example|",
	    "a@b.example", -1, 0, "", DIALOG_BROKEN },
	{ "speaks when idle", { "220 in\n", "250 in\n421 idle\n" }, "EHLO we.example|",
	    "", -1, 0, "", DIALOG_BROKEN },
};

/* Octets of the server, LF as CRLF, in pieces. */
static void
feed(struct dialog *d, const char *text, size_t step)
{
	char wire[300];
	size_t n = 0;

	for (const char *p = text; *p != '\0'; p++) {
		if (*p == '\n')
			wire[n++] = '\r';
		wire[n++] = *p;
	}
	for (size_t at = 0; at < n; at += step)
		dialog_feed(
		    d, (struct str){ wire + at, n - at < step ? n - at : step });
}

static void
take(struct dialog *d, struct buf *commands)
{
	for (size_t i = 0; i < d->out.len; i++)
		if (d->out.p[i] != '\r')
			buf_add_char(commands, d->out.p[i] == '\n' ? '|' : d->out.p[i]);
	buf_reset(&d->out);
}

static void
play(int i, size_t step)
{
	struct dialog d;
	struct buf commands;
	int state = -1;

	buf_init(&commands, 2000);
	dialog_init(&d, "we.example");
	for (size_t k = 0; k < 7 && rows[i].server[k] != NULL; k++) {
		feed(&d, rows[i].server[k], step);
		if (d.answered) {
			ck_assert_str_eq(d.rcpt, rows[i].rcpt);
			ck_assert_int_eq(state, -1);
			state = (int)d.answer.state;
			ck_assert_int_eq(d.answer.code, rows[i].code);
			ck_assert_str_eq(d.answer.enhanced, rows[i].enhanced);
			d.answered = false;
		} else if (d.state == DIALOG_READY && state == -1 &&
		    rows[i].rcpt[0] != '\0') {
			ck_assert(!dialog_busy(&d));
			ck_assert(dialog_ask(&d, str_of(rows[i].rcpt)));
			ck_assert(dialog_busy(&d));
		}
		take(&d, &commands);
	}
	ck_assert_str_eq(buf_cstr(&commands), rows[i].commands);
	ck_assert_int_eq(state, rows[i].state);
	ck_assert_int_eq(d.state, rows[i].end);
	ck_assert_int_eq(d.why[0] != '\0', d.state == DIALOG_BROKEN);
	dialog_clear(&d);
	buf_clear(&commands);
}

START_TEST(dialog)
{
	play(_i, 300);
	play(_i, 1);
	play(_i, 7);
}
END_TEST

static const struct {
	const char *rcpt;
	size_t len;
} unfit[] = {
	{ "", 0 },
	{ "a@b\r\nDATA", 9 },
	{ "a\0b@c", 5 },
	{ "\"a b\"@c", 7 },
	{ "a>@c", 4 },
	{ "a@b\x80", 4 },
	{ "a@b\x7f", 4 },
};

START_TEST(not_asked)
{
	struct dialog d;

	dialog_init(&d, "we.example");
	feed(&d, "220 in\n", 99);
	feed(&d, "250 in\n", 99);
	buf_reset(&d.out);
	ck_assert(!dialog_ask(&d, (struct str){ unfit[_i].rcpt, unfit[_i].len }));
	ck_assert_uint_eq(d.out.len, 0);
	ck_assert_int_eq(d.state, DIALOG_READY);
	dialog_clear(&d);
}
END_TEST

/* Nobody listens: DOWN at once, not at the deadline; and the next one as well. */
START_TEST(nobody_there)
{
	const char *const servers[] = { "127.0.0.1:1", "[::1]:1" };
	const struct call_ahead_conf conf = { .servers = servers,
		.n_servers = 2,
		.host = "we.example",
		.connections = 2,
		.command_ms = 20000 };
	struct err err;
	struct call_ahead *c = call_ahead_new(&conf, &err);
	const struct call_ahead_answer *a;

	ck_assert_msg(c != NULL, "%s", err.text);
	for (int i = 0; i < 5; i++) {
		struct future *f =
		    call_ahead_ask(c, STR("a@b.example"), clock_mono_ms() + 20000);

		ck_assert(future_wait(f, clock_mono_ms() + 10000));
		a = future_value(f);
		ck_assert_int_eq(a->state, CALL_AHEAD_DOWN);
		future_unref(f);
	}
	call_ahead_free(c);
}
END_TEST

START_TEST(bad_servers)
{
	static const char *const bad[] = { "mail.example", "10.0.0.1:0", "10.0.0.1:x",
		"10.0.0.1:70000", "::1:25:x", "" };
	const struct call_ahead_conf conf = { .servers = &bad[_i],
		.n_servers = 1,
		.host = "we.example",
		.connections = 1,
		.command_ms = 1000 };
	struct err err;

	ck_assert_ptr_null(call_ahead_new(&conf, &err));
	ck_assert_ptr_nonnull(strstr(err.text, "no address and port"));
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("call_ahead");
	TCase *t = tcase_create("whole");

	tcase_add_loop_test(t, dialog, 0, sizeof(rows) / sizeof(rows[0]));
	tcase_add_loop_test(t, not_asked, 0, sizeof(unfit) / sizeof(unfit[0]));
	tcase_add_test(t, nobody_there);
	tcase_add_loop_test(t, bad_servers, 0, 6);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed == 0 ? 0 : 1;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* Dialogues with the session's machine: whole, octet by octet, and with answers that
 * come later.  Each row says what is heard and what the driver was asked. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/lib/session_play.h"
#include "tests/lib/smtp_data_ref.h"

#define S(literal)                                                                     \
	{                                                                              \
		"" literal, sizeof(literal) - 1                                        \
	}
#define EHLO "EHLO c.example\r\n"

/* What differs between a client that waits and one that does not: rows with octets sent
 * blind are for one piece only. */
enum mode { ALL = 0, WHOLE_ONLY, TRUSTED };

static const struct row {
	const char *name;
	enum mode mode;
	struct str in;
	const char *codes; /* replies */
	const char *trace; /* behind "connect " */
} rows[] = {
	{ "nothing", ALL, S(""), "220", "" },
	{ "quit", ALL, S("QUIT\r\n"), "220 221", "" },
	{ "quit in lower case", ALL, S("quit\r\n"), "220 221", "" },
	{ "octets behind QUIT are dropped", ALL, S("QUIT\r\nNOOP\r\n"), "220 221", "" },
	/* order of commands */
	{ "MAIL before EHLO", ALL, S("MAIL FROM:<a@b.example>\r\n"), "220 503", "" },
	{ "RCPT before MAIL", ALL, S("HELO c\r\n"), "220 250", "helo:c" },
	{ "VRFY tells nothing", ALL, S("VRFY root\r\n"), "220 252", "" },
	{ "VRFY of nobody", ALL, S("VRFY\r\n"), "220 501", "" },
	{ "EXPN is not offered", ALL, S("EXPN list\r\n"), "220 502", "" },
	{ "STARTTLS is not offered", ALL, S("STARTTLS\r\n"), "220 502", "" },
	{ "AUTH is not offered", ALL, S("AUTH PLAIN AGEAYg==\r\n"), "220 502", "" },
	{ "BDAT ends the connection", ALL, S("BDAT 5 LAST\r\n"), "220 502", "" },
	{ "HELP", ALL, S("HELP\r\n"), "220 214", "" },
	{ "NOOP", ALL, S("NOOP what ever\r\n"), "220 250", "" },
	{ "RSET", ALL, S("RSET\r\n"), "220 250", "" },
	{ "RSET with argument", ALL, S("RSET x\r\n"), "220 501", "" },
	{ "unknown", ALL, S("XYZZY\r\n"), "220 500", "" },
	{ "HTTP", ALL, S("GET / HTTP/1.1\r\n"), "220 421", "" },
	{ "an empty line", ALL, S("\r\n"), "220 501", "" },
	{ "EHLO without name", ALL, S("EHLO\r\n"), "220 501", "" },
	{ "EHLO with two names", ALL, S("EHLO a b\r\n"), "220 501", "" },
	{ "EHLO with 8-bit name", ALL, S("EHLO caf\xc3\xa9\r\n"), "220 501", "" },
	{ "EHLO refused", ALL, S("EHLO deny.example\r\n"), "220 550",
	    "ehlo:deny.example" },
	/* line ends */
	{ "bare LF ends it", ALL, S("NOOP\nNOOP\r\n"), "220 500", "" },
	{ "bare CR is part of the line", ALL, S("NOOP\rNOOP\r\n"), "220 501", "" },
	{ "CR CR LF", ALL, S("NOOP\r\r\n"), "220 501", "" },
	{ "NUL", ALL, S("NO\0OP\r\n"), "220 501", "" },
};

/* The same behind EHLO, where pipelining is legal: octets in one piece. */
#define MAIL "MAIL FROM:<a@b.example>\r\n"
#define RCPT "RCPT TO:<c@d.example>\r\n"
static const struct row mail_rows[] = {
	{ "pipelined envelope", ALL, S(MAIL RCPT "DATA\r\n"), "250 250 354",
	    "mail:<a@b.example> rcpt:<c@d.example> data" },
	{ "two recipients, one refused", ALL,
	    S(MAIL "RCPT TO:<deny@d.example>\r\n" RCPT "DATA\r\n"), "250 550 250 354",
	    "mail:<a@b.example> rcpt:<deny@d.example> rcpt:<c@d.example> data" },
	{ "no recipient is left", ALL,
	    S(MAIL "RCPT TO:<deny@d.example>\r\nRCPT TO:<later@d.example>\r\nDATA\r\n"),
	    "250 550 451 503",
	    "mail:<a@b.example> rcpt:<deny@d.example> rcpt:<later@d.example>" },
	{ "sender refused", ALL, S("MAIL FROM:<deny@b.example>\r\n" RCPT "DATA\r\n"),
	    "550 503 503", "mail:<deny@b.example>" },
	{ "nested MAIL", ALL, S(MAIL MAIL), "250 503", "mail:<a@b.example>" },
	{ "RCPT without MAIL", ALL, S(RCPT), "503", "" },
	{ "DATA without MAIL", ALL, S("DATA\r\n"), "503", "" },
	{ "DATA with argument", ALL, S(MAIL RCPT "DATA x\r\n"), "250 250 501",
	    "mail:<a@b.example> rcpt:<c@d.example>" },
	{ "RSET in the middle", ALL, S(MAIL RCPT "RSET\r\n" MAIL), "250 250 250 250",
	    "mail:<a@b.example> rcpt:<c@d.example> reset mail:<a@b.example>" },
	{ "EHLO in the middle", ALL, S(MAIL EHLO), "250 250",
	    "mail:<a@b.example> reset ehlo:c.example" },
	{ "QUIT in the middle", ALL, S(MAIL "QUIT\r\n"), "250 221",
	    "mail:<a@b.example>" },
	{ "null sender", ALL, S("MAIL FROM:<>\r\n" RCPT RCPT), "250 250 250",
	    "mail:<> rcpt:<c@d.example> rcpt:<c@d.example>" },
	{ "NOOP, VRFY and HELP within", ALL, S(MAIL "NOOP\r\nVRFY x\r\nHELP\r\n" RCPT),
	    "250 250 252 214 250", "mail:<a@b.example> rcpt:<c@d.example>" },
	{ "blank after the colon", ALL, S("MAIL FROM: <a@b.example>\r\n"), "250",
	    "mail:<a@b.example>" },
	{ "postmaster alone", ALL, S(MAIL "RCPT TO:<Postmaster>\r\n"), "250 250",
	    "mail:<a@b.example> rcpt:<Postmaster>" },
	/* parameters */
	{ "SIZE", ALL, S("MAIL FROM:<a@b.example> SIZE=1000\r\n"), "250",
	    "mail+size:<a@b.example>" },
	{ "too big", ALL, S("MAIL FROM:<a@b.example> SIZE=99999999999\r\n"), "552",
	    "" },
	{ "SIZE=x", ALL, S("MAIL FROM:<a@b.example> SIZE=x\r\n"), "501", "" },
	{ "SIZE=-1", ALL, S("MAIL FROM:<a@b.example> SIZE=-1\r\n"), "501", "" },
	{ "SIZE over 64 bits", ALL,
	    S("MAIL FROM:<a@b.example> SIZE=99999999999999999999999\r\n"), "501", "" },
	{ "BODY=8BITMIME", ALL, S("MAIL FROM:<a@b.example> body=8bitmime\r\n"), "250",
	    "mail+8:<a@b.example>" },
	{ "BODY=7BIT", ALL, S("MAIL FROM:<a@b.example> BODY=7BIT\r\n"), "250",
	    "mail:<a@b.example>" },
	{ "BODY=BINARYMIME", ALL, S("MAIL FROM:<a@b.example> BODY=BINARYMIME\r\n"),
	    "501", "" },
	{ "AUTH=<>", ALL, S("MAIL FROM:<a@b.example> AUTH=<>\r\n"), "250",
	    "mail:<a@b.example>" },
	{ "AUTH= does not open the relay (row 24)", ALL,
	    S("MAIL FROM:<s@ext2.test> AUTH=<s@local.test>\r\nRCPT "
	      "TO:<deny@x.test>\r\n"),
	    "250 550", "mail:<s@ext2.test> rcpt:<deny@x.test>" },
	{ "AUTH=+0A", ALL, S("MAIL FROM:<a@b.example> AUTH=a+0Ab\r\n"), "501", "" },
	{ "AUTH=+0D+0A", ALL, S("MAIL FROM:<a@b.example> AUTH=a+0D+0AX:y\r\n"), "501",
	    "" },
	{ "AUTH=+00", ALL, S("MAIL FROM:<a@b.example> AUTH=a+00\r\n"), "501", "" },
	{ "AUTH= empty", ALL, S("MAIL FROM:<a@b.example> AUTH=\r\n"), "501", "" },
	{ "SMTPUTF8 is not offered", ALL, S("MAIL FROM:<a@b.example> SMTPUTF8\r\n"),
	    "555", "" },
	{ "DSN is not offered", ALL, S("MAIL FROM:<a@b.example> ENVID=x+0Ay\r\n"),
	    "555", "" },
	{ "ORCPT", ALL, S(MAIL "RCPT TO:<c@d.example> ORCPT=rfc822;x+0D+0A\r\n"),
	    "250 555", "mail:<a@b.example>" },
	/* addresses */
	{ "no <>", ALL, S("MAIL FROM:a@b.example\r\n"), "501", "" },
	{ "sender without domain", ALL, S("MAIL FROM:<s>\r\n"), "553", "" },
	{ "recipient <>", ALL, S(MAIL "RCPT TO:<>\r\n"), "250 501",
	    "mail:<a@b.example>" },
	{ "NUL in the sender", ALL, S("MAIL FROM:<v@ext\0@local.example>\r\n"), "501",
	    "" },
	{ "VT in the sender", ALL, S("MAIL FROM:<v\x0b@b.example>\r\n"), "501", "" },
	{ "8 bit in the sender", ALL, S("MAIL FROM:<v\x80@b.example>\r\n"), "553", "" },
	{ "UTF-8 in a recipient", ALL, S(MAIL "RCPT TO:<caf\xc3\xa9@d.example>\r\n"),
	    "250 553", "mail:<a@b.example>" },
	{ "shell characters are an address like any", ALL,
	    S("MAIL FROM:<\"|/bin/x;`id`$(id)\"@b.example>\r\n"), "250",
	    "mail:<\"|/bin/x;`id`$(id)\"@b.example>" },
	/* sent blind */
	{ "a body behind DATA", WHOLE_ONLY, S(MAIL RCPT "DATA\r\nSubject: x\r\n"),
	    "250 250 554", "mail:<a@b.example> rcpt:<c@d.example>" },
	{ "MAIL behind EHLO", WHOLE_ONLY, S(EHLO MAIL), "554", "" },
	{ "MAIL behind HELO", WHOLE_ONLY, S("HELO c\r\n" MAIL), "554", "" },
	{ "MAIL behind STARTTLS", WHOLE_ONLY, S("STARTTLS\r\n" MAIL), "554", "" },
	{ "MAIL behind AUTH", WHOLE_ONLY, S("AUTH X\r\n" MAIL), "554", "" },
	{ "chunk behind BDAT", WHOLE_ONLY, S(MAIL RCPT "BDAT 6\r\nQUIT\r\n"),
	    "250 250 554", "mail:<a@b.example> rcpt:<c@d.example>" },
	{ "one octet behind DATA", WHOLE_ONLY, S(MAIL RCPT "DATA\r\nS"), "250 250 554",
	    "mail:<a@b.example> rcpt:<c@d.example>" },
	/* XCLIENT and XFORWARD from a stranger */
	{ "XCLIENT of a stranger", ALL, S("XCLIENT ADDR=192.0.2.1\r\n"), "550", "" },
	{ "XFORWARD of a stranger", ALL, S("XFORWARD ADDR=192.0.2.1\r\n"), "550", "" },
	/* and of a friend */
	{ "XCLIENT", TRUSTED,
	    S("XCLIENT ADDR=192.0.2.1 NAME=mx.example PORT=2500 PROTO=ESMTP HELO=h "
	      "LOGIN=me "
	      "DESTADDR=192.0.2.9 DESTPORT=25\r\n"),
	    "220", "xclient:mx.example/192.0.2.1/2500/h/-" },
	{ "XCLIENT needs EHLO again", TRUSTED, S("XCLIENT ADDR=IPV6:2001:db8::1\r\n"),
	    "220", "xclient:-/2001:db8::1/-1/-/-" },
	{ "XCLIENT unavailable", TRUSTED,
	    S("XCLIENT ADDR=[UNAVAILABLE] NAME=[TEMPUNAVAIL] HELO=[unavailable]\r\n"),
	    "220", "xclient://-1//-" },
	{ "XCLIENT within a transaction", TRUSTED, S(MAIL "XCLIENT ADDR=192.0.2.1\r\n"),
	    "250 503", "mail:<a@b.example>" },
	{ "XCLIENT without attributes", TRUSTED, S("XCLIENT\r\n"), "501", "" },
	{ "XCLIENT unknown attribute", TRUSTED, S("XCLIENT COLOR=red\r\n"), "501", "" },
	{ "XCLIENT bad address", TRUSTED, S("XCLIENT ADDR=192.0.2.256\r\n"), "501",
	    "" },
	{ "XCLIENT bad port", TRUSTED, S("XCLIENT PORT=65536\r\n"), "501", "" },
	{ "XCLIENT encoded LF", TRUSTED, S("XCLIENT NAME=a+0Ab\r\n"), "501", "" },
	{ "XCLIENT encoded NUL", TRUSTED, S("XCLIENT NAME=a+00b\r\n"), "501", "" },
	{ "XCLIENT lower-case hex", TRUSTED, S("XCLIENT NAME=a+2b\r\n"), "501", "" },
	{ "XCLIENT encoded 8 bit", TRUSTED, S("XCLIENT NAME=a+C3+A9\r\n"), "501", "" },
	{ "XCLIENT IDENT is XFORWARD's", TRUSTED, S("XCLIENT IDENT=x\r\n"), "501", "" },
	{ "XFORWARD", TRUSTED,
	    S("XFORWARD NAME=a+2Bb ADDR=192.0.2.1 PORT=[UNAVAILABLE]\r\nXFORWARD "
	      "HELO=h "
	      "PROTO=ESMTP SOURCE=REMOTE IDENT=abc\r\n" MAIL),
	    "250 250 250",
	    "xforward:a+b/192.0.2.1/0/-/- xforward:-/-/-1/h/abc mail:<a@b.example>" },
	{ "XFORWARD within a transaction", TRUSTED, S(MAIL "XFORWARD HELO=x\r\n"),
	    "250 503", "mail:<a@b.example>" },
};

static struct session_conf
conf(void)
{
	struct session_conf c = session_conf_default;

	c.host = "test.example";
	c.message_size = 1u << 20;
	c.error_delay_ms = 0;
	return c;
}

static void
compare(const struct play *p, const char *name, const char *codes, const char *trace)
{
	struct buf seen;

	buf_init(&seen, 100000);
	play_codes(p, &seen);
	ck_assert_msg(str_is(buf_str(&seen), codes), "%s: heard %s, not %s", name,
	    buf_cstr(&seen), codes);
	ck_assert_msg(str_is(buf_str(&p->trace), trace),
	    "%s: asked \"%.*s\", not \"%s\"", name, (int)p->trace.len, p->trace.p,
	    trace);
	ck_assert_uint_eq(p->questions, p->answers);
	buf_clear(&seen);
}

static void
one_way(const struct row *r, bool hello, size_t step, bool later)
{
	struct session_conf c = conf();
	struct play p;
	char *codes, *trace;

	play_init(&p, &c, r->mode == TRUSTED, later);
	play_start(&p);
	play_go(&p);
	if (hello)
		play_feed(&p, STR(EHLO), 0);
	play_feed(&p, r->in, step);
	ck_assert_int_gt(
	    asprintf(&codes, "%s%s", hello ? "220 250 " : "", r->codes), 0);
	ck_assert_int_gt(
	    asprintf(&trace, "connect%s%s%s", hello ? " ehlo:c.example" : "",
		r->trace[0] != '\0' ? " " : "", r->trace),
	    0);
	compare(&p, r->name, codes, trace);
	free(codes);
	free(trace);
	play_clear(&p);
}

static void
all_ways(const struct row *r, bool hello)
{
	for (int later = 0; later < 2; later++) {
		one_way(r, hello, 0, later);
		if (r->mode == WHOLE_ONLY)
			continue;
		one_way(r, hello, 1, later);
		one_way(r, hello, 7, later);
	}
}

START_TEST(greeted)
{
	all_ways(&rows[_i], false);
}
END_TEST

START_TEST(transaction)
{
	all_ways(&mail_rows[_i], true);
}
END_TEST

/* --- messages --- */

#define OPEN MAIL RCPT "DATA\r\n"

static void
begin(struct play *p, const struct session_conf *c, bool later)
{
	play_init(p, c, false, later);
	play_start(p);
	play_go(p);
	play_feed(p, STR(EHLO), 0);
	play_feed(p, STR(OPEN), 0);
	ck_assert_int_eq(session_state(p->session), SESSION_DATA);
}

static const struct text {
	const char *name;
	struct str in;
	struct str out; /* p NULL: refused with `code` */
	int code;
} texts[] = {
	{ "one line", S("Subject: x\r\n.\r\n"), S("Subject: x\r\n"), 0 },
	{ "empty", S(".\r\n"), S(""), 0 },
	{ "dots", S("..\r\n...x\r\n. x\r\nx.\r\n.\r\n"), S(".\r\n..x\r\n x\r\nx.\r\n"),
	    0 },
	{ "8 bit", S("\x80\xff\r\n.\r\n"), S("\x80\xff\r\n"), 0 },
	{ "bare LF", S("a\nb\r\n.\r\n"), { NULL, 0 }, 550 },
	{ "bare CR", S("a\rb\r\n.\r\n"), { NULL, 0 }, 550 },
	{ "NUL", S("a\0b\r\n.\r\n"), { NULL, 0 }, 550 },
	{ "a bare LF line before the right end", S("a\r\n.\n\r\n.\r\n"), { NULL, 0 },
	    550 },
};

START_TEST(text)
{
	const struct text *t = &texts[_i];

	for (size_t step = 0; step < 4; step++) {
		struct session_conf c = conf();
		struct play p;
		struct buf codes;

		begin(&p, &c, step == 3);
		play_feed(&p, t->in, step);
		play_feed(&p, STR("NOOP\r\n"), 0);
		buf_init(&codes, 1000);
		play_codes(&p, &codes);
		ck_assert_uint_eq(p.messages, t->out.p != NULL);
		ck_assert_msg(str_is(buf_str(&codes),
				  t->out.p != NULL ? "220 250 250 250 354 250 250"
						   : "220 250 250 250 354 550 250"),
		    "%s: %s", t->name, buf_cstr(&codes));
		if (t->out.p != NULL)
			ck_assert(str_eq(buf_str(&p.last), t->out));
		buf_clear(&codes);
		play_clear(&p);
	}
}
END_TEST

/* MAIL and more right behind CRLF.CRLF is legal (RFC 2920 3.1). */
START_TEST(next_mail_behind_the_dot)
{
	for (int later = 0; later < 2; later++) {
		struct session_conf c = conf();
		struct play p;

		begin(&p, &c, later);
		play_feed(&p, STR("a\r\n.\r\n" OPEN), 0);
		play_feed(&p, STR("b\r\n.\r\nQUIT\r\n"), 0);
		ck_assert_uint_eq(p.messages, 2);
		compare(&p, "two mails", "220 250 250 250 354 250 250 250 354 250 221",
		    "connect ehlo:c.example mail:<a@b.example> rcpt:<c@d.example> data "
		    "message:3 mail:<a@b.example> rcpt:<c@d.example> data message:3");
		play_clear(&p);
	}
}
END_TEST

/* The 64 cases of X "." Y with a smuggled transaction behind: at most one message, and
 * never a second envelope.  Without the guard the decoder alone must do it. */
static const struct str ends[8] = { S("\r\n"), S("\n"), S("\r"), S("\r\r\n"), S("\n\r"),
	S("\0\r\n"), S("\r\n\0"), S("") };

static void
smuggle(int i, bool guard, size_t step, bool later)
{
	struct session_conf c = conf();
	struct buf in;
	struct play p;
	struct smtp_data_ref ref;
	bool clean;

	c.pipelining_guard = guard;
	buf_init(&in, 10000);
	(void)buf_add_cstr(&in, "Subject: first\r\n\r\ntext");
	(void)buf_add_str(&in, ends[i / 8]);
	(void)buf_add_cstr(&in, ".");
	(void)buf_add_str(&in, ends[i % 8]);
	(void)buf_add_cstr(&in,
	    "MAIL FROM:<smuggler@b.example>\r\nRCPT TO:<v@d.example>\r\nDATA\r\n"
	    "Subject: second\r\n\r\nsmuggled\r\n.\r\n");
	smtp_data_ref(in.p, in.len, &ref);
	ck_assert(ref.ended);
	clean = !ref.bare_cr && !ref.bare_lf && !ref.nul;
	begin(&p, &c, later);
	play_feed(&p, buf_str(&in), step);
	if (i == 0) {
		/* the one true end: a second mail is legal, its blind body is not */
		ck_assert_uint_ge(p.messages, 1);
		ck_assert(!guard || step != 0 || p.messages == 1);
	} else if (ref.used == in.len) {
		ck_assert_uint_eq(p.messages, clean ? 1 : 0);
		ck_assert_ptr_null(memmem(p.trace.p, p.trace.len, "smuggler", 8));
	} else {
		/* It ended early at a true CRLF.CRLF with other faults in it, or with
		 * octets that are no command. */
		ck_assert_uint_le(p.messages, guard && step == 0 ? 1 : 2);
		if (!clean)
			ck_assert(p.messages == 0 || step != 0 || !guard ||
			    session_state(p.session) == SESSION_CLOSED);
	}
	free(ref.data);
	buf_clear(&in);
	play_clear(&p);
}

START_TEST(smuggling)
{
	for (int later = 0; later < 2; later++) {
		smuggle(_i, true, 0, later);
		smuggle(_i, true, 1, later);
		smuggle(_i, false, 0, later);
		smuggle(_i, false, 3, later);
	}
}
END_TEST

/* --- limits --- */

static void
fill(struct buf *b, const char *front, char c, size_t n)
{
	buf_init(b, 16u << 20);
	(void)buf_add_cstr(b, front);
	for (size_t i = 0; i < n; i++)
		(void)buf_add_char(b, c);
}

/* RFC 5321 4.5.3.1.4: 512 octets with CRLF must do; 2048 do here. */
START_TEST(long_commands)
{
	static const struct {
		size_t len; /* with CRLF */
		const char *codes;
	} cases[] = { { 512, "220 250 250" }, { 513, "220 250 250" },
		{ 2048, "220 250 250" }, { 2049, "220 500 250" },
		{ 4096, "220 500 250" }, { 60000, "220 500 250" } };
	struct session_conf c = conf();
	struct buf in;
	struct play p;

	fill(&in, "NOOP ", 'x', cases[_i].len - 7);
	(void)buf_add_cstr(&in, "\r\n");
	for (size_t step = 0; step <= 1000; step += 1000) {
		play_init(&p, &c, false, false);
		play_start(&p);
		play_feed(&p, buf_str(&in), step);
		play_feed(&p, STR("NOOP\r\n"), 0);
		compare(&p, "long", cases[_i].codes, "connect");
		play_clear(&p);
	}
	buf_clear(&in);
}
END_TEST

START_TEST(endless_command)
{
	struct session_conf c = conf();
	struct buf in;
	struct play p;

	fill(&in, "NOOP ", 'x', 1u << 20);
	play_init(&p, &c, false, false);
	play_start(&p);
	play_feed(&p, buf_str(&in), 4096);
	compare(&p, "endless", "220 421", "connect");
	ck_assert_int_eq(session_state(p.session), SESSION_CLOSED);
	buf_clear(&in);
	play_clear(&p);
}
END_TEST

START_TEST(bare_lf_in_a_long_command)
{
	struct session_conf c = conf();
	struct buf in;
	struct play p;

	fill(&in, "NOOP ", 'x', 5000);
	(void)buf_add_cstr(&in, "\nMAIL FROM:<a@b.example>\r\n");
	play_init(&p, &c, false, false);
	play_start(&p);
	play_feed(&p, buf_str(&in), 100);
	compare(&p, "bare", "220 500", "connect");
	ck_assert_int_eq(session_state(p.session), SESSION_CLOSED);
	buf_clear(&in);
	play_clear(&p);
}
END_TEST

START_TEST(error_budget)
{
	struct session_conf c = conf();
	struct play p;

	play_init(&p, &c, false, false);
	play_start(&p);
	for (int i = 0; i < 19; i++)
		play_feed(&p, STR("XYZZY\r\n"), 0);
	ck_assert_int_eq(session_state(p.session), SESSION_START);
	play_feed(&p, STR("XYZZY\r\n"), 0);
	ck_assert_int_eq(session_state(p.session), SESSION_CLOSED);
	ck_assert(str_ends_nocase(
	    buf_str(&p.replies), STR("too many errors, closing the connection\r\n")));
	play_clear(&p);
}
END_TEST

START_TEST(refused_recipients_count_deferred_do_not)
{
	struct session_conf c = conf();
	struct play p;

	play_init(&p, &c, false, false);
	play_start(&p);
	play_feed(&p, STR(EHLO), 0);
	play_feed(&p, STR(MAIL), 0);
	for (int i = 0; i < 50; i++)
		play_feed(&p, STR("RCPT TO:<later@d.example>\r\n"), 0);
	ck_assert_int_eq(session_state(p.session), SESSION_MAIL);
	for (int i = 0; i < 20; i++)
		play_feed(&p, STR("RCPT TO:<deny@d.example>\r\n"), 0);
	ck_assert_int_eq(session_state(p.session), SESSION_CLOSED);
	play_clear(&p);
}
END_TEST

START_TEST(junk_budget)
{
	struct session_conf c = conf();
	struct play p;

	play_init(&p, &c, false, false);
	play_start(&p);
	for (int i = 0; i < 100; i++)
		play_feed(&p, i % 2 == 0 ? STR("NOOP\r\n") : STR("RSET\r\n"), 0);
	ck_assert_int_eq(session_state(p.session), SESSION_START);
	play_feed(&p, STR("NOOP\r\n"), 0);
	ck_assert_int_eq(session_state(p.session), SESSION_CLOSED);
	play_clear(&p);
}
END_TEST

START_TEST(many_recipients)
{
	struct session_conf c = conf();
	struct play p;
	struct buf codes;

	c.rcpts_max = 100;
	play_init(&p, &c, false, false);
	play_start(&p);
	play_feed(&p, STR(EHLO), 0);
	play_feed(&p, STR(MAIL), 0);
	for (int i = 0; i < 101; i++)
		play_feed(&p, STR(RCPT), 0);
	buf_init(&codes, 10000);
	play_codes(&p, &codes);
	ck_assert(str_ends_nocase(buf_str(&codes), STR(" 250 452")));
	ck_assert_int_eq(session_state(p.session), SESSION_RCPT);
	play_feed(&p, STR("DATA\r\n"), 0);
	play_feed(&p, STR("x\r\n.\r\n"), 0);
	ck_assert_uint_eq(p.messages, 1);
	buf_clear(&codes);
	play_clear(&p);
}
END_TEST

static void
big_text(size_t line, size_t n, const char *code)
{
	struct session_conf c = conf();
	struct buf in, codes;
	struct play p;

	buf_init(&in, 32u << 20);
	while (n > 0) {
		for (size_t i = 0; i < line; i++)
			(void)buf_add_char(&in, 'x');
		(void)buf_add_cstr(&in, "\r\n");
		n--;
	}
	(void)buf_add_cstr(&in, ".\r\n");
	begin(&p, &c, false);
	play_feed(&p, buf_str(&in), 65536);
	buf_init(&codes, 10000);
	play_codes(&p, &codes);
	ck_assert_msg(str_ends_nocase(buf_str(&codes), str_of(code)), "%s, not %s",
	    buf_cstr(&codes), code);
	ck_assert_uint_le(p.text.len + p.last.len, c.message_size + 8192);
	buf_clear(&in);
	buf_clear(&codes);
	play_clear(&p);
}

START_TEST(big_texts)
{
	big_text(998, 10, "250");
	big_text(999, 10, "250");
	big_text(64 * 1024, 1, "250");
	big_text(64 * 1024 + 1, 1, "554");
	big_text(1000, 1100, "552"); /* over message_size */
	big_text(1000, 9000, "421"); /* far over it */
}
END_TEST

START_TEST(no_room)
{
	struct session_conf c = conf();
	struct play p;

	begin(&p, &c, false);
	p.text_fails = true;
	play_feed(&p, STR("x\r\n.\r\nNOOP\r\n"), 0);
	compare(&p, "no room", "220 250 250 250 354 452 250",
	    "connect ehlo:c.example mail:<a@b.example> rcpt:<c@d.example> data reset");
	play_clear(&p);
}
END_TEST

/* --- time --- */

START_TEST(slow_command)
{
	struct session_conf c = conf();
	struct play p;

	play_init(&p, &c, false, false);
	play_start(&p);
	for (int i = 0; i < 100 && session_state(p.session) != SESSION_CLOSED; i++) {
		p.now += 9000; /* one octet in nine seconds */
		session_tick(p.session, p.now);
		if (session_state(p.session) != SESSION_CLOSED)
			play_feed(&p, STR("N"), 0);
	}
	ck_assert_int_eq(session_state(p.session), SESSION_CLOSED);
	ck_assert_int_le(p.now, 1000 + c.command_ms + 9000);
	play_go(&p);
	compare(&p, "slow", "220 421", "connect");
	play_clear(&p);
}
END_TEST

START_TEST(slow_text)
{
	struct session_conf c = conf();
	struct play p;
	int64_t start;

	begin(&p, &c, false);
	start = p.now;
	for (int i = 0; i < 1000 && session_state(p.session) != SESSION_CLOSED; i++) {
		p.now += 9000;
		session_tick(p.session, p.now);
		play_feed(&p, STR("x"), 0);
	}
	ck_assert_int_eq(session_state(p.session), SESSION_CLOSED);
	ck_assert_int_le(p.now - start, c.data_ms + 10000);
	/* while one that keeps up the least rate may go on for hours */
	play_clear(&p);
	begin(&p, &c, false);
	for (int i = 0; i < 1000; i++) {
		char line[1002];

		memset(line, 'x', sizeof(line));
		memcpy(line + 1000, "\r\n", 2);
		p.now += 2000;
		session_tick(p.session, p.now);
		play_feed(&p, (struct str){ line, sizeof(line) }, 0);
	}
	ck_assert_int_eq(session_state(p.session), SESSION_DATA);
	play_clear(&p);
}
END_TEST

START_TEST(stress_shortens)
{
	struct session_conf c = conf();
	struct play p;

	play_init(&p, &c, false, false);
	play_start(&p);
	ck_assert_int_eq(session_wake(p.session), p.now + c.command_ms);
	session_stress(p.session, true, p.now);
	ck_assert_int_le(session_wake(p.session), p.now + 10000);
	session_stress(p.session, false, p.now);
	play_feed(&p, STR("NOOP\r\n"), 0);
	ck_assert_int_eq(session_wake(p.session), p.now + c.command_ms);
	play_clear(&p);
}
END_TEST

START_TEST(errors_slow_down)
{
	struct session_conf c = conf();
	struct play p;

	c.error_delay_ms = 1000;
	c.delay_after = 2;
	play_init(&p, &c, false, false);
	play_start(&p);
	play_feed(&p, STR("XYZZY\r\n"), 0);
	play_feed(&p, STR("XYZZY\r\n"), 0);
	play_feed(&p, STR("XYZZY\r\n"), 0);
	compare(&p, "three", "220 500 500 500", "connect");
	session_input(p.session, STR("QUIT\r\n"), p.now);
	play_go(&p);
	compare(&p, "held", "220 500 500 500", "connect");
	ck_assert_int_eq(session_wake(p.session), p.now + 1000);
	p.now += 1000;
	session_tick(p.session, p.now);
	play_go(&p);
	compare(&p, "goes on", "220 500 500 500 221", "connect");
	play_clear(&p);
}
END_TEST

/* --- greeting, end --- */

START_TEST(early_talker)
{
	struct session_conf c = conf();
	struct play p;

	play_init(&p, &c, false, true);
	play_start(&p);
	session_input(p.session, STR(EHLO), p.now); /* before the greeting */
	play_go(&p);
	compare(&p, "early", "554", "connect");
	ck_assert_int_eq(session_state(p.session), SESSION_CLOSED);
	play_clear(&p);
}
END_TEST

START_TEST(octets_that_come_while_we_think)
{
	struct session_conf c = conf();
	struct play p;

	play_init(&p, &c, false, true);
	play_start(&p);
	play_go(&p);
	play_feed(&p, STR(EHLO), 0);
	play_feed(&p, STR(MAIL RCPT), 0);
	session_input(p.session, STR("DATA\r\n"), p.now);
	session_input(p.session, STR("Subject: blind\r\n"), p.now);
	play_go(&p);
	compare(&p, "blind", "220 250 250 250 554",
	    "connect ehlo:c.example mail:<a@b.example> rcpt:<c@d.example> data");
	play_clear(&p);
}
END_TEST

START_TEST(client_refused)
{
	struct session_conf c = conf();
	struct play p;

	play_init(&p, &c, false, false);
	p.connect_code = 554;
	play_start(&p);
	play_feed(&p, STR(EHLO), 0);
	play_feed(&p, STR(MAIL), 0);
	play_feed(&p, STR("QUIT\r\n"), 0);
	compare(&p, "refused", "554 503 503 221", "connect");
	play_clear(&p);
}
END_TEST

START_TEST(data_refused_ends_the_transaction)
{
	struct session_conf c = conf();
	struct play p;

	play_init(&p, &c, false, false);
	play_start(&p);
	p.data_code = 451;
	play_feed(&p, STR(EHLO), 0);
	play_feed(&p, STR(OPEN RCPT), 0);
	ck_assert_int_eq(session_state(p.session), SESSION_CLOSED); /* blind RCPT */
	play_clear(&p);
	play_init(&p, &c, false, false);
	play_start(&p);
	p.data_code = 451;
	play_feed(&p, STR(EHLO), 0);
	play_feed(&p, STR(OPEN), 0);
	play_feed(&p, STR(RCPT), 0);
	compare(&p, "451", "220 250 250 250 451 503",
	    "connect ehlo:c.example mail:<a@b.example> rcpt:<c@d.example> data reset");
	play_clear(&p);
}
END_TEST

START_TEST(message_refused)
{
	static const int codes[] = { 451, 550, 421 };
	struct session_conf c = conf();
	struct play p;

	begin(&p, &c, _i % 2 == 0);
	p.message_code = codes[_i];
	play_feed(&p, STR("x\r\n.\r\n"), 0);
	ck_assert_int_eq(session_state(p.session),
	    codes[_i] == 421 ? SESSION_CLOSED : SESSION_READY);
	play_clear(&p);
}
END_TEST

START_TEST(shutdown_waits_for_the_mail)
{
	struct session_conf c = conf();
	struct play p;

	begin(&p, &c, false);
	session_shutdown(p.session, STR("going down"), p.now);
	ck_assert_int_eq(session_state(p.session), SESSION_DATA);
	play_feed(&p, STR("x\r\n.\r\n"), 0);
	ck_assert_uint_eq(p.messages, 1);
	ck_assert_int_eq(session_state(p.session), SESSION_CLOSED);
	compare(&p, "drain", "220 250 250 250 354 250 421",
	    "connect ehlo:c.example mail:<a@b.example> rcpt:<c@d.example> data "
	    "message:3");
	play_clear(&p);
}
END_TEST

#define LOOP(tc, test, table)                                                          \
	tcase_add_loop_test(tc, test, 0, (int)(sizeof(table) / sizeof(table[0])))

int
main(void)
{
	Suite *s = suite_create("smtp_session");
	TCase *tc = tcase_create("all");
	SRunner *sr = srunner_create(s);
	int failed;

	LOOP(tc, greeted, rows);
	LOOP(tc, transaction, mail_rows);
	LOOP(tc, text, texts);
	tcase_add_test(tc, next_mail_behind_the_dot);
	tcase_add_loop_test(tc, smuggling, 0, 64);
	tcase_add_loop_test(tc, long_commands, 0, 6);
	tcase_add_test(tc, endless_command);
	tcase_add_test(tc, bare_lf_in_a_long_command);
	tcase_add_test(tc, error_budget);
	tcase_add_test(tc, refused_recipients_count_deferred_do_not);
	tcase_add_test(tc, junk_budget);
	tcase_add_test(tc, many_recipients);
	tcase_add_test(tc, big_texts);
	tcase_add_test(tc, no_room);
	tcase_add_test(tc, slow_command);
	tcase_add_test(tc, slow_text);
	tcase_add_test(tc, stress_shortens);
	tcase_add_test(tc, errors_slow_down);
	tcase_add_test(tc, early_talker);
	tcase_add_test(tc, octets_that_come_while_we_think);
	tcase_add_test(tc, client_refused);
	tcase_add_test(tc, data_refused_ends_the_transaction);
	tcase_add_loop_test(tc, message_refused, 0, 3);
	tcase_add_test(tc, shutdown_waits_for_the_mail);
	suite_add_tcase(s, tc);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed == 0 ? 0 : 1;
}

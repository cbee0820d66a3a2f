/* SPDX-License-Identifier: BSD-2-Clause */
/* common/mail/milter_wire: packets cut whole and octet by octet, negotiation, connect,
 * strings, reply texts, step bits.  The good octets are those of recorded dialogues. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/buf.h"
#include "common/mail/milter_wire.h"

#define COUNT(table) (int)(sizeof(table) / sizeof((table)[0]))

static void
same(struct str got, struct str want)
{
	ck_assert_msg(str_eq(got, want), "got '%.*s', expected '%.*s'", STR_ARG(got),
	    STR_ARG(want));
}

/* Several packets in one stream. */
static const struct {
	const char *name;
	struct str in;
	int n; /* packets before the stream ends; -1: error behind `good` packets */
	int good;
	const char *cmds;
} streams[] = {
	{ "nothing", STR(""), 0, 0, "" },
	{ "one without payload", STR("\0\0\0\1T"), 1, 1, "T" },
	{ "two", STR("\0\0\0\1c\0\0\0\3y55"), 2, 2, "cy" },
	{ "payload with NUL", STR("\0\0\0\4Ha\0b"), 1, 1, "H" },
	{ "cut in the length", STR("\0\0\0"), 0, 0, "" },
	{ "cut in the payload", STR("\0\0\0\5Hab"), 0, 0, "" },
	{ "length 0", STR("\0\0\0\0c"), -1, 0, "" },
	{ "length 0 behind a good one", STR("\0\0\0\1c\0\0\0\0"), -1, 1, "c" },
	{ "limit met", STR("\0\0\0\10L1234567"), 1, 1, "L" },
	{ "limit passed by one", STR("\0\0\0\11"), -1, 0, "" },
	{ "2 GB claimed", STR("\177\377\377\377c"), -1, 0, "" },
	{ "4 GB claimed", STR("\377\377\377\377"), -1, 0, "" },
};

/* Feed at most step octets more at each turn; returns packets, or -1. */
static int
cut_stream(struct str in, size_t step, char *cmds, int *good)
{
	struct milter_packet packet;
	struct err err;
	size_t have = 0, at = 0, used;
	int n = 0;

	for (;;) {
		/* A block of its own size, so that a sanitizer sees a read behind it.
		 */
		size_t len = have - at;
		char *copy = malloc(len > 0 ? len : 1);

		memcpy(copy, in.p + at, len);
		enum parse p = milter_packet_read(
		    (struct str){ copy, len }, 8, &packet, &used, &err);

		if (p == PARSE_DONE) {
			cmds[n++] = packet.cmd;
			ck_assert_uint_eq(used, packet.payload.len + 5);
			at += used;
		}
		free(copy);
		*good = n;
		if (p == PARSE_ERROR)
			return -1;
		if (p == PARSE_MORE && have == in.len)
			return n;
		if (p == PARSE_MORE)
			have = in.len - have < step ? in.len : have + step;
	}
}

START_TEST(stream)
{
	for (size_t step = 1; step <= 16; step += 15) {
		char cmds[16] = "";
		int good;

		ck_assert_int_eq(
		    cut_stream(streams[_i].in, step, cmds, &good), streams[_i].n);
		ck_assert_int_eq(good, streams[_i].good);
		ck_assert_str_eq(cmds, streams[_i].cmds);
	}
}
END_TEST

static const struct {
	const char *name;
	struct str in;
	bool ok;
	uint32_t version, actions, protocol;
	int stage; /* -1: no list */
	const char *list;
} optnegs[] = {
	{ "offer of both MTAs", STR("\0\0\0\6\0\0\1\377\0\037\377\377"), true, 6, 0x1ff,
	    0x1fffff, -1, "" },
	{ "macro list", STR("\0\0\0\6\0\0\1\0\0\0\0\0\0\0\0\3{rcpt_host} i\0"), true, 6,
	    0x100, 0, 3, "{rcpt_host} i" },
	{ "empty list", STR("\0\0\0\6\0\0\1\0\0\0\0\0\0\0\0\6\0"), true, 6, 0x100, 0, 6,
	    "" },
	{ "later list of a stage wins",
	    STR("\0\0\0\6\0\0\0\0\0\0\0\0\0\0\0\1j\0\0\0\0\1i\0"), true, 6, 0, 0, 1,
	    "i" },
	{ "empty", STR(""), false, 0, 0, 0, -1, "" },
	{ "short", STR("\0\0\0\6\0\0\1\377\0\037\377"), false, 0, 0, 0, -1, "" },
	{ "stage cut", STR("\0\0\0\6\0\0\0\0\0\0\0\0\0\0"), false, 0, 0, 0, -1, "" },
	{ "stage 7", STR("\0\0\0\6\0\0\0\0\0\0\0\0\0\0\0\7i\0"), false, 0, 0, 0, -1,
	    "" },
	{ "list without NUL", STR("\0\0\0\6\0\0\0\0\0\0\0\0\0\0\0\1i"), false, 0, 0, 0,
	    -1, "" },
	{ "stage without list", STR("\0\0\0\6\0\0\0\0\0\0\0\0\0\0\0\1"), false, 0, 0, 0,
	    -1, "" },
};

START_TEST(optneg)
{
	struct milter_optneg o;
	struct err err;
	bool ok = milter_optneg_read(optnegs[_i].in, &o, &err) == 0;

	ck_assert_int_eq(ok, optnegs[_i].ok);
	if (!ok)
		return;
	ck_assert_uint_eq(o.version, optnegs[_i].version);
	ck_assert_uint_eq(o.actions, optnegs[_i].actions);
	ck_assert_uint_eq(o.protocol, optnegs[_i].protocol);
	for (int s = 0; s < MILTER_STAGES; s++) {
		ck_assert_int_eq(o.has_list[s], s == optnegs[_i].stage);
		if (o.has_list[s])
			same(o.macros[s], str_of(optnegs[_i].list));
	}
}
END_TEST

START_TEST(optneg_round_trip)
{
	struct milter_optneg o = {
		.version = 6, .actions = 0x1ff, .protocol = 0x1fffff
	};
	struct milter_optneg back;
	struct milter_packet packet;
	struct buf b;
	size_t used;

	o.has_list[MILTER_STAGE_EOH] = true;
	o.macros[MILTER_STAGE_EOH] = STR("i {auth_authen}");
	buf_init(&b, 1000);
	ck_assert_int_eq(milter_optneg_write(&b, &o), 0);
	ck_assert_int_eq(
	    milter_packet_read(buf_str(&b), 1000, &packet, &used, NULL), PARSE_DONE);
	ck_assert_uint_eq(used, b.len);
	ck_assert_int_eq(packet.cmd, MILTER_OPTNEG);
	ck_assert_int_eq(milter_optneg_read(packet.payload, &back, NULL), 0);
	ck_assert_uint_eq(back.protocol, 0x1fffff);
	ck_assert(back.has_list[MILTER_STAGE_EOH] && !back.has_list[MILTER_STAGE_EOM]);
	same(back.macros[MILTER_STAGE_EOH], o.macros[MILTER_STAGE_EOH]);
	buf_clear(&b);
}
END_TEST

static const struct {
	const char *name;
	struct str in;
	bool ok;
	const char *host;
	char family;
	uint16_t port;
	const char *address;
} connects[] = {
	{ "IPv4", STR("localhost\0004\324~127.0.0.1\0"), true, "localhost", '4', 54398,
	    "127.0.0.1" },
	{ "IPv6", STR("[::1]\0006\0\031::1\0"), true, "[::1]", '6', 25, "::1" },
	{ "unknown", STR("localhost\0U"), true, "localhost", 'U', 0, "" },
	{ "Unix", STR("localhost\0L\0\0/run/x\0"), true, "localhost", 'L', 0,
	    "/run/x" },
	{ "empty", STR(""), false, "", 0, 0, "" },
	{ "no NUL", STR("localhost"), false, "", 0, 0, "" },
	{ "no family", STR("localhost\0"), false, "", 0, 0, "" },
	{ "odd family", STR("localhost\0X\0\0001\0"), false, "", 0, 0, "" },
	{ "half a port", STR("localhost\0004\1"), false, "", 0, 0, "" },
	{ "address without NUL", STR("localhost\0004\0\031127.0.0.1"), false, "", 0, 0,
	    "" },
};

START_TEST(connect_packet)
{
	struct milter_connect c;
	struct err err;
	bool ok = milter_connect_read(connects[_i].in, &c, &err) == 0;

	ck_assert_int_eq(ok, connects[_i].ok);
	if (!ok)
		return;
	same(c.host, str_of(connects[_i].host));
	ck_assert_int_eq(c.family, connects[_i].family);
	ck_assert_uint_eq(c.port, connects[_i].port);
	same(c.address, str_of(connects[_i].address));
	if (c.family == 'L')
		return;

	struct buf b;
	struct ip ip = { 0 };

	buf_init(&b, 200);
	if (c.address.len > 0)
		ck_assert(ip_parse(c.address, &ip));
	ck_assert_int_eq(milter_connect_write(&b, c.host, &ip, c.port), 0);
	same(str_sub(buf_str(&b), 5, b.len), connects[_i].in);
	buf_clear(&b);
}
END_TEST

static const struct {
	const char *name;
	struct str in;
	bool ok;
	int code;
	const char *enhanced, *text;
} replies[] = {
	{ "plain", STR("550 5.7.99 no thanks\0"), true, 550, "5.7.99", "no thanks" },
	{ "without NUL", STR("451 4.7.99 later"), true, 451, "4.7.99", "later" },
	{ "421", STR("421 4.7.98 bye\0"), true, 421, "4.7.98", "bye" },
	{ "no enhanced code", STR("550 go away\0"), true, 550, "", "go away" },
	{ "code alone", STR("550\0"), true, 550, "", "" },
	{ "enhanced alone", STR("550 5.7.1\0"), true, 550, "5.7.1", "" },
	{ "two lines", STR("550-5.7.99 line one\r\n550 5.7.99 line two\0"), true, 550,
	    "5.7.99", "line one\nline two" },
	{ "two lines, bare LF", STR("550-5.7.99 one\n550 5.7.99 two\0"), true, 550,
	    "5.7.99", "one\ntwo" },
	{ "second line without codes", STR("550-5.7.99 one\r\ntwo\0"), true, 550,
	    "5.7.99", "one\ntwo" },
	{ "doubled percent", STR("550 5.7.99 100%% sure %x\0"), true, 550, "5.7.99",
	    "100% sure x" },
	{ "percent at the end", STR("550 5.7.99 x%\0"), true, 550, "5.7.99", "x" },
	{ "three percents", STR("550 %%%x\0"), true, 550, "", "%x" },
	{ "number that is no enhanced code", STR("550 5.7.1x no\0"), true, 550, "",
	    "5.7.1x no" },
	{ "four digits", STR("550 5.7.1000 no\0"), true, 550, "", "5.7.1000 no" },
	{ "two digit class", STR("550 55.7.1 no\0"), true, 550, "", "55.7.1 no" },
	{ "class differs", STR("550 4.7.1 no\0"), false, 0, "", "" },
	{ "class of success", STR("450 2.0.0 ok\0"), false, 0, "", "" },
	{ "250", STR("250 2.0.0 ok\0"), false, 0, "", "" },
	{ "not a number", STR("5x0 no\0"), false, 0, "", "" },
	{ "four digit code", STR("5500 no\0"), false, 0, "", "" },
	{ "short", STR("55\0"), false, 0, "", "" },
	{ "empty", STR(""), false, 0, "", "" },
};

START_TEST(replycode)
{
	struct buf text;
	struct err err;
	char enhanced[12];
	int code;

	buf_init(&text, 100);
	bool ok =
	    milter_replycode_read(replies[_i].in, &code, enhanced, &text, &err) == 0;

	ck_assert_int_eq(ok, replies[_i].ok);
	if (ok) {
		ck_assert_int_eq(code, replies[_i].code);
		ck_assert_str_eq(enhanced, replies[_i].enhanced);
		same(buf_str(&text), str_of(replies[_i].text));
	}
	buf_clear(&text);
}
END_TEST

START_TEST(replycode_is_cut)
{
	struct buf text;
	char enhanced[12];
	int code;

	buf_init(&text, 4);
	ck_assert_int_eq(milter_replycode_read(
			     STR("550 5.7.1 abcdef\0"), &code, enhanced, &text, NULL),
	    0);
	same(buf_str(&text), STR("abcd"));
	buf_clear(&text);
}
END_TEST

START_TEST(writers_add_whole_packets)
{
	struct str nul[] = { STR("a"), STR("b\0c") };
	struct str mail[] = { STR("<a@b>"), STR("SIZE=1") };
	struct str pairs[] = { STR("i"), STR("1"), STR("j"), STR("x") };
	struct buf b;

	buf_init(&b, 30);
	ck_assert_int_eq(milter_strings_write(&b, 'M', mail, 2), 0);
	same(buf_str(&b), STR("\0\0\0\16M<a@b>\0SIZE=1\0"));
	ck_assert_int_eq(milter_strings_write(&b, 'M', mail, 2), -1);
	ck_assert_uint_eq(b.len, 18); /* nothing of the packet that did not fit */
	ck_assert(b.failed);
	buf_reset(&b);
	ck_assert_int_eq(milter_strings_write(&b, 'L', nul, 2), -1);
	ck_assert_int_eq(milter_header_write(&b, 'm', 1, nul[1], nul[0]), -1);
	ck_assert_int_eq(milter_connect_write(&b, nul[1], NULL, 0), -1);
	ck_assert_uint_eq(b.len, 0);
	ck_assert_int_eq(milter_macros_write(&b, 'R', pairs, 2), 0);
	same(buf_str(&b), STR("\0\0\0\12DRi\0001\0j\0x\0"));
	buf_reset(&b);
	ck_assert_int_eq(milter_macros_write(&b, 'H', NULL, 0), 0);
	same(buf_str(&b), STR("\0\0\0\2DH"));
	buf_reset(&b);
	ck_assert_int_eq(milter_header_write(&b, 'm', 2, STR("X"), STR("y")), 0);
	same(buf_str(&b), STR("\0\0\0\11m\0\0\0\2X\0y\0"));
	buf_reset(&b);
	ck_assert_int_eq(milter_packet_write(&b, 'B', STR("x\0y")), 0);
	same(buf_str(&b), STR("\0\0\0\4Bx\0y"));
	buf_clear(&b);
}
END_TEST

START_TEST(strings)
{
	struct str in = STR("a\0\0\1\2\3\4rest"), s;
	uint32_t v;

	ck_assert_int_eq(milter_string(&in, &s), 0);
	same(s, STR("a"));
	ck_assert_int_eq(milter_string(&in, &s), 0);
	same(s, STR(""));
	ck_assert_int_eq(milter_u32(&in, &v), 0);
	ck_assert_uint_eq(v, 0x01020304);
	ck_assert_int_eq(milter_string(&in, &s), -1);
	in.len = 3;
	ck_assert_int_eq(milter_u32(&in, &v), -1);
	in.len = 0;
	ck_assert_int_eq(milter_string(&in, &s), -1);
}
END_TEST

static const struct {
	char cmd;
	uint32_t no, nr;
} bits[] = {
	{ 'C', MILTER_P_NOCONNECT, MILTER_P_NR_CONN },
	{ 'H', MILTER_P_NOHELO, MILTER_P_NR_HELO },
	{ 'M', MILTER_P_NOMAIL, MILTER_P_NR_MAIL },
	{ 'R', MILTER_P_NORCPT, MILTER_P_NR_RCPT },
	{ 'T', MILTER_P_NODATA, MILTER_P_NR_DATA },
	{ 'L', MILTER_P_NOHDRS, MILTER_P_NR_HDR },
	{ 'N', MILTER_P_NOEOH, MILTER_P_NR_EOH },
	{ 'B', MILTER_P_NOBODY, MILTER_P_NR_BODY },
	{ 'U', MILTER_P_NOUNKNOWN, MILTER_P_NR_UNKN },
	{ 'E', 0, 0 },
};

START_TEST(step_bits)
{
	char cmd = bits[_i].cmd;

	ck_assert(milter_step_sent(0, cmd) && milter_step_answered(0, cmd));
	ck_assert(milter_step_sent(MILTER_P_ALL & ~bits[_i].no, cmd));
	ck_assert(milter_step_answered(MILTER_P_ALL & ~bits[_i].nr, cmd));
	ck_assert_int_eq(milter_step_sent(bits[_i].no, cmd), bits[_i].no == 0);
	ck_assert_int_eq(milter_step_answered(bits[_i].nr, cmd), bits[_i].nr == 0);
	for (const char *p = "ADKQ"; *p != '\0'; p++)
		ck_assert(
		    milter_step_sent(MILTER_P_ALL, *p) && !milter_step_answered(0, *p));
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("milter_wire");
	TCase *t = tcase_create("milter_wire");

	tcase_add_loop_test(t, stream, 0, COUNT(streams));
	tcase_add_loop_test(t, optneg, 0, COUNT(optnegs));
	tcase_add_test(t, optneg_round_trip);
	tcase_add_loop_test(t, connect_packet, 0, COUNT(connects));
	tcase_add_loop_test(t, replycode, 0, COUNT(replies));
	tcase_add_test(t, replycode_is_cut);
	tcase_add_test(t, writers_add_whole_packets);
	tcase_add_test(t, strings);
	tcase_add_loop_test(t, step_bits, 0, COUNT(bits));
	suite_add_tcase(s, t);

	SRunner *r = srunner_create(s);

	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);

	srunner_free(r);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* contrib/relay/milter_chain and milter_filter against scripted filters: order, bits,
 * versions, macros, failures at every stage under every policy, hostile filters.  What
 * a reply at a stage means is tested in test_milter_matrix, edits in test_milter_edit.
 */
#include <check.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/lib/chain_rig.h"

#define COUNT(table) (int)(sizeof(table) / sizeof((table)[0]))
#define WHOLE "ODcCDhHDmMDrRDtTLLLLLDnNBDeE" /* one message, five fields */

static void
same(struct str got, struct str want)
{
	ck_assert_msg(str_eq(got, want), "got '%.*s', expected '%.*s'", STR_ARG(got),
	    STR_ARG(want));
}

START_TEST(no_filters)
{
	struct chain_rig r;

	rig_init(&r, 0);
	ck_assert_int_eq(rig_send(&r), 250);
	ck_assert_int_eq(r.d.fate, DRIVER_SENT);
	same(buf_str(&r.d.out), STR(RIG_RECEIVED RIG_MESSAGE));
	ck_assert(!r.d.at_once);
	rig_clear(&r);
}
END_TEST

START_TEST(one_filter)
{
	struct chain_rig r;

	rig_init(&r, 1);
	ck_assert_int_eq(rig_send(&r), 250);
	ck_assert_str_eq(rig_seen(&r, 0), WHOLE);
	driver_command(&r.d, "QUIT");
	ck_assert_str_eq(rig_seen(&r, 0), WHOLE "Q$");
	same(buf_str(&r.d.out), STR(RIG_RECEIVED RIG_MESSAGE));
	ck_assert(!r.d.at_once);
	rig_clear(&r);
}
END_TEST

/* What the filter is shown, octet for octet, with and without the leading space. */
START_TEST(packets)
{
	static const struct str plain = STR("\0\0\0\37LFrom\0Alice <alice@ok.example>\0"
					    "\0\0\0\21LTo\0a@ok.example\0");
	static const struct str lead = STR("\0\0\0\40LFrom\0 Alice <alice@ok.example>\0"
					   "\0\0\0\22LTo\0 a@ok.example\0");
	struct str want = _i == 0 ? plain : lead;
	struct chain_rig r;

	rig_init(&r, 1);
	r.peers[0].answer.protocol = _i == 0 ? 0 : MILTER_P_HDR_LEADSPC;
	ck_assert_int_eq(rig_send(&r), 250);
	struct str all = buf_str(&r.peers[0].packets);

	ck_assert_ptr_nonnull(memmem(all.p, all.len, want.p, want.len));
	want = STR("\0\0\0\22Bline 1\r\n.line 2\r\n");
	ck_assert_ptr_nonnull(memmem(all.p, all.len, want.p, want.len));
	want = STR("\0\0\0\30Clocalhost\0004\324~127.0.0.1\0");
	ck_assert_ptr_nonnull(memmem(all.p, all.len, want.p, want.len));
	ck_assert_ptr_null(memmem(all.p, all.len, "Received", 8));
	rig_clear(&r);
}
END_TEST

/* Both filters hear the envelope; then one has the whole message before the other. */
static struct buf order;

static void
note_order(void *arg, struct milter_peer *p, const struct milter_packet *packet)
{
	static const char *const lower = "abcdefghijklmnopqrstuvwxyz";
	char c = packet->cmd;

	if (c != 'D')
		buf_add_char(&order, arg == NULL ? c : lower[c - 'A']);
	if (c == 'O') {
		struct buf b;

		buf_init(&b, 100);
		milter_optneg_write(&b, &p->answer);
		milter_peer_send(p, buf_str(&b));
		buf_clear(&b);
	} else if (milter_step_answered(0, c))
		milter_peer_send(p, STR("\0\0\0\1c"));
}

START_TEST(two_filters_in_order)
{
	struct chain_rig r;

	rig_init(&r, 2);
	buf_init(&order, 1000);
	r.peers[0].handler = r.peers[1].handler = note_order;
	r.peers[1].arg = &r;
	ck_assert_int_eq(rig_send(&r), 250);
	same(buf_str(&order), STR("OoCcHhMmRrTtLLLLLNBElllllnbe"));
	buf_clear(&order);
	rig_clear(&r);
}
END_TEST

static const struct {
	const char *name;
	uint32_t version, protocol;
	const char *seen;
} bits[] = {
	{ "version 2: no T", 2, 0, "ODcCDhHDmMDrRLLLLLDnNBDeE" },
	{ "version 3: no T", 3, 0, "ODcCDhHDmMDrRLLLLLDnNBDeE" },
	{ "version 4", 4, 0, WHOLE },
	{ "version 5", 5, 0, WHOLE },
	{ "version 7 is taken as 6", 7, 0, WHOLE },
	{ "no connect", 6, MILTER_P_NOCONNECT, "ODcDhHDmMDrRDtTLLLLLDnNBDeE" },
	{ "no helo", 6, MILTER_P_NOHELO, "ODcCDhDmMDrRDtTLLLLLDnNBDeE" },
	{ "no mail", 6, MILTER_P_NOMAIL, "ODcCDhHDmDrRDtTLLLLLDnNBDeE" },
	{ "no rcpt", 6, MILTER_P_NORCPT, "ODcCDhHDmMDrDtTLLLLLDnNBDeE" },
	{ "no data", 6, MILTER_P_NODATA, "ODcCDhHDmMDrRDtLLLLLDnNBDeE" },
	{ "no headers", 6, MILTER_P_NOHDRS, "ODcCDhHDmMDrRDtTDnNBDeE" },
	{ "no eoh", 6, MILTER_P_NOEOH, "ODcCDhHDmMDrRDtTLLLLLBDeE" },
	{ "no body", 6, MILTER_P_NOBODY, "ODcCDhHDmMDrRDtTLLLLLDnNDeE" },
	{ "nothing", 6, 0x37f, "ODcDhDmDrDtDeE" },
	{ "unknown bits are masked", 6, 0xf0000000, WHOLE },
};

START_TEST(steps_left_out)
{
	struct chain_rig r;

	rig_init(&r, 1);
	r.peers[0].answer.version = bits[_i].version;
	r.peers[0].answer.protocol = bits[_i].protocol;
	ck_assert_int_eq(rig_send(&r), 250);
	ck_assert_str_eq(rig_seen(&r, 0), bits[_i].seen);
	rig_clear(&r);
}
END_TEST

/* Every NR bit alone, and all: no reply comes and none is waited for. */
static const uint32_t unanswered[] = { MILTER_P_NR_CONN, MILTER_P_NR_HELO,
	MILTER_P_NR_MAIL, MILTER_P_NR_RCPT, MILTER_P_NR_DATA, MILTER_P_NR_HDR,
	MILTER_P_NR_EOH, MILTER_P_NR_BODY, 0xff080 };

START_TEST(no_reply)
{
	struct chain_rig r;

	rig_init(&r, 1);
	r.peers[0].answer.protocol = unanswered[_i];
	ck_assert_int_eq(rig_send(&r), 250);
	ck_assert_str_eq(rig_seen(&r, 0), WHOLE);
	rig_clear(&r);
}
END_TEST

/* A filter that replies although it promised not to. */
START_TEST(reply_against_promise)
{
	struct chain_rig r;

	rig_init(&r, 1);
	r.peers[0].answer.protocol = MILTER_P_NR_MAIL;
	rig_reply(&r, 0, 'M', 1, 'c', STR(""));
	rig_start(&r);
	driver_connect(&r.d);
	driver_command(&r.d, "EHLO client.example");
	ck_assert_int_eq(driver_command(&r.d, "MAIL FROM:<alice@ok.example>"), 250);
	driver_settle(&r.d);
	ck_assert_int_eq(driver_command(&r.d, "RCPT TO:<a@ok.example>"), 451);
	rig_clear(&r);
}
END_TEST

static const struct {
	const char *name;
	char cmd; /* the stage where it fails */
	enum peer_act act;
	struct str octets;
} failing[] = {
	{ "close at O", 'O', PEER_CLOSE, STR("") },
	{ "close at C", 'C', PEER_CLOSE, STR("") },
	{ "close at H", 'H', PEER_CLOSE, STR("") },
	{ "close at M", 'M', PEER_CLOSE, STR("") },
	{ "close at R", 'R', PEER_CLOSE, STR("") },
	{ "close at T", 'T', PEER_CLOSE, STR("") },
	{ "close at L", 'L', PEER_CLOSE, STR("") },
	{ "close at N", 'N', PEER_CLOSE, STR("") },
	{ "close at B", 'B', PEER_CLOSE, STR("") },
	{ "close at E", 'E', PEER_CLOSE, STR("") },
	{ "hang at O", 'O', PEER_SILENT, STR("") },
	{ "hang at M", 'M', PEER_SILENT, STR("") },
	{ "hang at E", 'E', PEER_SILENT, STR("") },
	{ "half a packet at R", 'R', PEER_SILENT, STR("\0\0\0\5y") },
	{ "f at R", 'R', PEER_SEND, STR("\0\0\0\1f") },
	{ "f at E", 'E', PEER_SEND, STR("\0\0\0\1f") },
	{ "unknown reply at C", 'C', PEER_SEND, STR("\0\0\0\1Z") },
	{ "bad text at M", 'M', PEER_SEND, STR("\0\0\0\5y250\0") },
	{ "edit at B", 'B', PEER_SEND, STR("\0\0\0\5hX\0y\0") },
	{ "quarantine at N", 'N', PEER_SEND, STR("\0\0\0\3qx\0") },
	{ "length 0 at H", 'H', PEER_SEND, STR("\0\0\0\0") },
	{ "2 GB at L", 'L', PEER_SEND, STR("\177\377\377\377c") },
	{ "short negotiation", 'O', PEER_SEND, STR("\0\0\0\11O\0\0\0\6\0\0\1\377") },
	{ "version 1", 'O', PEER_SEND, STR("\0\0\0\15O\0\0\0\1\0\0\0\0\0\0\0\0") },
	{ "unknown action", 'O', PEER_SEND, STR("\0\0\0\15O\0\0\0\6\0\0\2\0\0\0\0\0") },
	{ "no negotiation", 'O', PEER_SEND, STR("\0\0\0\1c") },
	{ "edit without NUL", 'E', PEER_SEND, STR("\0\0\0\5hX\0yy") },
	{ "edit with a bad name", 'E', PEER_SEND, STR("\0\0\0\6hX:\0y\0") },
	{ "edit with a second field", 'E', PEER_SEND, STR("\0\0\0\11hX\0y\nB:c\0") },
	{ "recipient that is none", 'E', PEER_SEND, STR("\0\0\0\6+a b@\0") },
	{ "null recipient", 'E', PEER_SEND, STR("\0\0\0\4+<>\0") },
};

static const struct {
	enum milter_policy policy;
	int code; /* where the failure counts */
	bool closes;
	const char *sent;
} policies[] = {
	{ MILTER_ON_FAILURE_TEMPFAIL, 451, false, "none" },
	{ MILTER_ON_FAILURE_REJECT, 550, false, "none" },
	{ MILTER_ON_FAILURE_ACCEPT, 250, false, "alice>a" },
	{ MILTER_ON_FAILURE_QUARANTINE, 250, false, "hold:alice>a" },
	{ MILTER_ON_FAILURE_SHUTDOWN, 421, true, "none" },
};

/* The filter fails at its stage, every time; then it is well again and the next message
 * of the same connection passes. */
START_TEST(failure)
{
	int p = _i / COUNT(failing), f = _i % COUNT(failing);
	struct chain_rig r;
	const char *want = policies[p].sent, *got = "none";

	rig_init(&r, 1);
	r.confs[0].on_failure = (int)policies[p].policy;
	if (failing[f].act == PEER_SILENT)
		r.confs[0].command_ms = r.confs[0].content_ms = 250;
	milter_peer_rule(
	    &r.peers[0], failing[f].cmd, 0, failing[f].act, failing[f].octets);
	int code = rig_send(&r);

	if (code == 250 && r.d.fate == DRIVER_SENT)
		got = "alice>a";
	if (code == 250 && r.d.fate == DRIVER_HELD)
		got = "hold:alice>a";
	ck_assert_str_eq(got, want);
	ck_assert_int_eq(r.d.closed, policies[p].closes);
	if (failing[f].cmd == 'L' || failing[f].cmd == 'B' || failing[f].cmd == 'E' ||
	    failing[f].cmd == 'N') {
		ck_assert_int_eq(code, policies[p].code);
		same(buf_str(&r.d.out), STR(RIG_RECEIVED RIG_MESSAGE));
	}
	if (!r.d.closed) {
		r.peers[0].n_rules = 0;
		driver_command(&r.d, "RSET");
		ck_assert_int_eq(
		    driver_command(&r.d, "MAIL FROM:<bob@ok.example>"), 250);
		ck_assert_int_eq(driver_command(&r.d, "RCPT TO:<a@ok.example>"), 250);
		ck_assert_int_eq(driver_command(&r.d, "DATA"), 354);
		ck_assert_int_eq(driver_message(&r.d, STR(RIG_MESSAGE)), 250);
		ck_assert_int_eq(r.d.fate, DRIVER_SENT);
		size_t len = r.peers[0].seen.len, whole = strlen(WHOLE);

		ck_assert_str_eq(rig_seen(&r, 0) + len - whole, WHOLE);
		/* What failed before MAIL was tried once more at MAIL. */
		bool greeting = strchr("OCH", failing[f].cmd) != NULL;

		ck_assert_int_eq(r.peers[0].n_connections, greeting ? 3 : 2);
	}
	ck_assert(!r.d.at_once);
	rig_clear(&r);
}
END_TEST

/* The other filter goes on as if nothing was; one that fails stops nobody at connect.
 */
START_TEST(failure_of_the_first)
{
	struct chain_rig r;

	rig_init(&r, 2);
	r.confs[0].on_failure =
	    _i == 0 ? MILTER_ON_FAILURE_ACCEPT : MILTER_ON_FAILURE_TEMPFAIL;
	milter_peer_rule(&r.peers[0], 'O', 1, PEER_CLOSE, STR(""));
	/* The first is opened anew at MAIL, and hears of connection and helo first. */
	ck_assert_int_eq(rig_send(&r), 250);
	ck_assert_str_eq(rig_seen(&r, 0), "O" WHOLE);
	ck_assert_str_eq(rig_seen(&r, 1), WHOLE);
	rig_clear(&r);
}
END_TEST

START_TEST(down)
{
	static const char *const codes[] = { "220|250|451|503|503|503|451|503|503|221",
		"554|250|550|503|503|503|550|503|503|221",
		"220|250|250|250|250|354|250|250|250|354|250|221",
		"220|250|250|250|250|354|250|250|250|354|250|221", "421" };
	static const char *const sent[] = { "none", "none", "alice>a+b,bob>c",
		"hold:alice>a+b,hold:bob>c", "none" };
	struct buf got, out;
	struct chain_rig r;

	rig_init(&r, 2);
	milter_peer_stop_listening(&r.peers[0]);
	r.confs[0].on_failure = _i;
	rig_start(&r);
	buf_init(&got, 200);
	buf_init(&out, 200);
	driver_dialogue(&r.d, &got, &out);
	ck_assert_str_eq(buf_cstr(&got), codes[_i]);
	ck_assert_str_eq(buf_cstr(&out), sent[_i]);
	buf_clear(&got);
	buf_clear(&out);
	rig_clear(&r);
}
END_TEST

/* A verdict on the connection from a filter that comes late counts too. */
START_TEST(opened_anew_and_rejects)
{
	struct chain_rig r;

	rig_init(&r, 1);
	milter_peer_rule(&r.peers[0], 'O', 1, PEER_CLOSE, STR(""));
	rig_reply(&r, 0, _i == 0 ? 'C' : 'H', 1, 'r', STR(""));
	ck_assert_int_eq(rig_send(&r), 503);
	ck_assert_int_eq(driver_command(&r.d, "MAIL FROM:<bob@ok.example>"), 550);
	ck_assert_str_eq(rig_seen(&r, 0), _i == 0 ? "OODcC" : "OODcCDhH");
	rig_clear(&r);
}
END_TEST

START_TEST(idle_death)
{
	struct chain_rig r;

	rig_init(&r, 1);
	ck_assert_int_eq(rig_send(&r), 250);
	milter_peer_hang_up(&r.peers[0]);
	driver_settle(&r.d);
	ck_assert_int_eq(driver_command(&r.d, "MAIL FROM:<bob@ok.example>"), 250);
	ck_assert_str_eq(rig_seen(&r, 0), WHOLE "ODcCDhHDmM");
	rig_clear(&r);
}
END_TEST

static const struct {
	const char *name;
	const char *lines[6]; /* behind EHLO */
	const char *seen;
} dialogues[] = {
	{ "RSET in a transaction",
	    { "MAIL FROM:<a@b>", "RCPT TO:<c@d>", "RSET", "QUIT" }, "DmMDrRAQ$" },
	{ "RSET outside", { "RSET", "QUIT" }, "Q$" },
	{ "EHLO in a transaction", { "MAIL FROM:<a@b>", "EHLO x", "QUIT" },
	    "DmMADhHQ$" },
	{ "QUIT in a transaction", { "MAIL FROM:<a@b>", "QUIT" }, "DmMAQ$" },
	{ "MAIL twice", { "MAIL FROM:<a@b>", "RSET", "MAIL FROM:<c@d>" }, "DmMADmM" },
	{ "HELO again", { "HELO x", "HELO y" }, "DhHDhH" },
	{ "unknown command", { "FROB x", "QUIT" }, "UQ$" },
};

START_TEST(dialogue)
{
	struct chain_rig r;

	rig_init(&r, 1);
	rig_start(&r);
	driver_connect(&r.d);
	driver_command(&r.d, "EHLO client.example");
	for (int i = 0; i < 6 && dialogues[_i].lines[i] != NULL; i++)
		driver_command(&r.d, dialogues[_i].lines[i]);
	ck_assert_str_eq(rig_seen(&r, 0) + strlen("ODcCDhH"), dialogues[_i].seen);
	rig_clear(&r);
}
END_TEST

/* --- recipients that we refuse ourselves --- */

static const char *
refuse_all(const char *path)
{
	(void)path;
	return "550 5.1.1 no such user";
}

START_TEST(refused_recipient)
{
	struct chain_rig r;

	rig_init(&r, 2);
	r.peers[0].answer.protocol = MILTER_P_RCPT_REJ;
	rig_reply(&r, 0, 'R', 0, "cradty"[_i], STR("451 4.1.1 x\0"));
	rig_start(&r);
	r.d.refuses = refuse_all;
	driver_connect(&r.d);
	driver_command(&r.d, "EHLO x");
	driver_command(&r.d, "MAIL FROM:<a@b.example>");
	ck_assert_int_eq(driver_command(&r.d, "RCPT TO:<c@d.example>"), 550);
	ck_assert_str_eq(rig_seen(&r, 0), "ODcCDhHDmMDrR");
	ck_assert_str_eq(rig_seen(&r, 1), "ODcCDhHDmM");
	struct str all = buf_str(&r.peers[0].packets);
	struct str want = STR("{rcpt_mailer}\0error\0{rcpt_host}\0005.1.1\0"
			      "{rcpt_addr}\0no such user\0");

	ck_assert_ptr_nonnull(memmem(all.p, all.len, want.p, want.len));
	rig_clear(&r);
}
END_TEST

/* --- macros --- */

static const struct {
	const char *name;
	enum milter_stage stage;
	const char *list;
	struct str want; /* the D packet behind its length */
} lists[] = {
	{ "default at T", MILTER_STAGES, "", STR("DTi\0ID0001\0") },
	{ "default at H is empty", MILTER_STAGES, "", STR("DH\0") },
	{ "own list", MILTER_STAGE_HELO, "j", STR("DHj\0mx.ok.example\0") },
	{ "commas, braces, unknown names", MILTER_STAGE_HELO,
	    "{j},nothing {client_port}",
	    STR("DHj\0mx.ok.example\0{client_port}\00054398\0") },
	{ "empty list", MILTER_STAGE_RCPT, "", STR("DR\0") },
	{ "end of message alone", MILTER_STAGE_EOM, "{nrcpts}",
	    STR("DE{nrcpts}\0001\0") },
	{ "end of header alone", MILTER_STAGE_EOH, "{mail_addr}",
	    STR("DN{mail_addr}\0alice@ok.example\0") },
	{ "and the other stays default", MILTER_STAGE_EOH, "{mail_addr}",
	    STR("DEi\0ID0001\0{msg_size}\000158\0{nrcpts}\0001\0") },
	{ "client by name and address", MILTER_STAGE_CONNECT, "_",
	    STR("DC_\0localhost [127.0.0.1]\0") },
};

START_TEST(macros)
{
	struct chain_rig r;
	struct buf want;

	rig_init(&r, 1);
	if (lists[_i].stage != MILTER_STAGES) {
		r.peers[0].answer.has_list[lists[_i].stage] = true;
		r.peers[0].answer.macros[lists[_i].stage] = str_of(lists[_i].list);
	}
	ck_assert_int_eq(rig_send(&r), 250);
	buf_init(&want, 1000);
	struct str body = lists[_i].want;

	if (body.p[body.len - 2] >= 'A' && body.len == 3)
		body.len = 2; /* "DH": no pairs, no NUL */
	milter_packet_write(&want, body.p[0], str_sub(body, 1, body.len));
	ck_assert_ptr_nonnull(
	    memmem(r.peers[0].packets.p, r.peers[0].packets.len, want.p, want.len));
	buf_clear(&want);
	rig_clear(&r);
}
END_TEST

/* --- bodies --- */

static const struct {
	size_t len;
	size_t chunks[6];
} bodies[] = {
	{ 0, { 0 } },
	{ 1, { 1 } },
	{ 65535, { 65535 } },
	{ 65536, { 65535, 1 } },
	{ 300000, { 65535, 65535, 65535, 65535, 37860 } },
};

START_TEST(body_chunks)
{
	struct chain_rig r;
	struct buf text;
	struct milter_packet packet;
	size_t used, at = 0, n = 0;

	rig_init(&r, 1);
	r.peers[0].answer.protocol =
	    _i % 2 == 0 ? 0 : MILTER_P_NR_BODY | MILTER_P_NR_HDR;
	rig_start(&r);
	driver_connect(&r.d);
	driver_command(&r.d, "EHLO x");
	driver_command(&r.d, "MAIL FROM:<a@b>");
	driver_command(&r.d, "RCPT TO:<c@d>");
	driver_command(&r.d, "DATA");
	buf_init(&text, 400000);
	buf_add_cstr(&text, "A: b\r\n\r\n");
	for (size_t i = 0; i < bodies[_i].len; i++)
		buf_add_char(&text, (char)(i * 7 + i / 256));
	ck_assert_int_eq(driver_message(&r.d, buf_str(&text)), 250);
	struct str all = buf_str(&r.peers[0].packets);

	while (milter_packet_read(str_sub(all, at, all.len), MILTER_PACKET_MAX, &packet,
		   &used, NULL) == PARSE_DONE) {
		at += used;
		if (packet.cmd != 'B')
			continue;
		ck_assert_uint_eq(packet.payload.len, bodies[_i].chunks[n]);
		same(packet.payload,
		    str_sub(buf_str(&text), 8 + n * 65535, 8 + (n + 1) * 65535));
		n++;
	}
	ck_assert(n == 6 || bodies[_i].chunks[n] == 0);
	buf_clear(&text);
	rig_clear(&r);
}
END_TEST

/* --- hostile and slow filters --- */

/* 20 MB to a filter that asked for no replies and stops reading. */
START_TEST(deaf_filter)
{
	struct chain_rig r;
	struct buf text;

	rig_init(&r, 1);
	r.peers[0].answer.protocol = 0xff080;
	r.confs[0].content_ms = 100;
	milter_peer_rule(&r.peers[0], 'N', 1, PEER_DEAF, STR(""));
	rig_start(&r);
	driver_connect(&r.d);
	driver_command(&r.d, "EHLO x");
	driver_command(&r.d, "MAIL FROM:<a@b>");
	driver_command(&r.d, "RCPT TO:<c@d>");
	driver_command(&r.d, "DATA");
	buf_init(&text, 30u << 20);
	buf_add_cstr(&text, "A: b\r\n\r\n");
	memset(buf_reserve(&text, 20u << 20), 'x', 20u << 20);
	text.len += 20u << 20;
	ck_assert_int_eq(driver_message(&r.d, buf_str(&text)), 451);
	buf_clear(&text);
	rig_clear(&r);
}
END_TEST

/* Progress restarts the timer of the reply, but not the chain's. */
static struct event *ticker;
static int ticks;

static void
tick(evutil_socket_t fd, short what, void *arg)
{
	struct milter_peer *p = arg;

	(void)fd;
	(void)what;
	if (p->counts['E'] == 0)
		return;
	milter_peer_send(p, STR("\0\0\0\1p"));
	if (++ticks == 5)
		milter_peer_send(p, STR("\0\0\0\1c"));
}

START_TEST(progress)
{
	struct timeval tv = { .tv_usec = 150000 };
	struct chain_rig r;

	rig_init(&r, 1);
	r.confs[0].content_ms = 600;
	milter_peer_rule(&r.peers[0], 'E', 1, PEER_SILENT, STR(""));
	ticks = 0;
	ticker = event_new(r.base, -1, EV_PERSIST, tick, &r.peers[0]);
	event_add(ticker, &tv);
	rig_start(&r);
	if (_i == 1)
		milter_chain_limit(r.d.chain, 400);
	ck_assert_int_eq(rig_send(&r), _i == 0 ? 250 : 451);
	ck_assert_int_eq(ticks >= 5, _i == 0);
	event_free(ticker);
	rig_clear(&r);
}
END_TEST

/* The chain's time is gone with the first filter: the second has none left. */
START_TEST(no_time_left)
{
	struct chain_rig r;

	rig_init(&r, 2);
	r.confs[0].on_failure = MILTER_ON_FAILURE_ACCEPT;
	milter_peer_rule(&r.peers[0], 'E', 1, PEER_SILENT, STR(""));
	rig_start(&r);
	milter_chain_limit(r.d.chain, 100);
	ck_assert_int_eq(rig_send(&r), 451);
	ck_assert_str_eq(r.d.filter, "second");
	rig_clear(&r);
}
END_TEST

static const struct {
	const char *name;
	struct str packet;
	int times; /* that many are borne */
} floods[] = {
	{ "header edits", STR("\0\0\0\5hX\0y\0"), 1000 },
	{ "recipients", STR("\0\0\0\5-a@b\0"), 2000 },
	{ "progress", STR("\0\0\0\1p"), 100 },
};

START_TEST(flood)
{
	int f = _i / 2, times = floods[f].times + _i % 2;
	struct chain_rig r;
	struct buf b;

	rig_init(&r, 1);
	buf_init(&b, 100000);
	for (int i = 0; i < times; i++)
		buf_add_str(&b, floods[f].packet);
	buf_add_str(&b, STR("\0\0\0\1c"));
	milter_peer_rule(&r.peers[0], 'E', 1, PEER_SEND, buf_str(&b));
	ck_assert_int_eq(rig_send(&r), _i % 2 == 0 ? 250 : 451);
	buf_clear(&b);
	rig_clear(&r);
}
END_TEST

START_TEST(octet_by_octet)
{
	struct chain_rig r;

	rig_init(&r, 1);
	r.peers[0].trickle = true;
	rig_reply(&r, 0, 'R', 1, 'y', STR("550 5.1.1 no\0"));
	milter_peer_rule(&r.peers[0], 'E', 1, PEER_SEND,
	    STR("\0\0\0\5hX\0y\0\0\0\0\3qz\0\0\0\0\1c"));
	rig_start(&r);
	driver_connect(&r.d);
	driver_command(&r.d, "EHLO x");
	driver_command(&r.d, "MAIL FROM:<a@b>");
	ck_assert_int_eq(driver_command(&r.d, "RCPT TO:<c@d>"), 550);
	ck_assert_str_eq(r.d.reply.text, "no");
	ck_assert_str_eq(r.d.reply.enhanced, "5.1.1");
	ck_assert_int_eq(driver_command(&r.d, "RCPT TO:<e@d>"), 250);
	ck_assert_int_eq(driver_command(&r.d, "DATA"), 354);
	ck_assert_int_eq(driver_message(&r.d, STR("A: b\r\n\r\nx\r\n")), 250);
	ck_assert_int_eq(r.d.fate, DRIVER_HELD);
	ck_assert_str_eq(r.d.reply.reason, "z");
	same(buf_str(&r.d.out), STR(RIG_RECEIVED "A: b\r\nX: y\r\n\r\nx\r\n"));
	rig_clear(&r);
}
END_TEST

static void
add_failures(TCase *t)
{
	tcase_add_loop_test(t, steps_left_out, 0, COUNT(bits));
	tcase_add_loop_test(t, no_reply, 0, COUNT(unanswered));
	tcase_add_test(t, reply_against_promise);
	tcase_add_loop_test(t, failure, 0, COUNT(failing) * COUNT(policies));
	tcase_add_loop_test(t, failure_of_the_first, 0, 2);
	tcase_add_loop_test(t, down, 0, 5);
	tcase_add_loop_test(t, opened_anew_and_rejects, 0, 2);
	tcase_add_test(t, idle_death);
}

int
main(void)
{
	Suite *s = suite_create("milter_chain");
	TCase *t = tcase_create("milter_chain");

	tcase_set_timeout(t, 30);
	tcase_add_test(t, no_filters);
	tcase_add_test(t, one_filter);
	tcase_add_loop_test(t, packets, 0, 2);
	tcase_add_test(t, two_filters_in_order);
	add_failures(t);
	tcase_add_loop_test(t, dialogue, 0, COUNT(dialogues));
	tcase_add_loop_test(t, refused_recipient, 0, 6);
	tcase_add_loop_test(t, macros, 0, COUNT(lists));
	tcase_add_loop_test(t, body_chunks, 0, COUNT(bodies));
	tcase_add_test(t, deaf_filter);
	tcase_add_loop_test(t, progress, 0, 2);
	tcase_add_test(t, no_time_left);
	tcase_add_loop_test(t, flood, 0, 2 * COUNT(floods));
	tcase_add_test(t, octet_by_octet);
	suite_add_tcase(s, t);

	SRunner *r = srunner_create(s);

	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);

	srunner_free(r);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* contrib/relay/milter_edit through the chain: what a filter's edits at end of message
 * make of header section, body and envelope, and that they count whole or not at all.
 */
#include <check.h>
#include <stdlib.h>

#include "tests/lib/chain_rig.h"

#define COUNT(table) (int)(sizeof(table) / sizeof((table)[0]))

static void
same(struct str got, struct str want)
{
	ck_assert_msg(str_eq(got, want), "got '%.*s', expected '%.*s'", STR_ARG(got),
	    STR_ARG(want));
}

#define FROM "From: Alice <alice@ok.example>\r\n"
#define TO "To: a@ok.example\r\n"
#define ONE "X-Dup: one\r\n"
#define TWO "X-Dup: two\r\n"
#define THREE "X-Dup: three\r\n"
#define BODY "\r\nline 1\r\n.line 2\r\n"
#define OURS RIG_RECEIVED

/* Edits in shorthand: "h Name=value", "i 0 Name=value", "m 1 Name=value"; several are
 * divided by ';'. */
static void
add_edits(struct buf *b, const char *edits)
{
	struct str rest = str_of(edits), edit, part;

	while (str_cut(&rest, ';', &edit)) {
		char cmd = edit.p[0];
		uint64_t index = 0;

		edit = str_sub(edit, 2, edit.len);
		if (cmd != 'h') {
			str_cut(&edit, ' ', &part);
			ck_assert(str_to_uint(part, 0, UINT32_MAX, &index));
		}
		str_cut(&edit, '=', &part);
		const struct str strings[] = { part, edit };

		if (cmd == 'h')
			milter_strings_write(b, cmd, strings, 2);
		else
			milter_header_write(b, cmd, (uint32_t)index, part, edit);
	}
}

static const struct {
	const char *edits;
	uint32_t protocol;
	const char *out; /* header section */
} headers[] = {
	{ "h X=y", 0, OURS FROM TO ONE TWO THREE "X: y\r\n" },
	{ "h X-Dup=four", 0, OURS FROM TO ONE TWO THREE "X-Dup: four\r\n" },
	{ "i 0 X=y", 0, "X: y\r\n" OURS FROM TO ONE TWO THREE },
	{ "i 1 X=y", 0, OURS "X: y\r\n" FROM TO ONE TWO THREE },
	{ "i 0 A=1;i 1 B=2", 0, "A: 1\r\nB: 2\r\n" OURS FROM TO ONE TWO THREE },
	{ "i 0 A=1;i 0 B=2", 0, "B: 2\r\nA: 1\r\n" OURS FROM TO ONE TWO THREE },
	{ "i 999 X=y", 0, OURS FROM TO ONE TWO THREE "X: y\r\n" },
	{ "i 6 X=y", 0, OURS FROM TO ONE TWO THREE "X: y\r\n" },
	{ "i 5 X=y", 0, OURS FROM TO ONE TWO "X: y\r\n" THREE },
	{ "m 1 To=b@x", 0, OURS FROM "To: b@x\r\n" ONE TWO THREE },
	{ "m 0 To=b@x", 0, OURS FROM "To: b@x\r\n" ONE TWO THREE },
	{ "m 1 TO=b@x", 0, OURS FROM "TO: b@x\r\n" ONE TWO THREE },
	{ "m 2 X-Dup=2", 0, OURS FROM TO ONE "X-Dup: 2\r\n" THREE },
	{ "m 9 X-Dup=missing", 0, OURS FROM TO ONE TWO THREE "X-Dup: missing\r\n" },
	{ "m 1 X=new", 0, OURS FROM TO ONE TWO THREE "X: new\r\n" },
	{ "m 1 To=", 0, OURS FROM ONE TWO THREE },
	{ "m 1 X=", 0, OURS FROM TO ONE TWO THREE },
	/* our Received is not the filter's to touch */
	{ "m 1 Received=forged", 0, OURS FROM TO ONE TWO THREE "Received: forged\r\n" },
	{ "m 1 Received=", 0, OURS FROM TO ONE TWO THREE },
	/* deleting does not renumber (sendmail's way) */
	{ "m 1 X-Dup=;m 1 X-Dup=", 0, OURS FROM TO TWO THREE },
	{ "m 1 X-Dup=;m 2 X-Dup=", 0, OURS FROM TO THREE },
	{ "m 3 X-Dup=;m 2 X-Dup=;m 1 X-Dup=", 0, OURS FROM TO },
	{ "m 1 X-Dup=;m 1 X-Dup=back", 0, OURS FROM TO "X-Dup: back\r\n" TWO THREE },
	{ "m 1 From=;i 1 X=y", 0, OURS "X: y\r\n" TO ONE TWO THREE },
	{ "m 1 From=;i 2 X=y", 0, OURS TO "X: y\r\n" ONE TWO THREE },
	/* its own come behind the shown ones */
	{ "i 0 X-Dup=0;m 1 X-Dup=1", 0,
	    "X-Dup: 0\r\n" OURS FROM TO "X-Dup: 1\r\n" TWO THREE },
	{ "h X-Dup=4;m 4 X-Dup=5", 0, OURS FROM TO ONE TWO THREE "X-Dup: 5\r\n" },
	{ "h X=1;m 1 X=", 0, OURS FROM TO ONE TWO THREE },
	{ "h X=1;h X=2;m 1 X=;m 1 X=3", 0, OURS FROM TO ONE TWO THREE "X: 3\r\n" },
	{ "i 0 To=0;m 1 To=;m 2 To=", 0, OURS FROM ONE TWO THREE },
	/* spaces and folds */
	{ "h X= y", MILTER_P_HDR_LEADSPC, OURS FROM TO ONE TWO THREE "X: y\r\n" },
	{ "h X=y", MILTER_P_HDR_LEADSPC, OURS FROM TO ONE TWO THREE "X:y\r\n" },
	{ "h X= y", 0, OURS FROM TO ONE TWO THREE "X:  y\r\n" },
	{ "m 1 To=a@x,\n\tb@x", 0, OURS FROM "To: a@x,\r\n\tb@x\r\n" ONE TWO THREE },
	{ "h X=l1\r\n\tl2", 0, OURS FROM TO ONE TWO THREE "X: l1\r\n\tl2\r\n" },
	{ "h X=y\n", 0, OURS FROM TO ONE TWO THREE "X: y\r\n" },
};

START_TEST(header_edit)
{
	struct chain_rig r;
	struct buf want;

	rig_init(&r, 1);
	buf_init(&want, 10000);
	r.peers[0].answer.protocol = headers[_i].protocol;
	add_edits(&r.octets, headers[_i].edits);
	milter_packet_write(&r.octets, 'c', STR(""));
	milter_peer_rule(&r.peers[0], 'E', 1, PEER_SEND, buf_str(&r.octets));
	ck_assert_int_eq(rig_send(&r), 250);
	buf_addf(&want, "%s%s", headers[_i].out, BODY);
	same(buf_str(&r.d.out), buf_str(&want));
	buf_clear(&want);
	rig_clear(&r);
}
END_TEST

static const struct {
	struct str chunks[4]; /* p NULL: no more */
	struct str out;
} bodies[] = {
	{ { STR("new\r\n") }, STR("new\r\n") },
	{ { STR("new\n") }, STR("new\r\n") },
	{ { STR("new") }, STR("new\r\n") },
	{ { STR("a\r"), STR("\nb\r\n") }, STR("a\r\nb\r\n") },
	{ { STR("a\r"), STR("b") }, STR("a b\r\n") },
	{ { STR("a\r") }, STR("a\r\n") },
	{ { STR("a\r\r\n") }, STR("a \r\n") },
	{ { STR("") }, STR("") },
	{ { STR(""), STR("a\n"), STR("") }, STR("a\r\n") },
	{ { STR("one\r\n"), STR("two\r\n"), STR("three") },
	    STR("one\r\ntwo\r\nthree\r\n") },
	{ { STR("\n\n") }, STR("\r\n\r\n") },
	{ { STR("8-bit \351, NUL \0.\r\n.\r\n") }, STR("8-bit \351, NUL  .\r\n.\r\n") },
};

START_TEST(body_edit)
{
	struct chain_rig r;
	struct buf want;

	rig_init(&r, 2); /* the second is shown what the first made */
	buf_init(&want, 10000);
	for (int i = 0; i < 4 && bodies[_i].chunks[i].p != NULL; i++)
		milter_packet_write(&r.octets, 'b', bodies[_i].chunks[i]);
	milter_packet_write(&r.octets, 'c', STR(""));
	milter_peer_rule(&r.peers[0], 'E', 1, PEER_SEND, buf_str(&r.octets));
	ck_assert_int_eq(rig_send(&r), 250);
	buf_add_cstr(&want, OURS FROM TO ONE TWO THREE "\r\n");
	buf_add_str(&want, bodies[_i].out);
	same(buf_str(&r.d.out), buf_str(&want));
	buf_reset(&want);
	milter_packet_write(&want, 'B', bodies[_i].out);
	ck_assert_int_eq(bodies[_i].out.len > 0,
	    memmem(r.peers[1].packets.p, r.peers[1].packets.len, want.p, want.len) !=
		NULL);
	buf_clear(&want);
	rig_clear(&r);
}
END_TEST

/* As many octets as allowed, and one more. */
START_TEST(body_limit)
{
	struct chain_rig r;

	rig_init(&r, 1);
	rig_start(&r);
	r.d.body_max = 10;
	milter_packet_write(
	    &r.octets, 'b', _i == 0 ? STR("12345678") : STR("123456789"));
	milter_packet_write(&r.octets, 'c', STR(""));
	milter_peer_rule(&r.peers[0], 'E', 1, PEER_SEND, buf_str(&r.octets));
	ck_assert_int_eq(rig_send(&r), _i == 0 ? 250 : 451);
	if (_i == 1)
		same(buf_str(&r.d.out), STR(RIG_RECEIVED RIG_MESSAGE));
	rig_clear(&r);
}
END_TEST

static const struct {
	const char *edits; /* "e<x@y>", "+a@b", "2a@b ARG", "-a@b", divided by ';' */
	const char *sender, *rcpts;
	int fate;
} envelopes[] = {
	{ "e<bob@ok.example>", "bob@ok.example", "a@ok.example", DRIVER_SENT },
	{ "ebob@ok.example", "bob@ok.example", "a@ok.example", DRIVER_SENT },
	{ "e<>", "", "a@ok.example", DRIVER_SENT },
	{ "e", "", "a@ok.example", DRIVER_SENT },
	{ "ebob@ok.example SIZE=1 BODY=8BITMIME", "bob@ok.example", "a@ok.example",
	    DRIVER_SENT },
	{ "+<b@ok.example>", "alice@ok.example", "a@ok.example b@ok.example",
	    DRIVER_SENT },
	{ "+b@ok.example", "alice@ok.example", "a@ok.example b@ok.example",
	    DRIVER_SENT },
	{ "2b@ok.example NOTIFY=NEVER", "alice@ok.example", "a@ok.example b@ok.example",
	    DRIVER_SENT },
	{ "+a@OK.EXAMPLE", "alice@ok.example", "a@OK.EXAMPLE", DRIVER_SENT },
	{ "+b@ok.example;-a@ok.example", "alice@ok.example", "b@ok.example",
	    DRIVER_SENT },
	{ "-<a@ok.example>;+b@ok.example", "alice@ok.example", "b@ok.example",
	    DRIVER_SENT },
	{ "-nobody@ok.example", "alice@ok.example", "a@ok.example", DRIVER_SENT },
	{ "-a@ok.example", "alice@ok.example", "", DRIVER_GONE },
	{ "+<@relay.example:b@ok.example>", "alice@ok.example",
	    "a@ok.example b@ok.example", DRIVER_SENT },
};

static void
add_envelope_edits(struct buf *b, const char *edits)
{
	struct str rest = str_of(edits), edit, address;

	while (str_cut(&rest, ';', &edit)) {
		char cmd = edit.p[0];

		edit = str_sub(edit, 1, edit.len);
		if (!str_cut(&edit, ' ', &address))
			address = edit;
		const struct str strings[] = { address, edit };

		milter_strings_write(b, cmd, strings, edit.p == NULL ? 1 : 2);
	}
}

START_TEST(envelope_edit)
{
	struct chain_rig r;

	rig_init(&r, 1);
	add_envelope_edits(&r.octets, envelopes[_i].edits);
	milter_packet_write(&r.octets, 'c', STR(""));
	milter_peer_rule(&r.peers[0], 'E', 1, PEER_SEND, buf_str(&r.octets));
	ck_assert_int_eq(rig_send(&r), 250);
	ck_assert_int_eq(r.d.fate, envelopes[_i].fate);
	ck_assert_str_eq(r.d.out_sender, envelopes[_i].sender);
	ck_assert_str_eq(buf_cstr(&r.d.out_rcpts), envelopes[_i].rcpts);
	rig_clear(&r);
}
END_TEST

/* --- whole or not at all --- */

static const struct {
	const char *name;
	enum peer_act act;
	struct str last; /* behind edits of every kind */
	enum milter_policy policy;
	int code, fate;
	bool edited;
} ends[] = {
	{ "continue", PEER_SEND, STR("\0\0\0\1c"), MILTER_ON_FAILURE_TEMPFAIL, 250,
	    DRIVER_SENT, true },
	{ "accept", PEER_SEND, STR("\0\0\0\1a"), MILTER_ON_FAILURE_TEMPFAIL, 250,
	    DRIVER_SENT, true },
	{ "skip", PEER_SEND, STR("\0\0\0\1s"), MILTER_ON_FAILURE_TEMPFAIL, 250,
	    DRIVER_SENT, true },
	{ "quarantine", PEER_SEND, STR("\0\0\0\3qx\0\0\0\0\1c"),
	    MILTER_ON_FAILURE_TEMPFAIL, 250, DRIVER_HELD, true },
	{ "reject", PEER_SEND, STR("\0\0\0\1r"), MILTER_ON_FAILURE_TEMPFAIL, 550,
	    DRIVER_NOTHING, false },
	{ "discard", PEER_SEND, STR("\0\0\0\1d"), MILTER_ON_FAILURE_TEMPFAIL, 250,
	    DRIVER_GONE, false },
	{ "quarantine, then reject", PEER_SEND, STR("\0\0\0\3qx\0\0\0\0\1r"),
	    MILTER_ON_FAILURE_TEMPFAIL, 550, DRIVER_NOTHING, false },
	{ "death, tempfail", PEER_CLOSE, STR(""), MILTER_ON_FAILURE_TEMPFAIL, 451,
	    DRIVER_NOTHING, false },
	{ "death, reject", PEER_CLOSE, STR(""), MILTER_ON_FAILURE_REJECT, 550,
	    DRIVER_NOTHING, false },
	{ "death, accept", PEER_CLOSE, STR(""), MILTER_ON_FAILURE_ACCEPT, 250,
	    DRIVER_SENT, false },
	{ "death, quarantine", PEER_CLOSE, STR(""), MILTER_ON_FAILURE_QUARANTINE, 250,
	    DRIVER_HELD, false },
	{ "death, shutdown", PEER_CLOSE, STR(""), MILTER_ON_FAILURE_SHUTDOWN, 421,
	    DRIVER_NOTHING, false },
	{ "death within quarantine, accept", PEER_CLOSE, STR("\0\0\0\3qx\0"),
	    MILTER_ON_FAILURE_ACCEPT, 250, DRIVER_SENT, false },
	{ "bad edit, accept", PEER_SEND, STR("\0\0\0\5hX\0yy"),
	    MILTER_ON_FAILURE_ACCEPT, 250, DRIVER_SENT, false },
	{ "silence, accept", PEER_SILENT, STR(""), MILTER_ON_FAILURE_ACCEPT, 250,
	    DRIVER_SENT, false },
};

START_TEST(whole_or_nothing)
{
	struct chain_rig r;
	bool edited = ends[_i].edited;

	rig_init(&r, 2);
	r.confs[0].on_failure = (int)ends[_i].policy;
	if (ends[_i].act == PEER_SILENT)
		r.confs[0].content_ms = 250;
	add_edits(&r.octets, "h X=y;m 1 To=;i 0 Z=0");
	add_envelope_edits(&r.octets, "ebob@ok.example;+b@ok.example");
	milter_packet_write(&r.octets, 'b', STR("new body"));
	buf_add_str(&r.octets, ends[_i].last);
	milter_peer_rule(&r.peers[0], 'E', 1, ends[_i].act, buf_str(&r.octets));
	ck_assert_int_eq(rig_send(&r), ends[_i].code);
	ck_assert_int_eq(r.d.fate, (unsigned)ends[_i].fate);
	same(buf_str(&r.d.out),
	    edited ? STR("Z: 0\r\n" OURS FROM ONE TWO THREE "X: y\r\n\r\nnew body\r\n")
		   : STR(RIG_RECEIVED RIG_MESSAGE));
	ck_assert_str_eq(
	    r.d.out_sender, edited ? "bob@ok.example" : "alice@ok.example");
	ck_assert_str_eq(buf_cstr(&r.d.out_rcpts),
	    edited ? "a@ok.example b@ok.example" : "a@ok.example");
	/* The second filter sees the message as the first left it, if at all. */
	const char *second = rig_seen(&r, 1);

	if (ends[_i].code != 250 || ends[_i].fate == DRIVER_GONE)
		ck_assert_str_eq(second, "ODcCDhHDmMDrRDtTA");
	else
		ck_assert_str_eq(second,
		    edited ? "ODcCDhHDmMDrRDtTLLLLLLDnNBDeE"
			   : "ODcCDhHDmMDrRDtTLLLLLDnNBDeE");
	rig_clear(&r);
}
END_TEST

/* Edits of one filter stay when the next one fails; both edit the same fields. */
START_TEST(two_filters_edit)
{
	struct chain_rig r;
	struct str part;

	rig_init(&r, 2);
	r.confs[1].on_failure = MILTER_ON_FAILURE_ACCEPT;
	add_edits(&r.octets, "i 0 Top=1;m 1 X-Dup=;h End=1");
	milter_packet_write(&r.octets, 'c', STR(""));
	part = buf_str(&r.octets);
	milter_peer_rule(&r.peers[0], 'E', 1, PEER_SEND, part);
	/* The first instance is now the one that was second; Received has moved down.
	 */
	add_edits(&r.octets, "i 0 Top=2;m 1 X-Dup=again;m 1 Top=changed");
	if (_i == 0)
		milter_packet_write(&r.octets, 'c', STR(""));
	milter_peer_rule(&r.peers[1], 'E', 1, _i == 0 ? PEER_SEND : PEER_CLOSE,
	    str_sub(buf_str(&r.octets), part.len, r.octets.len));
	ck_assert_int_eq(rig_send(&r), 250);
	same(buf_str(&r.d.out),
	    _i == 0 ? STR("Top: 2\r\nTop: changed\r\n" OURS FROM TO
			  "X-Dup: again\r\n" THREE "End: 1\r\n" BODY)
		    : STR("Top: 1\r\n" OURS FROM TO TWO THREE "End: 1\r\n" BODY));
	rig_clear(&r);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("milter_edit");
	TCase *t = tcase_create("milter_edit");

	tcase_set_timeout(t, 30);
	tcase_add_loop_test(t, header_edit, 0, COUNT(headers));
	tcase_add_loop_test(t, body_edit, 0, COUNT(bodies));
	tcase_add_loop_test(t, body_limit, 0, 2);
	tcase_add_loop_test(t, envelope_edit, 0, COUNT(envelopes));
	tcase_add_loop_test(t, whole_or_nothing, 0, COUNT(ends));
	tcase_add_loop_test(t, two_filters_edit, 0, 2);
	suite_add_tcase(s, t);

	SRunner *r = srunner_create(s);

	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);

	srunner_free(r);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* Replays every recorded dialogue of sendmail and Postfix with a filter
 * (tests/vectors/milter): the packets that our chain sends, their macros and the
 * classes of the SMTP replies are those of the recording, or stand in the table below
 * with what we do instead and why. */
#include <check.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/lib/chain_rig.h"
#include "tests/lib/milter_replay.h"

#define COUNT(table) (int)(sizeof(table) / sizeof((table)[0]))
#define N_RECORDINGS 211 /* all but third-party-optneg.txt, which is no dialogue */

/* Where we differ.  Everything else must be the same.  mail: what our delivery has and
 * theirs has not; behind a '!' what theirs has. */
static const struct {
	const char *scenario;
	bool postfix;
	const char *reason;
	const char *codes; /* NULL: as recorded */
	const char *letters[2]; /* of the packets to A and B; NULL: as recorded */
	const char *line; /* one of our packets in full; NULL: none */
	const char *macros; /* what differs; NULL: nothing */
	const char *mail;
} differences[] = {
	{ "body-nul-barecr-barelf", false,
	    "bare CR, LF and NUL are the session's to refuse; the chain shows and "
	    "sends what "
	    "it is given",
	    .codes = "2222322", .letters = { "CHMRTLNBE" },
	    .line = "B 37 0b216b0433ef7e83", .mail = "barecr" },
	{ "body-nul-barecr-barelf", true, "as above; Postfix mends them",
	    .letters = { "CHMRTLNBE" }, .line = "B 37 0b216b0433ef7e83",
	    .mail = "barecr" },
	{ "chunking", false,
	    "the client left after sendmail's first 500; here it stays",
	    .codes = "222255555552" },
	{ "die-after-header-edit", false,
	    "edits of a filter that dies are dropped: no half-edited message goes out",
	    .mail = "!X-Half: done" },
	{ "die-after-header-edit", true, "as above", .mail = "!X-Half: done" },
	{ "edit-body-then-header-then-body", true,
	    "an edit between two body packets is fine, as in sendmail",
	    .codes = "2222322", .mail = "X-Mid: v" },
	{ "edit-delete-dups", true, "deleting does not renumber, as in sendmail",
	    .mail = "X-Dup: two" },
	{ "edit-headers", false,
	    "an instance that is not there is added at the end, as in "
	    "Postfix",
	    .mail = "X-Ins999: far\r\nX-Dup: missing-index\r\n" },
	{ "edit-headers-leadspc-on", false, "as above",
	    .mail = "X-Ins999:far\r\nX-Dup:missing-index\r\n" },
	{ "edit-not-negotiated", false,
	    "edits without their action bit are applied, as in Postfix",
	    .codes = "22223222322", .mail = "X-Add: v" },
	{ "ehlo-mid-transaction", true, "A goes out before the new H, as in sendmail",
	    .letters = { "CHMRAHMRTLLLNBE" } },
	{ "header-70k", false,
	    "size limits are the session's; a field is cut to what libmilter reads",
	    .codes = "2222322", .letters = { "CHMRTLLNBE" },
	    .line = "L 65535 403be70efc4262cc", .mail = "Subject: x" },
	{ "header-70k", true, "Postfix cuts at 59.5 kB, we at 65535 octets",
	    .letters = { "CHMRTLLNBE" }, .line = "L 65535 403be70efc4262cc" },
	{ "header-name-space", false, "what no filter touches stays octet for octet",
	    .mail = "Subject : spaced" },
	{ "header-name-space", true, "as above", .mail = "Subject : spaced" },
	{ "ipv6", false, "addresses are written as Postfix does",
	    .macros = "C _: ours localhost [::1], theirs localhost "
		      "[IPv6:0:0:0:0:0:0:0:1]\n" },
	{ "neg-mds-1M", false, "unknown protocol bits are masked, as in Postfix",
	    .codes = "222232", .letters = { "CHMRT" } },
	{ "neg-unknown-proto", false, "unknown protocol bits are masked, as in Postfix",
	    .codes = "222232", .letters = { "CHMRT" } },
	{ "null-sender-odd-addresses", true, "quotes stay, as in sendmail",
	    .macros = "R {rcpt_addr}: ours \"a\"@ok.example, theirs a@ok.example\n" },
	{ "rcpt-rejected-by-mta-RCPT_REJ", false,
	    "all refused recipients are shown, as in Postfix",
	    .letters = { "CHMRRRRTLLLNBE" },
	    .macros = "R {rcpt_addr}: ours User unknown, theirs b@ok.example\n" },
	{ "rcpt-rejected-by-mta-RCPT_REJ", true,
	    "the text is that of the driver's refusal",
	    .macros =
		"R {rcpt_addr}: ours User unknown, theirs Recipient address rejected: "
		"User unknown in virtual mailbox table\n"
		"R {rcpt_addr}: ours User unknown, theirs Relay access denied\n" },
	{ "rcpt-unknown-local-user-RCPT_REJ", false,
	    "code and text are parted, as in Postfix",
	    .macros =
		"R {rcpt_addr}: ours User unknown, theirs 550 5.1.1 User unknown\n" },
	{ "reply-with-trailing-data", true,
	    "octets behind a final reply are ignored, as in sendmail",
	    .codes = "222232", .letters = { "CHMRT" } },
	{ "setsymlist-all", true,
	    "at DATA the last recipient's macros are still there, not the first's",
	    .macros = "T {rcpt_addr}: ours b@ok.example, theirs a@ok.example\n" },
	{ "setsymlist-too-many", false, "lists may be of any length, as in Postfix",
	    .codes = "222232" },
	{ "two-filters-second-down", false,
	    "a filter that is down does not keep the others from hearing, as in "
	    "Postfix",
	    .letters = { "CHM" } },
	{ "two-filters-second-rejects-mail", true,
	    "no A to the filter that refused MAIL itself, as in sendmail",
	    .letters = { NULL, "CHMMRTLLLNBE" } },
	{ "version-1", true, "version 1 is refused, as in sendmail",
	    .codes = "225455-2", .letters = { "" }, .mail = "!Subject: hello" },
	{ "version-7", true, "version 7 is taken as 6, as in sendmail",
	    .codes = "222232", .letters = { "CHMRT" } },
};

static glob_t files;

static void
letters(const struct buf *lines, struct buf *out)
{
	struct str rest = buf_str(lines), line;

	buf_reset(out);
	while (str_cut(&rest, '\n', &line) && line.len > 0)
		buf_add_char(out, line.p[0]);
}

static int
difference_of(const struct tape *t)
{
	for (int i = 0; i < COUNT(differences); i++) {
		if (strcmp(differences[i].scenario, t->scenario) == 0 &&
		    differences[i].postfix == t->postfix)
			return i;
	}
	return -1;
}

static void
check_packets(struct replay *r, int filter, const char *want, const char *line)
{
	struct buf got;

	buf_init(&got, 10000);
	if (want == NULL) {
		ck_assert_msg(
		    str_eq(buf_str(&r->ours[filter]), buf_str(&r->theirs[filter])),
		    "packets to %c differ: ours\n%stheirs\n%s", 'A' + filter,
		    buf_cstr(&r->ours[filter]), buf_cstr(&r->theirs[filter]));
	} else {
		ck_assert_msg(
		    !str_eq(buf_str(&r->ours[filter]), buf_str(&r->theirs[filter])),
		    "the packets are the same: no need of a row");
		letters(&r->ours[filter], &got);
		ck_assert_str_eq(buf_cstr(&got), want);
		if (line != NULL)
			ck_assert_ptr_nonnull(strstr(buf_cstr(&r->ours[filter]), line));
	}
	buf_clear(&got);
}

static bool
has(const struct buf *b, const char *what)
{
	return b->len > 0 && memmem(b->p, b->len, what, strlen(what)) != NULL;
}

static void
check_mail(const struct replay *r, const char *want)
{
	bool same = str_eq(buf_str(&r->our_mail), buf_str(&r->their_mail));

	if (want == NULL) {
		ck_assert_msg(same, "deliveries differ: ours\n%.*s\ntheirs\n%.*s",
		    STR_ARG(buf_str(&r->our_mail)), STR_ARG(buf_str(&r->their_mail)));
		return;
	}
	ck_assert_msg(!same, "the deliveries are the same: no need of a row");
	bool theirs = want[0] == '!';

	ck_assert(has(theirs ? &r->their_mail : &r->our_mail, want + theirs));
	ck_assert(!has(theirs ? &r->our_mail : &r->their_mail, want + theirs));
}

START_TEST(recording)
{
	struct tape t;
	struct replay r;

	tape_read(&t, files.gl_pathv[_i]);
	int d = difference_of(&t);

	replay_run(&r, &t);
	ck_assert_str_eq(buf_cstr(&r.our_codes),
	    d >= 0 && differences[d].codes != NULL ? differences[d].codes
						   : buf_cstr(&r.their_codes));
	if (d >= 0 && differences[d].codes != NULL)
		ck_assert_str_ne(buf_cstr(&r.our_codes), buf_cstr(&r.their_codes));
	for (int f = 0; f < 2; f++)
		check_packets(&r, f, d >= 0 ? differences[d].letters[f] : NULL,
		    d >= 0 ? differences[d].line : NULL);
	ck_assert_str_eq(buf_cstr(&r.macros),
	    d >= 0 && differences[d].macros != NULL ? differences[d].macros : "");
	check_mail(&r, d >= 0 ? differences[d].mail : NULL);
	replay_clear(&r);
	tape_clear(&t);
}
END_TEST

/* Every row of the table is for a recording that exists, once. */
START_TEST(row)
{
	int n = 0;

	for (size_t i = 0; i < files.gl_pathc; i++) {
		struct tape t;

		tape_read(&t, files.gl_pathv[i]);
		n += difference_of(&t) == _i;
		tape_clear(&t);
	}
	ck_assert_int_eq(n, 1);
	ck_assert_str_ne(differences[_i].reason, "");
}
END_TEST

/* --- what packaged filters answer to the negotiation --- */

#define N_PACKAGED 6

/* The nth line "name hex ; ..." of third-party-optneg.txt. */
static void
packaged_filter(int nth, char name[60], struct buf *answer)
{
	char line[500], hex[200];
	unsigned octet;
	FILE *f = fopen("tests/vectors/milter/third-party-optneg.txt", "r");

	ck_assert_ptr_nonnull(f);
	while (nth >= 0 && fgets(line, sizeof(line), f) != NULL)
		nth -= line[0] != '#';
	fclose(f);
	ck_assert_int_eq(sscanf(line, "%59s %199s", name, hex), 2);
	for (const char *p = hex; sscanf(p, "%2x", &octet) == 1; p += 2)
		buf_add_char(answer, (char)octet);
	ck_assert_int_eq(answer->p[0], MILTER_OPTNEG);
}

/* Every packet of a whole message that these bits leave over, and no other. */
static void
expected_letters(uint32_t protocol, struct buf *out)
{
	for (const char *p = "CHMRTLLLLLNBE"; *p != '\0'; p++) {
		if (milter_step_sent(protocol, *p))
			buf_add_char(out, *p);
	}
}

START_TEST(packaged)
{
	struct buf answer, want, got;
	struct chain_rig g;
	char name[60];

	rig_init(&g, 1);
	buf_init(&answer, 100);
	buf_init(&want, 100);
	buf_init(&got, 100);
	packaged_filter(_i, name, &answer);
	ck_assert_int_eq(milter_optneg_read(str_sub(buf_str(&answer), 1, answer.len),
			     &g.peers[0].answer, NULL),
	    0);
	ck_assert_int_eq(rig_send(&g), 250);
	expected_letters(g.peers[0].answer.protocol, &want);
	for (const char *p = rig_seen(&g, 0); *p != '\0'; p++) {
		if (*p == 'D')
			p++;
		else if (*p != 'O')
			buf_add_char(&got, *p);
	}
	ck_assert_msg(str_eq(buf_str(&got), buf_str(&want)), "%s: %s, expected %s",
	    name, buf_cstr(&got), buf_cstr(&want));
	buf_clear(&answer);
	buf_clear(&want);
	buf_clear(&got);
	rig_clear(&g);
}
END_TEST

START_TEST(all_there)
{
	ck_assert_uint_eq(files.gl_pathc, N_RECORDINGS);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("milter_replay");
	TCase *t = tcase_create("milter_replay");

	if (glob("tests/vectors/milter/*.sendmail.txt", 0, NULL, &files) != 0 ||
	    glob("tests/vectors/milter/*.postfix.txt", GLOB_APPEND, NULL, &files) != 0)
		return EXIT_FAILURE;
	tcase_set_timeout(t, 60);
	tcase_add_test(t, all_there);
	tcase_add_loop_test(t, recording, 0, (int)files.gl_pathc);
	tcase_add_loop_test(t, packaged, 0, N_PACKAGED);
	tcase_add_loop_test(t, row, 0, COUNT(differences));
	suite_add_tcase(s, t);

	SRunner *r = srunner_create(s);

	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);

	srunner_free(r);
	globfree(&files);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* Every reply at every stage: the matrix files of tests/vectors/milter tell what
 * sendmail and Postfix made of it; our SMTP replies and deliveries are one of theirs,
 * or stand in the table below with the reason. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/lib/chain_rig.h"

#define COUNT(table) (int)(sizeof(table) / sizeof((table)[0]))
#define N_ROWS (COUNT(stages) * COUNT(replies))

static const char stages[] = { 'C', 'H', 'M', 'R', 'T', 'L', 'N', 'B', 'E' };

static const struct {
	const char *name; /* as in the recordings */
	struct str octets;
} replies[] = {
	{ "a", STR("\0\0\0\1a") },
	{ "d", STR("\0\0\0\1d") },
	{ "r", STR("\0\0\0\1r") },
	{ "t", STR("\0\0\0\1t") },
	{ "y550", STR("\0\0\0\26y550 5.7.99 no thanks\0") },
	{ "y451", STR("\0\0\0\22y451 4.7.99 later\0") },
	{ "y421", STR("\0\0\0\20y421 4.7.98 bye\0") },
	{ "yml", STR("\0\0\0\52y550-5.7.99 line one\r\n550 5.7.99 line two\0") },
	{ "ypct", STR("\0\0\0\32y550 5.7.99 100%% sure %x\0") },
	{ "ybad", STR("\0\0\0\20ynot a reply...\0") },
	{ "s", STR("\0\0\0\1s") },
	{ "4", STR("\0\0\0\0014") },
	{ "f", STR("\0\0\0\1f") },
	{ "p", STR("\0\0\0\1p\0\0\0\1c") },
	{ "q", STR("\0\0\0\5qwhy\0\0\0\0\1c") },
	{ "h", STR("\0\0\0\5hX\0y\0\0\0\0\1c") },
	{ "junk", STR("\0\0\0\1Z") },
	{ "CLOSE", STR("") },
};

/* Where we do neither as sendmail nor as Postfix.  All rows are by design. */
#define FAIL                                                                           \
	"q outside of E is a failure that counts at once; sendmail: one command late"
#define RCPT "as Postfix, but DATA without a recipient gets 503 here, not 554"
#define DATA "a refusal at T ends the transaction; both MTAs let it go on half-dead"
#define DATA_FAIL "so does a failure at T; the filter stays away as recorded"
#define SHUTDOWN "4 is 421 at every stage: Postfix loses the message behind DATA"
static const struct {
	char stage;
	const char *reply, *codes, *sent, *reason;
} ours[] = {
	{ 'M', "q", "220|250|451|503|503|503|451|503|503|221", "none", FAIL },
	{ 'R', "ybad", "220|250|250|451|451|503|503|451|503|221", "none", RCPT },
	{ 'R', "f", "220|250|250|451|451|503|503|451|503|221", "none", RCPT },
	{ 'R', "q", "220|250|250|451|451|503|503|451|503|221", "none", RCPT },
	{ 'R', "h", "220|250|250|451|451|503|503|451|503|221", "none", RCPT },
	{ 'R', "junk", "220|250|250|451|451|503|503|451|503|221", "none", RCPT },
	{ 'T', "r", "220|250|250|250|250|550|250|250|354|250|221", "bob>c", DATA },
	{ 'T', "t", "220|250|250|250|250|451|250|250|354|250|221", "bob>c", DATA },
	{ 'T', "y550", "220|250|250|250|250|550|250|250|354|250|221", "bob>c", DATA },
	{ 'T', "y451", "220|250|250|250|250|451|250|250|354|250|221", "bob>c", DATA },
	{ 'T', "yml", "220|250|250|250|250|550|250|250|354|250|221", "bob>c", DATA },
	{ 'T', "ypct", "220|250|250|250|250|550|250|250|354|250|221", "bob>c", DATA },
	{ 'T', "ybad", "220|250|250|250|250|451|451|503|503|221", "none", DATA_FAIL },
	{ 'T', "f", "220|250|250|250|250|451|451|503|503|221", "none", DATA_FAIL },
	{ 'T', "q", "220|250|250|250|250|451|451|503|503|221", "none", DATA_FAIL },
	{ 'T', "h", "220|250|250|250|250|451|451|503|503|221", "none", DATA_FAIL },
	{ 'T', "junk", "220|250|250|250|250|451|451|503|503|221", "none", DATA_FAIL },
	{ 'T', "CLOSE", "220|250|250|250|250|451|451|503|503|221", "none", DATA_FAIL },
	{ 'L', "4", "220|250|250|250|250|354|421", "none", SHUTDOWN },
	{ 'N', "4", "220|250|250|250|250|354|421", "none", SHUTDOWN },
	{ 'B', "4", "220|250|250|250|250|354|421", "none", SHUTDOWN },
	{ 'E', "4", "220|250|250|250|250|354|421", "none", SHUTDOWN },
};

struct row {
	char codes[200], sent[100];
};

/* The recorded row of one MTA, "EOF" and "Con" cut off. */
static void
read_row(const char *mta, char stage, const char *reply, struct row *row)
{
	char path[100], line[2000], packets[500], m[20], s[10], r[20];
	FILE *f;

	snprintf(path, sizeof(path), "tests/vectors/milter/matrix.%s.tsv", mta);
	f = fopen(path, "r");
	ck_assert_msg(f != NULL, "cannot open %s", path);
	while (fgets(line, sizeof(line), f) != NULL) {
		if (sscanf(line, "%19s %9s %19s %199s %499s %99s", m, s, r, row->codes,
			packets, row->sent) != 6 ||
		    s[0] != stage || s[1] != '\0' || strcmp(r, reply) != 0)
			continue;
		char *tail = strpbrk(row->codes, "EC");

		if (tail != NULL)
			tail[-1] = '\0';
		fclose(f);
		return;
	}
	fclose(f);
	ck_abort_msg("no row %s %c %s", mta, stage, reply);
}

static bool
matches(const struct row *row, struct buf *codes, struct buf *sent)
{
	return strcmp(row->codes, buf_cstr(codes)) == 0 &&
	    strcmp(row->sent, buf_cstr(sent)) == 0;
}

/* The deliveries without those that are held: the recordings count them as none. */
static void
drop_held(struct buf *sent)
{
	char *at;

	while ((at = memmem(sent->p, sent->len, "hold:", 5)) != NULL) {
		size_t begin = (size_t)(at - sent->p);
		const char *comma = memchr(at, ',', sent->len - begin);
		size_t end = comma == NULL ? sent->len : (size_t)(comma - sent->p) + 1;

		memmove(at, sent->p + end, sent->len - end);
		sent->len -= end - begin;
	}
	if (sent->len == 0)
		buf_add_cstr(sent, "none");
}

static void
run_dialogue(char stage, int n, bool comes_back, struct buf *codes, struct buf *sent)
{
	struct chain_rig r;

	rig_init(&r, 1);
	buf_init(codes, 500);
	buf_init(sent, 500);
	milter_peer_rule(&r.peers[0], stage, 1,
	    strcmp(replies[n].name, "CLOSE") == 0 ? PEER_CLOSE : PEER_SEND,
	    replies[n].octets);
	r.peers[0].take_one = !comes_back;
	rig_start(&r);
	driver_dialogue(&r.d, codes, sent);
	drop_held(sent);
	ck_assert(!r.d.at_once);
	rig_clear(&r);
}

/* As in the recordings: a filter that is gone stays away. */
START_TEST(stage_and_reply)
{
	char stage = stages[_i / COUNT(replies)];
	int n = _i % COUNT(replies);
	const char *reply = replies[n].name;
	struct row sendmail, postfix, own = { "", "" };
	struct buf codes, sent;

	read_row("sendmail", stage, reply, &sendmail);
	read_row("postfix", stage, reply, &postfix);
	run_dialogue(stage, n, false, &codes, &sent);
	bool theirs =
	    matches(&sendmail, &codes, &sent) || matches(&postfix, &codes, &sent);

	for (int i = 0; i < COUNT(ours); i++) {
		if (ours[i].stage != stage || strcmp(ours[i].reply, reply) != 0)
			continue;
		snprintf(own.codes, sizeof(own.codes), "%s", ours[i].codes);
		snprintf(own.sent, sizeof(own.sent), "%s", ours[i].sent);
		ck_assert_msg(!theirs, "no need of the row: %c %s %s", stage, reply,
		    ours[i].reason);
	}
	ck_assert_msg(theirs || matches(&own, &codes, &sent),
	    "ROW %c\t%s\t%s\t%s\tsendmail %s %s\tpostfix %s %s", stage, reply,
	    buf_cstr(&codes), buf_cstr(&sent), sendmail.codes, sendmail.sent,
	    postfix.codes, postfix.sent);
	buf_clear(&codes);
	buf_clear(&sent);
}
END_TEST

/* Unlike both MTAs we open a filter that failed anew at the next MAIL: where it comes
 * back, the second message passes.  (At R the dialogue's transaction stays open.) */
START_TEST(filter_comes_back)
{
	static const char *const failures[] = { "ybad", "f", "junk", "CLOSE" };
	char stage = stages[_i / COUNT(failures)];
	struct buf codes, sent;
	int n = 0;

	if (stage == 'R')
		return;
	while (strcmp(replies[n].name, failures[_i % COUNT(failures)]) != 0)
		n++;
	run_dialogue(stage, n, true, &codes, &sent);
	ck_assert_str_eq(buf_cstr(&sent),
	    stage == 'C' || stage == 'H' ? "alice>a+b,bob>c" : "bob>c");
	buf_clear(&codes);
	buf_clear(&sent);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("milter_matrix");
	TCase *t = tcase_create("milter_matrix");

	tcase_set_timeout(t, 30);
	tcase_add_loop_test(t, stage_and_reply, 0, N_ROWS);
	tcase_add_loop_test(t, filter_comes_back, 0, 4 * COUNT(stages));
	suite_add_tcase(s, t);

	SRunner *r = srunner_create(s);

	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);

	srunner_free(r);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

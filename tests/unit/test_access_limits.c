/* SPDX-License-Identifier: BSD-2-Clause */
/* Rates, recipients and their memory: the pure parts, and the tables of a process. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/xalloc.h"
#include "milters/access/access_local.h"
#include "milters/access/access_rate.h"
#include "milters/access/access_rcpt.h"
#include "milters/access/check_events.h"
#include "milters/access/rcpt_cache.h"

static struct ip
ip_of(const char *text)
{
	struct ip ip = { .family = 0 };

	if (text != NULL)
		ck_assert(ip_parse(str_of(text), &ip));
	return ip;
}

/* --- rates --- */

static const struct {
	const char *what;
	int per;
	const char *ip, *sender, *domain, *rcpt, *user, *key; /* "": not counted */
} keys[] = {
	{ "client", RATE_PER_CLIENT, "192.0.2.7", 0, 0, 0, 0, "rate|r|192.0.2.7/32" },
	{ "client, IPv6", RATE_PER_CLIENT, "2001:db8:1:2:3::7", 0, 0, 0, 0,
	    "rate|r|2001:db8:1:2::/64" },
	{ "network", RATE_PER_NETWORK, "192.0.2.7", 0, 0, 0, 0, "rate|r|192.0.2.0/24" },
	{ "network, IPv6", RATE_PER_NETWORK, "2001:db8:1:2:3::7", 0, 0, 0, 0,
	    "rate|r|2001:db8:1::/48" },
	{ "mapped", RATE_PER_CLIENT, "::ffff:192.0.2.7", 0, 0, 0, 0,
	    "rate|r|192.0.2.7/32" },
	{ "loopback", RATE_PER_CLIENT, "127.0.0.1", 0, 0, 0, 0, "" },
	{ "no address", RATE_PER_NETWORK, NULL, 0, 0, 0, 0, "" },
	{ "sender", RATE_PER_SENDER, "127.0.0.1", "Ann@B.example", "B.example", 0, 0,
	    "rate|r|ann@b.example" },
	{ "null sender", RATE_PER_SENDER, "192.0.2.7", "", "", 0, 0, "" },
	{ "domain", RATE_PER_SENDER_DOMAIN, "192.0.2.7", "a@B.example", "B.example", 0,
	    0, "rate|r|b.example" },
	{ "unqualified", RATE_PER_SENDER_DOMAIN, "192.0.2.7", "ann", "", 0, 0, "" },
	{ "recipient", RATE_PER_RECIPIENT, "192.0.2.7", "a@b.example", "b.example",
	    "Box@c.example", 0, "rate|r|box@c.example" },
	{ "user", RATE_PER_USER, "127.0.0.1", 0, 0, 0, "ann", "rate|r|ann" },
	{ "nobody", RATE_PER_USER, "192.0.2.7", "a@b.example", "b.example", 0, "", "" },
};

START_TEST(rate_key)
{
	struct access_rate r = { .name = xstrdup("r"), .per = keys[_i].per };
	const struct rate_facts f = { .ip = ip_of(keys[_i].ip),
		.sender = str_of(keys[_i].sender),
		.sender_domain = str_of(keys[_i].domain),
		.recipient = str_of(keys[_i].rcpt),
		.user = keys[_i].user };
	char key[RATE_KEY_MAX] = "";

	ck_assert_uint_eq(access_rate_key(&r, &f, key), strlen(keys[_i].key));
	ck_assert_str_eq(key, keys[_i].key);
	free(r.name);
}
END_TEST

/* Two long names that differ at their end only are two. */
START_TEST(rate_key_long)
{
	struct access_rate r = { .name = xstrdup("r"), .per = RATE_PER_SENDER };
	char sender[2000], a[RATE_KEY_MAX], b[RATE_KEY_MAX];
	struct rate_facts f = { .sender = { sender, sizeof(sender) } };

	memset(sender, 'x', sizeof(sender));
	ck_assert_uint_eq(access_rate_key(&r, &f, a), RATE_KEY_MAX - 1);
	sender[sizeof(sender) - 1] = 'y';
	ck_assert_uint_eq(access_rate_key(&r, &f, b), RATE_KEY_MAX - 1);
	ck_assert_str_ne(a, b);
	free(r.name);
}
END_TEST

static const struct {
	struct access_rate r;
	enum rate_when count, hold;
	int code;
} whens[] = {
	{ { .connections = { 1, 1 }, .at_once = 1 }, RATE_AT_CONNECT, RATE_AT_CONNECT,
	    421 },
	{ { .messages = { 1, 1 } }, RATE_AT_MAIL, RATE_NEVER, 451 },
	{ { .recipients = { 1, 1 } }, RATE_AT_RCPT, RATE_NEVER, 451 },
	{ { .per = RATE_PER_USER, .at_once = 1 }, RATE_NEVER, RATE_AT_MAIL, 451 },
	{ { .per = RATE_PER_RECIPIENT, .at_once = 1 }, RATE_NEVER, RATE_AT_RCPT, 451 },
	{ { .per = RATE_PER_SENDER, .recipients = { 1, 1 }, .at_once = 1 },
	    RATE_AT_RCPT, RATE_AT_MAIL, 451 },
};

START_TEST(rate_when)
{
	struct access_rate r = whens[_i].r;
	char empty[] = "", own[] = "that is enough";
	struct verdict v;

	r.text = empty;
	ck_assert_int_eq(access_rate_when(&r), whens[_i].count);
	ck_assert_int_eq(access_rate_at_once_when(&r), whens[_i].hold);
	v = access_rate_verdict(&r, 30);
	ck_assert_int_eq(v.action, ACTION_TEMPFAIL);
	ck_assert_int_eq(v.wait, 30);
	ck_assert_ptr_nonnull(strstr(v.text, "in 30 seconds"));
	ck_assert_ptr_eq(v.why, access_rate_why);
	if (whens[_i].count != RATE_NEVER)
		ck_assert_int_eq(v.code, whens[_i].code);
	ck_assert_ptr_nonnull(strstr(access_rate_verdict(&r, -1).text, "later"));
	v = access_at_once_verdict(&r);
	ck_assert_int_eq(v.code, r.per == RATE_PER_CLIENT ? 421 : 451);
	r.text = own;
	ck_assert_str_eq(access_rate_verdict(&r, 1).text, own);
}
END_TEST

START_TEST(rate_burst)
{
	struct access_rate r = { .messages = { 100, 3600 } };

	ck_assert_int_eq(access_rate_limit(&r).burst, 100);
	r.burst = 5;
	ck_assert_int_eq(access_rate_limit(&r).burst, 5);
	ck_assert_int_eq(access_rate_limit(&r).number, 100);
}
END_TEST

/* --- buckets of this process --- */

START_TEST(local_bucket)
{
	struct access_local *l = access_local_new(4);
	struct rate_answer a;

	for (int i = 0; i < 3; i++)
		ck_assert(access_local_rate(l, STR("a"), 1, 3, 3, 60, 1000).allowed);
	a = access_local_rate(l, STR("a"), 1, 3, 3, 60, 1000);
	ck_assert(!a.allowed);
	ck_assert_int_eq(a.wait, 20);
	ck_assert(access_local_rate(l, STR("b"), 1, 3, 3, 60, 1000).allowed);
	ck_assert_int_eq(access_local_rate(l, STR("a"), 0, 3, 3, 60, 1000).level, 3);
	ck_assert(access_local_rate(l, STR("a"), 1, 3, 3, 60, 1020).allowed);
	ck_assert_int_eq(access_local_rate(l, STR("a"), 0, 3, 3, 60, 1080).level, 0);
	/* looking makes no bucket */
	ck_assert_int_eq(access_local_rate(l, STR("c"), 0, 3, 3, 60, 1000).level, 0);
	access_local_free(l);
}
END_TEST

/* Many names push out those that are empty soonest, never a fuller one. */
START_TEST(local_crowd)
{
	struct access_local *l = access_local_new(1);
	char name[20];

	ck_assert(access_local_rate(l, STR("full"), 9, 10, 1, 1000, 1000).allowed);
	for (int i = 0; i < 10000; i++) {
		snprintf(name, sizeof(name), "n%d", i);
		ck_assert(
		    access_local_rate(l, str_of(name), 1, 10, 1, 10, 1000).allowed);
	}
	ck_assert_int_eq(
	    access_local_rate(l, STR("full"), 0, 10, 1, 1000, 1000).level, 9);
	access_local_free(l);
}
END_TEST

/* --- recipients --- */

static const struct {
	const char *local, *domain, *keys[4];
} rcpt_keys[] = {
	{ "Ann", "B.example", { "ann@b.example", "ann@b.example", "@b.example" } },
	{ "ann+list", "b.example",
	    { "ann+list@b.example", "ann@b.example", "@b.example" } },
	{ "+x", "b.example", { "+x@b.example", "+x@b.example", "@b.example" } },
	{ "", "b.example", { "@b.example", "@b.example", "@b.example" } },
};

START_TEST(rcpt_key)
{
	char key[RCPT_KEY_MAX];
	unsigned n = 0;

	for (; rcpt_keys[_i].keys[n] != NULL; n++) {
		ck_assert(access_rcpt_key(
		    str_of(rcpt_keys[_i].local), str_of(rcpt_keys[_i].domain), n, key));
		ck_assert_str_eq(key, rcpt_keys[_i].keys[n]);
	}
	ck_assert(!access_rcpt_key(
	    str_of(rcpt_keys[_i].local), str_of(rcpt_keys[_i].domain), n, key));
}
END_TEST

START_TEST(rcpt_block)
{
	char a[] = "a.example", below[] = ".b.example", b[] = "b.example";
	char *first[] = { a, below }, *second[] = { b, a };
	struct access_recipients list[] = { { .domains = { first, 2 } },
		{ .domains = { second, 2 } } };
	const struct access_recipient_sets sets = { list, 2 };

	ck_assert_ptr_eq(access_rcpt_block(&sets, STR("A.example")), &list[0]);
	ck_assert_ptr_eq(access_rcpt_block(&sets, STR("x.y.b.example")), &list[0]);
	ck_assert_ptr_eq(access_rcpt_block(&sets, STR("b.example")), &list[1]);
	ck_assert_ptr_null(access_rcpt_block(&sets, STR("xb.example")));
	ck_assert_ptr_null(access_rcpt_block(&sets, STR(".b.example")));
	ck_assert_ptr_null(access_rcpt_block(&sets, STR("")));
}
END_TEST

static const struct {
	const char *text;
	bool good;
	enum call_ahead_state state;
	int64_t when;
	int code;
	const char *enhanced, *said;
} notes[] = {
	{ "yes 1700000000 250 2.1.5 fine", true, CALL_AHEAD_YES, 1700000000, 250,
	    "2.1.5", "fine" },
	{ "no 5 550 - who is that", true, CALL_AHEAD_NO, 5, 550, "", "who is that" },
	{ "no 5 550 5.1.1 ", true, CALL_AHEAD_NO, 5, 550, "5.1.1", "" },
	{ "no 5 550 5.1.1 a\r\nb\x80", true, CALL_AHEAD_NO, 5, 550, "5.1.1", "a??b?" },
	{ "", false, 0, 0, 0, "", "" },
	{ "yes", false, 0, 0, 0, "", "" },
	{ "yes 17 250", false, 0, 0, 0, "", "" },
	{ "maybe 17 250 - x", false, 0, 0, 0, "", "" },
	{ "yes -1 250 - x", false, 0, 0, 0, "", "" },
	{ "yes 1 2500 - x", false, 0, 0, 0, "", "" },
	{ "yes 1 250 5.1.1.1.1.1.1 x", false, 0, 0, 0, "", "" },
	{ "yes 99999999999999999999 250 - x", false, 0, 0, 0, "", "" },
};

START_TEST(rcpt_note)
{
	struct rcpt_memory m;
	struct buf again;

	ck_assert_int_eq(
	    access_rcpt_note_read(str_of(notes[_i].text), &m), notes[_i].good);
	if (!notes[_i].good)
		return;
	ck_assert_int_eq(m.answer.state, notes[_i].state);
	ck_assert_int_eq(m.when, notes[_i].when);
	ck_assert_int_eq(m.answer.code, notes[_i].code);
	ck_assert_str_eq(m.answer.enhanced, notes[_i].enhanced);
	ck_assert_str_eq(m.answer.text, notes[_i].said);
	buf_init(&again, STORE_NOTE_MAX);
	memset(m.answer.text, 'x', sizeof(m.answer.text) - 1);
	access_rcpt_note_write(&m, &again);
	ck_assert(!again.failed && again.len == STORE_NOTE_MAX);
	ck_assert(access_rcpt_note_read(buf_str(&again), &m));
	ck_assert_int_eq(m.when, notes[_i].when);
	buf_clear(&again);
}
END_TEST

#define SET_TIMES .positive = 100, .negative = 10, .keep = 1000
static const struct {
	enum call_ahead_state state;
	int64_t age;
	enum rcpt_age wanted;
} ages[] = {
	{ CALL_AHEAD_YES, 0, RCPT_FRESH },
	{ CALL_AHEAD_YES, -50, RCPT_FRESH },
	{ CALL_AHEAD_YES, 100, RCPT_FRESH },
	{ CALL_AHEAD_YES, 101, RCPT_OLD },
	{ CALL_AHEAD_YES, 1000, RCPT_OLD },
	{ CALL_AHEAD_YES, 1001, RCPT_UNKNOWN },
	{ CALL_AHEAD_NO, 10, RCPT_FRESH },
	{ CALL_AHEAD_NO, 11, RCPT_UNKNOWN },
};

START_TEST(rcpt_age)
{
	const struct access_recipients set = { SET_TIMES };
	const struct rcpt_memory m = { .answer = { .state = ages[_i].state },
		.when = 5000 };

	ck_assert_int_eq(
	    access_rcpt_age(&set, &m, 5000 + ages[_i].age), ages[_i].wanted);
}
END_TEST

#define YES                                                                            \
	{                                                                              \
		.state = CALL_AHEAD_YES, .code = 250                                   \
	}
#define DOWN                                                                           \
	{                                                                              \
		.state = CALL_AHEAD_DOWN                                               \
	}
static const struct {
	const char *what;
	int trouble;
	struct call_ahead_answer now;
	bool old;
	int code;
	const char *enhanced;
} says[] = {
	{ "yes", RCPT_TROUBLE_TEMPFAIL, YES, false, 0, "" },
	{ "no", RCPT_TROUBLE_ACCEPT, { CALL_AHEAD_NO, 550, "5.1.1", "who" }, true, 550,
	    "5.1.1" },
	{ "no without a word", 0, { CALL_AHEAD_NO, 553, "", "" }, false, 550, "5.1.1" },
	{ "closed to strangers", 0, { CALL_AHEAD_NO, 550, "5.7.1", "members only" },
	    false, 550, "5.7.1" },
	{ "down", RCPT_TROUBLE_TEMPFAIL, DOWN, false, 451, "4.4.1" },
	{ "down, taken", RCPT_TROUBLE_ACCEPT, DOWN, false, 0, "" },
	{ "down, known before", RCPT_TROUBLE_TEMPFAIL, DOWN, true, 0, "" },
	{ "4yz", 0, { CALL_AHEAD_TROUBLE, 450, "4.2.1", "busy" }, false, 450, "4.2.1" },
	{ "4yz, known before", 0, { CALL_AHEAD_TROUBLE, 450, "4.2.1", "busy" }, true, 0,
	    "" },
	{ "421 is between us two", 0, { CALL_AHEAD_TROUBLE, 421, "4.3.2", "x" }, false,
	    451, "4.4.1" },
	{ "wants us to log in", 0, { CALL_AHEAD_TROUBLE, 530, "5.7.0", "x" }, false,
	    451, "4.4.1" },
};

START_TEST(rcpt_verdict)
{
	char empty[] = "";
	const struct access_recipients set = { .trouble = says[_i].trouble,
		.text = empty };
	const struct rcpt_memory old = { .answer = YES };
	struct verdict v = access_rcpt_verdict(
	    &set, STR("a@b.example"), &says[_i].now, says[_i].old ? &old : NULL);

	ck_assert_int_eq(v.code, says[_i].code);
	ck_assert_str_eq(v.enhanced, says[_i].enhanced);
	ck_assert_int_eq(v.action != ACTION_CONTINUE, v.code != 0);
	ck_assert_int_eq(check_events_unknown(&v), strcmp(v.enhanced, "5.1.1") == 0);
}
END_TEST

START_TEST(rcpt_remembered)
{
	struct rcpt_cache *c = rcpt_cache_new(1);
	struct rcpt_memory m = { .when = 2000, .answer = YES }, got;
	char name[20];

	ck_assert(!rcpt_cache_get(c, STR("a"), &got));
	rcpt_cache_put(c, STR("a"), &m);
	ck_assert(rcpt_cache_get(c, STR("a"), &got) && got.when == 2000);
	m.when = 1000; /* older ones make room for each other, not for newer */
	for (int i = 0; i < 100; i++) {
		snprintf(name, sizeof(name), "n%d", i);
		rcpt_cache_put(c, str_of(name), &m);
		ck_assert(rcpt_cache_get(c, str_of(name), &got) && got.when == 1000);
	}
	ck_assert(rcpt_cache_get(c, STR("a"), &got) && got.when == 2000);
	rcpt_cache_free(c);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("access_limits");
	TCase *t = tcase_create("whole");

#define LOOP(test, table)                                                              \
	tcase_add_loop_test(t, test, 0, sizeof(table) / sizeof((table)[0]))
	LOOP(rate_key, keys);
	tcase_add_test(t, rate_key_long);
	LOOP(rate_when, whens);
	tcase_add_test(t, rate_burst);
	tcase_add_test(t, local_bucket);
	tcase_add_test(t, local_crowd);
	LOOP(rcpt_key, rcpt_keys);
	tcase_add_test(t, rcpt_block);
	LOOP(rcpt_note, notes);
	LOOP(rcpt_age, ages);
	LOOP(rcpt_verdict, says);
	tcase_add_test(t, rcpt_remembered);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed == 0 ? 0 : 1;
}

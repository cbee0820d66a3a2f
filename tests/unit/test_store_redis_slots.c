/* SPDX-License-Identifier: BSD-2-Clause */
/* Slots, the map of them and redirections of a Redis Cluster, by tables; and that every
 * script's keys share one slot. */
#include <stdio.h>
#include <stdlib.h>

#include <check.h>

#include "db/store_redis_node.h"
#include "db/store_redis_reply.h"

#define N(a) ((int)(sizeof(a) / sizeof((a)[0])))

static const struct {
	const char *key;
	unsigned slot;
} slots[] = {
	{ "123456789", 0x31c3 }, /* the check value of CRC-16/XMODEM */
	{ "", 0 },
	{ "foo", 12182 },
	{ "bar", 5061 },
	{ "{foo}", 12182 },
	{ "a{foo}b{bar}", 12182 },
	{ "{foo", 0xffff }, /* as a whole: any but that of foo */
	{ "foo}", 0xffff },
	{ "{}foo", 0xffff },
	{ "postern:2:t:{=c}=k", 0xfffe }, /* as of "=c" */
	{ "postern:1:c:{=c}", 0xfffe },
};

START_TEST(slot)
{
	unsigned got = store_slot(str_of(slots[_i].key));

	ck_assert_uint_lt(got, STORE_SLOTS);
	if (slots[_i].slot == 0xffff)
		ck_assert_uint_ne(got, 12182);
	else
		ck_assert_uint_eq(got,
		    slots[_i].slot == 0xfffe ? store_slot(STR("=c")) : slots[_i].slot);
}
END_TEST

static redisReply *
read_reply(const char *octets, size_t len)
{
	redisReader *reader = redisReaderCreate();
	struct store_reply_room room;
	void *reply = NULL;

	store_reply_bound(reader, &room, STORE_REPLY_MAP_MAX);
	redisReaderFeed(reader, octets, len);
	(void)redisReaderGetReply(reader, &reply);
	redisReaderFree(reader);
	return reply;
}

#define NODE(ip, port) "*2\r\n$" ip "\r\n:" port "\r\n"

/* from: 192.0.2.9.  Slot 5 belongs to ip:port, slot 6 to nobody; ip NULL: an error. */
static const struct {
	const char *octets, *ip;
	unsigned port;
} maps[] = {
	{ "*1\r\n*3\r\n:0\r\n:5\r\n" NODE("9\r\n192.0.2.1", "7000"), "192.0.2.1", 7000 },
	{ "*1\r\n*4\r\n:5\r\n:5\r\n" NODE("9\r\n192.0.2.1", "7000") NODE(
	      "9\r\n192.0.2.2", "7001"),
	    "192.0.2.1", 7000 },
	{ "*2\r\n*3\r\n:0\r\n:4\r\n" NODE(
	      "9\r\n192.0.2.1", "7000") "*3\r\n:5\r\n:5\r\n" NODE("11\r\n2001:db8::1",
	      "7001"),
	    "2001:db8::1", 7001 },
	{ "*1\r\n*3\r\n:0\r\n:5\r\n" NODE("0\r\n", "7000"), "192.0.2.9", 7000 },
	{ "*1\r\n*3\r\n:0\r\n:5\r\n*2\r\n$-1\r\n:7000\r\n", "192.0.2.9", 7000 },
	{ "*1\r\n*3\r\n:0\r\n:5\r\n*4\r\n$12\r\nnode.example\r\n:7000\r\n$2\r\nid\r\n*2\r\n"
	  "$2\r\nip\r\n$9\r\n192.0.2.3\r\n",
	    "192.0.2.3", 7000 },
	{ "*1\r\n*3\r\n:0\r\n:5\r\n*4\r\n$12\r\nnode.example\r\n:7000\r\n$2\r\nid\r\n"
	  "*0\r\n",
	    NULL, 0 },
	{ "*1\r\n*3\r\n:0\r\n:5\r\n" NODE("12\r\nnode.example", "7000"), NULL, 0 },
	{ "*1\r\n*3\r\n:0\r\n:5\r\n" NODE("1\r\n?", "7000"), NULL, 0 },
	{ "*1\r\n*3\r\n:0\r\n:5\r\n" NODE("9\r\n192.0.2.1", "0"), NULL, 0 },
	{ "*1\r\n*3\r\n:0\r\n:5\r\n" NODE("9\r\n192.0.2.1", "65536"), NULL, 0 },
	{ "*1\r\n*3\r\n:0\r\n:16384\r\n" NODE("9\r\n192.0.2.1", "7000"), NULL, 0 },
	{ "*1\r\n*3\r\n:-1\r\n:5\r\n" NODE("9\r\n192.0.2.1", "7000"), NULL, 0 },
	{ "*1\r\n*3\r\n:5\r\n:4\r\n" NODE("9\r\n192.0.2.1", "7000"), NULL, 0 },
	{ "*1\r\n*2\r\n:0\r\n:5\r\n", NULL, 0 },
	{ "*1\r\n*3\r\n:0\r\n:5\r\n$-1\r\n", NULL, 0 },
	{ "*1\r\n*3\r\n:0\r\n:5\r\n*0\r\n", NULL, 0 },
	{ "*1\r\n$-1\r\n", NULL, 0 },
	{ "*0\r\n", NULL, 0 },
	{ "*-1\r\n", NULL, 0 },
	{ "$-1\r\n", NULL, 0 },
	{ ":1\r\n", NULL, 0 },
	{ "-ERR This instance has cluster support disabled\r\n", NULL, 0 },
	{ "-NOPERM no\r\n", NULL, 0 },
};

START_TEST(map)
{
	static struct store_slot_map m;
	struct store_address from = { .ip = "192.0.2.9", .port = 1 };
	struct err err = { .text = "" };
	redisReply *r = read_reply(maps[_i].octets, strlen(maps[_i].octets));

	memset(&m, 0x55, sizeof(m));
	ck_assert_ptr_nonnull(r);
	int rc = store_slot_map_read(r, &from, &m, &err);
	freeReplyObject(r);
	ck_assert_int_eq(rc, maps[_i].ip == NULL ? -1 : 0);
	if (rc != 0) {
		ck_assert_str_ne(err.text, "");
		ck_assert_uint_eq(m.owner[5], 0x55); /* unchanged */
		return;
	}
	ck_assert_uint_gt(m.owner[5], 0);
	ck_assert_uint_le(m.owner[5], m.n);
	ck_assert_str_eq(m.node[m.owner[5] - 1].ip, maps[_i].ip);
	ck_assert_uint_eq(m.node[m.owner[5] - 1].port, maps[_i].port);
	ck_assert_uint_eq(m.owner[6], 0);
}
END_TEST

/* As many masters as a map may have, and one more. */
START_TEST(many_masters)
{
	static struct store_slot_map m;
	static char octets[STORE_NODES_MAX * 80 + 200];
	struct store_address from = { .ip = "192.0.2.9", .port = 1 };
	struct err err;
	int n = STORE_NODES_MAX + _i;
	int len = snprintf(octets, sizeof(octets), "*%d\r\n", n);

	for (int i = 0; i < n; i++)
		len += snprintf(octets + len, sizeof(octets) - (size_t)len,
		    "*3\r\n:%d\r\n:%d\r\n*2\r\n$9\r\n192.0.2.1\r\n:%d\r\n", i, i, i + 1);
	redisReply *r = read_reply(octets, (size_t)len);
	ck_assert_ptr_nonnull(r);
	ck_assert_int_eq(store_slot_map_read(r, &from, &m, &err), -_i);
	freeReplyObject(r);
}
END_TEST

/* Arrays that take more memory than any map does. */
START_TEST(bounded)
{
	static const char *const octets[] = { "*16385\r\n", "*2147483647\r\n", "*-2\r\n" };

	ck_assert_ptr_null(read_reply(octets[_i], strlen(octets[_i])));
}
END_TEST

static const struct {
	const char *text;
	bool good;
	enum store_redirect_kind kind;
	unsigned slot;
	const char *ip;
	unsigned port;
} redirects[] = {
	{ "MOVED 3999 127.0.0.1:6381", true, STORE_MOVED, 3999, "127.0.0.1", 6381 },
	{ "ASK 0 127.0.0.1:6381", true, STORE_ASK, 0, "127.0.0.1", 6381 },
	{ "MOVED 16383 2001:db8::1:6381", true, STORE_MOVED, 16383, "2001:db8::1", 6381 },
	{ "MOVED 3999 :6381", true, STORE_MOVED, 3999, "", 6381 },
	{ "TRYAGAIN Multiple keys request during rehashing of slot", true,
	    STORE_TRYAGAIN, 0, "", 0 },
	{ "MOVED 16384 127.0.0.1:6381", false, 0, 0, NULL, 0 },
	{ "MOVED -1 127.0.0.1:6381", false, 0, 0, NULL, 0 },
	{ "MOVED x 127.0.0.1:6381", false, 0, 0, NULL, 0 },
	{ "MOVED 3999", false, 0, 0, NULL, 0 },
	{ "MOVED", false, 0, 0, NULL, 0 },
	{ "MOVED 3999 node.example:6381", false, 0, 0, NULL, 0 },
	{ "MOVED 3999 127.0.0.1", false, 0, 0, NULL, 0 },
	{ "MOVED 3999 127.0.0.1:", false, 0, 0, NULL, 0 },
	{ "MOVED 3999 127.0.0.1:0", false, 0, 0, NULL, 0 },
	{ "MOVED 3999 127.0.0.1:65536", false, 0, 0, NULL, 0 },
	{ "MOVEDX 3999 127.0.0.1:6381", false, 0, 0, NULL, 0 },
	{ "moved 3999 127.0.0.1:6381", false, 0, 0, NULL, 0 },
	{ "CLUSTERDOWN Hash slot not served", false, 0, 0, NULL, 0 },
	{ "", false, 0, 0, NULL, 0 },
};

START_TEST(redirect)
{
	struct store_redirect to;
	char octets[200];
	int len = snprintf(octets, sizeof(octets), "-%s\r\n", redirects[_i].text);
	redisReply *r = read_reply(octets, (size_t)len);

	ck_assert_int_eq(store_redirect_read(r, &to), redirects[_i].good);
	freeReplyObject(r);
	if (!redirects[_i].good)
		return;
	ck_assert_int_eq(to.kind, redirects[_i].kind);
	ck_assert_uint_eq(to.slot, redirects[_i].slot);
	ck_assert_str_eq(to.to.ip, redirects[_i].ip);
	ck_assert_uint_eq(to.to.port, redirects[_i].port);
}
END_TEST

/* A status is no redirection, whatever it says. */
START_TEST(no_redirect)
{
	struct store_redirect to;
	redisReply *r = read_reply("+MOVED 1 127.0.0.1:1\r\n", 22);

	ck_assert(!store_redirect_read(r, &to));
	freeReplyObject(r);
}
END_TEST

/* --- one slot for each script --- */

#define NAME(s) { s, sizeof(s) - 1 }
static const struct str names[] = { NAME(""), NAME("n192.0.2.0/24"), NAME("a}b"),
	NAME("}"), NAME("{"), NAME("{}"), NAME("}{x}"), NAME("\0\xff {") };

static void
one_slot(const struct store_request *r)
{
	static struct store_command c;
	long n = 0;

	store_node_command(&c, "postern", "digest", r);
	ck_assert_int_gt(c.argc, 3);
	n = strtol(c.argv[2], NULL, 10);
	ck_assert_int_gt(n, 0);
	for (long i = 0; i < n; i++)
		ck_assert_uint_eq(
		    store_slot((struct str){ c.argv[3 + i], c.len[3 + i] }),
		    store_slot((struct str){ c.argv[3], c.len[3] }));
}

START_TEST(scripts_have_one_slot)
{
	char virus[64], trap[64];
	struct store_request r = { .op = STORE_GREYLIST,
		.client = names[_i],
		.key = names[(_i + 1) % N(names)],
		.member = STR("key"),
		.note = STR("text"),
		.holder = STR("host") };

	one_slot(&r);
	snprintf(virus, sizeof(virus), "virus|192.0.2.0/24");
	snprintf(trap, sizeof(trap), "trap|192.0.2.0/24");
	r.void_by[0] = str_of(virus);
	r.void_by[1] = str_of(trap);
	r.voiding = true;
	one_slot(&r);
	r.voiding = false;
	r.key = names[_i];
	static const enum store_op ops[] = { STORE_RATE, STORE_HOLD, STORE_MAP_SET };
	for (int i = 0; i < N(ops); i++) {
		r.op = ops[i];
		one_slot(&r);
	}
	r.key = STR("spam|192.0.2.0/24");
	r.op = STORE_EVENT_ASK;
	one_slot(&r);
	r.op = STORE_NOTE;
	one_slot(&r);
}
END_TEST

int
main(void)
{
	TCase *t = tcase_create("slots");
	int expected = 0;

#define ADD(test, loops) (tcase_add_loop_test(t, test, 0, loops), expected += (loops))
	ADD(slot, N(slots));
	ADD(map, N(maps));
	ADD(many_masters, 2);
	ADD(bounded, 3);
	ADD(redirect, N(redirects));
	ADD(no_redirect, 1);
	ADD(scripts_have_one_slot, N(names));
	Suite *suite = suite_create("store_redis_slots");
	suite_add_tcase(suite, t);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int ran = srunner_ntests_run(runner), failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return ran == expected && failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

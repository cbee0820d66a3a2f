/* SPDX-License-Identifier: BSD-2-Clause */
/* What a Redis server answers, by tables: classes of errors, and replies that are taken
 * or not; fed to hiredis' reader whole and octet by octet. */
#include <stdio.h>
#include <stdlib.h>

#include <check.h>

#include "db/store_redis_reply.h"
#include "db/store_redis_scan.h"

#define N(a) ((int)(sizeof(a) / sizeof((a)[0])))

static const struct {
	const char *text;
	enum store_reply class;
} texts[] = {
	{ "OOM command not allowed when used memory > 'maxmemory'.", STORE_REPLY_FULL },
	{ "MISCONF Redis is configured to save RDB snapshots, but ...",
	    STORE_REPLY_REFUSED },
	{ "NOREPLICAS Not enough good replicas to write.", STORE_REPLY_REFUSED },
	{ "NOPERM this user has no permissions ...", STORE_REPLY_REFUSED },
	{ "READONLY You can't write against a read only replica.", STORE_REPLY_AWAY },
	{ "LOADING Redis is loading the dataset in memory", STORE_REPLY_AWAY },
	{ "MASTERDOWN Link with MASTER is down ...", STORE_REPLY_AWAY },
	{ "BUSY Redis is busy running a script.", STORE_REPLY_AWAY },
	{ "NOAUTH Authentication required.", STORE_REPLY_AWAY },
	{ "WRONGPASS invalid username-password pair or user is disabled.",
	    STORE_REPLY_AWAY },
	{ "MOVED 3999 127.0.0.1:6381", STORE_REPLY_AWAY },
	{ "ASK 3999 127.0.0.1:6381", STORE_REPLY_AWAY },
	{ "CLUSTERDOWN Hash slot not served", STORE_REPLY_AWAY },
	{ "TRYAGAIN Multiple keys request during rehashing", STORE_REPLY_AWAY },
	{ "NOSCRIPT No matching script. Please use EVAL.", STORE_REPLY_NOSCRIPT },
	/* older servers, from within a script */
	{ "ERR Error running script (call to f_2f4): @user_script:31: -OOM command not "
	  "allowed",
	    STORE_REPLY_FULL },
	{ "ERR Error running script (call to f_2f4): @user_script:31: -READONLY You "
	  "can't",
	    STORE_REPLY_AWAY },
	{ "-OOM command not allowed", STORE_REPLY_FULL },
	/* no code of ours */
	{ "ERR unknown command 'EVALSHA'", STORE_REPLY_BAD },
	{ "ERR the words OOM and READONLY inside a text", STORE_REPLY_BAD },
	{ "OOMX", STORE_REPLY_BAD },
	{ "oom", STORE_REPLY_BAD },
	{ "WRONGTYPE Operation against a key", STORE_REPLY_BAD },
	{ "", STORE_REPLY_BAD },
	{ "-", STORE_REPLY_BAD },
	{ " ", STORE_REPLY_BAD },
};

/* Read one reply, `step` octets at a time; NULL: none is whole, or it is refused. */
static redisReply *
read_reply(const char *octets, size_t len, size_t step)
{
	redisReader *reader = redisReaderCreate();
	struct store_reply_room room;
	void *reply = NULL;
	int rc = REDIS_OK;

	store_reply_bound(reader, &room, STORE_REPLY_ELEMENTS_MAX);
	for (size_t i = 0; i < len && reply == NULL && rc == REDIS_OK; i += step) {
		redisReaderFeed(reader, octets + i, len - i < step ? len - i : step);
		rc = redisReaderGetReply(reader, &reply);
	}
	redisReaderFree(reader);
	return reply;
}

START_TEST(error_classes)
{
	char octets[300];
	int len = snprintf(octets, sizeof(octets), "-%s\r\n", texts[_i].text);
	redisReply *r = read_reply(octets, (size_t)len, (size_t)len);

	ck_assert_ptr_nonnull(r);
	ck_assert_str_eq(
	    store_reply_name(store_reply_class(r)), store_reply_name(texts[_i].class));
	freeReplyObject(r);
}
END_TEST

enum kind { GREYLIST, EVENT, RATE, NOTE, HOLD, MAP, VALUE, VERSION, MAP_READ, MAP_LOG, SCAN, DIGEST, TIME };

static const struct {
	enum kind kind;
	const char *octets;
	enum store_reply class; /* BAD also where no reply comes out */
	int64_t first; /* of what was read, to see that it was */
} replies[] = {
	{ GREYLIST, "*4\r\n:2\r\n:1800000000\r\n:3\r\n:0\r\n", STORE_REPLY_OK,
	    1800000000 },
	{ GREYLIST, "*4\r\n:4\r\n:0\r\n:0\r\n:16\r\n", STORE_REPLY_OK, 0 },
	{ GREYLIST, "*4\r\n:5\r\n:0\r\n:1\r\n:0\r\n", STORE_REPLY_BAD, 0 }, /* state */
	{ GREYLIST, "*4\r\n:-1\r\n:0\r\n:1\r\n:0\r\n", STORE_REPLY_BAD, 0 },
	{ GREYLIST, "*4\r\n:4294967296\r\n:0\r\n:1\r\n:0\r\n", STORE_REPLY_BAD, 0 },
	{ GREYLIST, "*4\r\n:0\r\n:0\r\n:0\r\n:0\r\n", STORE_REPLY_BAD, 0 }, /* tries */
	{ GREYLIST, "*4\r\n:4\r\n:0\r\n:1\r\n:0\r\n", STORE_REPLY_BAD, 0 },
	{ GREYLIST, "*4\r\n:1\r\n:0\r\n:-1\r\n:0\r\n", STORE_REPLY_BAD, 0 },
	{ GREYLIST, "*4\r\n:2\r\n:1\r\n:3\r\n:17\r\n", STORE_REPLY_BAD, 0 }, /* bad */
	{ GREYLIST, "*4\r\n:2\r\n:1\r\n:3\r\n:-1\r\n", STORE_REPLY_BAD, 0 },
	{ GREYLIST, "*3\r\n:2\r\n:1\r\n:3\r\n", STORE_REPLY_BAD, 0 }, /* count */
	{ GREYLIST, "*5\r\n:2\r\n:1\r\n:3\r\n:0\r\n:0\r\n", STORE_REPLY_BAD, 0 },
	{ GREYLIST, "*4\r\n:2\r\n$1\r\n1\r\n:3\r\n:0\r\n", STORE_REPLY_BAD,
	    0 }, /* type */
	{ GREYLIST, "*4\r\n:2\r\n$-1\r\n:3\r\n:0\r\n", STORE_REPLY_BAD, 0 },
	{ GREYLIST, "*4\r\n:2\r\n*0\r\n:3\r\n:0\r\n", STORE_REPLY_BAD, 0 },
	{ GREYLIST, "*4\r\n:2\r\n-OOM\r\n:3\r\n:0\r\n", STORE_REPLY_BAD, 0 },
	{ GREYLIST, ":2\r\n", STORE_REPLY_BAD, 0 },
	{ GREYLIST, "+OK\r\n", STORE_REPLY_BAD, 0 },
	{ GREYLIST, "$-1\r\n", STORE_REPLY_BAD, 0 },
	{ GREYLIST, "*-1\r\n", STORE_REPLY_BAD, 0 },
	{ GREYLIST, "*4097\r\n", STORE_REPLY_BAD, 0 },
	{ GREYLIST, "*2147483647\r\n", STORE_REPLY_BAD, 0 },
	{ GREYLIST, "-OOM command\r\n", STORE_REPLY_FULL, 0 },
	{ EVENT, "*3\r\n:7\r\n:1800000000\r\n:1\r\n", STORE_REPLY_OK, 1800000000 },
	{ EVENT, "*3\r\n:-7\r\n:1800000000\r\n:1\r\n", STORE_REPLY_BAD, 0 },
	{ EVENT, "*4\r\n:7\r\n:1\r\n:1\r\n:1\r\n", STORE_REPLY_BAD, 0 },
	{ RATE, "*4\r\n:1\r\n:9\r\n:0\r\n:0\r\n", STORE_REPLY_OK, 9 },
	{ RATE, "*4\r\n:0\r\n:9\r\n:-1\r\n:0\r\n", STORE_REPLY_OK, 9 },
	{ RATE, "*4\r\n:1\r\n:9\r\n:5\r\n:0\r\n", STORE_REPLY_BAD, 0 }, /* wait */
	{ RATE, "*4\r\n:0\r\n:9\r\n:-2\r\n:0\r\n", STORE_REPLY_BAD, 0 },
	{ RATE, "*4\r\n:2\r\n:9\r\n:0\r\n:0\r\n", STORE_REPLY_BAD, 0 },
	{ RATE, "*4\r\n:1\r\n:-9\r\n:0\r\n:0\r\n", STORE_REPLY_BAD, 0 },
	{ NOTE, "*4\r\n:1\r\n:1800000000\r\n$2\r\nab\r\n:0\r\n", STORE_REPLY_OK,
	    1800000000 },
	{ NOTE, "*4\r\n:0\r\n:0\r\n$0\r\n\r\n:1\r\n", STORE_REPLY_OK, 0 },
	{ NOTE, "*4\r\n:2\r\n:1\r\n$0\r\n\r\n:0\r\n", STORE_REPLY_BAD, 0 },
	{ NOTE, "*4\r\n:1\r\n:1\r\n$0\r\n\r\n:17\r\n", STORE_REPLY_BAD, 0 },
	{ NOTE, "*4\r\n:1\r\n:1\r\n$-1\r\n:0\r\n", STORE_REPLY_BAD, 0 },
	{ NOTE, "*4\r\n:1\r\n:1\r\n:1\r\n:0\r\n", STORE_REPLY_BAD, 0 },
	{ NOTE, "*4\r\n:1\r\n$1\r\n1\r\n$0\r\n\r\n:0\r\n", STORE_REPLY_BAD, 0 },
	{ NOTE, "*3\r\n:1\r\n:1\r\n$0\r\n\r\n", STORE_REPLY_BAD, 0 },
	{ NOTE,
	    "*4\r\n:1\r\n:1\r\n$201\r\n"
	    "0123456789012345678901234567890123456789012345678901234567890123456789"
	    "0123456789012345678901234567890123456789012345678901234567890123456789"
	    "0123456789012345678901234567890123456789012345678901234567890\r\n:0\r\n",
	    STORE_REPLY_BAD, 0 },
	{ HOLD, "*3\r\n:1\r\n:9\r\n:0\r\n", STORE_REPLY_OK, 9 },
	{ HOLD, "*3\r\n:2\r\n:9\r\n:0\r\n", STORE_REPLY_BAD, 0 },
	{ HOLD, "*3\r\n:0\r\n:-1\r\n:0\r\n", STORE_REPLY_BAD, 0 },
	{ HOLD, "*2\r\n:0\r\n:1\r\n", STORE_REPLY_BAD, 0 },
	{ MAP, "*3\r\n:1\r\n:9\r\n:0\r\n", STORE_REPLY_OK, 9 },
	{ MAP, "*3\r\n:2\r\n:9\r\n:0\r\n", STORE_REPLY_BAD, 0 },
	{ MAP, "*3\r\n:1\r\n:-9\r\n:0\r\n", STORE_REPLY_BAD, 0 },
	{ VALUE, "$2\r\nab\r\n", STORE_REPLY_OK, 3 }, /* octets, and one: found */
	{ VALUE, "$0\r\n\r\n", STORE_REPLY_OK, 1 },
	{ VALUE, "$-1\r\n", STORE_REPLY_OK, 0 },
	{ VALUE, ":1\r\n", STORE_REPLY_BAD, 0 },
	{ VALUE, "*0\r\n", STORE_REPLY_BAD, 0 },
	{ VALUE, "-WRONGTYPE no\r\n", STORE_REPLY_BAD, 0 },
	{ VERSION, "$2\r\n17\r\n", STORE_REPLY_OK, 17 },
	{ VERSION, "$0\r\n\r\n", STORE_REPLY_OK, 0 },
	{ VERSION, "$2\r\n-1\r\n", STORE_REPLY_BAD, 0 },
	{ VERSION, "$-1\r\n", STORE_REPLY_BAD, 0 },
	{ VERSION, ":17\r\n", STORE_REPLY_BAD, 0 },
	{ MAP_READ, "*2\r\n$1\r\n0\r\n*0\r\n", STORE_REPLY_OK, 0 },
	{ MAP_READ, "*2\r\n$2\r\n17\r\n*2\r\n$1\r\nk\r\n$1\r\nv\r\n", STORE_REPLY_OK, 27 },
	{ MAP_READ, "*2\r\n$2\r\n17\r\n*1\r\n$1\r\nk\r\n", STORE_REPLY_BAD, 0 },
	{ MAP_READ, "*2\r\n$2\r\n17\r\n*2\r\n$1\r\nk\r\n$-1\r\n", STORE_REPLY_BAD, 0 },
	{ MAP_READ, "*2\r\n$2\r\n1x\r\n*0\r\n", STORE_REPLY_BAD, 0 },
	{ MAP_READ, "*2\r\n$0\r\n\r\n*0\r\n", STORE_REPLY_BAD, 0 },
	{ MAP_READ, "*2\r\n:1\r\n*0\r\n", STORE_REPLY_BAD, 0 },
	{ MAP_READ, "*2\r\n$1\r\n0\r\n$0\r\n\r\n", STORE_REPLY_BAD, 0 },
	{ MAP_READ, "*3\r\n$1\r\n0\r\n*0\r\n*0\r\n", STORE_REPLY_BAD, 0 },
	{ MAP_READ, "*2\r\n*0\r\n*0\r\n", STORE_REPLY_BAD, 0 },
	{ MAP_READ, "*0\r\n", STORE_REPLY_BAD, 0 },
	{ MAP_LOG, "*0\r\n", STORE_REPLY_OK, 100 },
	{ MAP_LOG, "*2\r\n$1\r\na\r\n$1\r\nb\r\n", STORE_REPLY_OK, 112 },
	{ MAP_LOG, "*1\r\n:1\r\n", STORE_REPLY_BAD, 0 },
	{ MAP_LOG, "$1\r\na\r\n", STORE_REPLY_BAD, 0 },
	{ SCAN, "*1\r\n$1\r\n0\r\n", STORE_REPLY_OK, 0 },
	{ SCAN,
	    "*4\r\n$2\r\n17\r\n$9\r\np:1:c:{=c}\r\n$4\r\n1 2 3 1900000000\r\n:9\r\n",
	    STORE_REPLY_BAD, 0 }, /* a length that is not */
	{ SCAN,
	    "*4\r\n$2\r\n17\r\n$10\r\np:1:c:{=c}\r\n$16\r\n1 2 3 1900000000\r\n"
	    ":9\r\n",
	    STORE_REPLY_OK, 17 + 62 },
	{ SCAN,
	    "*4\r\n$2\r\n17\r\n$10\r\nq:1:c:{=c}\r\n$16\r\n1 2 3 1900000000\r\n"
	    ":9\r\n",
	    STORE_REPLY_OK, 17 }, /* another's */
	{ SCAN,
	    "*4\r\n$2\r\n17\r\n$10\r\np:9:c:{=c}\r\n$16\r\n1 2 3 1900000000\r\n"
	    ":9\r\n",
	    STORE_REPLY_OK, 17 }, /* of another version */
	{ SCAN,
	    "*4\r\n$2\r\n17\r\n$10\r\np:1:c:{=c}\r\n$16\r\n-1 2 3 190000000\r\n"
	    ":9\r\n",
	    STORE_REPLY_OK, 17 }, /* cannot be read */
	{ SCAN,
	    "*4\r\n$2\r\n17\r\n$10\r\np:1:c:{=c}\r\n$16\r\n1 2 3 1400000000\r\n"
	    ":9\r\n",
	    STORE_REPLY_OK, 17 }, /* is over */
	{ SCAN, "*3\r\n$2\r\n17\r\n$1\r\na\r\n$1\r\nb\r\n", STORE_REPLY_BAD, 0 },
	{ SCAN, "*4\r\n$2\r\n17\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n",
	    STORE_REPLY_BAD, 0 },
	{ SCAN, "*4\r\n$2\r\n17\r\n$1\r\na\r\n$-1\r\n:9\r\n", STORE_REPLY_BAD, 0 },
	{ SCAN, "*1\r\n$1\r\nx\r\n", STORE_REPLY_BAD, 0 },
	{ SCAN, "*1\r\n:0\r\n", STORE_REPLY_BAD, 0 },
	{ SCAN, "*0\r\n", STORE_REPLY_BAD, 0 },
	{ SCAN, "-NOPERM no\r\n", STORE_REPLY_REFUSED, 0 },
	{ NOTE, "-READONLY no\r\n", STORE_REPLY_AWAY, 0 },
	{ DIGEST, "$40\r\n0123456789abcdef0123456789abcdef01234567\r\n", STORE_REPLY_OK,
	    0 },
	{ DIGEST, "$40\r\n0123456789ABCDEF0123456789abcdef01234567\r\n",
	    STORE_REPLY_BAD, 0 },
	{ DIGEST, "$39\r\n0123456789abcdef0123456789abcdef0123456\r\n", STORE_REPLY_BAD,
	    0 },
	{ DIGEST, "$41\r\n0123456789abcdef0123456789abcdef012345678\r\n",
	    STORE_REPLY_BAD, 0 },
	{ DIGEST, "-NOPERM no\r\n", STORE_REPLY_REFUSED, 0 },
	{ TIME, "*2\r\n$10\r\n1800000000\r\n$1\r\n7\r\n", STORE_REPLY_OK,
	    INT64_C(1800000000000007) },
	{ TIME, "*2\r\n$12\r\n253402300799\r\n$6\r\n999999\r\n", STORE_REPLY_OK,
	    INT64_C(253402300799999999) },
	{ TIME, "*2\r\n$12\r\n253402300800\r\n$1\r\n0\r\n", STORE_REPLY_BAD, 0 },
	{ TIME, "*2\r\n$1\r\n1\r\n$7\r\n1000000\r\n", STORE_REPLY_BAD, 0 },
	{ TIME, "*2\r\n$2\r\n-1\r\n$1\r\n0\r\n", STORE_REPLY_BAD, 0 },
	{ TIME, "*2\r\n:1\r\n:1\r\n", STORE_REPLY_BAD, 0 },
	{ TIME, "*3\r\n$1\r\n1\r\n$1\r\n1\r\n$1\r\n1\r\n", STORE_REPLY_BAD, 0 },
	{ TIME, "$1\r\n1\r\n", STORE_REPLY_BAD, 0 },
	{ TIME, "-NOPERM no\r\n", STORE_REPLY_REFUSED, 0 },
};

static enum store_reply
judged(enum kind kind, const redisReply *r, int64_t *first)
{
	struct greylist_seen seen = { 0 };
	struct event_answer event = { 0 };
	struct rate_answer rate = { 0 };
	struct note_answer note = { 0 };
	struct hold_answer hold = { 0 };
	struct map_answer map = { 0 };
	struct map_value value = { 0 };
	struct store_chunk chunk = { 0 };
	struct store_request scan = { .op = STORE_SCAN, .now = 1800000000, .kinds = 7 };
	struct buf octets;
	char digest[41] = "";
	uint64_t bad = 0;
	enum store_reply class = STORE_REPLY_BAD;

	buf_init(&octets, 1000);
	switch (kind) {
	case GREYLIST:
		class = store_reply_greylist(r, &seen, &bad);
		*first = seen.first;
		break;
	case EVENT:
		class = store_reply_event(r, &event, &bad);
		*first = event.last;
		break;
	case RATE:
		class = store_reply_rate(r, &rate, &bad);
		*first = rate.level;
		break;
	case NOTE:
		class = store_reply_note(r, &note, &bad);
		*first = note.since;
		break;
	case HOLD:
		class = store_reply_hold(r, &hold, &bad);
		*first = hold.held;
		break;
	case MAP:
		class = store_reply_map(r, &map, &bad);
		*first = map.version;
		break;
	case VALUE:
		class = store_reply_value(r, &value, &octets);
		*first = value.found + (int64_t)octets.len;
		break;
	case VERSION:
		class = store_reply_version(r, &map);
		*first = map.version;
		break;
	case MAP_READ:
		class = store_reply_map_read(r, &chunk, &octets);
		if (class == STORE_REPLY_OK)
			*first = (int64_t)(chunk.next.number + octets.len);
		ck_assert_int_eq(chunk.more, chunk.next.number != 0);
		break;
	case MAP_LOG:
		class = store_reply_map_log(r, 100, &chunk, &octets);
		if (class == STORE_REPLY_OK)
			*first = (int64_t)(chunk.next.number + octets.len);
		ck_assert(!chunk.more);
		break;
	case SCAN:
		class = store_reply_scan(r, "p", &scan, &chunk, &octets);
		if (class == STORE_REPLY_OK)
			*first = (int64_t)(chunk.next.number + octets.len);
		break;
	case DIGEST:
		class = store_reply_digest(r, digest);
		ck_assert_uint_eq(strlen(digest), class == STORE_REPLY_OK ? 40 : 0);
		break;
	case TIME:
		class = store_reply_time(r, first);
		break;
	}
	buf_clear(&octets);
	return class;
}

START_TEST(answers)
{
	size_t len = strlen(replies[_i].octets);
	const size_t steps[] = { len, 1, 3 };

	for (int i = 0; i < N(steps); i++) {
		redisReply *r = read_reply(replies[_i].octets, len, steps[i]);
		int64_t first = 0;
		enum store_reply class =
		    r == NULL ? STORE_REPLY_BAD : judged(replies[_i].kind, r, &first);

		ck_assert_str_eq(
		    store_reply_name(class), store_reply_name(replies[_i].class));
		ck_assert_int_eq(first, replies[_i].first);
		if (r != NULL)
			freeReplyObject(r);
	}
}
END_TEST

static const struct {
	const char *text;
	uint64_t entries, bytes, size_max;
	const char *note;
} infos[] = {
	{ "# Server\r\nredis_version:7.0.15\r\n# Memory\r\nused_memory:1000\r\n"
	  "used_memory_human:1K\r\nmaxmemory:2000\r\nmaxmemory_policy:noeviction\r\n"
	  "role:master\r\ndb0:keys=6,expires=6,avg_ttl=1\r\n"
	  "db3:keys=42,expires=0,avg_ttl=0\r\n",
	    42, 1000, 2000, "redis 7.0.15 master" },
	{ "db3:keys=7\nused_memory:5", 7, 5, 0, "" },
	{ "db30:keys=7,expires=1\r\ndb3:expires=1\r\ndb3:keys=x\r\ndb3\r\n:\r\n", 0, 0,
	    0, "" },
	{ "used_memory:99999999999999999999\r\nmaxmemory:-1\r\n", 0, 0, 0, "" },
	{ "redis_version:7\033[2J\r\nrole:\377\r\n", 0, 0, 0, "" },
	{ "redis_version:"
	  "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
	  "\r\n",
	    0, 0, 0, "redis xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx" },
	{ "", 0, 0, 0, "" },
};

START_TEST(info)
{
	char octets[600];
	int len = snprintf(octets, sizeof(octets), "$%zu\r\n%s\r\n",
	    strlen(infos[_i].text), infos[_i].text);
	redisReply *r = read_reply(octets, (size_t)len, 1);
	struct store_stats st;

	ck_assert_ptr_nonnull(r);
	ck_assert_int_eq(store_reply_stats(r, 3, &st), STORE_REPLY_OK);
	ck_assert_uint_eq(st.entries, infos[_i].entries);
	ck_assert_uint_eq(st.bytes, infos[_i].bytes);
	ck_assert_uint_eq(st.size_max, infos[_i].size_max);
	ck_assert_str_eq(st.note, infos[_i].note);
	freeReplyObject(r);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("store_redis_reply");
	TCase *tables = tcase_create("tables");

	tcase_add_loop_test(tables, error_classes, 0, N(texts));
	tcase_add_loop_test(tables, answers, 0, N(replies));
	tcase_add_loop_test(tables, info, 0, N(infos));
	suite_add_tcase(suite, tables);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int ran = srunner_ntests_run(runner), failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return ran == N(texts) + N(replies) + N(infos) && failed == 0 ? EXIT_SUCCESS
								      : EXIT_FAILURE;
}

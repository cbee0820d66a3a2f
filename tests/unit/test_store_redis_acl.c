/* SPDX-License-Identifier: BSD-2-Clause */
/* The Redis engine as a user of the ACL file that is shipped, with a password, in database
 * 3, by a UNIX socket: the conformance suite, so this user may do all that we do; and what
 * the users of the tiers may do, and what they may not. */
#include <stdio.h>
#include <stdlib.h>

#include <check.h>
#include <hiredis/hiredis.h>

#include "common/base/clock.h"
#include "common/base/xalloc.h"
#include "tests/lib/redis_rig.h"
#include "tests/lib/store_conformance.h"
#include "tests/lib/store_rig.h"

#define N(a) ((int)(sizeof(a) / sizeof((a)[0])))
#define T0 RIG_T0

static struct rig_server server; /* of the whole program; its user default may all */
static char password[120];

static struct store_conf
conf_of(const char *user)
{
	struct store_conf conf = rig_server_conf(&server);

	ck_assert_str_eq(rig_server_ask(&server, "FLUSHALL"), "OK");
	conf.user = user;
	conf.password_file = password;
	conf.database = 3;
	conf.deadline_ms = 20000; /* meaning is tested, not time */
	return conf;
}

static struct store_conf
subject_conf(void)
{
	return conf_of("postern");
}

/* --- each by itself --- */

/* One command as that user, words split at blanks: whether it is allowed. */
static bool
may(const char *user, const char *command)
{
	redisContext *c = redisConnectUnix(server.socket);
	redisReply *r = redisCommand(c, "AUTH %s secret", user);

	ck_assert_msg(r != NULL && r->type == REDIS_REPLY_STATUS, "%s", user);
	freeReplyObject(r);
	r = redisCommand(c, command);
	ck_assert_msg(r != NULL, "%s", command);
	bool denied = r->type == REDIS_REPLY_ERROR &&
	    (strncmp(r->str, "NOPERM", 6) == 0 ||
		strstr(r->str, "ACL failure") != NULL ||
		strstr(r->str, "can't access") != NULL ||
		strstr(r->str, "can't run this command") != NULL);
	freeReplyObject(r);
	redisFree(c);
	return !denied;
}

#define USERS 8
static const char *const users[USERS] = { "postern", "postern-access",
	"postern-greylist", "postern-mime", "postern-score", "postern-incoming",
	"postern-content", "postern-watch" };

/* What each of them may: y or n in the order of users. */
static const struct {
	const char *command, *may;
} rights[] = {
	/* what nobody needs */
	{ "FLUSHALL", "nnnnnnnn" },
	{ "FLUSHDB", "nnnnnnnn" },
	{ "KEYS *", "nnnnnnnn" },
	{ "CONFIG GET requirepass", "nnnnnnnn" },
	{ "CONFIG SET maxmemory 1", "nnnnnnnn" },
	{ "ACL LIST", "nnnnnnnn" },
	{ "ACL SETUSER x", "nnnnnnnn" },
	{ "SHUTDOWN", "nnnnnnnn" },
	{ "REPLICAOF NO ONE", "nnnnnnnn" },
	{ "MODULE LIST", "nnnnnnnn" },
	{ "SCRIPT FLUSH", "nnnnnnnn" },
	{ "SCRIPT KILL", "nnnnnnnn" },
	{ "MONITOR", "nnnnnnnn" },
	{ "CLIENT LIST", "nnnnnnnn" },
	{ "CLUSTER NODES", "nnnnnnnn" },
	{ "CLUSTER RESET", "nnnnnnnn" },
	{ "PUBLISH a b", "nnnnnnnn" },
	{ "RENAME postern:1:c:{=a} postern:1:c:{=b}", "nnnnnnnn" },
	/* keys of others on the server */
	{ "SET other:1:r:{=a} 1", "nnnnnnnn" },
	{ "GETRANGE other:1:r:{=a} 0 1", "nnnnnnnn" },
	{ "DEL posternx", "nnnnnnnn" },
	{ "EVAL return\tredis.call('SET','other:1:r:{=a}','1') 0", "nnnnnnnn" },
	/* what all do */
	{ "TIME", "yyyyyyyy" },
	{ "INFO", "yyyyyyyy" },
	{ "ROLE", "yyyyyyyy" },
	{ "SCRIPT LOAD return", "yyyyyyyy" },
	{ "GETRANGE postern:1:v:{=access} 0 9", "yyyyyyyy" },
	{ "HGET postern:1:m:{=access} a", "yyyyyyyy" },
	{ "DEL postern:1:probe", "yyyyyyyn" },
	/* by daemon: events, rates, notes, holds, greylisting */
	{ "SET postern:1:e:{=192.0.2.0/24}virus 1 EX 9", "yyyyyyyn" },
	{ "SET postern:1:r:{=a} 1 EX 9", "yynnnyyn" },
	{ "SET postern:1:n:{=a}list 1 EX 9", "yyynyyyn" },
	{ "ZADD postern:1:h:{=a} 1 a", "yynnnyyn" },
	{ "SET postern:2:t:{=c}=k 1 EX 9", "ynynyynn" },
	{ "SET postern:1:c:{=c} 1 EX 9", "ynynyynn" },
	{ "DEL postern:1:c:{=c}", "ynynyynn" },
	{ "GETRANGE postern:1:c:{=c} 0 9", "ynynyyny" },
	{ "EVAL return\tredis.call('SET',KEYS[1],'1','EX',9) 1 postern:1:c:{=c}",
	    "ynynyynn" },
	/* shared maps are entered by tools of the administrator alone */
	{ "HSET postern:1:m:{=access} a b", "ynnnnnnn" },
	{ "SET postern:1:v:{=access} 9", "ynnnnnnn" },
	{ "DEL postern:1:m:{=access}", "ynnnnnnn" },
	{ "LPUSH postern:1:l:{=access} x", "ynnnnnnn" },
	{ "LRANGE postern:1:l:{=access} 0 1", "ynnnnnny" },
	{ "EVAL return\tredis.call('HSET',KEYS[1],'a','b') 1 postern:1:m:{=access}",
	    "ynnnnnnn" },
	{ "EVAL return\tredis.call('SET',KEYS[1],'a','EX',9) 1 postern:1:v:{=access}",
	    "ynnnnnnn" },
	/* kinds and versions that are none of these */
	{ "SET postern:1:s:{=a} 1 EX 9", "ynnnnnnn" },
	{ "SET postern:1:t:{=c}=k 1 EX 9", "ynnnnnnn" },
	{ "SET postern:2:c:{=c} 1 EX 9", "ynnnnnnn" },
	{ "EVAL return\tredis.call('SET','postern:1:s:{=a}','1') 0", "ynnnnnnn" },
	/* tools that list */
	{ "SCAN 0 MATCH postern:*", "ynnnnnny" },
	{ "TTL postern:1:c:{=c}", "ynnnnnny" },
};

START_TEST(users_may)
{
	ck_assert_str_eq(rig_server_ask(&server, "FLUSHALL"), "OK");
	for (int i = 0; i < USERS; i++)
		ck_assert_msg(may(users[i], rights[_i].command) ==
			(rights[_i].may[i] == 'y'),
		    "%s: %s", users[i], rights[_i].command);
	ck_assert_str_eq(rig_server_ask(&server, "PING"), "PONG"); /* it lives */
}
END_TEST

/* --- whole questions --- */

#define OK STORE_OK
#define NO STORE_DOWN
static const struct {
	const char *user;
	enum store_state triple, event, rate, note, hold, map;
	bool scan;
} roles[] = {
	{ "postern", OK, OK, OK, OK, OK, OK, true },
	{ "postern-access", NO, OK, OK, OK, OK, NO, false },
	{ "postern-greylist", OK, OK, NO, OK, NO, NO, false },
	{ "postern-mime", NO, OK, NO, NO, NO, NO, false },
	{ "postern-score", OK, OK, NO, OK, NO, NO, false },
	{ "postern-incoming", OK, OK, OK, OK, OK, NO, false },
	{ "postern-content", NO, OK, OK, OK, OK, NO, false },
	{ "postern-watch", NO, NO, NO, NO, NO, NO, true },
};

/* The state is the first member of each answer. */
static enum store_state
state_of(struct future *f)
{
	ck_assert(future_wait(f, clock_mono_ms() + RIG_WAIT_MS));
	enum store_state s = *(enum store_state *)future_value(f);
	future_unref(f);
	return s;
}

static bool
no_value(void *arg, struct str key, struct str value)
{
	(void)arg, (void)key, (void)value;
	return false;
}

static bool
no_entry(void *arg, const struct store_entry *e)
{
	(void)arg, (void)e;
	return false;
}

START_TEST(tiers)
{
	struct store_conf conf = conf_of(roles[_i].user);
	struct store *s = rig_opened(&conf, NULL);
	struct ipnet net = rig_net("192.0.2.0/24");
	struct err err = { .text = "" };
	int64_t version;

	ck_assert_int_eq(
	    state_of(store_event_add(s, &net, EVENT_VIRUS, 1, 60, T0)), roles[_i].event);
	ck_assert_int_eq(state_of(store_rate_add(s, STR("b"), 1, 10, 1, 60, T0)),
	    roles[_i].rate);
	ck_assert_int_eq(
	    state_of(store_note_put(s, NOTE_LIST, STR("n"), STR("x"), 60, T0)),
	    roles[_i].note);
	ck_assert_int_eq(
	    state_of(store_hold_take(s, STR("h"), STR("a"), 3, 60, T0)), roles[_i].hold);
	ck_assert_int_eq(state_of(store_greylist_check(
			     s, &net, STR("c"), STR("k"), &rig_times, T0)),
	    roles[_i].triple);
	ck_assert_int_eq(state_of(store_map_set(
			     s, STR("m"), STR("k"), STR("v"), STR("w"), T0)),
	    roles[_i].map);
	ck_assert_int_eq(state_of(store_map_get(s, STR("m"), STR("k"))), STORE_OK);
	ck_assert_int_eq(state_of(store_map_version(s, STR("m"))), STORE_OK);
	ck_assert_int_eq(
	    store_map_read(s, STR("m"), &version, no_value, NULL, &err), 0);
	if (roles[_i].scan)
		ck_assert_int_eq(store_scan(s, STORE_TRIPLE, T0, no_entry, NULL, &err), 0);
	ck_assert_uint_gt(rig_stats_of(s).bytes, 0);
	store_close(s);
	conf.prefix = "other";
	s = rig_opened(&conf, NULL);
	ck_assert_int_eq(rig_ask(s, "x", NULL).state, STORE_DOWN);
	store_close(s);
}
END_TEST

/* The file as it is: nobody gets in by its password, and strangers get nothing. */
START_TEST(as_shipped)
{
	struct rig_server alone = { .pid = 0 };
	char *options = xasprintf("aclfile %s/contrib/redis/users.acl", getenv("PWD"));

	ck_assert_int_eq(rig_server_up(&alone, options), 0);
	ck_assert(strncmp(rig_server_ask(&alone, "PING"), "-NOAUTH", 7) == 0);
	ck_assert(strncmp(rig_server_ask(&alone, "AUTH postern CHANGE-ME"), "-WRONGPASS",
		      10) == 0);
	rig_server_remove(&alone);
	free(options);
}
END_TEST

static int
server_up(void)
{
	int rc = rig_server_up(&server, NULL);
	char *command = xasprintf("sed 's/CHANGE-ME/secret/; s/ off\\( .*>secret\\)/ on\\1/; "
				  "s/^user default.*/user default on nopass ~* \\&* +@all/' "
				  "contrib/redis/users.acl >%s/users.acl && "
				  "echo secret >%s/password",
	    server.dir, server.dir);
	char *options = xasprintf("aclfile %s/users.acl", server.dir);

	snprintf(password, sizeof(password), "%s/password", server.dir);
	if (rc == 0 && system(command) != 0)
		rc = -1;
	if (rc == 0)
		rc = rig_server_run(&server, options);
	free(options);
	free(command);
	return rc;
}

int
main(void)
{
	static const struct store_subject subject = { subject_conf, false };
	const char *why = rig_server_missing();
	TCase *t = tcase_create("users");

	if (why != NULL)
		return rig_server_skip(why);
	if (server_up() != 0) {
		fprintf(stderr, "redis-server does not run with contrib/redis/users.acl\n");
		rig_server_remove(&server);
		return EXIT_FAILURE;
	}
	Suite *suite = suite_create("store_redis_acl");
	int expected = store_conformance_add(suite, &subject);
#define ADD(test, loops) (tcase_add_loop_test(t, test, 0, loops), expected += (loops))
	tcase_add_checked_fixture(t, rig_counters_new, rig_counters_remove);
	tcase_set_timeout(t, 60);
	ADD(users_may, N(rights));
	ADD(tiers, N(roles));
	ADD(as_shipped, 1);
	suite_add_tcase(suite, t);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int ran = srunner_ntests_run(runner), failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	rig_server_remove(&server);
	return ran == expected && failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* The connection of store_redis_link.h: hiredis without its blocking calls.  The server
 * is not trusted with our memory: arrays have a bound, and so has what is read ahead.
 */
#include "db/store_redis_link.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>

#include "common/base/clock.h"
#include "common/base/metrics.h"

#define CONNECTIONS "postern_store_redis_connections_total"
#define CONNECTIONS_HELP "Connections to Redis servers and sentinels, by how they began"
METRIC_COUNTER(made, CONNECTIONS, "outcome=\"made\"", CONNECTIONS_HELP);
METRIC_COUNTER(unmade, CONNECTIONS, "outcome=\"failed\"", CONNECTIONS_HELP);
METRIC_COUNTER(unfit, CONNECTIONS, "outcome=\"refused\"", CONNECTIONS_HELP);

#define AHEAD_MAX (1u << 20) /* octets; the longest answer is that of INFO: 8 kB */

void
store_link_close(struct store_link *l)
{
	if (l->c != NULL)
		redisFree(l->c);
	l->c = NULL;
	l->pending = 0;
}

bool
store_link_stale(const struct store_link *l)
{
	struct pollfd p = { .fd = l->c->fd, .events = POLLIN };

	return l->c->err != 0 || l->pending > 0 ||
	    l->c->reader->len > l->c->reader->pos || poll(&p, 1, 0) != 0;
}

int
store_link_send(struct store_link *l, const struct store_command *c)
{
	/* hiredis wants pointers that it may change, though it does not. */
	const char *argv[STORE_COMMAND_ARGS];

	memcpy(argv, c->argv, sizeof(argv[0]) * (size_t)c->argc);
	if (redisAppendCommandArgv(l->c, c->argc, argv, c->len) != REDIS_OK)
		return -1;
	l->pending++;
	return 0;
}

static int
broken(const struct store_link *l, struct err *err)
{
	if (l->c->err == REDIS_ERR_IO && errno != 0)
		return err_errno(err, "connection to Redis");
	return err_set(err, "connection to Redis: %s", l->c->errstr);
}

/* Wait until octets come, or can go.  0: the deadline has come. */
static int
wait_ready(struct store_link *l, bool writing, int64_t deadline_ms, struct err *err)
{
	struct pollfd p = { .fd = l->c->fd,
		.events = (short)(POLLIN | (writing ? POLLOUT : 0)) };

	for (;;) {
		int64_t left = deadline_ms - clock_mono_ms();
		int n = poll(&p, 1, left <= 0 ? 0 : left > 60000 ? 60000 : (int)left);

		if (n > 0)
			return 1;
		if (n < 0 && errno != EINTR)
			return err_errno(err, "poll");
		if (n == 0 && left <= 0)
			return 0;
	}
}

int
store_link_next(
    struct store_link *l, int64_t deadline_ms, redisReply **reply, struct err *err)
{
	int written = 0, rc;
	void *got = NULL;

	for (;;) {
		errno = 0;
		if (!written && redisBufferWrite(l->c, &written) != REDIS_OK)
			return broken(l, err);
		if (redisGetReplyFromReader(l->c, &got) != REDIS_OK)
			return broken(l, err);
		if (got != NULL) {
			*reply = got;
			l->pending--;
			return 1;
		}
		rc = wait_ready(l, !written, deadline_ms, err);
		if (rc <= 0)
			return rc;
		/* Without octets to read this returns at once: it does not block. */
		errno = 0;
		if (redisBufferRead(l->c) != REDIS_OK)
			return broken(l, err);
		if (l->c->reader->len - l->c->reader->pos > AHEAD_MAX)
			return err_set(err,
			    "Redis answers with more than %u octets at once",
			    AHEAD_MAX);
	}
}

/* --- the greeting --- */

#define GREETINGS_MAX (4 + STORE_SCRIPTS)

struct greeting {
	const char *what; /* for the log */
	int script; /* that is loaded; -1: none */
	bool must; /* no error is good enough */
	bool role; /* the answer must be that of a master, where it is given */
};

struct greetings {
	struct greeting list[GREETINGS_MAX];
	size_t n;
	int rc;
};

static void
greet(struct store_link *l, struct greetings *g, const struct store_command *c,
    struct greeting greeting)
{
	g->list[g->n++] = greeting;
	g->rc |= store_link_send(l, c);
}

static void
greet_load(struct store_link *l, struct greetings *g, int script)
{
	struct store_command c;

	store_command_init(&c);
	store_command_add(&c, STR("SCRIPT"));
	store_command_add(&c, STR("LOAD"));
	store_command_add(&c, store_script_source((enum store_script)script));
	greet(l, g, &c, (struct greeting){ "a script", script, false, false });
}

/* A write of nothing: who refuses it as a replica is not the server for us. */
static void
greet_write(struct store_link *l, struct greetings *g, const char *prefix)
{
	char key[STORE_PREFIX_MAX + 16];
	struct store_command c;
	int len = snprintf(key, sizeof(key), "%s:1:probe", prefix);

	store_command_init(&c);
	store_command_add(&c, STR("DEL"));
	store_command_add(&c, (struct str){ key, (size_t)len });
	greet(l, g, &c, (struct greeting){ "a write", -1, false, false });
}

static void
greet_role(struct store_link *l, struct greetings *g)
{
	struct store_command c;

	store_command_init(&c);
	store_command_add(&c, STR("ROLE"));
	greet(l, g, &c, (struct greeting){ "its role", -1, false, true });
}

static int
greetings_send(
    struct store_link *l, struct greetings *g, const struct store_link_conf *conf)
{
	bool one = conf->kind == STORE_LINK_SERVER || conf->kind == STORE_LINK_MASTER;
	struct store_command c;

	if (conf->password[0] != '\0') {
		store_command_init(&c);
		store_command_add(&c, STR("AUTH"));
		if (conf->user[0] != '\0')
			store_command_add(&c, str_of(conf->user));
		store_command_add(&c, str_of(conf->password));
		greet(l, g, &c, (struct greeting){ "to authenticate", -1, true, false });
	}
	if (one && conf->database != 0) {
		store_command_init(&c);
		store_command_add(&c, STR("SELECT"));
		store_command_int(&c, conf->database);
		greet(l, g, &c, (struct greeting){ "the database", -1, true, false });
	}
	if (conf->kind == STORE_LINK_MASTER || conf->kind == STORE_LINK_NODE)
		greet_role(l, g);
	for (int i = 0; i < STORE_SCRIPTS && conf->kind != STORE_LINK_GUIDE; i++)
		greet_load(l, g, i);
	if (one)
		greet_write(l, g, conf->prefix);
	return g->rc;
}

/* Where an ACL forbids SCRIPT or DEL we can do without, and a server that is full still
 * lets us read. */
static int
greeting_judge(struct store_link *l, const struct greeting *g, const redisReply *r,
    struct err *err)
{
	enum store_reply class = store_reply_class(r);

	if (g->script >= 0 &&
	    store_reply_digest(r, l->digest[g->script]) != STORE_REPLY_OK)
		l->digest[g->script][0] = '\0';
	if (class == STORE_REPLY_AWAY || (g->must && class != STORE_REPLY_OK))
		return err_set(err, "Redis refuses %s: %.*s", g->what,
		    (int)(r->len < 200 ? r->len : 200), r->str);
	if (g->role && class == STORE_REPLY_OK && !store_reply_is_master(r))
		return err_set(err, "this Redis server is no master");
	return 0;
}

static int
greetings_read(struct store_link *l, const struct greetings *g, int64_t deadline_ms,
    struct err *err)
{
	for (size_t i = 0; i < g->n; i++) {
		redisReply *r;
		int rc = store_link_next(l, deadline_ms, &r, err);

		if (rc == 0)
			(void)err_set(err, "Redis did not answer in time");
		if (rc <= 0) {
			metric_add(&unmade, 1);
			return -1;
		}
		rc = greeting_judge(l, &g->list[i], r, err);
		freeReplyObject(r);
		if (rc != 0) {
			metric_add(&unfit, 1);
			return -1;
		}
	}
	metric_add(&made, 1);
	return 0;
}

int
store_link_open(struct store_link *l, const struct store_link_conf *conf,
    const struct store_address *to, int64_t deadline_ms, struct err *err)
{
	memset(l, 0, sizeof(*l));
	errno = 0;
	l->c = to->path[0] != '\0' ? redisConnectUnixNonBlock(to->path)
				   : redisConnectNonBlock(to->ip, to->port);
	if (l->c == NULL)
		return err_set(err, "connection to Redis: out of memory");
	if (l->c->err != 0) {
		metric_add(&unmade, 1);
		(void)broken(l, err);
		store_link_close(l);
		return -1;
	}
	store_reply_bound(l->c->reader, &l->room,
	    conf->kind == STORE_LINK_GUIDE ? STORE_REPLY_MAP_MAX
					   : STORE_REPLY_ELEMENTS_MAX);
	(void)fcntl(l->c->fd, F_SETFD, FD_CLOEXEC);
	struct greetings g = { .n = 0 };
	if (greetings_send(l, &g, conf) != 0)
		(void)err_set(err, "connection to Redis: out of memory");
	else if (greetings_read(l, &g, deadline_ms, err) == 0)
		return 0;
	store_link_close(l);
	return -1;
}

redisReply *
store_link_ask(struct store_link *l, const struct store_command *c, int64_t deadline_ms,
    struct err *err)
{
	redisReply *r = NULL;
	int rc = store_link_send(l, c);

	if (rc != 0)
		(void)err_set(err, "connection to Redis: %s", l->c->errstr);
	else
		rc = store_link_next(l, deadline_ms, &r, err);
	if (rc == 1)
		return r;
	if (rc == 0)
		(void)err_set(err, "Redis did not answer in time");
	store_link_close(l);
	return NULL;
}

int
store_link_clock(struct store_link *l, int64_t (*wall_us)(void), int64_t deadline_ms,
    int64_t *ahead_us, struct err *err)
{
	struct store_command c;
	int64_t server_us;

	store_command_init(&c);
	store_command_add(&c, STR("TIME"));
	int64_t begin = wall_us();
	redisReply *r = store_link_ask(l, &c, deadline_ms, err);
	int64_t end = wall_us();
	if (r == NULL)
		return -1;
	bool told = store_reply_time(r, &server_us) == STORE_REPLY_OK;
	freeReplyObject(r);
	if (told)
		*ahead_us = server_us - (begin + (end - begin) / 2);
	return told;
}

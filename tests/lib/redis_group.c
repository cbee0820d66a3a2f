/* SPDX-License-Identifier: BSD-2-Clause */
/* The groups of redis_group.h. */
#include "tests/lib/redis_group.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <check.h>
#include <hiredis/hiredis.h>

#include "common/base/clock.h"
#include "common/base/xalloc.h"

#define SETTLE_MS 30000

/* Whether ask() comes true before its time. */
static bool
until(bool (*ask)(const void *arg), const void *arg)
{
	int64_t end = clock_mono_ms() + SETTLE_MS;

	while (!ask(arg)) {
		if (clock_mono_ms() > end)
			return false;
		poll(NULL, 0, 20);
	}
	return true;
}

/* One reply; NULL: the server is away. */
static redisReply *
asked(const struct rig_server *s, const char *command)
{
	struct timeval wait = { .tv_sec = 5 };
	redisContext *c =
	    s->pid == 0 ? NULL : redisConnectUnixWithTimeout(s->socket, wait);
	redisReply *r = NULL;

	if (c != NULL && c->err == 0 && redisSetTimeout(c, wait) == REDIS_OK)
		r = redisCommand(c, command);
	if (c != NULL)
		redisFree(c);
	return r;
}

/* Whether the reply, or its i-th element, is that text. */
static bool
says(const struct rig_server *s, const char *command, size_t i, const char *text)
{
	redisReply *r = asked(s, command), *e = r;
	bool is;

	if (r != NULL && r->type == REDIS_REPLY_ARRAY)
		e = i < r->elements ? r->element[i] : NULL;
	is = e != NULL && e->str != NULL && strstr(e->str, text) != NULL;
	if (r != NULL)
		freeReplyObject(r);
	return is;
}

/* --- watched by sentinels --- */

int
rig_watched_master(const struct rig_watched *w)
{
	for (int i = 0; i < 2; i++)
		if (says(&w->server[i], "ROLE", 0, "master"))
			return i;
	return -1;
}

static bool
in_step(const void *arg)
{
	const struct rig_watched *w = arg;
	int master = rig_watched_master(w);
	char port[16];

	if (master < 0 || !says(&w->server[1 - master], "ROLE", 0, "slave") ||
	    !says(&w->server[1 - master], "ROLE", 3, "connected"))
		return false;
	snprintf(port, sizeof(port), "%u", w->port[master]);
	for (int i = 0; i < 3; i++)
		if (!says(&w->sentinel[i],
			"SENTINEL GET-MASTER-ADDR-BY-NAME " RIG_MASTER, 1, port) ||
		    !says(&w->sentinel[i], "INFO sentinel", 0,
			"status=ok") ||
		    !says(&w->sentinel[i], "INFO sentinel", 0, "slaves=1,sentinels=3"))
			return false;
	return true;
}

void
rig_watched_settle(const struct rig_watched *w)
{
	ck_assert_msg(until(in_step, w), "master, replica and sentinels do not agree");
}

static int
server_up(struct rig_watched *w, int i, const char *options, bool fresh)
{
	char *all = xasprintf("port %u\nbind 127.0.0.1\nrepl-diskless-sync-delay 0\n"
			      "repl-timeout 10\n%s%s%u\n%s\n",
	    w->port[i], i == 0 ? "" : "replicaof 127.0.0.1 ",
	    i == 0 ? "#" : "", i == 0 ? 0 : w->port[0], options);
	int rc = fresh ? rig_server_up(&w->server[i], all)
		       : rig_server_run(&w->server[i], all);

	free(all);
	return rc;
}

static int
sentinel_up(struct rig_watched *w, int i, const char *options)
{
	char *all = xasprintf("port %u\nbind 127.0.0.1\n"
			      "sentinel monitor " RIG_MASTER " 127.0.0.1 %u 2\n"
			      "sentinel down-after-milliseconds " RIG_MASTER " 500\n"
			      "sentinel failover-timeout " RIG_MASTER " 2000\n%s\n",
	    w->sentinel_port[i], w->port[0], options);

	w->sentinel[i].sentinel = true;
	snprintf(w->address[i], sizeof(w->address[i]), "127.0.0.1:%u",
	    w->sentinel_port[i]);
	w->list[i] = w->address[i];
	int rc = rig_server_up(&w->sentinel[i], all);
	free(all);
	return rc;
}

static int
watched_try(struct rig_watched *w, const char *options, const char *sentinel_options)
{
	unsigned ports[5];
	int rc = rig_ports(ports, 5);

	memset(w, 0, sizeof(*w));
	memcpy(w->port, ports, sizeof(w->port));
	memcpy(w->sentinel_port, ports + 2, sizeof(w->sentinel_port));
	for (int i = 0; i < 2 && rc == 0; i++)
		rc = server_up(w, i, options, true);
	for (int i = 0; i < 3 && rc == 0; i++)
		rc = sentinel_up(w, i, sentinel_options);
	return rc == 0 && (sentinel_options[0] != '\0' || until(in_step, w)) ? 0 : -1;
}

/* A port that was free may be somebody's by the time that it is bound. */
#define TRIES 3

int
rig_watched_up(struct rig_watched *w, const char *options, const char *sentinel_options)
{
	for (int i = 0; i < TRIES; i++) {
		if (watched_try(w, options, sentinel_options) == 0)
			return 0;
		rig_watched_remove(w);
	}
	return -1;
}

void
rig_watched_start(struct rig_watched *w, int i, const char *options)
{
	ck_assert_int_eq(server_up(w, i, options, false), 0);
}

void
rig_watched_remove(struct rig_watched *w)
{
	for (int i = 0; i < 3; i++)
		rig_server_remove(&w->sentinel[i]);
	for (int i = 0; i < 2; i++)
		rig_server_remove(&w->server[i]);
}

struct store_conf
rig_watched_conf(const struct rig_watched *w)
{
	return (struct store_conf){ .engine = "redis",
		.sentinels = w->list,
		.n_sentinels = 3,
		.master = RIG_MASTER,
		.prefix = "postern",
		.connections = 2,
		.deadline_ms = 100 };
}

/* --- cluster --- */

static bool
cluster_whole(const void *arg)
{
	const struct rig_cluster *c = arg;
	char known[40];

	snprintf(known, sizeof(known), "cluster_known_nodes:%d\r", c->n);
	for (int i = 0; i < c->n; i++)
		if (!says(&c->server[i], "CLUSTER INFO", 0, "cluster_state:ok") ||
		    !says(&c->server[i], "CLUSTER INFO", 0,
			"cluster_slots_ok:16384") ||
		    !says(&c->server[i], "CLUSTER INFO", 0, known))
			return false;
	return true;
}

static int
command(const struct rig_server *s, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* One whose answer is OK. */
static int
command(const struct rig_server *s, const char *format, ...)
{
	char text[300];
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	return says(s, text, 0, "OK") ? 0 : -1;
}

static int
node_up(struct rig_cluster *c, int i, unsigned bus)
{
	char *options = xasprintf("port %u\nbind 127.0.0.1\ncluster-enabled yes\n"
				  "cluster-port %u\ncluster-node-timeout 1000\n"
				  "cluster-config-file nodes.conf\n",
	    c->port[i], bus);
	int rc = rig_server_up(&c->server[i], options);
	redisReply *r = rc != 0 ? NULL : asked(&c->server[i], "CLUSTER MYID");

	free(options);
	snprintf(c->address[i], sizeof(c->address[i]), "127.0.0.1:%u", c->port[i]);
	c->list[i] = c->address[i];
	if (r == NULL || r->type != REDIS_REPLY_STRING)
		return -1;
	snprintf(c->id[i], sizeof(c->id[i]), "%s", r->str);
	freeReplyObject(r);
	return 0;
}

static int
cluster_try(struct rig_cluster *c, int n)
{
	unsigned ports[8], *bus = ports + 4;
	int rc = rig_ports(ports, 8);

	memset(c, 0, sizeof(*c));
	c->n = n;
	memcpy(c->port, ports, sizeof(c->port));
	for (int i = 0; i < n && rc == 0; i++) {
		rc = node_up(c, i, bus[i]);
		if (rc == 0)
			rc = command(&c->server[i], "CLUSTER SET-CONFIG-EPOCH %d", i + 1);
	}
	for (int i = 0; i < 3 && rc == 0; i++)
		rc = command(&c->server[i], "CLUSTER ADDSLOTSRANGE %d %d",
		    i * 16384 / 3, (i + 1) * 16384 / 3 - 1);
	for (int i = 1; i < n && rc == 0; i++)
		rc = command(&c->server[0], "CLUSTER MEET 127.0.0.1 %u %u", c->port[i],
		    bus[i]);
	return rc == 0 && until(cluster_whole, c) ? 0 : -1;
}

int
rig_cluster_up(struct rig_cluster *c, int n)
{
	for (int i = 0; i < TRIES; i++) {
		if (cluster_try(c, n) == 0)
			return 0;
		rig_cluster_remove(c);
	}
	return -1;
}

void
rig_cluster_remove(struct rig_cluster *c)
{
	for (int i = 0; i < c->n; i++)
		rig_server_remove(&c->server[i]);
}

struct store_conf
rig_cluster_conf(const struct rig_cluster *c)
{
	return (struct store_conf){ .engine = "redis",
		.cluster = c->list,
		.n_cluster = 3,
		.prefix = "postern",
		.connections = 2,
		.deadline_ms = 100 };
}

void
rig_cluster_flush(const struct rig_cluster *c)
{
	for (int i = 0; i < c->n; i++)
		ck_assert_str_eq(rig_server_ask(&c->server[i], "FLUSHALL"), "OK");
}

struct replication {
	const struct rig_cluster *c;
	int replica;
};

static bool
replicates(const void *arg)
{
	const struct replication *r = arg;
	const struct rig_cluster *c = r->c;
	char line[100];

	snprintf(line, sizeof(line), "%s 127.0.0.1:%u", c->id[r->replica],
	    c->port[r->replica]);
	for (int i = 0; i < c->n; i++) {
		redisReply *nodes = asked(&c->server[i], "CLUSTER NODES");
		const char *at = nodes == NULL ? NULL : strstr(nodes->str, line);
		const char *end = at == NULL ? NULL : strchr(at, '\n');
		const char *role = at == NULL ? NULL : strstr(at, "slave ");
		bool is = role != NULL && end != NULL && role < end;

		if (nodes != NULL)
			freeReplyObject(nodes);
		if (!is)
			return false;
	}
	return says(&c->server[r->replica], "ROLE", 3, "connected");
}

void
rig_cluster_replicate(const struct rig_cluster *c, int replica, int master)
{
	const struct replication r = { c, replica };

	ck_assert_int_eq(
	    command(&c->server[replica], "CLUSTER REPLICATE %s", c->id[master]), 0);
	ck_assert_msg(until(replicates, &r), "no replication in the cluster");
}

int
rig_cluster_owner(const struct rig_cluster *c, unsigned slot)
{
	redisReply *r = asked(&c->server[0], "CLUSTER SLOTS");
	long long port = 0;
	int owner = 0;

	ck_assert(r != NULL && r->type == REDIS_REPLY_ARRAY);
	for (size_t i = 0; i < r->elements; i++) {
		redisReply **range = r->element[i]->element;

		if (range[0]->integer <= slot && range[1]->integer >= slot)
			port = range[2]->element[1]->integer;
	}
	freeReplyObject(r);
	while (owner < c->n && c->port[owner] != port)
		owner++;
	ck_assert_int_lt(owner, c->n);
	return owner;
}

void
rig_cluster_move_begin(const struct rig_cluster *c, unsigned slot, int from, int to)
{
	ck_assert_int_eq(command(&c->server[to], "CLUSTER SETSLOT %u IMPORTING %s", slot,
			     c->id[from]),
	    0);
	ck_assert_int_eq(command(&c->server[from], "CLUSTER SETSLOT %u MIGRATING %s",
			     slot, c->id[to]),
	    0);
}

void
rig_cluster_move_keys(const struct rig_cluster *c, unsigned slot, int from, int to)
{
	for (;;) {
		char text[64];

		snprintf(text, sizeof(text), "CLUSTER GETKEYSINSLOT %u 10", slot);
		redisReply *r = asked(&c->server[from], text);
		ck_assert(r != NULL && r->type == REDIS_REPLY_ARRAY);
		size_t n = r->elements;
		for (size_t i = 0; i < n; i++) {
			redisContext *cx = redisConnectUnix(c->server[from].socket);
			redisReply *moved = redisCommand(cx,
			    "MIGRATE 127.0.0.1 %d %b 0 5000", (int)c->port[to],
			    r->element[i]->str, (size_t)r->element[i]->len);

			ck_assert(moved != NULL && moved->type == REDIS_REPLY_STATUS);
			freeReplyObject(moved);
			redisFree(cx);
		}
		freeReplyObject(r);
		if (n == 0)
			break;
	}
}

/* The new owner first: whoever is sent there is not sent back. */
void
rig_cluster_move_end(const struct rig_cluster *c, unsigned slot, int to)
{
	ck_assert_int_eq(
	    command(&c->server[to], "CLUSTER SETSLOT %u NODE %s", slot, c->id[to]), 0);
	for (int i = 0; i < c->n; i++)
		ck_assert_int_eq(command(&c->server[i], "CLUSTER SETSLOT %u NODE %s",
				     slot, c->id[to]),
		    0);
}

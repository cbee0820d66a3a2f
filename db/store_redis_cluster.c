/* SPDX-License-Identifier: BSD-2-Clause */
/* Routing in a Redis Cluster.  A question goes to the master that has the slot of its
 * keys; one whose first step (which events void it) lies elsewhere visits both.  A node
 * that hands it on names another one: MOVED corrects the map at once and has it read
 * anew soon, ASK is followed this once, and each keeps the deadline of its question.
 * When a node fails, the map is read anew: a replica may have its slots by then.
 *
 * A thread reads the map, at most every REFRESH_MS, and opens and closes nodes; it also
 * takes questions for nodes that nobody knew (a new one that slots are moved to). */
#include "db/store_redis_cluster.h"

#include <poll.h>
#include <pthread.h>
#include <stdlib.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/metrics.h"
#include "common/base/xalloc.h"

#define REFRESH_MS 250 /* at least between two readings of the map */
#define RETRY_MS 1000 /* after one that failed, and while a node of the map is away */
#define PERIOD_MS 60000 /* and without any reason */
#define UNUSED_MS 60000 /* a node that the map does not name is closed after that */
#define HOPS_MAX 6
#define GUIDE_MS 500 /* for one node to tell the map */

METRIC_COUNTER(refreshes, "postern_store_redis_map_reads_total", NULL,
    "Times that the map of a Redis Cluster was read");

struct member {
	struct store_node *node;
	struct store_address address;
	bool in_map;
	_Atomic int64_t used_ms; /* while it is not in the map */
};

struct parked {
	struct parked *next;
	struct store_request *request;
	struct store_address to;
};

struct store_cluster {
	struct store_node_conf conf; /* of each node */
	struct store_address seed[STORE_SEEDS_MAX];
	size_t n_seeds;
	atomic_size_t waiting; /* questions that are not answered yet */

	pthread_rwlock_t lock; /* of what follows; only the thread changes members */
	struct member *member[STORE_NODES_MAX];
	size_t n;
	struct member *owner[STORE_SLOTS]; /* NULL: nobody that we know */
	_Atomic int64_t clock_offset; /* as last known */

	pthread_mutex_t mutex; /* of what follows */
	pthread_cond_t wake;
	struct parked *parked; /* for nodes that are not open yet */
	bool stop, wanted;
	bool told_down; /* the thread's own */
	int64_t read_at; /* the thread's own: monotonic ms, the next time */
	pthread_t thread;
};

/* --- who has it --- */

static void
want_map(struct store_cluster *c)
{
	pthread_mutex_lock(&c->mutex);
	c->wanted = true;
	pthread_cond_signal(&c->wake);
	pthread_mutex_unlock(&c->mutex);
}

/* All keys of a command share a slot, so its first one tells: behind the digest and the
 * count of keys of a script, behind the name of any other command. */
static unsigned
slot_of(const struct store_cluster *c, const struct store_request *r)
{
	struct store_command command;

	store_node_command(&command, c->conf.link.prefix, "digest", r);
	bool script = command.argc > 0 && command.len[0] == strlen("EVALSHA") &&
	    memcmp(command.argv[0], "EVALSHA", command.len[0]) == 0;
	int key = script ? 3 : 1;
	return key >= command.argc
	    ? 0
	    : store_slot((struct str){ command.argv[key], command.len[key] });
}

/* Called with the lock held. */
static struct member *
member_at(struct store_cluster *c, const struct store_address *a)
{
	for (size_t i = 0; i < c->n; i++)
		if (store_address_same(&c->member[i]->address, a))
			return c->member[i];
	return NULL;
}

/* --- questions --- */

static void
submit_slot(struct store_cluster *c, struct store_request *r)
{
	unsigned slot = slot_of(c, r);

	pthread_rwlock_rdlock(&c->lock);
	struct member *m = c->owner[slot];
	bool taken = m != NULL && store_node_submit(m->node, r);
	pthread_rwlock_unlock(&c->lock);
	if (m == NULL)
		want_map(c);
	if (!taken)
		store_node_refuse(&c->conf, r);
}

/* To each node of the map once, one after the other: r->hops is where it goes on. */
static void
submit_next(struct store_cluster *c, struct store_request *r)
{
	bool first = r->hops == 0, taken = false;
	size_t i;

	pthread_rwlock_rdlock(&c->lock);
	for (i = r->hops; i < c->n && !c->member[i]->in_map; i++)
		;
	r->hops = (uint8_t)(i + 1);
	bool any = i < c->n;
	if (any)
		taken = store_node_submit(c->member[i]->node, r);
	pthread_rwlock_unlock(&c->lock);
	if (!any && !first)
		store_node_answer(&c->conf, r, STORE_OK);
	else if (!taken)
		store_node_refuse(&c->conf, r);
}

/* A step of a walk: to the node of the map that its cursor counts to; behind the last
 * one there is nothing. */
static void
submit_walk(struct store_cluster *c, struct store_request *r)
{
	uint32_t before = r->cursor.node;
	bool taken = false;
	size_t i, masters = 0;

	pthread_rwlock_rdlock(&c->lock);
	for (i = 0; i < c->n; i++)
		if (c->member[i]->in_map && masters++ == before)
			break;
	bool any = i < c->n;
	if (any)
		taken = store_node_submit(c->member[i]->node, r);
	pthread_rwlock_unlock(&c->lock);
	if (!any && masters > 0)
		store_node_answer(&c->conf, r, STORE_OK);
	else if (!taken)
		store_node_refuse(&c->conf, r);
}

static void
submit(struct store_cluster *c, struct store_request *r)
{
	if (r->op == STORE_STATS)
		submit_next(c, r);
	else if (r->op == STORE_SCAN)
		submit_walk(c, r);
	else
		submit_slot(c, r);
}

void
store_cluster_submit(struct store_cluster *c, struct store_request *r)
{
	atomic_fetch_add(&c->waiting, 1);
	submit(c, r);
}

/* Nobody has that node yet: the thread opens it. */
static void
park(struct store_cluster *c, struct store_request *r, const struct store_address *to)
{
	struct parked *p = xcalloc(1, sizeof(*p));

	p->request = r;
	p->to = *to;
	pthread_mutex_lock(&c->mutex);
	p->next = c->parked;
	c->parked = p;
	pthread_cond_signal(&c->wake);
	pthread_mutex_unlock(&c->mutex);
}

/* A node's thread: r is to be asked elsewhere. */
static void
elsewhere(void *arg, struct store_node *from, struct store_request *r,
    const struct store_redirect *to)
{
	struct store_cluster *c = arg;

	if (to == NULL) {
		submit(c, r);
		return;
	}
	struct store_address address = to->to;
	if (address.ip[0] == '\0')
		memcpy(address.ip, store_node_address(from).ip, sizeof(address.ip));
	if (to->kind == STORE_MOVED)
		want_map(c);
	if (r->hops++ >= HOPS_MAX) {
		store_node_refuse(&c->conf, r);
		return;
	}
	r->asking = to->kind == STORE_ASK;
	pthread_rwlock_wrlock(&c->lock);
	struct member *m = member_at(c, &address);
	bool taken = m != NULL && store_node_submit(m->node, r);
	if (m != NULL && to->kind == STORE_MOVED)
		c->owner[to->slot] = m;
	if (m != NULL)
		m->used_ms = clock_mono_ms();
	pthread_rwlock_unlock(&c->lock);
	if (m == NULL)
		park(c, r, &address);
	else if (!taken)
		store_node_refuse(&c->conf, r);
}

static void
failed(void *arg)
{
	want_map(arg);
}

static const struct store_node_ops node_ops = { .elsewhere = elsewhere,
	.failed = failed };

int64_t
store_cluster_clock_offset(struct store_cluster *c)
{
	pthread_rwlock_rdlock(&c->lock);
	if (c->owner[0] != NULL)
		c->clock_offset = store_node_clock_offset(c->owner[0]->node);
	pthread_rwlock_unlock(&c->lock);
	return c->clock_offset;
}

/* --- the thread: members and the map --- */

/* Only the thread changes members, so it reads them without the lock. */
static struct member *
member_open(struct store_cluster *c, const struct store_address *a, struct err *err)
{
	char text[STORE_ADDRESS_TEXT];
	struct store_node_conf conf = c->conf;
	struct member *m = member_at(c, a);

	if (m != NULL)
		return m;
	if (c->n == STORE_NODES_MAX) {
		(void)err_set(err, "more than %d nodes", STORE_NODES_MAX);
		return NULL;
	}
	conf.name = xasprintf("redis node %s", store_address_format(a, text));
	struct store_node *node = store_node_open(&conf, a, err);
	free(conf.name);
	if (node == NULL)
		return NULL;
	m = xcalloc(1, sizeof(*m));
	m->node = node;
	m->address = *a;
	m->used_ms = clock_mono_ms();
	pthread_rwlock_wrlock(&c->lock);
	c->member[c->n++] = m;
	pthread_rwlock_unlock(&c->lock);
	return m;
}

/* Take out what neither the map names nor anybody uses; its thread may be asking for
 * the lock, so it ends after that was given back. */
static void
members_close_unused(struct store_cluster *c)
{
	struct member *gone[STORE_NODES_MAX];
	size_t n = 0, kept = 0;

	pthread_rwlock_wrlock(&c->lock);
	for (size_t i = 0; i < c->n; i++) {
		struct member *m = c->member[i];

		if (m->in_map || clock_mono_ms() - m->used_ms < UNUSED_MS)
			c->member[kept++] = m;
		else
			gone[n++] = m;
	}
	c->n = kept;
	for (size_t s = 0; s < STORE_SLOTS; s++)
		for (size_t i = 0; i < n; i++)
			if (c->owner[s] == gone[i])
				c->owner[s] = NULL;
	pthread_rwlock_unlock(&c->lock);
	for (size_t i = 0; i < n; i++) {
		store_node_close(gone[i]->node);
		free(gone[i]);
	}
}

/* 0 when this node told the map. */
static int
map_ask(const struct store_cluster *c, const struct store_address *a,
    struct store_slot_map *map, struct err *err)
{
	struct store_link_conf conf = c->conf.link;
	int64_t until = clock_mono_ms() +
	    (c->conf.deadline_ms < GUIDE_MS ? c->conf.deadline_ms : GUIDE_MS);
	char text[STORE_ADDRESS_TEXT];
	struct store_link link;
	struct store_command command;
	struct err why = { .text = "" };
	int rc = -1;

	conf.kind = STORE_LINK_GUIDE;
	if (store_link_open(&link, &conf, a, until, &why) == 0) {
		store_command_init(&command);
		store_command_add(&command, STR("CLUSTER"));
		store_command_add(&command, STR("SLOTS"));
		redisReply *reply = store_link_ask(&link, &command, until, &why);
		if (reply != NULL) {
			rc = store_slot_map_read(reply, a, map, &why);
			freeReplyObject(reply);
		}
		store_link_close(&link);
	}
	return rc == 0 ? 0
		       : err_set(err, "redis node %s: %s",
			     store_address_format(a, text), why.text);
}

static void
map_apply(struct store_cluster *c, const struct store_slot_map *map)
{
	struct member *member[STORE_NODES_MAX] = { NULL };
	struct err err;
	bool first = c->n == 0;

	for (size_t i = 0; i < map->n; i++) {
		member[i] = member_open(c, &map->node[i], &err);
		if (member[i] == NULL)
			log_err("store_down", &err);
	}
	/* Who asks at once after opening the store meets connections. */
	for (size_t i = 0; i < map->n && first; i++)
		if (member[i] != NULL)
			store_node_wait(member[i]->node);
	pthread_rwlock_wrlock(&c->lock);
	for (size_t i = 0; i < c->n; i++)
		c->member[i]->in_map = false;
	for (size_t i = 0; i < map->n; i++)
		if (member[i] != NULL)
			member[i]->in_map = true;
	for (size_t s = 0; s < STORE_SLOTS; s++)
		c->owner[s] = map->owner[s] == 0 ? NULL : member[map->owner[s] - 1];
	pthread_rwlock_unlock(&c->lock);
	members_close_unused(c);
}

/* A node of the map that is away may soon have a successor. */
static bool
all_up(const struct store_cluster *c)
{
	for (size_t i = 0; i < c->n; i++)
		if (c->member[i]->in_map && !store_node_up(c->member[i]->node))
			return false;
	return true;
}

/* Ask those that were in the map, then the seeds. */
static void
map_refresh(struct store_cluster *c)
{
	struct store_slot_map *map = xcalloc(1, sizeof(*map));
	struct err err = { .text = "" };
	size_t n = c->n;
	bool good = false;

	metric_add(&refreshes, 1);
	for (size_t i = 0; i < n + c->n_seeds && !good; i++) {
		const struct store_address *a =
		    i < n ? &c->member[i]->address : &c->seed[i - n];

		good = (i >= n || store_node_up(c->member[i]->node)) &&
		    map_ask(c, a, map, &err) == 0;
	}
	if (good)
		map_apply(c, map);
	else if (!c->told_down)
		log_err("store_down", &err);
	if (good && c->told_down)
		log_msg(LOG_LEVEL_WARN, "store_up", "the redis cluster tells its map again");
	c->told_down = !good;
	free(map);
	c->read_at = clock_mono_ms() + (good && all_up(c) ? PERIOD_MS : RETRY_MS);
}

/* Questions for nodes that only a redirection named. */
static void
unpark(struct store_cluster *c, struct parked *list)
{
	struct err err;

	while (list != NULL) {
		struct parked *p = list;
		struct member *m = member_open(c, &p->to, &err);

		list = p->next;
		if (m != NULL)
			store_node_wait(m->node);
		if (m == NULL || !store_node_submit(m->node, p->request))
			store_node_refuse(&c->conf, p->request);
		free(p);
	}
}

/* Until there is something to do; with the mutex held. */
static struct parked *
wait_for_work(struct store_cluster *c, int64_t last)
{
	for (;;) {
		int64_t at = c->wanted && last + REFRESH_MS < c->read_at
		    ? last + REFRESH_MS
		    : c->read_at;
		struct timespec until = { .tv_sec = (time_t)(at / 1000),
			.tv_nsec = (long)(at % 1000) * 1000000 };
		struct parked *list = c->parked;

		c->parked = NULL;
		if (list != NULL || c->stop || clock_mono_ms() >= at)
			return list;
		pthread_cond_timedwait(&c->wake, &c->mutex, &until);
	}
}

static void *
cluster_run(void *arg)
{
	struct store_cluster *c = arg;
	int64_t last = clock_mono_ms();

	pthread_mutex_lock(&c->mutex);
	for (;;) {
		struct parked *list = wait_for_work(c, last);
		int64_t now = clock_mono_ms();
		bool read = !c->stop &&
		    (now >= c->read_at || (c->wanted && now >= last + REFRESH_MS));

		if (list == NULL && c->stop)
			break;
		if (read)
			c->wanted = false;
		pthread_mutex_unlock(&c->mutex);
		unpark(c, list);
		if (read) {
			map_refresh(c);
			last = clock_mono_ms();
		}
		pthread_mutex_lock(&c->mutex);
	}
	pthread_mutex_unlock(&c->mutex);
	return NULL;
}

/* --- opening and closing --- */

static void
cluster_free(struct store_cluster *c)
{
	for (size_t i = 0; i < c->n; i++) {
		store_node_close(c->member[i]->node);
		free(c->member[i]);
	}
	pthread_cond_destroy(&c->wake);
	pthread_mutex_destroy(&c->mutex);
	pthread_rwlock_destroy(&c->lock);
	free(c);
}

struct store_cluster *
store_cluster_open(const struct store_node_conf *node,
    const struct store_address *seeds, size_t n_seeds, struct err *err)
{
	struct store_cluster *c = xcalloc(1, sizeof(*c));
	pthread_condattr_t attr;

	c->conf = *node;
	c->conf.link.kind = STORE_LINK_NODE;
	c->conf.waiting = &c->waiting;
	c->conf.ops = &node_ops;
	c->conf.arg = c;
	memcpy(c->seed, seeds, n_seeds * sizeof(*seeds));
	c->n_seeds = n_seeds;
	pthread_rwlock_init(&c->lock, NULL);
	pthread_mutex_init(&c->mutex, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&c->wake, &attr);
	pthread_condattr_destroy(&attr);
	map_refresh(c);
	if (pthread_create(&c->thread, NULL, cluster_run, c) == 0)
		return c;
	cluster_free(c);
	err_set(err, "cannot start a thread of the store");
	return NULL;
}

/* What was asked may still go from one node to the other: they end when all of it is
 * answered, which is by its deadline. */
void
store_cluster_close(struct store_cluster *c)
{
	if (c == NULL)
		return;
	while (atomic_load(&c->waiting) > 0)
		(void)poll(NULL, 0, 1);
	pthread_mutex_lock(&c->mutex);
	c->stop = true;
	pthread_cond_signal(&c->wake);
	pthread_mutex_unlock(&c->mutex);
	pthread_join(c->thread, NULL);
	/* The last question may be answered before the thread that passed it on has let go
	 * of the node it passed it to. */
	pthread_rwlock_wrlock(&c->lock);
	pthread_rwlock_unlock(&c->lock);
	cluster_free(c);
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* One batch of questions on one connection: sent in one round trip for each step,
 * replies taken in order, scripts sent whole where the server forgot them, questions
 * that another node of a cluster has handed on.  Commands are store_redis_script.c's,
 * replies store_redis_reply.c's, the connection store_redis_link.c's. */
#include "db/store_redis_node_private.h"

#include "common/base/metrics.h"
#include "db/store_redis_reply.h"

METRIC_COUNTER(trips, "postern_store_redis_round_trips_total", NULL,
    "Batches of commands sent to Redis");
METRIC_COUNTER(
    asked, "postern_store_redis_requests_total", NULL, "Questions sent to Redis");
METRIC_COUNTER(bad_values, "postern_store_redis_bad_values_total", NULL,
    "Values under our keys that could not be read and counted as absent");
#define ERRORS "postern_store_redis_errors_total"
#define ERRORS_HELP "Error replies of Redis, by class"
static struct metric errors[STORE_REPLIES] = {
	[STORE_REPLY_FULL] = { .name = ERRORS,
	    .labels = "class=\"full\"",
	    .help = ERRORS_HELP },
	[STORE_REPLY_REFUSED] = { .name = ERRORS,
	    .labels = "class=\"refused\"",
	    .help = ERRORS_HELP },
	[STORE_REPLY_AWAY] = { .name = ERRORS,
	    .labels = "class=\"away\"",
	    .help = ERRORS_HELP },
	[STORE_REPLY_NOSCRIPT] = { .name = ERRORS,
	    .labels = "class=\"noscript\"",
	    .help = ERRORS_HELP },
	[STORE_REPLY_BAD] = { .name = ERRORS,
	    .labels = "class=\"bad\"",
	    .help = ERRORS_HELP },
};

#define REDIRECTIONS "postern_store_redis_redirections_total"
#define REDIRECTIONS_HELP "Questions that another node of the cluster has, by kind"
static struct metric redirections[STORE_REDIRECTS] = {
	[STORE_MOVED] = { .name = REDIRECTIONS,
	    .labels = "kind=\"moved\"",
	    .help = REDIRECTIONS_HELP },
	[STORE_ASK] = { .name = REDIRECTIONS,
	    .labels = "kind=\"ask\"",
	    .help = REDIRECTIONS_HELP },
	[STORE_TRYAGAIN] = { .name = REDIRECTIONS,
	    .labels = "kind=\"tryagain\"",
	    .help = REDIRECTIONS_HELP },
};

static enum store_state
state_of(enum store_reply reply)
{
	return reply == STORE_REPLY_OK  ? STORE_OK
	    : reply == STORE_REPLY_FULL ? STORE_FULL
					: STORE_DOWN;
}

/* Who of those that wait is due first; n: nobody. */
static size_t
next_due(const struct store_batch *b, size_t *others)
{
	size_t due = b->n;

	*others = 0;
	for (size_t i = 0; i < b->n; i++) {
		if (b->r[i] == NULL)
			continue;
		if (due < b->n)
			++*others;
		if (due == b->n || b->r[i]->asked_ms < b->r[due]->asked_ms)
			due = i;
	}
	return due;
}

/* The next reply.  While it is awaited questions reach their deadlines and are answered
 * without it.  The last one stays for the caller, who gives the server up first: who
 * asks after that answer must not wait again. */
static int
await(struct store_worker *w, struct store_batch *b, redisReply **reply, struct err *err)
{
	struct store_node *n = w->node;

	for (;;) {
		size_t others, due = next_due(b, &others);
		int64_t until = due == b->n
		    ? b->until
		    : store_node_deadline(&n->conf, b->r[due]);
		int rc = store_link_next(&w->link, until, reply, err);

		b->broken = rc < 0;
		if (rc != 0)
			return rc;
		metric_add(&store_node_timeouts, 1);
		if (due == b->n || others == 0)
			break;
		store_node_settle(n, &b->r[due], STORE_DOWN);
	}
	return err_set(
	    err, "no answer within %lld ms", (long long)n->conf.deadline_ms);
}

/* A walk that is through with a node of a cluster goes on at the next one. */
static void
walk_on(struct store_chunk *chunk, uint32_t node)
{
	if (!chunk->more)
		chunk->next = (struct store_cursor){ .node = node + 1 };
	chunk->more = true;
}

/* Read into r what the server says of its present step. */
static enum store_reply
read_answer(const struct store_node *n, struct store_request *r,
    const redisReply *reply, uint64_t *bad)
{
	struct store_stats before = r->answer.stats;
	struct event_answer event;
	enum store_reply class;

	if (r->voiding) {
		class = store_reply_event(reply, &event, bad);
		if (class == STORE_REPLY_OK)
			r->voided = event.last;
		return class;
	}
	class = store_reply_answer(
	    reply, n->conf.link.prefix, n->conf.link.database, r, bad);
	if (r->op == STORE_STATS && class == STORE_REPLY_OK) { /* one of several */
		r->answer.stats.entries += before.entries;
		r->answer.stats.bytes += before.bytes;
		r->answer.stats.size_max += before.size_max;
	}
	if (r->op == STORE_SCAN && class == STORE_REPLY_OK && n->conf.ops != NULL &&
	    n->conf.ops->elsewhere != NULL)
		walk_on(&r->answer.chunk, r->cursor.node);
	return class;
}

void
store_node_command(struct store_command *c, const char *prefix, const char *digest,
    const struct store_request *r)
{
	store_command_init(c);
	if (r->voiding) {
		store_command_script(c, STORE_SCRIPT_EVENT, digest);
		store_request_voiding(c, prefix, r);
	} else if (!store_request_plain(c, prefix, r)) {
		store_command_script(c, store_request_script(r), digest);
		store_request_args(c, prefix, r, r->voided);
	}
}

static int
send_one(struct store_worker *w, const struct store_request *r, bool whole)
{
	const char *digest = "";
	struct store_command c;

	if (r->asking) { /* a slot that is on its way to this server */
		store_command_init(&c);
		store_command_add(&c, STR("ASKING"));
		if (store_link_send(&w->link, &c) != 0)
			return -1;
	}
	enum store_script script =
	    r->voiding ? STORE_SCRIPT_EVENT : store_request_script(r);
	if (!whole && script < STORE_SCRIPTS) /* else it is a plain command */
		digest = w->link.digest[script];
	store_node_command(&c, w->node->conf.link.prefix, digest, r);
	return store_link_send(&w->link, &c);
}

/* Another server has it, or will have.  Asked again here, later, when it is between
 * two. */
static void
redirected(struct store_worker *w, struct store_batch *b, size_t i, const struct store_redirect *to)
{
	struct store_node *n = w->node;
	struct store_request *r = b->r[i];

	metric_add(&redirections[to->kind], 1);
	if (to->kind == STORE_TRYAGAIN)
		return;
	b->r[i] = NULL;
	r->asking = false;
	n->conf.ops->elsewhere(n->conf.arg, n, r, to);
}

/* The present step of r has its answer. */
static void
stepped(struct store_worker *w, struct store_batch *b, size_t i, enum store_reply class)
{
	struct store_node *n = w->node;
	struct store_request *r = b->r[i];
	bool more = class == STORE_REPLY_OK && (r->voiding || r->op == STORE_STATS);

	r->asking = false;
	if (more && r->voiding)
		r->voiding = false;
	else if (class != STORE_REPLY_OK || n->conf.ops == NULL ||
	    n->conf.ops->elsewhere == NULL || r->op != STORE_STATS)
		store_node_settle(n, &b->r[i], state_of(class));
	if (!more || b->r[i] == NULL || n->conf.ops == NULL ||
	    n->conf.ops->elsewhere == NULL)
		return; /* done, or asked here again */
	b->r[i] = NULL;
	n->conf.ops->elsewhere(n->conf.arg, n, r, NULL);
}

/* What one reply does to its question.  -1: the server is not the one. */
static int
take(struct store_worker *w, struct store_batch *b, size_t i, const redisReply *reply, bool *again,
    struct err *err)
{
	const struct store_node_ops *ops = w->node->conf.ops;
	struct store_redirect to;
	uint64_t bad = 0;
	enum store_reply class = store_reply_class(reply);

	if (class == STORE_REPLY_AWAY && ops != NULL && ops->elsewhere != NULL &&
	    store_redirect_read(reply, &to)) {
		if (b->r[i] != NULL)
			redirected(w, b, i, &to);
		return 0;
	}
	if (b->r[i] != NULL) /* else its deadline came first */
		class = read_answer(w->node, b->r[i], reply, &bad);
	metric_add(&bad_values, bad);
	if (class != STORE_REPLY_OK)
		metric_add(&errors[class], 1);
	if (class == STORE_REPLY_NOSCRIPT && again != NULL) {
		*again = true;
		return 0;
	}
	if (class == STORE_REPLY_AWAY)
		return err_set(err, "%.*s", (int)(reply->len < 200 ? reply->len : 200),
		    reply->str);
	if (b->r[i] != NULL)
		stepped(w, b, i, class);
	return 0;
}

/* Take the replies to one of the list. */
static int
take_replies(struct store_worker *w, struct store_batch *b, size_t i, bool asking, bool *again,
    struct err *err)
{
	redisReply *reply;

	if (asking) {
		if (await(w, b, &reply, err) != 1)
			return -1;
		freeReplyObject(reply);
	}
	if (await(w, b, &reply, err) != 1)
		return -1;
	int rc = take(w, b, i, reply, again, err);
	freeReplyObject(reply);
	return rc;
}

/* Send to those of the list, take the replies.  again: for whom the server has
 * forgotten the script; NULL: the whole text is sent. */
static int
round_trip(struct store_worker *w, struct store_batch *b, const size_t *list, size_t n, bool *again,
    struct err *err)
{
	bool asking[STORE_BATCH_MAX];
	int rc = 0;

	for (size_t i = 0; i < n; i++) {
		asking[i] = b->r[list[i]]->asking;
		if (send_one(w, b->r[list[i]], again == NULL) != 0)
			return err_set(err, "%s", w->link.c->errstr);
		metric_add(&asked, 1);
	}
	if (n > 0)
		metric_add(&trips, 1);
	for (size_t i = 0; i < n && rc == 0; i++)
		rc = take_replies(w, b, list[i], asking[i],
		    again == NULL ? NULL : &again[list[i]], err);
	return rc;
}

/* One step of all that are at it. */
static int
run_step(struct store_worker *w, struct store_batch *b, bool voiding, struct err *err)
{
	bool again[STORE_BATCH_MAX] = { false };
	size_t list[STORE_BATCH_MAX] = { 0 }, n = 0, n_again = 0;

	for (size_t i = 0; i < b->n; i++)
		if (b->r[i] != NULL && b->r[i]->voiding == voiding)
			list[n++] = i;
	if (round_trip(w, b, list, n, again, err) != 0)
		return -1;
	for (size_t i = 0; i < n; i++)
		if (again[list[i]] && b->r[list[i]] != NULL)
			list[n_again++] = list[i];
	return round_trip(w, b, list, n_again, NULL, err);
}

static int
connected(struct store_worker *w, const struct store_batch *b, struct err *err)
{
	struct store_node *n = w->node;
	size_t others;

	if (w->link.c != NULL)
		return 0;
	if (next_due(b, &others) == b->n)
		return err_set(err, "nobody waits any more");
	struct store_address a = store_node_address(n);
	return store_link_open(&w->link, &n->conf.link, &a, b->until, err);
}

int
store_batch_try(struct store_worker *w, struct store_batch *b, struct err *err)
{
	if (w->link.c != NULL && store_link_stale(&w->link))
		store_link_close(&w->link);
	bool used = w->link.c != NULL;
	b->broken = false;
	if (connected(w, b, err) == 0 && run_step(w, b, true, err) == 0 &&
	    run_step(w, b, false, err) == 0)
		return 0;
	store_link_close(&w->link);
	return used && b->broken ? 1 : -1;
}

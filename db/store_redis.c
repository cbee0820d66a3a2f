/* SPDX-License-Identifier: BSD-2-Clause */
/* The Redis engine: which servers there are (one; the master that sentinels name; a
 * cluster) and how they are asked, from the settings.  Asking them is
 * store_redis_node.c's, finding them store_redis_sentinel.c's and
 * store_redis_cluster.c's. */
#include "db/store_redis.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/xalloc.h"
#include "db/store_private.h"
#include "db/store_redis_cluster.h"
#include "db/store_redis_node.h"
#include "db/store_redis_sentinel.h"

#define PASSWORD_MAX 512
#define DEADLINE_MAX_MS 60000

struct engine {
	struct store_node *node; /* of one server, or the master; else NULL */
	struct store_cluster *cluster; /* else NULL */
	struct store_sentinel_conf sentinel; /* n 0: not used */
	struct store_address address[STORE_SEEDS_MAX]; /* one server, or seeds */
	char *user, *password, *prefix, *name;
	char *master, *sentinel_user, *sentinel_password;
};

/* A single server is where the settings say; a master is where a sentinel says. */
static int
locate(void *arg, size_t turn, struct store_address *out, struct err *err)
{
	struct engine *e = arg;

	return store_sentinel_ask(&e->sentinel, turn, out, err);
}

static const struct store_node_ops master_ops = { .locate = locate };

static void
engine_submit(void *engine, struct store_request *r)
{
	struct engine *e = engine;

	r->voiding = r->op == STORE_GREYLIST && r->void_by[0].len > 0;
	if (e->cluster != NULL)
		store_cluster_submit(e->cluster, r);
	else if (!store_node_submit(e->node, r))
		store_node_refuse(store_node_conf(e->node), r);
}

static int64_t
clock_offset(void *engine)
{
	struct engine *e = engine;

	return e->cluster != NULL ? store_cluster_clock_offset(e->cluster)
				  : store_node_clock_offset(e->node);
}

/* --- opening and closing --- */

static void
secret_free(char *secret)
{
	if (secret != NULL)
		explicit_bzero(secret, strlen(secret));
	free(secret);
}

static void
engine_close(void *engine)
{
	struct engine *e = engine;

	store_node_close(e->node);
	store_cluster_close(e->cluster);
	secret_free(e->password);
	secret_free(e->sentinel_password);
	free(e->user);
	free(e->sentinel_user);
	free(e->master);
	free(e->prefix);
	free(e->name);
	free(e);
}

/* The first line of the file; an empty one is a mistake. */
static char *
password_read(const char *file, struct err *err)
{
	char text[PASSWORD_MAX + 2];
	int fd = open(file, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text));
	char *password = NULL;

	if (n < 0)
		err_errno(err, "cannot read %s", file);
	if (fd >= 0)
		(void)close(fd);
	if (n < 0)
		return NULL;
	struct str all = { text, (size_t)n }, line = { 0 };
	(void)str_cut(&all, '\n', &line);
	line = str_trim(line);
	if (line.len == 0 || line.len > PASSWORD_MAX || str_has(line, '\0'))
		err_set(err,
		    "%s: expected a password of 1 to %d octets in its first line", file,
		    PASSWORD_MAX);
	else
		password = str_dup(line);
	explicit_bzero(text, sizeof(text));
	return password;
}

static char *
secret_of(const char *file, struct err *err)
{
	return file == NULL || file[0] == '\0' ? xstrdup("") : password_read(file, err);
}

/* The numbers and words of every form. */
static int
check_conf(const struct store_conf *conf, struct err *err)
{
	if (conf->connections < 1 || conf->connections > STORE_CONNECTIONS_MAX)
		return err_set(err, "%lld connections, expected 1 to %d",
		    (long long)conf->connections, STORE_CONNECTIONS_MAX);
	if (!store_prefix_good(str_of(conf->prefix)))
		return err_set(err, "bad prefix of keys, expected letters and digits");
	if (conf->database < 0 || conf->database > STORE_DATABASE_MAX)
		return err_set(err, "database %lld, expected 0 to %d",
		    (long long)conf->database, STORE_DATABASE_MAX);
	if (conf->deadline_ms < 1 || conf->deadline_ms > DEADLINE_MAX_MS)
		return err_set(err, "deadline %lld ms, expected 1 to %d",
		    (long long)conf->deadline_ms, DEADLINE_MAX_MS);
	if (conf->n_sentinels > 0 && conf->n_cluster > 0)
		return err_set(err, "sentinels and a cluster, expected one of them");
	if (conf->n_sentinels > 0 && str_of(conf->master).len == 0)
		return err_set(err, "sentinels without the name of a master");
	if (conf->n_cluster > 0 && conf->database != 0)
		return err_set(err, "a cluster has no database but 0");
	return 0;
}

static int
addresses_read(const char *const *list, size_t n, size_t max, struct store_address *out,
    struct err *err)
{
	if (n > max)
		return err_set(err, "%zu addresses, expected at most %zu", n, max);
	for (size_t i = 0; i < n; i++) {
		struct str s = str_of(list[i]);

		if (!store_address_parse(s, &out[i]))
			return err_set(err,
			    "\"%.*s\" is no address of a Redis server: expected "
			    "unix:/path, 192.0.2.1:6379 or [2001:db8::1]:6379",
			    (int)(s.len < 100 ? s.len : 100), s.p);
	}
	return 0;
}

static int
conf_read(struct engine *e, const struct store_conf *conf, struct err *err)
{
	const char *address = conf->address == NULL ? "" : conf->address;
	bool one = conf->n_sentinels == 0 && conf->n_cluster == 0;

	if (check_conf(conf, err) != 0 ||
	    (one && addresses_read(&address, 1, 1, e->address, err) != 0) ||
	    addresses_read(conf->sentinels, conf->n_sentinels, STORE_SENTINELS_MAX,
		e->sentinel.sentinel, err) != 0 ||
	    (conf->n_cluster > 0 &&
		addresses_read(conf->cluster, conf->n_cluster, STORE_SEEDS_MAX,
		    e->address, err) != 0))
		return -1;
	e->user = str_dup(str_of(conf->user));
	e->prefix = str_dup(str_of(conf->prefix));
	e->master = str_dup(str_of(conf->master));
	e->sentinel_user = str_dup(str_of(conf->sentinel_user));
	e->name = conf->n_sentinels > 0 ? xasprintf("redis master %s", e->master)
					: xasprintf("redis %s", address);
	e->password = secret_of(conf->password_file, err);
	if (e->password == NULL)
		return -1;
	e->sentinel_password = secret_of(conf->sentinel_password_file, err);
	if (e->sentinel_password == NULL)
		return -1;
	e->sentinel.n = conf->n_sentinels;
	e->sentinel.master = e->master;
	e->sentinel.user = e->sentinel_user;
	e->sentinel.password = e->sentinel_password;
	e->sentinel.deadline_ms = conf->deadline_ms;
	return 0;
}

static int
start(struct engine *e, const struct store_conf *conf, struct err *err)
{
	struct store_node_conf node = { .link = { .kind = STORE_LINK_SERVER,
					    .user = e->user,
					    .password = e->password,
					    .prefix = e->prefix,
					    .database = conf->database },
		.name = e->name,
		.deadline_ms = conf->deadline_ms,
		.connections = (size_t)conf->connections,
		.wall_us = conf->wall_us == NULL ? clock_wall_us : conf->wall_us };

	if (conf->n_cluster > 0) {
		e->cluster =
		    store_cluster_open(&node, e->address, conf->n_cluster, err);
		return e->cluster == NULL ? -1 : 0;
	}
	if (conf->n_sentinels > 0) {
		node.link.kind = STORE_LINK_MASTER;
		node.ops = &master_ops;
		node.arg = e;
	}
	e->node = store_node_open(&node, e->address, err);
	if (e->node == NULL)
		return -1;
	/* Who asks at once after this meets a connection, if there is a server. */
	store_node_wait(e->node);
	return 0;
}

static void *
engine_open(const struct store_conf *conf, struct err *err)
{
	struct engine *e = xcalloc(1, sizeof(*e));

	if (conf_read(e, conf, err) == 0 && start(e, conf, err) == 0)
		return e;
	engine_close(e);
	return NULL;
}

const struct store_engine store_redis = {
	.name = "redis",
	.open = engine_open,
	.close = engine_close,
	.submit = engine_submit,
	.clock_offset = clock_offset,
};

/* SPDX-License-Identifier: BSD-2-Clause */
/* The server and the go-between of redis_rig.h. */
#include "tests/lib/redis_rig.h"

#include <ftw.h>
#include <poll.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <check.h>
#include <hiredis/hiredis.h>

#include "common/base/buf.h"
#include "common/base/clock.h"
#include "common/base/metrics.h"
#include "common/base/xalloc.h"
#include "tests/lib/store_rig.h"

#define START_MS 20000
#define PEERS_MAX 32

static char program[512], libraries[600]; /* set by rig_server_missing() */

const char *
rig_server_missing(void)
{
	const char *named = getenv("POSTERN_REDIS_SERVER");
	static char why[300] = "tests/lib/peers.sh redis: no reason given";
	char tree[400] = "";

	if (named != NULL) {
		snprintf(program, sizeof(program), "%s", named);
		return access(program, X_OK) == 0
		    ? NULL
		    : "POSTERN_REDIS_SERVER is no program";
	}
	FILE *p = popen("tests/lib/peers.sh redis 2>&1", "r");
	if (p == NULL || fgets(tree, sizeof(tree), p) == NULL)
		tree[0] = '\0';
	int status = p == NULL ? -1 : pclose(p);
	tree[strcspn(tree, "\n")] = '\0';
	snprintf(program, sizeof(program), "%s/usr/bin/redis-server", tree);
	snprintf(libraries, sizeof(libraries), "%s/usr/lib/%s-linux-gnu", tree,
#if defined(__aarch64__)
	    "aarch64"
#else
	    "x86_64"
#endif
	);
	if (status == 0 && access(program, X_OK) == 0)
		return NULL;
	if (tree[0] != '\0')
		snprintf(why, sizeof(why), "%.250s", tree);
	return why;
}

int
rig_server_skip(const char *why)
{
	const char *name = getenv("CK_TAP_LOG_FILE_NAME");
	FILE *f = name == NULL ? stdout : fopen(name, "w");

	if (f == NULL)
		return EXIT_FAILURE;
	fprintf(f, "1..0 # SKIP no redis-server: %s\n", why);
	return fflush(f) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* No assertions here: Check allows them only while a test runs. */
int
rig_server_up(struct rig_server *s, const char *options)
{
	const char *tmp = getenv("TMPDIR");

	*s = (struct rig_server){ .pid = 0, .sentinel = s->sentinel };
	/* A socket's path holds 107 octets. */
	if (tmp == NULL || strlen(tmp) > sizeof(s->dir) - sizeof("/redis-XXXXXX"))
		tmp = "/tmp";
	snprintf(s->dir, sizeof(s->dir), "%s/redis-XXXXXX", tmp);
	if (mkdtemp(s->dir) == NULL)
		return -1;
	snprintf(s->socket, sizeof(s->socket), "%s/redis.sock", s->dir);
	return options == NULL ? 0 : rig_server_run(s, options);
}

static int
conf_write(const struct rig_server *s, const char *name, const char *options)
{
	FILE *f = fopen(name, "w");

	if (f == NULL)
		return -1;
	fprintf(f,
	    "port 0\nunixsocket %s\nunixsocketperm 700\nsave \"\"\nappendonly no\n"
	    "daemonize no\ndir %s\nlogfile %s/log\n%s\n",
	    s->socket, s->dir, s->dir, options);
	return fclose(f);
}

static bool
answers(const struct rig_server *s)
{
	redisContext *c = redisConnectUnix(s->socket);
	redisReply *r = c == NULL || c->err != 0 ? NULL : redisCommand(c, "PING");
	bool good = r != NULL;

	if (r != NULL)
		freeReplyObject(r);
	if (c != NULL)
		redisFree(c);
	return good;
}

#define PORTS_MAX 16

/* All are bound before any is given back. */
int
rig_ports(unsigned *out, int n)
{
	int fd[PORTS_MAX], rc = 0;

	for (int i = 0; i < n && i < PORTS_MAX; i++) {
		struct sockaddr_in sin = { .sin_family = AF_INET,
			.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
		socklen_t len = sizeof(sin);

		fd[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (fd[i] < 0 || bind(fd[i], (struct sockaddr *)&sin, sizeof(sin)) != 0 ||
		    getsockname(fd[i], (struct sockaddr *)&sin, &len) != 0)
			rc = -1;
		out[i] = ntohs(sin.sin_port);
	}
	for (int i = 0; i < n && i < PORTS_MAX; i++)
		if (fd[i] >= 0)
			close(fd[i]);
	return n <= PORTS_MAX ? rc : -1;
}

unsigned
rig_port(void)
{
	unsigned port;

	return rig_ports(&port, 1) == 0 ? port : 0;
}

int
rig_server_run(struct rig_server *s, const char *options)
{
	char *conf = xasprintf("%s/redis.conf", s->dir);
	char *libs = xasprintf("LD_LIBRARY_PATH=%s", libraries);
	char sentinel[] = "--sentinel";
	char *argv[] = { program, conf, s->sentinel ? sentinel : NULL, NULL };
	char *env[] = { libs, NULL };
	int64_t until = clock_mono_ms() + START_MS;
	pid_t parent = getpid();
	int rc = conf_write(s, conf, options);

	s->pid = rc == 0 ? fork() : -1;
	if (s->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() == parent)
			execve(program, argv, env);
		_exit(127);
	}
	free(libs);
	free(conf);
	if (s->pid < 0)
		return -1;
	while (!answers(s)) {
		if (waitpid(s->pid, NULL, WNOHANG) != 0 || clock_mono_ms() > until)
			return -1;
		poll(NULL, 0, 5);
	}
	return 0;
}

void
rig_server_place(struct rig_server *s)
{
	ck_assert(rig_server_up(s, NULL) == 0);
}

void
rig_server_start(struct rig_server *s, const char *options)
{
	ck_assert_msg(rig_server_run(s, options == NULL ? "" : options) == 0,
	    "redis-server does not run");
}

void
rig_server_signal(const struct rig_server *s, int sig)
{
	ck_assert(s->pid > 0 && kill(s->pid, sig) == 0);
}

void
rig_server_kill(struct rig_server *s)
{
	if (s->pid > 0) {
		(void)kill(s->pid, SIGKILL);
		(void)waitpid(s->pid, NULL, 0);
	}
	s->pid = 0;
	(void)unlink(s->socket);
}

static int
remove_one(const char *name, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	return remove(name);
}

void
rig_server_remove(struct rig_server *s)
{
	rig_server_kill(s);
	(void)nftw(s->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static redisContext *
connected(const struct rig_server *s)
{
	redisContext *c = redisConnectUnix(s->socket);

	ck_assert_msg(c != NULL && c->err == 0, "cannot connect to %s", s->socket);
	return c;
}

const char *
rig_server_ask(const struct rig_server *s, const char *command)
{
	static char text[400];
	redisContext *c = connected(s);
	redisReply *r = redisCommand(c, command);

	ck_assert_msg(r != NULL, "%s: %s", command, c->errstr);
	if (r->type == REDIS_REPLY_INTEGER)
		snprintf(text, sizeof(text), "%lld", r->integer);
	else if (r->type == REDIS_REPLY_ARRAY)
		snprintf(text, sizeof(text), "%zu", r->elements);
	else
		snprintf(text, sizeof(text), "%s%.*s",
		    r->type == REDIS_REPLY_ERROR ? "-" : "",
		    (int)(r->len < 390 ? r->len : 390), r->str == NULL ? "" : r->str);
	freeReplyObject(r);
	redisFree(c);
	return text;
}

void
rig_server_set(
    const struct rig_server *s, const char *key, const void *value, size_t len)
{
	redisContext *c = connected(s);
	redisReply *r = redisCommand(c, "SET %s %b", key, value, len);

	ck_assert(r != NULL && r->type == REDIS_REPLY_STATUS);
	freeReplyObject(r);
	redisFree(c);
}

struct store_conf
rig_server_conf(const struct rig_server *s)
{
	return (struct store_conf){ .engine = "redis",
		.address = s->socket,
		.prefix = "postern",
		.connections = 2,
		.deadline_ms = 100 };
}

/* --- counting --- */

static struct buf page_before; /* metrics as the test found them */

static uint64_t
counted_on(struct str page, const char *name)
{
	struct str line;
	uint64_t n, sum = 0;

	while (str_cut(&page, '\n', &line)) {
		ptrdiff_t blank = str_rindex(line, ' ');

		if (str_starts(line, str_of(name)) && blank > 0 &&
		    str_to_uint(
			str_sub(line, (size_t)blank + 1, line.len), 0, UINT64_MAX, &n))
			sum += n;
	}
	return sum;
}

/* What this test added to a counter, over all its labels. */
uint64_t
rig_counted(const char *name)
{
	struct buf page;

	buf_init(&page, 1 << 20);
	metrics_render(&page);
	uint64_t n =
	    counted_on(buf_str(&page), name) - counted_on(buf_str(&page_before), name);
	buf_clear(&page);
	return n;
}

void
rig_counters_new(void)
{
	buf_init(&page_before, 1 << 20);
	metrics_render(&page_before);
}

void
rig_counters_remove(void)
{
	buf_clear(&page_before);
}

struct rate_answer
rig_ask(struct store *s, const char *name, int64_t *took_ms)
{
	int64_t begin = clock_mono_ms();
	struct rate_answer a =
	    rig_rate_of(store_rate_add(s, str_of(name), 1, 1000000, 0, 1, RIG_T0));

	if (took_ms != NULL)
		*took_ms = clock_mono_ms() - begin;
	return a;
}

/* --- the go-between --- */

struct pair {
	int client, server; /* -1: free */
};

static int
dial(const char *path)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(sun.sun_path, sizeof(sun.sun_path), "%s", path);
	if (connect(fd, (struct sockaddr *)&sun, sizeof(sun)) == 0)
		return fd;
	close(fd);
	return -1;
}

static void
pair_close(struct pair *p)
{
	if (p->client >= 0)
		close(p->client);
	if (p->server >= 0)
		close(p->server);
	*p = (struct pair){ -1, -1 };
}

/* Hand on what came; false: that was the end. */
static bool
forward(int from, int to)
{
	char octets[65536];
	ssize_t n = recv(from, octets, sizeof(octets), 0);

	return n > 0 && (to < 0 || send(to, octets, (size_t)n, MSG_NOSIGNAL) == n);
}

static void
pair_new(struct rig_between *b, struct pair *pairs)
{
	int fd = accept4(b->listener, NULL, NULL, SOCK_CLOEXEC);
	int i = 0;

	while (i < PEERS_MAX && pairs[i].client >= 0)
		i++;
	if (fd < 0 || i == PEERS_MAX) {
		if (fd >= 0)
			close(fd);
		return;
	}
	pairs[i] = (struct pair){ fd, b->to == NULL ? -1 : dial(b->to) };
	if (b->to == NULL)
		(void)!send(fd, b->says, b->says_len, MSG_NOSIGNAL | MSG_DONTWAIT);
	else if (pairs[i].server < 0)
		pair_close(&pairs[i]);
}

static void
pairs_serve(struct rig_between *b, struct pair *pairs, const struct pollfd *p)
{
	for (int i = 0; i < PEERS_MAX; i++) {
		const struct pollfd *client = &p[2 + 2 * i], *server = client + 1;
		bool on = true;

		if (client->fd >= 0 && client->revents != 0)
			on = forward(pairs[i].client, pairs[i].server);
		if (on && server->fd >= 0 && server->revents != 0) {
			poll(NULL, 0, b->delay_ms);
			bool cut = b->cuts > 0;
			if (cut) /* the test may set it once it has its answer */
				b->cuts--;
			on = !cut && forward(pairs[i].server, pairs[i].client);
		}
		if (!on)
			pair_close(&pairs[i]);
	}
}

static void *
between_run(void *arg)
{
	struct rig_between *b = arg;
	struct pair pairs[PEERS_MAX];
	struct pollfd p[2 + 2 * PEERS_MAX];

	for (int i = 0; i < PEERS_MAX; i++)
		pairs[i] = (struct pair){ -1, -1 };
	for (;;) {
		p[0] = (struct pollfd){ .fd = b->stop[0], .events = POLLIN };
		p[1] = (struct pollfd){ .fd = b->listener, .events = POLLIN };
		for (int i = 0; i < PEERS_MAX; i++) {
			p[2 + 2 * i] = (struct pollfd){ pairs[i].client, POLLIN, 0 };
			p[3 + 2 * i] = (struct pollfd){ pairs[i].server, POLLIN, 0 };
		}
		if (poll(p, 2 + 2 * PEERS_MAX, -1) <= 0)
			continue;
		if (p[0].revents != 0)
			break;
		pairs_serve(b, pairs, p);
		if (p[1].revents != 0)
			pair_new(b, pairs);
	}
	for (int i = 0; i < PEERS_MAX; i++)
		pair_close(&pairs[i]);
	return NULL;
}

void
rig_between_start(struct rig_between *b, const char *dir)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };

	snprintf(b->path, sizeof(b->path), "%s/between.sock", dir);
	snprintf(sun.sun_path, sizeof(sun.sun_path), "%s", b->path);
	b->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert(bind(b->listener, (struct sockaddr *)&sun, sizeof(sun)) == 0);
	ck_assert(listen(b->listener, 16) == 0);
	ck_assert(pipe(b->stop) == 0);
	ck_assert(pthread_create(&b->thread, NULL, between_run, b) == 0);
}

void
rig_between_stop(struct rig_between *b)
{
	close(b->stop[1]);
	pthread_join(b->thread, NULL);
	close(b->stop[0]);
	close(b->listener);
	(void)unlink(b->path);
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* postern-greylist on a Redis server of this host against that server alone: recipients
 * judged per second through the milter protocol, and the bare rate of EVALSHA of the
 * script that judges, over the same UNIX socket, with as many connections that each wait
 * for every answer.  Messages have ten recipients each.  Both sides are driven by one thread.  All triples are new, which is
 * what costs most.  With one connection the milter's times are what RCPT takes longer. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/xalloc.h"
#include "db/store_redis_link.h"
#include "policy/greylist_outcome.h"
#include "tests/lib/dnsd.h"
#include "tests/lib/mta.h"
#include "tests/lib/redis_rig.h"

#define RUN_MS 2000
#define ROUNDS 3
#define RCPTS 10 /* of a message: its store time is bounded */
#define LINKS_MAX 64
#define SAMPLES_MAX 1000000

/* One connection that asks, waits for the answer, and asks again. */
struct link {
	int fd;
	struct mta mta; /* of the milter */
	struct buf in, out;
	int64_t asked_us;
	unsigned rcpts; /* of the message under way */
	bool at_mail; /* what is awaited is the answer to MAIL */
};

struct side {
	struct link link[LINKS_MAX];
	void (*ask)(struct link *l, unsigned n); /* the nth question into l->out */
	/* Octets of the answer at the beginning of l->in; 0: not complete. */
	size_t (*answer)(const struct link *l);
};

static unsigned asked; /* so that no two triples are alike */
static struct store_link_conf redis_conf;
static char digest[41];

static void
die(const char *what)
{
	fprintf(stderr, "bench_greylist: %s\n", what);
	exit(1);
}

/* ---- the milter ---- */

static void
ask_mail(struct link *l)
{
	const struct str macros[] = { STR("i"), STR("Q1") };
	const struct str path = STR("<sender@somewhere.example>");

	milter_packet_write(&l->out, MILTER_ABORT, STR(""));
	milter_macros_write(&l->out, MILTER_MAIL, macros, 1);
	milter_strings_write(&l->out, MILTER_MAIL, &path, 1);
	l->rcpts = 0;
}

static void
ask_milter(struct link *l, unsigned n)
{
	char rcpt[80];

	l->at_mail = !l->at_mail && l->rcpts == RCPTS;
	if (l->at_mail) {
		ask_mail(l);
		return;
	}
	l->rcpts++;
	const struct str macros[] = { STR("i"), STR("Q1"), STR("{rcpt_mailer}"),
		STR("esmtp"), STR("{rcpt_host}"), STR("local.example"),
		STR("{rcpt_addr}"), { rcpt + 1, 0 } };
	struct str pairs[8];
	int len = snprintf(rcpt, sizeof(rcpt), "<recipient%u@local.example>", n);

	memcpy(pairs, macros, sizeof(pairs));
	pairs[7].len = (size_t)len - 2;
	milter_macros_write(&l->out, MILTER_RCPT, pairs, 4);
	const struct str path = { rcpt, (size_t)len };
	milter_strings_write(&l->out, MILTER_RCPT, &path, 1);
}

static size_t
answer_milter(const struct link *l)
{
	struct milter_packet p;
	struct err err;
	size_t used;
	enum parse got =
	    milter_packet_read(buf_str(&l->in), MILTER_PACKET_MAX, &p, &used, &err);

	if (got == PARSE_MORE)
		return 0;
	if (got == PARSE_ERROR ||
	    p.cmd != (l->at_mail ? MILTER_R_CONTINUE : MILTER_R_REPLYCODE))
		die("a recipient was not deferred");
	return used;
}

static void
open_milter(struct link *l, const char *spec, int i)
{
	char ip[40], sender[60];
	struct err err;

	snprintf(ip, sizeof(ip), "198.51.%d.1", i);
	snprintf(sender, sizeof(sender), "<sender%d@somewhere.example>", i);
	if (mta_connect(&l->mta, spec, &err) != 0 ||
	    mta_negotiate(&l->mta, MILTER_F_ALL, MILTER_P_ALL, &err) != 0 ||
	    mta_client(&l->mta, "mx.somewhere.example", ip, &err) != 0 ||
	    mta_helo(&l->mta, "mx.somewhere.example", &err) != 0 ||
	    mta_mail(&l->mta, sender, &err) != 0)
		die(err.text);
	l->fd = l->mta.fd;
}

/* ---- the server alone ---- */

static void
ask_redis(struct link *l, unsigned n)
{
	struct store_command c;
	char key[160];
	char *text;
	int len = snprintf(key, sizeof(key),
	    "n198.51.%u.0/24 sender@somewhere.example recipient%u@local.example", n % 64, n);
	struct store_request r = { .op = STORE_GREYLIST,
		.now = 1800000000,
		.client = STR("n198.51.100.0/24"),
		.key = { key, (size_t)len },
		.times = { 300, 172800, 3024000, 5, 3024000, 0 } };

	store_command_init(&c);
	store_command_script(&c, STORE_SCRIPT_GREYLIST, digest);
	store_request_args(&c, redis_conf.prefix, &r, 0);
	int size = redisFormatCommandArgv(&text, c.argc, c.argv, c.len);
	if (size < 0)
		die("no memory");
	buf_add(&l->out, text, (size_t)size);
	redisFreeCommand(text);
}

/* "*4", then four lines with numbers */
static size_t
answer_redis(const struct link *l)
{
	size_t lines = 0;

	if (l->in.len > 0 && l->in.p[0] != '*')
		die("the server answers an error");
	for (size_t i = 0; i < l->in.len; i++)
		if (l->in.p[i] == '\n' && ++lines == 5)
			return i + 1;
	return 0;
}

static void
open_redis(struct link *l, const char *path)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };

	snprintf(sun.sun_path, sizeof(sun.sun_path), "%s", path);
	l->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (l->fd < 0 || connect(l->fd, (struct sockaddr *)&sun, sizeof(sun)) != 0)
		die(strerror(errno));
}

/* ---- both ---- */

static void
ask(const struct side *side, struct link *l)
{
	buf_reset(&l->out);
	side->ask(l, asked++);
	l->asked_us = clock_mono_us();
	if (send(l->fd, l->out.p, l->out.len, MSG_NOSIGNAL) != (ssize_t)l->out.len)
		die("a connection does not take what it gets");
}

/* true: the answer is complete. */
static bool
take(const struct side *side, struct link *l)
{
	char piece[4096];
	ssize_t n = recv(l->fd, piece, sizeof(piece), 0);

	if (n <= 0)
		die("a connection has ended");
	buf_add(&l->in, piece, (size_t)n);
	size_t used = side->answer(l);
	if (used == 0)
		return false;
	if (used != l->in.len)
		die("more than an answer");
	buf_reset(&l->in);
	return true;
}

/* Answers per second; samples gets the times in microseconds. */
static double
run(struct side *side, int n_links, int32_t *samples, size_t *n)
{
	int epoll = epoll_create1(EPOLL_CLOEXEC);
	int64_t begin = clock_mono_us(), now = begin;
	struct epoll_event events[LINKS_MAX];

	*n = 0;
	for (int i = 0; i < n_links; i++) {
		struct epoll_event ev = { .events = EPOLLIN, .data.ptr = &side->link[i] };

		if (epoll_ctl(epoll, EPOLL_CTL_ADD, side->link[i].fd, &ev) != 0)
			die("epoll");
		ask(side, &side->link[i]);
	}
	int waiting = n_links;
	while (waiting > 0) {
		int ready = epoll_wait(epoll, events, LINKS_MAX, 20000);

		if (ready <= 0)
			die("no answer");
		for (int i = 0; i < ready; i++) {
			struct link *l = events[i].data.ptr;

			if (!take(side, l))
				continue;
			now = clock_mono_us();
			if (*n < SAMPLES_MAX && !l->at_mail)
				samples[(*n)++] = (int32_t)(now - l->asked_us);
			if (now - begin < RUN_MS * 1000)
				ask(side, l);
			else
				waiting--;
		}
	}
	close(epoll);
	return (double)*n * 1e6 / (double)(now - begin);
}

static int
by_value(const void *a, const void *b)
{
	const int32_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static int
by_rate(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

/* The sides take turns; of the rounds' ratios the middle one is told. */
static void
compare(struct side *milter, struct side *redis, int n_links, int32_t *samples)
{
	double ratio[ROUNDS], rate[2] = { 0 };
	size_t n;

	for (int i = 0; i < ROUNDS; i++) {
		rate[0] = run(redis, n_links, samples, &n);
		qsort(samples, n, sizeof(*samples), by_value);
		int32_t bare_p99 = samples[n * 99 / 100];
		rate[1] = run(milter, n_links, samples, &n);
		qsort(samples, n, sizeof(*samples), by_value);
		ratio[i] = rate[1] / rate[0];
		printf("greylist: %2d connections: %.0f/s, bare EVALSHA %.0f/s; answer p50 %d "
		       "us, p99 %d us (bare p99 %d us)\n",
		    n_links, rate[1], rate[0], samples[n / 2], samples[n * 99 / 100], bare_p99);
	}
	qsort(ratio, ROUNDS, sizeof(ratio[0]), by_rate);
	printf("greylist: %2d connections: %.2f of bare EVALSHA\n", n_links, ratio[ROUNDS / 2]);
}

static pid_t
start_milter(const struct rig_server *server, unsigned dns, bool notes,
    const char *conf, const char *sock)
{
	const char *build = getenv("BUILD");
	char *program = xasprintf("%s/postern-greylist", build == NULL ? "build" : build);
	FILE *f = fopen(conf, "w");

	if (f == NULL)
		die(conf);
	fprintf(f,
	    "run { host bench.example; log stderr; log-level warn }\n"
	    "dns { servers 127.0.0.1:%u }\n"
	    "state { engine redis; redis \"unix:%s\"; budget 10s; deadline 5s }\n"
	    "greylist { socket \"unix:%s\"; correspondents %s }\n",
	    dns, server->socket, sock, notes ? "on" : "off");
	fclose(f);
	pid_t pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGTERM);
		execl(program, program, "-f", "-c", conf, (char *)NULL);
		_exit(127);
	}
	for (int i = 0; i < 1000 && access(sock, F_OK) != 0; i++)
		usleep(10000);
	free(program);
	return pid;
}

static void
learn_script(const struct rig_server *server)
{
	struct store_address to;
	char *address = xasprintf("unix:%s", server->socket);
	struct store_link link = { .c = NULL };
	struct err err;

	redis_conf = (struct store_link_conf){ .user = "", .password = "", .prefix = "bare" };
	if (!store_address_parse(str_of(address), &to) ||
	    store_link_open(&link, &redis_conf, &to, clock_mono_ms() + 5000, &err) != 0)
		die("no link to the server");
	memcpy(digest, link.digest[STORE_SCRIPT_GREYLIST], sizeof(digest));
	store_link_close(&link);
	free(address);
}

static void
links_open(struct side *milter, struct side *redis, const char *sock, const char *redis_sock)
{
	char *spec = xasprintf("unix:%s", sock);

	for (int i = 0; i < LINKS_MAX; i++) {
		struct side *sides[] = { milter, redis };

		for (int j = 0; j < 2; j++) {
			sides[j]->link[i] = (struct link){ .fd = -1 };
			buf_init(&sides[j]->link[i].in, 65536);
			buf_init(&sides[j]->link[i].out, 65536);
		}
		open_milter(&milter->link[i], spec, i);
		open_redis(&redis->link[i], redis_sock);
	}
	free(spec);
}

static void
links_close(struct side *milter, struct side *redis)
{
	for (int i = 0; i < LINKS_MAX; i++) {
		struct side *sides[] = { milter, redis };

		mta_quit(&milter->link[i].mta);
		close(redis->link[i].fd);
		for (int j = 0; j < 2; j++) {
			buf_clear(&sides[j]->link[i].in);
			buf_clear(&sides[j]->link[i].out);
		}
	}
}

/* notes: every recipient costs a second question, whether it knows the sender. */
static void
bench(const struct rig_server *server, unsigned dns, bool notes, int32_t *samples)
{
	static const int links[] = { 1, 16, 64 };
	static struct side milter = { .ask = ask_milter, .answer = answer_milter };
	static struct side redis = { .ask = ask_redis, .answer = answer_redis };
	char *conf = xasprintf("%s/conf", server->dir), *sock = xasprintf("%s/g.sock", server->dir);
	pid_t pid = start_milter(server, dns, notes, conf, sock);

	printf("greylist: correspondents %s\n", notes ? "on" : "off");
	links_open(&milter, &redis, sock, server->socket);
	for (size_t i = 0; i < sizeof(links) / sizeof(links[0]); i++)
		compare(&milter, &redis, links[i], samples);
	links_close(&milter, &redis);
	kill(pid, SIGTERM);
	waitpid(pid, NULL, 0);
	unlink(conf);
	free(sock);
	free(conf);
}

int
main(void)
{
	const char *missing = rig_server_missing();
	struct rig_server server = { .pid = 0 };
	struct err err;

	if (missing != NULL || rig_server_up(&server, "maxmemory 0") != 0) {
		printf("greylist: no redis-server: %s\n", missing != NULL ? missing : "it does not run");
		return 0;
	}
	/* No SPF: an answer that the resolver keeps. */
	struct dnsd *dns = dnsd_start(STR("example SOA 3600 ns.example 3600\n"), 0, &err);
	if (dns == NULL)
		die(err.text);
	learn_script(&server);
	int32_t *samples = xcalloc(SAMPLES_MAX, sizeof(*samples));
	bench(&server, dnsd_port(dns), false, samples);
	bench(&server, dnsd_port(dns), true, samples);
	dnsd_stop(dns);
	rig_server_remove(&server);
	free(samples);
	return 0;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* A listener process: accepts, keeps the numbers of connections within their limits,
 * and ends in order. */
#include "contrib/relay/listener.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/xalloc.h"
#include "common/mail/smtp_reply.h"
#include "contrib/relay/connection.h"
#include "contrib/relay/route.h"

#define ACCEPT_BATCH 32 /* connections at a time, so that others get their turn */
#define ACCEPT_PAUSE_MS 100 /* when descriptors ran out */
#define REPLACED_DRAIN 600 /* seconds that a replaced listener serves on */
#define STRESS_PERCENT 80 /* of max-sessions */
#define CALM_PERCENT 60

struct listener_process {
	struct gate gate; /* first: gate.ended finds us by it */
	struct event **accepts; /* one per socket */
	int *fds;
	size_t n_fds;
	struct event *pause, *term, *replaced, *limit;
	int64_t drain;
	bool draining, stress;
};

/* --- what it needs --- */

static bool
mailertable_line(const struct map_entry *e, const char *file, struct errs *errs)
{
	struct route route;
	struct err err;

	if (route_parse(e->value, &route, &err) == 0)
		return true;
	errs_add(errs, file, e->line, "%s", err.text);
	return false;
}

/* Relaying and routes.  -1: errs. */
static int
open_files(const struct relay_conf *conf, struct relaying **relaying, struct map **map,
    struct errs *errs)
{
	*map = NULL;
	*relaying = relaying_new(
	    &conf->relay_domains, conf->relay_domains_file, &conf->relay_clients, errs);
	if (conf->mailertable[0] != '\0')
		*map = map_open(conf->mailertable, mailertable_line, errs);
	if (*relaying != NULL && (conf->mailertable[0] == '\0' || *map != NULL))
		return 0;
	relaying_free(*relaying);
	if (*map != NULL)
		map_close(*map);
	return -1;
}

int
listener_check(const struct relay_conf *conf, struct errs *errs)
{
	struct relaying *relaying;
	struct map *map;

	if (open_files(conf, &relaying, &map, errs) < 0)
		return -1;
	relaying_free(relaying);
	if (map != NULL)
		map_close(map);
	return 0;
}

/* --- accept --- */

/* Too many: said in one line, without a session. */
static void
turn_away(int fd, const char *text)
{
	struct buf out;

	buf_init(&out, 1000);
	smtp_reply_write(&out, 421, "4.7.0", str_of(text));
	(void)send(fd, out.p, out.len, MSG_NOSIGNAL | MSG_DONTWAIT);
	buf_clear(&out);
	close(fd);
}

static void
judge_stress(struct listener_process *p)
{
	size_t max = (size_t)p->gate.handoff.conf->max_sessions;
	size_t n = p->gate.n_connections;
	bool stress =
	    p->stress ? n * 100 > max * CALM_PERCENT : n * 100 > max * STRESS_PERCENT;

	if (stress == p->stress)
		return;
	p->stress = stress;
	log_msg(stress ? LOG_LEVEL_WARN : LOG_LEVEL_INFO, "stress",
	    stress ? "%zu of %zu connections: short limits"
		   : "%zu of %zu connections: usual limits",
	    n, max);
	connection_stress_all(&p->gate, stress);
}

static void
take(struct listener_process *p, int fd, const struct sockaddr *sa)
{
	const struct relay_conf *conf = p->gate.handoff.conf;
	struct sockaddr_storage local;
	socklen_t len = sizeof(local);
	struct ip peer, ours = { .family = 0 };
	uint16_t port = 0, our_port = 0;
	char text[IP_TEXT_MAX];

	if (!ip_from_sockaddr(sa, &peer, &port)) {
		close(fd);
		return;
	}
	if (getsockname(fd, (struct sockaddr *)&local, &len) == 0)
		(void)ip_from_sockaddr((struct sockaddr *)&local, &ours, &our_port);
	if (p->gate.n_connections >= (size_t)conf->max_sessions) {
		log_msg(LOG_LEVEL_WARN, "too-many", "client=%s, %zu connections",
		    ip_format(&peer, text), p->gate.n_connections);
		turn_away(fd, "too many connections, try later");
		return;
	}
	if (connection_count(&p->gate, &peer) >=
	    (size_t)conf->max_sessions_per_client) {
		log_msg(LOG_LEVEL_WARN, "too-many", "client=%s, of one client",
		    ip_format(&peer, text));
		turn_away(fd, "too many connections from your address, try later");
		return;
	}
	connection_open(&p->gate, fd, &peer, port, &ours, our_port);
	judge_stress(p);
}

static void
set_accepting(struct listener_process *p, bool accepting)
{
	for (size_t i = 0; i < p->n_fds; i++) {
		if (accepting)
			(void)event_add(p->accepts[i], NULL);
		else
			(void)event_del(p->accepts[i]);
	}
}

static void
on_accept(evutil_socket_t fd, short what, void *arg)
{
	struct listener_process *p = arg;
	struct sockaddr_storage sa;

	(void)what;
	for (int i = 0; i < ACCEPT_BATCH; i++) {
		socklen_t len = sizeof(sa);
		int client = accept4(
		    fd, (struct sockaddr *)&sa, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (client >= 0) {
			take(p, client, (struct sockaddr *)&sa);
			continue;
		}
		if (errno == EMFILE || errno == ENFILE || errno == ENOMEM ||
		    errno == ENOBUFS) {
			/* They stay in the backlog; trying at once again would spin. */
			struct timeval tv = { 0, ACCEPT_PAUSE_MS * 1000 };

			log_msg(LOG_LEVEL_ERR, "accept", "%s", strerror(errno));
			set_accepting(p, false);
			(void)event_add(p->pause, &tv);
			return;
		}
		if (errno != ECONNABORTED && errno != EINTR)
			return;
	}
}

static void
on_pause(evutil_socket_t fd, short what, void *arg)
{
	struct listener_process *p = arg;

	(void)fd;
	(void)what;
	if (!p->draining)
		set_accepting(p, true);
}

/* --- the end --- */

static void
on_ended(struct gate *g)
{
	struct listener_process *p = (struct listener_process *)g;

	if (p->draining && g->n_connections == 0)
		(void)event_base_loopbreak(g->handoff.base);
	else if (p->stress)
		judge_stress(p);
}

static void
drain(struct listener_process *p, int64_t seconds)
{
	struct timeval tv = { (time_t)seconds, 0 };

	if (!p->draining) {
		set_accepting(p, false);
		for (size_t i = 0; i < p->n_fds; i++)
			close(p->fds[i]);
		for (size_t i = 0; i < p->n_fds; i++)
			event_free(p->accepts[i]);
		p->n_fds = 0;
		p->draining = true;
	}
	(void)event_add(p->limit, &tv);
	if (p->gate.n_connections == 0)
		(void)event_base_loopbreak(p->gate.handoff.base);
}

static void
on_term(evutil_socket_t fd, short what, void *arg)
{
	struct listener_process *p = arg;

	(void)fd;
	(void)what;
	drain(p, p->drain);
	connection_shutdown_all(
	    &p->gate, STR("this host is going down, try again soon"));
}

static void
on_replaced(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	drain(arg, REPLACED_DRAIN);
}

static void
on_limit(evutil_socket_t fd, short what, void *arg)
{
	struct listener_process *p = arg;

	(void)fd;
	(void)what;
	log_msg(
	    LOG_LEVEL_WARN, "drain", "%zu connections cut off", p->gate.n_connections);
	(void)event_base_loopbreak(p->gate.handoff.base);
}

/* --- the process --- */

static struct session_conf
session_settings(const struct relay_conf *conf)
{
	struct session_conf s = session_conf_default;

	s.host = conf->host;
	s.message_size = conf->message_size;
	s.rcpts_max = (size_t)conf->max_rcpts;
	s.error_delay_ms = conf->error_delay_ms;
	s.command_ms = conf->command_timeout * 1000;
	s.data_ms = conf->data_timeout * 1000;
	return s;
}

static int
watch_sockets(struct listener_process *p, const int *fds, size_t n, struct err *err)
{
	struct event_base *base = p->gate.handoff.base;

	p->fds = xcalloc(n, sizeof(*p->fds));
	p->accepts = xcalloc(n, sizeof(*p->accepts));
	for (size_t i = 0; i < n; i++) {
		p->fds[i] = fds[i];
		p->accepts[i] =
		    event_new(base, fds[i], EV_READ | EV_PERSIST, on_accept, p);
		if (p->accepts[i] == NULL || event_add(p->accepts[i], NULL) < 0)
			return err_set(err, "cannot watch a listening socket");
		p->n_fds++;
	}
	p->pause = evtimer_new(base, on_pause, p);
	p->limit = evtimer_new(base, on_limit, p);
	p->term = evsignal_new(base, SIGTERM, on_term, p);
	p->replaced = evsignal_new(base, SIGUSR2, on_replaced, p);
	if (p->pause == NULL || p->limit == NULL || p->term == NULL ||
	    p->replaced == NULL || event_add(p->term, NULL) < 0 ||
	    event_add(p->replaced, NULL) < 0)
		return err_set(err, "cannot watch signals");
	return 0;
}

static int
open_gate(struct gate *g, const struct relay_conf *conf, const char *queue_address,
    const struct resolver_conf *dns, struct errs *errs)
{
	struct err err = { 0 };

	if (open_files(conf, &g->relaying, &g->handoff.mailertable, errs) < 0)
		return -1;
	g->handoff.conf = conf;
	g->session = session_settings(conf);
	g->ended = on_ended;
	g->handoff.base = event_base_new();
	g->handoff.resolver = resolver_new(dns, &err);
	if (g->handoff.resolver != NULL && conf->client_names)
		g->names = client_names_new(g->handoff.base, g->handoff.resolver, &err);
	g->handoff.queue = queue_client_new(g->handoff.base, queue_address);
	if (g->handoff.mailertable != NULL &&
	    map_watch(&g->handoff.mailertable, 1, &err) < 0)
		errs_add(errs, NULL, 0, "%s", err.text);
	if (g->handoff.resolver == NULL || (conf->client_names && g->names == NULL) ||
	    g->handoff.queue == NULL)
		errs_add(errs, NULL, 0, "%s", err.text);
	return errs->n == 0 ? 0 : -1;
}

/* Only what others see matters: the process ends. */
static void
close_gate(struct gate *g)
{
	connection_close_all(g);
	queue_client_free(g->handoff.queue);
	resolver_free(g->handoff.resolver);
	client_names_free(g->names);
	relaying_free(g->relaying);
}

int
listener_process(const struct relay_conf *conf, const int *fds, size_t n_fds,
    const char *queue_address, const struct resolver_conf *dns, int64_t drain_seconds)
{
	struct listener_process p = { .drain = drain_seconds };
	struct errs errs = { 0 };
	struct err err;
	char text[700];

	(void)signal(SIGPIPE, SIG_IGN);
	if (open_gate(&p.gate, conf, queue_address, dns, &errs) < 0) {
		for (size_t i = 0; i < errs.n; i++)
			log_msg(LOG_LEVEL_ERR, "start", "%s",
			    err_str(&errs.list[i], text, sizeof(text)));
		errs_clear(&errs);
		return 71;
	}
	if (watch_sockets(&p, fds, n_fds, &err) < 0) {
		log_err("start", &err);
		return 71;
	}
	(void)event_base_dispatch(p.gate.handoff.base);
	close_gate(&p.gate);
	return 0;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* The client of a connection: its name, the pause before the greeting, XCLIENT and
 * XFORWARD, and the chain of filters that is opened for it.  Trust is judged by the
 * session (who may use these commands) and never here. */
#include "contrib/relay/connection_client.h"

#include <stdlib.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/xalloc.h"
#include "contrib/relay/connection_mail.h"

#define ANSWER_SECONDS 500 /* for filters and handoff together */

/* --- what filters are told --- */

static bool
same_text(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static void
shown_clear(struct shown_client *s)
{
	free(s->name);
	free(s->helo);
	*s = (struct shown_client){ .name = NULL };
}

void
connection_client_clear(struct connection *c)
{
	struct client_facts *f = &c->client;

	free(f->name);
	free(f->helo);
	free(f->login);
	*f = (struct client_facts){ .resolve = NULL };
	shown_clear(&c->shown);
	if (c->pause != NULL)
		event_free(c->pause);
	c->pause = NULL;
}

/* "[192.0.2.1]", "unknown": what stands in the place of a name. */
static char *
no_name(const struct ip *ip)
{
	char text[IP_TEXT_MAX];

	if (ip->family == 0)
		return xstrdup("unknown");
	return xasprintf(
	    "[%s%s]", ip->family == AF_INET6 ? "IPv6:" : "", ip_format(ip, text));
}

static const char *
dup_or_null(const char *s, char **out)
{
	*out = s == NULL ? NULL : xstrdup(s);
	return *out;
}

/* Whom the filters are to see in the transaction that begins. */
static void
shown_now(const struct connection *c, struct shown_client *out)
{
	const struct session_attrs *f = &c->forward;

	*out = (struct shown_client){ .ip = c->client.ip, .port = c->client.port };
	out->forwarded = f->has_addr || f->name != NULL || f->helo != NULL;
	if (f->has_addr) {
		out->ip = f->addr;
		out->port = f->has_port ? f->port : 0;
	}
	if (f->name != NULL && f->name[0] != '\0')
		out->name = xstrdup(f->name);
	else if (f->has_addr)
		out->name = no_name(&f->addr);
	else
		(void)dup_or_null(c->client.name, &out->name);
	(void)dup_or_null(
	    f->helo != NULL && f->helo[0] != '\0' ? f->helo : c->client.helo,
	    &out->helo);
}

static void
new_chain(struct connection *c, const char *resolve)
{
	const struct relay_conf *conf = c->gate->handoff.conf;
	struct chain_client client = {
		.ip = c->shown.ip,
		.port = c->shown.port,
		.name = c->shown.name,
		.resolve = resolve,
		.host = conf->host,
		.daemon = conf->name,
		.local = c->local,
		.local_port = c->local_port,
	};

	milter_chain_free(c->chain);
	c->chain = milter_chain_new(
	    c->gate->handoff.base, conf->milters.list, conf->milters.n, &client);
	/* Filters, next tier and our own disk share what the client waits (RFC 5321
	 * 4.5.3.2.6: ten minutes). */
	if (conf->handoff == HANDOFF_SESSION)
		milter_chain_limit(
		    c->chain, (ANSWER_SECONDS - conf->handoff_timeout) * 1000);
	if (!c->shown.forwarded && c->client.login != NULL &&
	    c->client.login[0] != '\0')
		milter_chain_macro(c->chain, "auth_authen", c->client.login);
}

/* --- XFORWARD --- */

void
connection_on_xforward(void *arg, const struct session_attrs *a)
{
	struct connection *c = arg;
	struct session_attrs *f = &c->forward;
	char *const from[] = { a->name, a->helo, a->proto, a->ident, a->source };
	char **const to[] = { &f->name, &f->helo, &f->proto, &f->ident, &f->source };

	/* It may come in several commands, which add up. */
	for (size_t i = 0; i < sizeof(to) / sizeof(to[0]); i++) {
		if (from[i] != NULL) {
			free(*to[i]);
			*to[i] = xstrdup(from[i]);
		}
	}
	if (a->has_addr) {
		f->has_addr = true;
		f->addr = a->addr;
	}
	if (a->has_port) {
		f->has_port = true;
		f->port = a->port;
	}
}

/* Refusals of the client or of its name are kept by the chain for MAIL. */
static void
on_shown_helo(void *arg, const struct chain_reply *r)
{
	struct connection *c = arg;

	(void)r;
	c->shown_then(c);
}

static void
on_shown_connect(void *arg, const struct chain_reply *r)
{
	struct connection *c = arg;

	(void)r;
	milter_chain_helo(
	    c->chain, c->shown.helo == NULL ? "" : c->shown.helo, on_shown_helo, c);
}

void
connection_show_client(struct connection *c, void (*then)(struct connection *c))
{
	struct shown_client now;
	const struct shown_client *old = &c->shown;
	bool real;

	shown_now(c, &now);
	/* What we see ourselves cannot have changed since the filters heard of it. */
	if (c->chain != NULL && now.forwarded == old->forwarded &&
	    (!now.forwarded ||
		(ip_eq(&now.ip, &old->ip) && now.port == old->port &&
		    same_text(now.name, old->name) &&
		    same_text(now.helo, old->helo)))) {
		shown_clear(&now);
		then(c);
		return;
	}
	shown_clear(&c->shown);
	c->shown = now;
	c->shown_then = then;
	/* The tier in front looked the name up: it tells names that it believes. */
	real =
	    now.name != NULL && now.name[0] != '[' && strcmp(now.name, "unknown") != 0;
	new_chain(c, !now.forwarded ? c->client.resolve : real ? "OK" : "FAIL");
	milter_chain_connect(c->chain, on_shown_connect, c);
}

/* --- connect --- */

/* A tempfail is kept by the chain for every MAIL: a greeting cannot say "later" but by
 * closing. */
static void
on_chain_connect(void *arg, const struct chain_reply *r)
{
	struct connection *c = arg;

	c->discard = false;
	if (r->action == CHAIN_REJECT || r->action == CHAIN_CLOSE)
		connection_refuse_chain(c, "connect", r);
	else
		connection_answer(c, 220, "", "");
}

static void
log_early(const struct connection *c)
{
	struct logline l;
	char ip[IP_TEXT_MAX];

	logline_init(&l, LOG_LEVEL_INFO, "early-talker");
	logline_cstr(&l, "client", ip_format(&c->client.ip, ip));
	logline_cstr(&l, "name", c->client.name);
	logline_int(&l, "octets", (int64_t)session_early(c->session));
	logline_send(&l);
}

/* Name and pause are over: the filters' turn.  Of a tier they hear with its first mail,
 * because until then nobody knows for whom it speaks. */
static void
ask_chain(struct connection *c)
{
	if (c->lookup != NULL || c->pause != NULL)
		return;
	if (c->trusted && !c->spoken_for) {
		connection_answer(c, 220, "", "");
		return;
	}
	shown_clear(&c->shown);
	c->shown.ip = c->client.ip;
	c->shown.port = c->client.port;
	(void)dup_or_null(c->client.name, &c->shown.name);
	new_chain(c, c->client.resolve);
	if (session_early(c->session) > 0) {
		log_early(c);
		milter_chain_macro(c->chain, "early_talker", "yes");
	}
	milter_chain_connect(c->chain, on_chain_connect, c);
}

static void
set_name(struct connection *c, const char *name, const char *resolve)
{
	free(c->client.name);
	c->client.resolve = resolve;
	c->client.name = name[0] != '\0' ? xstrdup(name) : no_name(&c->client.ip);
}

static void
on_name(void *arg, const char *name, const char *resolve)
{
	struct connection *c = arg;

	c->lookup = NULL;
	set_name(c, name, resolve);
	ask_chain(c);
}

static void
end_pause(struct connection *c)
{
	event_free(c->pause);
	c->pause = NULL;
	ask_chain(c);
}

static void
on_pause(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	end_pause(arg);
}

void
connection_client_early(struct connection *c)
{
	/* What we waited for is there. */
	if (c->pause != NULL)
		end_pause(c);
}

/* Who sends to us as a stranger waits; our own clients and tiers do not. */
static void
begin_pause(struct connection *c)
{
	int64_t ms = c->gate->handoff.conf->greet_pause_ms;
	struct timeval tv;

	if (c->trusted || ms == 0 || relaying_client(c->gate->relaying, &c->client.ip))
		return;
	if (c->gate->stress && ms > STRESS_PAUSE_MS)
		ms = STRESS_PAUSE_MS;
	tv = (struct timeval){ ms / 1000, ms % 1000 * 1000 };
	c->pause = evtimer_new(c->gate->handoff.base, on_pause, c);
	if (c->pause == NULL)
		abort(); /* out of memory: as xmalloc */
	(void)event_add(c->pause, &tv);
}

void
connection_on_connect(void *arg)
{
	struct connection *c = arg;

	begin_pause(c);
	if (c->client.name != NULL) {
		ask_chain(c);
	} else if (ip_is_loopback(&c->client.ip)) {
		set_name(c, "localhost", "OK");
		ask_chain(c);
	} else if (c->gate->names == NULL || c->client.ip.family == 0) {
		set_name(c, "", "FAIL");
		ask_chain(c);
	} else {
		c->lookup =
		    client_name_start(c->gate->names, &c->client.ip, on_name, c);
	}
}

void
connection_on_xclient(void *arg, const struct session_attrs *a)
{
	struct connection *c = arg;

	milter_chain_free(c->chain);
	c->chain = NULL;
	c->spoken_for = true;
	connection_mail_clear(c);
	free(c->client.helo);
	c->client.helo = NULL;
	if (a->has_addr) {
		c->client.ip = a->addr;
		c->client.port = 0;
		free(c->client.name); /* the name of another */
		c->client.name = NULL;
	}
	if (a->has_port)
		c->client.port = a->port;
	if (a->name != NULL)
		set_name(c, a->name, a->name[0] != '\0' ? "OK" : "FAIL");
	if (a->login != NULL) {
		free(c->client.login);
		c->client.login = xstrdup(a->login);
	}
	connection_on_connect(c);
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* The envelope: EHLO, sender and recipients.  Relaying and routes are judged before the
 * filters are asked; a filter can refuse but never grant. */
#include "contrib/relay/connection_mail.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/base/clock.h"
#include "common/base/id.h"
#include "common/base/log.h"
#include "common/base/xalloc.h"
#include "contrib/relay/connection_client.h"
#include "contrib/relay/connection_message.h"
#include "contrib/relay/route.h"

void
connection_mail_clear(struct connection *c)
{
	envelope_clear(&c->envelope);
	envelope_init(&c->envelope);
	session_attrs_clear(&c->forward);
	free(c->discarded_by);
	free(c->rcpt);
	free(c->mail.storage);
	c->mail = (struct mail_command){ .storage = NULL };
	c->discarded_by = NULL;
	c->rcpt = NULL;
	c->discard = false;
	if (c->handoff != NULL)
		handoff_abandon(c->handoff);
	c->handoff = NULL;
	connection_text_clear(c);
}

/* One line for whatever we refuse before there is a message. */
static void
log_refused(const struct connection *c, const char *stage, int code,
    const char *enhanced, const char *text, const char *by)
{
	struct logline l;
	char ip[IP_TEXT_MAX];

	logline_init(&l, LOG_LEVEL_INFO, "refused");
	logline_cstr(&l, "stage", stage);
	if (c->envelope.id[0] != '\0')
		logline_cstr(&l, "id", c->envelope.id);
	logline_cstr(&l, "client", ip_format(&c->client.ip, ip));
	if (c->client.name != NULL)
		logline_cstr(&l, "name", c->client.name);
	if (c->client.helo != NULL)
		logline_cstr(&l, "helo", c->client.helo);
	if (c->envelope.id[0] != '\0')
		logline_cstr(&l, "from", c->envelope.sender);
	if (c->rcpt != NULL)
		logline_cstr(&l, "to", c->rcpt);
	logline_int(&l, "code", code);
	logline_cstr(&l, "status", enhanced);
	logline_cstr(&l, "text", text);
	logline_cstr(&l, "by", by);
	logline_send(&l);
}

void
connection_refuse_chain(
    struct connection *c, const char *stage, const struct chain_reply *r)
{
	log_refused(c, stage, r->code, r->enhanced, r->text,
	    r->filter == NULL ? "filter" : r->filter);
	connection_answer_chain(c, r);
}

static void
refuse(struct connection *c, const char *stage, const struct verdict *v)
{
	log_refused(c, stage, v->code, v->enhanced, v->text, "relay");
	connection_answer_verdict(c, v);
}

/* CONTINUE, and what means the same for the client just now. */
static bool
goes_on(struct connection *c, const struct chain_reply *r)
{
	if (r->action == CHAIN_DISCARD && !c->discard) {
		c->discard = true;
		c->discarded_by = xstrdup(r->filter == NULL ? "filter" : r->filter);
	}
	return r->action == CHAIN_CONTINUE || r->action == CHAIN_DISCARD ||
	    r->action == CHAIN_HOLD;
}

/* --- EHLO --- */

static void
answer_helo(struct connection *c)
{
	const struct relay_conf *conf = c->gate->handoff.conf;
	char text[600];

	if (!session_extended(c->session)) {
		connection_answer(c, 250, "", conf->host);
		return;
	}
	(void)snprintf(text, sizeof(text),
	    "%s\nPIPELINING\nSIZE %llu\n8BITMIME\nENHANCEDSTATUSCODES%s", conf->host,
	    (unsigned long long)conf->message_size,
	    c->trusted ? "\nXCLIENT NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT"
			 "\nXFORWARD NAME ADDR PORT PROTO HELO IDENT SOURCE"
		       : "");
	connection_answer(c, 250, "", text);
}

static void
on_chain_helo(void *arg, const struct chain_reply *r)
{
	struct connection *c = arg;

	c->discard = false;
	if (r->action == CHAIN_CLOSE)
		connection_refuse_chain(c, "helo", r);
	else
		answer_helo(c);
}

static void
on_helo(void *arg, struct str name, bool extended)
{
	struct connection *c = arg;

	free(c->client.helo);
	c->client.helo = str_dup(name);
	c->client.proto = extended ? "ESMTP" : "SMTP";
	free(c->shown.helo); /* what the filters hear now, forwarded client or not */
	c->shown.helo = xstrdup(c->client.helo);
	if (c->chain != NULL)
		milter_chain_helo(c->chain, c->client.helo, on_chain_helo, c);
	else
		answer_helo(c);
}

/* --- MAIL --- */

_Static_assert(ID_ADOPTED_SIZE <= MESSAGE_ID_MAX, "an envelope holds any id");

/* Text of XFORWARD where it was told and is known, else what we see ourselves. */
static void
set_text(char **field, const char *told, const char *seen)
{
	const char *value = told != NULL && told[0] != '\0' ? told : seen;

	envelope_set(field, str_of(value == NULL ? "" : value));
}

static void
begin_envelope(
    struct connection *c, const struct address *sender, uint64_t size, bool body_8bit)
{
	struct envelope *e = &c->envelope;
	const struct session_attrs *f = &c->forward;

	envelope_clear(e);
	envelope_init(e);
	if (f->ident == NULL || !id_adopt(str_of(f->ident), e->id))
		id_make(e->id);
	envelope_set(&e->sender, sender->null ? STR("") : sender->whole);
	e->size = size;
	e->body_8bit = body_8bit;
	e->client = f->has_addr ? f->addr : c->client.ip;
	e->client_port = f->has_port ? f->port : c->client.port;
	set_text(&e->client_name, f->name, c->client.name);
	set_text(&e->helo, f->helo, c->client.helo);
	set_text(&e->proto, f->proto, c->client.proto);
	set_text(&e->auth, NULL, c->client.login);
	e->received = clock_wall();
	c->discard = false;
}

static void
on_chain_mail(void *arg, const struct chain_reply *r)
{
	struct connection *c = arg;

	if (goes_on(c, r)) {
		if (r->action == CHAIN_HOLD)
			envelope_set(&c->envelope.hold, str_of(r->reason));
		connection_answer(c, 250, "2.1.0", "sender ok");
		return;
	}
	milter_chain_abort(c->chain);
	log_refused(c, "mail", r->code, r->enhanced, r->text,
	    r->filter == NULL ? "filter" : r->filter);
	connection_mail_clear(c);
	connection_answer_chain(c, r);
}

/* The parts of a command as strings; returns storage for the caller to free. */
static char *
strings(const struct smtp_path *path, const char **text, const char **args)
{
	size_t size = path->path.len + 1, at = 0;
	char *all;

	for (size_t i = 0; i < path->n_params; i++)
		size += path->params[i].text.len + 1;
	all = xmalloc(size);
	*text = all;
	memcpy(all, path->path.p, path->path.len);
	at = path->path.len;
	all[at++] = '\0';
	for (size_t i = 0; i < path->n_params; i++) {
		struct str p = path->params[i].text;

		args[i] = all + at;
		memcpy(all + at, p.p, p.len);
		at += p.len;
		all[at++] = '\0';
	}
	return all;
}

/* The filters know the client: now the sender. */
static void
ask_mail(struct connection *c)
{
	const struct mail_command *m = &c->mail;

	milter_chain_mail(
	    c->chain, c->envelope.id, m->path, m->args, m->n_args, on_chain_mail, c);
}

static void
on_mail(void *arg, const struct smtp_path *path, const struct address *sender,
    uint64_t size, bool body_8bit)
{
	struct connection *c = arg;
	const struct relay_conf *conf = c->gate->handoff.conf;
	const char *why = NULL;

	if (!queue_client_accepting(c->gate->handoff.queue, &why)) {
		connection_answer(c, 452, "4.3.1", why);
		return;
	}
	if (c->gate->in_flight + size > conf->in_flight) {
		connection_answer(
		    c, 452, "4.3.1", "too many messages at once, try later");
		return;
	}
	begin_envelope(c, sender, size, body_8bit);
	free(c->mail.storage);
	c->mail.storage = strings(path, &c->mail.path, c->mail.args);
	c->mail.n_args = path->n_params;
	connection_show_client(c, ask_mail);
}

/* --- RCPT --- */

static void
take_rcpt(struct connection *c)
{
	if (envelope_add_rcpt(&c->envelope, c->rcpt) < 0)
		connection_answer(
		    c, 452, "4.5.3", "too many recipients, send the rest later");
	else
		connection_answer(c, 250, "2.1.5", "recipient ok");
}

static void
on_chain_rcpt(void *arg, const struct chain_reply *r)
{
	struct connection *c = arg;

	if (c->refused.action != ACTION_CONTINUE)
		refuse(c, "rcpt", &c->refused);
	else if (goes_on(c, r))
		take_rcpt(c);
	else
		connection_refuse_chain(c, "rcpt", r);
}

/* Is there a way to this domain? */
static struct verdict
judge_route(const struct connection *c, struct str domain)
{
	const struct handoff_env *env = &c->gate->handoff;
	struct map_table *table =
	    env->mailertable == NULL ? NULL : map_table_ref(env->mailertable);
	struct route route;

	route_find(table, str_of(env->conf->smarthost), domain, &route);
	if (table != NULL)
		map_table_unref(table);
	switch (route.kind) {
	case ROUTE_HOST:
	case ROUTE_MX:
		break;
	case ROUTE_ERROR:
		return verdict_refuse(
		    route.code, route.enhanced, "mailertable", "%s", route.text);
	case ROUTE_NONE:
		if (relaying_domain(c->gate->relaying, domain))
			return verdict_refuse(451, "4.3.5", "no-route",
			    "this host does not know yet where that mail goes");
		return verdict_refuse(
		    550, "5.4.4", "no-route", "no way known to that domain");
	}
	return verdict_continue("route");
}

static void
set_rcpt(struct connection *c, const struct address *rcpt)
{
	const struct relay_conf *conf = c->gate->handoff.conf;

	free(c->rcpt);
	if (rcpt->domain.len > 0)
		c->rcpt = str_dup(rcpt->whole);
	else if (conf->postmaster[0] != '\0')
		c->rcpt = xstrdup(conf->postmaster);
	else
		c->rcpt = xasprintf("postmaster@%s", conf->host);
}

static void
on_rcpt(void *arg, const struct smtp_path *path, const struct address *rcpt)
{
	struct connection *c = arg;
	const char *args[SMTP_PARAMS_MAX], *text;
	char *storage, *refused = NULL;
	struct str stored;
	ptrdiff_t at;

	c->refused = relaying_check(c->gate->relaying, &c->client.ip, path->path, rcpt);
	if (c->refused.action == ACTION_CONTINUE) {
		set_rcpt(c, rcpt);
		stored = str_of(c->rcpt);
		at = str_rindex(stored, '@');
		c->refused =
		    judge_route(c, str_sub(stored, (size_t)(at + 1), stored.len));
	} else {
		free(c->rcpt);
		c->rcpt = str_dup(rcpt->whole);
	}
	/* A filter's discard stands for the whole message, whoever it is for. */
	if (c->discard) {
		if (c->refused.action != ACTION_CONTINUE)
			refuse(c, "rcpt", &c->refused);
		else
			take_rcpt(c);
		return;
	}
	if (c->refused.action != ACTION_CONTINUE)
		refused = xasprintf(
		    "%d %s %s", c->refused.code, c->refused.enhanced, c->refused.text);
	storage = strings(path, &text, args);
	milter_chain_rcpt(
	    c->chain, text, args, path->n_params, refused, on_chain_rcpt, c);
	free(storage);
	free(refused);
}

static void
on_reset(void *arg)
{
	struct connection *c = arg;

	if (c->chain != NULL)
		milter_chain_abort(c->chain);
	connection_mail_clear(c);
}

const struct session_ops connection_ops = {
	.connect = connection_on_connect,
	.helo = on_helo,
	.mail = on_mail,
	.rcpt = on_rcpt,
	.data = connection_on_data,
	.text = connection_on_text,
	.message = connection_on_message,
	.reset = on_reset,
	.xclient = connection_on_xclient,
	.xforward = connection_on_xforward,
};

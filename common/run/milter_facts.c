/* SPDX-License-Identifier: BSD-2-Clause */
/* Which macros we ask for and how long each is kept.  Postfix forgets the macros of
 * MAIL and RCPT at end of message and names the queue id only after the first
 * recipient, so everything is copied when it passes and the last queue id that is not
 * empty counts. */
#include "common/run/milter_facts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/xalloc.h"

/* Until when a value is kept. */
enum keep { KEEP_CONNECTION, KEEP_MESSAGE, KEEP_RECIPIENT };

static const struct {
	const char *name; /* as libmilter wants it */
	enum keep keep;
	unsigned steps; /* bits of the steps at which it is copied */
} macros[MILTER_MACROS_KEPT] = {
	{ "{client_addr}", KEEP_CONNECTION, 1u << STEP_CONNECT },
	{ "{client_name}", KEEP_CONNECTION, 1u << STEP_CONNECT },
	{ "{client_port}", KEEP_CONNECTION, 1u << STEP_CONNECT },
	{ "{client_ptr}", KEEP_CONNECTION, 1u << STEP_CONNECT },
	{ "{client_resolve}", KEEP_CONNECTION, 1u << STEP_CONNECT },
	{ "{early_talker}", KEEP_CONNECTION, 1u << STEP_CONNECT },
	{ "{daemon_name}", KEEP_CONNECTION, 1u << STEP_CONNECT },
	{ "{daemon_addr}", KEEP_CONNECTION, 1u << STEP_CONNECT },
	{ "{if_addr}", KEEP_CONNECTION, 1u << STEP_CONNECT },
	{ "j", KEEP_CONNECTION, 1u << STEP_CONNECT },
	{ "v", KEEP_CONNECTION, 1u << STEP_CONNECT },
	{ "_", KEEP_CONNECTION, 1u << STEP_CONNECT },
	{ "{tls_version}", KEEP_CONNECTION, 1u << STEP_HELO | 1u << STEP_MAIL },
	{ "{cipher}", KEEP_CONNECTION, 1u << STEP_HELO | 1u << STEP_MAIL },
	{ "{auth_authen}", KEEP_MESSAGE, 1u << STEP_MAIL },
	{ "{auth_type}", KEEP_MESSAGE, 1u << STEP_MAIL },
	{ "{auth_author}", KEEP_MESSAGE, 1u << STEP_MAIL },
	{ "{mail_addr}", KEEP_MESSAGE, 1u << STEP_MAIL },
	{ "{mail_host}", KEEP_MESSAGE, 1u << STEP_MAIL },
	{ "{mail_mailer}", KEEP_MESSAGE, 1u << STEP_MAIL },
	{ "{rcpt_addr}", KEEP_RECIPIENT, 1u << STEP_RCPT },
	{ "{rcpt_host}", KEEP_RECIPIENT, 1u << STEP_RCPT },
	{ "{rcpt_mailer}", KEEP_RECIPIENT, 1u << STEP_RCPT },
};

/* The lists of names, at most 50 a stage: more break sendmail's SMTP dialogue.  Stages
 * of end of header and end of message stand together, because sendmail takes the one
 * for the other.  HELO keeps the MTAs' default, which is the TLS set. */
void
milter_facts_ask(SMFICTX *ctx)
{
	static const struct {
		int stage;
		const char *names;
	} lists[] = {
		{ SMFIM_CONNECT,
		    "j _ v {daemon_name} {daemon_addr} {if_addr} {client_addr} "
		    "{client_name} {client_port} {client_ptr} {client_resolve} "
		    "{early_talker}" },
		{ SMFIM_ENVFROM,
		    "i {auth_authen} {auth_type} {auth_author} {mail_addr} "
		    "{mail_host} {mail_mailer} {tls_version} {cipher}" },
		{ SMFIM_ENVRCPT, "i {rcpt_addr} {rcpt_host} {rcpt_mailer}" },
		{ SMFIM_EOM, "i {msg_id}" },
		{ SMFIM_EOH, "i {msg_id}" },
	};

	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
		char names[400]; /* libmilter's parameter is not const */

		snprintf(names, sizeof(names), "%s", lists[i].names);
		smfi_setsymlist(ctx, lists[i].stage, names);
	}
}

static const char *
live(struct milter_session *s, const char *name)
{
	char copy[64];

	snprintf(copy, sizeof(copy), "%s", name);
	return smfi_getsymval(s->ctx, copy);
}

static void
set_text(char **slot, const char *value)
{
	if (*slot != NULL && value != NULL && strcmp(*slot, value) == 0)
		return;
	free(*slot);
	*slot = value == NULL || value[0] == '\0' ? NULL : xstrdup(value);
}

static const char *
text_or_empty(const char *text)
{
	return text == NULL ? "" : text;
}

static size_t
find(const char *bare)
{
	size_t len = strlen(bare);

	for (size_t i = 0; i < MILTER_MACROS_KEPT; i++) {
		struct str name = str_of(macros[i].name);

		if (name.p[0] == '{')
			name = str_sub(name, 1, name.len - 1);
		if (name.len == len && memcmp(name.p, bare, len) == 0)
			return i;
	}
	return MILTER_MACROS_KEPT;
}

static const char *
kept(const struct milter_session *s, const char *bare)
{
	size_t i = find(bare);

	return i == MILTER_MACROS_KEPT ? NULL : s->macros[i];
}

const char *
milter_macro(struct milter_session *s, const char *name)
{
	char bare[60], braced[64];
	size_t len = strlen(name);

	if (len > 2 && name[0] == '{' && name[len - 1] == '}') {
		name++;
		len -= 2;
	}
	if (len >= sizeof(bare))
		return NULL;
	memcpy(bare, name, len);
	bare[len] = '\0';
	snprintf(braced, sizeof(braced), len == 1 ? "%s" : "{%s}", bare);
	if (strcmp(bare, "i") == 0)
		return s->queue_id;
	const char *value = live(s, braced);
	return value != NULL ? value : kept(s, bare);
}

static void
publish(struct milter_session *s)
{
	struct milter_client *c = &s->client;

	c->name = text_or_empty(s->name);
	c->helo = text_or_empty(s->helo);
	c->queue_id = text_or_empty(s->queue_id);
	c->auth = text_or_empty(kept(s, "auth_authen"));
	c->auth_type = text_or_empty(kept(s, "auth_type"));
	c->daemon = text_or_empty(kept(s, "daemon_name"));
	c->mta = text_or_empty(kept(s, "j"));
	c->tls = text_or_empty(kept(s, "tls_version"));
}

void
milter_facts_step(struct milter_session *s, enum milter_step step)
{
	for (size_t i = 0; i < MILTER_MACROS_KEPT; i++)
		if ((macros[i].steps & 1u << step) != 0)
			set_text(&s->macros[i], live(s, macros[i].name));
	/* Sendmail names a spare id before MAIL, which no message will have. */
	const char *id = step >= STEP_MAIL ? live(s, "i") : NULL;
	if (id != NULL && id[0] != '\0')
		set_text(&s->queue_id, id);
	publish(s);
}

/* A name that libmilter's MTA vouches for: not "[192.0.2.1]", not Postfix's "unknown",
 * and {client_resolve}, where sent, says OK. */
static bool
name_confirmed(const struct milter_session *s, const char *host)
{
	const char *resolve = kept(s, "client_resolve");

	if (host[0] == '\0' || host[0] == '[' || str_is_nocase(str_of(host), "unknown"))
		return false;
	return resolve == NULL || str_is_nocase(str_of(resolve), "OK");
}

void
milter_facts_connect(
    struct milter_session *s, const char *host, const struct sockaddr *address)
{
	struct milter_client *c = &s->client;
	char text[IP_TEXT_MAX], literal[IP_TEXT_MAX + 2];
	uint64_t port;

	milter_facts_step(s, STEP_CONNECT);
	if (address == NULL || !ip_from_sockaddr(address, &c->ip, &c->port)) {
		c->ip = (struct ip){ 0 };
		c->port = 0;
		ip_parse(str_of(text_or_empty(kept(s, "client_addr"))), &c->ip);
	}
	const char *client_port = kept(s, "client_port");
	if (c->port == 0 && client_port != NULL &&
	    str_to_uint(str_of(client_port), 1, UINT16_MAX, &port))
		c->port = (uint16_t)port;
	c->name_confirmed = name_confirmed(s, text_or_empty(host));
	if (c->name_confirmed || c->ip.family == 0) {
		set_text(&s->name, host);
	} else {
		snprintf(literal, sizeof(literal), "[%s]", ip_format(&c->ip, text));
		set_text(&s->name, literal);
	}
	publish(s);
}

void
milter_facts_helo(struct milter_session *s, const char *helo)
{
	set_text(&s->helo, helo);
	milter_facts_step(s, STEP_HELO);
}

static void
forget(struct milter_session *s, enum keep from)
{
	for (size_t i = 0; i < MILTER_MACROS_KEPT; i++)
		if (macros[i].keep >= from)
			set_text(&s->macros[i], NULL);
}

void
milter_facts_message_end(struct milter_session *s)
{
	forget(s, KEEP_MESSAGE);
	set_text(&s->queue_id, NULL);
	publish(s);
}

void
milter_facts_clear(struct milter_session *s)
{
	forget(s, KEEP_CONNECTION);
	set_text(&s->queue_id, NULL);
	set_text(&s->name, NULL);
	set_text(&s->helo, NULL);
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* What each SMTP command does: its syntax, the states in which it is legal, and which
 * question it puts to the driver.  RFC 5321 4.1, RFC 1870 (SIZE), RFC 6152 (8BITMIME),
 * RFC 4954 5 (AUTH= is read and dropped). */
#include "contrib/relay/session_verbs.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/base/xalloc.h"

#define ALL                                                                            \
	(ST(SESSION_REFUSED) | ST(SESSION_START) | ST(SESSION_READY) |                 \
	    ST(SESSION_MAIL) | ST(SESSION_RCPT))
#define GREETED (ALL & ~ST(SESSION_REFUSED))

/* --- EHLO, HELO --- */

/* RFC 5321 wants a domain or a literal; the world sends worse, and it is no proof of
 * anything.  It must only be fit to be shown. */
static bool
helo_ok(struct str name)
{
	for (size_t i = 0; i < name.len; i++)
		if (name.p[i] <= ' ' || name.p[i] > '~')
			return false;
	return name.len > 0 && name.len <= 255;
}

static void
hello(struct session *s, struct str args, bool extended)
{
	if (!helo_ok(args)) {
		session_fail(s, 501, "5.5.4", "expected your host name");
		return;
	}
	session_reset_mail(s);
	s->extended = extended;
	session_ask(s, ASK_HELO);
	s->final = true;
	s->ops->helo(s->arg, args, extended);
}

static void
cmd_ehlo(struct session *s, struct str args)
{
	hello(s, args, true);
}

static void
cmd_helo(struct session *s, struct str args)
{
	hello(s, args, false);
}

/* --- MAIL, RCPT --- */

/* The path's syntax.  8 bits need SMTPUTF8 (RFC 6531), which we do not offer. */
static bool
path_ok(struct session *s, const struct smtp_path *path, struct address *out,
    const char *enhanced)
{
	struct err err;

	for (size_t i = 0; i < path->path.len; i++) {
		if ((unsigned char)path->path.p[i] >= 0x80) {
			session_fail(s, 553, "5.6.7", "8-bit address needs SMTPUTF8");
			return false;
		}
	}
	if (address_parse(path->path, out, &err) < 0) {
		session_fail(s, 501, enhanced, "%s", err.text);
		return false;
	}
	return true;
}

struct mail_params {
	uint64_t size;
	bool body_8bit;
};

/* Returns false when it was answered. */
static bool
mail_param(struct session *s, const struct smtp_param *p, struct mail_params *out)
{
	struct err err;
	struct buf plain;
	int rc;

	if (str_is_nocase(p->key, "SIZE")) {
		if (str_to_uint(p->value, 0, UINT64_MAX / 2, &out->size))
			return true;
		session_fail(s, 501, "5.5.4", "SIZE= needs a number");
		return false;
	}
	if (str_is_nocase(p->key, "BODY")) {
		out->body_8bit = str_is_nocase(p->value, "8BITMIME");
		if (out->body_8bit || str_is_nocase(p->value, "7BIT"))
			return true;
		session_fail(s, 501, "5.5.4", "BODY= is 7BIT or 8BITMIME");
		return false;
	}
	if (str_is_nocase(p->key, "AUTH")) {
		buf_init(&plain, ADDRESS_MAX);
		rc = p->value.len == 0 ? err_set(&err, "no value")
				       : smtp_xtext_decode(p->value, &plain, &err);
		buf_clear(&plain);
		if (rc == 0)
			return true;
		session_fail(s, 501, "5.5.4", "AUTH=: %s", err.text);
		return false;
	}
	session_fail(s, 555, "5.5.4", "parameter not known here");
	return false;
}

static void
cmd_mail(struct session *s, struct str args)
{
	struct smtp_path path;
	struct address sender;
	struct mail_params params = { 0, false };
	struct err err;

	if (smtp_path_read(args, STR("FROM:"), &path, &err) < 0) {
		session_fail(s, 501, "5.5.4", "%s", err.text);
		return;
	}
	if (!path_ok(s, &path, &sender, "5.1.7"))
		return;
	if (!sender.null && sender.domain.len == 0) {
		session_fail(s, 553, "5.1.7", "the sender needs a domain");
		return;
	}
	for (size_t i = 0; i < path.n_params; i++)
		if (!mail_param(s, &path.params[i], &params))
			return;
	if (params.size > s->conf.message_size) {
		session_fail(s, 552, "5.3.4",
		    "the message is too big, at most %llu octets",
		    (unsigned long long)s->conf.message_size);
		return;
	}
	s->n_rcpts = 0;
	session_ask(s, ASK_MAIL);
	s->final = false;
	s->ops->mail(s->arg, &path, &sender, params.size, params.body_8bit);
}

static void
cmd_rcpt(struct session *s, struct str args)
{
	struct smtp_path path;
	struct address rcpt;
	struct err err;

	if (smtp_path_read(args, STR("TO:"), &path, &err) < 0) {
		session_fail(s, 501, "5.5.4", "%s", err.text);
		return;
	}
	if (!path_ok(s, &path, &rcpt, "5.1.3"))
		return;
	if (rcpt.null) {
		session_fail(s, 501, "5.1.3", "<> is no recipient");
		return;
	}
	if (path.n_params > 0) {
		session_fail(s, 555, "5.5.4", "parameter not known here");
		return;
	}
	if (s->n_rcpts >= s->conf.rcpts_max) {
		session_fail(
		    s, 452, "4.5.3", "too many recipients, send the rest later");
		return;
	}
	session_ask(s, ASK_RCPT);
	s->final = false;
	s->ops->rcpt(s->arg, &path, &rcpt);
}

static void
cmd_data(struct session *s, struct str args)
{
	if (args.len > 0) {
		session_fail(s, 501, "5.5.4", "DATA takes no argument");
		return;
	}
	session_ask(s, ASK_DATA);
	s->final = true;
	s->ops->data(s->arg);
}

/* --- the small ones --- */

static void
cmd_rset(struct session *s, struct str args)
{
	if (args.len > 0) {
		session_fail(s, 501, "5.5.4", "RSET takes no argument");
		return;
	}
	session_reset_mail(s);
	session_say(s, 250, "2.0.0", "ok");
}

static void
cmd_noop(struct session *s, struct str args)
{
	(void)args;
	session_say(s, 250, "2.0.0", "ok");
}

static void
cmd_vrfy(struct session *s, struct str args)
{
	if (args.len == 0)
		session_fail(s, 501, "5.5.4", "whom?");
	else /* RFC 5321 3.5.3: the same for whoever exists and whoever does not */
		session_say(s, 252, "2.1.5", "send mail, and you will see");
}

static void
cmd_help(struct session *s, struct str args)
{
	(void)args;
	session_say(s, 214, "2.0.0",
	    "EHLO HELO MAIL RCPT DATA RSET NOOP VRFY HELP QUIT: see RFC 5321");
}

static void
cmd_quit(struct session *s, struct str args)
{
	(void)args;
	session_end(s, 221, "2.0.0", "good bye");
}

static void
cmd_absent(struct session *s, struct str args)
{
	(void)args;
	session_fail(s, 502, "5.5.1", "command not offered");
}

/* Its octets would be read as commands: no going on after it. */
static void
cmd_bdat(struct session *s, struct str args)
{
	(void)args;
	session_end(s, 502, "5.5.1", "CHUNKING was not offered");
}

/* --- XCLIENT, XFORWARD --- */

/* Read the attributes; false: answered. */
static bool
attrs(struct session *s, struct str args, bool client, struct session_attrs *out)
{
	struct err err;

	if (!s->trusted) {
		session_fail(s, 550, "5.7.0", "not for this client");
		return false;
	}
	if (session_attrs_read(args, client, out, &err) < 0) {
		session_attrs_clear(out);
		session_fail(s, 501, "5.5.4", "%s", err.text);
		return false;
	}
	return true;
}

static void
cmd_xclient(struct session *s, struct str args)
{
	struct session_attrs a;

	if (!attrs(s, args, true, &a))
		return;
	session_set_state(s, SESSION_GREETING);
	s->extended = false;
	session_ask(s, ASK_CONNECT);
	s->final = true;
	s->ops->xclient(s->arg, &a);
	session_attrs_clear(&a);
}

static void
cmd_xforward(struct session *s, struct str args)
{
	struct session_attrs a;

	if (!attrs(s, args, false, &a))
		return;
	s->ops->xforward(s->arg, &a);
	session_attrs_clear(&a);
	session_say(s, 250, "2.0.0", "ok");
}

void
session_attrs_clear(struct session_attrs *a)
{
	free(a->name);
	free(a->helo);
	free(a->proto);
	free(a->login);
	free(a->ident);
	free(a->source);
	*a = (struct session_attrs){ .name = NULL };
}

/* "[UNAVAILABLE]" and "[TEMPUNAVAIL]" say that the host in front does not know. */
static bool
unavailable(struct str v)
{
	return str_is_nocase(v, "[UNAVAILABLE]") || str_is_nocase(v, "[TEMPUNAVAIL]");
}

static int
attr_addr(struct str v, struct ip *out, struct err *err)
{
	*out = (struct ip){ .family = 0 };
	if (unavailable(v))
		return 0;
	if (str_starts_nocase(v, STR("IPV6:")))
		v = str_sub(v, 5, v.len);
	return ip_parse(v, out) ? 0 : err_set(err, "not an address");
}

static int
attr_port(struct str v, uint16_t *out, struct err *err)
{
	uint64_t port = 0;

	if (!unavailable(v) && !str_to_uint(v, 0, 65535, &port))
		return err_set(err, "not a port");
	*out = (uint16_t)port;
	return 0;
}

static char **
attr_field(struct str name, bool client, struct session_attrs *a)
{
	const struct {
		const char *name;
		bool client, forward;
		char **field;
	} fields[] = {
		{ "NAME", true, true, &a->name },
		{ "HELO", true, true, &a->helo },
		{ "PROTO", true, true, &a->proto },
		{ "LOGIN", true, false, &a->login },
		{ "IDENT", false, true, &a->ident },
		{ "SOURCE", false, true, &a->source },
	};

	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
		if (str_is_nocase(name, fields[i].name) &&
		    (client ? fields[i].client : fields[i].forward))
			return fields[i].field;
	return NULL;
}

static int
attr_set(struct str name, struct str value, bool client, struct session_attrs *a,
    struct err *err)
{
	struct ip ignored_ip;
	uint16_t ignored_port;
	char **field;

	if (str_is_nocase(name, "ADDR")) {
		a->has_addr = true;
		return attr_addr(value, &a->addr, err);
	}
	if (str_is_nocase(name, "PORT")) {
		a->has_port = true;
		return attr_port(value, &a->port, err);
	}
	/* Where the client connected to: checked, not used. */
	if (client && str_is_nocase(name, "DESTADDR"))
		return attr_addr(value, &ignored_ip, err);
	if (client && str_is_nocase(name, "DESTPORT"))
		return attr_port(value, &ignored_port, err);
	field = attr_field(name, client, a);
	if (field == NULL)
		return err_set(err, "unknown attribute");
	free(*field);
	*field = unavailable(value) ? xstrdup("") : str_dup(value);
	return 0;
}

int
session_attrs_read(
    struct str args, bool client, struct session_attrs *out, struct err *err)
{
	struct str text, name;
	struct buf value;
	int rc = 0;

	*out = (struct session_attrs){ .name = NULL };
	if (args.len == 0)
		return err_set(err, "expected NAME=value");
	buf_init(&value, 255);
	while (rc == 0 && str_word(&args, &text)) {
		struct str rest = text;

		buf_reset(&value);
		if (!str_has(text, '=') || !str_cut(&rest, '=', &name))
			rc = err_set(err, "expected NAME=value");
		else if (rest.len == 0)
			rc = err_set(err, "attribute without a value");
		else
			rc = smtp_xtext_decode(rest, &value, err);
		for (size_t i = 0; rc == 0 && i < value.len; i++)
			if ((unsigned char)value.p[i] >= 0x80)
				rc = err_set(err, "8-bit octet in an attribute");
		if (rc == 0)
			rc = attr_set(name, buf_str(&value), client, out, err);
	}
	buf_clear(&value);
	return rc;
}

/* --- the table --- */

static const struct session_verb verbs[] = {
	{ "EHLO", GREETED, true, true, cmd_ehlo },
	{ "HELO", GREETED, true, true, cmd_helo },
	{ "MAIL", ST(SESSION_READY), false, false, cmd_mail },
	{ "RCPT", ST(SESSION_MAIL) | ST(SESSION_RCPT), false, false, cmd_rcpt },
	{ "DATA", ST(SESSION_RCPT), true, false, cmd_data },
	{ "RSET", GREETED, false, true, cmd_rset },
	{ "NOOP", GREETED, false, true, cmd_noop },
	{ "VRFY", GREETED, false, true, cmd_vrfy },
	{ "HELP", ALL, false, true, cmd_help },
	{ "QUIT", ALL, false, false, cmd_quit },
	{ "XCLIENT", ST(SESSION_START) | ST(SESSION_READY), true, false, cmd_xclient },
	{ "XFORWARD", ST(SESSION_READY), false, false, cmd_xforward },
	{ "EXPN", ALL, false, true, cmd_absent },
	{ "ETRN", ALL, false, true, cmd_absent },
	{ "TURN", ALL, false, true, cmd_absent },
	{ "SEND", ALL, false, true, cmd_absent },
	{ "SOML", ALL, false, true, cmd_absent },
	{ "SAML", ALL, false, true, cmd_absent },
	{ "STARTTLS", ALL, true, true, cmd_absent },
	{ "AUTH", ALL, true, true, cmd_absent },
	{ "BDAT", ALL, true, true, cmd_bdat },
};

const struct session_verb *
session_verb_find(struct str verb)
{
	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++)
		if (str_is_nocase(verb, verbs[i].name))
			return &verbs[i];
	return NULL;
}

void
session_out_of_order(struct session *s)
{
	switch (s->state) {
	case SESSION_REFUSED:
		session_fail(s, 503, "5.5.1", "this client is refused, please QUIT");
		break;
	case SESSION_START:
		session_fail(s, 503, "5.5.1", "say EHLO first");
		break;
	case SESSION_READY:
		session_fail(s, 503, "5.5.1", "a sender first: MAIL FROM:<address>");
		break;
	case SESSION_MAIL:
		session_fail(s, 503, "5.5.1", "a valid recipient first, or RSET");
		break;
	case SESSION_RCPT:
		session_fail(s, 503, "5.5.1", "not within a transaction, RSET first");
		break;
	case SESSION_GREETING: /* nothing is read in these */
	case SESSION_DATA:
	case SESSION_MESSAGE:
	case SESSION_CLOSED:
		break;
	}
}

bool
session_verb_foreign(struct str verb)
{
	static const char *const http[] = { "GET", "POST", "HEAD", "PUT", "CONNECT",
		"OPTIONS", "DELETE", "PATCH", "TRACE" };

	for (size_t i = 0; i < sizeof(http) / sizeof(http[0]); i++)
		if (str_is_nocase(verb, http[i]))
			return true;
	return false;
}

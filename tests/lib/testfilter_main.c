/* SPDX-License-Identifier: BSD-2-Clause */
/* A daemon like ours whose verdicts the addresses choose, for tests of the glue and of
 *the process tree.  The local part of a recipient says what happens at RCPT:
 *
 *	wait250      wait 250 ms for an answer that never comes, then continue
 *	reject, tempfail, misfit, percent, long, discard, quarantine (illegal there),
 *crash facts, counts, mark     refuse with what is known as the text edit, body, empty,
 *badbody   record edits for the end of message and that of the sender the same at MAIL,
 *or, behind "eoh-" and "eom-", at these steps. */
#include <fcntl.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/conf.h"
#include "common/base/log.h"
#include "common/base/xalloc.h"
#include "common/run/daemon.h"
#include "common/run/spool.h"

struct snapshot {
	char *socket, *log, *metrics, *mark, *start, *spool_dir;
	int64_t drain;
};

#define TEXT(setting, field, value)                                                    \
	{                                                                              \
		.name = setting, .type = CONF_STRING,                                  \
		.offset = offsetof(struct snapshot, field), .def = value               \
	}

static const struct conf_setting settings[] = {
	TEXT("socket", socket, NULL),
	TEXT("log", log, "stderr"),
	TEXT("metrics", metrics, NULL),
	TEXT("mark", mark, "none"),
	TEXT("start", start, NULL), /* "fail", "hang" */
	TEXT("spool", spool_dir, "/tmp"),
	{ .name = "drain",
	    .type = CONF_TIME,
	    .offset = offsetof(struct snapshot, drain),
	    .def = "5s",
	    .max = 600 },
};
static const struct conf_table table = { "testfilter", settings,
	sizeof(settings) / sizeof(settings[0]), sizeof(struct snapshot) };

static _Atomic(struct snapshot *) current; /* old ones are kept: a test is short */
static atomic_int conns, open_messages, cleared;

struct conn {
	struct snapshot *set;
	char at_eoh[64], at_eom[64];
	size_t headers, octets;
	bool open;
};

static void
snapshot_unref(void *p)
{
	conf_clear(&table, p);
	free(p);
}

static bool
load(const char *path, struct daemon_conf *conf, struct errs *errs)
{
	struct conf_tree *tree = path == NULL ? NULL : conf_parse_file(path, errs);
	struct snapshot *s = xcalloc(1, sizeof(*s));

	conf_defaults(&table, s);
	for (const struct conf_node *n = tree == NULL ? NULL : conf_root(tree);
	     n != NULL; n = n->next) {
		const struct conf_setting *setting = conf_find(&table, n->name.text);

		if (setting == NULL)
			errs_add(errs, n->name.file, n->name.line, "unknown setting");
		else
			conf_set(setting, n, s, errs);
	}
	conf_free(tree);
	if (errs->n > 0 || tree == NULL) {
		if (errs->n == 0)
			errs_add(errs, NULL, 0, "no file");
		snapshot_unref(s);
		return false;
	}
	conf->socket = xstrdup(s->socket);
	conf->socket_mode = 0660;
	conf->log_target = xstrdup(s->log);
	conf->log_level = LOG_LEVEL_DEBUG;
	conf->drain = s->drain;
	conf->metrics = xstrdup(s->metrics);
	conf->snapshot = s;
	return true;
}

static int
start(void *snapshot, struct err *err)
{
	struct snapshot *s = snapshot;

	atomic_store(&current, s);
	if (strcmp(s->start, "fail") == 0)
		return err_set(err, "told to fail");
	while (strcmp(s->start, "hang") == 0)
		pause();
	return 0;
}

static void
reload(void *snapshot, struct errs *errs)
{
	(void)errs;
	atomic_store(&current, snapshot);
}

static void
stop(void)
{
	log_msg(LOG_LEVEL_INFO, "stop", "engines down");
}

static void *
conn_new(struct milter_session *s)
{
	struct conn *c = xcalloc(1, sizeof(*c));

	(void)s;
	c->set = atomic_load(&current);
	atomic_fetch_add(&conns, 1);
	return c;
}

static void
conn_free(void *conn)
{
	free(conn);
	atomic_fetch_sub(&conns, 1);
}

static void
msg_clear(void *conn)
{
	struct conn *c = conn;

	c->at_eoh[0] = c->at_eom[0] = '\0';
	c->headers = c->octets = 0;
	if (c->open)
		atomic_fetch_sub(&open_messages, 1);
	c->open = false;
	atomic_fetch_add(&cleared, 1);
}

static void
wait_ms(struct milter_session *s, int64_t ms)
{
	struct future *never = future_new(NULL);

	milter_wait(s, never, clock_mono_ms() + ms);
	future_unref(never);
}

static struct verdict
facts(struct milter_session *s)
{
	const struct milter_client *c = milter_client(s);
	const char *mailer = milter_macro(s, "rcpt_mailer");
	const char *mail_addr = milter_macro(s, "{mail_addr}");
	char ip[IP_TEXT_MAX];

	return verdict_refuse(550, "5.7.1", "facts",
	    "ip=%s port=%u name=%s ok=%d helo=%s auth=%s/%s id=%s daemon=%s mta=%s "
	    "tls=%s "
	    "rcpt_mailer=%s mail_addr=%s",
	    ip_format(&c->ip, ip), c->port, c->name, c->name_confirmed, c->helo,
	    c->auth, c->auth_type, c->queue_id, c->daemon, c->mta, c->tls,
	    mailer == NULL ? "-" : mailer, mail_addr == NULL ? "-" : mail_addr);
}

static void
edit(struct milter_session *s)
{
	struct err err = { 0 };
	int r = milter_add_header(s, STR("X-Added"), STR("folded\n\tvalue"), &err);

	r |= milter_change_header(s, 1, STR("Subject"), STR("changed"), &err);
	r |= milter_add_rcpt(s, STR("<new@x.example>"), &err);
	r |= milter_change_header(s, 3, STR("Received"), STR(""), &err);
	r |= milter_insert_header(s, 0, STR("X-First"), STR("one"), &err);
	r |= milter_change_header(s, 2, STR("Received"), STR(""), &err);
	r |= milter_delete_rcpt(s, STR("<edit@x.example>"), &err);
	r |= milter_insert_header(s, 1, STR("X-Second"), STR("two"), &err);
	r |= milter_change_from(s, STR(""), &err);
	/* What is not legal leaves no trace. */
	if (milter_add_header(s, STR("X Bad"), STR("v"), &err) == 0 ||
	    milter_add_header(s, STR("X-Bad"), STR("a\r\nInjected: b"), &err) == 0 ||
	    milter_add_header(s, STR("X-Bad"), STR("a\nInjected: b"), &err) == 0 ||
	    milter_add_rcpt(s, STR("a@b\r\nRCPT TO:<c>"), &err) == 0 || r != 0)
		log_msg(
		    LOG_LEVEL_ERR, "edit", "edits are judged wrongly: %s", err.text);
}

static void
new_body(struct milter_session *s, const struct conn *c, size_t len)
{
	char line[1000];
	struct spool spool;
	struct err err = { 0 };

	memset(line, 'x', sizeof(line));
	memcpy(line + sizeof(line) - 2, "\r\n", 2);
	spool_init(&spool, c->set->spool_dir, 100u << 20);
	for (size_t done = 0; done < len; done += sizeof(line))
		spool_add(&spool, (struct str){ line, sizeof(line) }, &err);
	int fd = spool_take_fd(&spool, &err);
	if (fd < 0 || milter_replace_body_fd(s, fd, &err) < 0)
		log_err("body", &err);
}

/* Opened for writing only: it can be measured but not read. */
static void
bad_body(struct milter_session *s)
{
	char name[] = "/tmp/testfilter.XXXXXX";
	struct err err = { 0 };
	int made = mkstemp(name);
	int fd = open(name, O_WRONLY | O_CLOEXEC);

	unlink(name);
	if (write(fd, "text", 4) != 4 || milter_replace_body_fd(s, fd, &err) < 0)
		log_err("body", &err);
	close(made);
}

static struct verdict
refusal(const char *word)
{
	struct verdict v = { .action = ACTION_CONTINUE };

	if (strcmp(word, "reject") == 0)
		return verdict_refuse(550, "5.7.1", "reject", "no, and that is final");
	if (strcmp(word, "tempfail") == 0)
		return verdict_refuse(451, "4.7.1", "tempfail", "come back later");
	if (strcmp(word, "percent") == 0)
		return verdict_refuse(
		    550, "5.7.1", "percent", "100%% sure, %%s and %%n");
	if (strcmp(word, "misfit") == 0)
		return (struct verdict){ .action = ACTION_REJECT,
			.code = 451,
			.enhanced = "4.x.1",
			.text = "a\rb\nc\x80" };
	if (strcmp(word, "discard") == 0)
		v.action = ACTION_DISCARD;
	if (strcmp(word, "quarantine") == 0)
		v = (struct verdict){ .action = ACTION_QUARANTINE,
			.text = "held\r\nfor you" };
	if (strcmp(word, "long") == 0) {
		v = verdict_refuse(550, "5.7.1", "long", "%s", "");
		for (size_t i = 0; i < sizeof(v.text) - 1; i++)
			v.text[i] = i % 50 == 49 ? ' ' : '%';
	}
	return v;
}

static struct verdict
act(struct milter_session *s, struct conn *c, const char *word)
{
	uint64_t ms;

	if (str_starts(str_of(word), STR("wait")) &&
	    str_to_uint(str_of(word + 4), 0, 100000, &ms))
		wait_ms(s, (int64_t)ms);
	else if (strcmp(word, "crash") == 0)
		abort();
	else if (strcmp(word, "facts") == 0)
		return facts(s);
	else if (strcmp(word, "mark") == 0)
		return verdict_refuse(550, "5.7.1", "mark", "mark=%s", c->set->mark);
	else if (strcmp(word, "counts") == 0)
		return verdict_refuse(550, "5.7.1", "counts",
		    "conns=%d messages=%d headers=%zu octets=%zu", atomic_load(&conns),
		    atomic_load(&open_messages), c->headers, c->octets);
	else if (strcmp(word, "edit") == 0)
		edit(s);
	else if (strcmp(word, "body") == 0)
		new_body(s, c, 300000);
	else if (strcmp(word, "empty") == 0)
		new_body(s, c, 0);
	else if (strcmp(word, "badbody") == 0)
		bad_body(s);
	return refusal(word);
}

/* The local part of a path, in out. */
static const char *
local(struct str path, char out[64])
{
	size_t n = 0;

	for (size_t i = 0; i < path.len && path.p[i] != '@' && n < 63; i++)
		if (path.p[i] != '<' && path.p[i] != '>')
			out[n++] = path.p[i];
	out[n] = '\0';
	return out;
}

static struct verdict
on_connect(struct milter_session *s, void *conn)
{
	char ip[IP_TEXT_MAX];

	(void)conn;
	if (strcmp(ip_format(&milter_client(s)->ip, ip), "192.0.2.66") == 0)
		return (
		    struct verdict){ .action = ACTION_DISCARD }; /* not legal there */
	return verdict_continue("ok");
}

static struct verdict
on_mail(struct milter_session *s, void *conn, struct str path, const struct str *args,
    size_t n_args)
{
	struct conn *c = conn;
	char word[64];

	(void)args;
	(void)n_args;
	c->open = true;
	atomic_fetch_add(&open_messages, 1);
	local(path, word);
	if (strncmp(word, "eoh-", 4) == 0)
		snprintf(c->at_eoh, sizeof(c->at_eoh), "%s", word + 4);
	else if (strncmp(word, "eom-", 4) == 0)
		snprintf(c->at_eom, sizeof(c->at_eom), "%s", word + 4);
	else
		return act(s, c, word);
	return verdict_continue("later");
}

static struct verdict
on_rcpt(struct milter_session *s, void *conn, struct str path, const struct str *args,
    size_t n_args)
{
	char word[64];

	(void)args;
	(void)n_args;
	return act(s, conn, local(path, word));
}

static void
on_header(struct milter_session *s, void *conn, struct str name, struct str value)
{
	struct conn *c = conn;

	(void)s;
	c->headers += name.len > 0;
	c->octets += value.len;
}

static struct verdict
on_eoh(struct milter_session *s, void *conn)
{
	struct conn *c = conn;

	return act(s, c, c->at_eoh);
}

static void
on_body(struct milter_session *s, void *conn, struct str chunk)
{
	struct conn *c = conn;

	(void)s;
	c->octets += chunk.len;
}

static struct verdict
on_eom(struct milter_session *s, void *conn)
{
	struct conn *c = conn;

	return act(s, c, c->at_eom);
}

static const struct milter_ops milter = {
	.name = "testfilter",
	.conn_new = conn_new,
	.conn_free = conn_free,
	.msg_clear = msg_clear,
	.on_connect = on_connect,
	.on_mail = on_mail,
	.on_rcpt = on_rcpt,
	.on_header = on_header,
	.on_eoh = on_eoh,
	.on_body = on_body,
	.on_eom = on_eom,
	.changes_headers = true,
	.changes_body = true,
	.changes_envelope = true,
	.quarantines = true,
};

static const struct daemon_ops ops = {
	.name = "testfilter",
	.version = "0",
	.milter = &milter,
	.load = load,
	.snapshot_unref = snapshot_unref,
	.start = start,
	.reload = reload,
	.stop = stop,
};

int
main(int argc, char **argv)
{
	return daemon_main(argc, argv, &ops);
}

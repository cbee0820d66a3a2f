/* SPDX-License-Identifier: BSD-2-Clause */
/* postern-greylist: binds libmilter's callbacks to judging (policy/greylist_judge.h) and to
 * the process (greylist_worker.c).
 *
 * A recipient is deferred at RCPT, each by itself.  Mail of the null sender is judged
 * at the end of its header instead, so that others can verify our senders' addresses by
 * a callout (MAIL FROM:<>, RCPT, QUIT); then one answer serves all recipients. */
#include <stdlib.h>

#include "common/base/xalloc.h"
#include "common/run/daemon.h"
#include "milters/greylist/greylist_worker.h"
#include "policy/greylist_judge.h"

#define NULL_RCPTS_MAX 100 /* recipients of one bounce; RFC 5321 4.5.3.1.8 */
#define SENT_MAX 1000 /* recipients of one mail of ours that become correspondents */

struct conn {
	struct settings *settings;
	/* Of the message. */
	struct judge_message message;
	/* Recipients, as typed: those of the null sender, who are judged later, and those of
	 * mail of ours. */
	char **rcpts;
	size_t n_rcpts;
};

static void *
conn_new(struct milter_session *s)
{
	struct conn *c = xcalloc(1, sizeof(*c));

	(void)s;
	c->settings = greylist_worker_settings();
	return c;
}

static void
msg_clear(void *conn)
{
	struct conn *c = conn;

	for (size_t i = 0; i < c->n_rcpts; i++)
		free(c->rcpts[i]);
	free(c->rcpts);
	c->rcpts = NULL;
	c->n_rcpts = 0;
	judge_clear(&c->message);
}

static void
conn_free(void *conn)
{
	struct conn *c = conn;

	msg_clear(c);
	settings_unref(c->settings);
	free(c);
}

static struct verdict
on_mail(struct milter_session *s, void *conn, struct str path, const struct str *args,
    size_t n_args)
{
	struct conn *c = conn;

	(void)args, (void)n_args;
	judge_begin(
	    &c->message, s, GREYLIST_AT_RCPT, c->settings, greylist_worker_env(), path);
	judge_ahead_of_rcpt(&c->message, s);
	return verdict_continue("greylist");
}

static void
keep_recipient(struct conn *c, struct str rcpt)
{
	if ((c->n_rcpts & (c->n_rcpts - 1)) == 0)
		c->rcpts = xreallocarray(
		    c->rcpts, c->n_rcpts > 0 ? c->n_rcpts * 2 : 1, sizeof(*c->rcpts));
	c->rcpts[c->n_rcpts++] = str_dup(str_sub(rcpt, 0, JUDGE_PATH_MAX));
}

static struct verdict
on_null_rcpt(struct conn *c, struct str rcpt)
{
	if (c->n_rcpts == NULL_RCPTS_MAX)
		return verdict_refuse(452, "4.5.3", "too many recipients",
		    "Too many recipients of a message without sender, send the rest "
		    "again");
	keep_recipient(c, rcpt);
	return verdict_continue("later");
}

static struct verdict
on_rcpt(struct milter_session *s, void *conn, struct str path, const struct str *args,
    size_t n_args)
{
	struct conn *c = conn;

	(void)args, (void)n_args;
	if (c->message.null_sender)
		return on_null_rcpt(c, path);
	struct verdict v = judge_recipient(&c->message, s, path);
	if (c->message.inside && v.action == ACTION_CONTINUE && c->n_rcpts < SENT_MAX)
		keep_recipient(c, path);
	return v;
}

static void
on_header(struct milter_session *s, void *conn, struct str name, struct str value)
{
	struct conn *c = conn;

	(void)s, (void)value;
	judge_header(&c->message, name);
}

static struct verdict
on_eoh(struct milter_session *s, void *conn)
{
	struct conn *c = conn;

	return c->message.null_sender && c->n_rcpts > 0
	    ? judge_together(&c->message, s, c->rcpts, c->n_rcpts)
	    : verdict_continue("greylist");
}

static struct verdict
on_eom(struct milter_session *s, void *conn)
{
	struct conn *c = conn;

	judge_mark(&c->message, s);
	for (size_t i = 0; i < c->n_rcpts && !c->message.null_sender; i++)
		judge_sent(&c->message, s, str_of(c->rcpts[i]));
	return verdict_continue("greylist");
}

int
main(int argc, char **argv)
{
	static const struct milter_ops milter = { .name = "postern-greylist",
		.conn_new = conn_new,
		.conn_free = conn_free,
		.msg_clear = msg_clear,
		.on_mail = on_mail,
		.on_rcpt = on_rcpt,
		.on_header = on_header,
		.on_eoh = on_eoh,
		.on_eom = on_eom,
		.changes_headers = true };
	static const struct daemon_ops ops = { .name = "postern-greylist",
		.version = "1",
		.milter = &milter,
		.load = greylist_worker_load,
		.snapshot_unref = greylist_worker_snapshot_unref,
		.start = greylist_worker_start,
		.reload = greylist_worker_reload,
		.stop = greylist_worker_stop };

	return daemon_main(argc, argv, &ops);
}

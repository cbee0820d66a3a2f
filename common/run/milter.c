/* SPDX-License-Identifier: BSD-2-Clause */
/* libmilter's callbacks.  Decides what is negotiated, when a message begins and ends,
 * which verdict is legal at which step, and that no edit leaves before everything that
 * can fail is behind.  What a verdict says is the engines' business.  Only steps that
 * are used are asked for; DATA never: a refusal there ends the transaction in neither
 * MTA. */
#include "common/run/milter.h"

#include <assert.h>
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/metrics.h"
#include "common/base/xalloc.h"
#include "common/run/milter_facts.h"
#include "common/run/milter_ping.h"
#include "common/run/milter_private.h"
#include "common/run/milter_reply.h"

#define LINK_TIMEOUT                                                                   \
	600 /* seconds of silence on a connection, and of a packet's rest */
#define THREAD_STACK (1u << 20)
#define BRIEF_MS 2 /* waits that hold up nobody: see milter_ping.h */
#define PROGRESS_MS                                                                    \
	4000 /* sendmail's limit between packets at end of message is 10 s */
#define ESMTP_ARGS_MAX 64

/* One filter per process, as libmilter has it.  ops is set before the first callback.
 */
static struct {
	const struct milter_ops *ops;
	void (*ready)(void *arg);
	void *ready_arg;
	_Atomic uint64_t last_id;
	atomic_uint running; /* callbacks inside the daemon's engines */
	atomic_uint messages, connections;
	atomic_bool closed; /* milter_stop() was called */
	atomic_bool told_missing;
} glue;

METRIC_COUNTER(connections_total, "postern_milter_connections_total", NULL,
    "Connections from MTAs");
METRIC_COUNTER(
    messages_total, "postern_milter_messages_total", NULL, "Messages begun (MAIL)");
METRIC_COUNTER(misfits_total, "postern_milter_misfits_total", NULL,
    "Verdicts and edits that failed and became a tempfail");
METRIC_COUNTER(
    waits_total, "postern_milter_waits_total", NULL, "Callbacks that had to wait");
METRIC_HISTOGRAM(wait_time, "postern_milter_wait_seconds", NULL,
    "Time that callbacks waited for answers");

#define STEP_METRIC(var, step)                                                         \
	METRIC_HISTOGRAM(var, "postern_milter_callback_seconds", "step=\"" step "\"",  \
	    "Time inside callbacks, waiting included")
STEP_METRIC(time_connect, "connect");
STEP_METRIC(time_helo, "helo");
STEP_METRIC(time_mail, "mail");
STEP_METRIC(time_rcpt, "rcpt");
STEP_METRIC(time_eoh, "eoh");
STEP_METRIC(time_eom, "eom");

static const struct {
	const char *name;
	struct metric *time;
} steps[STEPS] = {
	[STEP_CONNECT] = { "connect", &time_connect },
	[STEP_HELO] = { "helo", &time_helo },
	[STEP_MAIL] = { "mail", &time_mail },
	[STEP_RCPT] = { "rcpt", &time_rcpt },
	[STEP_EOH] = { "eoh", &time_eoh },
	[STEP_EOM] = { "eom", &time_eom },
};

const struct milter_client *
milter_client(struct milter_session *s)
{
	return &s->client;
}

uint64_t
milter_session_id(const struct milter_session *s)
{
	return s->id;
}

unsigned
milter_active_messages(void)
{
	return atomic_load(&glue.messages);
}

unsigned
milter_active_connections(void)
{
	return atomic_load(&glue.connections);
}

/* A callback may call engines only between enter() and leave(). */
static bool
enter(void)
{
	atomic_fetch_add(&glue.running, 1);
	if (!atomic_load(&glue.closed))
		return true;
	atomic_fetch_sub(&glue.running, 1);
	return false;
}

static void
leave(void)
{
	atomic_fetch_sub(&glue.running, 1);
}

bool
milter_wait(struct milter_session *s, struct future *f, int64_t deadline_ms)
{
	int64_t begin = clock_mono_us(), now_ms = begin / 1000;
	bool done = future_done(f);

	if (done || now_ms >= deadline_ms)
		return done;
	metric_add(&waits_total, 1);
	/* A store nearby answers sooner than another thread could be had. */
	if (deadline_ms - now_ms > BRIEF_MS)
		done = future_wait(f, now_ms + BRIEF_MS);
	if (done) {
		metric_observe_us(&wait_time, clock_mono_us() - begin);
		return true;
	}
	now_ms = clock_mono_ms();
	milter_ping_blocked();
	while (!done && now_ms < deadline_ms) {
		int64_t slice = now_ms + PROGRESS_MS;

		done = future_wait(f, slice < deadline_ms ? slice : deadline_ms);
		now_ms = clock_mono_ms();
		if (!done && now_ms < deadline_ms && s->at_eom)
			smfi_progress(s->ctx);
	}
	milter_ping_unblocked();
	metric_observe_us(&wait_time, clock_mono_us() - begin);
	return done;
}

/* A verdict or edit that cannot be carried out: the mail stays with the sender. */
static sfsistat
misfit(
    struct milter_session *s, enum milter_step step, const char *what, const char *why)
{
	struct logline l;
	char code[] = "451", enhanced[] = "4.3.0",
	     text[] = "internal error, try again later";

	metric_add(&misfits_total, 1);
	logline_init(&l, LOG_LEVEL_ERR, "milter.misfit");
	logline_int(&l, "session", (int64_t)s->id);
	logline_cstr(&l, "queue_id", s->client.queue_id);
	logline_cstr(&l, "step", steps[step].name);
	logline_cstr(&l, "what", what);
	logline_cstr(&l, "msg", why);
	logline_send(&l);
	smfi_setreply(s->ctx, code, enhanced, text);
	return SMFIS_TEMPFAIL;
}

static sfsistat
refuse(struct milter_session *s, enum milter_step step, const struct verdict *v)
{
	struct milter_reply r;
	char *line[MILTER_REPLY_LINES + 1] = { NULL };

	static_assert(MILTER_REPLY_LINES == 6, "the call below names each line");
	if (milter_reply_make(v, &r)) {
		for (unsigned i = 0; i < r.n_lines; i++)
			line[i] = r.lines[i];
		if (smfi_setmlreply(s->ctx, r.code, r.enhanced, line[0], line[1],
			line[2], line[3], line[4], line[5], NULL) != MI_SUCCESS)
			return misfit(
			    s, step, "reply", "libmilter does not take the text");
	}
	return v->action == ACTION_REJECT ? SMFIS_REJECT : SMFIS_TEMPFAIL;
}

static sfsistat
answer(struct milter_session *s, enum milter_step step, const struct verdict *v)
{
	switch (v->action) {
	case ACTION_CONTINUE:
		return SMFIS_CONTINUE;
	case ACTION_REJECT:
	case ACTION_TEMPFAIL:
		return refuse(s, step, v);
	case ACTION_DISCARD:
		if (step <
		    STEP_MAIL) /* ignored by one MTA, the other drops the filter */
			return misfit(s, step, "discard", "there is no message yet");
		return SMFIS_DISCARD;
	case ACTION_QUARANTINE:
		if (step !=
		    STEP_EOM) /* Postfix would hold every message of the connection */
			return misfit(
			    s, step, "quarantine", "only a whole message can be held");
		return SMFIS_CONTINUE;
	}
	return misfit(s, step, "verdict", "unknown action");
}

static void
message_end(struct milter_session *s)
{
	milter_edits_clear(&s->edits);
	if (!s->in_message)
		return;
	s->in_message = false;
	if (glue.ops->msg_clear != NULL && s->conn != NULL)
		glue.ops->msg_clear(s->conn);
	milter_facts_message_end(s);
	atomic_fetch_sub(&glue.messages, 1);
}

static void
connection_begin(struct milter_session *s)
{
	if (s->connected)
		return;
	s->connected = true;
	atomic_fetch_add(&glue.connections, 1);
	metric_add(&connections_total, 1);
	if (glue.ops->conn_new != NULL)
		s->conn = glue.ops->conn_new(s);
}

/* What follows a verdict: a refusal of MAIL, of the end of headers or of the message,
 * and a discard anywhere, end the message for us; the MTAs tell that by no command. */
static sfsistat
finish(struct milter_session *s, enum milter_step step, sfsistat r, int64_t begin_us)
{
	metric_observe_us(steps[step].time, clock_mono_us() - begin_us);
	if (step == STEP_EOM ||
	    (step >= STEP_MAIL && r != SMFIS_CONTINUE &&
		(step != STEP_RCPT || r == SMFIS_DISCARD)))
		message_end(s);
	leave();
	return r;
}

static struct milter_session *
session_of(SMFICTX *ctx)
{
	struct milter_session *s = smfi_getpriv(ctx);

	if (s != NULL)
		s->ctx = ctx;
	return s;
}

static sfsistat
cb_connect(SMFICTX *ctx, char *host, _SOCK_ADDR *address)
{
	struct milter_session *s = session_of(ctx);
	int64_t begin = clock_mono_us();
	struct verdict v = { .action = ACTION_CONTINUE };

	if (s == NULL || !enter())
		return SMFIS_TEMPFAIL;
	milter_facts_connect(s, host, address);
	connection_begin(s);
	if (glue.ops->on_connect != NULL)
		v = glue.ops->on_connect(s, s->conn);
	sfsistat r = finish(s, STEP_CONNECT, answer(s, STEP_CONNECT, &v), begin);
	return (s->protocol & SMFIP_NR_CONN) != 0 ? SMFIS_NOREPLY : r;
}

static sfsistat
cb_helo(SMFICTX *ctx, char *helo)
{
	struct milter_session *s = session_of(ctx);
	int64_t begin = clock_mono_us();
	struct verdict v = { .action = ACTION_CONTINUE };

	if (s == NULL || !enter())
		return SMFIS_TEMPFAIL;
	connection_begin(s);
	message_end(s); /* EHLO in a transaction ends it (RFC 5321 4.1.4) */
	milter_facts_helo(s, helo);
	if (glue.ops->on_helo != NULL)
		v = glue.ops->on_helo(s, s->conn);
	sfsistat r = finish(s, STEP_HELO, answer(s, STEP_HELO, &v), begin);
	return (s->protocol & SMFIP_NR_HELO) != 0 ? SMFIS_NOREPLY : r;
}

/* argv: path, then ESMTP parameters.  Returns their number. */
static size_t
arguments(char **argv, struct str *path, struct str args[ESMTP_ARGS_MAX])
{
	size_t n = 0;

	*path = str_of(argv[0] == NULL ? "" : argv[0]);
	for (size_t i = 1; argv[0] != NULL && argv[i] != NULL && n < ESMTP_ARGS_MAX;
	     i++)
		args[n++] = str_of(argv[i]);
	return n;
}

static sfsistat
cb_mail(SMFICTX *ctx, char **argv)
{
	struct milter_session *s = session_of(ctx);
	int64_t begin = clock_mono_us();
	struct verdict v = { .action = ACTION_CONTINUE };
	struct str path, args[ESMTP_ARGS_MAX];

	if (s == NULL || !enter())
		return SMFIS_TEMPFAIL;
	connection_begin(s);
	message_end(s);
	s->in_message = true;
	atomic_fetch_add(&glue.messages, 1);
	metric_add(&messages_total, 1);
	milter_facts_step(s, STEP_MAIL);
	size_t n = arguments(argv, &path, args);
	if (glue.ops->on_mail != NULL)
		v = glue.ops->on_mail(s, s->conn, path, args, n);
	sfsistat r = finish(s, STEP_MAIL, answer(s, STEP_MAIL, &v), begin);
	return (s->protocol & SMFIP_NR_MAIL) != 0 ? SMFIS_NOREPLY : r;
}

/* A step of a message that we do not know: its MAIL was refused or never came. */
static sfsistat
stray(struct milter_session *s, enum milter_step step)
{
	sfsistat r = misfit(s, step, "order", "no message is open");

	leave();
	return r;
}

/* The MTA has refused it and only tells us. */
static bool
is_refused(struct milter_session *s)
{
	const char *mailer = milter_macro(s, "rcpt_mailer");

	return (s->protocol & SMFIP_RCPT_REJ) != 0 && mailer != NULL &&
	    strcmp(mailer, "error") == 0;
}

static sfsistat
cb_rcpt(SMFICTX *ctx, char **argv)
{
	struct milter_session *s = session_of(ctx);
	int64_t begin = clock_mono_us();
	struct str path, args[ESMTP_ARGS_MAX];

	if (s == NULL || !enter())
		return SMFIS_TEMPFAIL;
	if (!s->in_message)
		return stray(s, STEP_RCPT);
	milter_facts_step(s, STEP_RCPT);
	size_t n = arguments(argv, &path, args);
	struct verdict v = { .action = ACTION_CONTINUE };
	if (is_refused(s))
		glue.ops->on_rcpt_refused(s, s->conn, path,
		    str_of(milter_macro(s, "rcpt_host")),
		    str_of(milter_macro(s, "rcpt_addr")));
	else
		v = glue.ops->on_rcpt(s, s->conn, path, args, n);
	return finish(s, STEP_RCPT, answer(s, STEP_RCPT, &v), begin);
}

static sfsistat
cb_header(SMFICTX *ctx, char *name, char *value)
{
	struct milter_session *s = session_of(ctx);

	if (s == NULL)
		return SMFIS_TEMPFAIL;
	if (enter()) {
		if (s->in_message)
			glue.ops->on_header(s, s->conn, str_of(name), str_of(value));
		leave();
	}
	return (s->protocol & SMFIP_NR_HDR) != 0 ? SMFIS_NOREPLY : SMFIS_CONTINUE;
}

static sfsistat
cb_eoh(SMFICTX *ctx)
{
	struct milter_session *s = session_of(ctx);
	int64_t begin = clock_mono_us();

	if (s == NULL || !enter())
		return SMFIS_TEMPFAIL;
	if (!s->in_message)
		return stray(s, STEP_EOH);
	milter_facts_step(s, STEP_EOH);
	struct verdict v = glue.ops->on_eoh(s, s->conn);
	return finish(s, STEP_EOH, answer(s, STEP_EOH, &v), begin);
}

static sfsistat
cb_body(SMFICTX *ctx, unsigned char *body, size_t len)
{
	struct milter_session *s = session_of(ctx);

	if (s == NULL)
		return SMFIS_TEMPFAIL;
	if (enter()) {
		if (s->in_message)
			glue.ops->on_body(
			    s, s->conn, (struct str){ (const char *)body, len });
		leave();
	}
	return (s->protocol & SMFIP_NR_BODY) != 0 ? SMFIS_NOREPLY : SMFIS_CONTINUE;
}

static int
send_field(void *to, const struct milter_edit *e)
{
	if (e->kind == MILTER_EDIT_CHANGE)
		return smfi_chgheader(to, e->name, (int)e->index, e->value);
	if (e->kind == MILTER_EDIT_INSERT)
		return smfi_insheader(to, (int)e->index, e->name, e->value);
	return smfi_addheader(to, e->name, e->value);
}

static int
send_path(void *to, const struct milter_edit *e)
{
	if (e->kind == MILTER_EDIT_ADD_RCPT)
		return smfi_addrcpt(to, e->name);
	if (e->kind == MILTER_EDIT_DELETE_RCPT)
		return smfi_delrcpt(to, e->name);
	return smfi_chgfrom(to, e->name, NULL);
}

static int
send_body(void *to, const unsigned char *p, size_t len)
{
	unsigned char *copy = xmalloc(len + 1); /* libmilter's parameter is not const */

	memcpy(copy, p, len);
	int r = smfi_replacebody(to, copy, (int)len);
	free(copy);
	return r;
}

static const struct milter_edits_ops send_ops = { send_field, send_path, send_body };

/* Edits, then the hold: a failure in the middle is a tempfail, and the MTA throws the
 * half edited message away. */
static sfsistat
send_changes(struct milter_session *s, struct verdict *v)
{
	struct err err = { 0 };

	if (milter_edits_send(&s->edits, &send_ops, s->ctx, &err) < 0)
		return misfit(s, STEP_EOM, "edits", err.text);
	if (v->action != ACTION_QUARANTINE)
		return SMFIS_CONTINUE;
	for (char *c = v->text; *c != '\0'; c++)
		if (*c < ' ' || *c > '~')
			*c = '?';
	if (v->text[0] == '\0')
		snprintf(
		    v->text, sizeof(v->text), "%s", v->why == NULL ? "held" : v->why);
	if ((s->actions & SMFIF_QUARANTINE) == 0 ||
	    smfi_quarantine(s->ctx, v->text) != MI_SUCCESS)
		return misfit(s, STEP_EOM, "quarantine", "the MTA does not take it");
	return SMFIS_CONTINUE;
}

static sfsistat
cb_eom(SMFICTX *ctx)
{
	struct milter_session *s = session_of(ctx);
	int64_t begin = clock_mono_us();
	struct verdict v = { .action = ACTION_CONTINUE };

	if (s == NULL || !enter())
		return SMFIS_TEMPFAIL;
	if (!s->in_message)
		return stray(s, STEP_EOM);
	milter_facts_step(s, STEP_EOM);
	s->at_eom = true;
	if (glue.ops->on_eom != NULL)
		v = glue.ops->on_eom(s, s->conn);
	sfsistat r = answer(s, STEP_EOM, &v);
	if (r == SMFIS_CONTINUE)
		r = send_changes(s, &v);
	s->at_eom = false;
	return finish(s, STEP_EOM, r, begin);
}

static sfsistat
cb_abort(SMFICTX *ctx)
{
	struct milter_session *s = session_of(ctx);

	/* Postfix aborts lavishly: idempotent. */
	if (s != NULL && enter()) {
		message_end(s);
		leave();
	}
	return SMFIS_CONTINUE;
}

static sfsistat
cb_close(SMFICTX *ctx)
{
	struct milter_session *s = session_of(ctx);

	smfi_setpriv(ctx, NULL);
	if (s == NULL)
		return SMFIS_CONTINUE;
	/* After milter_stop() the engines are gone, and the process is about to be. */
	if (!enter())
		return SMFIS_CONTINUE;
	message_end(s);
	if (s->connected) {
		if (glue.ops->conn_free != NULL && s->conn != NULL)
			glue.ops->conn_free(s->conn);
		atomic_fetch_sub(&glue.connections, 1);
	}
	milter_facts_clear(s);
	free(s);
	leave();
	return SMFIS_CONTINUE;
}

static unsigned long
wanted_actions(const struct milter_ops *ops)
{
	unsigned long a = SMFIF_SETSYMLIST;

	if (ops->changes_headers)
		a |= SMFIF_ADDHDRS | SMFIF_CHGHDRS;
	if (ops->changes_body)
		a |= SMFIF_CHGBODY;
	if (ops->changes_envelope)
		a |= SMFIF_ADDRCPT | SMFIF_DELRCPT | SMFIF_CHGFROM;
	if (ops->quarantines)
		a |= SMFIF_QUARANTINE;
	return a;
}

/* Connect, HELO and MAIL are always sent to us, for the facts; without a reply where
 * the filter does not judge. */
static unsigned long
wanted_protocol(const struct milter_ops *ops)
{
	unsigned long p = SMFIP_NOUNKNOWN | SMFIP_NODATA;

	p |= ops->on_connect == NULL ? SMFIP_NR_CONN : 0;
	p |= ops->on_helo == NULL ? SMFIP_NR_HELO : 0;
	p |= ops->on_mail == NULL ? SMFIP_NR_MAIL : 0;
	p |= ops->on_rcpt == NULL ? SMFIP_NORCPT : 0;
	p |= ops->on_rcpt_refused != NULL ? SMFIP_RCPT_REJ : 0;
	p |= ops->on_header == NULL ? SMFIP_NOHDRS : SMFIP_NR_HDR;
	p |= ops->on_eoh == NULL ? SMFIP_NOEOH : 0;
	p |= ops->on_body == NULL ? SMFIP_NOBODY : SMFIP_NR_BODY;
	return p;
}

static sfsistat
cb_negotiate(SMFICTX *ctx, unsigned long offered_actions,
    unsigned long offered_protocol, unsigned long f2, unsigned long f3,
    unsigned long *actions, unsigned long *protocol, unsigned long *out2,
    unsigned long *out3)
{
	unsigned long wanted = wanted_actions(glue.ops);
	struct milter_session *s = xcalloc(1, sizeof(*s));

	(void)f2;
	(void)f3;
	s->id = atomic_fetch_add(&glue.last_id, 1) + 1;
	s->ctx = ctx;
	s->actions = *actions = wanted & offered_actions;
	s->protocol = *protocol = wanted_protocol(glue.ops) & offered_protocol;
	*out2 = *out3 = 0;
	milter_edits_init(&s->edits);
	s->client = (struct milter_client){ .name = "",
		.helo = "",
		.auth = "",
		.auth_type = "",
		.queue_id = "",
		.daemon = "",
		.mta = "",
		.tls = "" };
	if (s->actions != wanted && !atomic_exchange(&glue.told_missing, true))
		log_msg(LOG_LEVEL_WARN, "milter.negotiate",
		    "the MTA offers actions 0x%lx, 0x%lx are wanted: edits may fail",
		    offered_actions, wanted);
	if ((offered_actions & SMFIF_SETSYMLIST) != 0)
		milter_facts_ask(ctx);
	if (smfi_setpriv(ctx, s) != MI_SUCCESS) {
		free(s);
		return SMFIS_REJECT;
	}
	return SMFIS_CONTINUE;
}

static int
edit_allowed(const struct milter_session *s, unsigned long action, struct err *err)
{
	if (!s->in_message)
		return err_set(err, "no message is open");
	if ((s->actions & action) == 0)
		return err_set(
		    err, "the MTA did not allow such an edit at negotiation");
	return 0;
}

int
milter_add_header(
    struct milter_session *s, struct str name, struct str value, struct err *err)
{
	if (edit_allowed(s, SMFIF_ADDHDRS, err) < 0)
		return -1;
	return milter_edits_field(&s->edits, MILTER_EDIT_ADD, 0, name, value, err);
}

int
milter_insert_header(struct milter_session *s, unsigned index, struct str name,
    struct str value, struct err *err)
{
	if (edit_allowed(s, SMFIF_ADDHDRS, err) < 0)
		return -1;
	return milter_edits_field(
	    &s->edits, MILTER_EDIT_INSERT, index, name, value, err);
}

int
milter_change_header(struct milter_session *s, unsigned nth, struct str name,
    struct str value, struct err *err)
{
	if (edit_allowed(s, SMFIF_CHGHDRS, err) < 0)
		return -1;
	return milter_edits_field(&s->edits, MILTER_EDIT_CHANGE, nth, name, value, err);
}

int
milter_add_rcpt(struct milter_session *s, struct str path, struct err *err)
{
	if (edit_allowed(s, SMFIF_ADDRCPT, err) < 0)
		return -1;
	return milter_edits_path(&s->edits, MILTER_EDIT_ADD_RCPT, path, err);
}

int
milter_delete_rcpt(struct milter_session *s, struct str path, struct err *err)
{
	if (edit_allowed(s, SMFIF_DELRCPT, err) < 0)
		return -1;
	return milter_edits_path(&s->edits, MILTER_EDIT_DELETE_RCPT, path, err);
}

int
milter_change_from(struct milter_session *s, struct str path, struct err *err)
{
	if (edit_allowed(s, SMFIF_CHGFROM, err) < 0)
		return -1;
	return milter_edits_path(
	    &s->edits, MILTER_EDIT_FROM, path.len == 0 ? STR("<>") : path, err);
}

int
milter_replace_body_fd(struct milter_session *s, int fd, struct err *err)
{
	if (edit_allowed(s, SMFIF_CHGBODY, err) < 0) {
		close(fd);
		return -1;
	}
	milter_edits_body(&s->edits, fd);
	return 0;
}

void
milter_stop_accepting(void)
{
	milter_ping_divert();
}

bool
milter_stop(int64_t deadline_ms)
{
	const struct timespec pause = { .tv_nsec = 2000000 };

	milter_ping_divert();
	atomic_store(&glue.closed, true);
	while (atomic_load(&glue.running) > 0) {
		if (clock_mono_ms() >= deadline_ms)
			return false;
		nanosleep(&pause, NULL);
	}
	return true;
}

static int
register_filter(const struct milter_ops *ops, struct err *err)
{
	char name[64];
	struct smfiDesc desc = {
		.xxfi_name = name,
		.xxfi_version = SMFI_VERSION,
		.xxfi_flags = wanted_actions(ops),
		.xxfi_connect = cb_connect,
		.xxfi_helo = cb_helo,
		.xxfi_envfrom = cb_mail,
		.xxfi_envrcpt = ops->on_rcpt == NULL ? NULL : cb_rcpt,
		.xxfi_header = ops->on_header == NULL ? NULL : cb_header,
		.xxfi_eoh = ops->on_eoh == NULL ? NULL : cb_eoh,
		.xxfi_body = ops->on_body == NULL ? NULL : cb_body,
		.xxfi_eom = cb_eom,
		.xxfi_abort = cb_abort,
		.xxfi_close = cb_close,
		.xxfi_negotiate = cb_negotiate,
	};

	snprintf(name, sizeof(name), "%s", ops->name);
	if (smfi_register(desc) != MI_SUCCESS)
		return err_set(err, "libmilter does not take the filter's description");
	smfi_settimeout(LINK_TIMEOUT);
	return 0;
}

static int
limit_threads(struct err *err)
{
	pthread_attr_t attr;

	/* Each arena of glibc's malloc reserves 64 MB of addresses and is never given
	 * back. */
	mallopt(M_ARENA_MAX, 2);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, THREAD_STACK);
	errno = pthread_setattr_default_np(&attr);
	pthread_attr_destroy(&attr);
	return errno == 0 ? 0 : err_errno(err, "stack size of threads");
}

int
milter_serve(const struct milter_ops *ops, int listen_fd, void (*ready)(void *arg),
    void *arg, struct err *err)
{
	char address[32];
	sigset_t all;
	int number;

	glue.ops = ops;
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, NULL);
	if (limit_threads(err) < 0 || milter_ping_init(listen_fd, &number, err) < 0 ||
	    register_filter(ops, err) < 0)
		return -1;
	snprintf(address, sizeof(address), "fd:%d", number);
	if (smfi_setconn(address) != MI_SUCCESS || smfi_opensocket(false) != MI_SUCCESS)
		return err_set(err, "libmilter does not take the socket %s", address);
	if (milter_ping_start(ready, arg, err) < 0)
		return -1;
	smfi_main();
	return err_set(err, "libmilter ended by itself");
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* postern-mime: collects a message, has it inspected in the jail, and carries out what
 * content.c decides.  No octet of the message is parsed in this process.  What cannot be
 * inspected is never passed on: the MTA tempfails, and content that killed scanners three
 * times is kept in quarantine. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/metrics.h"
#include "common/base/xalloc.h"
#include "common/mail/mime.h"
#include "common/run/daemon.h"
#include "common/run/jail.h"
#include "common/run/memfd.h"
#include "db/quarantine.h"
#include "milters/mime/content.h"
#include "milters/mime/notify.h"
#include "milters/mime/scand/rewrite.h"
#include "policy/client_events.h"
#include "policy/policy.h"
#include "policy/settings.h"
#include "policy/settings_daemon.h"
#include "policy/store_opener.h"

#define RCPTS_MAX 1000
#define HEADER_NAME "X-Virus-Scanned"

#define DECISION(var, action) \
	METRIC_COUNTER(var, "postern_mime_decisions_total", "action=\"" action "\"", \
	    "Decisions of postern-mime by what became of mail")
DECISION(passed_total, "pass");
DECISION(stripped_total, "strip");
DECISION(refused_total, "reject");
DECISION(quarantined_total, "quarantine");
DECISION(tempfailed_total, "tempfail");
DECISION(observed_total, "observe");
METRIC_COUNTER(events_total, "postern_mime_events_total", NULL,
    "Viruses told to the other daemons");
METRIC_HISTOGRAM(scan_seconds, "postern_mime_scan_seconds", NULL,
    "Time of one inspection, waiting for a scanner included");

/* What the worker holds; settings change at a reload, the rest at a restart. */
static struct {
	pthread_mutex_t lock; /* guards settings */
	struct settings *settings;
	struct jail_client *jail;
	struct notifier *notifier;
	struct store_opener *opener;
} worker = { .lock = PTHREAD_MUTEX_INITIALIZER };

struct conn {
	struct settings *settings;
	/* Of the message. */
	char *sender;
	char **rcpts;
	size_t n_rcpts;
	int fd; /* memfd of the whole message; -1: none yet */
	uint64_t len;
	bool too_large, broken; /* not kept in full, by size or by a fault */
	XXH3_state_t *hash; /* of what is the same when the sender tries again */
	unsigned own_headers; /* fields of our header's name that came with it */
};

/* ---- the message as it comes ---- */

static void
add(struct conn *c, struct str s)
{
	struct err err;

	if (c->too_large || c->broken)
		return;
	if (c->len + s.len > c->settings->mime.message_size) {
		c->too_large = true;
		return;
	}
	if (c->fd < 0 && (c->fd = memfd_new("message", &err)) < 0) {
		log_err("mime", &err);
		c->broken = true;
		return;
	}
	if (memfd_add(c->fd, s, &err) != 0) {
		log_err("mime", &err);
		c->broken = true;
		return;
	}
	c->len += s.len;
}

static void *
conn_new(struct milter_session *s)
{
	struct conn *c = xcalloc(1, sizeof(*c));

	(void)s;
	c->fd = -1;
	c->hash = XXH3_createState();
	if (c->hash == NULL)
		abort(); /* as xmalloc */
	XXH3_128bits_reset(c->hash);
	pthread_mutex_lock(&worker.lock);
	c->settings = settings_ref(worker.settings);
	pthread_mutex_unlock(&worker.lock);
	return c;
}

static void
msg_clear(void *conn)
{
	struct conn *c = conn;

	free(c->sender);
	c->sender = NULL;
	for (size_t i = 0; i < c->n_rcpts; i++)
		free(c->rcpts[i]);
	free(c->rcpts);
	c->rcpts = NULL;
	c->n_rcpts = 0;
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
	c->len = 0;
	c->too_large = c->broken = false;
	XXH3_128bits_reset(c->hash);
	c->own_headers = 0;
}

static void
conn_free(void *conn)
{
	struct conn *c = conn;

	msg_clear(c);
	XXH3_freeState(c->hash);
	settings_unref(c->settings);
	free(c);
}

/* An address without <>. */
static char *
bare(struct str path)
{
	if (path.len >= 2 && path.p[0] == '<' && path.p[path.len - 1] == '>')
		path = str_sub(path, 1, path.len - 1);
	return str_dup(path);
}

static struct verdict
on_mail(struct milter_session *s, void *conn, struct str path, const struct str *args,
    size_t n_args)
{
	struct conn *c = conn;

	(void)s;
	(void)args;
	(void)n_args;
	free(c->sender);
	c->sender = bare(path);
	return verdict_continue("mime");
}

static struct verdict
on_rcpt(struct milter_session *s, void *conn, struct str path, const struct str *args,
    size_t n_args)
{
	struct conn *c = conn;

	(void)s;
	(void)args;
	(void)n_args;
	if (c->n_rcpts == RCPTS_MAX)
		return verdict_refuse(
		    452, "4.5.3", "recipients", "Too many recipients for one message");
	if ((c->n_rcpts & (c->n_rcpts - 1)) == 0)
		c->rcpts = xreallocarray(
		    c->rcpts, c->n_rcpts > 0 ? c->n_rcpts * 2 : 1, sizeof(*c->rcpts));
	c->rcpts[c->n_rcpts++] = bare(path);
	return verdict_continue("mime");
}

/* What the hosts before us write anew at each try: content that kills scanners must be
 * known again when it comes through another tier. */
static bool
is_trace(struct str name)
{
	return str_is_nocase(name, "Received") || str_is_nocase(name, "X-Greylist");
}

static void
on_header(struct milter_session *s, void *conn, struct str name, struct str value)
{
	struct conn *c = conn;
	struct str line;

	(void)s;
	if (!is_trace(name)) {
		/* Lengths keep apart what lies side by side. */
		size_t lengths[] = { name.len, value.len };

		XXH3_128bits_update(c->hash, lengths, sizeof(lengths));
		XXH3_128bits_update(c->hash, name.p, name.len);
		XXH3_128bits_update(c->hash, value.p, value.len);
	}
	if (str_is_nocase(name, HEADER_NAME))
		c->own_headers++;
	add(c, name);
	add(c, STR(": "));
	/* Folds come with a bare LF (milter-protocol), the message has CRLF. */
	while (str_cut(&value, '\n', &line)) {
		add(c, line);
		add(c, STR("\r\n"));
	}
}

static struct verdict
on_eoh(struct milter_session *s, void *conn)
{
	(void)s;
	add(conn, STR("\r\n"));
	return verdict_continue("mime");
}

static void
on_body(struct milter_session *s, void *conn, struct str chunk)
{
	struct conn *c = conn;

	(void)s;
	XXH3_128bits_update(c->hash, chunk.p, chunk.len);
	add(c, chunk);
}

/* ---- its end ---- */

/* One answer for all recipients, by the merge column of each setting. */
static void
settings_for(struct milter_session *s, struct conn *c, struct policy_view *out)
{
	struct policy_view *views = xcalloc(c->n_rcpts + 1, sizeof(*views));
	struct policy_facts facts = { .stage = STAGE_EOM,
		.client = milter_client(s)->ip,
		.authenticated = milter_client(s)->auth[0] != '\0',
		.sender = str_of(c->sender == NULL ? "" : c->sender) };
	size_t n = 0;

	do {
		facts.recipient = str_of(c->n_rcpts == 0 ? "" : c->rcpts[n]);
		policy_resolve(c->settings, &facts, &views[n++]);
	} while (n < c->n_rcpts);
	policy_merge(c->settings, views, n, out);
	free(views);
}

static struct future *
ask(struct conn *c, struct str request, const struct settings_mime *set)
{
	XXH128_canonical_t hash;
	uint8_t id[JAIL_HASH_SIZE];

	XXH128_canonicalFromHash(&hash, XXH3_128bits_digest(c->hash));
	memcpy(id, hash.digest, sizeof(id));
	return jail_ask(worker.jail, request, c->fd, id, set->budget_ms);
}

/* Two tries with their budgets, and some waiting for a free scanner. */
static int64_t
patience(const struct settings_mime *set)
{
	return clock_mono_ms() + set->budget_ms * 3;
}

static void
log_message(struct milter_session *s, const struct conn *c, const struct content_decision *d,
    const struct inspection *found, const char *copy, bool observe, int64_t us)
{
	const struct milter_client *client = milter_client(s);
	struct logline l;
	struct buf flags;
	char addr[IP_TEXT_MAX];

	logline_init(&l, LOG_LEVEL_INFO, "mime");
	logline_cstr(&l, observe ? "would" : "action",
	    d->verdict.action == ACTION_CONTINUE && d->n_strips > 0
		? "strip"
		: d->quarantine && d->verdict.action == ACTION_DISCARD
		? "quarantine"
		: action_name(d->verdict.action));
	logline_cstr(&l, "qid", client->queue_id);
	logline_cstr(&l, "client", ip_format(&client->ip, addr));
	logline_cstr(&l, "from", c->sender == NULL ? "" : c->sender);
	logline_cstr(&l, "to", c->n_rcpts == 0 ? "" : c->rcpts[0]);
	if (c->n_rcpts > 1)
		logline_int(&l, "nrcpt", (int64_t)c->n_rcpts);
	logline_int(&l, "size", (int64_t)c->len);
	logline_cstr(&l, "why", d->verdict.why);
	if (d->detail.len > 0)
		logline_str(&l, "detail", d->detail);
	if (found->flags != 0) {
		buf_init(&flags, 400);
		mime_flags_print(found->flags, &flags);
		logline_str(&l, "mime", buf_str(&flags));
		buf_clear(&flags);
	}
	if (copy[0] != '\0')
		logline_cstr(&l, "quarantine", copy);
	logline_int(&l, "us", us);
	logline_send(&l);
}

static int
keep_copy(struct milter_session *s, const struct conn *c, const struct settings_mime *set,
    const struct content_decision *d, struct str message, char id[ID_SIZE])
{
	const struct milter_client *client = milter_client(s);
	struct buf rcpts;
	struct err err;
	char addr[IP_TEXT_MAX];

	buf_init(&rcpts, 2000);
	for (size_t i = 0; i < c->n_rcpts && !rcpts.failed; i++)
		buf_addf(&rcpts, "%s<%s>", i > 0 ? ", " : "", c->rcpts[i]);
	struct quarantine_note notes[] = {
		{ "Reason", str_of(d->verdict.why) },
		{ "Detail", d->detail },
		{ "Envelope-From", str_of(c->sender == NULL ? "" : c->sender) },
		{ "Envelope-To", buf_str(&rcpts) },
		{ "Client", str_of(ip_format(&client->ip, addr)) },
		{ "Queue-Id", str_of(client->queue_id) },
	};
	int rc = quarantine_store(
	    set->quarantine, notes, sizeof(notes) / sizeof(notes[0]), message, id, &err);
	if (rc != 0)
		log_err("quarantine", &err);
	buf_clear(&rcpts);
	return rc;
}

static void
tell_postmaster(struct milter_session *s, const struct conn *c,
    const struct content_decision *d, const char *copy)
{
	const struct milter_client *client = milter_client(s);
	char addr[IP_TEXT_MAX];
	struct buf text, subject;

	buf_init(&text, 4000);
	buf_init(&subject, 300);
	buf_addf(&subject, "Postern %s: %s %.*s",
	    d->n_strips > 0 ? "removed an attachment" : "kept a message back", d->verdict.why,
	    (int)(d->detail.len > 100 ? 100 : d->detail.len), d->detail.p);
	buf_addf(&text,
	    "%s\n\nReason: %s %.*s\nSender: <%s>\n"
	    "First recipient: <%s>, %zu in all\nClient: %s\nQueue id: %s\n",
	    d->n_strips > 0 ? "Attachments were removed from a message."
			    : "A message was not delivered.",
	    d->verdict.why, (int)(d->detail.len > 200 ? 200 : d->detail.len), d->detail.p,
	    c->sender == NULL ? "" : c->sender, c->n_rcpts == 0 ? "" : c->rcpts[0],
	    c->n_rcpts, ip_format(&client->ip, addr), client->queue_id);
	if (copy[0] != '\0')
		buf_addf(&text, "Copy in quarantine: %s.eml\n", copy);
	notifier_send(worker.notifier, buf_str(&subject), buf_str(&text));
	buf_clear(&text);
	buf_clear(&subject);
}

static struct verdict
cannot_check(const char *why)
{
	metric_add(&tempfailed_total, 1);
	return verdict_refuse(451, "4.7.1", why,
	    "The message cannot be checked now, please try again later");
}

/* The request to rewrite: "R", then index and text of each part that goes. */
static void
strip_request(const struct content_decision *d, const char *host, struct buf *out)
{
	struct buf text;

	buf_init(&text, 8192);
	buf_add_char(out, 'R');
	for (size_t i = 0; i < d->n_strips; i++) {
		buf_reset(&text);
		content_explain(&d->strips[i], host, &text);
		buf_add_u32(out, (unsigned long)d->strips[i].part);
		buf_add_u16(out, (unsigned)text.len);
		buf_add_str(out, buf_str(&text));
	}
	buf_clear(&text);
}

/* A message that is one part gets the explanation as its whole body, and a header section
 * that says so. */
static int
retype_message(struct milter_session *s, struct err *err)
{
	if (milter_change_header(s, 1, STR("Content-Type"), STR(REWRITE_TYPE), err) != 0 ||
	    milter_change_header(
		s, 1, STR("Content-Transfer-Encoding"), STR(REWRITE_ENCODING), err) != 0)
		return -1;
	return milter_change_header(s, 1, STR("Content-Disposition"), STR(""), err);
}

#define UNCOVERED 1

/* Whether anything that must be stopped is in the message without those parts.  -1: err. */
static int
look_again(const struct settings_mime *set, struct str reply, struct err *err)
{
	struct content_decision d;
	struct inspection found;

	if (inspection_read(reply, JAIL_MESSAGE_MAX, &found, err) != 0)
		return -1;
	content_decide(set, &found, &d);
	inspection_clear(&found);
	return d.verdict.action == ACTION_CONTINUE && d.n_strips == 0 ? 0 : UNCOVERED;
}

/* Have the parts cut out in the jail and the new body put in place.  UNCOVERED: nothing
 * was done, for the rest is no better. */
static int
strip(struct milter_session *s, struct conn *c, const struct settings_mime *set,
    const struct content_decision *d)
{
	struct buf request;
	struct err err = { .text = "the scanner did not rewrite the message" };
	int rc = -1;

	buf_init(&request, JAIL_REQUEST_MAX);
	strip_request(d, c->settings->run.host, &request);
	struct future *f = ask(c, buf_str(&request), set);
	if (!request.failed && milter_wait(s, f, patience(set))) {
		struct jail_answer *a = future_value(f);

		if (a->status == JAIL_OK && a->output >= 0)
			rc = look_again(set, a->reply, &err);
		if (a->status == JAIL_OK && rc == 0)
			rc = milter_replace_body_fd(s, jail_answer_take_output(a), &err);
	}
	if (rc == 0 && d->strips[0].part == 0)
		rc = retype_message(s, &err);
	if (rc < 0)
		log_err("mime", &err);
	future_unref(f);
	buf_clear(&request);
	return rc;
}

static int
mark_scanned(struct milter_session *s, const struct conn *c, const struct inspection *found)
{
	struct buf value;
	struct err err;
	int rc = 0;

	/* Fields of this name that are not ours, highest index first. */
	for (unsigned i = c->own_headers; i > 0 && rc == 0; i--)
		rc = milter_change_header(s, i, STR(HEADER_NAME), STR(""), &err);
	buf_init(&value, 500);
	buf_addf(&value, "%.*s at %s", STR_ARG(found->engine), c->settings->run.host);
	if (rc == 0)
		rc = milter_add_header(s, STR(HEADER_NAME), buf_str(&value), &err);
	if (rc != 0)
		log_err("mime", &err);
	buf_clear(&value);
	return rc;
}

static void
count(const struct content_decision *d)
{
	switch (d->verdict.action) {
	case ACTION_CONTINUE:
		metric_add(d->n_strips > 0 ? &stripped_total : &passed_total, 1);
		break;
	case ACTION_REJECT:
		metric_add(&refused_total, 1);
		break;
	case ACTION_TEMPFAIL:
		metric_add(&tempfailed_total, 1);
		break;
	case ACTION_DISCARD:
	case ACTION_QUARANTINE:
		metric_add(&quarantined_total, 1);
		break;
	}
}

/* A virus is told to all hosts' greylisting, whatever becomes of this message. */
static void
tell_others(struct milter_session *s, const struct policy_view *view,
    const struct inspection *found)
{
	const struct milter_client *client = milter_client(s);

	for (size_t i = 0; i < found->n_parts; i++) {
		if (found->parts[i].state != SCAN_INFECTED)
			continue;
		if (client_event_add(store_opener_get(worker.opener), &client->ip,
			client->auth[0] != '\0', EVENT_VIRUS, &view->greylist))
			metric_add(&events_total, 1);
		return;
	}
}

/* Everything that can fail first, the verdict last. */
static struct verdict
carry_out(struct milter_session *s, struct conn *c, const struct policy_view *view,
    const struct content_decision *d, const struct inspection *found, struct str message,
    int64_t us)
{
	char copy[ID_SIZE] = "";
	int rc;

	if (view->observe) {
		log_message(s, c, d, found, "", true, us);
		metric_add(&observed_total, 1);
		return verdict_continue("observed");
	}
	if (d->quarantine && keep_copy(s, c, &view->mime, d, message, copy) != 0)
		return cannot_check("quarantine");
	rc = d->n_strips > 0 ? strip(s, c, &view->mime, d) : 0;
	if (rc == UNCOVERED) {
		struct content_decision whole = { .quarantine = view->mime.keep_copies,
			.notify = d->notify,
			.detail = d->detail,
			.verdict = verdict_refuse(550, "5.7.1", "uncovered",
			    "Message refused for its content") };

		return carry_out(s, c, view, &whole, found, message, us);
	}
	if (rc != 0)
		return cannot_check("rewrite");
	if (d->verdict.action == ACTION_CONTINUE && view->mime.header &&
	    mark_scanned(s, c, found) != 0)
		return cannot_check("header");
	if (d->notify)
		tell_postmaster(s, c, d, copy);
	log_message(s, c, d, found, copy, false, us);
	count(d);
	return d->verdict;
}

/* Content that ended its scanners again and again: kept, and nobody tries it any more. */
static struct verdict
on_poison(struct milter_session *s, struct conn *c, const struct policy_view *view,
    struct str message)
{
	const struct inspection none = { 0 };
	struct content_decision d = { .quarantine = true,
		.notify = true,
		.verdict = { .action = ACTION_DISCARD, .why = "poison" },
		.detail = STR("scanners died of it") };

	return carry_out(s, c, view, &d, &none, message, 0);
}

static struct verdict
judge(struct milter_session *s, struct conn *c, const struct policy_view *view,
    struct str message)
{
	int64_t began = clock_mono_us();
	struct future *f = ask(c, STR("I"), &view->mime);
	struct content_decision d;
	struct inspection found;
	struct verdict v;
	struct err err;
	bool answered = milter_wait(s, f, patience(&view->mime));
	const struct jail_answer *a = future_value(f);
	int64_t us = clock_mono_us() - began;

	metric_observe_us(&scan_seconds, us);
	if (!answered || a->status == JAIL_BUSY || a->status == JAIL_GONE) {
		log_msg(LOG_LEVEL_ERR, "mime", "no scanner answers, %s tempfailed",
		    milter_client(s)->queue_id);
		v = cannot_check("no-scanner");
	} else if (a->status == JAIL_FAILED && a->failures >= JAIL_POISON) {
		v = on_poison(s, c, view, message);
	} else if (a->status == JAIL_FAILED) {
		log_msg(LOG_LEVEL_ERR, "mime",
		    "scanners %s over %s, failure %u of this content; tempfailed",
		    a->timed_out ? "took too long" : "died", milter_client(s)->queue_id,
		    a->failures);
		v = cannot_check("scanner-failed");
	} else if (inspection_read(a->reply, message.len, &found, &err) != 0) {
		log_err("mime", &err);
		v = cannot_check("scanner-answer");
	} else {
		content_decide(&view->mime, &found, &d);
		if (!view->observe)
			tell_others(s, view, &found);
		v = carry_out(s, c, view, &d, &found, message, us);
		inspection_clear(&found);
	}
	future_unref(f);
	return v;
}

/* Nobody looked into it, and it is not there in full to be kept. */
static struct verdict
on_too_large(struct milter_session *s, struct conn *c, const struct policy_view *view)
{
	const struct inspection none = { 0 };
	struct content_decision d = { .verdict = verdict_continue("too-large") };

	if (view->mime.limit != MIME_PASS)
		d.verdict = verdict_refuse(552, "5.3.4", "too-large",
		    "Message too large to be checked");
	log_message(s, c, &d, &none, "", view->observe, 0);
	count(&d);
	return view->observe ? verdict_continue("observed") : d.verdict;
}

static struct verdict
on_eom(struct milter_session *s, void *conn)
{
	struct conn *c = conn;
	struct policy_view view;
	struct verdict v;
	struct str message;
	struct err err;

	settings_for(s, c, &view);
	if (c->too_large)
		return on_too_large(s, c, &view);
	if (c->broken || c->fd < 0)
		return cannot_check("memory");
	if (memfd_seal(c->fd, &err) != 0 ||
	    memfd_map(c->fd, JAIL_MESSAGE_MAX, &message, &err) != 0) {
		log_err("mime", &err);
		return cannot_check("memory");
	}
	v = judge(s, c, &view, message);
	memfd_unmap(message);
	return v;
}

/* ---- the process ---- */

static bool
load(const char *path, struct daemon_conf *conf, struct errs *errs)
{
	struct settings *s = settings_load(path, errs);

	if (s == NULL)
		return false;
	settings_daemon(s, "mime", conf);
	conf->snapshot = s;
	return true;
}

static void
snapshot_unref(void *snapshot)
{
	settings_unref(snapshot);
}

static int
start(void *snapshot, struct err *err)
{
	const struct settings_mime *set = &((struct settings *)snapshot)->mime;
	int left;

	worker.settings = snapshot;
	left = quarantine_clean(set->quarantine, err);
	if (left < 0)
		return -1;
	if (left > 0)
		log_msg(LOG_LEVEL_WARN, "quarantine",
		    "%d unfinished copies removed; their senders still have the mail", left);
	if (set->notify[0] != '\0') {
		worker.notifier = notifier_new(
		    set->notify, set->notify_via, worker.settings->run.host, err);
		if (worker.notifier == NULL)
			return -1;
	}
	worker.opener = store_opener_new(worker.settings, err);
	if (worker.opener == NULL)
		return -1;
	worker.jail = jail_client_new(daemon_jail_address());
	return worker.jail != NULL ? 0 : err_set(err, "cannot start the jail's client");
}

static void
reload(void *snapshot, struct errs *errs)
{
	pthread_mutex_lock(&worker.lock);
	struct settings *old = worker.settings;
	settings_restart_needed(old, snapshot, errs);
	worker.settings = snapshot;
	pthread_mutex_unlock(&worker.lock);
	settings_unref(old);
}

static void
stop(void)
{
	jail_client_free(worker.jail);
	notifier_free(worker.notifier);
	store_opener_free(worker.opener);
	settings_unref(worker.settings);
}

int
main(int argc, char **argv)
{
	static const struct milter_ops milter = { .name = "postern-mime",
		.conn_new = conn_new,
		.conn_free = conn_free,
		.msg_clear = msg_clear,
		.on_mail = on_mail,
		.on_rcpt = on_rcpt,
		.on_header = on_header,
		.on_eoh = on_eoh,
		.on_body = on_body,
		.on_eom = on_eom,
		.changes_headers = true,
		.changes_body = true };
	static const struct daemon_ops ops = { .name = "postern-mime",
		.version = "1",
		.milter = &milter,
		.jail = "postern-scand",
		.load = load,
		.snapshot_unref = snapshot_unref,
		.start = start,
		.reload = reload,
		.stop = stop };

	return daemon_main(argc, argv, &ops);
}

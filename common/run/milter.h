/* SPDX-License-Identifier: BSD-2-Clause */
/* The glue between libmilter and our daemons: the only place that knows mfapi.h.  It
 * collects the facts (client, macros, envelope), cures libmilter's pool stall while
 * callbacks wait, keeps edits back until the last step that can fail is behind, sends
 * them in the order that both MTAs read alike (milter edits: header changes from the
 * highest index down, inserts, additions, envelope, body last), and turns verdicts into
 * replies.  Every refusal that a callback returns is logged by the daemon, not here. */
#ifndef POSTERN_RUN_MILTER_H
#define POSTERN_RUN_MILTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/base/future.h"
#include "common/base/ip.h"
#include "common/base/str.h"
#include "common/base/verdict.h"

/* One connection from an MTA.  Callbacks of one session never run at the same time, but
 * may run on different threads. */
struct milter_session;

/* What is known of the client.  All text is borrowed for the callback; "" or 0 when
 * not known. */
struct milter_client {
	struct ip ip; /* family 0: a local or unknown client */
	uint16_t port;
	const char *name; /* forward-confirmed PTR name, or "[192.0.2.1]" */
	bool name_confirmed; /* name is a name, and {client_resolve} does not deny it */
	const char *helo;
	const char *auth; /* {auth_authen}; "" = not authenticated */
	const char *auth_type;
	const char *queue_id; /* the MTA's id; "" before it is known */
	const char *daemon; /* {daemon_name} */
	const char *mta; /* {j} */
	const char *tls; /* {tls_version}; "" = clear */
};

struct milter_ops {
	const char *name; /* "postern-greylist": the filter's name, static */
	/* A context per connection and one clearing per message (eom, abort, close, refusal
	 * of the whole message, and before a MAIL that follows an unfinished message). */
	void *(*conn_new)(struct milter_session *s);
	void (*conn_free)(void *conn);
	void (*msg_clear)(void *conn);
	/* Any may be NULL: the step is then left out of the negotiation, or asked for
	 * without a reply where the facts above come from it.  DISCARD is legal from MAIL
	 * on, QUARANTINE at end of message; elsewhere they become a logged tempfail. */
	struct verdict (*on_connect)(struct milter_session *s, void *conn);
	struct verdict (*on_helo)(struct milter_session *s, void *conn);
	/* path: as typed, with <>; args: n ESMTP parameters. */
	struct verdict (*on_mail)(struct milter_session *s, void *conn, struct str path,
	    const struct str *args, size_t n_args);
	struct verdict (*on_rcpt)(struct milter_session *s, void *conn, struct str path,
	    const struct str *args, size_t n_args);
	/* A recipient that the MTA refuses itself (needs on_rcpt, and an MTA that tells:
	 * Postfix of all, sendmail of unknown users).  enhanced: "5.1.1", or "". */
	void (*on_rcpt_refused)(struct milter_session *s, void *conn, struct str path,
	    struct str enhanced, struct str text);
	/* Headers and body never veto: no reply is sent for them. */
	void (*on_header)(
	    struct milter_session *s, void *conn, struct str name, struct str value);
	struct verdict (*on_eoh)(struct milter_session *s, void *conn);
	void (*on_body)(struct milter_session *s, void *conn, struct str chunk);
	struct verdict (*on_eom)(struct milter_session *s, void *conn);
	bool changes_headers, changes_body, changes_envelope, quarantines;
};

const struct milter_client *milter_client(struct milter_session *s);
/* Value of a macro ("i", "{rcpt_mailer}" or "rcpt_mailer"); NULL when not sent.  Values
 * of past stages are kept until the message ends (rcpt_*: until the next recipient; those
 * of connect and helo until the connection ends).  Borrowed for the callback. */
const char *milter_macro(struct milter_session *s, const char *name);
/* A number for the log, unique in this process. */
uint64_t milter_session_id(const struct milter_session *s);

/* Wait inside a callback: counts as blocked, so that the pool grows; at end of message the
 * MTA hears of it every few seconds.  true: settled. */
bool milter_wait(struct milter_session *s, struct future *f, int64_t deadline_ms);

/* Edits; legal at any callback of a message, kept until end of message, dropped with the
 * message.  Values: folds are LF plus blank.  -1 (err): not legal as a header, more than
 * 1000 edits or 1 MB, or the MTA did not allow such edits at negotiation. */
int milter_add_header(
    struct milter_session *s, struct str name, struct str value, struct err *err);
int milter_insert_header(struct milter_session *s, unsigned index, struct str name,
    struct str value, struct err *err);
/* nth field of that name, from 1; empty value deletes. */
int milter_change_header(struct milter_session *s, unsigned nth, struct str name,
    struct str value, struct err *err);
int milter_add_rcpt(struct milter_session *s, struct str path, struct err *err);
int milter_delete_rcpt(struct milter_session *s, struct str path, struct err *err);
int milter_change_from(struct milter_session *s, struct str path, struct err *err);
/* The new body, read from fd (a spool, position 0) when edits are sent; fd is taken. */
int milter_replace_body_fd(struct milter_session *s, int fd, struct err *err);

/* Everything that libmilter needs to serve: called by the worker on a thread other than
 * the main one, whose signals libmilter must not take (it waits for TERM, HUP and INT).
 * listen_fd: listening, taken, becomes non-blocking.  ready(arg) is called once from
 * another thread when clients are served.  Returns only when libmilter gives up: -1. */
int milter_serve(const struct milter_ops *ops, int listen_fd, void (*ready)(void *arg),
    void *arg, struct err *err);
/* Put a private listener over the shared one, so that new clients reach another worker. */
void milter_stop_accepting(void);
/* Messages between MAIL and their end, and connections open, right now. */
unsigned milter_active_messages(void);
unsigned milter_active_connections(void);
/* From now on callbacks are answered with a tempfail and reach no engine any more; wait
 * until none runs.  true: none does, engines may be taken down; the process then ends
 * with _exit(), because libmilter joins no thread. */
bool milter_stop(int64_t deadline_ms);

#endif

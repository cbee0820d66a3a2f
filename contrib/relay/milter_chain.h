/* SPDX-License-Identifier: BSD-2-Clause */
/* The relay's side of milter: all filters of one SMTP connection.  Filters are opened
 * at connect, all at once; envelope steps go filter by filter and end at the first
 * verdict that is not continue; at end of message one filter runs completely before the
 * next sees its edits (milter-protocol: order of both MTAs).  Edits of a filter that
 * fails are dropped as a whole.  Every step answers through its callback exactly once,
 * from the loop or at once when there is nothing to wait for. */
#ifndef POSTERN_RELAY_MILTER_CHAIN_H
#define POSTERN_RELAY_MILTER_CHAIN_H

#include <event2/event.h>

#include "common/base/err.h"
#include "common/base/ip.h"
#include "common/base/str.h"
#include "common/mail/header.h"
#include "contrib/relay/envelope.h"

enum milter_policy { /* when a filter fails */
	MILTER_ON_FAILURE_TEMPFAIL,
	MILTER_ON_FAILURE_REJECT,
	MILTER_ON_FAILURE_ACCEPT,
	MILTER_ON_FAILURE_QUARANTINE,
	MILTER_ON_FAILURE_SHUTDOWN, /* 421 and close */
};

struct milter_filter_conf {
	char *name; /* for log and text */
	char *address; /* "unix:/path" or "inet:port@127.0.0.1" */
	int on_failure; /* enum milter_policy */
	int64_t connect_ms, command_ms, content_ms; /* 10 s, 30 s, 300 s */
};

enum chain_action {
	CHAIN_CONTINUE,
	CHAIN_REJECT,
	CHAIN_TEMPFAIL,
	CHAIN_DISCARD, /* the client sees success; the message goes nowhere */
	CHAIN_CLOSE, /* 421, then close */
	CHAIN_HOLD, /* deliver into quarantine with `reason` */
};

struct chain_reply {
	enum chain_action action;
	int code; /* of REJECT, TEMPFAIL, CLOSE */
	char enhanced[12];
	char text[1000]; /* lines joined with LF */
	char reason[256]; /* of HOLD */
	const char *filter; /* whose verdict; static or owned by the chain */
};

/* What filters are told of the client. */
struct chain_client {
	struct ip ip;
	uint16_t port;
	const char *name; /* PTR or "[...]" */
	const char *resolve; /* {client_resolve}: OK FAIL TEMP FORGED */
	const char *host; /* j */
	const char *daemon; /* {daemon_name} */
	struct ip local;
	uint16_t local_port;
};

typedef void chain_done(void *arg, const struct chain_reply *reply);

struct milter_chain;

/* n may be 0.  The chain keeps copies of what it is given. */
struct milter_chain *milter_chain_new(struct event_base *base,
    const struct milter_filter_conf *filters, size_t n,
    const struct chain_client *client);
/* Closes the links (A and Q where due).  Allowed at any time, also from within done; no
 * callback comes any more. */
void milter_chain_free(struct milter_chain *c);

/* A macro of the session that the chain cannot know: tls_version, cipher, cipher_bits,
 * cert_subject, cert_issuer, verify, auth_type, auth_authen, auth_ssf, auth_author ...
 * name without braces; value NULL: unset. */
void milter_chain_macro(struct milter_chain *c, const char *name, const char *value);

/* The steps.  One at a time: the next only after done was called for the last one. done
 * is called exactly once, always from the loop, unless abort or free come first.  The
 * reply is borrowed for the call.
 *
 * REJECT and TEMPFAIL at connect and helo: refuse at the greeting with 554 (only
 * REJECT), or greet, and every MAIL is answered so by the chain.  A filter that failed
 * is opened anew at the next MAIL. */
void milter_chain_connect(struct milter_chain *c, chain_done *done, void *arg);
/* Again after STARTTLS.  Implies abort. */
void milter_chain_helo(
    struct milter_chain *c, const char *helo, chain_done *done, void *arg);
/* path with <>, as typed; args: ESMTP parameters.  Implies abort.  Not CONTINUE and not
 * DISCARD: there is no transaction. */
void milter_chain_mail(struct milter_chain *c, const char *queue_id, const char *path,
    const char *const *args, size_t n_args, chain_done *done, void *arg);
/* refused: our own reply to a recipient that we refuse ourselves ("550 5.1.1 text");
 * filters with RCPT_REJ are told, their verdict does not count; NULL otherwise. */
void milter_chain_rcpt(struct milter_chain *c, const char *path,
    const char *const *args, size_t n_args, const char *refused, chain_done *done,
    void *arg);
/* REJECT and TEMPFAIL end the transaction (both MTAs keep it open, in a broken state).
 */
void milter_chain_data(struct milter_chain *c, chain_done *done, void *arg);
/* A command that we do not know; a refusal's text may be the reply to it. */
void milter_chain_unknown(
    struct milter_chain *c, const char *command, chain_done *done, void *arg);

#define CHAIN_BODY_MAX (64u << 20)

/* A received message: header section (read from the spool; changed in place by edits),
 * body octets in body_fd from body_offset, body_len long (CRLF, unstuffed), envelope
 * (changed in place).  When a filter replaced the body, *body_fd is closed and replaced
 * by a new file (a memfd) with offset 0.  Nothing is changed unless a filter finished
 * its message with success; edits of earlier filters stay when a later one fails. */
struct chain_message {
	struct header *header;
	bool received_first; /* field 0 is our own Received: filters are not shown it,
				and insert above it at index 0 */
	int body_fd;
	uint64_t body_offset, body_len;
	uint64_t body_max; /* of what a filter may put there; 0: CHAIN_BODY_MAX */
	struct envelope *envelope;
};
/* m is borrowed until done.  HOLD: deliver into quarantine.  DISCARD also when filters
 * deleted the last recipient.  The transaction is over afterwards. */
void milter_chain_message(
    struct milter_chain *c, struct chain_message *m, chain_done *done, void *arg);

/* RSET, EHLO, a failed message, MAIL after an unfinished one.  A step under way is
 * forgotten: its done does not come, its filter is opened anew at the next MAIL. */
void milter_chain_abort(struct milter_chain *c);

/* How long all filters together may take over a message, in ms.  Default 9 minutes:
 * less than the 10 that a client waits for the answer to its dot (RFC 5321 4.5.3.2.6).
 */
void milter_chain_limit(struct milter_chain *c, int64_t ms);

#endif

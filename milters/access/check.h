/* SPDX-License-Identifier: BSD-2-Clause */
/* The framework of the checks of connections and envelopes.  A kind of check is one file
 * with one struct check_ops and one row in check_table.c.
 *
 *   callback   facts that are new       asked              judged, with `refuse`
 *                                                          connect    mail     rcpt
 *   connect    ip, name, resolve        CHECK_CONNECT      at once    MAIL     first RCPT
 *   HELO       helo                     CHECK_HELO         at once    MAIL     first RCPT
 *   MAIL       sender, authenticated    CHECK_MAIL         at once    at once  first RCPT
 *   RCPT       rcpt                     CHECK_RCPT         at once, for each recipient
 *   headers    (ops.header)             CHECK_EOH          at the end of the headers
 *   end        queue id                 CHECK_EOM          at the end of the message
 *
 * ask() begins what takes time (DNS, store) and returns at once; judge() waits for it with
 * check_wait() and tells what it found.  judge() is called once for CONNECT in a connection,
 * once for HELO after each HELO, once in a message for MAIL, EOH and EOM, for RCPT with each
 * recipient; the findings are kept as long.  A check is neither asked nor judged where it
 * spares (ops.spares) whom this is (facts.spared).  The sum of findings: access_combine.h.
 *
 * self and conn are the check's own; callbacks of one connection never run at the same
 * time, those of several do.  Facts are borrowed for the call. */
#ifndef POSTERN_ACCESS_CHECK_H
#define POSTERN_ACCESS_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/base/future.h"
#include "common/base/ip.h"
#include "milters/access/access_addr.h"
#include "milters/access/access_combine.h"
#include "milters/access/access_map.h"
#include "policy/policy.h"
#include "policy/settings.h"

struct milter_session;
struct resolver;
struct access_store;

enum check_phase { CHECK_CONNECT, CHECK_HELO, CHECK_MAIL, CHECK_RCPT, CHECK_EOH, CHECK_EOM };
#define CHECK_PHASES 6

/* What the worker has for all checks; lives until they are stopped. */
struct check_shared {
	const struct settings *settings; /* at start or of this reload; ref it to keep it */
	struct resolver *resolver; /* NULL: none */
	struct access_store *store; /* access_store_get(); NULL: none */
};

struct check_facts {
	/* Only for edits and macros in a check's adapter part; NULL in tests. */
	struct milter_session *session;
	const struct settings *settings; /* the snapshot that the connection began with */
	const struct policy_view *view; /* the settings in force at this stage */
	unsigned spared; /* enum check_spare */
	struct ip ip; /* family 0: local or unknown */
	const char *addr; /* "192.0.2.1", "IPv6:2001:db8:0:0:0:0:0:5"; "" unknown */
	const char *name; /* confirmed name, or "[192.0.2.1]" */
	enum access_resolve resolve; /* what the MTA says of the name */
	const char *own_names[2]; /* the host by its setting and by the MTA; "" none */
	const char *helo; /* "" before HELO */
	const char *auth; /* the user; "" not authenticated */
	const struct access_addr *sender; /* NULL before MAIL */
	const struct access_addr *rcpt; /* NULL but in CHECK_RCPT */
	const char *rcpt_mailer; /* {rcpt_mailer}; NULL not told, or not at RCPT */
	bool early; /* talked before the greeting; only our relay tells */
	const char *queue_id; /* "" before it is known */
	/* The map's words for this connection (GreetPause, ClientRate ...). */
	const struct access *access;
	int64_t now; /* clock_wall() */
	bool (*wait)(void *arg, struct future *f, int64_t deadline_ms);
	void *wait_arg;
};

struct check_ops {
	const char *name; /* static, one word: in settings, logs and metrics */
	unsigned spares; /* enum check_spare: whom it leaves alone */
	size_t conn_size; /* of its memory per connection: zeroed, freed by the framework */
	/* All may be NULL.  start: *self is what the others get (without it: the resolver);
	 * -1 (err): the daemon does not start.  stop: no callback runs any more. */
	int (*start)(const struct check_shared *shared, void **self, struct err *err);
	void (*reload)(void *self, const struct check_shared *shared, struct errs *errs);
	void (*stop)(void *self);
	void (*conn_init)(void *self, void *conn);
	void (*conn_clear)(void *self, void *conn); /* give back what conn holds */
	void (*msg_clear)(void *self, void *conn); /* end of a message, however it ended */
	void (*ask)(void *self, void *conn, enum check_phase phase,
	    const struct check_facts *facts);
	void (*judge)(void *self, void *conn, enum check_phase phase,
	    const struct check_facts *facts, struct findings *out);
	/* What the phase came to, map and all checks together: for those that count.  At
	 * CHECK_RCPT for each recipient; elsewhere only where something refused. */
	void (*told)(void *self, void *conn, enum check_phase phase,
	    const struct check_facts *facts, const struct verdict *verdict);
	void (*header)(void *self, void *conn, struct str name, struct str value);
	/* The message passes: write headers (milter_add_header and the like). */
	void (*eom)(void *self, void *conn, const struct check_facts *facts);
};

#define CHECKS_MAX 32

/* Wait in ask, judge or told for an answer until deadline_ms (clock_mono_ms). */
bool check_wait(const struct check_facts *facts, struct future *f, int64_t deadline_ms);

/* ---- the worker's side ---- */

struct checks;
/* NULL: one did not start, err says why; those before it are stopped again. */
struct checks *checks_start(const struct check_ops *const *table, size_t n,
    const struct check_shared *shared, struct err *err);
void checks_reload(struct checks *c, const struct check_shared *shared, struct errs *errs);
void checks_stop(struct checks *c); /* accepts NULL */

/* ---- a connection's side ---- */

struct check_conn;
struct check_conn *check_conn_new(struct checks *c);
void check_conn_free(struct check_conn *c);
void check_msg_clear(struct check_conn *c);

void check_ask(
    struct check_conn *c, enum check_phase phase, const struct check_facts *facts);
/* Judge what is due when `refuse` (enum access_refuse) is set so: everything up to this
 * phase that has not been judged yet.  false: nothing is due, *out says CONTINUE.
 * out->by stays until the next judgement. */
bool check_judge(struct check_conn *c, enum check_phase phase,
    const struct check_facts *facts, struct combined *out);
void check_told(struct check_conn *c, enum check_phase phase,
    const struct check_facts *facts, const struct verdict *verdict);
void check_header(struct check_conn *c, struct str name, struct str value);
void check_eom(struct check_conn *c, const struct check_facts *facts);
/* All findings so far that count: access_combine_print(). */
void check_print(const struct check_conn *c, unsigned spared, struct buf *out);

#endif

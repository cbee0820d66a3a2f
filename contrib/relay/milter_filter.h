/* SPDX-License-Identifier: BSD-2-Clause */
/* One filter of one SMTP connection: its link, its state, and the steps of the protocol
 * from the MTA's side (versions 2 to 6).  Every step ends with exactly one outcome.
 * What an outcome means for the mail, and when a failed filter is opened anew, is the
 * chain's business. */
#ifndef POSTERN_RELAY_MILTER_FILTER_H
#define POSTERN_RELAY_MILTER_FILTER_H

#include <event2/event.h>

#include "common/mail/milter_wire.h"
#include "contrib/relay/milter_chain.h"
#include "contrib/relay/milter_macros.h"

/* A filter that sends more progress packets than this in a second is broken. */
#define FILTER_PROGRESS_MAX 100

enum filter_state {
	FILTER_IDLE, /* never opened */
	FILTER_CONNECTING,
	FILTER_NEGOTIATING,
	FILTER_READY, /* no transaction */
	FILTER_ENVELOPE, /* has seen MAIL */
	FILTER_MESSAGE, /* L, N, B under way */
	FILTER_EOM, /* E sent, edits and the final reply awaited */
	FILTER_DONE_MSG, /* wants to hear no more of this message */
	FILTER_DONE_CONN, /* wants to hear no more of this connection */
	FILTER_FAILED, /* link closed */
};
#define FILTER_STATES (FILTER_FAILED + 1)
const char *filter_state_name(enum filter_state state);
/* The table of allowed transitions. */
bool filter_state_follows(enum filter_state from, enum filter_state to);

enum filter_says {
	FILTER_CONTINUE, /* also skip where it does nothing */
	FILTER_ACCEPT,
	FILTER_DISCARD,
	FILTER_REFUSE, /* r, t, y: code, enhanced, text are set */
	FILTER_CLOSE, /* 4, y 421 */
	FILTER_BROKE, /* the link is closed, state FAILED; why is logged */
	FILTER_LOCAL, /* not the filter's fault: our file could not be read */
};

struct filter_outcome {
	enum filter_says says;
	int code; /* of REFUSE and CLOSE; 0: r, t or 4, which bring no text */
	bool temporary; /* of REFUSE without code */
	char enhanced[12];
	char text[1000]; /* lines joined with LF */
};

struct milter_filter;

/* done: the step under way ended, see milter_filter_outcome(); called from the loop
 * only, never from within the function that began the step. */
struct milter_filter *milter_filter_new(struct event_base *base,
    const struct milter_filter_conf *conf, const struct milter_macros *macros,
    void (*done)(void *arg, struct milter_filter *f), void *arg);
/* Sends A and Q where they are due and does not wait. */
void milter_filter_free(struct milter_filter *f);

const struct milter_filter_conf *milter_filter_conf(const struct milter_filter *f);
enum filter_state milter_filter_state(const struct milter_filter *f);
const struct filter_outcome *milter_filter_outcome(const struct milter_filter *f);
bool milter_filter_busy(const struct milter_filter *f);

/* All steps: true when the outcome is there at once (done is not called then). */

/* Connect and negotiate, from IDLE or FAILED.  CONTINUE: READY; BROKE: not. */
bool milter_filter_open(struct milter_filter *f);

/* An envelope step (C H M R T U) in a state where it may be sent.  packet: its octets
 * as milter_wire writes them; D of the stage goes in front of it. */
bool milter_filter_command(struct milter_filter *f, char cmd, struct str packet);
/* The filter asked to be shown recipients that we refuse ourselves. */
bool milter_filter_wants_refused(const struct milter_filter *f);

/* The whole message, from ENVELOPE.  own: position of our Received, -1 none; follows
 * the edits.  m (borrowed) is changed when the outcome is CONTINUE or ACCEPT, else it
 * is as it was.  deadline_ms: clock_mono_ms() when the filter must have finished. */
bool milter_filter_message(struct milter_filter *f, struct chain_message *m,
    ptrdiff_t *own, int64_t deadline_ms);
/* Why the filter wants the last message held, or NULL. */
const char *milter_filter_hold(const struct milter_filter *f);

/* The message is over: A when the filter is in one (tell), and READY for the next.  A
 * step under way breaks the filter. */
void milter_filter_end_message(struct milter_filter *f, bool tell);
/* Nothing more for this connection. */
void milter_filter_end_connection(struct milter_filter *f);

#endif

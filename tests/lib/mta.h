/* SPDX-License-Identifier: BSD-2-Clause */
/* The mail server's end of one milter connection, for tests: blocking, each step with a
 * deadline.  Steps that the filter's bits leave out are not sent, those without a reply are
 * not waited for. */
#ifndef POSTERN_TESTS_MTA_H
#define POSTERN_TESTS_MTA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/err.h"
#include "common/base/str.h"
#include "common/mail/milter_wire.h"

#define MTA_EDITS_MAX 64
#define MTA_TIMEOUT_MS 20000 /* for one packet */

struct mta {
	int fd;
	uint32_t actions, protocol; /* as the filter answered */
	char macros[MILTER_STAGES][512]; /* its lists; "" = none */
	struct buf in, out;
	/* The last reply: its letter (0: the step is not sent or not answered), its payload,
	 * and what came before it at end of message. */
	char cmd;
	struct buf payload;
	struct mta_edit {
		char cmd;
		struct buf payload;
	} edits[MTA_EDITS_MAX];
	size_t n_edits, n_progress;
};

/* Storage of the caller.  spec: "unix:/path" or "/path".  -1 (err): nobody listens. */
int mta_connect(struct mta *m, const char *spec, struct err *err);
/* Close: with Q before, or like a server that died. */
void mta_quit(struct mta *m);
void mta_drop(struct mta *m);

/* Offer these bits of version 6; 0 with the answer in m. */
int mta_negotiate(struct mta *m, uint32_t actions, uint32_t protocol, struct err *err);

/* D for a step; names and values alternate, the last is followed by NULL. */
int mta_macros(struct mta *m, char cmd, struct err *err, ...);

/* Send a packet that is written already, and read its reply where one is due.  -1 (err):
 * the link is gone, silent, or talks nonsense. */
int mta_send(struct mta *m, char cmd, struct str payload, struct err *err);
int mta_read_reply(struct mta *m, char cmd, struct err *err);
int mta_step(struct mta *m, char cmd, struct str payload, struct err *err);
/* The same with n strings, each with its NUL. */
int mta_strings(struct mta *m, char cmd, struct err *err, size_t n, ...);

int mta_client(struct mta *m, const char *host, const char *ip, struct err *err);
int mta_helo(struct mta *m, const char *name, struct err *err);
int mta_mail(struct mta *m, const char *path, struct err *err);
int mta_rcpt(struct mta *m, const char *path, struct err *err);
int mta_header(struct mta *m, const char *name, const char *value, struct err *err);
int mta_eoh(struct mta *m, struct err *err);
int mta_body(struct mta *m, struct str chunk, struct err *err);
int mta_eom(struct mta *m, struct err *err);
int mta_abort(struct mta *m, struct err *err);

/* Is the last reply `y` and does its text stand so on the wire ("550 5.7.1 no")? */
bool mta_replied(const struct mta *m, const char *text);

#endif

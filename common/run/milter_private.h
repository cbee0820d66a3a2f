/* SPDX-License-Identifier: BSD-2-Clause */
/* A session's inside, shared by milter.c (callbacks) and milter_facts.c (client, macros). */
#ifndef POSTERN_RUN_MILTER_PRIVATE_H
#define POSTERN_RUN_MILTER_PRIVATE_H

#include <libmilter/mfapi.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/run/milter.h"
#include "common/run/milter_edits.h"

/* The steps at which we can answer, in the order of time. */
enum milter_step {
	STEP_CONNECT,
	STEP_HELO,
	STEP_MAIL,
	STEP_RCPT,
	STEP_EOH,
	STEP_EOM,
	STEPS,
};

#define MILTER_MACROS_KEPT 23 /* rows of the table in milter_facts.c */

struct milter_session {
	SMFICTX *ctx;
	uint64_t id;
	void *conn; /* the daemon's context */
	bool connected; /* counted among the connections, conn made */
	bool in_message;
	bool at_eom; /* progress may be told */
	unsigned long actions, protocol; /* as negotiated */
	struct milter_client client;
	/* what client points to, "" as NULL */
	char *name, *helo, *queue_id;
	char *macros[MILTER_MACROS_KEPT];
	struct milter_edits edits;
};

#endif

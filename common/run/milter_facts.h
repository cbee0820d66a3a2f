/* SPDX-License-Identifier: BSD-2-Clause */
/* The facts that an MTA sends beside its commands: client and macros. */
#ifndef POSTERN_RUN_MILTER_FACTS_H
#define POSTERN_RUN_MILTER_FACTS_H

#include <libmilter/mfapi.h>

#include "common/run/milter_private.h"

/* Ask for the macros that we keep (only inside the negotiation callback). */
void milter_facts_ask(SMFICTX *ctx);

/* Take over what came with a step; host and address of CONNECT, helo of HELO. */
void milter_facts_connect(
    struct milter_session *s, const char *host, const struct sockaddr *address);
void milter_facts_helo(struct milter_session *s, const char *helo);
void milter_facts_step(struct milter_session *s, enum milter_step step);

/* Forget what belongs to the message. */
void milter_facts_message_end(struct milter_session *s);
void milter_facts_clear(struct milter_session *s);

#endif

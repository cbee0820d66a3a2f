/* SPDX-License-Identifier: BSD-2-Clause */
/* A connection's envelope; used by connection.c and connection_client.c. */
#ifndef POSTERN_RELAY_CONNECTION_MAIL_H
#define POSTERN_RELAY_CONNECTION_MAIL_H

#include "contrib/relay/connection_private.h"

/* The answers to all that a session asks; arg is the connection. */
extern const struct session_ops connection_ops;

/* The transaction is over: nothing of it stays. */
void connection_mail_clear(struct connection *c);
/* A filter's refusal: logged, then answered. */
void connection_refuse_chain(
    struct connection *c, const char *stage, const struct chain_reply *r);

#endif

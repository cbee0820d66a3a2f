/* SPDX-License-Identifier: BSD-2-Clause */
/* A connection's envelope; used by connection.c alone. */
#ifndef POSTERN_RELAY_CONNECTION_MAIL_H
#define POSTERN_RELAY_CONNECTION_MAIL_H

#include "contrib/relay/connection_private.h"

/* The answers to all that a session asks; arg is the connection. */
extern const struct session_ops connection_ops;

/* The transaction is over: nothing of it stays. */
void connection_mail_clear(struct connection *c);
void connection_facts_clear(struct client_facts *f);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* A connection's message, from DATA to the answer to its end. */
#ifndef POSTERN_RELAY_CONNECTION_MESSAGE_H
#define POSTERN_RELAY_CONNECTION_MESSAGE_H

#include "contrib/relay/connection_private.h"

/* session_ops.data, .text, .message */
void connection_on_data(void *arg);
bool connection_on_text(void *arg, const char *p, size_t len);
void connection_on_message(void *arg);

/* Forget the text. */
void connection_text_clear(struct connection *c);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* Of whom a connection takes its client for, and what its filters are told of him. */
#ifndef POSTERN_RELAY_CONNECTION_CLIENT_H
#define POSTERN_RELAY_CONNECTION_CLIENT_H

#include "contrib/relay/connection_private.h"

/* session_ops */
void connection_on_connect(void *arg);
void connection_on_xclient(void *arg, const struct session_attrs *a);
void connection_on_xforward(void *arg, const struct session_attrs *a);

/* Before MAIL: where XFORWARD named another client than the one that the filters know,
 * or none any more, they are opened anew and told of that one, so that every filter
 * judges the host that gave us the mail and not the tier that carries it.  then is
 * called at once when nothing changed, else from the loop; what filters say to the
 * client comes out at MAIL. */
void connection_show_client(struct connection *c, void (*then)(struct connection *c));

/* The client spoke before the greeting: nothing is left to wait for.  The filters hear
 * of it when they hear of the client; the session refuses it. */
void connection_client_early(struct connection *c);

void connection_client_clear(struct connection *c);

#endif

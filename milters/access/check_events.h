/* SPDX-License-Identifier: BSD-2-Clause */
/* Misbehaviour and what follows: `penalty harvest { }` and its sisters.  Unknown
 * recipients, exceeded rates, trapped addresses and early talkers are counted by
 * network; too many make an event of the store, and a network with such an event is
 * refused on all hosts while it is young. */
#ifndef POSTERN_ACCESS_CHECK_EVENTS_H
#define POSTERN_ACCESS_CHECK_EVENTS_H

#include "milters/access/check.h"

extern const struct check_ops check_penalty;

/* Is this what an unknown recipient hears (RFC 3463: 5.1.1, and Exchange's 5.1.10)? */
bool check_events_unknown(const struct verdict *verdict);

#endif

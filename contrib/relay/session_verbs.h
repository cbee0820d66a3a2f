/* SPDX-License-Identifier: BSD-2-Clause */
/* The commands of a session; all that others see of them stands in session_private.h.
 */
#ifndef POSTERN_RELAY_SESSION_VERBS_H
#define POSTERN_RELAY_SESSION_VERBS_H

#include "contrib/relay/session_private.h"

#endif

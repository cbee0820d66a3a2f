/* SPDX-License-Identifier: BSD-2-Clause */
/* Asks one daemon whether it serves, as a peer would: a milter by the first packet of
 * its protocol, a relay by its greeting. */
#ifndef POSTERN_CTL_PROBE_H
#define POSTERN_CTL_PROBE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/base/ip.h"

struct probe {
	bool up;
	int64_t us; /* from before connect to the answer */
	struct err err; /* when down */
	/* milter */
	uint32_t version, actions, protocol; /* that it chose */
	/* relay */
	char greeting[200]; /* behind the code; cleaned of controls */
};

void probe_milter(const char *spec, int64_t timeout_ms, struct probe *out);
void probe_smtp(
    const struct ip *ip, uint16_t port, int64_t timeout_ms, struct probe *out);

#endif

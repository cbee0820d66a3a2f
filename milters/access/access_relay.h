/* SPDX-License-Identifier: BSD-2-Clause */
/* May this client send to this recipient through us?  sendmail's answer, for the test
 * of whole maps; the milter itself leaves relaying to the MTA, for it can refuse but
 * never grant.  Internal to the engine. */
#ifndef POSTERN_ACCESS_RELAY_H
#define POSTERN_ACCESS_RELAY_H

#include "milters/access/access_map.h"

/* Replace a routed recipient of a domain that relays by the address inside it.  -1:
 * that address is refused as syntax (*refusal). */
int access_relay_strip(
    const struct access *a, struct access_addr *rcpt, struct verdict *refusal);
/* NONE: may relay, or the rules check none.  REFUSED: the reply. */
struct access_result access_relay_check(
    const struct access *a, const struct access_addr *rcpt);

/* Our own host asks: no address, or loopback. */
bool access_client_is_loopback(const struct access *a);
/* What counts as a route under these rules. */
struct access_routes access_rules_routes(const struct access_rules *rules);

#endif

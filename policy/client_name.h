/* SPDX-License-Identifier: BSD-2-Clause */
/* Whether the forward-confirmed name of a client looks generated from its address, as
 * providers name the hosts of their customers.  The owner of such a name is a customer like
 * thousands of others, so the domain behind it says nothing about who sends.
 *
 * Two kinds of evidence are weighed:
 *   the address   whole: all four octets in a row in any order, or as one run of digits
 *                 (with or without leading zeros, forwards or backwards), or as a decimal
 *                 or hexadecimal number; of IPv6 12 nibbles or 3 groups that are not zero
 *                 (4, where they have one digit).
 *                 part: two or three neighbouring octets, in decimal or hexadecimal;
 *                 of IPv6 8 nibbles or 2 groups.
 *   words         certain: dyn, dhcp, dsl, ppp, cable, dialup, broadband, ftth, cpe ...;
 *                 zones: a label behind the host's own like customers, users, static, vps;
 *                 mail: mail, smtp, mta, mx, out, relay ... as servers of mail are called
 *
 *   address   words                                     generated
 *   any       certain, or a zone                        yes
 *   whole     a zone for mail behind the address        no   (1-2-3-4.outmail.example)
 *   whole     else                                      yes
 *   part      mail, also in the domain itself           no   (a8-60.smtp-out.example)
 *   part      else                                      yes
 *   none      certain, and no mail                      yes  (cpe-xk.dsl.example)
 *   none      a zone, a digit, and no mail              yes  (a77.users.example)
 *   none      12 hexadecimal digits, and no mail        yes  (of a network card)
 *   none      else                                      no
 */
#ifndef POSTERN_POLICY_CLIENT_NAME_H
#define POSTERN_POLICY_CLIENT_NAME_H

#include <stdbool.h>

#include "common/base/ip.h"
#include "common/base/str.h"

/* name: any case, no final dot; longer than 253 octets is cut.  organisation: its end, from
 * suffixes_organisation(). */
bool client_name_generated(
    struct str name, struct str organisation, const struct ip *ip);

/* The first kind of evidence alone: does the name hold the address as a whole?  Whatever
 * else it says. */
bool client_name_has_address(struct str name, const struct ip *ip);

#endif

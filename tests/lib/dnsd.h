/* SPDX-License-Identifier: BSD-2-Clause */
/* A small authoritative DNS server on 127.0.0.1, UDP and TCP, with faults on demand.
 * One thread; start it in the process that uses it (Check forks: in a checked fixture
 * or in the test itself).
 *
 * Zone text, one record per line, '#' or ';' begins a comment, names need no final dot:
 *
 *     NAME TYPE [TTL] DATA        A AAAA MX TXT PTR NS CNAME SOA; TTL 300 when left out
 *     bl.example  SOA 60 ns.bl.example 30          server, minimum (the negative TTL)
 *     d.example   MX 10 mx.d.example
 *     d.example   TXT "v=spf1" " -all"             strings, or one bare run of words
 *     *.d.example A 192.0.2.1                      every name below d.example that has
 * none NAME fault drop             no answer        NAME may be "*": every question
 *     NAME fault delay MS         answer later
 *     NAME fault servfail | refused | nxdomain
 *     NAME fault tc               over UDP cut, whole over TCP
 *     NAME fault wrongid          an answer to a question that nobody asked
 *     NAME fault short            seven octets
 *     NAME fault garbage          a header, then noise
 *     NAME fault ad               with the AD bit
 *     NAME fault times N KIND ... the fault KIND, but only for the first N questions */
#ifndef POSTERN_TESTS_DNSD_H
#define POSTERN_TESTS_DNSD_H

#include <stdint.h>

#include "common/base/err.h"
#include "common/base/str.h"

struct dnsd;

/* port 0: the kernel's choice.  NULL: err says why. */
struct dnsd *dnsd_start(struct str zone, uint16_t port, struct err *err);
void dnsd_stop(struct dnsd *d);
uint16_t dnsd_port(const struct dnsd *d);
/* Put another zone in force; -1 leaves the old one. */
int dnsd_zone(struct dnsd *d, struct str zone, struct err *err);

/* Questions seen since the start; name NULL: all; type 0: any type. */
unsigned dnsd_seen(struct dnsd *d, const char *name, unsigned type);
/* Of these, how many came over TCP. */
unsigned dnsd_seen_tcp(struct dnsd *d);
/* From how many ports UDP questions came (counted up to 64). */
unsigned dnsd_ports(struct dnsd *d);

#endif

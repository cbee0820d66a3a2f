/* SPDX-License-Identifier: BSD-2-Clause */
/* The zone of the tests' DNS server: text in, whole answers out.  Not thread-safe. */
#ifndef POSTERN_TESTS_DNSD_ZONE_H
#define POSTERN_TESTS_DNSD_ZONE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/err.h"
#include "common/base/str.h"
#include "common/net/dns_packet.h"

struct dnsd_zone;

struct dnsd_fault {
	bool drop, tc, wrongid, shorten, garbage, ad;
	unsigned rcode; /* 0: none forced */
	unsigned delay_ms;
};

struct dnsd_zone *dnsd_zone_parse(struct str text, struct err *err);
void dnsd_zone_free(struct dnsd_zone *z);

/* What is to go wrong with a question for name; counts against `times`. */
struct dnsd_fault dnsd_zone_fault(struct dnsd_zone *z, const char *name);
/* The answer to a question, whole. */
void dnsd_zone_answer(const struct dnsd_zone *z, uint16_t id,
    const struct dns_question *q, const struct dnsd_fault *fault, struct buf *out);

#endif

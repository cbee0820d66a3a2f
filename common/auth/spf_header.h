/* SPDX-License-Identifier: BSD-2-Clause */
/* An SPF answer as header fields and as words for a reply.  Pure. */
#ifndef POSTERN_AUTH_SPF_HEADER_H
#define POSTERN_AUTH_SPF_HEADER_H

#include "common/auth/spf.h"
#include "common/base/buf.h"

/* Values of fields, folded with LF and a tab; what strangers wrote is quoted, and cut
 * where it is long.  id: our name. */

/* "spf=pass smtp.mailfrom=joe@a.example" for Authentication-Results (RFC 8601 2.7.2),
 * without the name and ";" in front. */
void spf_header_result(
    const struct spf_question *q, const struct spf_answer *a, struct buf *out);
/* Received-SPF (RFC 7208 9.1). */
void spf_header_received(const char *id, const struct spf_question *q,
    const struct spf_answer *a, struct buf *out);

/* The words of a refusal for a fail, softfail or an error: the domain's own, said to be
 * its own (RFC 7208 6.2), else ours. */
void spf_reply_text(
    const struct spf_question *q, const struct spf_answer *a, char *out, size_t size);

#endif

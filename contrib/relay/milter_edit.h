/* SPDX-License-Identifier: BSD-2-Clause */
/* What one filter wants changed in a message: collected aside while it speaks, put into
 * the message when it has finished well, thrown away otherwise. */
#ifndef POSTERN_RELAY_MILTER_EDIT_H
#define POSTERN_RELAY_MILTER_EDIT_H

#include "common/base/err.h"
#include "common/mail/milter_wire.h"
#include "contrib/relay/milter_chain.h"

/* Bounds for one filter and one message; more is a failure of the filter. */
#define EDIT_HEADERS_MAX 1000
#define EDIT_ENVELOPE_MAX 2000
#define EDIT_BODY_PACKETS_MAX 100000

struct milter_edit;

/* m is borrowed until finish or free.  own: position of our Received in m->header, -1:
 * none.  lead_space: values bring their own space (MILTER_P_HDR_LEADSPC). */
struct milter_edit *milter_edit_new(
    const struct chain_message *m, ptrdiff_t own, bool lead_space);
void milter_edit_free(struct milter_edit *e);

/* Is this reply an edit (+ - 2 b e h i m q)? */
bool milter_edit_is(char cmd);

/* Take one.  Header edits:
 *  h  goes to the end of the list (Postfix's way).
 *  i  index counts the fields of the outgoing list, our Received too; beyond: the end.
 *  m  index counts the fields of that name as this filter was shown them, from 1 (0
 * acts as 1); deleting does not renumber (sendmail's way).  Behind them come the fields
 * of that name that the filter itself put in.  An instance that is not there is added
 * at the end, or with an empty value left alone. Body: LF and CRLF end lines, any other
 * CR and NUL become a space, a missing last line end is supplied.  ESMTP arguments of e
 * and 2 are checked for NUL and not used. -1: broken packet, illegal value, or a bound
 * is passed. */
int milter_edit_take(
    struct milter_edit *e, const struct milter_packet *packet, struct err *err);

/* Why the filter wants the message held, NULL: it does not.  Borrowed. */
const char *milter_edit_hold(const struct milter_edit *e);

/* Put all of it into m.  *own is where our Received stands then.  -1: the new body
 * could not be finished; m is untouched. */
int milter_edit_finish(
    struct milter_edit *e, struct chain_message *m, ptrdiff_t *own, struct err *err);

#endif

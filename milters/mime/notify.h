/* SPDX-License-Identifier: BSD-2-Clause */
/* Short mails to the postmaster about what was kept back.  Sent by a thread of their own
 * with bounded patience: mail that is being filtered never waits for a notice, and a
 * notice that cannot be sent is logged; the quarantine has the message in any case. */
#ifndef POSTERN_MIME_NOTIFY_H
#define POSTERN_MIME_NOTIFY_H

#include "common/base/err.h"
#include "common/base/ip.h"
#include "common/base/str.h"

struct notifier;

/* to: address; via: "127.0.0.1:25".  host: our name.  NULL: err. */
struct notifier *notifier_new(
    const char *to, const char *via, const char *host, struct err *err);
/* Unsent notices are dropped and logged. */
void notifier_free(struct notifier *n);

/* text: lines with LF, a Subject and a body are made of it.  n may be NULL (nobody wants
 * notices).  Beyond NOTICES_MAX waiting ones it is dropped and logged. */
#define NOTICES_MAX 100
void notifier_send(struct notifier *n, struct str subject, struct str text);

#endif

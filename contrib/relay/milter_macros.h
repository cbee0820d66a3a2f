/* SPDX-License-Identifier: BSD-2-Clause */
/* Macro values of one SMTP connection, and which of them a filter gets at which stage:
 * those of its own list, else the union of what sendmail and Postfix send. */
#ifndef POSTERN_RELAY_MILTER_MACROS_H
#define POSTERN_RELAY_MILTER_MACROS_H

#include "common/base/buf.h"
#include "common/mail/milter_wire.h"

#define MILTER_MACRO_VALUE_MAX 1000 /* octets; longer values are cut */

struct milter_macros;

struct milter_macros *milter_macros_new(void);
void milter_macros_free(struct milter_macros *m);

/* name without braces, shorter than 50 octets; both are copied.  Control octets of the
 * value become '?'. */
void milter_macros_set(struct milter_macros *m, const char *name, struct str value);
void milter_macros_unset(struct milter_macros *m, const char *name);
/* NULL when unset; borrowed until the next change. */
const char *milter_macros_get(const struct milter_macros *m, const char *name);

/* Append the D packet for cmd.  list: the filter's own names for this stage, or NULL
 * for the default ones.  Names without a value are left out. */
void milter_macros_write_stage(const struct milter_macros *m, struct buf *out, char cmd,
    enum milter_stage stage, const char *list);

#endif

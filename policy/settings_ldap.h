/* SPDX-License-Identifier: BSD-2-Clause */
/* Blocks ldap "name" { } within block `access`: the row's functions.  field: struct
 * access_ldaps. */
#ifndef POSTERN_POLICY_SETTINGS_LDAP_H
#define POSTERN_POLICY_SETTINGS_LDAP_H

#include "common/base/buf.h"
#include "common/base/conf.h"

void settings_ldap_parse(const struct conf_node *node, void *field, struct errs *errs);
void settings_ldap_clear(void *field);
void settings_ldap_print(const void *field, struct buf *out);

#endif

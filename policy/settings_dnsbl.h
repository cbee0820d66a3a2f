/* SPDX-License-Identifier: BSD-2-Clause */
/* Blocks `dnsbl "zone" { ... }` of section access.  Internal to policy/. */
#ifndef POSTERN_POLICY_SETTINGS_DNSBL_H
#define POSTERN_POLICY_SETTINGS_DNSBL_H

#include "common/base/conf.h"

/* The field is a struct access_dnsbls. */
void settings_dnsbl_parse(const struct conf_node *node, void *field, struct errs *errs);
void settings_dnsbl_clear(void *field);
void settings_dnsbl_print(const void *field, struct buf *out);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* One value of each type of a settings table: words to field, field to words.  Internal
 * to conf.c. */
#ifndef POSTERN_BASE_CONF_VALUE_H
#define POSTERN_BASE_CONF_VALUE_H

#include "common/base/conf.h"

/* Read the values of node into the field; lists add to what they hold, the rest
 * replaces. On an error (told in errs: false) the field keeps a value that clear can
 * release. */
bool conf_value_parse(const struct conf_setting *setting, const struct conf_node *node,
    void *field, struct errs *errs);
void conf_value_clear(const struct conf_setting *setting, void *field);
size_t conf_value_size(const struct conf_setting *setting);
void conf_value_print(
    const struct conf_setting *setting, const void *field, struct buf *out);
/* Types whose repeated statements add up. */
bool conf_value_adds(const struct conf_setting *setting);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* What a word of the configuration must look like, where several sections ask alike.
 * Internal to policy/. */
#ifndef POSTERN_POLICY_SETTINGS_WORD_H
#define POSTERN_POLICY_SETTINGS_WORD_H

#include "common/base/conf.h"

/* NULL: good; else what was expected. */
const char *settings_path_wrong(struct str s); /* an absolute path */
const char *settings_socket_wrong(struct str s); /* where an MTA finds a milter */
const char *settings_socket_path_wrong(struct str s); /* a UNIX socket */
const char *settings_server_wrong(struct str s); /* address, or address and port */
const char *settings_text_wrong(struct str s); /* words of a reply */

void settings_mode_parse(
    const struct conf_node *node, void *field, struct errs *errs);
void settings_mode_print(const void *field, struct buf *out);

#endif

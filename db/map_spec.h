/* SPDX-License-Identifier: BSD-2-Clause */
/* How a map is named:
 *
 *   /path, text:/path       text file (db/map.h)
 *   hash:/path, btree:/path makemap's output
 *   shared:NAME             a map of the store (db/map_shared.h)
 *   ldap:NAME               a directory (db/map_ldap.h)
 */
#ifndef POSTERN_DB_MAP_SPEC_H
#define POSTERN_DB_MAP_SPEC_H

#include <stdbool.h>

#include "common/base/str.h"

enum map_kind { MAP_KIND_FILE, MAP_KIND_SHARED, MAP_KIND_LDAP };

/* NULL: a right name of a map; else what was expected. */
const char *map_spec_wrong(struct str spec);
/* *name: the path of a file with its type, else the name behind the colon. */
enum map_kind map_spec_kind(struct str spec, struct str *name);

#endif

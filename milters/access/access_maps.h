/* SPDX-License-Identifier: BSD-2-Clause */
/* The access maps of the daemon: opened once, read anew when they change, and for each
 * connection a view that stays as it began. */
#ifndef POSTERN_ACCESS_MAPS_H
#define POSTERN_ACCESS_MAPS_H

#include <stdbool.h>

#include "common/base/err.h"
#include "milters/access/access_map.h"
#include "policy/settings.h"

#define ACCESS_MAPS_MAX 16

struct access_maps;
/* NULL: err has the first fault, the further ones are logged. */
struct access_maps *access_maps_open(const struct settings_access *set, struct err *err);
void access_maps_refresh(struct access_maps *m, struct errs *errs); /* at a reload */
void access_maps_close(struct access_maps *m); /* accepts NULL */

struct access_maps_view;
struct access_maps_view *access_maps_view_new(struct access_maps *m);
void access_maps_view_free(struct access_maps_view *v); /* accepts NULL */
/* An access_lookup; arg: the view.  The first map that has the key wins. */
bool access_maps_lookup(void *arg, struct str key, struct access_entry *out);

#endif
